//! Which cycle a step lies in. Only integer arithmetic, so the place is exact up to `u64::MAX`.

use super::LrRange;
use crate::check;
use crate::error::ConfigError;
use crate::numeric::{between, power};

/// The cycle of a step, and the place of the step in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Cycle {
    /// The number of the cycle, counted from 0.
    pub index: u64,
    /// The number of updates since the start of the cycle.
    pub place: u64,
    /// The number of updates in the cycle.
    pub length: u64,
}

impl Cycle {
    /// Whether this step is the last update of the cycle.
    #[must_use]
    #[inline]
    pub fn is_last(&self) -> bool {
        self.place.saturating_add(1) >= self.length
    }

    /// The number of updates left in the cycle, including the one at this place.
    #[must_use]
    #[inline]
    pub fn remaining(&self) -> u64 {
        self.length.saturating_sub(self.place)
    }
}

/// The lengths of a schedule's cycles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cycles {
    /// All of the same length; endless without a count.
    Equal { length: u64, count: Option<u64> },
    /// All of `length / divisor` updates, which need not be whole; endless without a count. Cycle k begins with the first update
    /// at or after `k length / divisor`.
    Fractional { length: u64, divisor: u64, count: Option<u64> },
    /// `total` updates in `count` cycles: cycle k covers `floor(k total / count)` to `floor((k + 1) total / count)`.
    Split { total: u64, count: u64 },
    /// Each `factor` (at least 2) times as long as the one before; endless without a count.
    Growing { first: u64, factor: u64, count: Option<u64> },
}

impl Cycles {
    /// Checks that there are cycles, and that `u64` can count their updates.
    pub(crate) fn check(self) -> Result<Self, ConfigError> {
        match self {
            Self::Equal { count, .. } | Self::Fractional { count, .. } | Self::Growing { count, .. } => {
                if let Some(count) = count {
                    check::length("cycles", count)?;
                    self.start_of(count).ok_or(ConfigError::HorizonOverflow { field: "cycles", value: count })?;
                }
            }
            Self::Split { total, count } => {
                check::length("total_steps", total)?;
                check::length("cycles", count)?;
                // Otherwise some cycles would be empty.
                check::at_least("total_steps", total, count)?;
            }
        }
        Ok(self)
    }

    /// The first `count` of these cycles.
    pub(crate) fn limited(self, count: Option<u64>) -> Result<Self, ConfigError> {
        match self {
            Self::Equal { length, .. } => Self::Equal { length, count },
            Self::Fractional { length, divisor, .. } => Self::Fractional { length, divisor, count },
            Self::Growing { first, factor, .. } => Self::Growing { first, factor, count },
            Self::Split { .. } => {
                return Err(ConfigError::Conflict { field: "cycles", problem: "is already fixed by total_steps" });
            }
        }
        .check()
    }

    /// The update at which cycle `index - 1` has ended and cycle `index` would start. `None` if there is neither cycle, and beyond
    /// `u64::MAX`.
    fn start_of(self, index: u64) -> Option<u64> {
        if self.count().is_some_and(|count| index > count) {
            return None;
        }
        match self {
            Self::Equal { length, .. } => length.checked_mul(index),
            Self::Fractional { length, divisor, .. } => {
                let start = (u128::from(length) * u128::from(index)).div_ceil(u128::from(divisor));
                u64::try_from(start).ok()
            }
            Self::Split { total, count } => Some(narrow(u128::from(total) * u128::from(index) / u128::from(count))),
            Self::Growing { first, factor, .. } => {
                let (mut start, mut length) = (0_u64, Some(first));
                for _ in 0..index {
                    start = start.checked_add(length?)?;
                    length = length.and_then(|length| length.checked_mul(factor));
                }
                Some(start)
            }
        }
    }

    /// The update at which cycle `index` starts, if there is such a cycle.
    pub(crate) fn cycle_start(self, index: u64) -> Option<u64> {
        self.count().is_none_or(|count| index < count).then(|| self.start_of(index))?
    }

    /// The cycle of `step`; `None` once the last one has ended.
    #[inline]
    pub(crate) fn locate(self, step: u64) -> Option<Cycle> {
        match self {
            Self::Equal { length, count } => {
                let index = step / length;
                count.is_none_or(|count| index < count).then(|| Cycle { index, place: step % length, length })
            }
            Self::Fractional { length, divisor, count } => {
                let (length, divisor) = (u128::from(length), u128::from(divisor));
                let index = u128::from(step) * divisor / length;
                let start = (index * length).div_ceil(divisor);
                let end = ((index + 1) * length).div_ceil(divisor);
                let cycle = Cycle { index: narrow(index), place: step - narrow(start), length: narrow(end - start) };
                count.is_none_or(|count| cycle.index < count).then_some(cycle)
            }
            Self::Split { total, count } => (step < total).then(|| {
                let (total, count) = (u128::from(total), u128::from(count));
                let index = ((u128::from(step) + 1) * count).div_ceil(total) - 1;
                let start = index * total / count;
                let end = (index + 1) * total / count;
                Cycle { index: narrow(index), place: step - narrow(start), length: narrow(end - start) }
            }),
            Self::Growing { first, factor, count } => {
                let (mut index, mut start, mut length) = (0, 0_u64, first);
                while step - start >= length {
                    index += 1;
                    start += length;
                    // A cycle that does not fit ends at `u64::MAX`.
                    length = length.saturating_mul(factor);
                }
                count.is_none_or(|count| index < count).then_some(Cycle { index, place: step - start, length })
            }
        }
    }

