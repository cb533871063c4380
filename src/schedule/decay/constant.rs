//! A constant rate.

use crate::check::{self, serde_checked};
use crate::error::ConfigError;
use crate::schedule::{LrRange, Position, Ramp, Schedule};

serde_checked! {
    /// One rate for every update.
    ///
    /// # Formula
    ///
    /// ```text
    /// value = lr
    /// ```
    ///
    /// # Shape
    ///
    #[doc = include_str!("../shapes/constant.svg")]
    ///
    /// - `lr` at every step; endless
    ///
    /// | parameter | default | purpose | range |
    /// |---|---|---|---|
    /// | `lr` | required | the rate | finite, >= 0 |
    ///
    /// # Errors
    ///
    /// A negative or non-finite rate.
    ///
    /// # Examples
    ///
    /// ```
    /// use cyclic_optim::{Constant, Schedule};
    /// let schedule = Constant::new(0.1)?;
    /// assert_eq!((schedule.value_at(0), schedule.value_at(u64::MAX)), (0.1, 0.1));
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    #[derive(Debug, Clone, PartialEq)]
    pub struct Constant {
        lr: f64,
    }
}

impl Constant {
    /// The rate `lr` at every update.
    ///
    /// # Errors
    ///
    /// A negative or non-finite rate.
    pub fn new(lr: f64) -> Result<Self, ConfigError> {
        Self { lr }.check()
    }

    fn check(mut self) -> Result<Self, ConfigError> {
        check::schedule_rate("lr", &mut self.lr)?;
        Ok(self)
    }
}

impl Schedule for Constant {
    #[inline]
    fn value_at(&self, _step: u64) -> f64 {
        self.lr
    }

    fn ramp_at(&self, _position: &Position, _range: Option<LrRange>) -> Option<Ramp> {
        Some(Ramp::hold(self.lr).without_height())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_precondition() {
        for bad in [f64::NAN, f64::INFINITY, -0.1] {
            assert!(matches!(Constant::new(bad), Err(ConfigError::Rate { field: "lr", .. })));
        }
    }
}
