//! One whole update, from the gradients to the record.

use alloc::string::String;
use alloc::vec::Vec;

use thiserror::Error;

use super::accumulator::BatchLoss;
use super::clip::Clipping;
use super::exchange::AverageError;
use super::gradients::{GradientsOf, UpdateFailure, UpdateInPlace, norm_of};
use crate::config::Clip;
use crate::error::{ConfigError, UnknownPrefix};
use crate::hyper::Hyperparameters;
use crate::optimizer::CyclicOptimizer;
use crate::schedule::Schedule;
use crate::state::Applied;

/// Why [`CyclicOptimizer::apply`] did not make a whole update.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum UpdateError<Err> {
    /// The loss is NaN or infinite, and the update was refused: nothing has changed.
    #[error("update {iteration} was refused: its loss is {loss}")]
    NonFiniteLoss {
        /// The loss that was given.
        loss: f64,
        /// The update, counted from 0 over the whole run.
        iteration: u64,
    },
    /// The norm of the gradients is NaN or infinite, and the update was refused: nothing has changed. The norm is checked
    /// only if the [`Guard`](crate::Guard) says so, or if gradients are clipped by norm.
    #[error("update {iteration} was refused: the norm of its gradients is {norm}")]
    NonFiniteGradient {
        /// The norm.
        norm: f64,
        /// The update, counted from 0 over the whole run.
        iteration: u64,
    },
    /// The guard's limit of consecutive refusals was reached. The last update was refused as the others were.
    #[error("gave up at update {iteration}: {refusals} updates in a row were refused")]
    GaveUp {
        /// The number of consecutive refusals.
        refusals: u64,
        /// The update, counted from 0 over the whole run.
        iteration: u64,
    },
    /// The scheduled rate is NaN, infinite or negative, or the momentum is not in [0, 1), which only a custom schedule can
    /// cause. The update was refused: nothing has changed.
    #[error("update {iteration} was refused: {error}")]
    Schedule {
        /// What is wrong with it.
        error: ConfigError,
        /// The update, counted from 0 over the whole run.
        iteration: u64,
    },
    /// No parameter has a name that begins with the prefix of a group. Nothing has changed.
    #[error(transparent)]
    UnknownPrefix(UnknownPrefix),
    /// These parameters have no gradient. All others have moved, the gradients are zeroed, and the update counts.
    #[error("these parameters have no gradient: {}", .0.join(", "))]
    MissingGradients(Vec<String>),
    /// The gradients were not averaged over the micro-batches or the ranks. No update was made.
    #[error(transparent)]
    Average(AverageError<Err>),
    /// The device or the framework failed. The counters stay; some parameters may have moved.
    #[error("the device failed: {0}")]
    Device(Err),
}

impl<Err> From<AverageError<Err>> for UpdateError<Err> {
    fn from(error: AverageError<Err>) -> Self {
        match error {
            AverageError::Device(error) => Self::Device(error),
            error => Self::Average(error),
        }
    }
}

impl<Err> UpdateError<Err> {
    /// Whether the update was refused: nothing has changed.
    fn is_refusal(&self) -> bool {
        !matches!(self, Self::MissingGradients(_) | Self::Average(_) | Self::Device(_))
    }
}

