//! The schedule that a run follows: the one in its config, or one that was set during the run.

use super::{Cycle, LrRange, Point, Policy, Position, Ramp, Schedule};

/// The schedule in force.
#[derive(Debug)]
pub(crate) enum InForce<'a, S> {
    /// The schedule of the config.
    Config(&'a S),
    /// A schedule that was set during the run.
    Set(&'a Policy),
}

/// Where a run enters a schedule that is set during the run. `clr_iterations` becomes the step of that place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Place {
    /// At step 0 of the new schedule, as after [`reset_cycle`](crate::CyclicOptimizer::reset_cycle).
    Start,
    /// In the cycle with the same number, after the same share of that cycle, rounded down to a whole update. If one of the two
    /// schedules does not have that cycle, at the same step.
    Keep,
}

impl Place {
    /// The step at which `new` takes over when `old` is at `step`.
    pub(crate) fn step_in(self, new: &impl Schedule, old: &impl Schedule, step: u64) -> u64 {
        let same_share = || {
            let cycle = old.cycle_at(step)?;
            let start = new.cycle_start(cycle.index)?;
            let length = new.cycle_at(start)?.length;
            let place = u128::from(cycle.place) * u128::from(length) / u128::from(cycle.length.max(1));
            start.checked_add(u64::try_from(place).ok()?)
        };
        match self {
            Self::Start => 0,
            Self::Keep => same_share().unwrap_or(step),
        }
    }
}

macro_rules! of_either {
    ($self:ident, $schedule:ident => $answer:expr) => {
        match $self {
            Self::Config($schedule) => $answer,
            Self::Set($schedule) => $answer,
        }
    };
}

impl<S: Schedule> Schedule for InForce<'_, S> {
    #[inline]
    fn value_at(&self, step: u64) -> f64 {
        of_either!(self, schedule => schedule.value_at(step))
    }

    fn horizon(&self) -> Option<u64> {
        of_either!(self, schedule => schedule.horizon())
    }

    #[inline]
    fn range(&self) -> Option<LrRange> {
        of_either!(self, schedule => schedule.range())
    }

    fn peak(&self) -> f64 {
        of_either!(self, schedule => schedule.peak())
    }

    fn peak_over(&self, range: LrRange) -> f64 {
        of_either!(self, schedule => schedule.peak_over(range))
    }

    #[inline]
    fn cycle_at(&self, step: u64) -> Option<Cycle> {
        of_either!(self, schedule => schedule.cycle_at(step))
    }

    fn cycle_start(&self, index: u64) -> Option<u64> {
        of_either!(self, schedule => schedule.cycle_start(index))
    }

    #[inline]
    fn point_at(&self, step: u64, range: Option<LrRange>) -> Point {
        of_either!(self, schedule => schedule.point_at(step, range))
    }

    #[inline]
    fn ramp_at(&self, position: &Position, range: Option<LrRange>) -> Option<Ramp> {
        of_either!(self, schedule => schedule.ramp_at(position, range))
    }
}
