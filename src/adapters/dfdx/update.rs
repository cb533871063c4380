//! Updates through the wrapper: dfdx's `Optimizer` trait, and `apply`.

use dfdx::dtypes::Dtype;
use dfdx::nn::ZeroGrads;
use dfdx::nn::tensor_collection::TensorCollection;
use dfdx::optim::{Optimizer, OptimizerUpdateError, UnusedTensors};
use dfdx::tensor::{Gradients, Storage};
use dfdx::tensor_ops::Device;
use num_traits::ToPrimitive;
use thiserror::Error;

use super::clip::clip_present;
use super::missing::missing_gradients;
use super::sweep;
use crate::schedule::Schedule;
use crate::{Applied, Clip, ConfigError, CyclicOptimizer, Hyperparameters};

/// A dfdx optimizer that can also update from gradients which it may change, and leaves them zeroed.
///
/// By default that is dfdx's `update` followed by its `zero_grads`, which is what dfdx's own optimizers do here. Ours work
/// in place: no copy of the gradients, and one pass over the memory.
pub trait InPlace<M: TensorCollection<E, D>, D: Device<E>, E: Dtype>: Optimizer<M, D, E> {
    /// Updates `module` and zeroes `gradients`.
    ///
    /// # Errors
    ///
    /// As [`Optimizer::update`]. After `UnusedParams` all other parameters have moved and the gradients are zeroed; after a
    /// device error anything may have been reached.
    fn update_in_place(
        &mut self,
        module: &mut M,
        gradients: &mut Gradients<E, D>,
    ) -> Result<(), OptimizerUpdateError<D::Err>> {
        let result = self.update(module, gradients);
        if !matches!(result, Err(OptimizerUpdateError::DeviceError(_))) {
            module.try_zero_grads(gradients).map_err(OptimizerUpdateError::DeviceError)?;
        }
        result
    }
}

macro_rules! by_default {
    ($($optimizer:ident),+) => {$(
        impl<M: TensorCollection<E, D>, D: Device<E>, E: Dtype> InPlace<M, D, E> for dfdx::optim::$optimizer<M, E, D> {}
    )+};
}

macro_rules! in_one_pass {
    ($($optimizer:ident),+) => {$(
        impl<M: TensorCollection<E, D>, D: Device<E>, E: Dtype> InPlace<M, D, E> for super::$optimizer<E, D> {
            fn update_in_place(
                &mut self,
                module: &mut M,
                gradients: &mut Gradients<E, D>,
            ) -> Result<(), OptimizerUpdateError<D::Err>> {
                sweep::update_in_place(self, module, gradients)
            }
        }
    )+};
}

by_default!(Adam, Sgd, RMSprop);
in_one_pass!(Adam, Sgd, RMSprop);

/// Why [`CyclicOptimizer::apply`] did not make a whole update.
#[derive(Debug, Error)]
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
    /// So many updates in a row were refused that the guard gives up. The last one was refused as the others were.
    #[error("gave up at update {iteration}: {refusals} updates in a row were refused")]
    GaveUp {
        /// How many.
        refusals: u64,
        /// The update, counted from 0 over the whole run.
        iteration: u64,
    },
    /// The scheduled rate is NaN, infinite or negative, or the momentum not in [0, 1), which only a custom schedule can cause,
    /// and the update was refused: nothing has changed.
    #[error("update {iteration} was refused: {error}")]
    Schedule {
        /// What is wrong with it.
        error: ConfigError,
        /// The update, counted from 0 over the whole run.
        iteration: u64,
    },
    /// Some parameters have no gradient; all others have moved, the gradients are zeroed and the update counts.
    #[error("some parameters have no gradient: {0:?}")]
    UnusedParams(UnusedTensors),
    /// The device failed. The counters stay; parameters may have moved.
    #[error("the device failed: {0}")]
    Device(Err),
}

impl<O, S, M, D, E> Optimizer<M, D, E> for CyclicOptimizer<O, S>
where
    O: Optimizer<M, D, E> + Hyperparameters,
    S: Schedule,
    D: Storage<E>,
    E: Dtype,
{
    #[inline]
    fn update(&mut self, module: &mut M, gradients: &Gradients<E, D>) -> Result<(), OptimizerUpdateError<D::Err>> {
        let result = self.begin().update(module, gradients);
        // dfdx reports `UnusedParams` after it has moved all other parameters.
        if !matches!(result, Err(OptimizerUpdateError::DeviceError(_))) {
            self.finish();
        }
        result
    }
}

impl<O: Hyperparameters, S: Schedule> CyclicOptimizer<O, S> {
    /// One whole update: guard, clip, update of `model`, zeroing of `grads`; returns what was used.
    ///
    /// A loss that is not finite is always refused; see [`Guard`](crate::Guard) and [`Clip`](crate::Clip) for more. With the optimizers of this crate it works in place and takes no more time than dfdx's `update` and `zero_grads`.
    ///
    /// # Errors
    ///
    /// [`UpdateError::NonFiniteLoss`]: parameters, moments, gradients, counters and schedule are as they were. For the others see
    /// [`UpdateError`].
    ///
    /// # Examples
    ///
    /// ```
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
    /// ```
    #[expect(clippy::needless_pass_by_value, reason = "a number")]
    pub fn apply<M, D, E>(
        &mut self,
        model: &mut M,
        grads: &mut Gradients<E, D>,
        loss: impl ToPrimitive,
    ) -> Result<Applied, UpdateError<D::Err>>
    where
        O: InPlace<M, D, E>,
        M: TensorCollection<E, D>,
        D: Device<E>,
        E: Dtype,
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
            // Or looking at a missing gradient would make one of zeros.
            let missing = missing_gradients(model, grads).map_err(UpdateError::Device)?.ids;
            let accept = |norm: f64| norm.is_finite() || !(guard.gradients || clip.norm.is_some());
            let norm = clip_present(model, grads, &missing, clip, accept).map_err(UpdateError::Device)?;
            if !accept(norm) {
                return Err(self.refused(UpdateError::NonFiniteGradient { norm, iteration }));
            }
            used.grad_norm = norm.is_finite().then_some(norm);
        }
        match self.begin().update_in_place(model, grads) {
            Err(OptimizerUpdateError::DeviceError(error)) => Err(UpdateError::Device(error)),
            Err(OptimizerUpdateError::UnusedParams(unused)) => {
                self.finish_applied(used, loss);
                Err(UpdateError::UnusedParams(unused))
            }
            Ok(()) => {
                self.finish_applied(used, loss);
                Ok(used)
            }
        }
    }

    /// Counts a refusal; gives up instead if it was one too many.
    fn refused<Err>(&mut self, error: UpdateError<Err>) -> UpdateError<Err> {
        match self.refuse() {
            Some(refusals) => UpdateError::GaveUp { refusals, iteration: self.iterations() },
            None => error,
        }
    }
}
