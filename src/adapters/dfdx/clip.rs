//! The norm of all gradients, and clipping by it.

use dfdx::dtypes::Dtype;
use dfdx::nn::tensor_collection::TensorCollection;
use dfdx::tensor::{Gradients, UniqueId};
use dfdx::tensor_ops::Device;

use super::walk::{AnyTensor, as_slice_mut, walk_parameters, write_entry};
use crate::Clip;
use crate::training::clip::{scale_and_clamp, sum_of_squares};

/// Clips gradients by their global norm, then by value, and returns the norm that they had before.
///
/// ```text
/// norm = sqrt(sum of the squares of all gradients)
/// g <- g min(1, clip.norm / (norm + 1e-6))
/// g <- clamp(g, -clip.value, clip.value)
/// ```
///
/// Parameters have to lie contiguously in memory, as those of all models do that dfdx builds.
///
/// A norm that is not finite clips nothing by norm: look at what is returned. A parameter without a gradient gets one of zeros.
/// [`apply`](crate::CyclicOptimizer::apply) does this by itself if the config says so.
///
/// # Errors
///
/// Those of the device.
///
/// # Examples
///
/// ```
/// use cyclic_optim::{Clip, adapters::dfdx::clip_gradients};
/// use dfdx::prelude::{AsArray, Backward, Cpu, Rank1, SumTo, Tensor, TensorFrom, Trace};
///
/// let w: Tensor<Rank1<2>, f64, _> = Cpu::default().tensor([1.5, 2.0]);
/// let mut grads = w.leaky_trace().square().sum().backward(); // 3 and 4
/// let norm = clip_gradients(&w, &mut grads, Clip { norm: Some(1.0), value: None }).unwrap();
/// assert_eq!(norm, 5.0);
/// assert!((grads.get(&w).array()[0] - 0.6).abs() < 1e-6);
/// ```
///
/// # References
///
/// PyTorch's `clip_grad_norm_` and `clip_grad_value_`; R. Pascanu et al., 2013, arXiv:1211.5063. The order is that of
/// bckenstler/CLR's optimizers.
pub fn clip_gradients<M, E, D>(model: &M, grads: &mut Gradients<E, D>, clip: Clip) -> Result<f64, D::Err>
where
    M: TensorCollection<E, D>,
    E: Dtype,
    D: Device<E>,
{
    clip_present(model, grads, &[], clip, |_| true)
}

/// Clips the gradients of all parameters but those of `missing`, if `accept` accepts their norm. Returns the norm from before.
pub(super) fn clip_present<M, E, D>(
    model: &M,
    grads: &mut Gradients<E, D>,
    missing: &[UniqueId],
    clip: Clip,
    accept: impl FnOnce(f64) -> bool,
) -> Result<f64, D::Err>
where
    M: TensorCollection<E, D>,
    E: Dtype,
    D: Device<E>,
{
    let mut squares = 0.0;
    visit(model, grads, missing, |values| {
        squares += sum_of_squares(values);
        false
    })?;
    let norm = squares.sqrt();
    if !accept(norm) {
        return Ok(norm);
    }
    let scale = clip.norm.filter(|_| norm.is_finite()).map_or(1.0, |max_norm| (max_norm / (norm + 1e-6)).min(1.0));
    let limit = clip.value.unwrap_or(f64::INFINITY);
    if scale < 1.0 || limit < f64::INFINITY {
        visit(model, grads, missing, |values| {
            scale_and_clamp(values, scale, limit);
            true
        })?;
    }
    Ok(norm)
}

/// Shows the gradient of each parameter as a slice. `look` says whether it has changed it.
fn visit<M, E, D>(
    model: &M,
    grads: &mut Gradients<E, D>,
    missing: &[UniqueId],
    mut look: impl FnMut(&mut [E]) -> bool,
) -> Result<(), D::Err>
where
    M: TensorCollection<E, D>,
    E: Dtype,
    D: Device<E>,
{
    walk_parameters(model, |parameter: &dyn AnyTensor<E, D>| {
        if !missing.is_empty() && missing.contains(&parameter.id()) {
            return Ok(());
        }
        let memory = parameter.entry(grads)?;
        if let Some(values) = as_slice_mut::<E, D>(memory) {
            look(values);
            return Ok(());
        }
        // Any other device gives out a copy and takes one back.
        let mut values = parameter.entry_values(grads);
        if look(&mut values) { write_entry(parameter, parameter.entry(grads)?, values.into_iter()) } else { Ok(()) }
    })
}
