//! What a config says about a run: the rates of its updates, and what comes of its reports.

use crate::feedback::{Observation, Scope, Stop, Watch};
use crate::numeric::between;
use crate::run::{Rates, Run};
use crate::schedule::{Cursor, LrRange, Point, Schedule, inverse_time};
use crate::{Applied, ClrConfig, ClrState, ConfigError, check};

impl<S: Schedule> ClrConfig<S> {
    /// What the updates of a fresh run will use: an endless iterator of constant size.
    pub fn preview(&self) -> Forecast<'_, S> {
        self.forecast(ClrState::default())
    }

    pub(crate) fn forecast(&self, state: ClrState) -> Forecast<'_, S> {
        Forecast { config: self, run: Run::new(self, state) }
    }

    pub(crate) fn cursor(&self, state: &ClrState) -> Cursor {
        Cursor::new(&self.schedule, state.clr_iterations, self.range(state))
    }

    /// What an update uses in a run that stood at `state` and `cursor`, and has made `made` updates since.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a call would pass the result through memory, which costs more than all of it"
    )]
    pub(crate) fn rates(&self, state: &ClrState, cursor: &Cursor, made: u64, factor: f64) -> Rates {
        let point = if self.decay > 0.0 {
            self.decayed(state, cursor, made)
        } else {
            cursor.point(&self.schedule, made, || self.range(state))
        };
        let scaled = point.value * factor;
        let momentum = self.momentum.map(|momentum| {
            let height = point.height.unwrap_or(0.0) * if momentum.scaled { point.amplitude } else { 1.0 };
            between(momentum.max_momentum, momentum.base_momentum, height)
        });
        let lr = self.bounds.map_or(scaled, |bounds| scaled.clamp(bounds.floor, bounds.ceiling));
        Rates { lr, momentum }
    }

    /// The point over a base that has decayed as far as the updates of the run say.
    fn decayed(&self, state: &ClrState, cursor: &Cursor, made: u64) -> Point {
        let range = self.range(state).or_else(|| self.schedule.range()).map(|LrRange { base_lr, max_lr }| LrRange {
            base_lr: inverse_time(base_lr, self.decay, state.iterations.saturating_add(made)),
            max_lr,
        });
        cursor.point_over(&self.schedule, made, range)
    }

    /// The factor on the whole rate that feedback has come to.
    #[inline]
    pub(crate) fn envelope(&self, state: &ClrState) -> f64 {
        match &self.plateau {
            Some(plateau) if plateau.scope == Scope::Rate => state.envelope * state.plateau.envelope,
            _ => state.envelope,
        }
    }

    /// The range that replaces the schedule's own: one that was set, and what a plateau has left of the peak.
    pub(crate) fn range(&self, state: &ClrState) -> Option<LrRange> {
        let shrinks = self.plateau.is_some_and(|plateau| plateau.scope == Scope::Peak) && state.plateau.envelope < 1.0;
        if !shrinks {
            return state.range;
        }
        let LrRange { base_lr, max_lr } = state.range.or_else(|| self.schedule.range())?;
        Some(LrRange { base_lr, max_lr: (max_lr * state.plateau.envelope).max(base_lr) })
    }

    /// The rate that a plateau's floor is measured against.
    pub(super) fn reference(&self, range: Option<LrRange>) -> f64 {
        range.map_or_else(|| self.schedule.peak(), |range| range.max_lr)
    }

    /// Checks that a run can stand at `state`, and that it leaves every rate finite.
    pub(crate) fn check_state(&self, state: &ClrState) -> Result<(), ConfigError> {
        state.check(&self.schedule)?;
        let highest = state.range.map_or(0.0, |range| range.max_lr).max(self.schedule.peak());
        let scaled = highest * state.scale * self.envelope(state);
        if self.bounds.map_or(scaled, |bounds| scaled.min(bounds.ceiling)) == f64::INFINITY {
            return Err(ConfigError::Rate { field: "the highest rate times the scale", value: scaled });
        }
        Ok(())
    }

    /// Checks that what an update is to use is a rate and a momentum.
    #[inline]
    pub(crate) fn check_rates(rates: Rates) -> Result<(), ConfigError> {
        check::rate("the schedule's rate", rates.lr)?;
        rates.momentum.map_or(Ok(()), |momentum| check::momentum("the scheduled momentum", momentum))
    }

    /// Takes a report in a run that stands at `state`: a metric for the plateau and one for early stopping.
    pub(crate) fn observe(&self, state: &mut ClrState, for_plateau: f64, for_early_stopping: f64) -> Observation {
        let metric = if self.early_stopping.is_some() { for_early_stopping } else { for_plateau };
        let ignored = Observation { metric, judged: false, improved: false, scaled: None, stop: state.stop };
        let judged = match self.watch {
            Watch::EveryReport => true,
            Watch::CycleEnds => state.unjudged_cycle_end,
        };
        if state.stop.is_some() || !judged {
            return ignored;
        }
        state.unjudged_cycle_end = false;
        let mut observation = Observation { judged, ..ignored };
        if let Some(plateau) = &self.plateau {
            let reference = self.reference(state.range);
            // A peak comes down to the base at most.
            let base = state.range.or_else(|| self.schedule.range()).map_or(0.0, |range| range.base_lr);
            let lowest = if plateau.scope == Scope::Peak { base } else { 0.0 };
            (observation.improved, observation.scaled) =
                plateau.judge(&mut state.plateau, for_plateau, reference, lowest);
        }
        if let Some(early_stopping) = &self.early_stopping {
            let (improved, stop) = early_stopping.judge(&mut state.early_stopping, for_early_stopping);
            observation.improved = improved;
            state.stop = stop.then_some(Stop::NoImprovement);
            observation.stop = state.stop;
        }
        observation
    }
}

/// What the coming updates will use, as long as nobody interferes. Endless, of constant size.
///
/// Made by [`ClrConfig::preview`] and [`CyclicOptimizer::preview`](crate::CyclicOptimizer::preview).
#[derive(Debug, Clone)]
pub struct Forecast<'a, S> {
    config: &'a ClrConfig<S>,
    run: Run,
}

impl<S: Schedule> Iterator for Forecast<'_, S> {
    type Item = Applied;

    #[inline]
    fn next(&mut self) -> Option<Applied> {
        let upcoming = self.run.upcoming();
        self.run.count(self.config);
        Some(upcoming)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, None)
    }
}
