//! What the user asks for: a schedule, and what the optimizer does around it.

use crate::schedule::{
    Constant, CosineDecay, Cursor, Cyclic, ExponentialDecay, InverseSqrtDecay, InverseTimeDecay, LinearDecay, LrRange,
    MultiStepDecay, OneCycle, Point, Policy, PolynomialDecay, Schedule, Sequence, StepDecay, WarmRestarts, between,
    inverse_time,
};
use crate::state::Rates;
use crate::{Applied, ClrState, ConfigError, check};

/// The configuration of a [`CyclicOptimizer`](crate::CyclicOptimizer): a schedule, and optionally a momentum range, a
/// decay of the base and bounds.
///
/// # Formula
///
/// For the update with `iterations` updates of the run and `clr_iterations` updates of the schedule before it:
///
/// ```text
/// base     = base_lr / (1 + decay iterations)               the base decays first; the peak stays at max_lr
/// value    = schedule over (base, max_lr) at clr_iterations
/// lr       = clamp(value scale, floor, ceiling)
/// momentum = max_momentum - (max_momentum - base_momentum) height (amplitude)
/// ```
///
/// The config is never changed by a run; see [`ClrState`] for what is.
///
/// | option | default | purpose | range |
/// |---|---|---|---|
/// | `schedule` | required | the learning rate of each update | |
/// | [`with_momentum`](Self::with_momentum) | none | momentum, cycled inversely to the rate | 0 <= base <= max < 1 |
/// | [`with_decay`](Self::with_decay) | 0 | decay of the base | [0, inf) |
/// | [`with_bounds`](Self::with_bounds) | none | limits of the rate that is applied | 0 <= floor <= ceiling |
///
/// # Examples
///
/// ```
/// use cyclic_optim::{ClrConfig, Cyclic};
///
/// let config = ClrConfig::new(Cyclic::triangular(0.01, 0.06, 2000)?)
///     .with_momentum(0.85, 0.95)?
///     .with_decay(1e-4)?;
/// let at_peak = config.preview().nth(2000).unwrap();
/// assert_eq!((at_peak.lr, at_peak.momentum), (0.06, Some(0.85)));
/// # Ok::<(), cyclic_optim::ConfigError>(())
/// ```
///
/// # References
///
/// The order, decay before the cycle, and the two counters are those of the optimizers of bckenstler/CLR; the inverse
/// momentum is that of L. N. Smith, arXiv:1803.09820.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "file::ClrConfigFile<S>"))]
#[cfg_attr(feature = "serde", serde(bound(deserialize = "S: Schedule + serde::Deserialize<'de>")))]
pub struct ClrConfig<S = Policy> {
    schedule: S,
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    momentum: Option<MomentumRange>,
    decay: f64,
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    bounds: Option<Bounds>,
}

/// The momentum that runs inversely to the learning rate.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct MomentumRange {
    /// The momentum at the peak of the rate.
    pub base_momentum: f64,
    /// The momentum between the cycles.
    pub max_momentum: f64,
    /// Whether the momentum's swing shrinks with the amplitude of the cycles, as PyTorch's does, or not, as in the
    /// seeds of this crate.
    #[cfg_attr(feature = "serde", serde(default))]
    pub scaled: bool,
}

/// Limits of the rate that is applied, after everything else.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Bounds {
    /// No lower rate is applied.
    pub floor: f64,
    /// No higher rate is applied.
    pub ceiling: f64,
}

impl ClrConfig {
    /// A config over a schedule of this crate, and nothing else.
    pub fn new(schedule: impl Into<Policy>) -> Self {
        Self::custom(schedule.into())
    }
}

impl<S: Schedule> ClrConfig<S> {
    /// A config over any schedule, also one of your own.
    pub fn custom(schedule: S) -> Self {
        Self { schedule, momentum: None, decay: 0.0, bounds: None }
    }