impl<O: Hyperparameters, S: Schedule> CyclicOptimizer<O, S> {
    /// Makes one whole update of `model` and returns what it used.
    ///
    /// `loss` is the loss of the batch as a number. For several micro-batches, or several processes that train one model,
    /// pass an [`Accumulator`](crate::training::Accumulator) instead, which averages the gradients first.
    ///
    /// The order is: average, guard, clip, update in place, zero the gradients, record. A loss that is not finite is always refused;
    /// [`Guard`](crate::Guard) and [`Clip`](crate::Clip) say what else is done. The work is done in place: with the
    /// optimizers of this crate a plain update takes no more time than dfdx's `update` and `zero_grads`.
    ///
    /// # Errors
    ///
    /// [`UpdateError::NonFiniteLoss`]: parameters, moments, gradients, counters and schedule are as they were. For the others
    /// see [`UpdateError`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "dfdx")] {
    /// use cyclic_optim::{Cyclic, CyclicOptimizer, Sgd, UpdateError};
    /// use dfdx::prelude::{AsArray, Backward, Cpu, Rank0, Tensor, TensorFrom, Trace, ZeroGrads};
    ///
    /// let device = Cpu::default();
    /// let mut w: Tensor<Rank0, f32, _> = device.tensor(1.0);
    /// let mut grads = w.alloc_grads();
    /// let mut optimizer = CyclicOptimizer::new(Sgd::default(), Cyclic::triangular(0.1, 0.3, 5).unwrap());
    /// for _ in 0..20 {
    ///     let loss = w.trace(grads).square();
    ///     let value = loss.array();
    ///     grads = loss.backward();
    ///     optimizer.apply(&mut w, &mut grads, value).unwrap();
    /// }
    /// assert!(w.array().abs() < 1e-3);
    /// let refused = optimizer.apply(&mut w, &mut grads, f32::NAN);
    /// assert!(matches!(refused, Err(UpdateError::NonFiniteLoss { iteration: 20, .. })));
    /// # }
    /// ```
    pub fn apply<M, G, L>(
        &mut self,
        model: &mut M,
        gradients: &mut G,
        loss: L,
    ) -> Result<Applied, UpdateError<G::Error>>
    where
        O: UpdateInPlace<M, G, Error = G::Error>,
        G: GradientsOf<M>,
        L: BatchLoss<M, G>,
    {
        let loss = loss.average(model, gradients)?;
        self.apply_mean(model, gradients, loss, L::SUMMED)
    }

    /// Makes an update from the loss and the gradients of the whole batch. If they are a sum that was refused, it is dropped.
    #[inline]
    pub(super) fn apply_mean<M, G>(
        &mut self,
        model: &mut M,
        gradients: &mut G,
        loss: f64,
        summed: bool,
    ) -> Result<Applied, UpdateError<G::Error>>
    where
        O: UpdateInPlace<M, G, Error = G::Error>,
        G: GradientsOf<M>,
    {
        let result = self.apply_if_sound(model, gradients, loss);
        if summed && matches!(&result, Err(error) if error.is_refusal()) {
            gradients.zero(model).map_err(UpdateError::Device)?;
        }
        result
    }

    /// Guard, clip, update, record.
    #[inline]
    fn apply_if_sound<M, G>(
        &mut self,
        model: &mut M,
        gradients: &mut G,
        loss: f64,
    ) -> Result<Applied, UpdateError<G::Error>>
    where
        O: UpdateInPlace<M, G, Error = G::Error>,
        G: GradientsOf<M>,
    {
        let iteration = self.iterations();
        if !loss.is_finite() {
            return Err(self.refused(UpdateError::NonFiniteLoss { loss, iteration }));
        }
        self.check_next().map_err(|error| UpdateError::Schedule { error, iteration })?;
        let (clip, guard) = (self.config().clip(), self.config().guard());
        // What was changed through `get_mut` is put right before it is reported.
        self.put_right();
        let mut used = self.upcoming();
        let mut clipping = Clipping::NONE;
        if guard.gradients || clip != Clip::default() {
            let needs_finite = guard.gradients || clip.norm.is_some();
            let norm = norm_of(model, gradients, self.all_present).map_err(UpdateError::Device)?;
            if needs_finite && !norm.is_finite() {
                return Err(self.refused(UpdateError::NonFiniteGradient { norm, iteration }));
            }
            clipping = Clipping::new(clip, norm);
            used.grad_norm = norm.is_finite().then_some(norm);
        }
        let all_present = self.all_present;
        match self.step(|inner| inner.update_clipped(model, gradients, clipping, all_present)) {
            Err(UpdateFailure::Failed(error)) => Err(UpdateError::Device(error)),
            Err(UpdateFailure::UnknownPrefix(prefix)) => Err(UpdateError::UnknownPrefix(prefix)),
            Err(UpdateFailure::MissingGradients(parameters)) => {
                self.all_present = false;
                self.finish_applied(used, loss);
                Err(UpdateError::MissingGradients(parameters))
            }
            Ok(()) => {
                self.all_present = true;
                self.finish_applied(used, loss);
                Ok(used)
            }
        }
    }

    /// Counts a refusal. Gives up instead if the guard's limit was reached.
    fn refused<Err>(&mut self, error: UpdateError<Err>) -> UpdateError<Err> {
        match self.refuse() {
            Some(refusals) => UpdateError::GaveUp { refusals, iteration: self.iterations() },
            None => error,
        }
    }
}
