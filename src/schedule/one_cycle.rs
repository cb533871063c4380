//! The one-cycle policy: one rise, one fall, and a rate near zero at the end.

use super::curve::Curve;
use super::{Cycle, LrRange, Position, Ramp, Schedule};
use crate::check::{self, serde_checked};
use crate::error::ConfigError;
use crate::numeric;

serde_checked! {
    /// One rise to `max_lr` and one fall far below the start, over a known number of updates.
    ///
    /// # Formula
    ///
    /// ```text
    /// start = max_lr / div_factor        end = start / final_div_factor   (fastai: max_lr / final_div_factor)
    /// rise:  start + (max_lr - start) curve(t / t1)                       for t < t1
    /// two phases:
    /// fall:  end + (max_lr - end) curve((last - t) / (last - t1))         for t1 <= t < last
    /// three phases:
    /// fall:  start + (max_lr - start) curve((t2 - t) / (t2 - t1))         for t1 <= t < t2
    /// then:  end + (start - end) curve((last - t) / (last - t2))          for t2 <= t < last
    /// end                                                                 for t >= last
    /// ```
    ///
    /// With T = `total_steps`, the turns are:
    ///
    /// | dialect | t1 | t2 | last |
    /// |---|---|---|---|
    /// | [`Dialect::Exact`] | `round(rise_fraction (T - 1))` | `round(final_fraction (T - 1))` | `T - 1` |
    /// | [`Dialect::Pytorch`] | `rise_fraction T - 1` | `final_fraction T - 2` | `T - 1` |
    /// | [`Dialect::Fastai`] | `rise_fraction T` | `final_fraction T` | `T` |
    /// | [`Dialect::Optax`] | `floor(rise_fraction T)` | `floor(final_fraction T)` | `T` |
    ///
    /// A phase of length zero or less is skipped. (PyTorch divides by zero there.)
    ///
    /// # Shape
    ///
    #[doc = include_str!("shapes/one_cycle.svg")]
    ///
    /// - at step 0: `start`, exactly (if there is a rise)
    /// - at the turn: `max_lr`, exactly. `Exact` and `Optax` round the turn to a whole step; in the others it may lie
    ///   between two steps
    /// - at the last update, `T - 1`: `end`, exactly, in `Exact` and `Pytorch`; `Fastai` and `Optax` reach it one
    ///   update later
    /// - after that: `end`, held. (PyTorch's linear form continues to values below zero.)
    ///
    /// | option | default | purpose | range |
    /// |---|---|---|---|
    /// | `max_lr` | required | peak | finite, >= 0 |
    /// | `total_steps` | required | updates of the whole run | >= 1 |
    /// | [`with_rise_fraction`](Self::with_rise_fraction) | 0.3 (fastai 0.25, paper 0.45) | share of the rise | [0, 1] |
    /// | [`with_three_phases`](Self::with_three_phases) | off (paper: 0.9) | where the last phase begins | [rise, 1] |
    /// | [`with_div_factors`](Self::with_div_factors) | 25, 1e4 (fastai 25, 1e5; paper 10, 100) | start and end | >= 1 |
    /// | [`with_curve`](Self::with_curve) | cosine (paper: linear) | shape of all phases | |
    ///
    /// In a file: `max_lr`, `total_steps`, `rise_fraction`, `final_fraction` (three phases), `div_factor`, `final_div_factor`, `curve`
    /// and `dialect` (`exact`, `pytorch`, `fastai` or `optax`). The form of the paper is not a dialect but a set of options.
    ///
    /// Another range ([`set_range`](crate::CyclicOptimizer::set_range)) replaces start and peak; the end stays.
    /// Momentum follows the height, which is 0 in the whole third phase.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] for anything outside these ranges.
    ///
    /// # Examples
    ///
    /// ```
    /// use cyclic_optim::{OneCycle, Schedule};
    ///
    /// let schedule = OneCycle::new(0.1, 1000)?;
    /// assert_eq!(schedule.value_at(0), 0.1 / 25.0);
    /// assert_eq!(schedule.value_at(300), 0.1);
    /// assert_eq!(schedule.value_at(999), 0.1 / 25.0 / 1e4);
    /// assert_eq!(schedule.value_at(2000), 0.1 / 25.0 / 1e4);
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    ///
    /// # References
    ///
    /// L. N. Smith and N. Topin, *Super-Convergence*, 2018, arXiv:1708.07120; L. N. Smith, *A disciplined approach to neural
    /// network hyper-parameters*, 2018, arXiv:1803.09820. [`paper`](Self::paper) is the form of the papers, three-phase and
    /// linear. The common two-phase cosine comes from fastai.
    #[derive(Debug, Clone, PartialEq)]
    pub struct OneCycle {
        max_lr: f64,
        total_steps: u64,
        #[cfg_attr(feature = "serde", serde(default))]
        dialect: Dialect,
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        rise_fraction: Option<f64>,
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        final_fraction: Option<f64>,
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        div_factor: Option<f64>,
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        final_div_factor: Option<f64>,
        #[cfg_attr(feature = "serde", serde(default = "cosine"))]
        curve: Curve,
        #[cfg_attr(feature = "serde", serde(skip))]
        phases: Phases,
    }
}

