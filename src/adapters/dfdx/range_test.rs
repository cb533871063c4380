//! The range test on clones of a dfdx model and its optimizer.

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
use crate::range_test::{GridError, Interrupted, IntoResult, LossCurve, RangeTest, WeightDecayGrid};
use crate::training::UpdateFailure;

/// Why a range test on a dfdx model failed. The model and the optimizer have not changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RangeTestError<Err, DeviceErr> {
    /// The batch source is empty.
    #[error("the batch source is empty")]
    NoBatches,
    /// One of the closures failed.
    #[error("the range test was interrupted after {} steps: {error}", .curve.points().len())]
    Closure {
        /// Its error.
        error: Err,
        /// The steps that were completed before.
        curve: LossCurve,
    },
    /// The device failed.
    #[error("the device failed: {0}")]
    Device(DeviceErr),
    /// These parameters have no gradient.
    #[error("these parameters have no gradient: {}", .0.join(", "))]
    MissingGradients(Vec<String>),
    /// The optimizer does not have this hyper-parameter, or it is switched off.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The list of weight decays is invalid, or the prefix of a group fits no parameter.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// What can go wrong within a step.
enum StepError<Err, DeviceErr> {
    Closure(Err),
    Update(UpdateFailure<DeviceErr>),
    Unsupported(Unsupported),
}

/// Runs a range test on clones of `model` and `optimizer`, including the moments. The originals do not change.
///
/// `train` gets the cloned model, gradients to trace with and a batch; it returns the batch's loss and the gradients after
/// the backward pass. `validate` is called after each step and may return a validation loss: `|_| None` for none. Both may
/// return a `Result`, with the same type of error. The test takes as many batches as it has [`updates`](RangeTest::updates);
/// a shorter source gives a shorter curve.
///
/// For a [`CyclicOptimizer`](crate::CyclicOptimizer), pass the inner optimizer: `optimizer.get_ref()`.
///
/// # What cannot be cloned
///
/// All tensors of a dfdx device share one random generator, and dropout draws its masks from the device of its input. So after
/// a range test on batches of the same device, the training gets other masks. To keep the masks, move the batches to another
/// device for the whole test: `x.to_device(&Cpu::seed_from_u64(1))`. The same holds for a batch source that draws random
/// numbers from the device of the training.
///
/// # Errors
///
/// See [`RangeTestError`].
///
/// # Examples
///
/// ```
/// use cyclic_optim::adapters::dfdx::range_test;
/// use cyclic_optim::range_test::RangeTest;
/// use cyclic_optim::{Adam, Cyclic, CyclicOptimizer};
/// use dfdx::prelude::{
///     AsArray, Backward, Cpu, DeviceBuildExt, Linear, Module, Rank2, SampleTensor, Tensor, Trace, mse_loss,
/// };
///
/// let device = Cpu::default();
/// let model = device.build_module::<Linear<4, 1>, f32>();
/// let optimizer = CyclicOptimizer::new(Adam::<f32, Cpu>::default(), Cyclic::triangular(0.001, 0.006, 100)?);
/// let (x, y): (Tensor<Rank2<8, 4>, f32, _>, Tensor<Rank2<8, 1>, f32, _>) = (device.sample_normal(), device.sample_normal());
///
/// let curve = range_test(
///     &model,
///     optimizer.get_ref(),
///     &RangeTest::logarithmic(1e-4, 1.0, 50)?,
///     std::iter::repeat((x, y)),
///     |model, grads, (x, y)| {
///         let loss = mse_loss(model.forward(x.trace(grads)), y);
///         (loss.array(), loss.backward())
///     },
///     |_| None, // no validation loss
/// )?;
/// assert!(curve.points().len() > 10);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn range_test<M, O, D, E, B, L, T, V>(
    model: &M,
    optimizer: &O,
    test: &RangeTest,
    batches: impl IntoIterator<Item = B>,
    train: impl FnMut(&mut M, Gradients<E, D>, B) -> T,
    validate: impl FnMut(&M) -> V,
) -> Result<LossCurve, RangeTestError<T::Err, D::Err>>
where
    T: IntoResult<(L, Gradients<E, D>)>,
    V: IntoResult<Option<f64>, Err = T::Err>,
    M: TensorCollection<E, D> + Clone,
    O: InPlace<M, D, E> + Hyperparameters + Clone,
    D: Device<E>,
    E: Dtype,
    L: ToPrimitive,
{
    sweep(model.clone(), optimizer.clone(), test, batches, train, validate)
}

