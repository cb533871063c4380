//! Cyclical learning rates: from a base up to a peak and down again, in cycles.

#[cfg(feature = "serde")]
mod file;

use super::curve::Curve;
use super::cycles::Cycles;
use super::{Cycle, LrRange, Position, Ramp, Schedule, inverse_time};
use crate::check;
use crate::error::ConfigError;
use crate::numeric;

/// A rate that rises from `base_lr` to a peak and falls again, cycle after cycle.
///
/// # Formula
///
/// ```text
/// c, r      = cycle and place in it (integers)          L = updates in the cycle     u = updates that rise
/// k         = amplitude of the cycle, see [`Amplitude`]
/// peak      = base_lr + (max_lr - base_lr) k
/// value     = base_lr + (peak - base_lr) rise(r / u)               for r <  u
///           = end_lr  + (peak - end_lr)  fall((L - r) / (L - u))   for r >= u
/// ```
///
/// `rise` and `fall` are [`Curve`]s, linear unless set otherwise.
///
/// # Shape
///
#[doc = include_str!("../shapes/cyclic.svg")]
///
/// - at step 0: `base_lr`, exactly (the peak, if `up_fraction` is 0)
/// - at each turn: the peak of the cycle, exactly (`max_lr` at full amplitude). If an `up_fraction` puts the turn between two
///   updates, neither reaches the peak
/// - the lowest rate after a fall is update 0 of the *next* cycle
/// - after the last of a limited number of cycles: `end_lr`, held
///
/// | option | default | purpose | range |
/// |---|---|---|---|
/// | `base_lr`, `max_lr` | required | lowest rate and peak of a cycle | finite, 0 <= `base_lr` <= `max_lr` |
/// | `step_size` | required | *half* a cycle, in updates | >= 1 |
/// | [`with_step_sizes`](Self::with_step_sizes) | equal | lengths of rise and fall | >= 1 each |
/// | [`with_step_divisor`](Self::with_step_divisor) | 1 | divides the step sizes; the results need not be whole numbers | >= 1, at most a step size |
/// | [`with_end_lr`](Self::with_end_lr) | `base_lr` | where the fall ends | finite, 0 <= `end_lr` <= `max_lr` |
/// | [`with_curves`](Self::with_curves) | linear | shape of rise and fall | |
/// | [`with_amplitude`](Self::with_amplitude) | constant | how the peaks shrink or grow | see [`Amplitude`] |
/// | [`with_cycles`](Self::with_cycles) | endless | number of cycles | >= 1 |
/// | `total_steps`, `cycles` of [`over_total`](Self::over_total) | | in place of `step_size` | 1 <= `cycles` <= `total_steps` |
/// | `up_fraction` of [`over_total`](Self::over_total) | 0.5 in files | share of each cycle that rises | [0, 1] |
///
/// In a file the parameters and options have these names, without `with_`. The length of a cycle is given in one of
/// three ways: as `step_size`; as `step_size_up` and `step_size_down`; or as `total_steps`, `cycles` and `up_fraction`.
/// The first two can have a `step_divisor`. The curves are `rise` and `fall`.
///
/// # Errors
///
/// A [`ConfigError`] for anything outside these ranges.
///
/// # Examples
///
/// ```
/// use cyclic_optim::{Cyclic, Schedule};
///
/// let schedule = Cyclic::triangular(0.001, 0.006, 2000)?;
/// assert_eq!(schedule.value_at(0), 0.001);
/// assert_eq!(schedule.value_at(1000), 0.0035);
/// assert_eq!(schedule.value_at(2000), 0.006);
/// assert_eq!(schedule.value_at(4000), 0.001);
/// # Ok::<(), cyclic_optim::ConfigError>(())
/// ```
///
/// # References
///
/// L. N. Smith, *Cyclical Learning Rates for Training Neural Networks*, 2017, arXiv:1506.01186. Triangular, triangular2
/// and `exp_range` have the values of the author's code and of PyTorch's `CyclicLR`. Cycles are counted from 0 here.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "file::CyclicFile", into = "file::CyclicFile"))]
pub struct Cyclic {
    range: LrRange,
    end_lr: Option<f64>,
    cycles: Cycles,
    turn: Turn,
    rise: Curve,
    fall: Curve,
    amplitude: Amplitude,
    /// The binary logarithm of the amplitude's factor or gamma; 0 without one.
    log2_amplitude: f64,
}

