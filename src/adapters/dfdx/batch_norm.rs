//! The running statistics of batch normalisation.

use core::convert::Infallible;

use dfdx::dtypes::Dtype;
use dfdx::nn::tensor_collection::{
    RecursiveWalker, ScalarOptions, TensorCollection, TensorOptions, TensorVisitor, ViewTensorMut, ViewTensorName,
};
use dfdx::shapes::{HasShape, Shape};
use dfdx::tensor::Tensor;
use dfdx::tensor_ops::Device;
use num_traits::NumCast;

use crate::{ConfigError, check};

/// Computes the running statistics of batch normalisation anew, as the plain means over the batches.
///
/// `forward` runs one batch through the model as in training (`model.forward_mut(batch.leaky_traced())`), and nothing else; no
/// parameter is changed. Every batch counts the same; it needs two values for each channel at least, or it has no variance. A model
/// without batch normalisation stays as it is.
///
/// # Errors
///
/// No batches, and those of the device.
pub fn recompute_batch_norm<M, B, E, D>(
    model: &mut M,
    batches: impl IntoIterator<Item = B>,
    mut forward: impl FnMut(&mut M, B),
) -> Result<(), ConfigError>
where
    M: TensorCollection<E, D>,
    E: Dtype,
    D: Device<E>,
{
    // dfdx: running <- running (1 - momentum) + batch momentum. With 1/n for the n-th batch that is their mean.
    let mut saved = BatchNormMomentum { set: None, saved: Vec::new() };
    let mut seen = 0_u32;
    for batch in batches {
        seen += 1;
        let mut momentum = BatchNormMomentum { set: Some(1.0 / <f64 as From<u32>>::from(seen)), saved: Vec::new() };
        let Ok(_) = M::iter_tensors(&mut RecursiveWalker { m: (&mut *model, String::new()), f: &mut momentum });
        if seen == 1 {
            saved.saved = momentum.saved;
        }
        forward(model, batch);
    }
    let Ok(_) = M::iter_tensors(&mut RecursiveWalker { m: (&mut *model, String::new()), f: &mut saved });
    check::length("batches", seen.into())
}

/// Sets the momentum of the running statistics and keeps what it was, or puts back what was saved.
struct BatchNormMomentum {
    set: Option<f64>,
    saved: Vec<f64>,
}

impl<E: Dtype, D: Device<E>> TensorVisitor<E, D> for BatchNormMomentum {
    type Viewer = (ViewTensorMut, ViewTensorName);
    type Err = Infallible;
    type E2 = E;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        _: TensorOptions<S, E, D>,
        (tensor, path): (&mut Tensor<S, E, D>, String),
    ) -> Result<Option<Tensor<S, E, D>>, Infallible> {
        // A share of 0 of what is not a number is still none.
        if self.set == Some(1.0) && ["running_mean", "running_var"].iter().any(|name| path.ends_with(name)) {
            tensor.copy_from(&vec![E::default(); tensor.shape().num_elements()]);
        }
        Ok(None)
    }

    fn visit_scalar<N: NumCast>(
        &mut self,
        _: ScalarOptions<N>,
        (scalar, path): (&mut N, String),
    ) -> Result<Option<N>, Infallible> {
        // Batch normalisation has two scalars: this and epsilon.
        if path == "momentum" || path.ends_with(".momentum") {
            let value = match self.set {
                Some(value) => {
                    self.saved.push(scalar.to_f64().unwrap_or(f64::NAN));
                    Some(value)
                }
                None if self.saved.is_empty() => None,
                None => Some(self.saved.remove(0)),
            };
            if let Some(value) = value.and_then(N::from) {
                *scalar = value;
            }
        }
        Ok(None)
    }
}