    /// Cycles the momentum inversely to the rate: `max_momentum` at the base, `base_momentum` at the peak.
    ///
    /// # Errors
    ///
    /// A momentum outside [0, 1), `base_momentum` above `max_momentum`, a schedule that has no height to run it on.
    pub fn with_momentum(mut self, base_momentum: f64, max_momentum: f64) -> Result<Self, ConfigError> {
        self.momentum = Some(MomentumRange { base_momentum, max_momentum, scaled: false });
        self.check()
    }

    /// As [`with_momentum`](Self::with_momentum), the swing shrinking with the amplitude of the cycles, as PyTorch's
    /// `CyclicLR` does.
    ///
    /// # Errors
    ///
    /// As [`with_momentum`](Self::with_momentum).
    pub fn with_scaled_momentum(mut self, base_momentum: f64, max_momentum: f64) -> Result<Self, ConfigError> {
        self.momentum = Some(MomentumRange { base_momentum, max_momentum, scaled: true });
        self.check()
    }

    /// Lets the base of the cycle decay: `base_lr / (1 + decay iterations)`. The peak stays at `max_lr`.
    ///
    /// # Errors
    ///
    /// A `decay` that is not finite or negative, a schedule that has no base and peak.
    pub fn with_decay(mut self, decay: f64) -> Result<Self, ConfigError> {
        self.decay = decay;
        self.check()
    }

    /// Keeps every applied rate between `floor` and `ceiling`.
    ///
    /// # Errors
    ///
    /// A rate that is not finite or negative, `floor` above `ceiling`.
    pub fn with_bounds(mut self, floor: f64, ceiling: f64) -> Result<Self, ConfigError> {
        self.bounds = Some(Bounds { floor, ceiling });
        self.check()
    }

    /// The schedule.
    pub fn schedule(&self) -> &S {
        &self.schedule
    }

    /// The range of the momentum, if it is cycled.
    pub fn momentum(&self) -> Option<MomentumRange> {
        self.momentum
    }

    /// The decay of the base.
    pub fn decay(&self) -> f64 {
        self.decay
    }

    /// The limits of the applied rate, if there are any.
    pub fn bounds(&self) -> Option<Bounds> {
        self.bounds
    }

    /// What the updates of a fresh run will use: an endless iterator of constant size.
    pub fn preview(&self) -> Forecast<'_, S> {
        self.forecast(ClrState::default())
    }

    pub(crate) fn forecast(&self, state: ClrState) -> Forecast<'_, S> {
        Forecast { config: self, cursor: self.cursor(&state), state }
    }

    pub(crate) fn cursor(&self, state: &ClrState) -> Cursor {
        Cursor::new(&self.schedule, state.clr_iterations, state.range)
    }

    /// What the update at `cursor` uses in a run that stands at `state`.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a call would pass the result through memory, which costs more than all of it"
    )]
    pub(crate) fn rates(&self, state: &ClrState, cursor: &Cursor) -> Rates {
        let point =
            if self.decay > 0.0 { self.decayed(state, cursor) } else { cursor.point(&self.schedule, state.range) };
        let scaled = point.value * state.scale;
        let momentum = self.momentum.map(|momentum| {
            let height = point.height.unwrap_or(0.0) * if momentum.scaled { point.amplitude } else { 1.0 };
            between(momentum.max_momentum, momentum.base_momentum, height)
        });
        let lr = self.bounds.map_or(scaled, |bounds| scaled.clamp(bounds.floor, bounds.ceiling));
        Rates { lr, momentum }
    }

    /// The point at `cursor` over a base that has decayed as far as `state` says.
    fn decayed(&self, state: &ClrState, cursor: &Cursor) -> Point {
        let range = state.range.or_else(|| self.schedule.range()).map(|LrRange { base_lr, max_lr }| LrRange {
            base_lr: inverse_time(base_lr, self.decay, state.iterations),
            max_lr,
        });
        cursor.point_over(&self.schedule, range)
    }

    fn check(self) -> Result<Self, ConfigError> {
        check::non_negative("decay", self.decay)?;
        if self.decay > 0.0 && self.schedule.range().is_none() {
            return Err(ConfigError::NoRange { asked: "decay" });
        }
        if let Some(Bounds { floor, ceiling }) = self.bounds {
            check::rates(("floor", floor), ("ceiling", ceiling))?;
        }
        if let Some(MomentumRange { base_momentum, max_momentum, scaled: _ }) = self.momentum {
            check::momentum("base_momentum", base_momentum)?;
            check::momentum("max_momentum", max_momentum)?;
            check::ordered(("base_momentum", base_momentum), ("max_momentum", max_momentum))?;
            self.schedule.point_at(&self.schedule.position_at(0), None).height.ok_or(ConfigError::NoHeight)?;
        }
        Ok(self)
    }
}

