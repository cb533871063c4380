//! The choice of a peak rate by trial: a coarse sweep gives a first guess, and short runs at constant rates refine it.

use alloc::vec::Vec;
use core::fmt;

use thiserror::Error;

use super::peak_choice::{Candidate, PeakChoice};
use super::{LossCurve, LossPoint, StopReason};
use crate::check;
use crate::error::ConfigError;
use crate::numeric;
use crate::smoothing::Ewma;

/// The number of batches that warm up the optimizer's moments, and the number of updates with the gradients of each.
const WARM_BATCHES: u64 = 16;
const WARM_REPEATS: u32 = 4;
/// A rate too small to change the parameters noticeably.
const NO_RATE: f64 = 1e-12;

const LOWEST_RATE: f64 = 1e-6;
const HIGHEST_RATE: f64 = 100.0;
/// The number of updates in a usual sweep, and in a sweep over all rates with the fine ratio.
const TYPICAL_SWEEP: u64 = 64;
const LONGEST_SWEEP: u64 = 129;
/// Decimal logarithm of the ratio of neighbouring rates in the sweep, before and after the loss begins to fall.
const COARSE: f64 = 1.0 / 8.0;
const FINE: f64 = 1.0 / 16.0;

/// Limits of the number of updates in a probe.
const SHORTEST_PROBE: u64 = 36;
const LONGEST_PROBE: u64 = 100;
/// Within these limits, a probe has `1 / PROBES_IN_RUN` of the updates of the run.
const PROBES_IN_RUN: u64 = 18;
/// Decimal logarithm of the ratio of neighbouring candidates.
const SPACING: f64 = 0.5;
const MOST_CANDIDATES: u64 = 8;
/// The number of updates in which the rate of a probe rises to the candidate.
const RISE: u64 = 4;
/// A candidate's weight falls to 1 / e when its loss is worse than the best by this share of the best fall.
const SHARPNESS: f64 = 0.2;
/// A probe is given up when its smoothed loss exceeds the starting loss by this multiple of the starting loss.
const DIVERGED: f64 = 1.0;
const SMOOTHING: f64 = 0.8;

/// What a [`PeakSearch`] trains: clones of a model and of its optimizer, on batches that can be used repeatedly.
pub trait Trial {
    /// The error of the framework or of the batches.
    type Err;

    /// Starts again with the initial model and the optimizer that was kept last, or with the initial optimizer if none
    /// was kept.
    ///
    /// # Errors
    ///
    /// The framework failed.
    fn restart(&mut self) -> Result<(), Self::Err>;

    /// Computes the loss of a batch and its gradients, then makes `repeats` updates with these gradients at the rate `lr`.
    /// Returns the loss before the updates. `batch` is below [`PeakSearch::batches`]. If the loss is not finite, no update is
    /// needed.
    ///
    /// # Errors
    ///
    /// The framework failed.
    fn train(&mut self, batch: u64, lr: f64, repeats: u32) -> Result<f64, Self::Err>;

    /// Keeps the optimizer as it is now for the next [`restart`](Self::restart).
    fn keep_optimizer(&mut self);
}

