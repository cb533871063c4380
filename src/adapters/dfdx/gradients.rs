//! dfdx's gradients, parameter by parameter, as slices.

use dfdx::dtypes::Dtype;
use dfdx::nn::ZeroGrads;
use dfdx::nn::tensor_collection::TensorCollection;
use dfdx::tensor::{Gradients, UniqueId};
use dfdx::tensor_ops::Device;

use super::missing::missing_gradients;
use super::walk::{AnyTensor, Item, as_slice_mut, walk, walk_parameters, write_entry};
use crate::training::GradientsOf;

/// On the CPU the slices are the gradients themselves. On any other device they are copies, which are written back if they
/// were changed. Parameters must be contiguous in memory, as in all models that dfdx builds.
impl<M: TensorCollection<E, D>, E: Dtype, D: Device<E>> GradientsOf<M> for Gradients<E, D> {
    type Element = E;
    type Error = D::Err;

    fn for_each(&mut self, model: &M, all_present: bool, mut look: impl FnMut(&mut [E]) -> bool) -> Result<(), D::Err> {
        // Reading a missing gradient would create one of zeros.
        let missing = if all_present { Vec::new() } else { missing_gradients(model, self)?.ids };
        walk_parameters(model, |parameter: &dyn AnyTensor<E, D>| {
            if !missing.is_empty() && missing.contains(&parameter.id()) {
                return Ok(());
            }
            change_entry(parameter, self, &mut look)
        })
    }

    fn zero(&mut self, model: &M) -> Result<(), D::Err> {
        model.try_zero_grads(self)
    }

    fn fill_missing(&mut self, model: &M) -> Result<(), D::Err> {
        // Reading a missing gradient creates one of zeros.
        walk_parameters(model, |parameter: &dyn AnyTensor<E, D>| parameter.entry(self).map(|_| ()))
    }
}

/// Calls `look` with the gradient of a parameter, and stores the changes. `look` returns whether it changed anything.
pub(super) fn change_entry<E: Dtype, D: Device<E>>(
    parameter: &dyn AnyTensor<E, D>,
    gradients: &mut Gradients<E, D>,
    mut look: impl FnMut(&mut [E]) -> bool,
) -> Result<(), D::Err> {
    if let Some(values) = as_slice_mut::<E, D>(parameter.entry(gradients)?) {
        look(values);
        return Ok(());
    }
    let mut values = parameter.entry_values(gradients);
    if look(&mut values) { write_entry(parameter, parameter.entry(gradients)?, values.into_iter()) } else { Ok(()) }
}

/// The names of parameters whose ids are known.
pub(super) fn names_of<M, E, D>(model: &M, ids: &[UniqueId]) -> Vec<String>
where
    M: TensorCollection<E, D>,
    E: Dtype,
    D: Device<E>,
{
    let mut names = Vec::new();
    let Ok(()) = walk::<_, E, D, core::convert::Infallible>(model, |name, item| {
        if let Item::Tensor { tensor, .. } = item {
            if ids.contains(&tensor.id()) {
                // A tensor that is itself a model or a field has an empty name, so its path ends with a dot.
                let name = name.trim_end_matches('.');
                names.push(if name.is_empty() { "the only tensor".into() } else { name.into() });
            }
        }
        Ok(())
    });
    names
}