/// The library whose values a [`OneCycle`] has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Dialect {
    /// Turns on whole steps, exact peak and end. The last update uses the end value.
    #[default]
    Exact,
    /// `torch.optim.lr_scheduler.OneCycleLR`.
    Pytorch,
    /// `fit_one_cycle` of fastai 2.
    Fastai,
    /// `optax.cosine_onecycle_schedule` and, with three phases and linear, `linear_onecycle_schedule`.
    Optax,
}

/// What is computed once from the options.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Phases {
    start_lr: f64,
    end_lr: f64,
    /// The end of the rise.
    turn: f64,
    /// The end of the fall to the start, where the last phase begins.
    last_turn: Option<f64>,
    /// The step of the end value.
    last: f64,
}

#[cfg(feature = "serde")]
fn cosine() -> Curve {
    Curve::Cosine
}

impl OneCycle {
    fn with_dialect(max_lr: f64, total_steps: u64, dialect: Dialect) -> Result<Self, ConfigError> {
        Self {
            max_lr,
            total_steps,
            dialect,
            rise_fraction: None,
            final_fraction: None,
            div_factor: None,
            final_div_factor: None,
            curve: Curve::Cosine,
            phases: Phases::default(),
        }
        .check()
    }

    /// Two cosine phases, the turn on a whole step, exact peak and end. The last update uses the end value.
    ///
    /// # Errors
    ///
    /// A negative or non-finite rate, 0 updates.
    pub fn new(max_lr: f64, total_steps: u64) -> Result<Self, ConfigError> {
        Self::with_dialect(max_lr, total_steps, Dialect::Exact)
    }