/// A search for the peak rate of a run, by trial on clones.
///
/// A loss curve alone does not say which rate suits a long run: the losses of a sweep lag behind its rates, and they lag more
/// with momentum. Short runs at constant rates do not have this problem.
///
/// # What it does
///
/// `T` is the number of updates of the run. `n` is the number of updates of a probe: `T / 18`, but at least 36 and at most
/// 100.
///
/// 1. Warm-up: 16 batches fill the optimizer's moments at a rate of 1e-12, with four updates from the gradients of each. The
///    losses are those of the untrained model.
/// 2. Sweep: over the same batches the rate rises from 1e-6, with 8 rates a decade, and 16 once the loss has fallen by 3 %. It ends
///    when half of the fall is lost again. What counts is the change of each batch's loss since step 1, which is free of the noise
///    between batches. The first guess is the rate at half of the fall.
/// 3. Probes: each is a run of `n` updates at one candidate rate, after a rise of four updates. All start from the initial weights
///    and the moments of step 1, and use the same batches. The loss of a probe is the mean over its second half, but at most the
///    loss without training. The candidates are the first guess, its neighbours in steps of a factor of sqrt(10), and then the
///    neighbours of the best; there are at most eight.
/// 4. Mean: the rate `r` at which the model learns fastest is the geometric mean of the candidates, each with the
///    weight `exp(-(loss - best) / (0.2 (start - best)))`.
/// 5. Peak: a one-cycle schedule gets the peak `r / (1.05 (T / 18 n)^(1/4))`. The divisor corrects for probes that are short
///    compared with the run, because those favour high rates.
///
/// The result depends only on the model, the optimizer and the batches: the same ones give the same bits.
///
/// # What it costs
///
/// About `80 + 3 n` updates: a quarter of a run of 1,000 updates, or a tenth of a run of 4,000. [`cost`](Self::cost)
/// returns the number before the search.
///
/// # Errors
///
/// A [`ConfigError`] if `total_updates` is below 36, the length of the shortest probe.
///
/// # Examples
///
/// `adapters::dfdx::choose_peak` runs a search on a dfdx model. For anything else implement [`Trial`]:
///
/// ```
/// use cyclic_optim::range_test::{PeakSearch, Trial};
///
/// /// Minimises the mean of w^2 over weights of very different curvature.
/// struct Quadratic([f64; 3]);
///
/// impl Trial for Quadratic {
///     type Err = std::convert::Infallible;
///     fn restart(&mut self) -> Result<(), Self::Err> {
///         self.0 = [1.0; 3];
///         Ok(())
///     }
///     fn train(&mut self, _batch: u64, lr: f64, repeats: u32) -> Result<f64, Self::Err> {
///         let curvatures = [10.0, 1.0, 0.1];
///         let loss = self.0.iter().zip(curvatures).map(|(w, c)| c * w * w).sum();
///         for _ in 0..repeats {
///             self.0.iter_mut().zip(curvatures).for_each(|(w, c)| *w -= lr * 2.0 * c * *w);
///         }
///         Ok(loss)
///     }
///     fn keep_optimizer(&mut self) {} // plain gradient descent has no moments
/// }
///
/// let search = PeakSearch::new(2000)?;
/// println!("{}", search.cost()); // about 380 updates, 19 % of the run's 2000; at most 945
/// let choice = search.run(&mut Quadratic([1.0; 3]))?;
/// // Above a rate of 0.1 the steepest direction diverges.
/// assert!(choice.peak > 0.01 && choice.peak < 0.1, "{choice}");
/// let schedule = choice.one_cycle()?;
/// # let _ = schedule;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct PeakSearch {
    total_updates: u64,
    probe_updates: u64,
}

/// What a [`PeakSearch`] costs, in updates. Displays as one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SearchCost {
    /// The usual number.
    pub typical: u64,
    /// The largest possible number.
    pub at_most: u64,
    /// The number of updates of the run itself.
    pub total_updates: u64,
}

impl SearchCost {
    /// The usual number as a share of the run.
    #[must_use]
    pub fn share(&self) -> f64 {
        numeric::fraction(self.typical, self.total_updates)
    }

    /// Whether the search usually costs more than a quarter of the run. Then a rate that is known from similar runs may be
    /// the better choice.
    #[must_use]
    pub fn is_high(&self) -> bool {
        self.share() > 0.25
    }
}

impl fmt::Display for SearchCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { typical, at_most, total_updates } = self;
        write!(
            f,
            "about {typical} updates, {:.0} % of the run's {total_updates}; at most {at_most}",
            100.0 * self.share()
        )
    }
}

/// Why a [`PeakSearch`] gave no rate. The model and the optimizer have not changed.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum PeakSearchError<E> {
    /// The loss is NaN or infinite before any update.
    #[error("the loss of batch {batch} is {loss} before any update")]
    NotFinite {
        /// The batch, counted from 0.
        batch: u64,
        /// Its loss.
        loss: f64,
    },
    /// No rate lowers the loss: it is constant, or every rate raises it.
    #[error("no rate from {lowest:e} to {highest:e} lowers the loss, which is {start} at the start")]
    NeverFalls {
        /// The lowest rate that was tried.
        lowest: f64,
        /// The highest rate that was tried.
        highest: f64,
        /// The mean loss of the untrained model.
        start: f64,
    },
    /// The batches ran out.
    #[error("the search needs {needed} batches, and there are {found}")]
    TooFewBatches {
        /// The number of batches that the search needs; see [`PeakSearch::batches`].
        needed: u64,
        /// The number of batches that there are.
        found: u64,
    },
    /// The trial failed.
    #[error("the trial failed after {updates} updates: {error}")]
    Trial {
        /// Its error.
        error: E,
        /// The number of updates before the error.
        updates: u64,
    },
}

