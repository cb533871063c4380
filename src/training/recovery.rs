//! Recovery from divergence: back to the last good model, and on with a smaller rate.

use alloc::vec::Vec;

use super::accumulator::BatchLoss;
use super::apply::UpdateError;
use super::gradients::{GradientsOf, UpdateInPlace};
use crate::check;
use crate::error::ConfigError;
use crate::feedback::divergence::Divergence;
use crate::hyper::Hyperparameters;
use crate::optimizer::CyclicOptimizer;
use crate::schedule::Schedule;
use crate::state::Applied;

/// Makes updates, and when the run diverges returns to the last good model and reduces the rate.
///
/// Refusing an update does not save a run that has diverged: its parameters are already bad, and at high rates that happens
/// while every loss is still finite. So `Recovery` watches the smoothed loss. A run has diverged when that loss exceeds
///
/// ```text
/// best + (divergence - 1) max(|best|, (first - best) / 2)
/// ```
///
/// In most runs that is `divergence` times the best smoothed loss. The second term of the maximum matters after the loss has
/// fallen very far, because a single batch can then have a loss of many times the best.
///
/// Then the last good model is restored, together with the inner optimizer and its moments. All later rates are multiplied by
/// `factor`, and the run continues. The counters of the schedule do not change. In tests on the digits with a rate of 1, a
/// divergence of 1.5 and a factor of 0.5 saved the run, with Adam and with SGD. A run that learns nothing, without a rising
/// loss, is not recovered.
///
/// A single loss that is not finite may come from a bad batch. The guard refuses that update, which counts towards
/// `max_refusals`. A second such loss in a row is a divergence. The first loss after a recovery is the loss of the restored
/// model. It never counts as a divergence, so there is at least one update between two recoveries.
///
/// One copy of the model and the optimizer is kept in memory. It is made at the start. A new copy replaces it when the loss
/// of the present model is known to be good and one of two things has happened: a cycle has just ended, or the best smoothed
/// loss has fallen by a tenth since the last copy.
///
/// A checkpoint does not contain the copy. A resumed run makes a new one, and keeps the reduced rate, which is the
/// `envelope` in the state.
///
/// | option | default | purpose | range |
/// |---|---|---|---|
/// | `divergence` | required | the multiple of the best that the smoothed loss may reach | (1, inf) |
/// | `factor` | required | the factor on all later rates | (0, 1) |
/// | [`with_smoothing`](Self::with_smoothing) | 0.5 | weight of the past in the smoothed loss | [0, 1) |
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "dfdx")] {
/// use cyclic_optim::training::Recovery;
/// use cyclic_optim::{Constant, CyclicOptimizer, Sgd};
/// use dfdx::prelude::{AsArray, Backward, Cpu, Rank0, Tensor, TensorFrom, Trace, ZeroGrads};
///
/// let mut w: Tensor<Rank0, f32, _> = Cpu::default().tensor(1.0);
/// let mut grads = w.alloc_grads();
/// // At a rate of 5, w grows nine-fold with every update.
/// let mut optimizer = CyclicOptimizer::new(Sgd::default(), Constant::new(5.0).unwrap());
/// let mut recovery = Recovery::new(2.0, 0.1).unwrap();
/// for _ in 0..50 {
///     let loss = w.trace(grads).square();
///     let value = loss.array();
///     grads = loss.backward();
///     recovery.apply(&mut optimizer, &mut w, &mut grads, value).unwrap();
/// }
/// assert!(w.array().abs() < 1e-3);
/// assert_eq!(recovery.recoveries().len(), 1);
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Recovery<M, O> {
    divergence: Divergence,
    factor: f64,
    /// The last good model and optimizer, and what was known of the loss when they were copied.
    good: Option<(M, O, Divergence)>,
    recoveries: Vec<Recovered>,
    /// The number of consecutive losses that were not finite.
    not_finite: u32,
    /// Whether the model was just restored.
    fresh: bool,
}

/// The loss may rise by this share of its fall so far, times `divergence - 1`: when a model has learnt much, single
/// batches have losses of many times the best.
const SHARE: f64 = 0.5;

/// A recovery that was made.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Recovered {
    /// The update that was to be made, counted from 0 over the whole run.
    pub iteration: u64,
    /// The loss that caused it.
    pub loss: f64,
    /// The rate that the update would have used.
    pub lr: f64,
}

