//! Schedules: plain values, checked when they are made, that give the learning rate of each update.
//!
//! A schedule owns no counter and does no I/O. [`Schedule::value_at`] is a pure, closed-form function of the step, so a
//! run can be resumed, previewed and plotted without replaying it. Only [`CyclicOptimizer`](crate::CyclicOptimizer)
//! counts.
//!
//! # Laws
//!
//! Every schedule of this crate obeys these laws, and your own schedules should. `tests/laws.rs` checks them on random
//! schedules.
//!
//! 1. **Pure**: the same step gives the same bits, in any order of calls.
//! 2. **Total**: every `u64` step, `u64::MAX` included, has a value, without panic or overflow.
//! 3. **Bounded**: finite, and within the documented ends.
//! 4. **Exact ends**: the values at step 0 and at the horizon are the given numbers, bit for bit.
//! 5. **Holding**: past its horizon a schedule holds its last value; an endless one has no horizon.
//! 6. **Periodic**: cycles of equal length and amplitude repeat exactly.
//! 7. **Resumable**: seeking to step k and continuing equals running through.
//! 8. **Joined**: a [`Sequence`] at a boundary has the value of the next part at its step 0.
//! 9. **One shape**: for the schedule's own range, `value_at(s)` and `value_in(s, range)` have the same bits.

mod curve;
mod custom;
mod cycles;
mod cyclic;
mod decay;
mod in_force;
mod one_cycle;
mod policy;
mod product;
mod questions;
mod ramp;
mod sequence;
mod warm_restarts;

use alloc::boxed::Box;

use crate::check;
use crate::error::ConfigError;

pub use curve::Curve;
pub use custom::{FromFn, ScaleMode, ScaledCyclic, from_fn};
pub use cycles::Cycle;
pub use cyclic::{Amplitude, Cyclic};
pub(crate) use decay::inverse_time;
pub use decay::{
    Constant, CosineDecay, ExponentialDecay, InverseSqrtDecay, InverseTimeDecay, LinearDecay, MultiStepDecay,
    PolynomialDecay, StepDecay,
};
pub(crate) use in_force::InForce;
pub use in_force::Place;
pub use one_cycle::{Dialect, OneCycle};
pub(crate) use policy::for_each_schedule;
pub use policy::{IntoPolicy, Policy};
pub use product::Product;
pub use questions::{CycleBounds, Extremes, ScheduleExt, Values};
pub(crate) use ramp::Cursor;
use ramp::{Position, Ramp};
pub use sequence::{Part, Sequence};
pub use warm_restarts::WarmRestarts;

/// The rates that a cyclic schedule runs between.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct LrRange {
    /// The lowest rate of a cycle.
    pub base_lr: f64,
    /// The rate at a peak of full amplitude.
    pub max_lr: f64,
}

impl LrRange {
    /// Checks both rates. -0.0 becomes 0.0.
    fn check(&mut self) -> Result<(), ConfigError> {
        check::schedule_rate("base_lr", &mut self.base_lr)?;
        check::schedule_rate("max_lr", &mut self.max_lr)?;
        check::ordered(("base_lr", self.base_lr), ("max_lr", self.max_lr))
    }
}

/// What a schedule says about one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// The learning rate.
    pub value: f64,
    /// The height between base and peak of the cycle, 0 to 1. `None` if the schedule has no peak.
    pub height: Option<f64>,
    /// The share of the range that the peak of this cycle reaches: 0 to 1, and above 1 where the peaks grow.
    pub amplitude: f64,
}

impl Point {
    /// A value of a schedule without a peak.
    #[must_use]
    #[inline]
    pub fn without_height(value: f64) -> Self {
        Self { value, height: None, amplitude: 1.0 }
    }
}

/// A learning rate as a pure function of the step.
///
/// Only [`value_at`](Self::value_at) is required. The other methods tell an optimizer more:
///
/// | method | what it enables |
/// |---|---|
/// | [`horizon`](Self::horizon) | [`remaining`](crate::CyclicOptimizer::remaining), [`is_finished`](crate::CyclicOptimizer::is_finished) |
/// | [`cycle_at`](Self::cycle_at), [`cycle_start`](Self::cycle_start) | [`at_cycle_end`](crate::CyclicOptimizer::at_cycle_end), [`Watch::CycleEnds`](crate::feedback::Watch::CycleEnds) |
/// | [`range`](Self::range) and [`point_at`](Self::point_at) | momentum, decay of the base, [`set_range`](crate::CyclicOptimizer::set_range), a plateau on the peak |
/// | [`peak`](Self::peak), [`peak_over`](Self::peak_over) | the check of a plateau's floor, and the check that no rate becomes infinite |
///
/// [`ScheduleExt`] adds methods to every schedule: values, extremes, the bounds of cycles.
///
/// # Examples
///
/// A value for each step is enough:
///
/// ```
/// use cyclic_optim::{ClrConfig, Schedule, ScheduleExt};
///
/// /// Halves the rate at every power of two.
/// struct Octaves(f64);
///
/// impl Schedule for Octaves {
///     fn value_at(&self, step: u64) -> f64 {
///         self.0 / f64::from(1 + (step + 1).ilog2())
///     }
/// }
///
/// let rates: Vec<f64> = Octaves(0.6).values_from(0).take(4).collect();
/// assert_eq!(rates, [0.6, 0.3, 0.3, 0.6 / 3.0]);
/// let config = ClrConfig::custom(Octaves(0.6));
/// # let _ = config;
/// ```
///
/// A schedule with a range and a height also cycles the momentum:
///
/// ```
/// use cyclic_optim::schedule::{LrRange, Point};
/// use cyclic_optim::{ClrConfig, Cycle, Schedule};
///
/// /// A parabola over each cycle of 10 updates: up to the peak at place 5, and down again.
/// struct Parabola(LrRange);
///
/// impl Schedule for Parabola {
///     fn value_at(&self, step: u64) -> f64 {
///         self.point_at(step, None).value
///     }
///
///     fn range(&self) -> Option<LrRange> {
///         Some(self.0)
///     }
///
///     fn cycle_at(&self, step: u64) -> Option<Cycle> {
///         Some(Cycle { index: step / 10, place: step % 10, length: 10 })
///     }
///
///     fn point_at(&self, step: u64, range: Option<LrRange>) -> Point {
///         let LrRange { base_lr, max_lr } = range.unwrap_or(self.0);
///         let x = (step % 10) as f64 / 10.0;
///         let height = 4.0 * x * (1.0 - x);
///         Point { value: base_lr + (max_lr - base_lr) * height, height: Some(height), amplitude: 1.0 }
///     }
/// }
///
/// let config = ClrConfig::custom(Parabola(LrRange { base_lr: 0.0, max_lr: 0.5 })).with_momentum(0.75, 1.0 - 1.0 / 8.0)?;
/// let used: Vec<_> = config.preview().take(6).map(|used| (used.lr, used.momentum)).collect();
/// assert_eq!((used[0], used[5]), ((0.0, Some(0.875)), (0.5, Some(0.75))));
/// # Ok::<(), cyclic_optim::ConfigError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a schedule",
    note = "constructors of schedules return a `Result`: add `?` or `.unwrap()`",
    note = "implement `Schedule` for a type of your own; `from_fn` makes one of a function"
)]
pub trait Schedule {
    /// The learning rate of update `step`, counted from 0.
    fn value_at(&self, step: u64) -> f64;