/// Runs the range test once for each weight decay, each from clones of the same model and optimizer.
///
/// `batches` is called for each sweep and should return the same batches each time. The weight decay is the optimizer's own, L2
/// or decoupled, and must be switched on there; 0 means none. Everything else is as in [`range_test`].
///
/// # Errors
///
/// See [`RangeTestError`]. The error is that of the first sweep that fails.
pub fn weight_decay_grid<M, O, D, E, I, L, T, V>(
    model: &M,
    optimizer: &O,
    test: &RangeTest,
    weight_decays: &[f64],
    mut batches: impl FnMut() -> I,
    mut train: impl FnMut(&mut M, Gradients<E, D>, I::Item) -> T,
    mut validate: impl FnMut(&M) -> V,
) -> Result<WeightDecayGrid, RangeTestError<T::Err, D::Err>>
where
    T: IntoResult<(L, Gradients<E, D>)>,
    V: IntoResult<Option<f64>, Err = T::Err>,
    M: TensorCollection<E, D> + Clone,
    O: InPlace<M, D, E> + Hyperparameters + Clone,
    D: Device<E>,
    E: Dtype,
    I: IntoIterator,
    L: ToPrimitive,
{
    WeightDecayGrid::run(weight_decays, |weight_decay| {
        let mut optimizer = optimizer.clone();
        // An optimizer without weight decay has no value to set, and its weight decay is 0 anyway.
        if weight_decay > 0.0 || optimizer.get(Hyper::WeightDecay).is_some() {
            optimizer.set(Hyper::WeightDecay, weight_decay)?;
        }
        sweep(model.clone(), optimizer, test, batches(), &mut train, &mut validate)
    })
    .map_err(|error| match error {
        GridError::Config(error) => RangeTestError::Config(error),
        GridError::Sweep { error, .. } => error,
    })
}

/// One sweep over a model and an optimizer of its own.
fn sweep<M, O, D, E, B, L, T, V>(
    model: M,
    mut optimizer: O,
    test: &RangeTest,
    batches: impl IntoIterator<Item = B>,
    mut train: impl FnMut(&mut M, Gradients<E, D>, B) -> T,
    mut validate: impl FnMut(&M) -> V,
) -> Result<LossCurve, RangeTestError<T::Err, D::Err>>
where
    T: IntoResult<(L, Gradients<E, D>)>,
    V: IntoResult<Option<f64>, Err = T::Err>,
    M: TensorCollection<E, D>,
    O: InPlace<M, D, E> + Hyperparameters,
    D: Device<E>,
    E: Dtype,
    L: ToPrimitive,
{
    let grads = model.try_alloc_grads().map_err(RangeTestError::Device)?;
    let mut batches = batches.into_iter().peekable();
    if batches.peek().is_none() {
        return Err(RangeTestError::NoBatches);
    }
    // Both closures of the test borrow the model, one after the other.
    let model = core::cell::RefCell::new(model);
    let mut grads = Some(grads);
    let curve = test.run_validated(
        |lr| {
            let (Some(batch), Some(traced)) = (batches.next(), grads.take()) else { return Ok(None) };
            let model = &mut *model.borrow_mut();
            let (loss, mut found) = train(model, traced, batch).into_result().map_err(StepError::Closure)?;
            let loss = loss.to_f64().unwrap_or(f64::NAN);
            // The test ends with this loss, so no update is needed.
            if loss.is_finite() {
                optimizer.set(Hyper::LearningRate, lr).map_err(StepError::Unsupported)?;
                optimizer.update_in_place(model, &mut found).map_err(StepError::Update)?;
            }
            grads = Some(found);
            Ok(Some(loss))
        },
        || validate(&model.borrow()).into_result().map_err(StepError::Closure),
    );
    curve.map_err(|Interrupted { error, curve }| match error {
        StepError::Closure(error) => RangeTestError::Closure { error, curve },
        StepError::Update(UpdateFailure::Failed(error)) => RangeTestError::Device(error),
        StepError::Update(UpdateFailure::MissingGradients(parameters)) => RangeTestError::MissingGradients(parameters),
        StepError::Update(UpdateFailure::UnknownPrefix(unknown)) => {
            RangeTestError::Config(ConfigError::UnknownPrefix(unknown))
        }
        StepError::Unsupported(unsupported) => RangeTestError::Unsupported(unsupported),
    })
}
