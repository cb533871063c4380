//! Updates of candle models: candle's `Optimizer` trait for the wrapper, and updates in place.

use candle_core::backprop::GradStore;
use candle_core::{Context, DType, Device, Error, Result, Tensor, Var};
use candle_nn::Optimizer;

use super::Variables;
use crate::config::ClrConfig;
use crate::error::ConfigError;
use crate::hyper::Hyperparameters;
use crate::optimizer::CyclicOptimizer;
use crate::schedule::Schedule;
use crate::training::{UpdateError, UpdateFailure, UpdateInPlace};

/// Implemented for every optimizer of candle. The model must have the variables of the optimizer.
impl<O: Optimizer, M: Variables> UpdateInPlace<M, GradStore> for O {
    type Error = Error;

    fn update_in_place(
        &mut self,
        model: &mut M,
        gradients: &mut GradStore,
    ) -> core::result::Result<(), UpdateFailure<Error>> {
        self.step(gradients).map_err(UpdateFailure::Failed)?;
        let mut missing = Vec::new();
        let removed = model.for_each(&mut |name, variable| {
            // Numbers that are not floats are never trained.
            if gradients.remove(variable).is_none() && variable.dtype().is_float() {
                missing.push(name.to_string());
            }
            Ok(())
        });
        removed.map_err(UpdateFailure::Failed)?;
        if missing.is_empty() { Ok(()) } else { Err(UpdateFailure::MissingGradients(missing)) }
    }
}

/// The wrapper can be used wherever candle takes an optimizer.
///
/// - `new` takes the inner optimizer's config and a [`ClrConfig`]. Call it as `Optimizer::new`: `CyclicOptimizer::new` is the
///   inherent method, which takes an optimizer.
/// - `step` makes the update with the scheduled rate and momentum. Like the `step` of candle's optimizers, it neither guards
///   nor clips, and it records nothing.
/// - `backward_step` makes a whole update, as [`apply`](CyclicOptimizer::apply) does: guard, clip, update, record. It guards
///   and clips the gradients of all variables on which the loss depends, including those of another optimizer. It does not
///   report variables on which the loss does not depend; `apply` does.
/// - `learning_rate` is the rate of the next update.
/// - `set_learning_rate` sets the rate of the next update only. After that update the schedule continues as if the rate had not
///   been set. The method cannot return an error. So an invalid rate (NaN, infinite or negative) makes the next update fail,
///   and every later one until another rate is set.
///
/// [`update_error`](super::update_error) finds the reason for a refusal in candle's error.
impl<O: Optimizer + Hyperparameters, S: Schedule> Optimizer for CyclicOptimizer<O, S> {
    type Config = (O::Config, ClrConfig<S>);

    fn new(vars: Vec<Var>, (inner, config): Self::Config) -> Result<Self> {
        Self::try_new(O::new(vars, inner)?, config).context("the optimizer and its schedule do not fit")
    }

    #[inline]
    fn step(&mut self, gradients: &GradStore) -> Result<()> {
        let iteration = self.iterations();
        self.check_next().map_err(|error| wrapped(UpdateError::Schedule { error, iteration }))?;
        self.update_with(|inner| inner.step(gradients))
    }

    fn learning_rate(&self) -> f64 {
        self.lr()
    }

    fn set_learning_rate(&mut self, lr: f64) {
        self.set_next_lr(lr);
    }

    fn backward_step(&mut self, loss: &Tensor) -> Result<()> {
        let value = loss_value(loss)?;
        // candle's optimizers do not give access to their variables, and a store also has gradients of tensors that are
        // not variables.
        let leads_to_loss = loss.sorted_nodes().into_iter().filter(|node| node.is_variable());
        let mut variables = leads_to_loss.map(Var::from_tensor).collect::<Result<Vec<_>>>()?;
        self.apply(&mut variables, &mut loss.backward()?, value).map(drop).map_err(wrapped)
    }
}

/// The loss as a number. A backward pass starts from the sum of all elements, and a loss usually has one.
pub(super) fn loss_value(loss: &Tensor) -> Result<f64> {
    loss.detach().sum_all()?.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_scalar()
}

/// candle's error for a failed update. Only `WrappedContext` keeps the type of what it wraps.
fn wrapped(error: UpdateError<Error>) -> Error {
    match error {
        UpdateError::Device(error) => error,
        error => {
            let context = error.to_string();
            Error::WrappedContext { wrapped: Box::new(error), context }
        }
    }
}

/// Why [`CyclicOptimizer`] has refused an update, if candle's error wraps such a refusal.
///
/// ```
/// use cyclic_optim::adapters::candle::update_error;
/// use cyclic_optim::{Constant, CyclicOptimizer, UpdateError};
/// use candle_core::{Device, Var};
/// use candle_nn::{Optimizer, SGD};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let weight = Var::new(f32::NAN, &Device::Cpu)?;
/// let mut optimizer = CyclicOptimizer::new(SGD::new(vec![weight.clone()], 0.0)?, Constant::new(0.1)?);
/// let error = optimizer.backward_step(&weight.sqr()?).unwrap_err();
/// assert!(matches!(update_error(&error), Some(UpdateError::NonFiniteLoss { iteration: 0, .. })));
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn update_error(error: &Error) -> Option<&UpdateError<Error>> {
    wrapped_in(error)
}

/// Why an optimizer and a config do not fit together, if candle's error wraps such an error.
///
/// ```
/// use cyclic_optim::adapters::candle::config_error;
/// use cyclic_optim::{ClrConfig, ConfigError, Cyclic, CyclicOptimizer};
/// use candle_nn::{Optimizer, SGD};
///
/// # fn main() -> Result<(), ConfigError> {
/// // candle's SGD has no momentum to cycle.
/// let config = ClrConfig::new(Cyclic::triangular(0.001, 0.006, 2000)?).with_momentum(0.85, 0.95)?;
/// let error = <CyclicOptimizer<SGD> as Optimizer>::new(Vec::new(), (0.0, config)).unwrap_err();
/// assert_eq!(config_error(&error), Some(&ConfigError::NoMomentum));
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn config_error(error: &Error) -> Option<&ConfigError> {
    wrapped_in(error)
}

fn wrapped_in<E: core::error::Error + 'static>(error: &Error) -> Option<&E> {
    match error {
        Error::WrappedContext { wrapped, .. } => wrapped.downcast_ref(),
        Error::WithBacktrace { inner, .. } | Error::Context { inner, .. } | Error::WithPath { inner, .. } => {
            wrapped_in(inner)
        }
        _ => None,
    }
}
