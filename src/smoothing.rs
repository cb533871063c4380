//! Smoothing of noisy series: moving averages and winsorising. A value that is not finite does not affect other values.

use alloc::vec::Vec;

use crate::check;
use crate::error::ConfigError;
use crate::numeric;

/// How a series is smoothed.
///
/// # Formula
///
/// | form | value of point n, counted from 0 |
/// |---|---|
/// | [`exponential`](Self::exponential) | `s_n / (1 - alpha^(n+1))` with `s_n = alpha s_(n-1) + (1 - alpha) y_n`, `s_(-1) = 0` |
/// | [`exponential_from_first`](Self::exponential_from_first) | `s_n = alpha s_(n-1) + (1 - alpha) y_n` with `s_0 = y_0` |
/// | [`trailing_mean`](Self::trailing_mean) | mean of the last `window` points, or fewer at the start |
///
/// A point that is not finite is not changed, and the others are smoothed without it.
///
/// # Examples
///
/// ```
/// use cyclic_optim::Smoothing;
///
/// let smoothed = Smoothing::exponential_from_first(0.5)?.apply(&[1.0, 2.0, f64::NAN, 4.0]);
/// assert_eq!((smoothed[0], smoothed[1], smoothed[3]), (1.0, 1.5, 2.75));
/// # Ok::<(), cyclic_optim::ConfigError>(())
/// ```
///
/// # References
///
/// The bias correction is that of Adam (D. P. Kingma and J. Ba, 2015) and fastai; the form from the first value is that of
/// nupam/keras-callbacks; the trailing mean is that of `psklight/keras_one_cycle_clr`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Smoothing(Form);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Exponential { alpha: f64, corrected: bool },
    TrailingMean { window: usize },
}

impl Smoothing {
    /// An exponentially weighted mean that starts from 0, with bias correction. An `alpha` of 0 does not smooth.
    ///
    /// # Errors
    ///
    /// `alpha` outside [0, 1).
    pub fn exponential(alpha: f64) -> Result<Self, ConfigError> {
        check::weight("alpha", alpha)?;
        Ok(Self(Form::Exponential { alpha, corrected: true }))
    }

    /// An exponentially weighted mean that starts from the first value. The first value therefore keeps a large weight for many
    /// points. An `alpha` of 0 does not smooth.
    ///
    /// # Errors
    ///
    /// `alpha` outside [0, 1).
    pub fn exponential_from_first(alpha: f64) -> Result<Self, ConfigError> {
        check::weight("alpha", alpha)?;
        Ok(Self(Form::Exponential { alpha, corrected: false }))
    }

    /// The mean of the last `window` points. A window of 1 does not smooth.
    ///
    /// # Errors
    ///
    /// `window` is 0.
    pub fn trailing_mean(window: usize) -> Result<Self, ConfigError> {
        check::length("window", window as u64)?;
        Ok(Self(Form::TrailingMean { window }))
    }

    /// The smoothed series. It has the same length.
    #[must_use]
    pub fn apply(&self, values: &[f64]) -> Vec<f64> {
        match self.0 {
            Form::Exponential { alpha, corrected: true } => {
                let mut mean = Ewma::new(alpha);
                each_finite(values, |value| mean.push(value))
            }
            Form::Exponential { alpha, corrected: false } => {
                let mut mean = None;
                each_finite(values, |value| {
                    *mean.insert(mean.map_or(value, |mean| alpha * mean + (1.0 - alpha) * value))
                })
            }
            Form::TrailingMean { window } => {
                let mut seen = Vec::with_capacity(values.len());
                each_finite(values, |value| {
                    seen.push(value);
                    let last = &seen[seen.len().saturating_sub(window)..];
                    last.iter().sum::<f64>() / numeric::float(last.len() as u64)
                })
            }
        }
    }
}

/// A running exponentially weighted mean that starts from 0, with bias correction.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ewma {
    alpha: f64,
    sum: f64,
    /// The value of `sum` if all values had been 1.
    weight: f64,
}

impl Ewma {
    pub(crate) fn new(alpha: f64) -> Self {
        Self { alpha, sum: 0.0, weight: 0.0 }
    }

    /// Adds a value and returns the mean.
    pub(crate) fn push(&mut self, value: f64) -> f64 {
        self.sum = self.alpha * self.sum + (1.0 - self.alpha) * value;
        self.weight = self.alpha * self.weight + (1.0 - self.alpha);
        self.sum / self.weight
    }
}

