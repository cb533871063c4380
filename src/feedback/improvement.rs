//! What "better" means for plateau, early stopping and model checkpoints.

use alloc::string::String;

use super::Counting;
use crate::check::{self, serde_checked};
use crate::error::ConfigError;

/// Whether smaller or larger is better. [`of_metric`](Self::of_metric) knows the direction of the usual metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Direction {
    /// Smaller is better: a loss.
    #[default]
    Min,
    /// Larger is better: an accuracy.
    Max,
}

/// The metrics that [`Direction::of_metric`] knows. A name has the direction of the first entry that is equal to it, or
/// that it ends with after a `_`.
const KNOWN_METRICS: [(Direction, &[&str]); 4] = [
    // Longer names whose last word alone would be another metric.
    (Direction::Min, &["error_rate", "false_positive_rate", "false_negative_rate", "cross_entropy", "log_cosh"]),
    (Direction::Max, &["true_positive_rate", "true_negative_rate", "f1_score", "fbeta_score", "f_score", "r2_score"]),
    (
        Direction::Max,
        &[
            "accuracy",
            "acc",
            "auc",
            "f1",
            "precision",
            "recall",
            "sensitivity",
            "specificity",
            "true_positives",
            "true_negatives",
            "iou",
            "io_u",
            "dice",
            "r2",
            "correlation",
            "similarity",
            "kappa",
            "mcc",
            "bleu",
            "rouge",
            "ndcg",
            "mrr",
            "psnr",
            "ssim",
        ],
    ),
    (
        Direction::Min,
        &[
            "loss",
            "error",
            "mse",
            "rmse",
            "mae",
            "mape",
            "msle",
            "rmsle",
            "perplexity",
            "ppl",
            "crossentropy",
            "nll",
            "divergence",
            "hinge",
            "poisson",
            "logcosh",
            "false_positives",
            "false_negatives",
            "wer",
            "cer",
        ],
    ),
];

impl Direction {
    /// Whether `value` lies before `other` in this direction, by however little.
    pub(crate) fn is_better(self, value: f64, other: f64) -> bool {
        match self {
            Self::Min => value < other,
            Self::Max => value > other,
        }
    }

    /// The direction of a metric by its name, like the mode `auto` of Keras' callbacks; `None` for an unknown name.
    ///
    /// Upper and lower case, a leading `val_` and a trailing number (`auc_1`) make no difference, and `-`, ` `, `.` and `/`
    /// count as `_`. A name is known if it is one of these, or ends with one of these as a separate word (`binary_accuracy`,
    /// `mean_squared_error`):
    ///
    /// | direction | names |
    /// |---|---|
    /// | [`Max`](Self::Max) | `accuracy`, `acc`, `auc`, `f1`, `f1_score`, `fbeta_score`, `f_score`, `precision`, `recall`, `sensitivity`, `specificity`, `true_positives`, `true_negatives`, `true_positive_rate`, `true_negative_rate`, `iou`, `io_u`, `dice`, `r2`, `r2_score`, `correlation`, `similarity`, `kappa`, `mcc`, `bleu`, `rouge`, `ndcg`, `mrr`, `psnr`, `ssim` |
    /// | [`Min`](Self::Min) | `loss`, `error`, `error_rate`, `mse`, `rmse`, `mae`, `mape`, `msle`, `rmsle`, `perplexity`, `ppl`, `crossentropy`, `cross_entropy`, `nll`, `divergence`, `hinge`, `poisson`, `logcosh`, `log_cosh`, `false_positives`, `false_negatives`, `false_positive_rate`, `false_negative_rate`, `wer`, `cer` |
    ///
    /// Keras 3 asks the class of the metric, and fails for an unknown name. Keras 2 treated any unknown metric as a loss.
    ///
    /// ```
    /// use cyclic_optim::feedback::Direction;
    ///
    /// assert_eq!(Direction::of_metric("val_accuracy"), Some(Direction::Max));
    /// assert_eq!(Direction::of_metric("val_loss"), Some(Direction::Min));
    /// assert_eq!(Direction::of_metric("temperature"), None);
    /// ```
    #[must_use]
    pub fn of_metric(name: &str) -> Option<Self> {
        let words = name.split(['_', '-', ' ', '.', '/']).filter(|word| !word.is_empty());
        let mut name = String::new();
        for word in words {
            name.push('_');
            name.push_str(&word.to_lowercase());
        }
        let name = name.strip_prefix("_val").filter(|rest| rest.starts_with('_')).unwrap_or(&name);
        // Keras numbers the metrics of one kind: auc_1.
        let number = name.rsplit_once('_').filter(|(_, word)| word.bytes().all(|byte| byte.is_ascii_digit()));
        let name = number.map_or(name, |(before, _)| before);
        let is_known = |known: &str| name.strip_suffix(known).is_some_and(|before| before.ends_with('_'));
        KNOWN_METRICS
            .iter()
            .find(|(_, names)| names.iter().any(|known| is_known(known)))
            .map(|(direction, _)| *direction)
    }
}

