//! Half a cosine wave from one rate to another.

use crate::check::{self, serde_checked};
use crate::error::ConfigError;
use crate::schedule::curve::Curve;
use crate::schedule::{LrRange, Position, Ramp, Schedule};

serde_checked! {
    /// Half a cosine wave from `start_lr` to `end_lr`, without a restart.
    ///
    /// # Formula
    ///
    /// ```text
    /// value = end_lr + (start_lr - end_lr) (1 + cos(pi t / steps)) / 2
    /// ```
    ///
    /// # Shape
    ///
    #[doc = include_str!("../shapes/cosine.svg")]
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
    /// use cyclic_optim::{CosineDecay, Schedule};
    /// let schedule = CosineDecay::new(0.1, 0.0, 10)?;
    /// assert_eq!((schedule.value_at(0), schedule.value_at(5), schedule.value_at(10)), (0.1, 0.05, 0.0));
    /// assert_eq!(schedule.value_at(u64::MAX), 0.0); // it does not climb again
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    ///
    /// # References
    ///
    /// The first cycle of SGDR, arXiv:1608.03983. PyTorch's `CosineAnnealingLR` up to its `T_max`; after that, PyTorch's rate rises again.
    #[derive(Debug, Clone, PartialEq)]
    pub struct CosineDecay {
        start_lr: f64,
        end_lr: f64,
        steps: u64,
    }
}

impl CosineDecay {
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

impl Schedule for CosineDecay {
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
        Some(Ramp::one_way(position.step, self.steps, Curve::Cosine, self.start_lr, self.end_lr))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mlx_docstring() {
        // cosine_decay(0.1, 1000) after 5 updates prints 0.0999961.
        approx::assert_abs_diff_eq!(CosineDecay::new(0.1, 0.0, 1000).unwrap().value_at(4), 0.099_996_1, epsilon = 1e-7);
    }

    #[test]
    fn every_precondition() {
        for bad in [f64::NAN, f64::INFINITY, -0.1] {
            assert!(matches!(CosineDecay::new(bad, 0.1, 9), Err(ConfigError::Rate { field: "start_lr", .. })));
            assert!(matches!(CosineDecay::new(0.1, bad, 9), Err(ConfigError::Rate { field: "end_lr", .. })));
        }
        let endless = CosineDecay::new(0.1, 0.1, 0);
        assert!(matches!(endless, Err(ConfigError::TooSmall { field: "steps", .. })));
    }
}
