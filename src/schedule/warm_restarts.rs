//! Cosine annealing with warm restarts, and the snapshot schedule built on it.

use super::curve::Curve;
use super::cycles::Cycles;
use super::{Cycle, LrRange, Position, Ramp, Schedule};
use crate::check;
use crate::error::ConfigError;
use crate::numeric;

/// A cosine fall from `max_lr` to `base_lr` that starts again at every restart (SGDR). Also the schedule of snapshot
/// ensembles.
///
/// # Formula
///
/// ```text
/// c, r, L = cycle, place in it, updates in it (integers)
/// peak    = base_lr + (max_lr - base_lr) peak_factor^c
/// value   = base_lr + (peak - base_lr) (1 + cos(pi r / L)) / 2
/// ```
///
/// With [`with_inclusive_end`](Self::with_inclusive_end) it is `r / (L - 1)`, so that the last update of a cycle uses
/// `base_lr` itself. Cycle c is `t_0 * t_mult^c` updates long. If the total T and the number of cycles M are given
/// instead, it covers the updates from `floor(c T / M)` to `floor((c + 1) T / M)`.
///
/// # Shape
///
#[doc = include_str!("shapes/warm_restarts.svg")]
///
/// - at step 0 and at each restart: the cycle's peak, exactly
/// - at the last update of a cycle: above `base_lr`, or exactly `base_lr` with an inclusive end
/// - after the last of a limited number of cycles: `base_lr`, held
///
/// | option | default | purpose | range |
/// |---|---|---|---|
/// | `base_lr`, `max_lr` | required | lowest rate and peak of a cycle | finite, 0 <= `base_lr` <= `max_lr` |
/// | `t_0` | required | updates of the first cycle | >= 1 |
/// | [`with_t_mult`](Self::with_t_mult) | 1 | growth of the cycles | >= 1 |
/// | [`with_peak_factor`](Self::with_peak_factor) | 1 | shrinking or growth of the peaks | (0, inf); above 1 only with a number of cycles |
/// | [`with_cycles`](Self::with_cycles) | endless | number of cycles | >= 1 |
/// | [`with_inclusive_end`](Self::with_inclusive_end) | off | reach `base_lr` within the cycle | |
///
/// In a file the parameters and options have these names, without `with_`. In place of `t_0`, a file can have `total_steps`
/// and `cycles`, as in [`snapshots`](Self::snapshots).
///
/// # Errors
///
/// A [`ConfigError`] for anything outside these ranges.
///
/// # Examples
///
/// ```
/// use cyclic_optim::{Schedule, WarmRestarts};
///
/// let schedule = WarmRestarts::new(0.0, 0.1, 10)?.with_t_mult(2)?;
/// assert_eq!((schedule.value_at(0), schedule.value_at(5)), (0.1, 0.05));
/// assert_eq!((schedule.value_at(10), schedule.value_at(20), schedule.value_at(30)), (0.1, 0.05, 0.1));
/// # Ok::<(), cyclic_optim::ConfigError>(())
/// ```
///
/// # References
///
/// I. Loshchilov and F. Hutter, *SGDR*, 2017, arXiv:1608.03983; G. Huang et al., *Snapshot Ensembles*, 2017,
/// arXiv:1704.00109. The values are the same as with PyTorch's `CosineAnnealingWarmRestarts`. Here, seeking also finds the
/// same restarts as stepping, because cycles are located by integers.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "file::WarmRestartsFile", into = "file::WarmRestartsFile"))]
pub struct WarmRestarts {
    range: LrRange,
    cycles: Cycles,
    peak_factor: f64,
    log2_peak_factor: f64,
    inclusive_end: bool,
}

impl WarmRestarts {
    fn checked(base_lr: f64, max_lr: f64, cycles: Cycles) -> Result<Self, ConfigError> {
        let mut range = LrRange { base_lr, max_lr };
        range.check()?;
        Ok(Self { range, cycles: cycles.check()?, peak_factor: 1.0, log2_peak_factor: 0.0, inclusive_end: false })
    }

    /// Endless cycles of `t_0` updates.
    ///
    /// # Errors
    ///
    /// A negative or non-finite rate, `base_lr` above `max_lr`, `t_0` of 0.
    pub fn new(base_lr: f64, max_lr: f64, t_0: u64) -> Result<Self, ConfigError> {
        check::length("t_0", t_0)?;
        Self::checked(base_lr, max_lr, Cycles::Equal { length: t_0, count: None })
    }

    /// The schedule of snapshot ensembles: exactly `snapshots` cosine cycles from `max_lr` towards 0 over `total_steps`
    /// updates. Take a snapshot after the last update of each cycle.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and fewer updates than snapshots.
    ///
    /// ```
    /// use cyclic_optim::{ScheduleExt, WarmRestarts};
    /// // keras-contrib makes 7 snapshots of these 14 steps; 5 were asked for.
    /// let schedule = WarmRestarts::snapshots(0.1, 14, 5)?;
    /// assert_eq!(schedule.cycle_bounds().count(), 5);
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    pub fn snapshots(max_lr: f64, total_steps: u64, snapshots: u64) -> Result<Self, ConfigError> {
        check::length("snapshots", snapshots)?;
        Self::checked(0.0, max_lr, Cycles::Split { total: total_steps, count: snapshots })
    }