/// How the peaks of the cycles shrink or grow: the share of the range that the peak of a cycle reaches.
///
/// Config files can hold each of these. For an amplitude from a function of your own see
/// [`ScaledCyclic`](crate::ScaledCyclic).
///
/// | amplitude | share in cycle c, counted from 0 | in a file | range |
/// |---|---|---|---|
/// | `Constant` | 1 (triangular) | `"constant"` | |
/// | `Halving` | 2^-c (triangular2) | `"halving"` | |
/// | `Factor` | factor^c | `{"factor": 0.5}` | (0, inf); above 1 only for a limited number of cycles |
/// | `Gamma` | gamma^step (`exp_range`) | `{"gamma": 0.9999}` | (0, 1] |
/// | `Cosine` | (1 + cos(2 pi c / period)) / 2 | `{"cosine": 4}` | period >= 1 |
/// | `InverseTime` | 1 / (1 + rate c) | `{"inverse_time": 1.0}` | [0, inf) |
///
/// The sine of the Keras callbacks' README, `0.5 * (1 + sin(x * pi / 2))` with cycles counted from 1, is `Cosine(4)`, which
/// repeats 1, 1/2, 0, 1/2. Its `1 / 5^(x * 0.0001)` under `scale_mode = 'iterations'` is `Gamma(5^-0.0001)`.
///
/// ```
/// use cyclic_optim::{Amplitude, Cyclic, Schedule};
/// let waves = Cyclic::triangular(0.0, 1.0, 10)?.with_amplitude(Amplitude::Cosine(4))?;
/// assert_eq!([10, 30, 50, 70, 90].map(|peak| waves.value_at(peak)), [1.0, 0.5, 0.0, 0.5, 1.0]);
/// let growing = Cyclic::triangular(0.0, 0.1, 10)?.with_cycles(3)?.with_amplitude(Amplitude::Factor(2.0))?;
/// assert_eq!([10, 30, 50].map(|peak| growing.value_at(peak)), [0.1, 0.2, 0.4]);
/// # Ok::<(), cyclic_optim::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Amplitude {
    /// All peaks reach `max_lr` (triangular).
    #[default]
    Constant,
    /// Each cycle is half as high as the one before: 2^-cycle (triangular2).
    Halving,
    /// Each cycle is this factor times as high as the one before: factor^cycle. A factor above 1 makes the peaks grow.
    Factor(f64),
    /// The height shrinks with every update: gamma^step (`exp_range`).
    Gamma(f64),
    /// The height swings between 1 and 0 with this period, in cycles: (1 + cos(2 pi cycle / period)) / 2.
    Cosine(u64),
    /// The height shrinks as 1 / (1 + rate cycle).
    InverseTime(f64),
}

/// Where in a cycle the rise ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Turn {
    /// After a number of updates.
    Step(u64),
    /// After a share of the cycle, which may lie between two updates.
    Fraction(f64),
}

impl Cyclic {
    fn checked(mut range: LrRange, cycles: Cycles, turn: Turn, amplitude: Amplitude) -> Result<Self, ConfigError> {
        range.check()?;
        if let Turn::Fraction(fraction) = turn {
            check::fraction("up_fraction", fraction)?;
        }
        let log2_amplitude = match amplitude {
            Amplitude::Constant | Amplitude::Halving => 0.0,
            Amplitude::Cosine(period) => {
                check::length("cosine", period)?;
                0.0
            }
            Amplitude::InverseTime(rate) => {
                check::non_negative("inverse_time", rate)?;
                0.0
            }
            Amplitude::Factor(factor) => {
                check::positive("factor", factor)?;
                numeric::log2(factor)
            }
            Amplitude::Gamma(gamma) => {
                check::gamma("gamma", gamma)?;
                numeric::log2(gamma)
            }
        };
        let cyclic = Self {
            range,
            end_lr: None,
            cycles: cycles.check()?,
            turn,
            rise: Curve::Linear,
            fall: Curve::Linear,
            amplitude,
            log2_amplitude,
        };
        cyclic.check_growth()?;
        Ok(cyclic)
    }

    /// Checks that growing peaks belong to a limited number of cycles, and that the last peak is finite.
    fn check_growth(&self) -> Result<(), ConfigError> {
        match self.amplitude {
            Amplitude::Factor(factor) => self.cycles.check_growth("factor", factor, self.peak()),
            _ => Ok(()),
        }
    }

