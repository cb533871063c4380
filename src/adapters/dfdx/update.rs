//! Updates of dfdx models: dfdx's `Optimizer` trait for the wrapper, and updates in place.

use dfdx::dtypes::Dtype;
use dfdx::nn::ZeroGrads;
use dfdx::nn::tensor_collection::TensorCollection;
use dfdx::optim::{Optimizer, OptimizerUpdateError};
use dfdx::tensor::{Gradients, Storage};
use dfdx::tensor_ops::Device;

use super::gradients::names_of;
use super::sweep;
use crate::hyper::Hyperparameters;
use crate::optimizer::CyclicOptimizer;
use crate::schedule::Schedule;
use crate::training::{UpdateFailure, UpdateInPlace};

/// A dfdx optimizer that updates a model in place, dfdx's own or ours: the short form of a bound on [`UpdateInPlace`].
///
/// ```
/// use cyclic_optim::adapters::dfdx::InPlace;
/// use cyclic_optim::{CyclicOptimizer, Hyperparameters};
/// use dfdx::prelude::{Cpu, Gradients, TensorCollection};
///
/// fn update<M, O>(model: &mut M, grads: &mut Gradients<f32, Cpu>, loss: f32, optimizer: &mut CyclicOptimizer<O>)
/// where
///     M: TensorCollection<f32, Cpu>,
///     O: InPlace<M, Cpu, f32> + Hyperparameters,
/// {
///     optimizer.apply(model, grads, loss).unwrap();
/// }
/// ```
pub trait InPlace<M, D: Storage<E>, E>: UpdateInPlace<M, Gradients<E, D>, Error = D::Err> {}

impl<O, M, D: Storage<E>, E> InPlace<M, D, E> for O where O: UpdateInPlace<M, Gradients<E, D>, Error = D::Err> {}

/// dfdx's own optimizers: their `update`, then `zero_grads`.
macro_rules! in_two_passes {
    ($($optimizer:ident),+) => {$(
        impl<M, D, E> UpdateInPlace<M, Gradients<E, D>> for dfdx::optim::$optimizer<M, E, D>
        where
            M: TensorCollection<E, D>,
            D: Device<E>,
            E: Dtype,
        {
            type Error = D::Err;

            fn update_in_place(
                &mut self,
                model: &mut M,
                gradients: &mut Gradients<E, D>,
            ) -> Result<(), UpdateFailure<D::Err>> {
                let result = self.update(model, gradients);
                if !matches!(result, Err(OptimizerUpdateError::DeviceError(_))) {
                    model.try_zero_grads(gradients).map_err(UpdateFailure::Failed)?;
                }
                result.map_err(|error| failure(model, error))
            }
        }
    )+};
}

/// Ours: no copy of the gradients, and one pass over the memory.
macro_rules! in_one_pass {
    ($($optimizer:ident),+) => {$(
        impl<M, D, E> UpdateInPlace<M, Gradients<E, D>> for super::$optimizer<E, D>
        where
            M: TensorCollection<E, D>,
            D: Device<E>,
            E: Dtype,
        {
            type Error = D::Err;

            fn update_in_place(
                &mut self,
                model: &mut M,
                gradients: &mut Gradients<E, D>,
            ) -> Result<(), UpdateFailure<D::Err>> {
                sweep::update_in_place(self, model, gradients).map_err(|error| failure(model, error))
            }
        }
    )+};
}

in_two_passes!(Adam, Sgd, RMSprop);
in_one_pass!(Adam, Sgd, RMSprop);

/// dfdx's error, with the names of the parameters instead of their ids.
fn failure<M, E, D>(model: &M, error: OptimizerUpdateError<D::Err>) -> UpdateFailure<D::Err>
where
    M: TensorCollection<E, D>,
    E: Dtype,
    D: Device<E>,
{
    match error {
        OptimizerUpdateError::UnusedParams(unused) => {
            UpdateFailure::MissingGradients(names_of::<_, E, D>(model, &unused.ids))
        }
        OptimizerUpdateError::DeviceError(error) => UpdateFailure::Failed(error),
    }
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
        let result = self.step(|inner| inner.update(module, gradients));
        // dfdx reports `UnusedParams` after it has moved all other parameters.
        if !matches!(result, Err(OptimizerUpdateError::DeviceError(_))) {
            self.finish();
        }
        result
    }
}