    /// The number of updates after which the value no longer changes; `None` for an endless schedule.
    fn horizon(&self) -> Option<u64> {
        None
    }

    /// The ends that the schedule runs between; `None` if it has no base and peak.
    ///
    /// A schedule with a range must also implement [`point_at`](Self::point_at) and follow the range given there.
    fn range(&self) -> Option<LrRange> {
        None
    }

    /// The highest rate. By default the upper end of the range, or the first value if there is no range.
    fn peak(&self) -> f64 {
        self.range().map_or_else(|| self.value_at(0), |range| range.max_lr)
    }

    /// The highest rate over another range. By default the larger of its upper end and [`peak`](Self::peak).
    fn peak_over(&self, range: LrRange) -> f64 {
        range.max_lr.max(self.peak())
    }

    /// The cycle that `step` lies in; `None` outside of all cycles.
    ///
    /// A schedule whose first cycle starts after step 0 must also implement [`cycle_start`](Self::cycle_start): a run
    /// treats a schedule as one with cycles only if `cycle_start(0)` is `Some`.
    fn cycle_at(&self, step: u64) -> Option<Cycle> {
        let _ = step;
        None
    }

    /// The step at which cycle `index` starts; `None` if there is no such cycle within `u64`.
    ///
    /// By default this walks from cycle to cycle, beginning at step 0.
    fn cycle_start(&self, index: u64) -> Option<u64> {
        let mut start = 0_u64;
        for _ in 0..index {
            start = start.checked_add(self.cycle_at(start)?.length)?;
        }
        self.cycle_at(start).map(|_| start)
    }

    /// Value, height and amplitude at a step.
    ///
    /// If `range` is given, the schedule has to run over it instead of its own range. It is given only to schedules that
    /// have a range. By default the point has [`value_at`](Self::value_at) and no height.
    fn point_at(&self, step: u64, range: Option<LrRange>) -> Point {
        match self.ramp_at(&Position::of(self, step), range) {
            Some(ramp) => ramp.point_at(step),
            None => Point::without_height(self.value_at(step)),
        }
    }

    /// The ramp at a step, with which the schedules of this crate make an update cheap. Other crates cannot name these
    /// types, so their schedules keep the default and are asked for a point at every update.
    #[doc(hidden)]
    fn ramp_at(&self, position: &Position, range: Option<LrRange>) -> Option<Ramp> {
        let _ = (position, range);
        None
    }
}

macro_rules! delegate {
    ($self:ident => $to:expr) => {
        #[inline]
        fn value_at(&$self, step: u64) -> f64 {
            $to.value_at(step)
        }
        #[inline]
        fn horizon(&$self) -> Option<u64> {
            $to.horizon()
        }
        #[inline]
        fn range(&$self) -> Option<LrRange> {
            $to.range()
        }
        fn peak(&$self) -> f64 {
            $to.peak()
        }
        fn peak_over(&$self, range: LrRange) -> f64 {
            $to.peak_over(range)
        }
        #[inline]
        fn cycle_at(&$self, step: u64) -> Option<Cycle> {
            $to.cycle_at(step)
        }
        #[inline]
        fn cycle_start(&$self, index: u64) -> Option<u64> {
            $to.cycle_start(index)
        }
        #[inline]
        fn ramp_at(&$self, position: &Position, range: Option<LrRange>) -> Option<Ramp> {
            $to.ramp_at(position, range)
        }
        #[inline]
        fn point_at(&$self, step: u64, range: Option<LrRange>) -> Point {
            $to.point_at(step, range)
        }
    };
}

impl<S: Schedule + ?Sized> Schedule for &S {
    delegate!(self => (**self));
}

impl<S: Schedule + ?Sized> Schedule for Box<S> {
    delegate!(self => (**self));
}

/// Fails to compile if a schedule can no longer be used as a trait object.
const _: fn(&dyn Schedule) -> f64 = |schedule| schedule.value_at(0);
