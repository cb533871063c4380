//! One pass over the parameters of a model: what our three optimizers have in common.

use core::mem;

use dfdx::dtypes::Dtype;
use dfdx::nn::tensor_collection::{RecursiveWalker, TensorCollection, TensorOptions, TensorVisitor, ViewTensorMut};
use dfdx::optim::{OptimizerUpdateError, UnusedTensors};
use dfdx::shapes::Shape;
use dfdx::tensor::{Gradients, Storage, Tensor, UniqueId};
use dfdx::tensor_ops::Device;

use crate::adapters::dfdx::missing::missing_gradients;

/// What an optimizer does to one parameter.
pub(in crate::adapters::dfdx) trait Kernel<E: Dtype, D: Device<E>> {
    /// What the pass keeps from one update to the next.
    fn pass(&mut self) -> &mut Pass;

    /// Called before the first parameter of an update.
    fn begin(&mut self) {}

    /// Moves one parameter.
    fn step<S: Shape>(
        &mut self,
        parameter: &mut Tensor<S, E, D>,
        gradient: &<D as Storage<E>>::Vec,
    ) -> Result<(), D::Err>;

    /// Called after the last parameter, also if the update failed.
    fn end(&mut self) {}
}

/// What a pass keeps between updates.
#[derive(Debug, Clone, Default)]
pub(in crate::adapters::dfdx) struct Pass {
    /// Whether an update has found a gradient for every parameter.
    pub(in crate::adapters::dfdx) complete: bool,
    /// The parameters that the last update has visited.
    pub(in crate::adapters::dfdx) ids: Vec<UniqueId>,
}

/// Updates from borrowed gradients. Code outside of dfdx can only read a copy of them.
pub(in crate::adapters::dfdx) fn update<K, M, E, D>(
    kernel: &mut K,
    module: &mut M,
    gradients: &Gradients<E, D>,
) -> Result<(), OptimizerUpdateError<D::Err>>
where
    K: Kernel<E, D>,
    M: TensorCollection<E, D>,
    E: Dtype,
    D: Device<E>,
{
    let missing = look(kernel, module, gradients)?;
    sweep(kernel, module, &mut gradients.clone(), missing, false)
}

/// Updates in place and leaves the gradients as dfdx's `zero_grads` would.
pub(in crate::adapters::dfdx) fn update_in_place<K, M, E, D>(
    kernel: &mut K,
    module: &mut M,
    gradients: &mut Gradients<E, D>,
) -> Result<(), OptimizerUpdateError<D::Err>>
where
    K: Kernel<E, D>,
    M: TensorCollection<E, D>,
    E: Dtype,
    D: Device<E>,
{
    let missing = look(kernel, module, gradients)?;
    sweep(kernel, module, gradients, missing, true)
}

fn look<K, M, E, D>(
    kernel: &mut K,
    module: &M,
    gradients: &Gradients<E, D>,
) -> Result<Vec<UniqueId>, OptimizerUpdateError<D::Err>>
where
    K: Kernel<E, D>,
    M: TensorCollection<E, D>,
    E: Dtype,
    D: Device<E>,
{
    if kernel.pass().complete {
        return Ok(Vec::new());
    }
    Ok(missing_gradients(module, gradients).map_err(OptimizerUpdateError::DeviceError)?.ids)
}

fn sweep<K, M, E, D>(
    kernel: &mut K,
    module: &mut M,
    gradients: &mut Gradients<E, D>,
    missing: Vec<UniqueId>,
    zero: bool,
) -> Result<(), OptimizerUpdateError<D::Err>>
where
    K: Kernel<E, D>,
    M: TensorCollection<E, D>,
    E: Dtype,
    D: Device<E>,
{
    kernel.begin();
    let mut ids = mem::take(&mut kernel.pass().ids);
    ids.clear();
    let mut sweep = Sweep { kernel, gradients, missing: &missing, zero, seen: UnusedTensors { ids } };
    let result = M::iter_tensors(&mut RecursiveWalker { m: module, f: &mut sweep });
    let Sweep { kernel, gradients, seen, .. } = sweep;
    kernel.end();
    if zero && result.is_ok() {
        gradients.retain_leafs(&seen.ids);
    }
    kernel.pass().ids = seen.ids;
    result.map_err(OptimizerUpdateError::DeviceError)?;
    kernel.pass().complete = missing.is_empty();
    UnusedTensors { ids: missing }.into()
}

struct Sweep<'a, K, E: Dtype, D: Device<E>> {
    kernel: &'a mut K,
    gradients: &'a mut Gradients<E, D>,
    missing: &'a [UniqueId],
    /// Whether to zero each gradient, while it is still in the cache.
    zero: bool,
    /// The parameters that have been visited. (dfdx gives out a tensor's id in this form only.)
    seen: UnusedTensors,
}

impl<K: Kernel<E, D>, E: Dtype, D: Device<E>> TensorVisitor<E, D> for Sweep<'_, K, E, D> {
    type Viewer = ViewTensorMut;
    type Err = D::Err;
    type E2 = E;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        options: TensorOptions<S, E, D>,
        parameter: &mut Tensor<S, E, D>,
    ) -> Result<Option<Tensor<S, E, D>>, D::Err> {
        if !options.do_gradient_update {
            return Ok(None);
        }
        self.seen.add(parameter);
        let missing = !self.missing.is_empty() && self.seen.ids.last().is_some_and(|id| self.missing.contains(id));
        if missing && !self.zero {
            return Ok(None);
        }
        let gradient = self.gradients.get_or_alloc_mut(parameter)?;
        if !missing {
            self.kernel.step(parameter, gradient)?;
        }
        if self.zero {
            parameter.device().try_fill_with_zeros(gradient)?;
        }
        Ok(None)
    }
}
