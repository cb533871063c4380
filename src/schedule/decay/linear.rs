//! A straight line from one rate to another.

use crate::check::{self, serde_checked};
use crate::error::ConfigError;
use crate::schedule::curve::Curve;
use crate::schedule::{LrRange, Position, Ramp, Schedule};

serde_checked! {
    /// A straight line from `start_lr` to `end_lr`; with an end above the start, the usual warm-up.
    ///
    /// # Formula
    ///
    /// ```text
    /// value = start_lr (1 - t / steps) + end_lr t / steps
    /// ```
    ///
    /// # Shape
    ///
    #[doc = include_str!("../shapes/linear.svg")]
    ///
    /// - at step 0: `start_lr`, exactly
    /// - half way: the mean of the two
    /// - at step `steps` and after it: `end_lr`, exactly
    ///
    /// | parameter | default | purpose | range |
    /// |---|---|---|---|
    /// | `start_lr` | required | rate of the first update | finite, >= 0 |
    /// | `end_lr` | required | rate from update `steps` on; may lie above the start | finite, >= 0 |
    /// | `steps` | required | updates from start to end | >= 1 |
    ///
    /// # Errors
    ///
    /// A negative or non-finite rate, `steps` of 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use cyclic_optim::{LinearDecay, Schedule};
    /// let warmup = LinearDecay::new(0.0, 0.1, 10)?;
    /// assert_eq!((warmup.value_at(0), warmup.value_at(5), warmup.value_at(10)), (0.0, 0.05, 0.1));
    /// assert_eq!(warmup.value_at(u64::MAX), 0.1);
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    ///
    /// # References
    ///
    /// PyTorch's `LinearLR`, optax's `linear_schedule`.
    #[derive(Debug, Clone, PartialEq)]
    pub struct LinearDecay {
        start_lr: f64,
        end_lr: f64,
        steps: u64,
    }
}

impl LinearDecay {
    /// A rate that moves from `start_lr` at update 0 to `end_lr` at update `steps`.
    ///
    /// # Errors
    ///
    /// A negative or non-finite rate, `steps` of 0.
    pub fn new(start_lr: f64, end_lr: f64, steps: u64) -> Result<Self, ConfigError> {
        Self { start_lr, end_lr, steps }.check()
    }

    fn check(mut self) -> Result<Self, ConfigError> {
        check::schedule_rate("start_lr", &mut self.start_lr)?;
        check::schedule_rate("end_lr", &mut self.end_lr)?;
        check::length("steps", self.steps)?;
        Ok(self)
    }
}

impl Schedule for LinearDecay {
    #[inline]
    fn value_at(&self, step: u64) -> f64 {
        self.point_at(step, None).value
    }

    fn horizon(&self) -> Option<u64> {
        Some(self.steps)
    }

    fn peak(&self) -> f64 {
        self.start_lr.max(self.end_lr)
    }

    fn ramp_at(&self, position: &Position, _range: Option<LrRange>) -> Option<Ramp> {
        Some(Ramp::one_way(position.step, self.steps, Curve::Linear, self.start_lr, self.end_lr))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::schedule::ScheduleExt;

    #[test]
    fn a_line() {
        // burn's own test: Linear(0.9, 0.5, 4).
        let values: Vec<f64> = LinearDecay::new(0.9, 0.5, 4).unwrap().values_from(0).take(6).collect();
        for (value, expected) in values.iter().zip([0.9, 0.8, 0.7, 0.6, 0.5, 0.5]) {
            approx::assert_abs_diff_eq!(*value, expected, epsilon = 1e-15);
        }
    }

    #[test]
    fn every_precondition() {
        for bad in [f64::NAN, f64::INFINITY, -0.1] {
            assert!(matches!(LinearDecay::new(bad, 0.1, 9), Err(ConfigError::Rate { field: "start_lr", .. })));
            assert!(matches!(LinearDecay::new(0.1, bad, 9), Err(ConfigError::Rate { field: "end_lr", .. })));
        }
        let endless = LinearDecay::new(0.1, 0.1, 0);
        assert!(matches!(endless, Err(ConfigError::TooSmall { field: "steps", .. })));
    }
}