    /// The values of PyTorch's `OneCycleLR` with its defaults. For its `three_phase=True` add
    /// `.with_three_phases(2.0 * pct_start)`.
    ///
    /// ```
    /// use cyclic_optim::{Curve, OneCycle, ScheduleExt};
    /// // PyTorch's own test case, three phases: pct_start 0.4, div_factor 25, final_div_factor 4.
    /// let schedule = OneCycle::pytorch(25.0, 10)?
    ///     .with_rise_fraction(0.4)?
    ///     .with_three_phases(0.8)?
    ///     .with_div_factors(25.0, 4.0)?
    ///     .with_curve(Curve::Linear);
    /// for (rate, expected) in schedule.values_from(0).zip([1.0, 9.0, 17.0, 25.0, 17.0, 9.0, 1.0, 0.75, 0.5, 0.25]) {
    ///     assert!((rate - expected).abs() < 1e-14);
    /// }
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`new`](Self::new).
    pub fn pytorch(max_lr: f64, total_steps: u64) -> Result<Self, ConfigError> {
        Self::with_dialect(max_lr, total_steps, Dialect::Pytorch)
    }

    /// The values of fastai's `fit_one_cycle` with its defaults.
    ///
    /// # Errors
    ///
    /// See [`new`](Self::new).
    pub fn fastai(max_lr: f64, total_steps: u64) -> Result<Self, ConfigError> {
        Self::with_dialect(max_lr, total_steps, Dialect::Fastai)
    }

    /// The values of optax's `cosine_onecycle_schedule` with its defaults. For its `linear_onecycle_schedule` add
    /// `.with_curve(Curve::Linear).with_three_phases(0.85)`.
    ///
    /// # Errors
    ///
    /// See [`new`](Self::new).
    pub fn optax(max_lr: f64, total_steps: u64) -> Result<Self, ConfigError> {
        Self::with_dialect(max_lr, total_steps, Dialect::Optax)
    }

    /// The form of the papers, with three linear phases. The rate rises from `max_lr / 10` for 45 % of the run, falls back
    /// for 45 %, and falls to a hundredth of its start in the last 10 %.
    ///
    /// # Errors
    ///
    /// See [`new`](Self::new).
    pub fn paper(max_lr: f64, total_steps: u64) -> Result<Self, ConfigError> {
        Self::new(max_lr, total_steps)?
            .with_rise_fraction(0.45)?
            .with_three_phases(0.9)?
            .with_div_factors(10.0, 100.0)
            .map(|one_cycle| one_cycle.with_curve(Curve::Linear))
    }

    /// Sets the share of the run in which the rate rises.
    ///
    /// # Errors
    ///
    /// A share outside [0, 1].
    pub fn with_rise_fraction(mut self, rise_fraction: f64) -> Result<Self, ConfigError> {
        self.rise_fraction = Some(rise_fraction);
        self.check()
    }

    /// Uses three phases: the rate falls back to the start value, and from `final_fraction` of the run on it falls to
    /// the end value.
    ///
    /// # Errors
    ///
    /// A share outside [0, 1] or below the share of the rise.
    pub fn with_three_phases(mut self, final_fraction: f64) -> Result<Self, ConfigError> {
        self.final_fraction = Some(final_fraction);
        self.check()
    }

    /// Sets the divisors for the start and the end: `max_lr / div_factor` and `start / final_div_factor`
    /// (fastai: `max_lr / final_div_factor`).
    ///
    /// # Errors
    ///
    /// A divisor below 1.
    pub fn with_div_factors(mut self, div_factor: f64, final_div_factor: f64) -> Result<Self, ConfigError> {
        self.div_factor = Some(div_factor);
        self.final_div_factor = Some(final_div_factor);
        self.check()
    }

    /// Sets the shape of all phases.
    #[must_use]
    pub fn with_curve(mut self, curve: Curve) -> Self {
        self.curve = curve;
        self
    }

    fn check(mut self) -> Result<Self, ConfigError> {
        let fastai = self.dialect == Dialect::Fastai;
        let rise = self.rise_fraction.unwrap_or(if fastai { 0.25 } else { 0.3 });
        let div_factor = self.div_factor.unwrap_or(25.0);
        let final_div_factor = self.final_div_factor.unwrap_or(if fastai { 1e5 } else { 1e4 });
        check::schedule_rate("max_lr", &mut self.max_lr)?;
        check::length("total_steps", self.total_steps)?;
        check::fraction("rise_fraction", rise)?;
        check::divisor("div_factor", div_factor)?;
        check::divisor("final_div_factor", final_div_factor)?;
        if let Some(last) = self.final_fraction {
            check::fraction("final_fraction", last)?;
            check::ordered(("rise_fraction", rise), ("final_fraction", last))?;
        }

        let start_lr = self.max_lr / div_factor;
        let total = numeric::float(self.total_steps);
        let last_step = self.total_steps - 1;
        let turn_at = |fraction: f64, pytorch_offset: f64| match self.dialect {
            Dialect::Exact => numeric::float(numeric::nearest_step(fraction, last_step)),
            Dialect::Pytorch => fraction * total - pytorch_offset,
            Dialect::Fastai => fraction * total,
            Dialect::Optax => numeric::floor(fraction * total),
        };
        self.phases = Phases {
            start_lr,
            end_lr: if fastai { self.max_lr } else { start_lr } / final_div_factor,
            turn: turn_at(rise, 1.0),
            last_turn: self.final_fraction.map(|fraction| turn_at(fraction, 2.0)),
            last: match self.dialect {
                Dialect::Exact | Dialect::Pytorch => numeric::float(last_step),
                Dialect::Fastai | Dialect::Optax => total,
            },
        };
        Ok(self)
    }
}

impl Schedule for OneCycle {
    #[inline]
    fn value_at(&self, step: u64) -> f64 {
        self.point_at(step, None).value
    }

    fn horizon(&self) -> Option<u64> {
        Some(self.total_steps)
    }

    fn range(&self) -> Option<LrRange> {
        Some(LrRange { base_lr: self.phases.start_lr, max_lr: self.max_lr })
    }

    #[inline]
    fn cycle_at(&self, step: u64) -> Option<Cycle> {
        (step < self.total_steps).then_some(Cycle { index: 0, place: step, length: self.total_steps })
    }