    /// Makes each cycle `t_mult` times as long as the one before.
    ///
    /// # Errors
    ///
    /// A `t_mult` of 0, and one above 1 for [`snapshots`](Self::snapshots).
    pub fn with_t_mult(mut self, t_mult: u64) -> Result<Self, ConfigError> {
        check::length("t_mult", t_mult)?;
        self.cycles = match self.cycles {
            Cycles::Equal { length: first, count } | Cycles::Growing { first, count, .. } if t_mult > 1 => {
                Cycles::Growing { first, factor: t_mult, count }
            }
            Cycles::Growing { first, count, .. } => Cycles::Equal { length: first, count },
            Cycles::Split { .. } if t_mult > 1 => {
                return Err(ConfigError::Conflict {
                    field: "t_mult",
                    problem: "cannot be given together with total_steps",
                });
            }
            unchanged @ (Cycles::Equal { .. } | Cycles::Fractional { .. } | Cycles::Split { .. }) => unchanged,
        }
        .check()?;
        Ok(self)
    }

    /// Multiplies the height of the peak above `base_lr` by this factor at each restart.
    ///
    /// # Errors
    ///
    /// A factor that is not above 0 and finite, one above 1 for endless cycles (limit them first), or one that makes the last
    /// peak infinite.
    pub fn with_peak_factor(mut self, peak_factor: f64) -> Result<Self, ConfigError> {
        check::positive("peak_factor", peak_factor)?;
        (self.peak_factor, self.log2_peak_factor) = (peak_factor, numeric::log2(peak_factor));
        self.cycles.check_growth("peak_factor", peak_factor, self.peak())?;
        Ok(self)
    }

    /// Stops after `cycles` cycles and holds `base_lr`.
    ///
    /// # Errors
    ///
    /// 0 cycles, more than `u64` updates, [`snapshots`](Self::snapshots), and growing peaks that would become infinite.
    pub fn with_cycles(mut self, cycles: u64) -> Result<Self, ConfigError> {
        self.cycles = self.cycles.limited(Some(cycles))?;
        self.cycles.check_growth("peak_factor", self.peak_factor, self.peak())?;
        Ok(self)
    }

    /// Reaches `base_lr` exactly in the last update of each cycle. A cycle of a single update uses its peak.
    #[must_use]
    pub fn with_inclusive_end(mut self) -> Self {
        self.inclusive_end = true;
        self
    }
}

impl Schedule for WarmRestarts {
    #[inline]
    fn value_at(&self, step: u64) -> f64 {
        self.point_at(step, None).value
    }

    fn horizon(&self) -> Option<u64> {
        self.cycles.horizon()
    }

    fn range(&self) -> Option<LrRange> {
        Some(self.range)
    }

    fn peak(&self) -> f64 {
        self.peak_over(self.range)
    }

    fn peak_over(&self, range: LrRange) -> f64 {
        self.cycles.highest_peak(range, self.log2_peak_factor)
    }

    #[inline]
    fn cycle_at(&self, step: u64) -> Option<Cycle> {
        self.cycles.locate(step)
    }

    fn cycle_start(&self, index: u64) -> Option<u64> {
        self.cycles.cycle_start(index)
    }

    fn ramp_at(&self, position: &Position, range: Option<LrRange>) -> Option<Ramp> {
        let range @ LrRange { base_lr, max_lr } = range.unwrap_or(self.range);
        let Some(Cycle { index, place, length }) = position.cycle else {
            return Some(Ramp::hold(base_lr).below_base());
        };
        let last = if self.inclusive_end && length > 1 { length - 1 } else { length };
        let fall = Ramp::fall(
            position.step.saturating_sub(place),
            (0.0, numeric::float(last)),
            Curve::Cosine,
            max_lr,
            base_lr,
        );
        Some(fall.until(length).with_amplitude(range, numeric::power(self.log2_peak_factor, index)))
    }
}

#[cfg(feature = "serde")]
mod file {
    //! The form of `WarmRestarts` in a file.

    use serde::{Deserialize, Serialize};

    use super::{ConfigError, Cycles, WarmRestarts};

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct WarmRestartsFile {
        #[serde(default)]
        base_lr: f64,
        max_lr: f64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        t_0: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        t_mult: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total_steps: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cycles: Option<u64>,
        #[serde(default = "one")]
        peak_factor: f64,
        #[serde(default)]
        inclusive_end: bool,
    }

    fn one() -> f64 {
        1.0
    }

    impl TryFrom<WarmRestartsFile> for WarmRestarts {
        type Error = ConfigError;

