//! A rate divided by the square root of time.

use crate::check::{self, serde_checked};
use crate::error::ConfigError;
use crate::numeric;
use crate::schedule::Schedule;

serde_checked! {
    /// A rate that falls with the square root of time: the schedule of a Transformer after the warm-up.
    ///
    /// # Formula
    ///
    /// ```text
    /// value = start_lr sqrt(timescale / (timescale + t))
    /// ```
    ///
    /// # Shape
    ///
    #[doc = include_str!("../shapes/inverse_sqrt.svg")]
    ///
    /// - at step 0: `start_lr`, exactly; half of it at `t = 3 timescale`
    /// - endless, towards 0
    ///
    /// | parameter | default | purpose | range |
    /// |---|---|---|---|
    /// | `start_lr` | required | rate of the first update | finite, >= 0 |
    /// | `timescale` | required | added to the step; usually the length of the warm-up before it | >= 1 |
    ///
    /// # Errors
    ///
    /// A negative or non-finite rate, a `timescale` of 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use cyclic_optim::{InverseSqrtDecay, Schedule};
    /// let schedule = InverseSqrtDecay::new(0.1, 4000)?;
    /// assert_eq!((schedule.value_at(0), schedule.value_at(12_000)), (0.1, 0.05));
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    ///
    /// # References
    ///
    /// A. Vaswani et al., *Attention Is All You Need*, 2017, arXiv:1706.03762, section 5.3, after the warm-up. With the
    /// warm-up: [`Sequence::warmup_inverse_sqrt`](crate::Sequence::warmup_inverse_sqrt).
    #[derive(Debug, Clone, PartialEq)]
    pub struct InverseSqrtDecay {
        start_lr: f64,
        timescale: u64,
    }
}

impl InverseSqrtDecay {
    /// A rate of `start_lr sqrt(timescale / (timescale + t))` at update t.
    ///
    /// # Errors
    ///
    /// A negative or non-finite rate, a `timescale` of 0.
    pub fn new(start_lr: f64, timescale: u64) -> Result<Self, ConfigError> {
        Self { start_lr, timescale }.check()
    }

    fn check(mut self) -> Result<Self, ConfigError> {
        check::schedule_rate("start_lr", &mut self.start_lr)?;
        check::length("timescale", self.timescale)?;
        Ok(self)
    }
}

impl Schedule for InverseSqrtDecay {
    #[inline]
    fn value_at(&self, step: u64) -> f64 {
        let timescale = numeric::float(self.timescale);
        self.start_lr * numeric::square_root(timescale / (timescale + numeric::float(step)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_precondition() {
        for bad in [f64::NAN, f64::INFINITY, -0.1] {
            assert!(matches!(InverseSqrtDecay::new(bad, 5), Err(ConfigError::Rate { field: "start_lr", .. })));
        }
        assert!(matches!(InverseSqrtDecay::new(0.1, 0), Err(ConfigError::TooSmall { field: "timescale", .. })));
    }
}
