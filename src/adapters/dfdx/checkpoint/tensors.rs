//! The tensors of a model and the moments of its optimizer, out of memory and back.

use core::cell::Cell;

use dfdx::dtypes::Dtype;
use dfdx::nn::tensor_collection::{
    RecursiveWalker, ScalarOptions, TensorCollection, TensorOptions, TensorVisitor, ViewTensorMut, ViewTensorName,
    ViewTensorRef,
};
use dfdx::shapes::{HasShape, Shape};
use dfdx::tensor::{Gradients, Tensor};
use dfdx::tensor_ops::Device;
use num_traits::NumCast;
use rand::Rng;
use rand::distributions::Distribution;
use safetensors::{Dtype as FileDtype, SafeTensors, View};

use super::dtype::{from_bytes, sealed::Bytes, to_bytes};
use super::{CheckpointDtype, CheckpointError};

/// A tensor on its way into a file.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) dtype: FileDtype,
    pub(super) shape: Vec<usize>,
    pub(super) bytes: Vec<u8>,
}

impl View for &Entry {
    fn dtype(&self) -> FileDtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        self.bytes.as_slice().into()
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

const MODEL: &str = "model.";
const OPTIMIZER: &str = "optimizer.";

fn model_key(path: &str) -> String {
    format!("{MODEL}{path}")
}

fn moment_key(moment: &str, path: &str) -> String {
    format!("{OPTIMIZER}{moment}.{path}")
}

/// The tensors and scalars of `model`, and the moments that belong to its parameters, under the names given.
pub(super) fn collect<M, E, D>(
    model: &M,
    names: &[&str],
    moments: Vec<&Gradients<E, D>>,
) -> Result<Vec<Entry>, CheckpointError>
where
    M: TensorCollection<E, D>,
    E: CheckpointDtype,
    D: Device<E>,
{
    // A moment that is not there yet begins at zeros, which only a copy can be given.
    let moments = names.iter().copied().zip(moments.into_iter().cloned()).collect();
    let mut collect = Collect { entries: Vec::new(), moments };
    M::iter_tensors(&mut RecursiveWalker { m: (model, String::new()), f: &mut collect })?;
    Ok(collect.entries)
}

struct Collect<'a, E: Dtype, D: Device<E>> {
    entries: Vec<Entry>,
    moments: Vec<(&'a str, Gradients<E, D>)>,
}

impl<E: CheckpointDtype, D: Device<E>> Collect<'_, E, D> {
    fn push<S: Shape>(&mut self, name: String, tensor: &Tensor<S, E, D>) {
        let shape = tensor.shape().concrete().into();
        self.entries.push(Entry { name, dtype: E::DTYPE, shape, bytes: to_bytes(&tensor.as_vec()) });
    }
}

impl<E: CheckpointDtype, D: Device<E>> TensorVisitor<E, D> for Collect<'_, E, D> {
    type Viewer = (ViewTensorRef, ViewTensorName);
    type Err = CheckpointError;
    type E2 = E;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        options: TensorOptions<S, E, D>,
        (tensor, path): (&Tensor<S, E, D>, String),
    ) -> Result<Option<Tensor<S, E, D>>, CheckpointError> {
        self.push(model_key(&path), tensor);
        if options.do_gradient_update {
            for n in 0..self.moments.len() {
                let (name, moments) = &mut self.moments[n];
                moments.try_alloc_for(tensor).map_err(CheckpointError::device)?;
                let (name, moment) = (moment_key(name, &path), moments.get(tensor));
                self.push(name, &moment);
            }
        }
        Ok(None)
    }

    fn visit_scalar<N: NumCast>(
        &mut self,
        _: ScalarOptions<N>,
        (scalar, path): (&N, String),
    ) -> Result<Option<N>, CheckpointError> {
        let name = model_key(&path);
        let value = scalar.to_f64().ok_or_else(|| CheckpointError::tensor(&name, "is no number"))?;
        self.entries.push(Entry { name, dtype: FileDtype::F64, shape: Vec::new(), bytes: to_bytes(&[value]) });
        Ok(None)
    }
}

/// Puts what a file holds into `model`, and makes the moments of the names given; both must have just the file's tensors.
pub(super) fn fill<M, E, D>(
    model: &mut M,
    names: &[&str],
    file: &SafeTensors,
) -> Result<Vec<Gradients<E, D>>, CheckpointError>
where
    M: TensorCollection<E, D>,
    E: CheckpointDtype,
    D: Device<E>,
{
    let moments = names.iter().map(|&name| (name, Gradients::leaky())).collect();
    let mut fill = Fill { file, moments, seen: Vec::new() };
    M::iter_tensors(&mut RecursiveWalker { m: (model, String::new()), f: &mut fill })?;
    let prefixes: &[&str] = if names.is_empty() { &[MODEL] } else { &[MODEL, OPTIMIZER] };
    for name in file.names() {
        if prefixes.iter().any(|prefix| name.starts_with(prefix)) && !fill.seen.iter().any(|seen| seen == name) {
            return Err(CheckpointError::tensor(name, "is in the file and has no place in this model or optimizer"));
        }
    }
    Ok(fill.moments.into_iter().map(|(_, moments)| moments).collect())
}

