//! Which parameters have no gradient.
//!
//! dfdx can be asked for a gradient (and panics if there is none) or for a gradient that is allocated if there is none,
//! but not whether there is one. So the user's entries are laid over gradients that are all zeros, and over gradients that
//! are all ones: a parameter that reads differently in the two has no entry of its own.

use dfdx::dtypes::Dtype;
use dfdx::nn::tensor_collection::{RecursiveWalker, TensorCollection, TensorOptions, TensorVisitor, ViewTensorRef};
use dfdx::optim::UnusedTensors;
use dfdx::shapes::{Rank0, Shape};
use dfdx::tensor::{Gradients, Merge, PutTape, SplitTape, Tensor, Trace};
use dfdx::tensor_ops::{Backward, Device};

/// The parameters of `module` that have no entry in `gradients`. Takes two copies of all gradients.
pub(super) fn missing_gradients<M, E, D>(module: &M, gradients: &Gradients<E, D>) -> Result<UnusedTensors, D::Err>
where
    M: TensorCollection<E, D>,
    E: Dtype,
    D: Device<E>,
{
    let mut fill = Fill {
        zeros: Gradients::leaky(),
        ones: Gradients::leaky(),
        parameters: UnusedTensors::default(),
        device: None,
    };
    M::iter_tensors(&mut RecursiveWalker { m: module, f: &mut fill })?;
    let Fill { zeros, ones, parameters, device } = fill;
    // Without parameters there is nothing to miss.
    let Some(device) = device else { return Ok(parameters) };
    let mut compare = Compare {
        over_zeros: overlay(&device, zeros, &parameters, gradients)?,
        over_ones: overlay(&device, ones, &parameters, gradients)?,
        missing: UnusedTensors::default(),
    };
    M::iter_tensors(&mut RecursiveWalker { m: module, f: &mut compare })?;
    Ok(compare.missing)
}

/// Lays `gradients` over `ground`: tapes can be merged, and running one gives its gradients back.
fn overlay<E: Dtype, D: Device<E>>(
    device: &D,
    mut ground: Gradients<E, D>,
    parameters: &UnusedTensors,
    gradients: &Gradients<E, D>,
) -> Result<Gradients<E, D>, D::Err> {
    // Or the end of the backward pass would drop the entries that only the ground has.
    ground.retain_leafs(&parameters.ids);
    let carrier: Tensor<Rank0, E, D> = device.try_zeros()?;
    let (_, ground) = carrier.trace(ground).split_tape();
    let (carrier, above) = carrier.traced(gradients.clone()).split_tape();
    carrier.put_tape(ground.merge(above)).try_backward()
}

struct Fill<E: Dtype, D: Device<E>> {
    zeros: Gradients<E, D>,
    ones: Gradients<E, D>,
    parameters: UnusedTensors,
    device: Option<D>,
}

impl<E: Dtype, D: Device<E>> TensorVisitor<E, D> for Fill<E, D> {
    type Viewer = ViewTensorRef;
    type Err = D::Err;
    type E2 = E;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        options: TensorOptions<S, E, D>,
        parameter: &Tensor<S, E, D>,
    ) -> Result<Option<Tensor<S, E, D>>, D::Err> {
        if options.do_gradient_update {
            let device = self.device.get_or_insert_with(|| parameter.device().clone());
            device.try_fill_with_zeros(self.zeros.get_or_alloc_mut(parameter)?)?;
            device.try_fill_with_ones(self.ones.get_or_alloc_mut(parameter)?)?;
            self.parameters.add(parameter);
        }
        Ok(None)
    }
}

struct Compare<E: Dtype, D: Device<E>> {
    over_zeros: Gradients<E, D>,
    over_ones: Gradients<E, D>,
    missing: UnusedTensors,
}

impl<E: Dtype, D: Device<E>> TensorVisitor<E, D> for Compare<E, D> {
    type Viewer = ViewTensorRef;
    type Err = D::Err;
    type E2 = E;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        options: TensorOptions<S, E, D>,
        parameter: &Tensor<S, E, D>,
    ) -> Result<Option<Tensor<S, E, D>>, D::Err> {
        if options.do_gradient_update {
            let below = self.over_zeros.get(parameter).as_vec();
            let above = self.over_ones.get(parameter).as_vec();
            // One element tells, and the ground's own are numbers; a gradient of the user's may be NaN in both.
            let differs = |(below, above): (&E, &E)| *below == E::default() && *above == E::ONE;
            if below.iter().zip(&above).next().is_some_and(differs) {
                self.missing.add(parameter);
            }
        }
        Ok(None)
    }
}