impl PeakSearch {
    /// A search for the peak of a run of `total_updates` updates.
    ///
    /// # Errors
    ///
    /// `total_updates` is below 36, the length of the shortest probe.
    pub fn new(total_updates: u64) -> Result<Self, ConfigError> {
        check::at_least("total_updates", total_updates, SHORTEST_PROBE)?;
        Ok(Self { total_updates, probe_updates: (total_updates / PROBES_IN_RUN).clamp(SHORTEST_PROBE, LONGEST_PROBE) })
    }

    /// The number of different batches that the search needs. It uses each of them several times.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.probe_updates.max(WARM_BATCHES)
    }

    /// What the search costs.
    #[must_use]
    pub fn cost(&self) -> SearchCost {
        let n = self.probe_updates;
        SearchCost {
            typical: WARM_BATCHES + TYPICAL_SWEEP + 3 * n,
            at_most: WARM_BATCHES + LONGEST_SWEEP + MOST_CANDIDATES * n,
            total_updates: self.total_updates,
        }
    }

    /// Runs the search.
    ///
    /// # Errors
    ///
    /// See [`PeakSearchError`].
    pub fn run<T: Trial>(&self, trial: &mut T) -> Result<PeakChoice, PeakSearchError<T::Err>> {
        let mut trial = Counted { trial, updates: 0 };
        let before = trial.warm()?;
        let start = before.iter().sum::<f64>() / numeric::float(WARM_BATCHES);
        let (curve, first_guess) = sweep(&mut trial, &before, start)?;
        let mut probes = Probes { length: self.probe_updates, start, candidates: Vec::new() };
        probes.climb(&mut trial, first_guess)?;
        let rate = probes.best_rate()?;
        // The shorter a probe is compared with the run, the more it favours high rates.
        let shortness = numeric::fraction(self.total_updates, PROBES_IN_RUN * self.probe_updates);
        let peak = rate / (1.05 * numeric::real_power(shortness, 0.25));
        let (total_updates, updates) = (self.total_updates, trial.updates);
        Ok(PeakChoice { total_updates, peak, rate, candidates: probes.candidates, curve, updates })
    }
}

/// A trial, and the updates that it has made.
struct Counted<'a, T> {
    trial: &'a mut T,
    updates: u64,
}

impl<T: Trial> Counted<'_, T> {
    fn restart(&mut self) -> Result<(), PeakSearchError<T::Err>> {
        self.trial.restart().map_err(|error| PeakSearchError::Trial { error, updates: self.updates })
    }

    fn train(&mut self, batch: u64, lr: f64, repeats: u32) -> Result<f64, PeakSearchError<T::Err>> {
        let loss = self.trial.train(batch, lr, repeats);
        let loss = loss.map_err(|error| PeakSearchError::Trial { error, updates: self.updates })?;
        self.updates += 1;
        Ok(loss)
    }

    /// Warms up the moments and keeps them. Returns the losses of the first batches with the initial weights.
    fn warm(&mut self) -> Result<Vec<f64>, PeakSearchError<T::Err>> {
        self.restart()?;
        let mut losses = Vec::new();
        for batch in 0..WARM_BATCHES {
            let loss = self.train(batch, NO_RATE, WARM_REPEATS)?;
            if !loss.is_finite() {
                return Err(PeakSearchError::NotFinite { batch, loss });
            }
            losses.push(loss);
        }
        self.trial.keep_optimizer();
        Ok(losses)
    }
}