    fn ramp_at(&self, position: &Position, range: Option<LrRange>) -> Option<Ramp> {
        let Phases { start_lr, end_lr, turn, last_turn, last } = self.phases;
        let (start_lr, max_lr) = range.map_or((start_lr, self.max_lr), |range| (range.base_lr, range.max_lr));
        let t = numeric::float(position.step);
        Some(match last_turn {
            _ if t < turn => Ramp::rise(0, turn, self.curve, start_lr, max_lr),
            Some(last_turn) if t < last_turn => Ramp::fall(0, (turn, last_turn), self.curve, max_lr, start_lr),
            Some(last_turn) if t < last => Ramp::fall(0, (last_turn, last), self.curve, start_lr, end_lr).below_base(),
            None if t < last => Ramp::fall(0, (turn, last), self.curve, max_lr, end_lr),
            _ => Ramp::hold(end_lr).below_base(),
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use approx::assert_abs_diff_eq;

    use super::*;
    use crate::schedule::ScheduleExt;

    fn assert_values(schedule: &OneCycle, expected: &[f64], epsilon: f64) {
        for (step, (value, expected)) in schedule.values_from(0).zip(expected).enumerate() {
            assert_abs_diff_eq!(value, *expected, epsilon = epsilon);
            assert!(step < 11);
        }
    }

    #[test]
    fn dialects() {
        // Values of fastai 2, optax 0.2.8 and PyTorch 2.15.0 with max 25, total 10 and their defaults.
        let pytorch = OneCycle::pytorch(25.0, 10).unwrap();
        let tail = [23.762_116, 20.293_641, 15.281_551, 9.718_549, 4.706_459, 1.237_984, 0.0001];
        assert_values(&pytorch, &[&[1.0, 13.0, 25.0], &tail[..]].concat(), 1e-6);
        let fastai = OneCycle::fastai(25.0, 10).unwrap();
        let expected = [
            1.0, 9.291_796, 22.708_204, 24.726_848, 22.612_736, 18.750_063, 13.806_718, 8.637_451, 4.136_076, 1.080_921,
        ];
        assert_values(&fastai, &expected, 1e-6);
        let optax = OneCycle::optax(25.0, 10).unwrap();
        assert_values(&optax, &[&[1.0, 7.0, 19.0, 25.0], &tail[..]].concat(), 1e-6);
        let linear = optax.with_curve(Curve::Linear).with_three_phases(0.85).unwrap();
        assert_values(&linear, &[1.0, 9.0, 17.0, 25.0, 20.2, 15.4, 10.6, 5.8, 1.0, 0.500_05, 0.0001], 1e-12);
    }

    #[test]
    fn the_paper() {
        let schedule = OneCycle::paper(1.0, 101).unwrap();
        let at = |step| schedule.value_at(step);
        assert_eq!((at(0), at(45), at(90), at(100)), (0.1, 1.0, 0.1, 0.001));
        assert_abs_diff_eq!(at(95), 0.0505, epsilon = 1e-15);
        assert_eq!(schedule.height_at(95), Some(0.0));
    }

    #[test]
    fn a_phase_of_no_length_is_skipped() {
        // PyTorch 2.15.0 raises ZeroDivisionError for both.
        for (total, rise) in [(10, 0.1), (5, 0.2)] {
            let schedule = OneCycle::pytorch(1.0, total).unwrap().with_rise_fraction(rise).unwrap();
            assert_eq!(schedule.value_at(0), 1.0);
            assert_eq!(schedule.value_at(total - 1), 1.0 / 25.0 / 1e4);
        }
        let single = OneCycle::new(1.0, 1).unwrap();
        assert_eq!(single.values_from(0).take(3).collect::<Vec<_>>(), [1.0 / 25.0 / 1e4; 3]);
    }

    #[test]
    fn every_precondition() {
        use ConfigError::{OutOfRange, Rate, Reversed, TooSmall};
        let good = OneCycle::new(1.0, 10).unwrap();
        for bad in [f64::NAN, f64::INFINITY, -0.1] {
            assert!(matches!(OneCycle::new(bad, 10), Err(Rate { field: "max_lr", .. })));
            assert!(matches!(good.clone().with_rise_fraction(bad), Err(OutOfRange { field: "rise_fraction", .. })));
            assert!(matches!(good.clone().with_three_phases(bad), Err(OutOfRange { field: "final_fraction", .. })));
            assert!(matches!(good.clone().with_div_factors(bad, 1.0), Err(OutOfRange { field: "div_factor", .. })));
            assert!(matches!(good.clone().with_div_factors(1.0, bad), Err(OutOfRange { .. })));
        }
        assert!(matches!(good.clone().with_rise_fraction(1.1), Err(OutOfRange { value: 1.1, .. })));
        assert!(matches!(good.with_three_phases(0.2), Err(Reversed { .. })));
        assert!(matches!(OneCycle::new(1.0, 0), Err(TooSmall { field: "total_steps", .. })));
    }
}
