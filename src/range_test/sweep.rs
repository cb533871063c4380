//! The sweep of a range test: its rates, the batches at each rate, and the rules for stopping.

use alloc::vec::Vec;

use thiserror::Error;

use super::{IntoResult, LossCurve, LossPoint, StopReason};
use crate::check;
use crate::error::ConfigError;
use crate::feedback::divergence::Divergence;
use crate::numeric;

/// A learning-rate range test: the rates of its sweep and the rules for stopping.
///
/// # Formula
///
/// | sweep | rate of step i |
/// |---|---|
/// | [`logarithmic`](Self::logarithmic) | `min_lr (max_lr / min_lr)^(i / (steps - 1))` |
/// | [`linear`](Self::linear) | `min_lr + (max_lr - min_lr) i / (steps - 1)` |
/// | [`multiplied`](Self::multiplied) | `min_lr multiplier^i`, up to the first rate of at least `max_lr` |
///
/// The first and the last rate of the first two sweeps are exactly `min_lr` and `max_lr`. The loss of a step is the mean over its
/// batches; the loss of a batch is taken before its update.
///
/// The sweep stops after its last rate, after a loss that is not finite, or when the smoothed loss exceeds
///
/// ```text
/// best + (divergence - 1) max(|best|, (first - best) / 100)
/// ```
///
/// which is `divergence` times the best smoothed loss so far, unless that best loss is negative or close to 0. The smoothed loss is
/// a bias-corrected exponential mean, so one unusual batch does not end the test. The last point is always part of the curve. If
/// there is a validation loss, these rules use it instead of the training loss.
///
/// | option | default | purpose | range |
/// |---|---|---|---|
/// | `min_lr`, `max_lr` | required | ends of the sweep | finite, `min_lr` < `max_lr`; above 0 unless linear |
/// | `steps` | required | number of rates | >= 2 |
/// | `multiplier` | required | ratio of neighbouring rates | (1, inf) |
/// | [`with_batches_per_step`](Self::with_batches_per_step) | 1 | batches at each rate | >= 1 |
/// | [`with_divergence`](Self::with_divergence) | 5 | see above | (1, inf), or [off](Self::without_divergence) |
/// | [`with_divergence_smoothing`](Self::with_divergence_smoothing) | 0.9 | weight of the past losses | [0, 1), 0 = none |
/// | [`with_max_loss`](Self::with_max_loss) | none | absolute limit | not NaN |
/// | [`with_max_loss_factor`](Self::with_max_loss_factor) | none (nupam: 10) | limit as a multiple of the first loss | (1, inf) |
/// | [`with_max_steps`](Self::with_max_steps) | none | limit of the number of steps | >= 1 |
/// | [`with_report`](Self::with_report) | none | called after each step, for instance to print it | |
///
/// # Errors
///
/// A [`ConfigError`] if a value is outside its range.
///
/// # Examples
///
/// ```
/// use cyclic_optim::range_test::RangeTest;
/// let rates: Vec<f64> = RangeTest::logarithmic(0.001, 1.0, 4)?.rates().collect();
/// assert_eq!((rates[0], rates[3]), (0.001, 1.0));
/// assert!((rates[1] - 0.01).abs() < 1e-15);
/// # Ok::<(), cyclic_optim::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RangeTest {
    min_lr: f64,
    max_lr: f64,
    steps: u64,
    spacing: Spacing,
    batches_per_step: u64,
    divergence: Option<f64>,
    divergence_alpha: f64,
    max_loss: Option<f64>,
    max_loss_factor: Option<f64>,
    max_steps: Option<u64>,
    report: Option<Report>,
}

/// What is called after each step.
#[derive(Debug, Clone, Copy)]
struct Report(fn(&LossPoint));