    fn symmetric(base_lr: f64, max_lr: f64, step_size: u64, amplitude: Amplitude) -> Result<Self, ConfigError> {
        let (turn, cycles) = halves(("step_size", step_size), ("step_size", step_size))?;
        Self::checked(LrRange { base_lr, max_lr }, cycles, turn, amplitude)
    }

    /// Triangles of equal height; `step_size` is *half* a cycle, in updates.
    ///
    /// # Errors
    ///
    /// A negative or non-finite rate, `base_lr` above `max_lr`, a `step_size` of 0 or above half of `u64`.
    pub fn triangular(base_lr: f64, max_lr: f64, step_size: u64) -> Result<Self, ConfigError> {
        Self::symmetric(base_lr, max_lr, step_size, Amplitude::Constant)
    }

    /// Triangles, each half as high as the one before.
    ///
    /// # Errors
    ///
    /// As [`triangular`](Self::triangular).
    pub fn triangular2(base_lr: f64, max_lr: f64, step_size: u64) -> Result<Self, ConfigError> {
        Self::symmetric(base_lr, max_lr, step_size, Amplitude::Halving)
    }

    /// Triangles whose height shrinks by `gamma` with every update. As in the original code, updates are counted since the
    /// reset, not since the start of the cycle.
    ///
    /// # Errors
    ///
    /// As [`triangular`](Self::triangular), and `gamma` outside (0, 1].
    pub fn exp_range(base_lr: f64, max_lr: f64, step_size: u64, gamma: f64) -> Result<Self, ConfigError> {
        Self::symmetric(base_lr, max_lr, step_size, Amplitude::Gamma(gamma))
    }

    /// Exactly `cycles` cycles (M) over `total_steps` updates (T). Cycle k covers the updates from `floor(k T / M)` to
    /// `floor((k + 1) T / M)`, so no short cycle is left over at the end. The rate rises in the first `up_fraction` of
    /// each cycle.
    ///
    /// # Errors
    ///
    /// As [`triangular`](Self::triangular), fewer updates than cycles, and `up_fraction` outside [0, 1].
    ///
    /// ```
    /// use cyclic_optim::{Curve, Cyclic, Schedule};
    ///
    /// // psklight/keras_one_cycle_clr: cosine up, cosine down to 0.
    /// let schedule = Cyclic::over_total(0.002, 0.01, 600, 3, 0.3)?
    ///     .with_curves(Curve::Cosine, Curve::Cosine)
    ///     .with_end_lr(0.0)?;
    /// assert_eq!(schedule.value_at(60), 0.01);
    /// assert_eq!(schedule.horizon(), Some(600));
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    pub fn over_total(
        base_lr: f64,
        max_lr: f64,
        total_steps: u64,
        cycles: u64,
        up_fraction: f64,
    ) -> Result<Self, ConfigError> {
        Self::checked(
            LrRange { base_lr, max_lr },
            Cycles::Split { total: total_steps, count: cycles },
            Turn::Fraction(up_fraction),
            Amplitude::Constant,
        )
    }

    /// Sets the lengths of the rise and of the fall, in updates, instead of one `step_size` for both.
    ///
    /// # Errors
    ///
    /// A length of 0; a cycle longer than `u64`; a schedule made by [`over_total`](Self::over_total). A schedule that already
    /// has a [`step_divisor`](Self::with_step_divisor): set the step sizes first.
    pub fn with_step_sizes(mut self, step_size_up: u64, step_size_down: u64) -> Result<Self, ConfigError> {
        let Cycles::Equal { count, .. } = self.cycles else {
            return Err(ConfigError::Conflict {
                field: "step_size",
                problem: "cannot be given together with total_steps, or after step_divisor",
            });
        };
        let (turn, cycles) = halves(("step_size_up", step_size_up), ("step_size_down", step_size_down))?;
        (self.turn, self.cycles) = (turn, cycles.limited(count)?);
        Ok(self)
    }