/// Sweeps over the batches whose losses without training are known (`before`). Returns the curve, and the rate at half
/// of its fall.
fn sweep<T: Trial>(
    trial: &mut Counted<'_, T>,
    before: &[f64],
    start: f64,
) -> Result<(LossCurve, f64), PeakSearchError<T::Err>> {
    trial.restart()?;
    let (mut points, mut changes) = (Vec::new(), Vec::new());
    let mut mean = Ewma::new(SMOOTHING);
    let (mut lowest, mut exponent) = (0.0_f64, 0.0);
    let (noticeable, too_much) = (0.03 * start.abs(), 0.5 * start.abs());
    let mut stop = StopReason::EndOfRange;
    for (batch, &before) in (0..).zip(before).cycle() {
        let lr = LOWEST_RATE * numeric::real_power(10.0, exponent);
        if lr > HIGHEST_RATE {
            break;
        }
        let loss = trial.train(batch, lr, 1)?;
        if !loss.is_finite() {
            stop = StopReason::NotFinite;
            break;
        }
        points.push(LossPoint { lr, loss, validation: None });
        let change = mean.push(loss - before);
        changes.push((lr, change));
        lowest = lowest.min(change);
        let half_lost_again = lowest < -noticeable && change > 0.5 * lowest;
        if half_lost_again || change > too_much && too_much > 0.0 {
            stop = StopReason::Diverged;
            break;
        }
        exponent += if change < -noticeable { FINE } else { COARSE };
    }
    let half = changes.iter().find(|(_, change)| lowest < 0.0 && *change <= 0.5 * lowest);
    let Some(&(first_guess, _)) = half else {
        let highest = points.last().map_or(LOWEST_RATE, |point| point.lr);
        return Err(PeakSearchError::NeverFalls { lowest: LOWEST_RATE, highest, start });
    };
    Ok((LossCurve::new(points, stop), first_guess))
}

struct Probes {
    /// Updates of each.
    length: u64,
    /// The mean loss of the untrained model.
    start: f64,
    /// In the order of their rates.
    candidates: Vec<Candidate>,
}

impl Probes {
    /// Probes the first guess, and then further rates above or below, until the best candidate lies between two others.
    fn climb<T: Trial>(&mut self, trial: &mut Counted<'_, T>, first: f64) -> Result<(), PeakSearchError<T::Err>> {
        let ratio = numeric::real_power(10.0, SPACING);
        self.probe(trial, first)?;
        for _ in 1..MOST_CANDIDATES {
            let (best, last) = (self.best(), self.candidates.len() - 1);
            // If no candidate is better than no training, the rates are too high. Otherwise the rates above the best
            // come first.
            let learned = self.score(best) < self.start;
            let lr = if best == last && learned {
                self.candidates[last].lr * ratio
            } else if best == 0 {
                self.candidates[0].lr / ratio
            } else {
                break;
            };
            self.probe(trial, lr)?;
        }
        Ok(())
    }

    fn probe<T: Trial>(&mut self, trial: &mut Counted<'_, T>, lr: f64) -> Result<(), PeakSearchError<T::Err>> {
        trial.restart()?;
        let mut mean = Ewma::new(SMOOTHING);
        let second_half = self.length / 2;
        let mut sum = Some(0.0);
        for batch in 0..self.length {
            let rate = lr * numeric::fraction(batch + 1, RISE + 1).min(1.0);
            let loss = trial.train(batch, rate, 1)?;
            if !loss.is_finite() || mean.push(loss) > self.start + DIVERGED * self.start.abs() {
                sum = None;
                break;
            }
            if batch >= second_half {
                sum = sum.map(|sum| sum + loss);
            }
        }
        let loss = sum.map(|sum| sum / numeric::float(self.length - second_half));
        let at = self.candidates.partition_point(|candidate| candidate.lr < lr);
        self.candidates.insert(at, Candidate { lr, loss });
        Ok(())
    }

    /// The loss of a candidate, but at most the loss without training.
    fn score(&self, candidate: usize) -> f64 {
        self.candidates[candidate].loss.map_or(self.start, |loss| loss.min(self.start))
    }

    /// The first candidate with the lowest score.
    fn best(&self) -> usize {
        (0..self.candidates.len()).fold(0, |best, n| if self.score(n) < self.score(best) { n } else { best })
    }

    /// The geometric mean of the candidates, each with the weight `exp(-(loss - best) / (0.2 (start - best)))`. A single lucky run
    /// moves it less than it would move the best candidate.
    fn best_rate<E>(&self) -> Result<f64, PeakSearchError<E>> {
        let least = self.score(self.best());
        if least >= self.start {
            let (lowest, highest) = (self.candidates[0].lr, self.candidates[self.candidates.len() - 1].lr);
            return Err(PeakSearchError::NeverFalls { lowest, highest, start: self.start });
        }
        let (mut sum, mut weights) = (0.0, 0.0);
        for (n, candidate) in self.candidates.iter().enumerate() {
            let behind = (self.score(n) - least) / (SHARPNESS * (self.start - least));
            let weight = numeric::exp2(-behind * core::f64::consts::LOG2_E);
            sum += weight * numeric::log2(candidate.lr);
            weights += weight;
        }
        Ok(numeric::exp2(sum / weights))
    }
}
