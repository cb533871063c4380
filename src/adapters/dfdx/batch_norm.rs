//! The running statistics of batch normalisation.

use core::convert::Infallible;

use dfdx::dtypes::Dtype;
use dfdx::nn::tensor_collection::TensorCollection;
use dfdx::tensor_ops::Device;

use super::walk::{Item, walk, walk_mut};
use crate::check;
use crate::error::ConfigError;
use crate::numeric;
use crate::training::{Ranks, RanksError};

/// Recomputes the running statistics of batch normalisation as plain means over the batches.
///
/// `forward` runs one batch through the model as in training: `model.forward_mut(batch.leaky_traced())`. No parameter
/// changes, and a model without batch normalisation does not change at all. All batches have the same weight. A batch needs
/// at least two values for each channel, because one value has no variance.
///
/// # Errors
///
/// There are no batches.
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
            // The old statistics must be overwritten: 0 times NaN is still NaN.
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

/// Averages the running statistics of batch normalisation over all ranks, for instance before a checkpoint. Without this,
/// each rank has statistics only of its own shares of the batches.
///
/// # Errors
///
/// See [`RanksError`].
///
/// # Examples
///
/// ```
/// use cyclic_optim::adapters::dfdx::average_batch_norm;
/// use cyclic_optim::training::{Ranks, Threads};
/// use dfdx::prelude::*;
///
/// let means = Threads::run(2, |ranks| {
///     let device = Cpu::default();
///     let mut model = device.build_module::<builders::BatchNorm1D<2>, f32>();
///     model.running_mean.copy_from(&[ranks.rank() as f32, 5.0]);
///     average_batch_norm::<_, f32, Cpu>(ranks, &mut model)?;
///     Ok::<_, cyclic_optim::training::RanksError>(model.running_mean.array())
/// })
/// .unwrap();
/// assert_eq!(means, [[0.5, 5.0]; 2]);
/// ```
pub fn average_batch_norm<M, E, D>(ranks: &impl Ranks, model: &mut M) -> Result<(), RanksError>
where
    M: TensorCollection<E, D>,
    E: Dtype,
    D: Device<E>,
{
    let mut mine = Vec::new();
    let Ok(()) = walk::<_, E, D, Infallible>(model, |name, item| {
        if let Item::Tensor { tensor, .. } = item {
            if is_statistic(&name) {
                mine.extend(tensor.values().into_iter().map(|value| value.to_f64().unwrap_or(f64::NAN)));
            }
        }
        Ok(())
    });
    let mut sums = vec![0.0; mine.len()];
    ranks.sum_f64(&mine, &mut sums)?;
    let ranks = numeric::float(ranks.size() as u64);
    let mut means = sums.into_iter().filter_map(|sum| E::from_f64(sum / ranks));
    let Ok(()) = walk_mut::<_, E, D, Infallible>(model, |name, item| {
        if let Item::Tensor { tensor, .. } = item {
            if is_statistic(&name) {
                let values: Vec<E> = means.by_ref().take(tensor.shape().iter().product()).collect();
                tensor.set(&values);
            }
        }
        Ok(None)
    });
    Ok(())
}

fn is_statistic(name: &str) -> bool {
    ["running_mean", "running_var"].iter().any(|statistic| name.ends_with(statistic))
}

/// Batch normalisation has two scalars: momentum and epsilon.
fn is_momentum(name: &str) -> bool {
    name == "momentum" || name.ends_with(".momentum")
}
