//! The tensors of a model and the moments of its optimizer, out of memory and back.

use core::convert::Infallible;
use std::borrow::Cow;

use dfdx::dtypes::Dtype;
use dfdx::nn::NumParams;
use dfdx::nn::tensor_collection::{
    RecursiveWalker, ScalarOptions, TensorCollection, TensorOptions, TensorVisitor, ViewTensorMut, ViewTensorName,
    ViewTensorRef,
};
use dfdx::optim::UnusedTensors;
use dfdx::shapes::{HasShape, Shape};
use dfdx::tensor::{Gradients, Tensor, UniqueId};
use dfdx::tensor_ops::Device;
use num_traits::NumCast;
use safetensors::SafeTensors;

use super::dtype::{numbers, sealed::Bytes, split_first};
use super::file::Tensors;
use super::{CheckpointDtype, CheckpointError, Saved};
use crate::adapters::dfdx::replay::Replay;

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
    let mut collect = Collect { prefix, tensors, state, seen: UnusedTensors::default() };
    M::iter_tensors(&mut RecursiveWalker { m: (model, String::new()), f: &mut collect }).map(|_| ())
}

struct Collect<'a, E: Dtype, D: Device<E>> {
    prefix: &'a str,
    tensors: &'a mut Tensors,
    state: State<'a, E, D>,
    /// The last parameter. (dfdx gives out a tensor's id in this form only.)
    seen: UnusedTensors,
}

impl<E: CheckpointDtype, D: Device<E>> Collect<'_, E, D> {
    fn push<S: Shape>(&mut self, name: String, tensor: &Tensor<S, E, D>) {
        self.tensors.push(name, tensor.shape().concrete().into(), &tensor.as_vec());
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
        let key = format!("{}{path}", self.prefix);
        self.push(key.clone(), tensor);
        if options.do_gradient_update && !self.state.moments.is_empty() {
            self.seen.ids.clear();
            self.seen.add(tensor);
            // Its moments would be zeros, and nobody would notice.
            if !self.state.updated.is_empty() && !self.state.updated.contains(&self.seen.ids[0]) {
                let problem = "is no parameter of the model that the optimizer has updated";
                return Err(CheckpointError::tensor(&key, problem));
            }
            for n in 0..self.state.moments.len() {
                let (name, moments) = &mut self.state.moments[n];
                if let Cow::Owned(moments) = moments {
                    moments.try_alloc_for(tensor).map_err(CheckpointError::device)?;
                }
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
        let name = format!("{}{path}", self.prefix);
        let value = scalar.to_f64().ok_or_else(|| CheckpointError::tensor(&name, "is no number"))?;
        self.tensors.push(name, Vec::new(), &[value]);
        Ok(None)
    }
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
    let moments = names.iter().map(|&name| (name, Gradients::leaky())).collect();
    let mut check = Check { prefix, file, moments, seen: Vec::new(), parameters: UnusedTensors::default() };
    M::iter_tensors(&mut RecursiveWalker { m: (model, String::new()), f: &mut check })?;
    let prefixes: &[&str] = if names.is_empty() { &[prefix] } else { &[prefix, OPTIMIZER] };
    for name in file.names() {
        if prefixes.iter().any(|prefix| name.starts_with(prefix)) && !check.seen.iter().any(|seen| seen == name) {
            return Err(CheckpointError::tensor(name, "is in the file and has no place in this model or optimizer"));
        }
    }
    Ok((check.moments.into_iter().map(|(_, moments)| moments).collect(), check.parameters.ids))
}

struct Check<'a, E: Dtype, D: Device<E>> {
    prefix: &'a str,
    file: &'a SafeTensors<'a>,
    moments: Vec<(&'a str, Gradients<E, D>)>,
    seen: Vec<String>,
    parameters: UnusedTensors,
}

impl<'a, E: Dtype, D: Device<E>> Check<'a, E, D> {
    /// The numbers of a tensor that has to have this shape, as bytes.
    fn numbers<N: Bytes>(&mut self, name: String, shape: &[usize]) -> Result<&'a [u8], CheckpointError> {
        let found = self.file.tensor(&name).map_err(|_| CheckpointError::tensor(&name, "is not in the file"))?;
        if found.dtype() != N::DTYPE {
            return Err(CheckpointError::tensor(&name, format!("should be {:?} and is {:?}", N::DTYPE, found.dtype())));
        }
        if found.shape() != shape {
            return Err(CheckpointError::tensor(&name, format!("should be {shape:?} and is {:?}", found.shape())));
        }
        self.seen.push(name);
        Ok(found.data())
    }
}

