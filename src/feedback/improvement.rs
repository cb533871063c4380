//! What "better" means: the one rule that plateau, early stopping and auto-decay share.

use crate::schedule::serde_checked;
use crate::{ConfigError, check};

/// Whether smaller or larger is better. Never guessed from a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Direction {
    /// Smaller is better: a loss.
    #[default]
    Min,
    /// Larger is better: an accuracy.
    Max,
}

/// By how much a metric has to be better to count.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum MinDelta {
    /// By more than this.
    Absolute(f64),
    /// By more than this share of the best so far (of its absolute value, so that negative metrics are judged rightly).
    Relative(f64),
}

impl Default for MinDelta {
    fn default() -> Self {
        Self::Absolute(0.0)
    }
}

serde_checked! {
    /// The rule that says whether a metric is better than the best so far.
    ///
    /// # Formula
    ///
    /// ```text
    /// min: value < best - delta      max: value > best + delta
    /// delta = min_delta              or min_delta |best|, if relative
    /// ```
    ///
    /// A metric that is not finite is never better. The first finite one always is.
    ///
    /// # Examples
    ///
    /// ```
    /// use cyclic_optim::feedback::{Direction, Improvement, MinDelta};
    ///
    /// let rule = Improvement::new(Direction::Min, MinDelta::Relative(0.1))?;
    /// assert!(rule.is_better(-1.2, Some(-1.0)));
    /// // PyTorch takes this for an improvement: -1.0 (1 - 0.1) is -0.9.
    /// assert!(!rule.is_better(-0.95, Some(-1.0)));
    /// assert!(!rule.is_better(f64::NAN, None));
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    #[derive(Debug, Clone, Copy, PartialEq, Default)]
    pub struct Improvement {
        #[cfg_attr(feature = "serde", serde(default))]
        pub(crate) direction: Direction,
        #[cfg_attr(feature = "serde", serde(default))]
        pub(crate) min_delta: MinDelta,
    }
}

impl Improvement {
    /// A rule.
    ///
    /// # Errors
    ///
    /// A `min_delta` that is not finite or negative.
    pub fn new(direction: Direction, min_delta: MinDelta) -> Result<Self, ConfigError> {
        Self { direction, min_delta }.check()
    }

    pub(crate) fn check(self) -> Result<Self, ConfigError> {
        let (MinDelta::Absolute(delta) | MinDelta::Relative(delta)) = self.min_delta;
        check::non_negative("min_delta", delta)?;
        Ok(self)
    }

    /// Whether `value` is better than the best so far.
    #[must_use]
    pub fn is_better(&self, value: f64, best: Option<f64>) -> bool {
        let Some(best) = best else { return value.is_finite() };
        let delta = match self.min_delta {
            MinDelta::Absolute(delta) => delta,
            MinDelta::Relative(share) => share * best.abs(),
        };
        value.is_finite()
            && match self.direction {
                Direction::Min => value < best - delta,
                Direction::Max => value > best + delta,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comparison_is_strict_and_safe() {
        let rule = |direction, min_delta| Improvement::new(direction, min_delta).unwrap();
        let min = rule(Direction::Min, MinDelta::Absolute(0.5));
        assert!(min.is_better(0.4, Some(1.0)) && !min.is_better(0.5, Some(1.0)));
        let max = rule(Direction::Max, MinDelta::Relative(0.5));
        assert!(max.is_better(1.6, Some(1.0)) && !max.is_better(1.5, Some(1.0)));
        assert!(max.is_better(-0.4, Some(-1.0)) && !max.is_better(-0.5, Some(-1.0)));
        for not_finite in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(!min.is_better(not_finite, None) && !min.is_better(not_finite, Some(1.0)));
            assert!(!max.is_better(not_finite, None) && !max.is_better(not_finite, Some(1.0)));
        }
        for bad in [f64::NAN, -0.1, f64::INFINITY] {
            let error = Improvement::new(Direction::Min, MinDelta::Relative(bad));
            assert!(matches!(error, Err(ConfigError::OutOfRange { field: "min_delta", .. })));
        }
    }
}