struct Fill<'a, E: Dtype, D: Device<E>> {
    file: &'a SafeTensors<'a>,
    moments: Vec<(&'a str, Gradients<E, D>)>,
    seen: Vec<String>,
}

impl<E: Dtype, D: Device<E>> Fill<'_, E, D> {
    /// The numbers of a tensor that has to have this shape.
    fn values<N: Bytes>(&mut self, name: String, shape: &[usize]) -> Result<Vec<N>, CheckpointError> {
        let found = self.file.tensor(&name).map_err(|_| CheckpointError::tensor(&name, "is not in the file"))?;
        if found.dtype() != N::DTYPE {
            return Err(CheckpointError::tensor(&name, format!("should be {:?} and is {:?}", N::DTYPE, found.dtype())));
        }
        if found.shape() != shape {
            return Err(CheckpointError::tensor(&name, format!("should be {shape:?} and is {:?}", found.shape())));
        }
        self.seen.push(name);
        Ok(from_bytes(found.data()))
    }
}

impl<E: CheckpointDtype, D: Device<E>> TensorVisitor<E, D> for Fill<'_, E, D> {
    type Viewer = (ViewTensorMut, ViewTensorName);
    type Err = CheckpointError;
    type E2 = E;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        options: TensorOptions<S, E, D>,
        (tensor, path): (&mut Tensor<S, E, D>, String),
    ) -> Result<Option<Tensor<S, E, D>>, CheckpointError> {
        let shape: Vec<usize> = tensor.shape().concrete().into();
        let values = self.values(model_key(&path), &shape)?;
        tensor.copy_from(&values);
        if options.do_gradient_update {
            for n in 0..self.moments.len() {
                let values = self.values(moment_key(self.moments[n].0, &path), &shape)?;
                let replay = Replay { values, at: Cell::new(0) };
                let moment = self.moments[n].1.get_or_alloc_mut(tensor).map_err(CheckpointError::device)?;
                tensor.device().try_fill_with_distr(moment, replay).map_err(CheckpointError::device)?;
            }
        }
        Ok(None)
    }

    fn visit_scalar<N: NumCast>(
        &mut self,
        _: ScalarOptions<N>,
        (scalar, path): (&mut N, String),
    ) -> Result<Option<N>, CheckpointError> {
        let name = model_key(&path);
        let value = self.values::<f64>(name.clone(), &[])?.first().copied().and_then(N::from);
        *scalar = value.ok_or_else(|| CheckpointError::tensor(&name, "does not fit"))?;
        Ok(None)
    }
}

/// A distribution that is none: it gives out the numbers of a slice in a row. It is the one way by which dfdx lets data into
/// a gradient, on every device and bit for bit, and it leaves the device's generator alone.
struct Replay<E> {
    values: Vec<E>,
    at: Cell<usize>,
}

impl<E: Copy + Default> Distribution<E> for Replay<E> {
    fn sample<R: Rng + ?Sized>(&self, _: &mut R) -> E {
        let at = self.at.replace(self.at.get() + 1);
        self.values.get(at).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfdx::prelude::{AsArray, Cpu, Rank1, SampleTensor, ZerosTensor};

    /// Moments come back bit for bit, whatever they are, and the device's generator is left alone.
    #[test]
    fn odd_moments_come_back_bit_for_bit() {
        let odd = [f32::NAN, f32::from_bits(0x7fa0_0001), -0.0, f32::MIN_POSITIVE / 8.0, f32::NEG_INFINITY, 1.0];
        let device = Cpu::seed_from_u64(5);
        let mut w: Tensor<Rank1<6>, f32, _> = device.zeros();
        let mut moment = Gradients::leaky();
        let replay = Replay { values: odd.to_vec(), at: Cell::new(0) };
        device.try_fill_with_distr(moment.get_or_alloc_mut(&w).unwrap(), replay).unwrap();
        w.copy_from(&odd);
        let entries = collect(&w, &["m"], vec![&moment]).unwrap();
        assert_eq!(entries[1].bytes, to_bytes(&odd));
        let file = safetensors::serialize(entries.iter().map(|entry| (&entry.name, entry)), None).unwrap();
        let file = SafeTensors::deserialize(&file).unwrap();
        let mut v: Tensor<Rank1<6>, f32, _> = device.zeros();
        let moments = fill(&mut v, &["m"], &file).unwrap();
        let again = collect(&v, &["m"], moments.iter().collect()).unwrap();
        assert_eq!([&again[0].bytes, &again[1].bytes], [&entries[0].bytes, &entries[1].bytes]);
        let (drawn, expected): (Tensor<Rank1<6>, f32, _>, Tensor<Rank1<6>, f32, _>) =
            (device.sample_normal(), Cpu::seed_from_u64(5).sample_normal());
        assert_eq!(drawn.array(), expected.array());
    }
}
