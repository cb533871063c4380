//! Schedules from a user's function: of the step, or of the amplitude of a [`Cyclic`].

use super::cyclic::Cyclic;
use super::{Cycle, LrRange, Point, Position, Schedule};

/// A schedule from any function of the step.
///
/// The function must obey the [laws](crate::schedule#laws): pure, total, finite. It cannot be written to a file. To resume
/// a run, make the schedule again in code and restore the state.
///
/// ```
/// use cyclic_optim::{Schedule, from_fn};
///
/// let schedule = from_fn(|step| if step < 100 { 0.1 } else { 0.01 });
/// assert_eq!((schedule.value_at(99), schedule.value_at(100)), (0.1, 0.01));
/// ```
pub fn from_fn<F: Fn(u64) -> f64>(function: F) -> FromFn<F> {
    FromFn(function)
}

/// A function as a schedule. Made by [`from_fn`].
#[derive(Clone, Copy)]
pub struct FromFn<F>(F);

impl<F> core::fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("FromFn").finish_non_exhaustive()
    }
}

impl<F: Fn(u64) -> f64> Schedule for FromFn<F> {
    #[inline]
    fn value_at(&self, step: u64) -> f64 {
        self.0(step)
    }
}

/// The argument of a user's amplitude function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ScaleMode {
    /// The number of the cycle, counted from 0. (The Keras callbacks count from 1.)
    Cycle,
    /// The step: what the Keras callbacks do under `scale_mode = "iterations"`.
    Iteration,
    /// The place in the cycle: what the documentation of the Keras callbacks says.
    IterationInCycle,
}

/// A [`Cyclic`] with an amplitude from a user's function: the `scale_fn` and `scale_mode` of the Keras callbacks and of
/// PyTorch. It replaces the amplitude of the `Cyclic`.
///
/// # Formula
///
/// The formula of [`Cyclic`] with `k = scale_fn(n)`, with n from [`ScaleMode`]. A result outside [0, 1] is not clipped: it
/// moves the peak out of the range.
///
/// # Examples
///
/// ```
/// use cyclic_optim::{Cyclic, ScaleMode, ScaledCyclic, Schedule};
///
/// let cyclic = Cyclic::triangular(0.0, 1.0, 10)?;
/// let schedule = ScaledCyclic::new(cyclic, ScaleMode::Cycle, |cycle| 1.0 / (cycle as f64 + 1.0));
/// assert_eq!((schedule.value_at(10), schedule.value_at(30), schedule.value_at(70)), (1.0, 0.5, 0.25));
/// # Ok::<(), cyclic_optim::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct ScaledCyclic<F> {
    cyclic: Cyclic,
    scale_mode: ScaleMode,
    scale_fn: F,
}

impl<F: Fn(u64) -> f64> ScaledCyclic<F> {
    /// `cyclic` with the amplitude `scale_fn`.
    pub fn new(cyclic: Cyclic, scale_mode: ScaleMode, scale_fn: F) -> Self {
        Self { cyclic, scale_mode, scale_fn }
    }
}

impl<F> core::fmt::Debug for ScaledCyclic<F> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ScaledCyclic")
            .field("cyclic", &self.cyclic)
            .field("scale_mode", &self.scale_mode)
            .finish_non_exhaustive()
    }
}

impl<F: Fn(u64) -> f64> Schedule for ScaledCyclic<F> {
    fn value_at(&self, step: u64) -> f64 {
        self.point_at(step, None).value
    }

    fn horizon(&self) -> Option<u64> {
        self.cyclic.horizon()
    }

    fn range(&self) -> Option<LrRange> {
        self.cyclic.range()
    }

    fn cycle_at(&self, step: u64) -> Option<Cycle> {
        self.cyclic.cycle_at(step)
    }

    fn cycle_start(&self, index: u64) -> Option<u64> {
        self.cyclic.cycle_start(index)
    }

    fn point_at(&self, step: u64, range: Option<LrRange>) -> Point {
        let position = Position::of(self, step);
        let full = self.cyclic.full_ramp(&position, range);
        let n = match (self.scale_mode, position.cycle) {
            // After the last cycle the value is the end value, which does not depend on the amplitude.
            (_, None) => return full.point_at(step),
            (ScaleMode::Iteration, _) => step,
            (ScaleMode::Cycle, Some(cycle)) => cycle.index,
            (ScaleMode::IterationInCycle, Some(cycle)) => cycle.place,
        };
        let scaled = self.cyclic.range().map(|own| full.with_amplitude(range.unwrap_or(own), (self.scale_fn)(n)));
        scaled.unwrap_or(full).point_at(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_gets_its_number() {
        let seen = |mode, step| {
            let cyclic = Cyclic::triangular(0.0, 1.0, 5).unwrap();
            ScaledCyclic::new(cyclic, mode, |n| if n == 3 { 1.0 } else { 0.0 }).value_at(step) > 0.0
        };
        assert!(seen(ScaleMode::Iteration, 3) && !seen(ScaleMode::Iteration, 13));
        assert!(seen(ScaleMode::IterationInCycle, 13) && !seen(ScaleMode::IterationInCycle, 14));
        assert!(seen(ScaleMode::Cycle, 35) && !seen(ScaleMode::Cycle, 25));
    }
}
