//! A rate that is multiplied by the same factor at every update.

use crate::check::{self, serde_checked};
use crate::error::ConfigError;
use crate::numeric;
use crate::schedule::Schedule;

serde_checked! {
    /// A rate that is multiplied by `gamma` at every update.
    ///
    /// # Formula
    ///
    /// ```text
    /// value = start_lr gamma^t = start_lr exp2(t log2 gamma)
    /// ```
    ///
    /// # Shape
    ///
    #[doc = include_str!("../shapes/exponential.svg")]
    ///
    /// - at step 0: `start_lr`, exactly
    /// - endless; it falls to 0 once it is too small for a float
    ///
    /// | parameter | default | purpose | range |
    /// |---|---|---|---|
    /// | `start_lr` | required | rate of the first update | finite, >= 0 |
    /// | `gamma` | required | factor per update | (0, 1] |
    ///
    /// # Errors
    ///
    /// A negative or non-finite rate, `gamma` outside (0, 1].
    ///
    /// # Examples
    ///
    /// ```
    /// use cyclic_optim::{ExponentialDecay, Schedule};
    /// let schedule = ExponentialDecay::new(0.8, 0.5)?;
    /// assert_eq!((schedule.value_at(0), schedule.value_at(3)), (0.8, 0.1));
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    ///
    /// # References
    ///
    /// PyTorch's `ExponentialLR`, in closed form.
    #[derive(Debug, Clone, PartialEq)]
    pub struct ExponentialDecay {
        start_lr: f64,
        gamma: f64,
        #[cfg_attr(feature = "serde", serde(skip))]
        log2_gamma: f64,
    }
}

impl ExponentialDecay {
    /// A rate that begins with `start_lr` and is multiplied by `gamma` at every update.
    ///
    /// # Errors
    ///
    /// A negative or non-finite rate, `gamma` outside (0, 1].
    pub fn new(start_lr: f64, gamma: f64) -> Result<Self, ConfigError> {
        Self { start_lr, gamma, log2_gamma: 0.0 }.check()
    }

    fn check(mut self) -> Result<Self, ConfigError> {
        check::schedule_rate("start_lr", &mut self.start_lr)?;
        check::gamma("gamma", self.gamma)?;
        self.log2_gamma = numeric::log2(self.gamma);
        Ok(self)
    }
}

impl Schedule for ExponentialDecay {
    #[inline]
    fn value_at(&self, step: u64) -> f64 {
        self.start_lr * numeric::power(self.log2_gamma, step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_precondition() {
        for bad in [f64::NAN, f64::INFINITY, -0.1] {
            assert!(matches!(ExponentialDecay::new(bad, 0.5), Err(ConfigError::Rate { field: "start_lr", .. })));
        }
        for bad in [f64::NAN, 0.0, 1.1, -0.5] {
            assert!(matches!(ExponentialDecay::new(0.1, bad), Err(ConfigError::OutOfRange { field: "gamma", .. })));
        }
    }
}
