//! The tensors of a model and the moments of its optimizer, out of memory and back.

use core::convert::Infallible;
use std::borrow::Cow;

use dfdx::dtypes::Dtype;
use dfdx::nn::NumParams;
use dfdx::nn::tensor_collection::TensorCollection;
use dfdx::tensor::{Gradients, UniqueId};
use dfdx::tensor_ops::Device;
use safetensors::SafeTensors;

use super::dtype::{iterate, numbers, sealed::Bytes};
use super::file::Tensors;
use super::{CheckpointDtype, CheckpointError, Saved};
use crate::adapters::dfdx::walk::{AnyTensor, Item, walk, walk_mut, write_entry};

/// What an optimizer keeps of the parameters that it updates.
pub(super) struct State<'a, E: Dtype, D: Device<E>> {
    /// Its moments under their names. A moment that is not there yet begins at zeros, which only a copy can be given.
    moments: Vec<(&'a str, Cow<'a, Gradients<E, D>>)>,
    /// The parameters that it has updated; none before the first update.
    updated: &'a [UniqueId],
}

impl<'a, E: Dtype, D: Device<E>> State<'a, E, D> {
    pub(super) fn none() -> Self {
        Self { moments: Vec::new(), updated: &[] }
    }

    pub(super) fn of<O: Saved<E, D>>(optimizer: &'a O) -> Self {
        let complete = optimizer.steps().complete;
        let cow =
            |moments: &'a Gradients<E, D>| if complete { Cow::Borrowed(moments) } else { Cow::Owned(moments.clone()) };
        let moments = O::MOMENTS.iter().copied().zip(optimizer.moments().into_iter().map(cow)).collect();
        Self { moments, updated: optimizer.updated() }
    }
}

/// The prefix of the run's own model.
pub(super) const MODEL: &str = "model.";
const OPTIMIZER: &str = "optimizer.";

fn moment_key(moment: &str, path: &str) -> String {
    format!("{OPTIMIZER}{moment}.{path}")
}

/// The numbers that [`collect`] adds for a model and an optimizer's state.
pub(super) fn count<M, E, D>(model: &M, state: &State<'_, E, D>) -> usize
where
    M: TensorCollection<E, D>,
    E: Dtype,
    D: Device<E>,
{
    model.num_trainable_params() * (1 + state.moments.len())
}

/// Adds the tensors and scalars of `model` under `prefix`, and what belongs to its parameters in an optimizer's state.
pub(super) fn collect<M, E, D>(
    prefix: &str,
    model: &M,
    state: State<'_, E, D>,
    tensors: &mut Tensors,
) -> Result<(), CheckpointError>
where
    M: TensorCollection<E, D>,
    E: CheckpointDtype,
    D: Device<E>,
{
    let State { mut moments, updated } = state;
    walk(model, |name, item: Item<&dyn AnyTensor<E, D>>| {
        let key = format!("{prefix}{name}");
        let (tensor, is_parameter) = match item {
            Item::Scalar(value) if value.is_nan() => return Err(CheckpointError::tensor(&key, "is no number")),
            Item::Scalar(value) => {
                tensors.push(key, Vec::new(), &[value]);
                return Ok(());
            }
            Item::Tensor { tensor, is_parameter } => (tensor, is_parameter),
        };
        // Its moments would be zeros, and nobody would notice.
        if is_parameter && !moments.is_empty() && !updated.is_empty() && !updated.contains(&tensor.id()) {
            return Err(CheckpointError::tensor(&key, "is no parameter of the model that the optimizer has updated"));
        }
        tensors.push(key, tensor.shape(), &tensor.values());
        if is_parameter {
            for (moment, all) in &mut moments {
                if let Cow::Owned(all) = all {
                    tensor.entry(all).map_err(CheckpointError::device)?;
                }
                tensors.push(moment_key(moment, &name), tensor.shape(), &tensor.entry_values(all));
            }
        }
        Ok(())
    })
}

/// The moments in a file, in the order of their names, and the ids of the parameters that they belong to.
pub(super) type Found<E, D> = (Vec<Gradients<E, D>>, Vec<UniqueId>);

/// Checks that a file holds under `prefix` just the tensors of `model`, and the moments of the names given.
pub(super) fn check<M, E, D>(
    prefix: &str,
    model: &M,
    names: &[&str],
    file: &SafeTensors,
) -> Result<Found<E, D>, CheckpointError>
where
    M: TensorCollection<E, D>,
    E: CheckpointDtype,
    D: Device<E>,
{
    let mut moments: Vec<_> = names.iter().map(|&name| (name, Gradients::leaky())).collect();
    let (mut seen, mut parameters) = (Vec::new(), Vec::new());
    walk(model, |name, item: Item<&dyn AnyTensor<E, D>>| {
        let key = format!("{prefix}{name}");
        match item {
            Item::Scalar(_) => {
                bytes_of::<f64>(file, &key, &[])?;
            }
            Item::Tensor { tensor, is_parameter } => {
                let shape = tensor.shape();
                bytes_of::<E>(file, &key, &shape)?;
                if is_parameter {
                    parameters.push(tensor.id());
                    for (moment, all) in &mut moments {
                        let key = moment_key(moment, &name);
                        let values = iterate::<E>(bytes_of::<E>(file, &key, &shape)?);
                        let memory = tensor.entry(all).map_err(CheckpointError::device)?;
                        write_entry(tensor, memory, values).map_err(CheckpointError::device)?;
                        seen.push(key);
                    }
                }
            }
        }
        seen.push(key);
        Ok(())
    })?;
    let prefixes: &[&str] = if names.is_empty() { &[prefix] } else { &[prefix, OPTIMIZER] };
    for name in file.names() {
        if prefixes.iter().any(|prefix| name.starts_with(prefix)) && !seen.iter().any(|seen| seen == name) {
            return Err(CheckpointError::tensor(name, "is in the file and has no place in this model or optimizer"));
        }
    }
    Ok((moments.into_iter().map(|(_, moments)| moments).collect(), parameters))
}

/// The bytes of a tensor that has to have this type and shape.
fn bytes_of<'a, N: Bytes>(file: &SafeTensors<'a>, name: &str, shape: &[usize]) -> Result<&'a [u8], CheckpointError> {
    let found = file.tensor(name).map_err(|_| CheckpointError::tensor(name, "is not in the file"))?;
    if found.dtype() != N::DTYPE {
        return Err(CheckpointError::tensor(name, format!("should be {:?} and is {:?}", N::DTYPE, found.dtype())));
    }
    if found.shape() != shape {
        return Err(CheckpointError::tensor(name, format!("should be {shape:?} and is {:?}", found.shape())));
    }
    Ok(found.data())
}

