//! Methods that every schedule has: values, extremes, cycles.

use core::ops::Range;

use super::ramp::Cursor;
use super::{LrRange, Schedule};

/// Methods that every [`Schedule`] has. They are computed from the methods of `Schedule`, and a schedule cannot
/// override them.
///
/// ```
/// use cyclic_optim::{Cyclic, ScheduleExt};
/// let schedule = Cyclic::triangular(0.001, 0.006, 90)?; // a cycle is 180 updates
/// assert_eq!(schedule.values_from(90).next(), Some(0.006));
/// assert_eq!(schedule.extremes(0..180).unwrap().max, (90, 0.006));
/// assert_eq!(schedule.cycle_bounds().nth(1), Some(180..360));
/// # Ok::<(), cyclic_optim::ConfigError>(())
/// ```
pub trait ScheduleExt: Schedule {
    /// The values from `step` on, without end: `schedule.values_from(0).take(n)` are the first n.
    ///
    /// At `u64::MAX` the iterator repeats the last value.
    fn values_from(&self, step: u64) -> Values<'_, Self> {
        Values { schedule: self, cursor: Cursor::new(self, step, None), made: 0 }
    }

    /// The value at `step` if the schedule ran over another range.
    fn value_in(&self, step: u64, range: LrRange) -> f64 {
        self.point_at(step, Some(range)).value
    }

    /// The height of `step` between the base and the peak of its cycle, 0 to 1; `None` if the schedule has no peak.
    fn height_at(&self, step: u64) -> Option<f64> {
        self.point_at(step, None).height
    }

    /// The smallest and the largest value over `steps`, each with the first step that has it; `None` for no steps.
    ///
    /// Looks at every step, so the cost is proportional to their number.
    fn extremes(&self, steps: Range<u64>) -> Option<Extremes> {
        let mut values = steps.clone().zip(self.values_from(steps.start));
        let first = values.next()?;
        Some(values.fold(Extremes { min: first, max: first }, |found, point| Extremes {
            min: if point.1 < found.min.1 { point } else { found.min },
            max: if point.1 > found.max.1 { point } else { found.max },
        }))
    }

    /// Where the cycles start and end, from the first one on.
    fn cycle_bounds(&self) -> CycleBounds<'_, Self> {
        CycleBounds { schedule: self, index: 0 }
    }

    /// The number of updates left in the cycle of `step`, including update `step`.
    fn updates_until_cycle_end(&self, step: u64) -> Option<u64> {
        self.cycle_at(step).map(|cycle| cycle.remaining())
    }

    /// The number of updates after which `cycles` whole cycles have ended; `None` if there are fewer.
    fn updates_for_cycles(&self, cycles: u64) -> Option<u64> {
        let Some(last) = cycles.checked_sub(1) else { return Some(0) };
        let start = self.cycle_start(last)?;
        start.checked_add(self.cycle_at(start)?.length)
    }

    /// The number of epochs after which `cycles` whole cycles have ended: [`updates_for_cycles`](Self::updates_for_cycles)
    /// in epochs of `batches_per_epoch` updates, rounded up. `None` if there are fewer cycles or no batches.
    ///
    /// ```
    /// use cyclic_optim::{Cyclic, ScheduleExt};
    /// let schedule = Cyclic::triangular(0.001, 0.006, 100)?;
    /// assert_eq!(schedule.updates_for_cycles(3), Some(600));
    /// assert_eq!(schedule.epochs_for_cycles(3, 45), Some(14));
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    fn epochs_for_cycles(&self, cycles: u64, batches_per_epoch: u64) -> Option<u64> {
        (batches_per_epoch > 0).then_some(())?;
        Some(self.updates_for_cycles(cycles)?.div_ceil(batches_per_epoch))
    }

    /// The smallest number of epochs, at most `max_epochs`, after which a cycle ends, too. The rate is then at its
    /// lowest, so this is a good time to stop.
    ///
    /// ```
    /// use cyclic_optim::{Cyclic, ScheduleExt};
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

impl<S: Schedule + ?Sized> ScheduleExt for S {}

/// The values of a schedule from some step on: an endless iterator of constant size.
///
/// Made by [`ScheduleExt::values_from`].
#[derive(Debug, Clone)]
pub struct Values<'a, S: ?Sized> {
    schedule: &'a S,
    cursor: Cursor,
    /// The number of values returned since the cursor was made or renewed.
    made: u64,
}

impl<S: Schedule + ?Sized> Values<'_, S> {
    /// Cold, to keep it out of the loop over the values.
    #[cold]
    #[inline(never)]
    fn renew(&mut self) {
        self.cursor.renew(self.schedule, self.made, None);
        self.made = 0;
    }
}

impl<S: Schedule + ?Sized> Iterator for Values<'_, S> {
    type Item = f64;

    #[inline]
    fn next(&mut self) -> Option<f64> {
        let value = self.cursor.point(self.schedule, self.made, || None).value;
        self.made += 1;
        if self.made >= self.cursor.serves_for() {
            self.renew();
        }
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, None)
    }
}

/// The smallest and the largest value over some steps, each with the first step that has it.
///
/// Made by [`ScheduleExt::extremes`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extremes {
    /// Step and value of the minimum.
    pub min: (u64, f64),
    /// Step and value of the maximum.
    pub max: (u64, f64),
}

/// The cycles of a schedule, each as its updates `start..end`.
///
/// Made by [`ScheduleExt::cycle_bounds`].
#[derive(Debug, Clone)]
pub struct CycleBounds<'a, S: ?Sized> {
    schedule: &'a S,
    index: u64,
}

impl<S: Schedule + ?Sized> Iterator for CycleBounds<'_, S> {
    type Item = Range<u64>;

    fn next(&mut self) -> Option<Range<u64>> {
        let start = self.schedule.cycle_start(self.index)?;
        let cycle = self.schedule.cycle_at(start)?;
        self.index += 1;
        Some(start..start.checked_add(cycle.length)?)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::schedule::{Constant, Cyclic, WarmRestarts};

    #[test]
    fn extremes_are_the_first_ones() {
        let schedule = Cyclic::triangular(1.0, 5.0, 4).unwrap();
        let found = schedule.extremes(1..40).unwrap();
        assert_eq!(found, Extremes { min: (8, 1.0), max: (4, 5.0) });
        assert_eq!(schedule.extremes(3..3), None);
    }

    #[test]
    fn cycles_have_bounds() {
        let restarts = WarmRestarts::new(0.0, 0.1, 10).unwrap().with_t_mult(2).unwrap();
        let bounds: Vec<_> = restarts.cycle_bounds().take(4).collect();
        // Loshchilov and Hutter: T_0 10, T_mult 2 restarts at 10, 30, 70, 150.
        assert_eq!(bounds, [0..10, 10..30, 30..70, 70..150]);
        assert_eq!(Constant::new(0.1).unwrap().cycle_bounds().next(), None);
        let limited = Cyclic::triangular(0.0, 1.0, 3).unwrap().with_cycles(2).unwrap();
        assert_eq!(limited.cycle_bounds().collect::<Vec<_>>(), [0..6, 6..12]);
    }
}