/// The smallest change that counts as an improvement.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum MinDelta {
    /// The metric must be better by more than this.
    Absolute(f64),
    /// The metric must be better by more than this share of the absolute value of the best so far.
    Relative(f64),
}

impl Default for MinDelta {
    fn default() -> Self {
        Self::Absolute(0.0)
    }
}

serde_checked! {
    /// The rule that decides whether a metric is better than the best so far.
    ///
    /// # Formula
    ///
    /// ```text
    ///                     min                              max
    /// absolute, Keras     value + min_delta < best         value - min_delta > best
    /// absolute, PyTorch   value < best - min_delta         value > best + min_delta
    /// relative            value < best (1 - min_delta)     value > best (1 + min_delta)
    /// ```
    ///
    /// Each line keeps the order of operations of its library, because rounding decides when a metric is better by exactly
    /// `min_delta`. [`EarlyStopping`](super::EarlyStopping), `ModelCheckpoint` and [`is_better`](Self::is_better) compare as
    /// Keras does. A [`Plateau`](super::Plateau) compares as the library of its [`Counting`] does. Only PyTorch has a relative
    /// delta, so there is one rule for it.
    ///
    /// - For a negative `best` the relative rule uses `1 + min_delta` for min and `1 - min_delta` for max. (PyTorch does not,
    ///   so it can take a worse metric for a better one.)
    /// - A metric that is not finite is never better. The first finite metric always is.
    /// - Numbers are compared in f64. Keras compares in its `floatx`, float32 by default, where numbers that are equal in
    ///   float32 are a tie.
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
    /// A rule with this direction and this smallest improvement.
    ///
    /// # Errors
    ///
    /// A negative or non-finite `min_delta`.
    pub fn new(direction: Direction, min_delta: MinDelta) -> Result<Self, ConfigError> {
        Self { direction, min_delta }.check()
    }

    pub(crate) fn check(self) -> Result<Self, ConfigError> {
        let (MinDelta::Absolute(delta) | MinDelta::Relative(delta)) = self.min_delta;
        check::non_negative("min_delta", delta)?;
        Ok(self)
    }

    /// Whether `value` is better than the best so far.
    ///
    /// An absolute `min_delta` uses Keras' order of operations.
    #[must_use]
    pub fn is_better(&self, value: f64, best: Option<f64>) -> bool {
        self.is_better_to(Counting::Keras, value, best)
    }

    /// Whether `value` is better than the best so far, in the order of operations of a library.
    pub(crate) fn is_better_to(&self, library: Counting, value: f64, best: Option<f64>) -> bool {
        if !value.is_finite() {
            return false;
        }
        let Some(best) = best else { return true };
        match (self.min_delta, self.direction) {
            (MinDelta::Absolute(delta), Direction::Min) => match library {
                Counting::Keras => value + delta < best,
                Counting::Pytorch => value < best - delta,
            },
            (MinDelta::Absolute(delta), Direction::Max) => match library {
                Counting::Keras => value - delta > best,
                Counting::Pytorch => value > best + delta,
            },
            (MinDelta::Relative(share), direction) => {
                // A metric that falls moves towards zero if the best is positive, and away from zero if it is negative.
                let towards_zero = (direction == Direction::Min) == (best >= 0.0);
                let limit = best * if towards_zero { 1.0 - share } else { share + 1.0 };
                direction.is_better(value, limit)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_direction_of_a_metric() {
        use Direction::{Max, Min};
        // The metrics of Keras 3.15.1, with the directions of their classes.
        let keras = [
            (
                Max,
                "accuracy acc binary_accuracy categorical_accuracy sparse_categorical_accuracy top_k_categorical_accuracy",
            ),
            (Max, "auc precision recall f1_score fbeta_score sensitivity_at_specificity specificity_at_sensitivity"),
            (Max, "precision_at_recall recall_at_precision true_positives true_negatives r2_score cosine_similarity"),
            (
                Max,
                "mean_io_u binary_io_u one_hot_io_u io_u pearson_correlation concordance_correlation auc_1 Precision_12",
            ),
            (
                Min,
                "loss false_positives false_negatives mean_squared_error root_mean_squared_error mean_absolute_error",
            ),
            (Min, "mean_absolute_percentage_error mean_squared_logarithmic_error logcosh log_cosh mse mae mape msle"),
            (
                Min,
                "binary_crossentropy categorical_crossentropy kl_divergence poisson hinge squared_hinge categorical_hinge",
            ),
        ];
        let others = [
            (Max, "F1 top_5_accuracy roc_auc ROC-AUC dice validation/accuracy true_positive_rate"),
            (Min, "perplexity error_rate false_positive_rate cross_entropy train.loss RMSE total-loss accuracy_loss"),
        ];
        for (direction, names) in keras.into_iter().chain(others) {
            for name in names.split(' ') {
                for name in [name.into(), alloc::format!("val_{name}"), alloc::format!("VAL_{}", name.to_uppercase())] {
                    assert_eq!(Direction::of_metric(&name), Some(direction), "{name}");
                }
            }
        }
        for unknown in
            ["", "_", "val", "val_", "1", "score", "lr", "learning_rate", "lossy", "glacc", "rate", "entropy"]
        {
            assert_eq!(Direction::of_metric(unknown), None, "{unknown}");
        }
    }

    /// The documented list is the one that is used.
    #[test]
    fn every_known_metric_is_documented() {
        let rows = include_str!("improvement.rs").lines().filter(|line| line.trim_start().starts_with("/// | [`M"));
        let documented: usize = rows.map(|row| row.matches('`').count() / 2 - 1).sum();
        for (direction, names) in KNOWN_METRICS {
            for name in names {
                assert_eq!(Direction::of_metric(name), Some(direction), "{name}");
                assert!(include_str!("improvement.rs").contains(&alloc::format!("`{name}`")), "{name}");
            }
        }
        assert_eq!(documented, KNOWN_METRICS.iter().map(|(_, names)| names.len()).sum::<usize>());
    }

    #[test]
    fn ties_are_decided_in_each_librarys_order() {
        let better = |library, direction, min_delta, best, value| {
            Improvement::new(direction, min_delta).unwrap().is_better_to(library, value, Some(best))
        };
        let (min, max) = (Direction::Min, Direction::Max);
        // 0.4 - 0.1 is above 0.3, and 0.3 + 0.1 is 0.4.
        assert!(!better(Counting::Keras, min, MinDelta::Absolute(0.1), 0.4, 0.3));
        assert!(better(Counting::Pytorch, min, MinDelta::Absolute(0.1), 0.4, 0.3));
        // 0.1 (1 - 0.1) is above 0.09, and 0.3 (1 + 0.1) above 0.33.
        assert!(better(Counting::Pytorch, min, MinDelta::Relative(0.1), 0.1, 0.09));
        assert!(!better(Counting::Pytorch, max, MinDelta::Relative(0.1), 0.3, 0.33));
        // The rule of the value itself is Keras'.
        let rule = Improvement::new(min, MinDelta::Absolute(0.1)).unwrap();
        assert!(!rule.is_better(0.3, Some(0.4)) && rule.is_better(0.3, None));
    }

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