        fn try_from(file: WarmRestartsFile) -> Result<Self, ConfigError> {
            let restarts = match (file.t_0, file.total_steps, file.cycles) {
                (Some(t_0), None, cycles) => {
                    let endless = WarmRestarts::new(file.base_lr, file.max_lr, t_0)?;
                    match cycles {
                        Some(cycles) => endless.with_cycles(cycles)?,
                        None => endless,
                    }
                }
                (None, Some(total), Some(count)) => {
                    WarmRestarts::checked(file.base_lr, file.max_lr, Cycles::Split { total, count })?
                }
                _ => {
                    return Err(ConfigError::Conflict {
                        field: "t_0",
                        problem: "must be given, or total_steps and cycles in its place",
                    });
                }
            };
            let restarts = restarts.with_t_mult(file.t_mult.unwrap_or(1))?.with_peak_factor(file.peak_factor)?;
            Ok(WarmRestarts { inclusive_end: file.inclusive_end, ..restarts })
        }
    }

    impl From<WarmRestarts> for WarmRestartsFile {
        fn from(restarts: WarmRestarts) -> Self {
            let WarmRestarts { range, cycles, peak_factor, log2_peak_factor: _, inclusive_end } = restarts;
            let (t_0, t_mult, total_steps, cycles) = match cycles {
                // Only a `Cyclic` has fractional cycles.
                Cycles::Equal { length, count } | Cycles::Fractional { length, count, .. } => {
                    (Some(length), None, None, count)
                }
                Cycles::Growing { first, factor, count } => (Some(first), Some(factor), None, count),
                Cycles::Split { total, count } => (None, None, Some(total), Some(count)),
            };
            let (base_lr, max_lr) = (range.base_lr, range.max_lr);
            Self { base_lr, max_lr, t_0, t_mult, total_steps, cycles, peak_factor, inclusive_end }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use approx::assert_abs_diff_eq;

    use super::*;
    use crate::schedule::ScheduleExt;

    #[test]
    fn restarts_that_peers_miss() {
        // At all four a restart is due. PyTorch 2.15.0 seeks to 0.0.
        for (t_0, t_mult, step) in [(10, 3, 1210), (1, 3, 121), (10, 10, 1110), (1, 10, 111)] {
            let schedule = WarmRestarts::new(0.0, 1.0, t_0).unwrap().with_t_mult(t_mult).unwrap();
            assert_eq!(schedule.value_at(step), 1.0, "t_0 {t_0}, t_mult {t_mult}");
        }
    }

    #[test]
    fn the_paper_of_snapshot_ensembles() {
        // Formula (2) of arXiv:1704.00109 for T 10, M 2, alpha_0 0.2.
        let schedule = WarmRestarts::snapshots(0.2, 10, 2).unwrap();
        let expected = [0.2, 0.180_901_699, 0.130_901_699, 0.069_098_301, 0.019_098_301];
        for (value, expected) in schedule.values_from(0).zip(expected.iter().cycle()).take(10) {
            assert_abs_diff_eq!(value, *expected, epsilon = 1e-9);
        }
        let inclusive: Vec<f64> = schedule.with_inclusive_end().values_from(0).take(11).collect();
        assert_eq!((inclusive[4], inclusive[5], inclusive[9], inclusive[10]), (0.0, 0.2, 0.0, 0.0));
    }

    #[test]
    fn peaks_shrink_with_each_restart() {
        let schedule = WarmRestarts::new(0.0, 1.0, 3).unwrap().with_peak_factor(0.5).unwrap();
        let peaks: Vec<f64> = (0..4).map(|cycle| schedule.value_at(3 * cycle)).collect();
        assert_eq!(peaks, [1.0, 0.5, 0.25, 0.125]);
    }

    #[test]
    fn every_precondition() {
        use ConfigError::{Conflict, HorizonOverflow, OutOfRange, Rate, Reversed, TooSmall};
        let good = WarmRestarts::new(0.0, 1.0, 10).unwrap();
        for bad in [f64::NAN, f64::NEG_INFINITY, -1.0] {
            assert!(matches!(WarmRestarts::new(bad, 1.0, 1), Err(Rate { field: "base_lr", .. })));
            assert!(matches!(WarmRestarts::snapshots(bad, 9, 1), Err(Rate { field: "max_lr", .. })));
            assert!(matches!(good.clone().with_peak_factor(bad), Err(OutOfRange { field: "peak_factor", .. })));
        }
        assert!(matches!(WarmRestarts::new(1.0, 0.5, 1), Err(Reversed { .. })));
        assert!(matches!(WarmRestarts::new(0.0, 0.5, 0), Err(TooSmall { field: "t_0", .. })));
        assert!(matches!(good.clone().with_t_mult(0), Err(TooSmall { field: "t_mult", .. })));
        assert!(matches!(WarmRestarts::snapshots(1.0, 3, 4), Err(TooSmall { field: "total_steps", .. })));
        assert!(matches!(WarmRestarts::snapshots(1.0, 3, 0), Err(TooSmall { field: "snapshots", .. })));
        assert!(matches!(WarmRestarts::snapshots(1.0, 3, 1).unwrap().with_t_mult(2), Err(Conflict { .. })));
        let growing = good.with_t_mult(2).unwrap();
        assert!(matches!(growing.with_cycles(64), Err(HorizonOverflow { field: "cycles", value: 64 })));
    }
}
