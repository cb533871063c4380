//! The tensors of a model and the moments of its optimizer, as named numbers and back.

use core::convert::Infallible;
use core::fmt::{self, Debug, Display};
use core::marker::PhantomData;
use std::borrow::Cow;
use std::error::Error;

use dfdx::nn::tensor_collection::TensorCollection;
use dfdx::tensor::{Gradients, UniqueId};
use dfdx::tensor_ops::Device;

use super::{CheckpointDtype, Saved};
use crate::adapters::dfdx::walk::{AnyTensor, Item, walk, walk_mut, write_entry};
use crate::checkpoint::{CheckpointError, MODEL, OPTIMIZER, SavedModel, SavedTensors, SavedWith, Steps, Tensors};

/// A marker type: dfdx as the framework of a checkpoint, with numbers of type `E` on a device `D`.
///
/// The tensors of the model must be contiguous, as those of dfdx's modules are.
#[derive(Debug)]
pub struct Dfdx<E, D>(PhantomData<(E, D)>);

/// An error of a dfdx device: the source of [`CheckpointError::Device`].
#[derive(Debug)]
pub struct DeviceError<Err>(pub Err);

impl<Err: Display> Display for DeviceError<Err> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

impl<Err: Debug + Display> Error for DeviceError<Err> {}

fn device<Err: Debug + Display + Send + Sync + 'static>(error: Err) -> CheckpointError {
    CheckpointError::Device(Box::new(DeviceError(error)))
}

impl<M, E, D> SavedModel<Dfdx<E, D>> for M
where
    M: TensorCollection<E, D>,
    E: CheckpointDtype,
    D: Device<E>,
    D::Err: Send + Sync + 'static,
{
    fn save_tensors(&self, prefix: &str, tensors: &mut Tensors) -> Result<(), CheckpointError> {
        save(prefix, self, Vec::new(), &[], tensors)
    }

    fn check_tensors(&self, prefix: &str, saved: &mut SavedTensors) -> Result<(), CheckpointError> {
        walk(self, |name, item: Item<&dyn AnyTensor<E, D>>| {
            let key = format!("{prefix}{name}");
            match item {
                Item::Scalar(_) => saved.numbers::<f64>(&key, &[]).map(|_| ()),
                Item::Tensor { tensor, .. } => saved.numbers::<E>(&key, &tensor.shape()).map(|_| ()),
            }
        })
    }

    fn load_tensors(&mut self, prefix: &str, saved: &mut SavedTensors) {
        let mut values = Vec::new();
        let Ok(()) = walk_mut::<_, E, D, Infallible>(self, |name, item| {
            let key = format!("{prefix}{name}");
            match item {
                Item::Tensor { tensor, .. } => {
                    if let Ok(numbers) = saved.numbers::<E>(&key, &tensor.shape()) {
                        values.clear();
                        values.extend(numbers);
                        tensor.set(&values);
                    }
                    Ok(None)
                }
                Item::Scalar(_) => Ok(saved.numbers::<f64>(&key, &[]).ok().and_then(|mut numbers| numbers.next())),
            }
        });
    }
}

impl<M, O, E, D> SavedWith<M, Dfdx<E, D>> for O
where
    M: TensorCollection<E, D>,
    O: Saved<E, D>,
    E: CheckpointDtype,
    D: Device<E>,
    D::Err: Send + Sync + 'static,
{
    fn save_run(&self, model: &M, tensors: &mut Tensors) -> Result<(), CheckpointError> {
        let complete = self.has_all_moments();
        let moments = O::MOMENTS.iter().copied().zip(self.moments());
        // A moment that does not exist yet counts as zeros. To create those, a mutable copy is needed.
        let moments = moments
            .map(|(name, moments)| (name, if complete { Cow::Borrowed(moments) } else { Cow::Owned(moments.clone()) }));
        save(MODEL, model, moments.collect(), self.updated(), tensors)
    }

    fn load_state(&self, model: &M, steps: Steps, saved: &mut SavedTensors) -> Result<Self, CheckpointError> {
        let mut moments: Vec<_> = O::MOMENTS.iter().map(|_| Gradients::leaky()).collect();
        let mut parameters = Vec::new();
        walk::<_, E, D, CheckpointError>(model, |name, item| {
            let Item::Tensor { tensor, is_parameter: true } = item else { return Ok(()) };
            parameters.push(tensor.id());
            for (moment, all) in O::MOMENTS.iter().zip(&mut moments) {
                let values = saved.numbers(&moment_key(moment, &name), &tensor.shape())?;
                let memory = tensor.entry(all).map_err(device)?;
                write_entry(tensor, memory, values).map_err(device)?;
            }
            Ok(())
        })?;
        // Before the first update any model may be updated.
        let updated = if steps.updated { parameters } else { Vec::new() };
        Ok(self.with_state(steps, moments, updated))
    }
}

fn moment_key(moment: &str, path: &str) -> String {
    format!("{OPTIMIZER}{moment}.{path}")
}

