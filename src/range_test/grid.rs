//! The same sweep for several weight decays.

use alloc::vec::Vec;

use super::{LossCurve, NoSuggestion, Suggested, Suggestion};
use crate::{ConfigError, check};

/// One loss curve for each weight decay, all from the same start and over the same batches.
///
/// # Errors
///
/// [`run`](Self::run) checks the weight decays before the first sweep.
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
/// })?.unwrap();
/// let best = grid.best(Suggestion::Valley)?;
/// assert_eq!(best.weight_decay, 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # References
///
/// `LrRangeTest` of `psklight/keras_one_cycle_clr`, whose grid has no effect (it sets Keras' time decay of the rate); L. N. Smith,
/// arXiv:1803.09820, section 4.4, for choosing weight decay and rate together.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightDecayGrid {
    entries: Vec<GridEntry>,
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct GridEntry {
    /// The weight decay; 0 means none.
    pub weight_decay: f64,
    /// What the sweep found.
    pub curve: LossCurve,
}

/// The weight decay under which the loss falls lowest, and the rate that its curve suggests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BestPair {
    /// The row of the grid.
    pub entry: usize,
    /// Its weight decay.
    pub weight_decay: f64,
    /// The rate.
    pub suggested: Suggested,
}

impl WeightDecayGrid {
    /// Runs `sweep` once for each weight decay.
    ///
    /// # Errors
    ///
    /// The outer one: no weight decays, or one that is not finite or negative. The inner one: that of the first sweep that
    /// failed.
    pub fn run<E>(
        weight_decays: &[f64],
        mut sweep: impl FnMut(f64) -> Result<LossCurve, E>,
    ) -> Result<Result<Self, E>, ConfigError> {
        if weight_decays.is_empty() {
            return Err(ConfigError::Empty { field: "weight_decays" });
        }
        for &weight_decay in weight_decays {
            check::non_negative("weight_decays", weight_decay)?;
        }
        let entry = |&weight_decay: &f64| sweep(weight_decay).map(|curve| GridEntry { weight_decay, curve });
        Ok(weight_decays.iter().map(entry).collect::<Result<_, _>>().map(|entries| Self { entries }))
    }

    /// The rows, in the order of the weight decays.
    #[must_use]
    pub fn entries(&self) -> &[GridEntry] {
        &self.entries
    }

    /// The same grid with all curves smoothed.
    #[must_use]
    pub fn smoothed(&self, smoothing: &crate::Smoothing) -> Self {
        let entry = |entry: &GridEntry| GridEntry { curve: entry.curve.smoothed(smoothing), ..*entry };
        Self { entries: self.entries.iter().map(entry).collect() }
    }

    /// What a rule suggests for each weight decay.
    pub fn suggest(&self, suggestion: Suggestion) -> impl Iterator<Item = (f64, Result<Suggested, NoSuggestion>)> + '_ {
        self.entries.iter().map(move |entry| (entry.weight_decay, entry.curve.suggest(suggestion)))
    }

    /// The weight decay whose curve comes down lowest (the first of several), and the rate suggested for it. Curves without
    /// a suggestion are left out.
    ///
    /// # Errors
    ///
    /// No curve suggests anything: the reason of the first.
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
            .unwrap()
        };
        let grid = run(&[0.5, 0.0, 0.1, 0.2]);
        let smoothing = crate::Smoothing::trailing_mean(2).unwrap();
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
        assert!(matches!(run(&[]), Err(ConfigError::Empty { field: "weight_decays" })));
        for bad in [f64::NAN, -0.1, f64::INFINITY] {
            assert!(matches!(run(&[0.1, bad]), Err(ConfigError::OutOfRange { field: "weight_decays", .. })));
        }
        assert_eq!(run(&[0.1]), Ok(Err("not reached")));
    }
}