/// Puts what a file holds under `prefix` into `model`, after [`check`] has found that it fits: nothing can fail any more.
pub(super) fn fill<M, E, D>(prefix: &str, model: &mut M, file: &SafeTensors)
where
    M: TensorCollection<E, D>,
    E: CheckpointDtype,
    D: Device<E>,
{
    let Ok(()) = walk_mut::<_, E, D, Infallible>(model, |name, item| {
        let found = file.tensor(&format!("{prefix}{name}"));
        match (item, found) {
            (Item::Tensor { tensor, .. }, Ok(found)) => {
                tensor.set(&numbers::<E>(found.data()));
                Ok(None)
            }
            (Item::Scalar(_), Ok(found)) => Ok(Some(f64::read(found.data()))),
            (_, Err(_)) => Ok(None),
        }
    });
}

#[cfg(test)]
mod tests {
    use dfdx::optim::UnusedTensors;
    use dfdx::prelude::{AsArray, Cpu, Rank1, SampleTensor, Tensor, ZerosTensor};

    use super::*;
    use crate::adapters::dfdx::replay::Replay;

    /// Moments come back bit for bit, whatever they are, and the device's generator is left alone.
    #[test]
    fn odd_moments_come_back_bit_for_bit() {
        let odd = [f32::NAN, f32::from_bits(0x7fa0_0001), -0.0, f32::MIN_POSITIVE / 8.0, f32::NEG_INFINITY, 1.0];
        let bytes: Vec<u8> = odd.iter().flat_map(|number| number.to_le_bytes()).collect();
        let device = Cpu::seed_from_u64(5);
        let mut w: Tensor<Rank1<6>, f32, _> = device.zeros();
        let mut moment = Gradients::leaky();
        device.try_fill_with_distr(moment.get_or_alloc_mut(&w).unwrap(), Replay::of(iterate::<f32>(&bytes))).unwrap();
        w.copy_from(&odd);
        let write = |w: &_, moment, updated| {
            let mut tensors = Tensors::with_room_for::<f32>(12);
            collect(MODEL, w, State { moments: vec![("m", Cow::Borrowed(moment))], updated }, &mut tensors).unwrap();
            assert!(tensors.list().all(|tensor| tensor.3 == bytes));
            let mut file = Vec::new();
            tensors.write(("key", "text"), &mut file).unwrap();
            file
        };
        let file = write(&w, &moment, &[]);
        let read = SafeTensors::deserialize(&file).unwrap();
        let mut v: Tensor<Rank1<6>, f32, _> = device.zeros();
        let (moments, updated) = check(MODEL, &v, &["m"], &read).unwrap();
        fill(MODEL, &mut v, &read);
        assert_eq!(write(&v, &moments[0], &updated), file);
        let (drawn, expected): (Tensor<Rank1<6>, f32, _>, Tensor<Rank1<6>, f32, _>) =
            (device.sample_normal(), Cpu::seed_from_u64(5).sample_normal());
        assert_eq!(drawn.array(), expected.array());
    }

    /// Moments of another model than the one that was updated would be zeros.
    #[test]
    fn an_optimizer_is_saved_with_its_own_model() {
        let device = Cpu::default();
        let (w, v): (Tensor<Rank1<6>, f32, _>, Tensor<Rank1<6>, f32, _>) = (device.zeros(), device.zeros());
        let (moment, mut ids) = (Gradients::leaky(), UnusedTensors::default());
        ids.add(&w);
        let state = || State { moments: vec![("m", Cow::Owned(moment.clone()))], updated: &ids.ids };
        let mut tensors = Tensors::with_room_for::<f32>(24);
        assert!(collect(MODEL, &w, state(), &mut tensors).is_ok());
        let error = collect(MODEL, &v, state(), &mut tensors).unwrap_err().to_string();
        assert_eq!(error, "tensor model. is no parameter of the model that the optimizer has updated");
    }
}
