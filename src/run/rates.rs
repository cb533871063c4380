//! The rate and the momentum of one update, from the config and the state.

use crate::check;
use crate::config::ClrConfig;
use crate::error::ConfigError;
use crate::feedback::Scope;
use crate::numeric::between;
use crate::schedule::{Cursor, LrRange, Point, Schedule, inverse_time};
use crate::state::ClrState;

/// The rate and momentum of one update.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rates {
    pub(crate) lr: f64,
    pub(crate) momentum: Option<f64>,
}

impl Rates {
    /// Fails if the rate or the momentum is out of range, which only a custom schedule can cause.
    #[inline]
    pub(crate) fn check(self) -> Result<(), ConfigError> {
        check::rate("the schedule's rate", self.lr)?;
        self.momentum.map_or(Ok(()), |momentum| check::momentum("the scheduled momentum", momentum))
    }

    /// The rates for an update that has no way to report an error. If a custom schedule gives a rate or a momentum out of
    /// range, the rate is 0 and the inner optimizer keeps its momentum.
    #[inline]
    pub(super) fn usable(self) -> Self {
        // As integers, the bits of numbers from 0 up have the order of the numbers, and those of negative numbers and
        // NaN are larger. So one comparison checks both ends.
        let below = |value: f64, end: f64| value.to_bits() < end.to_bits();
        let is_momentum = self.momentum.is_none_or(|momentum| below(momentum, 1.0));
        if is_momentum && below(self.lr, f64::INFINITY) { self } else { Self { lr: 0.0, momentum: None } }
    }
}

impl<S: Schedule> ClrConfig<S> {
    /// The rates of the update that follows `made` updates after `state` and `cursor`. `multiplier` is
    /// [`multiplier`](Self::multiplier) of the state.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call would return through memory, which takes longer than the work")]
    pub(super) fn rates(&self, state: &ClrState, cursor: &Cursor, made: u64, multiplier: f64) -> Rates {
        let point = if self.decay() > 0.0 {
            self.decayed(state, cursor, made)
        } else {
            cursor.point(&state.in_force(self.schedule()), made, || self.range(state))
        };
        let scaled = point.value * multiplier;
        let momentum = self.momentum().map(|momentum| {
            // A peak above full amplitude still has the lowest momentum of the range.
            let swing = if momentum.scaled { point.amplitude.min(1.0) } else { 1.0 };
            let height = point.height.unwrap_or(0.0) * swing;
            between(momentum.max_momentum, momentum.base_momentum, height)
        });
        let lr = self.bounds().map_or(scaled, |bounds| scaled.clamp(bounds.floor, bounds.ceiling));
        Rates { lr, momentum }
    }

    /// The point over the range with the decayed base.
    fn decayed(&self, state: &ClrState, cursor: &Cursor, made: u64) -> Point {
        let schedule = state.in_force(self.schedule());
        let range = self.range(state).or_else(|| schedule.range()).map(|LrRange { base_lr, max_lr }| LrRange {
            base_lr: inverse_time(base_lr, self.decay(), state.iterations.saturating_add(made)),
            max_lr,
        });
        cursor.point_over(&schedule, made, range)
    }

    /// The product of all numbers that multiply the whole rate; see the table of [`ClrState`].
    pub(super) fn multiplier(&self, state: &ClrState) -> f64 {
        let envelope = match self.plateau() {
            Some(plateau) if plateau.scope == Scope::Rate => state.envelope * state.plateau.envelope,
            _ => state.envelope,
        };
        state.scale * envelope
    }

    /// The range that replaces the schedule's own: the range that was set, with a peak that a plateau has reduced.
    pub(super) fn range(&self, state: &ClrState) -> Option<LrRange> {
        let shrinks =
            self.plateau().is_some_and(|plateau| plateau.scope == Scope::Peak) && state.plateau.envelope < 1.0;
        if !shrinks {
            return state.range;
        }
        let LrRange { base_lr, max_lr } = state.range.or_else(|| state.in_force(self.schedule()).range())?;
        Some(LrRange { base_lr, max_lr: (max_lr * state.plateau.envelope).max(base_lr) })
    }

    /// Checks that a run can continue from `state`, and that every rate stays finite.
    pub(crate) fn check_state(&self, state: &ClrState) -> Result<(), ConfigError> {
        let schedule = state.in_force(self.schedule());
        state.check(&schedule)?;
        if state.schedule.is_some() {
            self.check_schedule(&schedule)?;
        }
        let highest = state.range.map_or_else(|| schedule.peak(), |range| schedule.peak_over(range));
        let scaled = highest * self.multiplier(state);
        if self.bounds().map_or(scaled, |bounds| scaled.min(bounds.ceiling)) == f64::INFINITY {
            return Err(ConfigError::Rate { field: "the highest rate times the scale", value: scaled });
        }
        Ok(())
    }
}