    /// Divides the step sizes by `step_divisor`, without rounding: half a cycle is then `step_size / step_divisor`
    /// updates. The Keras callbacks allow a `step_size` that is not a whole number, such as 2.5: write it as 5 with a
    /// divisor of 2.
    ///
    /// A cycle may then begin between two updates, and so may its peak, which no update reaches in that case. The place in
    /// a cycle is still found by integer arithmetic, so it is exact for every step.
    ///
    /// ```
    /// use cyclic_optim::{Cyclic, ScheduleExt};
    /// // keras-contrib's CyclicLR with step_size 2.5.
    /// let schedule = Cyclic::triangular(0.0, 1.0, 5)?.with_step_divisor(2)?;
    /// let rates: Vec<f64> = schedule.values_from(0).take(6).collect();
    /// assert_eq!(rates, [0.0, 0.4, 0.8, 0.8, 0.4, 0.0]);
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A divisor of 0, one above a step size (half a cycle would be shorter than an update), a step size above 2^52 (a
    /// larger one is not exact as a float), and a schedule made by [`over_total`](Self::over_total).
    pub fn with_step_divisor(mut self, step_divisor: u64) -> Result<Self, ConfigError> {
        let (Turn::Step(up), Cycles::Equal { length, count } | Cycles::Fractional { length, count, .. }) =
            (self.turn, self.cycles)
        else {
            return Err(ConfigError::Conflict {
                field: "step_divisor",
                problem: "cannot be given together with total_steps",
            });
        };
        check::length("step_divisor", step_divisor)?;
        for size in [up, length - up] {
            check::at_least("step_size", size, step_divisor)?;
            if size > 1 << 52 {
                let value = numeric::float(size);
                return Err(ConfigError::OutOfRange { field: "step_size", value, range: "[1, 2^52]" });
            }
        }
        self.cycles = if step_divisor == 1 {
            Cycles::Equal { length, count }
        } else {
            Cycles::Fractional { length, divisor: step_divisor, count }
        }
        .check()?;
        Ok(self)
    }

    /// Ends each fall at `end_lr` instead of `base_lr`. The next cycle still starts at `base_lr`. A range that is set later
    /// does not change `end_lr`.
    ///
    /// # Errors
    ///
    /// An `end_lr` that is not finite, negative, or above `max_lr`.
    pub fn with_end_lr(mut self, mut end_lr: f64) -> Result<Self, ConfigError> {
        check::schedule_rate("end_lr", &mut end_lr)?;
        check::ordered(("end_lr", end_lr), ("max_lr", self.range.max_lr))?;
        self.end_lr = Some(end_lr);
        Ok(self)
    }

    /// Sets the shapes of the rise and of the fall.
    #[must_use]
    pub fn with_curves(mut self, rise: Curve, fall: Curve) -> Self {
        (self.rise, self.fall) = (rise, fall);
        self
    }

    /// Sets how the peaks shrink or grow.
    ///
    /// # Errors
    ///
    /// A number outside the range in the table of [`Amplitude`], a factor above 1 for endless cycles (limit them first), or one
    /// that makes the last peak infinite.
    pub fn with_amplitude(self, amplitude: Amplitude) -> Result<Self, ConfigError> {
        let Self { range, end_lr, cycles, turn, rise, fall, .. } = self;
        Ok(Self { end_lr, rise, fall, ..Self::checked(range, cycles, turn, amplitude)? })
    }

    /// Stops after `cycles` cycles and holds the end value.
    ///
    /// # Errors
    ///
    /// 0 cycles, more than `u64` updates, a schedule made by [`over_total`](Self::over_total), and growing peaks that would
    /// become infinite.
    pub fn with_cycles(mut self, cycles: u64) -> Result<Self, ConfigError> {
        self.cycles = self.cycles.limited(Some(cycles))?;
        self.check_growth()?;
        Ok(self)
    }

    /// The ramp at `position` with a peak of full amplitude.
    #[inline]
    pub(super) fn full_ramp(&self, position: &Position, range: Option<LrRange>) -> Ramp {
        let LrRange { base_lr, max_lr } = range.unwrap_or(self.range);
        let end_lr = self.end_lr.unwrap_or(base_lr);
        let Some(Cycle { index, place, length }) = position.cycle else { return Ramp::hold(end_lr).below_base() };
        let start = position.step.saturating_sub(place);
        if let (Turn::Step(up), Cycles::Fractional { length: whole, divisor, .. }) = (self.turn, self.cycles) {
            // How long after the start of the cycle its first update comes, in units of `1 / divisor` of an update. All these
            // numbers are integers of at most 2^53, so floats hold them exactly.
            let late = late(start, divisor, index, whole);
            let pace = numeric::float(divisor);
            return if late + place * divisor < up {
                let rise = Ramp::rise(start, numeric::float(up), self.rise, base_lr, max_lr);
                rise.with_pace(late, pace).until((up - late).div_ceil(divisor))
            } else {
                let fall = Ramp::fall(start, (0.0, numeric::float(whole - up)), self.fall, max_lr, end_lr);
                fall.with_pace(whole - late, -pace).until(length)
            };
        }
        match self.turn {
            Turn::Step(turn) if place < turn => Ramp::rise(start, numeric::float(turn), self.rise, base_lr, max_lr),
            Turn::Step(turn) => {
                let fall = numeric::float(length.saturating_sub(turn));
                Ramp::fall(start.saturating_add(turn), (0.0, fall), self.fall, max_lr, end_lr)
            }
            Turn::Fraction(fraction) => {
                let length = numeric::float(length);
                let turn = fraction * length;
                // Without a fall the whole cycle rises. The second condition is for cycles so long that a float rounds
                // the last places up to the length.
                if numeric::float(place) < turn || turn >= length {
                    Ramp::rise(start, turn, self.rise, base_lr, max_lr)
                } else {
                    Ramp::fall(start, (turn, length), self.fall, max_lr, end_lr)
                }
            }
        }
    }
}

/// How long update `start` comes after the start of cycle `index`, in units of `1 / divisor` of an update: less than
/// `divisor`.
fn late(start: u64, divisor: u64, index: u64, length: u64) -> u64 {
    let late = u128::from(start) * u128::from(divisor) - u128::from(index) * u128::from(length);
    u64::try_from(late).unwrap_or(0)
}

/// The turn and the cycles for a rise and a fall of these lengths.
fn halves(up: (&'static str, u64), down: (&'static str, u64)) -> Result<(Turn, Cycles), ConfigError> {
    check::length(up.0, up.1)?;
    check::length(down.0, down.1)?;
    let length = up.1.checked_add(down.1).ok_or(ConfigError::HorizonOverflow { field: up.0, value: up.1 })?;
    Ok((Turn::Step(up.1), Cycles::Equal { length, count: None }))
}

impl Schedule for Cyclic {
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
        self.cycles.highest_peak(range, self.log2_amplitude)
    }

