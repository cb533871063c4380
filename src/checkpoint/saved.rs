//! What a framework provides so that its models and optimizers can be saved.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::CheckpointError;
use super::file::{SavedTensors, Tensors};
use crate::hyper::Hyperparameters;

/// The names of the model's tensors begin with this prefix.
pub const MODEL: &str = "model.";
/// The names of the optimizer's tensors begin with this prefix.
pub const OPTIMIZER: &str = "optimizer.";

/// A model of the framework `F` whose tensors can be saved and loaded.
///
/// `F` is a marker type of the adapter that stands for the framework, so that one impl can cover all models of a framework.
/// For dfdx it is `adapters::dfdx::Dfdx`.
///
/// # Examples
///
/// A framework in which a model is a `Vec<f32>`:
///
/// ```
/// use cyclic_optim::checkpoint::{
///     CheckpointError, MODEL, OPTIMIZER, SavedModel, SavedOptimizer, SavedTensors, SavedWith, Steps, Tensors,
/// };
/// use cyclic_optim::{Checkpoint, Cyclic, CyclicOptimizer, RateAndMomentum};
/// use serde_json::{Map, Value};
///
/// struct Mine;
///
/// impl SavedModel<Mine> for Vec<f32> {
///     fn save_tensors(&self, prefix: &str, tensors: &mut Tensors) -> Result<(), CheckpointError> {
///         tensors.push(format!("{prefix}weights"), &[self.len()], self)
///     }
///     fn check_tensors(&self, prefix: &str, saved: &mut SavedTensors) -> Result<(), CheckpointError> {
///         saved.numbers::<f32>(&format!("{prefix}weights"), &[self.len()]).map(|_| ())
///     }
///     fn load_tensors(&mut self, prefix: &str, saved: &mut SavedTensors) {
///         if let Ok(numbers) = saved.numbers(&format!("{prefix}weights"), &[self.len()]) {
///             *self = numbers.collect();
///         }
///     }
/// }
///
/// #[derive(Clone, Default)]
/// struct Momentum {
///     rate: RateAndMomentum,
///     velocity: Vec<f32>,
/// }
/// # impl cyclic_optim::Hyperparameters for Momentum {
/// #     fn get(&self, hyper: cyclic_optim::Hyper) -> Option<f64> { self.rate.get(hyper) }
/// #     fn set(&mut self, hyper: cyclic_optim::Hyper, value: f64) -> Result<(), cyclic_optim::Unsupported> {
/// #         self.rate.set(hyper, value)
/// #     }
/// # }
///
/// impl SavedOptimizer for Momentum {
///     const KIND: &'static str = "momentum";
///     fn hyperparameters(&self) -> Map<String, Value> {
///         Map::new()
///     }
///     fn steps(&self) -> Steps {
///         Steps { updated: !self.velocity.is_empty(), ..Steps::default() }
///     }
/// }
///
/// impl SavedWith<Vec<f32>, Mine> for Momentum {
///     fn save_run(&self, model: &Vec<f32>, tensors: &mut Tensors) -> Result<(), CheckpointError> {
///         model.save_tensors(MODEL, tensors)?;
///         tensors.push(format!("{OPTIMIZER}velocity"), &[self.velocity.len()], &self.velocity)
///     }
///     fn load_state(&self, model: &Vec<f32>, steps: Steps, saved: &mut SavedTensors) -> Result<Self, CheckpointError> {
///         let length = if steps.updated { model.len() } else { 0 };
///         let velocity = saved.numbers(&format!("{OPTIMIZER}velocity"), &[length])?.collect();
///         Ok(Self { velocity, ..self.clone() })
///     }
/// }
///
/// let schedule = || Cyclic::triangular(0.1, 0.3, 2).unwrap();
/// let mut optimizer = CyclicOptimizer::new(Momentum::default(), schedule());
/// optimizer.update_with(|inner| { inner.velocity = vec![0.5, 0.25]; Ok::<(), ()>(()) }).unwrap();
/// let bytes = Checkpoint::to_bytes(&vec![1.0, 2.0], &optimizer)?;
///
/// let (mut model, mut resumed) = (vec![0.0, 0.0], CyclicOptimizer::new(Momentum::default(), schedule()));
/// Checkpoint::from_bytes(bytes)?.restore(&mut model, &mut resumed)?;
/// assert_eq!((model, resumed.iterations()), (vec![1.0, 2.0], 1));
/// assert_eq!(resumed.get_ref().velocity, [0.5, 0.25]);
/// # Ok::<(), CheckpointError>(())
/// ```
pub trait SavedModel<F> {
    /// Adds all tensors. The name of each is `prefix`, which ends with a dot, followed by its path in the model.
    ///
    /// # Errors
    ///
    /// Errors of the framework.
    fn save_tensors(&self, prefix: &str, tensors: &mut Tensors) -> Result<(), CheckpointError>;

