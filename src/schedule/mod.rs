//! Schedules: validated plain values that turn the number of an update into a learning rate.
//!
//! A schedule owns no counter and does no I/O. [`Schedule::value_at`] is a pure, closed-form function of the step, so a
//! run can be resumed, sought, previewed and plotted without being replayed. The counting is done by
//! [`CyclicOptimizer`](crate::CyclicOptimizer) alone.
//!
//! # Laws
//!
//! Every schedule of this crate obeys them, and a schedule of your own should (`tests/laws.rs` proves them on arbitrary
//! ones):
//!
//! 1. **Pure**: the same step gives the same bits, in any order of asking.
//! 2. **Total**: any `u64` step, `u64::MAX` included, gives a value: no panic, no overflow.
//! 3. **Bounded**: finite, and within the documented ends.
//! 4. **Exact ends**: the values at step 0 and at the horizon are the given numbers, bit for bit.
//! 5. **Holding**: past its horizon a schedule holds its last value; an endless one has no horizon.
//! 6. **Periodic**: cycles of equal length and amplitude repeat exactly.
//! 7. **Resumable**: seeking to k and going on equals running through.
//! 8. **Joined**: a [`Sequence`] at a boundary has the value of the next part at its step 0.
//! 9. **One shape**: `value_at(s) == value_in(s, range)` bit for bit for the schedule's own range.

pub(crate) mod curve;
mod custom;
mod cycles;
mod cyclic;
mod decay;
mod one_cycle;
mod policy;
mod questions;
mod ramp;
mod sequence;
mod warm_restarts;

use alloc::boxed::Box;
use core::ops::Range;

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
pub use one_cycle::{Dialect, OneCycle};
pub use policy::{IntoPolicy, Policy};
pub use questions::{CycleBounds, Extremes, Preview};
pub(crate) use ramp::Cursor;
pub use ramp::Ramp;
pub use sequence::{Part, Sequence};
pub use warm_restarts::WarmRestarts;

/// The two ends that a cyclic schedule runs between.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct LrRange {
    /// The rate between the cycles.
    pub base_lr: f64,
    /// The rate at a peak of full amplitude.
    pub max_lr: f64,
}

impl LrRange {
    /// Checks the ends of a schedule. -0.0 becomes 0.0.
    fn check(&mut self) -> Result<(), ConfigError> {
        check::schedule_rate("base_lr", &mut self.base_lr)?;
        check::schedule_rate("max_lr", &mut self.max_lr)?;
        check::ordered(("base_lr", self.base_lr), ("max_lr", self.max_lr))
    }
}

/// A step, located in its cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The update, counted from 0.
    pub step: u64,
    /// Where it lies in its cycle; `None` where the schedule has no cycle.
    pub cycle: Option<Cycle>,
}

/// What a schedule says about one position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// The learning rate.
    pub value: f64,
    /// How far between base and peak, 0 to 1, amplitude apart; `None` where the schedule knows no peak.
    pub height: Option<f64>,
    /// The share of the whole range that this cycle's peak reaches, 0 to 1.
    pub amplitude: f64,
}

impl Point {
    /// A value without a peak to measure it against.
    #[must_use]
    #[inline]
    pub fn without_height(value: f64) -> Self {
        Self { value, height: None, amplitude: 1.0 }
    }
}