/// What the coming updates will use, as long as nobody interferes. Endless, of constant size.
///
/// Made by [`ClrConfig::preview`] and [`CyclicOptimizer::preview`](crate::CyclicOptimizer::preview).
#[derive(Debug, Clone)]
pub struct Forecast<'a, S> {
    config: &'a ClrConfig<S>,
    cursor: Cursor,
    state: ClrState,
}

impl<S: Schedule> Iterator for Forecast<'_, S> {
    type Item = Applied;

    #[inline]
    fn next(&mut self) -> Option<Applied> {
        let rates = self.config.rates(&self.state, &self.cursor);
        self.state.count(&self.config.schedule, &mut self.cursor, rates);
        self.state.last
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, None)
    }
}

// One impl for each source type: a blanket one over all schedules would leave the optimizer's type open.
macro_rules! from_schedules {
    ($($schedule:ty),+ $(,)?) => {$(
        impl From<$schedule> for ClrConfig {
            fn from(schedule: $schedule) -> Self {
                Self::new(schedule)
            }
        }
    )+};
}

from_schedules! {
    Policy, Constant, LinearDecay, StepDecay, MultiStepDecay, ExponentialDecay, PolynomialDecay, CosineDecay,
    InverseTimeDecay, InverseSqrtDecay, Cyclic, OneCycle, WarmRestarts, Sequence,
}

#[cfg(feature = "serde")]
mod file {
    //! What is read from a file, before it is checked.

    use super::{Bounds, ClrConfig, ConfigError, MomentumRange, Schedule};

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct ClrConfigFile<S> {
        schedule: S,
        momentum: Option<MomentumRange>,
        #[serde(default)]
        decay: f64,
        bounds: Option<Bounds>,
    }

    impl<S: Schedule> TryFrom<ClrConfigFile<S>> for ClrConfig<S> {
        type Error = ConfigError;

        fn try_from(file: ClrConfigFile<S>) -> Result<Self, ConfigError> {
            let ClrConfigFile { schedule, momentum, decay, bounds } = file;
            Self { schedule, momentum, decay, bounds }.check()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_precondition() {
        use ConfigError::{NoHeight, NoRange, OutOfRange, Rate, Reversed};
        let config = || ClrConfig::new(Cyclic::triangular(0.1, 0.2, 5).unwrap());
        let constant = || ClrConfig::new(Constant::new(0.1).unwrap());
        for bad in [f64::NAN, f64::INFINITY, -0.1] {
            assert!(matches!(config().with_decay(bad), Err(OutOfRange { field: "decay", .. })));
            assert!(matches!(config().with_bounds(bad, 1.0), Err(Rate { field: "floor", .. })));
            assert!(matches!(config().with_bounds(0.0, bad), Err(Rate { field: "ceiling", .. })));
            assert!(matches!(config().with_momentum(bad, 0.9), Err(OutOfRange { field: "base_momentum", .. })));
            assert!(matches!(config().with_momentum(0.9, bad), Err(OutOfRange { field: "max_momentum", .. })));
        }
        assert!(matches!(config().with_momentum(0.5, 1.0), Err(OutOfRange { field: "max_momentum", .. })));
        assert!(matches!(config().with_scaled_momentum(0.9, 0.8), Err(Reversed { .. })));
        assert!(matches!(config().with_bounds(0.2, 0.1), Err(Reversed { .. })));
        assert!(matches!(constant().with_decay(0.1), Err(NoRange { asked: "decay" })));
        assert!(matches!(constant().with_momentum(0.8, 0.9), Err(NoHeight)));
    }
}
