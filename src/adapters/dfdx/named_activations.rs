//! The activations of a model by name.

use super::watch::{ActivationObserver, WatchActivations};

/// The activations of the `ReLU`s of a model for one input, with dfdx's names, for instance for histograms. The values of a layer
/// are in the order of its output tensor.
///
/// [`ActivationStatistics`](super::ActivationStatistics) sums up the activations of many inputs and does not keep them.
///
/// ```
/// use cyclic_optim::adapters::dfdx::named_activations;
/// use dfdx::prelude::*;
///
/// let device = Cpu::default();
/// let activations = named_activations(&(ReLU, Square, ReLU), device.tensor([[1.0_f32, -2.0], [3.0, 0.5]])).unwrap();
/// assert_eq!(activations[0], ("0".to_string(), vec![1.0, 0.0, 3.0, 0.5]));
/// assert_eq!(activations[1], ("2".to_string(), vec![1.0, 0.0, 9.0, 0.25]));
/// ```
///
/// # Errors
///
/// The model failed.
pub fn named_activations<X, M: WatchActivations<X>>(model: &M, input: X) -> Result<Vec<(String, Vec<f64>)>, M::Error> {
    let mut activations = Vec::new();
    model.try_forward_watched(input, &mut ActivationObserver::new(&mut activations))?;
    Ok(activations)
}