    /// Reads all tensors by name, and checks that they have the types and shapes of this model.
    ///
    /// # Errors
    ///
    /// A tensor is missing, or has another type or shape.
    fn check_tensors(&self, prefix: &str, saved: &mut SavedTensors) -> Result<(), CheckpointError>;

    /// Loads the values of all tensors. [`check_tensors`](Self::check_tensors) has accepted them, so this cannot fail.
    fn load_tensors(&mut self, prefix: &str, saved: &mut SavedTensors);
}

/// An optimizer whose whole state can be saved: everything except its tensors, which belong to [`SavedWith`].
#[diagnostic::on_unimplemented(
    message = "the state of `{Self}` cannot be saved",
    note = "of dfdx, use `Adam`, `Sgd` or `RMSprop` of `cyclic_optim`: the moments of dfdx's own optimizers are private"
)]
pub trait SavedOptimizer: Hyperparameters {
    /// The name of the kind of optimizer in the file. A run is restored only to an optimizer of the same kind.
    const KIND: &'static str;

    /// The hyper-parameters. A run is restored only to an optimizer with the same values. Only scheduled ones may differ:
    /// the learning rate (`lr`), the momentum (`momentum` or `beta1`), `weight_decay`, `beta2` (also `alpha` or `rho`),
    /// `eps`.
    fn hyperparameters(&self) -> Map<String, Value>;

    /// The count of updates, and other numbers of the optimizer that are neither hyper-parameters nor tensors.
    fn steps(&self) -> Steps;
}

/// An optimizer whose tensors can be saved together with a model `M` of the framework `F`.
///
/// [`SavedModel`] has an example.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be saved with this model",
    note = "of dfdx, use `Adam`, `Sgd` or `RMSprop` of `cyclic_optim`: the moments of dfdx's own optimizers are private"
)]
pub trait SavedWith<M, F>: SavedOptimizer + Sized {
    /// Adds the tensors of `model` under the prefix [`MODEL`], and those of the optimizer under [`OPTIMIZER`], in any order.
    ///
    /// # Errors
    ///
    /// Errors of the framework.
    fn save_run(&self, model: &M, tensors: &mut Tensors) -> Result<(), CheckpointError>;

    /// Returns an optimizer with the present hyper-parameters and the saved state.
    ///
    /// # Errors
    ///
    /// A tensor is missing, or has another type or shape; errors of the framework.
    fn load_state(&self, model: &M, steps: Steps, saved: &mut SavedTensors) -> Result<Self, CheckpointError>;
}

/// The state of an optimizer besides its hyper-parameters and its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Steps {
    /// The optimizer's own count of updates; 0 if it does not count.
    pub made: u64,
    /// Whether an update has found a gradient for every parameter.
    pub complete: bool,
    /// A number that the optimizer carries from update to update, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried: Option<f64>,
    /// The product of all beta1 so far; only with exact bias correction. It is saved as the product before the last value of
    /// beta1, that value, and the number of updates with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub betas: Option<(f64, f64, i32)>,
    /// Whether the optimizer has made an update. Before the first one it fits every model.
    #[serde(skip)]
    pub updated: bool,
}
