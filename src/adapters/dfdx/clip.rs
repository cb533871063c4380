//! The norm of all gradients, and clipping by it.
//!
//! dfdx 0.13 gives nobody outside of it a way to calculate on gradients, but it copies them out (`as_vec`) and it can fill their
//! memory from a distribution, which here replays a list. That works on every device and for every dtype, at the price of a
//! copy to the host and back.

use dfdx::dtypes::Dtype;
use dfdx::nn::tensor_collection::{RecursiveWalker, TensorCollection, TensorOptions, TensorVisitor, ViewTensorRef};
use dfdx::optim::UnusedTensors;
use dfdx::shapes::Shape;
use dfdx::tensor::{Gradients, Tensor, UniqueId};
use dfdx::tensor_ops::Device;

use super::replay::Replay;
use crate::Clip;

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
    let norm = gradient_norm(model, grads, &[])?;
    scale_and_clamp(model, grads, &[], norm, clip)?;
    Ok(norm)
}

/// The global norm of the gradients of all parameters but those of `missing`.
pub(super) fn gradient_norm<M, E, D>(
    model: &M,
    grads: &mut Gradients<E, D>,
    missing: &[UniqueId],
) -> Result<f64, D::Err>
where
    M: TensorCollection<E, D>,
    E: Dtype,
    D: Device<E>,
{
    let mut squares = 0.0;
    visit(model, grads, missing, |values| {
        squares += values.iter().filter_map(E::to_f64).map(|value| value * value).sum::<f64>();
        None
    })?;
    Ok(squares.sqrt())
}

/// Clips gradients whose norm is known.
pub(super) fn scale_and_clamp<M, E, D>(
    model: &M,
    grads: &mut Gradients<E, D>,
    missing: &[UniqueId],
    norm: f64,
    clip: Clip,
) -> Result<(), D::Err>
where
    M: TensorCollection<E, D>,
    E: Dtype,
    D: Device<E>,
{
    let scale = clip.norm.map_or(1.0, |max_norm| (max_norm / (norm + 1e-6)).min(1.0));
    let scale = if norm.is_finite() { scale } else { 1.0 };
    let limit = clip.value.unwrap_or(f64::INFINITY);
    if scale == 1.0 && limit == f64::INFINITY {
        return Ok(());
    }
    visit(model, grads, missing, |values| {
        let clipped = |value: &E| E::from_f64((value.to_f64()? * scale).clamp(-limit, limit));
        Some(values.iter().map(|value| clipped(value).unwrap_or(*value)).collect())
    })
}

/// Shows the gradients of each parameter, and takes others in their place.
fn visit<M, E, D>(
    model: &M,
    grads: &mut Gradients<E, D>,
    missing: &[UniqueId],
    change: impl FnMut(&[E]) -> Option<Vec<E>>,
) -> Result<(), D::Err>
where
    M: TensorCollection<E, D>,
    E: Dtype,
    D: Device<E>,
{
    let mut visitor = Visitor { grads, missing, change };
    M::iter_tensors(&mut RecursiveWalker { m: model, f: &mut visitor }).map(|_| ())
}

struct Visitor<'a, E: Dtype, D: Device<E>, F> {
    grads: &'a mut Gradients<E, D>,
    missing: &'a [UniqueId],
    change: F,
}

impl<E: Dtype, D: Device<E>, F: FnMut(&[E]) -> Option<Vec<E>>> TensorVisitor<E, D> for Visitor<'_, E, D, F> {
    type Viewer = ViewTensorRef;
    type Err = D::Err;
    type E2 = E;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        options: TensorOptions<S, E, D>,
        parameter: &Tensor<S, E, D>,
    ) -> Result<Option<Tensor<S, E, D>>, D::Err> {
        let mut id = UnusedTensors::default();
        id.add(parameter);
        if !options.do_gradient_update || self.missing.iter().any(|missing| id.ids.contains(missing)) {
            return Ok(None);
        }
        self.grads.try_alloc_for(parameter)?;
        if let Some(values) = (self.change)(&self.grads.get(parameter).as_vec()) {
            let replay = Replay::of(&values, |rest| rest.split_first().map(|(&value, rest)| (value, rest)));
            let gradient = self.grads.get_or_alloc_mut(parameter)?;
            parameter.device().try_fill_with_distr(gradient, replay)?;
        }
        Ok(None)
    }
}
