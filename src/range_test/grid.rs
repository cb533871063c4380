//! One sweep for each of several weight decays.

use alloc::vec::Vec;

use thiserror::Error;

use super::{LossCurve, NoSuggestion, Suggested, Suggestion};
use crate::check;
use crate::error::ConfigError;
use crate::smoothing::Smoothing;

/// One loss curve for each weight decay. All sweeps start from the same weights and use the same batches.
///
/// # Examples
///
/// ```
/// use cyclic_optim::range_test::{RangeTest, Suggestion, WeightDecayGrid};
///
/// let test = RangeTest::logarithmic(1e-3, 1.0, 31)?;
/// let grid = WeightDecayGrid::run(&[0.0, 1e-2], |weight_decay| {
///     let mut loss = 1.0 + weight_decay;
///     test.run(|lr| {
///         loss *= 1.0 - lr * (0.5 - lr);
///         Some(loss)
///     })
/// })?;
/// let best = grid.best(Suggestion::Valley)?;
/// assert_eq!(best.weight_decay, 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # References
///
/// L. N. Smith, arXiv:1803.09820, section 4.4, chooses weight decay and rate together. `LrRangeTest` of
/// `psklight/keras_one_cycle_clr` has such a grid, but it has no effect, because it sets Keras' time decay of the rate.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightDecayGrid {
    entries: Vec<GridEntry>,
}

/// One weight decay and its loss curve.
#[derive(Debug, Clone, PartialEq)]
pub struct GridEntry {
    /// The weight decay; 0 means none.
    pub weight_decay: f64,
    /// The loss curve.
    pub curve: LossCurve,
}

/// The weight decay with the lowest loss, and the rate that its curve suggests.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct BestPair {
    /// The index of the weight decay in [`entries`](WeightDecayGrid::entries).
    pub entry: usize,
    /// The weight decay.
    pub weight_decay: f64,
    /// The rate.
    pub suggested: Suggested,
}

/// Why [`WeightDecayGrid::run`] failed.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum GridError<E> {
    /// There are no weight decays, or one is negative or not finite. No sweep was run.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A sweep failed. No further sweep was run.
    #[error("the sweep with weight decay {weight_decay} failed: {error}")]
    Sweep {
        /// Its weight decay.
        weight_decay: f64,
        /// Its error.
        error: E,
    },
}

impl WeightDecayGrid {
    /// Runs `sweep` once for each weight decay.
    ///
    /// # Errors
    ///
    /// [`GridError::Config`] before the first sweep; [`GridError::Sweep`] for the first sweep that fails.
    pub fn run<E>(
        weight_decays: &[f64],
        mut sweep: impl FnMut(f64) -> Result<LossCurve, E>,
    ) -> Result<Self, GridError<E>> {
        if weight_decays.is_empty() {
            return Err(ConfigError::Empty { field: "weight_decays" }.into());
        }
        for &weight_decay in weight_decays {
            check::non_negative("weight_decays", weight_decay)?;
        }
        let entry = |&weight_decay: &f64| match sweep(weight_decay) {
            Ok(curve) => Ok(GridEntry { weight_decay, curve }),
            Err(error) => Err(GridError::Sweep { weight_decay, error }),
        };
        Ok(Self { entries: weight_decays.iter().map(entry).collect::<Result<_, _>>()? })
    }

    /// The entries, in the order of the weight decays.
    #[must_use]
    pub fn entries(&self) -> &[GridEntry] {
        &self.entries
    }

    /// The same grid with all curves smoothed.
    #[must_use]
    pub fn smoothed(&self, smoothing: &Smoothing) -> Self {
        let entry = |entry: &GridEntry| GridEntry { curve: entry.curve.smoothed(smoothing), ..*entry };
        Self { entries: self.entries.iter().map(entry).collect() }
    }

    /// Each weight decay and the rate that a rule suggests for it.
    pub fn suggest(&self, suggestion: Suggestion) -> impl Iterator<Item = (f64, Result<Suggested, NoSuggestion>)> + '_ {
        self.entries.iter().map(move |entry| (entry.weight_decay, entry.curve.suggest(suggestion)))
    }

    /// The weight decay with the lowest loss (the first of several), and the rate suggested for it. Curves without a suggestion are
    /// ignored.
    ///
    /// # Errors
    ///
    /// No curve has a suggestion. The error is that of the first curve.
    pub fn best(&self, suggestion: Suggestion) -> Result<BestPair, NoSuggestion> {
        let mut best: Option<(f64, BestPair)> = None;
        let mut reason = NoSuggestion::TooFewPoints { needed: 1, found: 0 };
        for (entry, GridEntry { weight_decay, curve }) in self.entries.iter().enumerate().rev() {
            match curve.suggest(suggestion) {
                Ok(suggested) => {
                    let lowest = curve.finite().iter().map(|point| point.2).fold(f64::INFINITY, f64::min);
                    if best.is_none_or(|best| lowest <= best.0) {
                        best = Some((lowest, BestPair { entry, weight_decay: *weight_decay, suggested }));
                    }
                }
                Err(why) => reason = why,
            }
        }
        best.map(|best| best.1).ok_or(reason)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::range_test::RangeTest;

    #[test]
    fn the_best_pair() {
        let test = RangeTest::linear(1.0, 3.0, 3).unwrap();
        let losses = |weight_decay: f64| match weight_decay {
            0.0 => [3.0, 2.0, 2.5],
            0.1 => [3.0, 2.5, 1.0],
            0.2 => [3.0, 1.0, 2.0],
            _ => [f64::NAN; 3],
        };
        let run = |decays: &[f64]| {
            WeightDecayGrid::run(decays, |weight_decay| {
                let mut losses = losses(weight_decay).into_iter();
                test.run(|_| Ok::<_, ()>(losses.next()))
            })
            .unwrap()
        };
        let grid = run(&[0.5, 0.0, 0.1, 0.2]);
        let smoothing = Smoothing::trailing_mean(2).unwrap();
        assert_eq!(grid.smoothed(&smoothing).entries()[1].curve, grid.entries()[1].curve.smoothed(&smoothing));
        assert_ne!(grid.smoothed(&smoothing), grid);
        let best = grid.best(Suggestion::MinimumOverTen).unwrap();
        assert_eq!(best, BestPair { entry: 2, weight_decay: 0.1, suggested: Suggested { lr: 0.3, index: 2 } });
        let rows: Vec<bool> = grid.suggest(Suggestion::Steepest).map(|(_, suggested)| suggested.is_ok()).collect();
        assert_eq!(rows, [false, true, true, true]);
        let nothing = run(&[0.5]).best(Suggestion::Valley);
        assert_eq!(nothing, Err(NoSuggestion::TooFewPoints { needed: 2, found: 0 }));
    }

    #[test]
    fn every_precondition() {
        let run = |decays: &[f64]| WeightDecayGrid::run(decays, |_| Err("not reached"));
        let error = |decays: &[f64]| match run(decays) {
            Err(GridError::Config(error)) => error,
            other => panic!("{other:?}"),
        };
        assert!(matches!(error(&[]), ConfigError::Empty { field: "weight_decays" }));
        for bad in [f64::NAN, -0.1, f64::INFINITY] {
            assert!(matches!(error(&[0.1, bad]), ConfigError::OutOfRange { field: "weight_decays", .. }));
        }
        assert_eq!(run(&[0.1, 0.2]), Err(GridError::Sweep { weight_decay: 0.1, error: "not reached" }));
        assert_eq!(run(&[0.1]).unwrap_err().to_string(), "the sweep with weight decay 0.1 failed: not reached");
    }
}
