//! One whole update, from the gradients to the record.

use alloc::string::String;
use alloc::vec::Vec;

use num_traits::ToPrimitive;
use thiserror::Error;

use super::gradients::{GradientsOf, UpdateFailure, UpdateInPlace, clip_if};
use crate::config::Clip;
use crate::error::ConfigError;
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
    /// The norm of the gradients is NaN or infinite, and the update was refused: nothing has changed. Only looked for if the
    /// [`Guard`](crate::Guard) says so, or if gradients are clipped by norm.
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
    /// These parameters have no gradient. All others have moved, the gradients are zeroed, and the update counts.
    #[error("these parameters have no gradient: {}", .0.join(", "))]
    MissingGradients(Vec<String>),
    /// The device or the framework failed. The counters stay; some parameters may have moved.
    #[error("the device failed: {0}")]
    Device(Err),
}

impl<O: Hyperparameters, S: Schedule> CyclicOptimizer<O, S> {
    /// Makes one whole update of `model` and returns what it used.
    ///
    /// The order is: guard, clip, update in place, zero the gradients, record. A loss that is not finite is always refused;
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
    #[expect(clippy::needless_pass_by_value, reason = "a number")]
    pub fn apply<M, G>(
        &mut self,
        model: &mut M,
        gradients: &mut G,
        loss: impl ToPrimitive,
    ) -> Result<Applied, UpdateError<G::Error>>
    where
        O: UpdateInPlace<M, G, Error = G::Error>,
        G: GradientsOf<M>,
    {
        let (loss, iteration) = (loss.to_f64().unwrap_or(f64::NAN), self.iterations());
        if !loss.is_finite() {
            return Err(self.refused(UpdateError::NonFiniteLoss { loss, iteration }));
        }
        self.check_next().map_err(|error| UpdateError::Schedule { error, iteration })?;
        let (clip, guard) = (self.config().clip(), self.config().guard());
        // What was changed through `get_mut` is put right before it is reported.
        self.put_right();
        let mut used = self.upcoming();
        if guard.gradients || clip != Clip::default() {
            let needs_finite = guard.gradients || clip.norm.is_some();
            let norm = clip_if(model, gradients, self.all_present, clip, needs_finite).map_err(UpdateError::Device)?;
            if needs_finite && !norm.is_finite() {
                return Err(self.refused(UpdateError::NonFiniteGradient { norm, iteration }));
            }
            used.grad_norm = norm.is_finite().then_some(norm);
        }
        match self.step(|inner| inner.update_in_place(model, gradients)) {
            Err(UpdateFailure::Failed(error)) => Err(UpdateError::Device(error)),
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
