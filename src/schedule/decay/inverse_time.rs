//! A rate divided by a linear function of time.

use crate::check::{self, serde_checked};
use crate::error::ConfigError;
use crate::numeric;
use crate::schedule::Schedule;

serde_checked! {
    /// A rate divided by a number that grows linearly: the `decay` argument of Keras 2.
    ///
    /// # Formula
    ///
    /// ```text
    /// value = start_lr / (1 + rate t)
    /// ```
    ///
    /// # Shape
    ///
    #[doc = include_str!("../shapes/inverse_time.svg")]
    ///
    /// - at step 0: `start_lr`, exactly; half of it at `t = 1 / rate`
    /// - endless, towards 0
    ///
    /// | parameter | default | purpose | range |
    /// |---|---|---|---|
    /// | `start_lr` | required | rate of the first update | finite, >= 0 |
    /// | `rate` | required | growth of the divisor per update | [0, inf) |
    ///
    /// # Errors
    ///
    /// A negative or non-finite `start_lr` or `rate`.
    ///
    /// # Examples
    ///
    /// ```
    /// use cyclic_optim::{InverseTimeDecay, Schedule};
    /// let schedule = InverseTimeDecay::new(0.1, 0.25)?;
    /// assert_eq!((schedule.value_at(0), schedule.value_at(4)), (0.1, 0.05));
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    ///
    /// # References
    ///
    /// The `decay` of Keras 2's optimizers at a constant rate; Keras' `InverseTimeDecay` with `rate` = `decay_rate / decay_steps`.
    /// To decay only the *base* of a cycle, see [`ClrConfig::with_decay`](crate::ClrConfig::with_decay).
    #[derive(Debug, Clone, PartialEq)]
    pub struct InverseTimeDecay {
        start_lr: f64,
        rate: f64,
    }
}

impl InverseTimeDecay {
    /// A rate of `start_lr / (1 + rate t)` at update t.
    ///
    /// # Errors
    ///
    /// A negative or non-finite `start_lr` or `rate`.
    pub fn new(start_lr: f64, rate: f64) -> Result<Self, ConfigError> {
        Self { start_lr, rate }.check()
    }

    fn check(mut self) -> Result<Self, ConfigError> {
        check::schedule_rate("start_lr", &mut self.start_lr)?;
        check::non_negative("rate", self.rate)?;
        Ok(self)
    }
}

impl Schedule for InverseTimeDecay {
    #[inline]
    fn value_at(&self, step: u64) -> f64 {
        inverse_time(self.start_lr, self.rate, step)
    }
}

/// `start / (1 + rate t)`: also how the base of a cycle decays.
#[inline]
pub(crate) fn inverse_time(start: f64, rate: f64, step: u64) -> f64 {
    start / (1.0 + rate * numeric::float(step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_precondition() {
        for bad in [f64::NAN, f64::INFINITY, -0.1] {
            assert!(matches!(InverseTimeDecay::new(bad, 0.5), Err(ConfigError::Rate { field: "start_lr", .. })));
            assert!(matches!(InverseTimeDecay::new(0.5, bad), Err(ConfigError::OutOfRange { field: "rate", .. })));
        }
    }
}