/// Adds the tensors and scalars of `model`, and after each parameter its moments. `updated` are the parameters that the
/// optimizer has updated; none before the first update.
fn save<M, E, D>(
    prefix: &str,
    model: &M,
    mut moments: Vec<(&str, Cow<Gradients<E, D>>)>,
    updated: &[UniqueId],
    tensors: &mut Tensors,
) -> Result<(), CheckpointError>
where
    M: TensorCollection<E, D>,
    E: CheckpointDtype,
    D: Device<E>,
    D::Err: Send + Sync + 'static,
{
    let wrong = |name: &str, problem: &str| CheckpointError::Tensor { name: name.into(), problem: problem.into() };
    walk(model, |name, item: Item<&dyn AnyTensor<E, D>>| {
        let key = format!("{prefix}{name}");
        let (tensor, is_parameter) = match item {
            Item::Scalar(value) if value.is_nan() => return Err(wrong(&key, "is not a number")),
            Item::Scalar(value) => return tensors.push(key, &[], &[value]),
            Item::Tensor { tensor, is_parameter } => (tensor, is_parameter),
        };
        // Its moments would become zeros without an error.
        if is_parameter && !moments.is_empty() && !updated.is_empty() && !updated.contains(&tensor.id()) {
            return Err(wrong(&key, "is not a parameter of the model that the optimizer has updated"));
        }
        let shape = tensor.shape();
        tensors.push(key, &shape, &tensor.values())?;
        for (moment, all) in moments.iter_mut().filter(|_| is_parameter) {
            if let Cow::Owned(all) = all {
                tensor.entry(all).map_err(device)?;
            }
            tensors.push(moment_key(moment, &name), &shape, &tensor.entry_values(all))?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use dfdx::optim::AdamConfig;
    use dfdx::prelude::{AsArray, Cpu, Rank1, SampleTensor, Tensor, ZerosTensor};

    use super::*;
    use crate::adapters::dfdx::Adam;
    use crate::adapters::dfdx::replay::Replay;
    use crate::{Checkpoint, Constant, CyclicOptimizer};

    fn wrapped(adam: Adam<f32, Cpu>) -> CyclicOptimizer<Adam<f32, Cpu>> {
        CyclicOptimizer::new(adam, Constant::new(0.1).unwrap())
    }

    /// Moments are restored bit for bit, whatever their values, and the device's random generator is not used.
    #[test]
    fn odd_moments_come_back_bit_for_bit() {
        let odd = [f32::NAN, f32::from_bits(0x7fa0_0001), -0.0, f32::MIN_POSITIVE / 8.0, f32::NEG_INFINITY, 1.0];
        let device = Cpu::seed_from_u64(5);
        let mut w: Tensor<Rank1<6>, f32, _> = device.zeros();
        w.copy_from(&odd);
        let mut moments = vec![Gradients::leaky(), Gradients::leaky()];
        for moment in &mut moments {
            let values = odd.iter().copied();
            device.try_fill_with_distr(moment.get_or_alloc_mut(&w).unwrap(), Replay::of(values)).unwrap();
        }
        let steps = Steps { made: 3, complete: true, updated: true, ..Steps::default() };
        let adam = Adam::new(AdamConfig::default()).with_state(steps, moments, vec![AnyTensor::<f32, Cpu>::id(&w)]);
        let bytes = Checkpoint::to_bytes(&w, &wrapped(adam)).unwrap();
        let odd: Vec<u8> = odd.iter().flat_map(|number| number.to_le_bytes()).collect();
        assert_eq!(bytes.windows(odd.len()).filter(|window| **window == odd).count(), 3);
        let (mut v, mut other): (Tensor<Rank1<6>, f32, _>, _) = (device.zeros(), wrapped(Adam::default()));
        Checkpoint::from_bytes(bytes.clone()).unwrap().restore(&mut v, &mut other).unwrap();
        assert!(Checkpoint::to_bytes(&v, &other).unwrap() == bytes);
        let (drawn, expected): (Tensor<Rank1<6>, f32, _>, Tensor<Rank1<6>, f32, _>) =
            (device.sample_normal(), Cpu::seed_from_u64(5).sample_normal());
        assert_eq!(drawn.array(), expected.array());
    }

    /// Moments of another model than the one that was updated would become zeros.
    #[test]
    fn an_optimizer_is_saved_with_its_own_model() {
        let device = Cpu::default();
        let (w, v): (Tensor<Rank1<6>, f32, _>, Tensor<Rank1<6>, f32, _>) = (device.zeros(), device.zeros());
        let moments = vec![Gradients::leaky(), Gradients::leaky()];
        let updated = vec![AnyTensor::<f32, Cpu>::id(&w)];
        let adam = wrapped(Adam::new(AdamConfig::default()).with_state(Steps::default(), moments, updated));
        assert!(Checkpoint::to_bytes(&w, &adam).is_ok());
        let error = Checkpoint::to_bytes(&v, &adam).unwrap_err().to_string();
        assert_eq!(error, "tensor model. is not a parameter of the model that the optimizer has updated");
    }

    /// The error of the device is the source of the checkpoint's error.
    #[test]
    fn a_device_error_keeps_its_source() {
        let error = device(dfdx::tensor::CpuError::OutOfMemory);
        let source = error.source().unwrap();
        assert!(source.downcast_ref::<DeviceError<dfdx::tensor::CpuError>>().is_some());
        assert_eq!(error.to_string(), format!("the device failed: {source}"));
    }
}
