//! The search for a peak rate on clones of a dfdx model and its optimizer.

use dfdx::dtypes::Dtype;
use dfdx::nn::ZeroGrads;
use dfdx::nn::tensor_collection::TensorCollection;
use dfdx::tensor::Gradients;
use dfdx::tensor_ops::Device;
use num_traits::ToPrimitive;
use thiserror::Error;

use super::InPlace;
use crate::error::ConfigError;
use crate::hyper::{Hyper, Hyperparameters, Unsupported};
use crate::range_test::{IntoResult, PeakChoice, PeakSearch, PeakSearchError, Trial};
use crate::training::UpdateFailure;

/// What can go wrong in a trial on a dfdx model.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum TrialError<Err, DeviceErr> {
    /// The closure failed.
    #[error("{0}")]
    Closure(Err),
    /// The device failed.
    #[error("the device failed: {0}")]
    Device(DeviceErr),
    /// These parameters have no gradient.
    #[error("these parameters have no gradient: {}", .0.join(", "))]
    MissingGradients(Vec<String>),
    /// The optimizer has no learning rate.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The prefix of a group fits no parameter.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Why [`choose_peak`] gave no rate.
pub type ChoosePeakError<Err, DeviceErr> = PeakSearchError<TrialError<Err, DeviceErr>>;

/// Chooses the peak rate of a run by trial, on clones of `model` and `optimizer`. The originals do not change. See
/// [`PeakSearch`] for what it does and what it costs.
///
/// `batches` are the first [`PeakSearch::batches`] batches of the run, at most 100; further ones are not used. As in a
/// [`range_test`](super::range_test()), `train` gets the cloned model, gradients to trace with and a batch, and returns the batch's
/// loss and the gradients after the backward pass. It may return a `Result`. To show progress, advance a bar in `train`.
///
/// For a [`CyclicOptimizer`](crate::CyclicOptimizer), pass the inner optimizer: `optimizer.get_ref()`.
///
/// # Memory
///
/// One more copy of the parameters, the gradients twice, the optimizer's moments twice, and the batches.
///
/// # What cannot be cloned
///
/// The random generator of the device, as for the range test. If the model has dropout, the search draws masks from the device of
/// the batches, so the training that follows gets other masks. To avoid that, move the batches to another device.
///
/// # Errors
///
/// See [`PeakSearchError`] and [`TrialError`].
///
/// # Examples
///
/// ```
/// use cyclic_optim::adapters::dfdx::choose_peak;
/// use cyclic_optim::range_test::PeakSearch;
/// use cyclic_optim::{Adam, CyclicOptimizer};
/// use dfdx::prelude::{
///     AsArray, Backward, Cpu, DeviceBuildExt, Linear, Module, Rank2, SampleTensor, Tensor, Trace, mse_loss,
/// };
///
/// let device = Cpu::seed_from_u64(0);
/// let model = device.build_module::<Linear<4, 1>, f32>();
/// let adam = Adam::<f32, Cpu>::default();
/// let x: Tensor<Rank2<8, 4>, f32, _> = device.sample_normal();
/// let y = device.build_module::<Linear<4, 1>, f32>().forward(x.clone());
///
/// let choice = choose_peak(&model, &adam, &PeakSearch::new(2000)?, std::iter::repeat((x, y)), |model, grads, (x, y)| {
///     let loss = mse_loss(model.forward(x.trace(grads)), y);
///     (loss.array(), loss.backward())
/// })?;
/// println!("{choice}");
/// let optimizer = CyclicOptimizer::new(adam, choice.one_cycle()?);
/// # let _ = optimizer;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn choose_peak<M, O, D, E, B, L, T>(
    model: &M,
    optimizer: &O,
    search: &PeakSearch,
    batches: impl IntoIterator<Item = B>,
    mut train: impl FnMut(&mut M, Gradients<E, D>, B) -> T,
) -> Result<PeakChoice, ChoosePeakError<T::Err, D::Err>>
where
    T: IntoResult<(L, Gradients<E, D>)>,
    M: TensorCollection<E, D> + Clone,
    O: InPlace<M, D, E> + Hyperparameters + Clone,
    D: Device<E>,
    E: Dtype,
    B: Clone,
    L: ToPrimitive,
{
    let needed = search.batches();
    let batches: Vec<B> = batches.into_iter().take(usize::try_from(needed).unwrap_or(usize::MAX)).collect();
    let found = batches.len() as u64;
    if found < needed {
        return Err(PeakSearchError::TooFewBatches { needed, found });
    }
    let train = |model: &mut M, gradients, batch| {
        let (loss, gradients) = train(model, gradients, batch).into_result()?;
        Ok((loss.to_f64().unwrap_or(f64::NAN), gradients))
    };
    let (start, optimizer) = ((model, optimizer.clone()), optimizer.clone());
    search.run(&mut Clones { start, model: model.clone(), optimizer, gradients: None, batches, train })
}

/// Clones that are trained, and what they start from.
struct Clones<'a, M, O, G, B, F> {
    start: (&'a M, O),
    model: M,
    optimizer: O,
    gradients: Option<G>,
    batches: Vec<B>,
    train: F,
}

impl<M, O, D, E, B, Err, F> Trial for Clones<'_, M, O, Gradients<E, D>, B, F>
where
    F: FnMut(&mut M, Gradients<E, D>, B) -> Result<(f64, Gradients<E, D>), Err>,
    M: TensorCollection<E, D> + Clone,
    O: InPlace<M, D, E> + Hyperparameters + Clone,
    D: Device<E>,
    E: Dtype,
    B: Clone,
{
    type Err = TrialError<Err, D::Err>;

    fn restart(&mut self) -> Result<(), Self::Err> {
        self.model.clone_from(self.start.0);
        self.optimizer.clone_from(&self.start.1);
        // New gradients: those of a probe that was given up are not zero.
        self.gradients = None;
        Ok(())
    }

    fn train(&mut self, batch: u64, lr: f64, repeats: u32) -> Result<f64, Self::Err> {
        let gradients = match self.gradients.take() {
            Some(gradients) => gradients,
            None => self.model.try_alloc_grads().map_err(TrialError::Device)?,
        };
        let batch = self.batches[usize::try_from(batch).unwrap_or(usize::MAX)].clone();
        let (loss, mut gradients) = (self.train)(&mut self.model, gradients, batch).map_err(TrialError::Closure)?;
        if !loss.is_finite() {
            return Ok(loss);
        }
        self.optimizer.set(Hyper::LearningRate, lr)?;
        for _ in 1..repeats {
            // An update zeroes its gradients.
            let mut again = gradients.clone();
            self.optimizer.update_in_place(&mut self.model, &mut again).map_err(failed)?;
        }
        self.optimizer.update_in_place(&mut self.model, &mut gradients).map_err(failed)?;
        self.gradients = Some(gradients);
        Ok(loss)
    }

    fn keep_optimizer(&mut self) {
        self.start.1.clone_from(&self.optimizer);
    }
}

fn failed<Err, DeviceErr>(failure: UpdateFailure<DeviceErr>) -> TrialError<Err, DeviceErr> {
    match failure {
        UpdateFailure::Failed(error) => TrialError::Device(error),
        UpdateFailure::MissingGradients(parameters) => TrialError::MissingGradients(parameters),
        UpdateFailure::UnknownPrefix(unknown) => TrialError::Config(ConfigError::UnknownPrefix(unknown)),
    }
}
