//! Updates of dfdx models: dfdx's `Optimizer` trait for the wrapper, and updates in place.

use dfdx::dtypes::Dtype;
use dfdx::nn::ZeroGrads;
use dfdx::nn::tensor_collection::TensorCollection;
use dfdx::optim::{Optimizer, OptimizerUpdateError};
use dfdx::tensor::{Gradients, Storage};
use dfdx::tensor_ops::Device;

use super::gradients::names_of;
use super::optimizers::{Elementwise, Rule};
use crate::hyper::Hyperparameters;
use crate::optimizer::CyclicOptimizer;
use crate::schedule::Schedule;
use crate::training::{Clipping, UpdateFailure, UpdateInPlace};

/// A dfdx optimizer that updates a model in place, dfdx's own or one of this crate. It is a short form for a bound on
/// [`UpdateInPlace`].
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

macro_rules! in_place {
    ($($optimizer:ty),+) => {$(
        impl<M, D, E> UpdateInPlace<M, Gradients<E, D>> for $optimizer
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
                update_and_zero(self, model, gradients).map_err(|error| failure(model, error))
            }
        }
    )+};
}

in_place!(dfdx::optim::Adam<M, E, D>, dfdx::optim::Sgd<M, E, D>, dfdx::optim::RMSprop<M, E, D>);

/// Ours: no copy of the gradients, and one pass over the memory.
impl<R: Rule, M, D, E> UpdateInPlace<M, Gradients<E, D>> for Elementwise<R, E, D>
where
    M: TensorCollection<E, D>,
    D: Device<E>,
    E: Dtype,
{
    type Error = D::Err;

    fn update_in_place(&mut self, model: &mut M, gradients: &mut Gradients<E, D>) -> Result<(), UpdateFailure<D::Err>> {
        self.update_clipped(model, gradients, Clipping::NONE, false)
    }

    fn update_clipped(
        &mut self,
        model: &mut M,
        gradients: &mut Gradients<E, D>,
        clipping: Clipping,
        _: bool,
    ) -> Result<(), UpdateFailure<D::Err>> {
        self.resolve_groups(model).map_err(UpdateFailure::UnknownPrefix)?;
        self.clip_and_update(model, gradients, clipping).map_err(|error| failure(model, error))
    }
}

/// dfdx's own optimizers: their `update`, then `zero_grads`.
fn update_and_zero<O, M, E, D>(
    optimizer: &mut O,
    model: &mut M,
    gradients: &mut Gradients<E, D>,
) -> Result<(), OptimizerUpdateError<D::Err>>
where
    O: Optimizer<M, D, E>,
    M: TensorCollection<E, D>,
    E: Dtype,
    D: Device<E>,
{
    let result = optimizer.update(model, gradients);
    if !matches!(result, Err(OptimizerUpdateError::DeviceError(_))) {
        model.try_zero_grads(gradients).map_err(OptimizerUpdateError::DeviceError)?;
    }
    result
}

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
        // dfdx reports `UnusedParams` after it has updated all other parameters.
        if !matches!(result, Err(OptimizerUpdateError::DeviceError(_))) {
            self.finish();
        }
        result
    }
}