/// A learning rate as a pure function of the number of the update.
///
/// Only [`value_at`](Self::value_at) has to be written. The other questions have answers of their own where the
/// schedule knows more: whether it ends, where its cycles are, which range it runs between.
///
/// # Examples
///
/// ```
/// use cyclic_optim::{ClrConfig, Schedule};
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
/// let rates: Vec<f64> = Octaves(0.6).preview(0).take(4).collect();
/// assert_eq!(rates, [0.6, 0.3, 0.3, 0.6 / 3.0]);
/// let config = ClrConfig::custom(Octaves(0.6));
/// # let _ = config;
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

    /// The ends that the schedule runs between; `None` where it has no base and peak.
    ///
    /// Decay of the base, [`set_range`](crate::CyclicOptimizer::set_range) and a smaller peak need one. A schedule that
    /// answers here has to follow the range that [`point_at`](Self::point_at) is given.
    fn range(&self) -> Option<LrRange> {
        None
    }

    /// The highest rate: what a plateau's floor is measured against. Unless overridden, that of the range, or the first one.
    fn peak(&self) -> f64 {
        self.range().map_or_else(|| self.value_at(0), |range| range.max_lr)
    }

    /// The cycle that `step` lies in; `None` where there is none.
    ///
    /// A schedule whose cycles begin only later has to answer [`cycle_start`](Self::cycle_start), too: a run looks for a
    /// first cycle only where that says that there will be one.
    fn cycle_at(&self, step: u64) -> Option<Cycle> {
        let _ = step;
        None
    }

    /// The update at which cycle `index` starts; `None` where there is no such cycle within `u64`.
    ///
    /// Unless overridden this walks from cycle to cycle, beginning at the first update.
    fn cycle_start(&self, index: u64) -> Option<u64> {
        let mut start = 0_u64;
        for _ in 0..index {
            start = start.checked_add(self.cycle_at(start)?.length)?;
        }
        self.cycle_at(start).map(|_| start)
    }

    /// The ramp that a position lies on: the schedule's formula up to where the ramp ends, over `range` instead of the
    /// schedule's own where one is given. `None` where there is no such formula.
    ///
    /// An optimizer keeps the ramp and asks again when it ends. Only schedules of this crate can make one; the others are
    /// asked for their value at every update.
    fn ramp_at(&self, position: &Position, range: Option<LrRange>) -> Option<Ramp> {
        let _ = (position, range);
        None
    }

    /// Value, height and amplitude at a position, over `range` instead of the schedule's own where one is given (which
    /// happens only to schedules that have one).
    fn point_at(&self, position: &Position, range: Option<LrRange>) -> Point {
        match self.ramp_at(position, range) {
            Some(ramp) => ramp.point_at(position.step),
            None => Point::without_height(self.value_at(position.step)),
        }
    }

    // What follows is answered from the above. Overriding it has no effect on an optimizer.

    /// The position of `step`: the step and its cycle.
    #[inline]
    fn position_at(&self, step: u64) -> Position {
        Position { step, cycle: self.cycle_at(step) }
    }

    /// The value at `step` if the schedule ran over another range: the same shape between other ends.
    fn value_in(&self, step: u64, range: LrRange) -> f64 {
        self.point_at(&self.position_at(step), Some(range)).value
    }

    /// How far between base and peak `step` lies, 0 to 1, amplitude apart.
    fn height_at(&self, step: u64) -> Option<f64> {
        self.point_at(&self.position_at(step), None).height
    }

    /// The values from update `from` on, without end: `schedule.preview(0).take(n)` are the first n.
    fn preview(&self, from: u64) -> Preview<'_, Self>
    where
        Self: Sized,
    {
        Preview::new(self, from)
    }

    /// The smallest and the largest value over `steps`, each with the first step that has it; `None` for no steps.
    ///
    /// Looks at every step, so the cost grows with their number.
    fn extremes(&self, steps: Range<u64>) -> Option<Extremes>
    where
        Self: Sized,
    {
        Extremes::over(self, steps)
    }

    /// Where the cycles start and end, from the first one on.
    fn cycle_bounds(&self) -> CycleBounds<'_, Self>
    where
        Self: Sized,
    {
        CycleBounds::new(self)
    }

    /// Updates until the cycle of `step` has ended, the update `step` included.
    fn updates_until_cycle_end(&self, step: u64) -> Option<u64> {
        self.cycle_at(step).map(|cycle| cycle.remaining())
    }

    /// The number of updates after which `cycles` whole cycles have ended; `None` where there are fewer.
    fn updates_for_cycles(&self, cycles: u64) -> Option<u64> {
        let Some(last) = cycles.checked_sub(1) else { return Some(0) };
        let start = self.cycle_start(last)?;
        start.checked_add(self.cycle_at(start)?.length)
    }

    /// The number of epochs in which `cycles` whole cycles have ended: [`updates_for_cycles`](Self::updates_for_cycles)
    /// in epochs of `batches_per_epoch` updates, rounded up. `None` where there are fewer cycles or no batches.
    ///
    /// ```
    /// use cyclic_optim::{Cyclic, Schedule};
    /// let schedule = Cyclic::triangular(0.001, 0.006, 100)?;
    /// assert_eq!(schedule.updates_for_cycles(3), Some(600));
    /// assert_eq!(schedule.epochs_for_cycles(3, 45), Some(14));
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    fn epochs_for_cycles(&self, cycles: u64, batches_per_epoch: u64) -> Option<u64> {
        (batches_per_epoch > 0).then_some(())?;
        Some(self.updates_for_cycles(cycles)?.div_ceil(batches_per_epoch))
    }

    /// The smallest number of epochs, at most `max_epochs`, that ends exactly with a cycle: a good place to stop, for
    /// the rate is at its lowest there.
    ///
    /// ```
    /// use cyclic_optim::{Cyclic, Schedule};
    /// let schedule = Cyclic::triangular(0.001, 0.006, 90)?; // a cycle is 180 updates
    /// assert_eq!(schedule.first_epoch_on_cycle_end(45, 100), Some(4));
    /// assert_eq!(schedule.first_epoch_on_cycle_end(7, 100), None); // 7 and 180 first meet after 180 epochs
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    fn first_epoch_on_cycle_end(&self, batches_per_epoch: u64, max_epochs: u64) -> Option<u64> {
        (batches_per_epoch > 0).then_some(())?;
        (1..=max_epochs)
            .map_while(|epoch| Some((epoch, epoch.checked_mul(batches_per_epoch)? - 1)))
            .find(|&(_, last)| self.cycle_at(last).is_some_and(|cycle| cycle.is_last()))
            .map(|(epoch, _)| epoch)
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
        fn point_at(&$self, position: &Position, range: Option<LrRange>) -> Point {
            $to.point_at(position, range)
        }
    };
}

impl<S: Schedule + ?Sized> Schedule for &S {
    delegate!(self => (**self));
}

impl<S: Schedule + ?Sized> Schedule for Box<S> {
    delegate!(self => (**self));
}

/// Compiles only as long as a schedule can be used behind a pointer.
const _: fn(&dyn Schedule) -> f64 = |schedule| schedule.value_at(0);