impl<E: CheckpointDtype, D: Device<E>> TensorVisitor<E, D> for Check<'_, E, D> {
    type Viewer = (ViewTensorRef, ViewTensorName);
    type Err = CheckpointError;
    type E2 = E;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        options: TensorOptions<S, E, D>,
        (tensor, path): (&Tensor<S, E, D>, String),
    ) -> Result<Option<Tensor<S, E, D>>, CheckpointError> {
        let shape: Vec<usize> = tensor.shape().concrete().into();
        self.numbers::<E>(format!("{}{path}", self.prefix), &shape)?;
        if options.do_gradient_update {
            self.parameters.add(tensor);
            for n in 0..self.moments.len() {
                let bytes = self.numbers::<E>(moment_key(self.moments[n].0, &path), &shape)?;
                let moment = self.moments[n].1.get_or_alloc_mut(tensor).map_err(CheckpointError::device)?;
                tensor
                    .device()
                    .try_fill_with_distr(moment, Replay::of(bytes, split_first::<E>))
                    .map_err(CheckpointError::device)?;
            }
        }
        Ok(None)
    }

    fn visit_scalar<N: NumCast>(
        &mut self,
        _: ScalarOptions<N>,
        (_, path): (&N, String),
    ) -> Result<Option<N>, CheckpointError> {
        let name = format!("{}{path}", self.prefix);
        match N::from(f64::read(self.numbers::<f64>(name.clone(), &[])?)) {
            Some(_) => Ok(None),
            None => Err(CheckpointError::tensor(&name, "does not fit")),
        }
    }
}

/// Puts what a file holds under `prefix` into `model`, after [`check`] has found that it fits: nothing can fail any more.
pub(super) fn fill<M, E, D>(prefix: &str, model: &mut M, file: &SafeTensors)
where
    M: TensorCollection<E, D>,
    E: CheckpointDtype,
    D: Device<E>,
{
    let Ok(_) = M::iter_tensors(&mut RecursiveWalker { m: (model, String::new()), f: &mut Fill { prefix, file } });
}

struct Fill<'a> {
    prefix: &'a str,
    file: &'a SafeTensors<'a>,
}

impl<E: CheckpointDtype, D: Device<E>> TensorVisitor<E, D> for Fill<'_> {
    type Viewer = (ViewTensorMut, ViewTensorName);
    type Err = Infallible;
    type E2 = E;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        _: TensorOptions<S, E, D>,
        (tensor, path): (&mut Tensor<S, E, D>, String),
    ) -> Result<Option<Tensor<S, E, D>>, Infallible> {
        if let Ok(found) = self.file.tensor(&format!("{}{path}", self.prefix)) {
            tensor.copy_from(&numbers::<E>(found.data()));
        }
        Ok(None)
    }

    fn visit_scalar<N: NumCast>(
        &mut self,
        _: ScalarOptions<N>,
        (scalar, path): (&mut N, String),
    ) -> Result<Option<N>, Infallible> {
        let found = self.file.tensor(&format!("{}{path}", self.prefix));
        if let Some(value) = found.ok().and_then(|found| N::from(f64::read(found.data()))) {
            *scalar = value;
        }
        Ok(None)
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
        let bytes: Vec<u8> = odd.iter().flat_map(|number| number.to_le_bytes()).collect();
        let device = Cpu::seed_from_u64(5);
        let mut w: Tensor<Rank1<6>, f32, _> = device.zeros();
        let mut moment = Gradients::leaky();
        device
            .try_fill_with_distr(moment.get_or_alloc_mut(&w).unwrap(), Replay::of(&bytes, split_first::<f32>))
            .unwrap();
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
