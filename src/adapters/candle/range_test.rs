//! The range test on the variables of a candle model, whose values are restored afterwards.

use candle_core::{Error, Tensor};
use candle_nn::Optimizer;
use thiserror::Error;

use super::update::loss_value;
use super::{SavedVariables, Variables};
use crate::hyper::{Hyper, Hyperparameters, Unsupported};
use crate::range_test::{Interrupted, LossCurve, RangeTest};
use crate::training::{UpdateFailure, UpdateInPlace};

/// Why a range test on a candle model failed. Except for [`NotRestored`](Self::NotRestored), the variables have their
/// earlier values again.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RangeTestError {
    /// The batch source is empty.
    #[error("the batch source is empty")]
    NoBatches,
    /// candle or one of the closures failed.
    #[error("the range test was interrupted after {} steps: {error}", .curve.points().len())]
    Candle {
        /// The error.
        error: Error,
        /// The steps that were completed before.
        curve: LossCurve,
    },
    /// These variables have no gradient.
    #[error("these parameters have no gradient: {}", .0.join(", "))]
    MissingGradients(Vec<String>),
    /// The optimizer has no rate to set.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The values of the variables could not be copied or restored.
    #[error("the values of the variables were not copied or not restored: {0}")]
    NotRestored(Error),
}

/// What can go wrong within a step.
enum StepError {
    Candle(Error),
    MissingGradients(Vec<String>),
    Unsupported(Unsupported),
}

impl From<Error> for StepError {
    fn from(error: Error) -> Self {
        Self::Candle(error)
    }
}

/// Runs a range test on a model, and then restores the values of its variables, bit for bit.
///
/// The test consumes `optimizer`: candle's optimizers cannot be cloned, so pass a new one over the variables of `model`. `loss`
/// gets a batch and returns the tensor of its loss. `validate` is called after each step and may return a validation loss: `||
/// Ok(None)` for none. The test takes as many batches as it has [`updates`](RangeTest::updates); a shorter source gives a
/// shorter curve.
///
/// For a [`WeightDecayGrid`](crate::range_test::WeightDecayGrid), run the test once for each sweep, each time with a new
/// optimizer that has another weight decay.
///
/// # What is not restored
///
/// The state of candle's random generator, from which dropout draws.
///
/// # Errors
///
/// See [`RangeTestError`].
///
/// # Examples
///
/// ```
/// use cyclic_optim::adapters::candle::range_test;
/// use cyclic_optim::range_test::RangeTest;
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::{AdamW, Module, Optimizer, VarBuilder, VarMap, linear, loss::mse};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let variables = VarMap::new();
/// let model = linear(4, 1, VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu))?;
/// let (x, y) = (Tensor::rand(0_f32, 1.0, (8, 4), &Device::Cpu)?, Tensor::rand(0_f32, 1.0, (8, 1), &Device::Cpu)?);
/// let curve = range_test(
///     &variables,
///     AdamW::new_lr(variables.all_vars(), 0.0)?,
///     &RangeTest::logarithmic(1e-4, 1.0, 50)?,
///     std::iter::repeat((x, y)),
///     |(x, y)| mse(&model.forward(&x)?, &y),
///     || Ok(None), // no validation loss
/// )?;
/// assert!(curve.points().len() > 10);
/// # Ok(())
/// # }
/// ```
pub fn range_test<M: Variables, O: Optimizer + Hyperparameters, B>(
    mut model: &M,
    mut optimizer: O,
    test: &RangeTest,
    batches: impl IntoIterator<Item = B>,
    mut loss: impl FnMut(B) -> Result<Tensor, Error>,
    mut validate: impl FnMut() -> Result<Option<f64>, Error>,
) -> Result<LossCurve, RangeTestError> {
    let mut batches = batches.into_iter().peekable();
    if batches.peek().is_none() {
        return Err(RangeTestError::NoBatches);
    }
    let before = SavedVariables::of(model).map_err(RangeTestError::NotRestored)?;
    let curve = test.run_validated(
        |lr| {
            let Some(batch) = batches.next() else { return Ok(None) };
            let loss = loss(batch)?;
            let value = loss_value(&loss)?;
            // The test ends with this loss, so no update is needed.
            if value.is_finite() {
                optimizer.set(Hyper::LearningRate, lr).map_err(StepError::Unsupported)?;
                optimizer.update_in_place(&mut model, &mut loss.backward()?).map_err(|failure| match failure {
                    UpdateFailure::Failed(error) => StepError::Candle(error),
                    UpdateFailure::MissingGradients(names) => StepError::MissingGradients(names),
                    // candle's optimizers have no groups.
                    UpdateFailure::UnknownPrefix(unknown) => StepError::Candle(Error::wrap(unknown)),
                })?;
            }
            Ok(Some(value))
        },
        || validate().map_err(StepError::Candle),
    );
    before.restore().map_err(RangeTestError::NotRestored)?;
    curve.map_err(|Interrupted { error, curve }| match error {
        StepError::Candle(error) => RangeTestError::Candle { error, curve },
        StepError::MissingGradients(names) => RangeTestError::MissingGradients(names),
        StepError::Unsupported(unsupported) => RangeTestError::Unsupported(unsupported),
    })
}
