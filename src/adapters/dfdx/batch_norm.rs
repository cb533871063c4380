//! The running statistics of batch normalisation.

use core::convert::Infallible;

use dfdx::dtypes::Dtype;
use dfdx::nn::tensor_collection::TensorCollection;
use dfdx::tensor_ops::Device;

use super::walk::{Item, walk_mut};
use crate::{ConfigError, check};

/// Computes the running statistics of batch normalisation anew, as the plain means over the batches.
///
/// `forward` runs one batch through the model as in training (`model.forward_mut(batch.leaky_traced())`), and nothing else; no
/// parameter is changed. Every batch counts the same; it needs two values for each channel at least, or it has no variance. A model
/// without batch normalisation stays as it is.
///
/// # Errors
///
/// No batches.
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
    let mut original = Vec::new();
    let mut seen = 0_u32;
    for batch in batches {
        seen += 1;
        let share = 1.0 / f64::from(seen);
        let Ok(()) = walk_mut::<_, E, D, Infallible>(model, |name, item| match item {
            // A share of 0 of what is not a number is still none.
            Item::Tensor { tensor, .. } if seen == 1 && is_statistic(&name) => {
                let zeros = vec![E::default(); tensor.shape().iter().product()];
                tensor.set(&zeros);
                Ok(None)
            }
            Item::Scalar(momentum) if is_momentum(&name) => {
                if seen == 1 {
                    original.push(momentum);
                }
                Ok(Some(share))
            }
            _ => Ok(None),
        });
        forward(model, batch);
    }
    let mut original = original.into_iter();
    let Ok(()) = walk_mut::<_, E, D, Infallible>(model, |name, item| match item {
        Item::Scalar(_) if is_momentum(&name) => Ok(original.next()),
        _ => Ok(None),
    });
    check::length("batches", seen.into())
}

fn is_statistic(name: &str) -> bool {
    ["running_mean", "running_var"].iter().any(|statistic| name.ends_with(statistic))
}

/// Batch normalisation has two scalars: this and epsilon.
fn is_momentum(name: &str) -> bool {
    name == "momentum" || name.ends_with(".momentum")
}