/// The result of an update.
#[derive(Debug, Clone, Copy, PartialEq)]
#[must_use = "an update that was taken back counts nowhere else"]
pub enum Outcome {
    /// The update was made.
    Applied(Applied),
    /// The loss was not finite, and the one before was: the batch was skipped. The gradients were zeroed, and nothing
    /// else has changed.
    Skipped {
        /// The loss.
        loss: f64,
    },
    /// The run had diverged, and the last good model was restored.
    Recovered(Recovered),
}

impl<M: Clone, O: Clone> Recovery<M, O> {
    /// Recovers when the smoothed loss is above `divergence` times its best, and multiplies the rate by `factor`.
    ///
    /// # Errors
    ///
    /// A divergence not above 1, a factor outside (0, 1).
    pub fn new(divergence: f64, factor: f64) -> Result<Self, ConfigError> {
        check::factor("divergence", divergence)?;
        check::shrinking("factor", factor)?;
        Ok(Self {
            divergence: Divergence::new(divergence, SHARE, 0.5),
            factor,
            good: None,
            recoveries: Vec::new(),
            not_finite: 0,
            fresh: false,
        })
    }

    /// Sets the weight of the past in the smoothed loss; 0 means no smoothing.
    ///
    /// # Errors
    ///
    /// `alpha` outside [0, 1).
    pub fn with_smoothing(mut self, alpha: f64) -> Result<Self, ConfigError> {
        check::weight("alpha", alpha)?;
        self.divergence = self.divergence.with_smoothing(alpha);
        Ok(self)
    }

    /// The recoveries so far.
    #[must_use]
    pub fn recoveries(&self) -> &[Recovered] {
        &self.recoveries
    }

    /// Does the same as [`CyclicOptimizer::apply`], but returns to the last good model if `loss` shows that the run has
    /// diverged. In that case the gradients are zeroed and no update is made.
    ///
    /// # Errors
    ///
    /// The errors of [`CyclicOptimizer::apply`]. For a loss that is not finite, the only error is that the guard gives up.
    pub fn apply<S, G, L>(
        &mut self,
        optimizer: &mut CyclicOptimizer<O, S>,
        model: &mut M,
        gradients: &mut G,
        loss: L,
    ) -> Result<Outcome, UpdateError<G::Error>>
    where
        O: UpdateInPlace<M, G, Error = G::Error> + Hyperparameters,
        S: Schedule,
        G: GradientsOf<M>,
        L: BatchLoss<M, G>,
    {
        let loss = loss.average(model, gradients)?;
        if loss.is_finite() {
            self.not_finite = 0;
        } else {
            self.not_finite = self.not_finite.saturating_add(1);
        }
        let diverged = if self.fresh || self.not_finite == 1 {
            if loss.is_finite() {
                self.divergence.accept(loss);
            }
            false
        } else {
            self.not_finite > 1 || self.divergence.exceeded_by(loss)
        };
        if self.good.is_none() || (loss.is_finite() && !diverged) {
            self.keep(optimizer, model, loss);
        }
        match &self.good {
            Some((good, inner, divergence)) if diverged => {
                let recovered = Recovered { iteration: optimizer.iterations(), loss, lr: optimizer.lr() };
                model.clone_from(good);
                optimizer.get_mut().clone_from(inner);
                // `new` has checked the factor. This also writes the smaller rate into the restored optimizer.
                let _ = optimizer.cut_envelope(self.factor);
                gradients.zero(model).map_err(UpdateError::Device)?;
                self.divergence = divergence.clone();
                self.fresh = true;
                self.recoveries.push(recovered);
                Ok(Outcome::Recovered(recovered))
            }
            _ => match optimizer.apply_mean(model, gradients, loss, L::SUMMED) {
                Err(UpdateError::NonFiniteLoss { loss, .. }) => {
                    gradients.zero(model).map_err(UpdateError::Device)?;
                    Ok(Outcome::Skipped { loss })
                }
                result => {
                    self.fresh = false;
                    result.map(Outcome::Applied)
                }
            },
        }
    }

    /// Copies model and optimizer, whose loss is known to be good, if a new copy is due.
    fn keep<S: Schedule>(&mut self, optimizer: &CyclicOptimizer<O, S>, model: &M, loss: f64) {
        let best = self.divergence.best().unwrap_or(f64::INFINITY);
        let then = self.good.as_ref().and_then(|(_, _, then)| then.best()).unwrap_or(f64::INFINITY);
        if self.good.is_none()
            || best < then - 0.1 * then.abs()
            || (optimizer.at_cycle_end() && !self.divergence.above_limit(loss))
        {
            self.good = Some((model.clone(), optimizer.get_ref().clone(), self.divergence.clone()));
        }
    }
}