impl PartialEq for Report {
    fn eq(&self, other: &Self) -> bool {
        core::ptr::fn_addr_eq(self.0, other.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Spacing {
    Linear,
    /// Holds `log2(max_lr / min_lr)`.
    Logarithmic(f64),
    /// Holds `log2(multiplier)`.
    Multiplied(f64),
}

/// The error of a closure that failed, and the curve up to then.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("the range test was interrupted after {} steps: {error}", .curve.points().len())]
pub struct Interrupted<E> {
    /// The error of the closure.
    pub error: E,
    /// The steps completed before.
    pub curve: LossCurve,
}

impl RangeTest {
    fn checked(min_lr: f64, max_lr: f64, steps: u64, spacing: Spacing) -> Result<Self, ConfigError> {
        check::rates(("min_lr", min_lr), ("max_lr", max_lr))?;
        if min_lr == max_lr {
            return Err(ConfigError::Reversed { low_field: "min_lr", low: min_lr, high_field: "max_lr", high: max_lr });
        }
        if spacing != Spacing::Linear {
            check::positive("min_lr", min_lr)?;
        }
        check::at_least("steps", steps, 2)?;
        Ok(Self {
            min_lr,
            max_lr,
            steps,
            spacing,
            batches_per_step: 1,
            divergence: Some(5.0),
            divergence_alpha: 0.9,
            max_loss: None,
            max_loss_factor: None,
            max_steps: None,
            report: None,
        })
    }

    /// `steps` rates from `min_lr` to `max_lr` with a constant ratio.
    ///
    /// # Errors
    ///
    /// A rate is not finite or not above 0, `max_lr` is not above `min_lr`, or there are fewer than two steps.
    pub fn logarithmic(min_lr: f64, max_lr: f64, steps: u64) -> Result<Self, ConfigError> {
        Self::checked(min_lr, max_lr, steps, Spacing::Logarithmic(octaves(min_lr, max_lr)))
    }

    /// `steps` rates from `min_lr` to `max_lr` with a constant difference.
    ///
    /// # Errors
    ///
    /// A rate is not finite or negative, `max_lr` is not above `min_lr`, or there are fewer than two steps.
    pub fn linear(min_lr: f64, max_lr: f64, steps: u64) -> Result<Self, ConfigError> {
        Self::checked(min_lr, max_lr, steps, Spacing::Linear)
    }

    /// Rates from `min_lr`, each `multiplier` times the one before, up to the first rate of at least `max_lr`.
    ///
    /// # Errors
    ///
    /// A rate is not finite or not above 0, `max_lr` is not above `min_lr`, or the multiplier is not above 1.
    pub fn multiplied(min_lr: f64, max_lr: f64, multiplier: f64) -> Result<Self, ConfigError> {
        check::factor("multiplier", multiplier)?;
        let log2_multiplier = numeric::log2(multiplier);
        let mut test = Self::checked(min_lr, max_lr, 2, Spacing::Multiplied(log2_multiplier))?;
        // There are at least two, because the first rate is below `max_lr`. The estimate may be off by one because of
        // rounding.
        test.steps = numeric::ceil(octaves(min_lr, max_lr) / log2_multiplier).saturating_add(1).max(2);
        while test.steps > 2 && test.rate(test.steps - 2) >= max_lr {
            test.steps -= 1;
        }
        while test.rate(test.steps - 1) < max_lr {
            test.steps += 1;
        }
        Ok(test)
    }

    /// Trains `batches_per_step` batches at each rate.
    ///
    /// # Errors
    ///
    /// `batches_per_step` is 0, or the number of all batches overflows `u64`.
    pub fn with_batches_per_step(mut self, batches_per_step: u64) -> Result<Self, ConfigError> {
        check::length("batches_per_step", batches_per_step)?;
        self.steps
            .checked_mul(batches_per_step)
            .ok_or(ConfigError::HorizonOverflow { field: "batches_per_step", value: batches_per_step })?;
        self.batches_per_step = batches_per_step;
        Ok(self)
    }

    /// Stops when the smoothed loss exceeds `divergence` times its best; see [`RangeTest`] for losses around 0.
    ///
    /// # Errors
    ///
    /// `divergence` is not above 1.
    pub fn with_divergence(mut self, divergence: f64) -> Result<Self, ConfigError> {
        check::factor("divergence", divergence)?;
        self.divergence = Some(divergence);
        Ok(self)
    }

    /// Sets the weight of the past in the smoothed loss that the divergence rule uses. 0 means no smoothing.
    ///
    /// # Errors
    ///
    /// `alpha` is outside [0, 1).
    pub fn with_divergence_smoothing(mut self, alpha: f64) -> Result<Self, ConfigError> {
        check::weight("alpha", alpha)?;
        self.divergence_alpha = alpha;
        Ok(self)
    }

    /// Does not stop when the loss diverges.
    #[must_use]
    pub fn without_divergence(mut self) -> Self {
        self.divergence = None;
        self
    }

    /// Stops after a loss above `max_loss`.
    ///
    /// # Errors
    ///
    /// `max_loss` is NaN.
    pub fn with_max_loss(mut self, max_loss: f64) -> Result<Self, ConfigError> {
        check::number("max_loss", max_loss)?;
        self.max_loss = Some(max_loss);
        Ok(self)
    }

    /// Stops after a loss above `factor` times the loss of the first step: `first + (factor - 1) |first|`. A first loss of 0 sets
    /// no limit. The finder of nupam/keras-callbacks has a factor of 10 by default. (With a negative first loss that finder would
    /// stop at once.)
    ///
    /// ```
    /// use cyclic_optim::range_test::{RangeTest, StopReason};
    /// let test = RangeTest::logarithmic(1e-4, 1.0, 41)?.without_divergence().with_max_loss_factor(10.0)?;
    /// let curve = test.run(|lr| Some(2.0 + 100.0 * lr))?;
    /// let last = curve.points().last().unwrap();
    /// assert!(curve.stop_reason() == StopReason::MaxLoss && last.loss > 20.0 && last.lr < 0.3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `factor` is not above 1.
    pub fn with_max_loss_factor(mut self, factor: f64) -> Result<Self, ConfigError> {
        check::factor("max_loss_factor", factor)?;
        self.max_loss_factor = Some(factor);
        Ok(self)
    }

    /// Calls `report` after each step, for instance to print a line for each rate: `.with_report(|point| println!("{point}"))`.
    #[must_use]
    pub fn with_report(mut self, report: fn(&LossPoint)) -> Self {
        self.report = Some(Report(report));
        self
    }

    /// Stops after `max_steps` steps.
    ///
    /// # Errors
    ///
    /// `max_steps` is 0.
    pub fn with_max_steps(mut self, max_steps: u64) -> Result<Self, ConfigError> {
        check::length("max_steps", max_steps)?;
        self.max_steps = Some(max_steps);
        Ok(self)
    }

    /// The number of rates.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The number of updates of a complete sweep.
    #[must_use]
    pub fn updates(&self) -> u64 {
        self.max_steps.map_or(self.steps, |max_steps| max_steps.min(self.steps)) * self.batches_per_step
    }

    /// The number of epochs in `sweeps` complete sweeps, rounded up; `None` if `batches_per_epoch` is 0.
    ///
    /// ```
    /// use cyclic_optim::range_test::RangeTest;
    /// // 801 samples in batches of 16 are 51 batches.
    /// let test = RangeTest::logarithmic(1e-5, 10.0, 100)?.with_batches_per_step(5)?;
    /// assert_eq!((test.epochs(1, 51), test.epochs(3, 51)), (Some(10), Some(30)));
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    #[must_use]
    pub fn epochs(&self, sweeps: u64, batches_per_epoch: u64) -> Option<u64> {
        (batches_per_epoch > 0).then(|| self.updates().saturating_mul(sweeps).div_ceil(batches_per_epoch))
    }

    /// The rates of the sweep, in ascending order.
    pub fn rates(&self) -> impl Iterator<Item = f64> + '_ {
        (0..self.steps).map(|step| self.rate(step))
    }

    fn rate(&self, step: u64) -> f64 {
        let x = numeric::fraction(step, self.steps - 1);
        match self.spacing {
            Spacing::Multiplied(log2_multiplier) => self.min_lr * numeric::power(log2_multiplier, step),
            Spacing::Linear => numeric::between(self.min_lr, self.max_lr, x),
            Spacing::Logarithmic(_) if step == self.steps - 1 => self.max_lr,
            Spacing::Logarithmic(log2_ratio) => self.min_lr * numeric::exp2(x * log2_ratio),
        }
    }

    /// Runs the test. `train` trains one batch at the given rate and returns its loss, or `None` if there are no more batches.
    ///
    /// # Errors
    ///
    /// The error of the closure, with the curve up to then.
    pub fn run<T>(&self, mut train: impl FnMut(f64) -> T) -> Result<LossCurve, Interrupted<T::Err>>
    where
        T: IntoResult<Option<f64>>,
    {
        self.run_validated(|lr| train(lr).into_result(), || Ok(None))
    }

    /// Runs the test as [`run`](Self::run) does, and calls `validate` at the end of each step for a validation loss.
    ///
    /// # Errors
    ///
    /// The error of a closure, with the curve up to then.
    pub fn run_validated<T, V>(
        &self,
        mut train: impl FnMut(f64) -> T,
        mut validate: impl FnMut() -> V,
    ) -> Result<LossCurve, Interrupted<T::Err>>
    where
        T: IntoResult<Option<f64>>,
        V: IntoResult<Option<f64>, Err = T::Err>,
    {
        let mut train = |lr| train(lr).into_result();
        let mut validate = || validate().into_result();
        let mut points = Vec::new();
        let mut divergence = self.divergence.map(|factor| Divergence::new(factor, 0.01, self.divergence_alpha));
        let mut stop = StopReason::EndOfRange;
        for (step, lr) in (0..).zip(self.rates()) {
            if self.max_steps.is_some_and(|max_steps| step >= max_steps) {
                stop = StopReason::MaxSteps;
                break;
            }
            let point = match self.step(lr, &mut train, &mut validate) {
                Ok(Some(point)) => point,
                Ok(None) => {
                    stop = StopReason::NoMoreBatches;
                    break;
                }
                Err(error) => {
                    return Err(Interrupted { error, curve: LossCurve::new(points, StopReason::Interrupted) });
                }
            };
            points.push(point);
            if let Some(Report(report)) = self.report {
                report(&point);
            }
            let judged = point.judged();
            if !point.loss.is_finite() || !judged.is_finite() {
                stop = StopReason::NotFinite;
                break;
            }
            let first = points[0].judged();
            let relative =
                self.max_loss_factor.filter(|_| first != 0.0).map(|factor| first + (factor - 1.0) * first.abs());
            if [self.max_loss, relative].into_iter().flatten().any(|limit| judged > limit) {
                stop = StopReason::MaxLoss;
                break;
            }
            if divergence.as_mut().is_some_and(|divergence| divergence.exceeded_by(judged)) {
                stop = StopReason::Diverged;
                break;
            }
        }
        Ok(LossCurve::new(points, stop))
    }

    /// Trains the batches of one step, up to a loss that is not finite. `None` if there are not enough batches.
    fn step<E>(
        &self,
        lr: f64,
        train: &mut impl FnMut(f64) -> Result<Option<f64>, E>,
        validate: &mut impl FnMut() -> Result<Option<f64>, E>,
    ) -> Result<Option<LossPoint>, E> {
        let mut sum = 0.0;
        for _ in 0..self.batches_per_step {
            let Some(loss) = train(lr)? else { return Ok(None) };
            sum += loss;
            if !loss.is_finite() {
                return Ok(Some(LossPoint { lr, loss, validation: None }));
            }
        }
        let loss = sum / numeric::float(self.batches_per_step);
        Ok(Some(LossPoint { lr, loss, validation: validate()? }))
    }
}

/// `log2(max_lr / min_lr)` without overflow.
fn octaves(min_lr: f64, max_lr: f64) -> f64 {
    numeric::log2(max_lr) - numeric::log2(min_lr)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The default sweep of nupam/keras-callbacks, with and without its epsilons, and two sweeps of
    /// `psklight/keras_one_cycle_clr`.
    #[test]
    fn reference_rates() {
        let assert_close = |value: f64, expected: f64| {
            assert!((value - expected).abs() <= 5e-9 * expected, "{value}, expected {expected}");
        };
        let rates: Vec<f64> = RangeTest::multiplied(8.01e-5, 1.000_000_1, 1.015_000_1).unwrap().rates().collect();
        assert_eq!(rates.len(), 635);
        for (step, expected) in [
            (0, 8.01e-5),
            (1, 8.130_150_801e-5),
            (2, 8.252_103_876_03e-5),
            (632, 0.977_683_44),
            (633, 0.992_348_79),
            (634, 1.007_234_12),
        ] {
            assert_close(rates[step], expected);
        }
        assert_close(rates[634], 1.007_234_120_9);
        assert_eq!(RangeTest::multiplied(8e-5, 1.0, 1.015).unwrap().steps(), 635);

        let rates: Vec<f64> = RangeTest::logarithmic(1e-3, 1.0, 5).unwrap().rates().collect();
        for (rate, expected) in
            rates.iter().zip([0.001, 0.005_623_413_251_903, 0.031_622_776_601_684, 0.177_827_941_003_892, 1.0])
        {
            assert!((rate - expected).abs() < 1e-14);
        }
        let rates: Vec<f64> = RangeTest::logarithmic(1e-5, 10.0, 100).unwrap().rates().collect();
        let expected =
            [(1, 1.149_756_995_398e-5), (49, 0.009_326_033_468_8), (50, 0.010_722_672_220_1), (98, 8.697_490_026_178)];
        for (step, expected) in expected {
            assert!((rates[step] - expected).abs() < 1e-11 * expected, "step {step}: {}", rates[step]);
        }
        assert_eq!((rates[0], rates[99], rates.len()), (1e-5, 10.0, 100));
    }

    #[test]
    fn a_multiplied_sweep_ends_at_or_just_beyond_its_end() {
        // The first estimates of the last three have one rate too many.
        for (min_lr, max_lr, multiplier) in [
            (1.0, 8.0, 2.0),
            (1.0, 9.0, 2.0),
            (1.0, 1.5, 100.0),
            (1e-8, 1.0, 10.0),
            (1e-8, 2.357_947_691_000_002e-8, 1.1),
            (1e-8, 1.919_434_249_577_51e-7, 1.1),
            (1e-8, 1.093_685_272_684_360_9e-8, 1.01),
        ] {
            let test = RangeTest::multiplied(min_lr, max_lr, multiplier).unwrap();
            let rates: Vec<f64> = test.rates().collect();
            let (last, before) = (rates[rates.len() - 1], rates[rates.len() - 2]);
            assert!(before < max_lr && last >= max_lr && last <= max_lr * multiplier, "{rates:?}");
        }
    }

    fn stop_of(test: &RangeTest, losses: &[f64]) -> (usize, StopReason) {
        let mut losses = losses.iter().copied();
        let curve = test.run(|_| Ok::<_, ()>(losses.next())).unwrap();
        (curve.points().len(), curve.stop_reason())
    }

    #[test]
    fn each_stop_rule() {
        let test = RangeTest::linear(0.0, 1.0, 6).unwrap().with_divergence_smoothing(0.0).unwrap();
        assert_eq!(stop_of(&test, &[1.0; 9]), (6, StopReason::EndOfRange));
        assert_eq!(stop_of(&test, &[1.0; 4]), (4, StopReason::NoMoreBatches));
        assert_eq!(stop_of(&test, &[]), (0, StopReason::NoMoreBatches));
        assert_eq!(stop_of(&test, &[1.0, f64::NAN, 1.0]), (2, StopReason::NotFinite));
        assert_eq!(stop_of(&test, &[1.0, f64::NEG_INFINITY]), (2, StopReason::NotFinite));
        // The comparison is strict: 5 times the best continues, more stops.
        assert_eq!(stop_of(&test, &[2.0, 1.0, 5.0, 5.1, 1.0]), (4, StopReason::Diverged));
        // A plain multiple of the best loss would stop these at once.
        assert_eq!(stop_of(&test, &[1.0, -0.5, -0.4, 1.0, 1.4, -1.0]), (6, StopReason::EndOfRange));
        assert_eq!(stop_of(&test, &[1.0, -0.5, 1.6]), (3, StopReason::Diverged));
        assert_eq!(stop_of(&test, &[0.0, 0.0, 3.0, 4.0, 0.0, 0.0]), (6, StopReason::EndOfRange));
        assert_eq!(stop_of(&test, &[1.0, 0.0, 0.03, 0.05]), (4, StopReason::Diverged));
        // Weight 0.5: the smoothed losses are 1, 5.5 x 2/3 + 1 x 1/3 = 4, and 10.9, which is more than 5.
        let smoothed = test.clone().with_divergence_smoothing(0.5).unwrap();
        assert_eq!(stop_of(&smoothed, &[1.0, 5.5, 16.0, 1.0, 1.0, 1.0]), (3, StopReason::Diverged));
        let test = test.without_divergence();
        assert_eq!(stop_of(&test, &[1.0, 1e9, 1.0, 1.0, 1.0, 1.0]), (6, StopReason::EndOfRange));
        let test = test.with_max_loss(2.0).unwrap();
        assert_eq!(stop_of(&test, &[1.0, 2.0, 2.1, 1.0]), (3, StopReason::MaxLoss));
        let test = test.with_max_steps(2).unwrap();
        assert_eq!(stop_of(&test, &[1.0; 9]), (2, StopReason::MaxSteps));
    }

    /// The default of nupam/keras-callbacks: ten times the first loss.
    #[test]
    fn a_multiple_of_the_first_loss_ends_the_test() {
        let test = RangeTest::linear(0.0, 1.0, 4).unwrap().without_divergence().with_max_loss_factor(10.0).unwrap();
        assert_eq!(stop_of(&test, &[0.5, 5.0, 5.1, 0.1]), (3, StopReason::MaxLoss));
        assert_eq!(stop_of(&test, &[0.5, 0.1, 4.9, 5.0]), (4, StopReason::EndOfRange));
        assert_eq!(stop_of(&test, &[-0.5, -0.4, 4.0, 4.1]), (4, StopReason::MaxLoss));
        assert_eq!(stop_of(&test, &[-0.5, -0.4, 4.0, 4.0]), (4, StopReason::EndOfRange));
        assert_eq!(stop_of(&test, &[0.0, 1.0, 1e9, 0.0]), (4, StopReason::EndOfRange));
        // Both limits hold.
        let test = test.with_max_loss(2.0).unwrap();
        assert_eq!(stop_of(&test, &[0.5, 2.1, 0.5, 0.5]), (2, StopReason::MaxLoss));
        assert_eq!(stop_of(&test, &[0.1, 1.1, 0.5, 0.5]), (2, StopReason::MaxLoss));
    }

    #[test]
    fn every_step_is_reported_as_it_is_made() {
        use core::sync::atomic::{AtomicU64, Ordering};
        // The bits of the rate that was reported last.
        static REPORTED: AtomicU64 = AtomicU64::new(0);
        let reported = || f64::from_bits(REPORTED.load(Ordering::Relaxed));
        let test = RangeTest::linear(1.0, 3.0, 3).unwrap();
        let test = test.with_report(|point| REPORTED.store(point.lr.to_bits(), Ordering::Relaxed));
        let mut losses = [0.5, f64::NAN].into_iter();
        let curve = test
            .run(|lr| {
                assert_eq!(reported(), lr - 1.0, "the step before this one");
                losses.next()
            })
            .unwrap();
        assert_eq!((curve.stop_reason(), reported()), (StopReason::NotFinite, 2.0), "the last point, too");
    }

    #[test]
    fn a_step_is_the_mean_of_its_batches_and_always_complete() {
        let test = RangeTest::linear(1.0, 2.0, 3).unwrap().with_batches_per_step(2).unwrap();
        let mut batches = [1.0, 3.0, 5.0, 6.0, 7.0].into_iter();
        let mut rates = Vec::new();
        let curve = test
            .run_validated(
                |lr| {
                    rates.push(lr);
                    Ok::<_, ()>(batches.next())
                },
                || Ok(Some(0.25)),
            )
            .unwrap();
        assert_eq!(rates, [1.0, 1.0, 1.5, 1.5, 2.0, 2.0]);
        assert_eq!(curve.points().iter().map(|point| point.loss).collect::<Vec<_>>(), [2.0, 5.5]);
        assert_eq!((curve.points()[1].validation, curve.stop_reason()), (Some(0.25), StopReason::NoMoreBatches));
    }

    #[test]
    fn the_rules_use_the_validation_loss() {
        let stop_of = |test: &RangeTest, loss: f64, validation: [f64; 4]| {
            let mut validation = validation.into_iter();
            let curve = test.run_validated(|_| Ok::<_, ()>(Some(loss)), || Ok(validation.next())).unwrap();
            (curve.points().len(), curve.stop_reason())
        };
        let test = RangeTest::linear(0.0, 1.0, 4).unwrap().with_divergence_smoothing(0.0).unwrap();
        assert_eq!(stop_of(&test, 1.0, [1.0, f64::NAN, 1.0, 1.0]), (2, StopReason::NotFinite));
        assert_eq!(stop_of(&test, 1.0, [1.0, 6.0, 1.0, 1.0]), (2, StopReason::Diverged));
        let test = test.without_divergence().with_max_loss(2.0).unwrap();
        assert_eq!(stop_of(&test, 1.0, [1.0, 3.0, 1.0, 1.0]), (2, StopReason::MaxLoss));
        assert_eq!(stop_of(&test, 3.0, [1.0; 4]), (4, StopReason::EndOfRange));
    }

    #[test]
    fn a_step_ends_at_a_loss_that_is_not_finite() {
        let test = RangeTest::linear(0.0, 1.0, 4).unwrap().with_batches_per_step(3).unwrap();
        let mut batches = 0;
        let train = |_| {
            batches += 1;
            Some(f64::NAN)
        };
        let curve = test.run_validated(train, || -> Option<f64> { panic!("there is nothing to validate") }).unwrap();
        assert_eq!((batches, curve.stop_reason()), (1, StopReason::NotFinite));
    }

    #[test]
    fn updates_are_those_of_the_steps_that_are_made() {
        let test = RangeTest::linear(0.0, 1.0, 5).unwrap().with_batches_per_step(2).unwrap();
        let limited = |max_steps| test.clone().with_max_steps(max_steps).unwrap().updates();
        assert_eq!((test.updates(), limited(3), limited(9)), (10, 6, 10));
    }

    #[test]
    fn one_unusual_batch_does_not_end_the_test() {
        assert_eq!(
            stop_of(&RangeTest::linear(0.0, 1.0, 6).unwrap(), &[1.0, 1.0, 1.0, 1.0, 9.5, 1.0]),
            (6, StopReason::EndOfRange)
        );
    }

    #[test]
    fn a_failing_closure_keeps_the_curve() {
        let test = RangeTest::linear(1.0, 2.0, 5).unwrap();
        let mut calls = 0;
        let interrupted = test
            .run(|_| {
                calls += 1;
                if calls > 3 { Err("no more") } else { Ok(Some(1.0)) }
            })
            .unwrap_err();
        assert_eq!((interrupted.error, interrupted.curve.points().len()), ("no more", 3));
        assert_eq!(interrupted.curve.stop_reason(), StopReason::Interrupted);
    }

    #[test]
    fn every_precondition() {
        use ConfigError::{HorizonOverflow, OutOfRange, Rate, Reversed, TooSmall};
        for bad in [f64::NAN, f64::INFINITY, -1.0] {
            assert!(matches!(RangeTest::linear(bad, 1.0, 5), Err(Rate { field: "min_lr", .. })));
            assert!(matches!(RangeTest::logarithmic(0.1, bad, 5), Err(Rate { field: "max_lr", .. })));
            assert!(matches!(RangeTest::multiplied(0.1, 1.0, bad), Err(OutOfRange { field: "multiplier", .. })));
        }
        let good = || RangeTest::linear(0.0, 1.0, 5).unwrap();
        for equal_or_reversed in [(1.0, 1.0), (2.0, 1.0)] {
            assert!(matches!(RangeTest::linear(equal_or_reversed.0, equal_or_reversed.1, 5), Err(Reversed { .. })));
        }
        assert!(matches!(RangeTest::logarithmic(0.0, 1.0, 5), Err(OutOfRange { field: "min_lr", .. })));
        assert!(matches!(RangeTest::multiplied(0.0, 1.0, 1.1), Err(OutOfRange { field: "min_lr", .. })));
        assert!(matches!(RangeTest::multiplied(0.1, 1.0, 1.0), Err(OutOfRange { field: "multiplier", .. })));
        assert!(matches!(RangeTest::linear(0.0, 1.0, 1), Err(TooSmall { field: "steps", .. })));
        assert!(matches!(good().with_batches_per_step(0), Err(TooSmall { field: "batches_per_step", .. })));
        assert!(matches!(good().with_batches_per_step(u64::MAX), Err(HorizonOverflow { .. })));
        assert!(matches!(good().with_max_steps(0), Err(TooSmall { field: "max_steps", .. })));
        assert!(good().with_max_loss(f64::INFINITY).is_ok());
        assert!(matches!(good().with_max_loss(f64::NAN), Err(OutOfRange { field: "max_loss", .. })));
        assert!(matches!(good().with_divergence_smoothing(1.0), Err(OutOfRange { field: "alpha", .. })));
        for bad in [1.0, 0.0, f64::NAN] {
            assert!(matches!(good().with_divergence(bad), Err(OutOfRange { field: "divergence", .. })));
            assert!(matches!(good().with_max_loss_factor(bad), Err(OutOfRange { field: "max_loss_factor", .. })));
        }
    }
}