    #[inline]
    fn cycle_at(&self, step: u64) -> Option<Cycle> {
        self.cycles.locate(step)
    }

    fn cycle_start(&self, index: u64) -> Option<u64> {
        self.cycles.cycle_start(index)
    }

    #[inline]
    fn ramp_at(&self, position: &Position, range: Option<LrRange>) -> Option<Ramp> {
        let full = self.full_ramp(position, range);
        let Some(Cycle { index, .. }) = position.cycle else { return Some(full) };
        let range = range.unwrap_or(self.range);
        Some(match self.amplitude {
            Amplitude::Constant => full,
            Amplitude::Halving => full.with_amplitude(range, numeric::halved(index)),
            Amplitude::Factor(_) => full.with_amplitude(range, numeric::power(self.log2_amplitude, index)),
            Amplitude::Cosine(period) => {
                // Measured from the nearer end of the period, so that the wave is symmetric and every period has the
                // same bits.
                let place = index % period;
                let half_turns = 2.0 * numeric::fraction(place.min(period - place), period);
                full.with_amplitude(range, Curve::Cosine.height(1.0 - half_turns))
            }
            Amplitude::InverseTime(rate) => full.with_amplitude(range, inverse_time(1.0, rate, index)),
            Amplitude::Gamma(_) => full.with_gamma(range, self.log2_amplitude),
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::schedule::ScheduleExt;

    fn values(schedule: &Cyclic, n: usize) -> Vec<f64> {
        schedule.values_from(0).take(n).collect()
    }

    #[test]
    fn triangles() {
        // PyTorch's own test table for CyclicLR: base 1, max 5, step_size_up 4.
        let triangular = Cyclic::triangular(1.0, 5.0, 4).unwrap();
        assert_eq!(values(&triangular, 11), [1.0, 2.0, 3.0, 4.0, 5.0, 4.0, 3.0, 2.0, 1.0, 2.0, 3.0]);
        let triangular2 = Cyclic::triangular2(1.0, 5.0, 4).unwrap();
        assert_eq!(values(&triangular2, 14)[8..], [1.0, 1.5, 2.0, 2.5, 3.0, 2.5]);
    }

    #[test]
    fn a_limited_number_of_cycles_ends_and_holds() {
        let schedule = Cyclic::triangular(1.0, 5.0, 2).unwrap().with_cycles(1).unwrap().with_end_lr(0.5).unwrap();
        assert_eq!(values(&schedule, 7), [1.0, 3.0, 5.0, 2.75, 0.5, 0.5, 0.5]);
        assert_eq!((schedule.horizon(), schedule.cycle_at(4)), (Some(4), None));
        assert_eq!(schedule.value_at(u64::MAX), 0.5);
    }

    #[test]
    fn a_turn_between_two_steps() {
        // keras-contrib with step_size 2.5, base 0, max 1.
        let schedule = Cyclic::over_total(0.0, 1.0, 10, 2, 0.5).unwrap();
        assert_eq!(values(&schedule, 11), [0.0, 0.4, 0.8, 0.8, 0.4, 0.0, 0.4, 0.8, 0.8, 0.4, 0.0]);
    }

    #[test]
    fn every_precondition() {
        use ConfigError::{Conflict, HorizonOverflow, OutOfRange, Rate, Reversed, TooSmall};
        for bad in [f64::NAN, f64::INFINITY, -1.0] {
            assert!(matches!(Cyclic::triangular(bad, 1.0, 1), Err(Rate { field: "base_lr", .. })));
            assert!(matches!(Cyclic::triangular(0.0, bad, 1), Err(Rate { field: "max_lr", .. })));
            assert!(matches!(Cyclic::exp_range(0.0, 1.0, 1, bad), Err(OutOfRange { field: "gamma", .. })));
            assert!(matches!(Cyclic::over_total(0.0, 1.0, 9, 3, bad), Err(OutOfRange { field: "up_fraction", .. })));
        }
        let good = Cyclic::triangular(0.1, 1.0, 5).unwrap();
        assert!(matches!(Cyclic::triangular(2.0, 1.0, 1), Err(Reversed { low_field: "base_lr", .. })));
        assert!(matches!(good.clone().with_end_lr(2.0), Err(Reversed { low_field: "end_lr", .. })));
        assert!(matches!(Cyclic::triangular(0.0, 1.0, 0), Err(TooSmall { field: "step_size", .. })));
        assert!(matches!(good.clone().with_step_sizes(1, 0), Err(TooSmall { field: "step_size_down", .. })));
        assert!(matches!(good.clone().with_cycles(0), Err(TooSmall { field: "cycles", .. })));
        assert!(matches!(good.clone().with_cycles(u64::MAX), Err(HorizonOverflow { field: "cycles", .. })));
        assert!(matches!(Cyclic::triangular(0.0, 1.0, u64::MAX), Err(HorizonOverflow { field: "step_size", .. })));
        assert!(matches!(Cyclic::over_total(0.0, 1.0, 2, 3, 0.5), Err(TooSmall { field: "total_steps", .. })));
        assert!(matches!(Cyclic::over_total(0.0, 1.0, 2, 0, 0.5), Err(TooSmall { field: "cycles", .. })));
        assert!(matches!(good.clone().with_amplitude(Amplitude::Factor(0.0)), Err(OutOfRange { field: "factor", .. })));
        let growing = good.clone().with_cycles(3).unwrap().with_amplitude(Amplitude::Factor(2.0)).unwrap();
        assert_eq!((growing.peak(), growing.value_at(25)), (0.1 + 0.9 * 4.0, 0.1 + 0.9 * 4.0));
        assert!(matches!(growing.with_cycles(3000), Err(Rate { field: "the last peak", .. })));
        assert!(matches!(good.clone().with_amplitude(Amplitude::Factor(1.1)), Err(Conflict { field: "factor", .. })));
        for bad in [f64::NAN, f64::INFINITY, -1.0] {
            let factor = good.clone().with_amplitude(Amplitude::Factor(bad));
            assert!(matches!(factor, Err(OutOfRange { field: "factor", .. })));
            let rate = good.clone().with_amplitude(Amplitude::InverseTime(bad));
            assert!(matches!(rate, Err(OutOfRange { field: "inverse_time", .. })));
        }
        assert!(matches!(good.clone().with_amplitude(Amplitude::Cosine(0)), Err(TooSmall { field: "cosine", .. })));
        assert!(matches!(good.clone().with_step_divisor(6), Err(TooSmall { field: "step_size", minimum: 6, .. })));
        let long = Cyclic::triangular(0.0, 1.0, 1 << 53).unwrap();
        assert!(matches!(long.with_step_divisor(2), Err(OutOfRange { field: "step_size", .. })));
        let split = Cyclic::over_total(0.0, 1.0, 9, 3, 0.5).unwrap();
        assert!(matches!(split.clone().with_step_divisor(2), Err(Conflict { field: "step_divisor", .. })));
        assert!(matches!(split.clone().with_cycles(2), Err(Conflict { .. })));
        assert!(matches!(split.with_step_sizes(1, 1), Err(Conflict { .. })));
    }
}