fn each_finite(values: &[f64], mut smooth: impl FnMut(f64) -> f64) -> Vec<f64> {
    values.iter().map(|&value| if value.is_finite() { smooth(value) } else { value }).collect()
}

/// The 2.5 % and 97.5 % quantiles of the finite values, to which [`winsorised`] clips; `None` if no value is finite.
///
/// A quantile between two values is interpolated linearly, which is NumPy's default.
#[must_use]
pub fn winsorising_bounds(values: &[f64]) -> Option<(f64, f64)> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let quantile = |fraction: f64| {
        let (below, part) = numeric::split(fraction * numeric::float(last as u64));
        numeric::between(sorted[below], sorted[(below + 1).min(last)], part)
    };
    Some((quantile(0.025), quantile(0.975)))
}

/// The series with every finite value clipped to its 2.5 % and 97.5 % quantiles: outliers stay visible, but do not determine the
/// scale of a chart.
///
/// ```
/// use cyclic_optim::winsorised;
/// let clipped = winsorised(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 100.0]);
/// assert_eq!((clipped[0], clipped[5]), (0.225, 5.0));
/// assert!((clipped[9] - 79.3).abs() < 1e-9);
/// ```
#[must_use]
pub fn winsorised(values: &[f64]) -> Vec<f64> {
    let Some((low, high)) = winsorising_bounds(values) else { return values.into() };
    each_finite(values, |value| value.max(low).min(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(values: &[f64], expected: &[f64]) {
        assert_eq!(values.len(), expected.len());
        for (value, expected) in values.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-9, "{values:?}, expected {expected:?}");
        }
    }

    /// The smoothings of nupam/keras-callbacks, fastai and `psklight/keras_one_cycle_clr`; the quantiles of NumPy.
    #[test]
    fn reference_values() {
        let series = [1.0, 2.0, 4.0, 3.0, 10.0];
        let seed = |alpha| Smoothing::exponential_from_first(alpha).unwrap().apply(&series);
        assert_close(&seed(0.9), &[1.0, 1.1, 1.39, 1.551, 2.3959]);
        assert_close(&seed(0.5), &[1.0, 1.5, 2.75, 2.875, 6.4375]);
        assert_eq!(seed(0.0), series);
        let corrected = Smoothing::exponential(0.9).unwrap().apply(&series);
        assert_close(&corrected, &[1.0, 1.526_315_789, 2.439_114_391, 2.602_209_945, 4.408_707_968]);
        assert_eq!(Smoothing::exponential(0.0).unwrap().apply(&series), series);
        let window = Smoothing::trailing_mean(5).unwrap().apply(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        assert_close(&window, &[1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0]);
        let (low, high) = winsorising_bounds(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 100.0]).unwrap();
        assert_close(&[low, high], &[0.225, 79.3]);
    }

    #[test]
    fn values_that_are_not_finite_do_not_spread() {
        let series = [f64::NAN, 2.0, f64::INFINITY, 2.0];
        for smoothing in [
            Smoothing::exponential(0.9).unwrap(),
            Smoothing::exponential_from_first(0.9).unwrap(),
            Smoothing::trailing_mean(2).unwrap(),
        ] {
            let smoothed = smoothing.apply(&series);
            assert!(smoothed[0].is_nan() && smoothed[2].is_infinite(), "{smoothed:?}");
            assert_close(&[smoothed[1], smoothed[3]], &[2.0, 2.0]);
        }
        assert!(winsorised(&series)[0].is_nan());
        assert_eq!(winsorising_bounds(&[f64::NAN]), None);
        assert_eq!(winsorising_bounds(&[2.0]), Some((2.0, 2.0)));
        assert!(winsorised(&[]).is_empty());
    }

    #[test]
    fn every_precondition() {
        for bad in [f64::NAN, -0.1, 1.0] {
            assert!(matches!(Smoothing::exponential(bad), Err(ConfigError::OutOfRange { field: "alpha", .. })));
            assert!(matches!(Smoothing::exponential_from_first(bad), Err(ConfigError::OutOfRange { .. })));
        }
        assert!(matches!(Smoothing::trailing_mean(0), Err(ConfigError::TooSmall { field: "window", .. })));
    }
}