    /// The number of updates in all cycles; `None` if they are endless.
    pub(crate) fn horizon(self) -> Option<u64> {
        match self {
            Self::Split { total, .. } => Some(total),
            Self::Equal { .. } | Self::Fractional { .. } | Self::Growing { .. } => {
                self.count().and_then(|count| self.start_of(count))
            }
        }
    }

    /// The highest peak over `range`, where each peak is a factor times the one before. `log2_factor` is the binary
    /// logarithm of the factor.
    pub(crate) fn highest_peak(self, range: LrRange, log2_factor: f64) -> f64 {
        match self.count() {
            Some(count) if log2_factor > 0.0 => {
                between(range.base_lr, range.max_lr, power(log2_factor, count.saturating_sub(1)))
            }
            _ => range.max_lr,
        }
    }

    /// Checks that peaks that grow by `factor` belong to a limited number of cycles, and that the highest one, `peak`,
    /// is finite.
    pub(crate) fn check_growth(self, field: &'static str, factor: f64, peak: f64) -> Result<(), ConfigError> {
        if factor > 1.0 && self.count().is_none() {
            return Err(ConfigError::Conflict { field, problem: "above 1 needs a limited number of cycles" });
        }
        check::rate("the last peak", peak)
    }

    fn count(self) -> Option<u64> {
        match self {
            Self::Equal { count, .. } | Self::Fractional { count, .. } | Self::Growing { count, .. } => count,
            Self::Split { count, .. } => Some(count),
        }
    }
}

/// Narrows the quotient of a wide product, which always fits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "every caller divides by at least the number it has multiplied with, or takes a length or a step"
)]
fn narrow(wide: u128) -> u64 {
    wide as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(cycles: Cycles, steps: u64) {
        let mut expected = Cycle { index: 0, place: 0, length: 0 };
        for step in 0..steps {
            let found = cycles.locate(step).unwrap();
            if step > 0 && expected.place + 1 == expected.length {
                expected = Cycle { index: expected.index + 1, place: 0, length: found.length };
            } else if step > 0 {
                expected.place += 1;
            } else {
                expected.length = found.length;
            }
            assert_eq!(found, expected, "{cycles:?} at {step}");
            assert_eq!(cycles.start_of(found.index), Some(step - found.place));
        }
    }

    #[test]
    fn locating_is_walking() {
        walk(Cycles::Equal { length: 7, count: None }, 50);
        walk(Cycles::Equal { length: 1, count: Some(9) }, 9);
        walk(Cycles::Growing { first: 3, factor: 2, count: None }, 200);
        for (length, divisor) in [(5, 1), (9, 2), (7, 3), (10, 3), (5, 5), (1000, 7)] {
            walk(Cycles::Fractional { length, divisor, count: None }, 400);
        }
        for (total, count) in [(14, 5), (10, 3), (10, 10), (205, 2), (1, 1)] {
            walk(Cycles::Split { total, count }, total);
        }
    }

    #[test]
    fn a_split_never_leaves_a_stub() {
        // keras-contrib divides 10 epochs into 3 cycles as 3 + 3 + 3 + 1.
        let starts: [Option<u64>; 5] =
            core::array::from_fn(|k| Cycles::Split { total: 10, count: 3 }.start_of(k as u64));
        assert_eq!(starts, [Some(0), Some(3), Some(6), Some(10), None]);
    }

    #[test]
    fn large_steps_do_not_panic() {
        for cycles in [
            Cycles::Equal { length: 1, count: None },
            Cycles::Equal { length: u64::MAX, count: None },
            Cycles::Fractional { length: 1 << 53, divisor: 3, count: None },
            Cycles::Fractional { length: 2, divisor: 1, count: None },
            Cycles::Split { total: u64::MAX, count: u64::MAX - 1 },
            Cycles::Growing { first: 1, factor: 2, count: None },
            Cycles::Growing { first: u64::MAX, factor: u64::MAX, count: None },
        ] {
            let _ = cycles.locate(u64::MAX);
            let _ = cycles.start_of(u64::MAX);
        }
        let last = Cycles::Split { total: u64::MAX, count: 2 }.locate(u64::MAX - 1).unwrap();
        assert_eq!((last.index, last.is_last()), (1, true));
    }
}
