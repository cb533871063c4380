//! Which parameters have no gradient.
//!
//! dfdx has a method that panics on a missing gradient and one that allocates it, but none that says whether it exists. So the
//! user's gradients are merged into gradients that are all zeros, and again into gradients that are all ones. A parameter that
//! has 0 in the first result and 1 in the second has no gradient of its own.

use dfdx::dtypes::Dtype;
use dfdx::nn::tensor_collection::TensorCollection;
use dfdx::optim::UnusedTensors;
use dfdx::shapes::Rank0;
use dfdx::tensor::{Gradients, Merge, PutTape, SplitTape, Tensor, Trace, UniqueId};
use dfdx::tensor_ops::{Backward, Device};

use super::walk::{AnyTensor, walk_parameters};

/// The parameters of `module` that have no entry in `gradients`. Takes two copies of all gradients.
pub(super) fn missing_gradients<M, E, D>(module: &M, gradients: &Gradients<E, D>) -> Result<UnusedTensors, D::Err>
where
    M: TensorCollection<E, D>,
    E: Dtype,
    D: Device<E>,
{
    let (mut zeros, mut ones) = (Gradients::leaky(), Gradients::leaky());
    let (mut parameters, mut device) = (Vec::new(), None);
    walk_parameters(module, |parameter: &dyn AnyTensor<E, D>| {
        let device = device.get_or_insert_with(|| parameter.device().clone());
        device.try_fill_with_zeros(parameter.entry(&mut zeros)?)?;
        device.try_fill_with_ones(parameter.entry(&mut ones)?)?;
        parameters.push(parameter.id());
        Ok(())
    })?;
    let mut missing = UnusedTensors::default();
    // A model without parameters lacks no gradient.
    let Some(device) = device else { return Ok(missing) };
    let over_zeros = overlay(&device, zeros, &parameters, gradients)?;
    let over_ones = overlay(&device, ones, &parameters, gradients)?;
    walk_parameters(module, |parameter| {
        let (below, above) = (parameter.entry_values(&over_zeros), parameter.entry_values(&over_ones));
        // It is enough to look at the first element. A gradient of the user may be NaN in both results.
        if below.first() == Some(&E::default()) && above.first() == Some(&E::ONE) {
            missing.ids.push(parameter.id());
        }
        Ok(())
    })?;
    Ok(missing)
}

/// Merges `gradients` into `ground`. dfdx can merge tapes, and executing a tape returns its gradients.
fn overlay<E: Dtype, D: Device<E>>(
    device: &D,
    mut ground: Gradients<E, D>,
    parameters: &[UniqueId],
    gradients: &Gradients<E, D>,
) -> Result<Gradients<E, D>, D::Err> {
    // Otherwise the end of the backward pass drops the entries that only `ground` has.
    ground.retain_leafs(parameters);
    let carrier: Tensor<Rank0, E, D> = device.try_zeros()?;
    let (_, ground) = carrier.trace(ground).split_tape();
    let (carrier, above) = carrier.traced(gradients.clone()).split_tape();
    carrier.put_tape(ground.merge(above)).try_backward()
}
