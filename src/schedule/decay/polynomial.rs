//! A fall along a power of the remaining time.

use crate::check::{self, serde_checked};
use crate::error::ConfigError;
use crate::numeric::{self, between};
use crate::schedule::Schedule;

serde_checked! {
    /// A fall from `start_lr` to `end_lr` along a power of the remaining share of time.
    ///
    /// # Formula
    ///
    /// ```text
    /// value = end_lr + (start_lr - end_lr) (1 - t / steps)^power
    /// ```
    ///
    /// # Shape
    ///
    #[doc = include_str!("../shapes/polynomial.svg")]
    ///
    /// - at step 0: `start_lr`, exactly
    /// - at step `steps` and after it: `end_lr`, exactly
    ///
    /// | parameter | default | purpose | range |
    /// |---|---|---|---|
    /// | `start_lr` | required | rate of the first update | finite, >= 0 |
    /// | `end_lr` | required | rate from update `steps` on; may lie above the start | finite, >= 0 |
    /// | `steps` | required | updates from start to end | >= 1 |
    /// | `power` | required | 1 is a line, above 1 falls early, below 1 falls late | (0, inf) |
    ///
    /// # Errors
    ///
    /// A negative or non-finite rate, `steps` of 0, `power` not above 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use cyclic_optim::{PolynomialDecay, ScheduleExt};
    /// let schedule = PolynomialDecay::new(1.0, 0.0, 4, 2.0)?;
    /// let rates: Vec<f64> = schedule.values_from(0).take(5).collect();
    /// assert_eq!(rates, [1.0, 0.5625, 0.25, 0.0625, 0.0]);
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    ///
    /// # References
    ///
    /// PyTorch's `PolynomialLR`, optax's `polynomial_schedule`.
    #[derive(Debug, Clone, PartialEq)]
    pub struct PolynomialDecay {
        start_lr: f64,
        end_lr: f64,
        steps: u64,
        power: f64,
    }
}

impl PolynomialDecay {
    /// A rate that moves from `start_lr` at update 0 to `end_lr` at update `steps`.
    ///
    /// # Errors
    ///
    /// A negative or non-finite rate, `steps` of 0, `power` not above 0.
    pub fn new(start_lr: f64, end_lr: f64, steps: u64, power: f64) -> Result<Self, ConfigError> {
        Self { start_lr, end_lr, steps, power }.check()
    }

    fn check(mut self) -> Result<Self, ConfigError> {
        check::schedule_rate("start_lr", &mut self.start_lr)?;
        check::schedule_rate("end_lr", &mut self.end_lr)?;
        check::length("steps", self.steps)?;
        check::positive("power", self.power)?;
        Ok(self)
    }
}

impl Schedule for PolynomialDecay {
    #[inline]
    fn value_at(&self, step: u64) -> f64 {
        let left = numeric::fraction(self.steps.saturating_sub(step), self.steps);
        between(self.end_lr, self.start_lr, numeric::real_power(left, self.power))
    }

    fn horizon(&self) -> Option<u64> {
        Some(self.steps)
    }

    fn peak(&self) -> f64 {
        self.start_lr.max(self.end_lr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::ScheduleExt;

    #[test]
    fn optax_table() {
        // optax 0.2.8: poly(1, 0, 2, 5).
        let schedule = PolynomialDecay::new(1.0, 0.0, 5, 2.0).unwrap();
        for (value, expected) in schedule.values_from(0).zip([1.0, 0.64, 0.36, 0.16, 0.04, 0.0]) {
            approx::assert_abs_diff_eq!(value, expected, epsilon = 1e-15);
        }
    }

    #[test]
    fn every_precondition() {
        for bad in [f64::NAN, f64::INFINITY, -0.1] {
            assert!(matches!(PolynomialDecay::new(bad, 0.1, 9, 2.0), Err(ConfigError::Rate { field: "start_lr", .. })));
            assert!(matches!(PolynomialDecay::new(0.1, bad, 9, 2.0), Err(ConfigError::Rate { field: "end_lr", .. })));
            assert!(matches!(
                PolynomialDecay::new(0.1, 0.0, 9, bad),
                Err(ConfigError::OutOfRange { field: "power", .. })
            ));
        }
        let endless = PolynomialDecay::new(0.1, 0.1, 0, 2.0);
        assert!(matches!(endless, Err(ConfigError::TooSmall { field: "steps", .. })));
    }
}
