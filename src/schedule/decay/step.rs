//! Rates that fall at equal intervals or at given updates.

use alloc::vec::Vec;

use crate::check::{self, serde_checked};
use crate::error::ConfigError;
use crate::numeric;
use crate::schedule::Schedule;

serde_checked! {
    /// A rate that is multiplied by `gamma` every `step_size` updates.
    ///
    /// # Formula
    ///
    /// ```text
    /// value = start_lr gamma^floor(t / step_size)
    /// ```
    ///
    /// # Shape
    ///
    #[doc = include_str!("../shapes/step.svg")]
    ///
    /// - before update `step_size`: `start_lr`, exactly
    /// - endless; it falls to 0 once it is too small for a float
    ///
    /// | parameter | default | purpose | range |
    /// |---|---|---|---|
    /// | `start_lr` | required | rate of the first update | finite, >= 0 |
    /// | `step_size` | required | updates between two falls | >= 1 |
    /// | `gamma` | required | factor of each fall | (0, 1] |
    ///
    /// # Errors
    ///
    /// A negative or non-finite rate, a `step_size` of 0, `gamma` outside (0, 1].
    ///
    /// # Examples
    ///
    /// ```
    /// use cyclic_optim::{ScheduleExt, StepDecay};
    /// let schedule = StepDecay::new(0.8, 3, 0.5)?;
    /// let rates: Vec<f64> = schedule.values_from(0).take(7).collect();
    /// assert_eq!(rates, [0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2]);
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    ///
    /// # References
    ///
    /// PyTorch's `StepLR`, in closed form.
    #[derive(Debug, Clone, PartialEq)]
    pub struct StepDecay {
        start_lr: f64,
        step_size: u64,
        gamma: f64,
        #[cfg_attr(feature = "serde", serde(skip))]
        log2_gamma: f64,
    }
}

impl StepDecay {
    /// A rate that begins with `start_lr` and is multiplied by `gamma` every `step_size` updates.
    ///
    /// # Errors
    ///
    /// A negative or non-finite rate, a `step_size` of 0, `gamma` outside (0, 1].
    pub fn new(start_lr: f64, step_size: u64, gamma: f64) -> Result<Self, ConfigError> {
        Self { start_lr, step_size, gamma, log2_gamma: 0.0 }.check()
    }

    fn check(mut self) -> Result<Self, ConfigError> {
        check::schedule_rate("start_lr", &mut self.start_lr)?;
        check::length("step_size", self.step_size)?;
        check::gamma("gamma", self.gamma)?;
        self.log2_gamma = numeric::log2(self.gamma);
        Ok(self)
    }
}

impl Schedule for StepDecay {
    #[inline]
    fn value_at(&self, step: u64) -> f64 {
        self.start_lr * numeric::power(self.log2_gamma, step / self.step_size)
    }
}

serde_checked! {
    /// A rate that is multiplied by `gamma` at each of some given updates.
    ///
    /// # Formula
    ///
    /// ```text
    /// value = start_lr gamma^(number of milestones <= t)
    /// ```
    ///
    /// # Shape
    ///
    #[doc = include_str!("../shapes/multi_step.svg")]
    ///
    /// - before the first milestone: `start_lr`, exactly
    /// - from the last milestone on: `start_lr gamma^n`; endless
    ///
    /// | parameter | default | purpose | range |
    /// |---|---|---|---|
    /// | `start_lr` | required | rate of the first update | finite, >= 0 |
    /// | `milestones` | required | the updates at which the rate falls | at least one, strictly increasing |
    /// | `gamma` | required | factor of each fall | (0, 1] |
    ///
    /// # Errors
    ///
    /// A negative or non-finite rate, no milestones, milestones that are not strictly increasing, `gamma` outside (0, 1].
    ///
    /// # Examples
    ///
    /// ```
    /// use cyclic_optim::{MultiStepDecay, ScheduleExt};
    /// let schedule = MultiStepDecay::new(0.8, [2, 3], 0.5)?;
    /// let rates: Vec<f64> = schedule.values_from(0).take(5).collect();
    /// assert_eq!(rates, [0.8, 0.8, 0.4, 0.2, 0.2]);
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    ///
    /// # References
    ///
    /// PyTorch's `MultiStepLR`, in closed form.
    #[derive(Debug, Clone, PartialEq)]
    pub struct MultiStepDecay {
        start_lr: f64,
        milestones: Vec<u64>,
        gamma: f64,
        #[cfg_attr(feature = "serde", serde(skip))]
        log2_gamma: f64,
    }
}

impl MultiStepDecay {
    /// A rate that begins with `start_lr` and is multiplied by `gamma` at each milestone.
    ///
    /// # Errors
    ///
    /// A negative or non-finite rate, no milestones, milestones that are not strictly increasing, `gamma` outside
    /// (0, 1].
    pub fn new(start_lr: f64, milestones: impl Into<Vec<u64>>, gamma: f64) -> Result<Self, ConfigError> {
        Self { start_lr, milestones: milestones.into(), gamma, log2_gamma: 0.0 }.check()
    }

    fn check(mut self) -> Result<Self, ConfigError> {
        check::schedule_rate("start_lr", &mut self.start_lr)?;
        check::gamma("gamma", self.gamma)?;
        if self.milestones.is_empty() {
            return Err(ConfigError::Empty { field: "milestones" });
        }
        if let Some(pair) = self.milestones.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(ConfigError::UnsortedMilestones { previous: pair[0], milestone: pair[1] });
        }
        self.log2_gamma = numeric::log2(self.gamma);
        Ok(self)
    }
}

impl Schedule for MultiStepDecay {
    #[inline]
    fn value_at(&self, step: u64) -> f64 {
        let passed = self.milestones.partition_point(|&milestone| milestone <= step);
        self.start_lr * numeric::power(self.log2_gamma, passed as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_precondition() {
        use ConfigError::{Empty, OutOfRange, Rate, TooSmall, UnsortedMilestones};
        for bad in [f64::NAN, f64::INFINITY, -0.1] {
            assert!(matches!(StepDecay::new(bad, 5, 0.5), Err(Rate { field: "start_lr", .. })));
            assert!(matches!(StepDecay::new(0.1, 5, bad), Err(OutOfRange { field: "gamma", .. })));
            assert!(matches!(MultiStepDecay::new(bad, [5], 0.5), Err(Rate { field: "start_lr", .. })));
            assert!(matches!(MultiStepDecay::new(0.1, [5], bad), Err(OutOfRange { field: "gamma", .. })));
        }
        assert!(matches!(StepDecay::new(0.1, 0, 0.5), Err(TooSmall { field: "step_size", .. })));
        assert!(matches!(MultiStepDecay::new(0.1, [], 0.5), Err(Empty { field: "milestones" })));
        for milestones in [[5, 5], [6, 5]] {
            assert!(matches!(MultiStepDecay::new(0.1, milestones, 0.5), Err(UnsortedMilestones { milestone: 5, .. })));
        }
    }
}
