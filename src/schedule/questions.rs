//! What a schedule can be asked without being run: its values, its extremes, its cycles.

use core::ops::Range;

use super::{Cursor, Schedule};

/// The values of a schedule from some update on: an endless iterator of constant size.
///
/// Made by [`Schedule::preview`].
#[derive(Debug, Clone)]
pub struct Preview<'a, S: ?Sized> {
    schedule: &'a S,
    cursor: Cursor,
    /// Values given since the cursor was looked up.
    made: u64,
}

impl<'a, S: Schedule + ?Sized> Preview<'a, S> {
    pub(super) fn new(schedule: &'a S, from: u64) -> Self {
        Self { schedule, cursor: Cursor::new(schedule, from, None), made: 0 }
    }
}

impl<S: Schedule + ?Sized> Preview<'_, S> {
    /// Kept apart from the path that every value takes.
    #[cold]
    #[inline(never)]
    fn look(&mut self) {
        self.cursor.advance(self.made);
        self.cursor.look(self.schedule, None);
        self.made = 0;
    }
}

impl<S: Schedule + ?Sized> Iterator for Preview<'_, S> {
    type Item = f64;

    #[inline]
    fn next(&mut self) -> Option<f64> {
        let value = self.cursor.point(self.schedule, self.made, || None).value;
        self.made += 1;
        if self.made >= self.cursor.serves_for() {
            self.look();
        }
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, None)
    }
}

/// The smallest and the largest value over some steps, each with the first step that has it.
///
/// Made by [`Schedule::extremes`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extremes {
    /// Step and value of the minimum.
    pub min: (u64, f64),
    /// Step and value of the maximum.
    pub max: (u64, f64),
}

impl Extremes {
    pub(super) fn over<S: Schedule>(schedule: &S, steps: Range<u64>) -> Option<Self> {
        let mut values = steps.clone().zip(schedule.preview(steps.start));
        let first = values.next()?;
        Some(values.fold(Self { min: first, max: first }, |found, point| Self {
            min: if point.1 < found.min.1 { point } else { found.min },
            max: if point.1 > found.max.1 { point } else { found.max },
        }))
    }
}

/// Where the cycles of a schedule start and end: one `start..end` of updates for each cycle.
///
/// Made by [`Schedule::cycle_bounds`].
#[derive(Debug, Clone)]
pub struct CycleBounds<'a, S: ?Sized> {
    schedule: &'a S,
    index: u64,
}

impl<'a, S: Schedule> CycleBounds<'a, S> {
    pub(super) fn new(schedule: &'a S) -> Self {
        Self { schedule, index: 0 }
    }
}

impl<S: Schedule> Iterator for CycleBounds<'_, S> {
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
    use crate::{Constant, Cyclic, WarmRestarts};

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
