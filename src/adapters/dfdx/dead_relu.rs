//! Dead units of ReLU layers.

use core::fmt;

use dfdx::dtypes::Dtype;
use dfdx::shapes::{HasShape, Shape};
use dfdx::tensor::Tensor;
use dfdx::tensor_ops::Device;

use super::watch::{ActivationObserver, WatchActivations};

/// Finds dead units: units whose activation is 0 for every input of a set, so that no gradient reaches their weights.
///
/// A unit is a feature of a dense layer or a channel of a convolution. It is alive if any of its activations was above 0; NaN
/// is not above 0. Show it the inputs batch by batch: [`watch`](Self::watch) runs a dfdx model and looks at all its `ReLU`s,
/// [`observe`](Self::observe) takes activations from anywhere.
///
/// # Examples
///
/// ```
/// use cyclic_optim::adapters::dfdx::DeadRelus;
/// use dfdx::prelude::*;
///
/// let device = Cpu::default();
/// let mut model = device.build_module::<(Linear<3, 4>, ReLU), f32>();
/// // With this bias the second unit is always 0.
/// model.0.bias = device.tensor([1.0, -1e6, 1.0, 1.0]);
/// let mut detector = DeadRelus::new();
/// for _ in 0..10 {
///     let batch: Tensor<Rank2<5, 3>, f32, _> = device.sample_normal();
///     let output = detector.watch(&model, batch.clone()).unwrap();
///     assert_eq!(output.array(), model.forward(batch).array());
/// }
/// let layers = detector.report();
/// assert_eq!((layers[0].layer.as_str(), &layers[0].dead[..], layers[0].units), ("1", &[1][..], 4));
/// assert_eq!(layers[0].to_string(), "layer 1: 1 of 4 units dead (25.0 %)");
/// ```
///
/// # References
///
/// keras-contrib's `DeadReluDetector`, which prints layers with at least 10 % dead units:
/// [`report_from`](Self::report_from)`(0.1)` here. Unlike there, the inputs may come in any number of batches, and dropout and
/// batch normalisation work as at inference.
#[derive(Debug, Clone, Default)]
pub struct DeadRelus {
    layers: Vec<(String, Vec<bool>)>,
}

/// The dead units of one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLayer {
    /// The name of the layer: dfdx's path in the model, or the name given to [`observe`](DeadRelus::observe).
    pub layer: String,
    /// The dead units, counted from 0.
    pub dead: Vec<usize>,
    /// The number of units.
    pub units: usize,
}

impl DeadLayer {
    /// The share of dead units, from 0 to 1.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of units")]
    pub fn share(&self) -> f64 {
        self.dead.len() as f64 / (self.units.max(1)) as f64
    }
}

impl fmt::Display for DeadLayer {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { layer, dead, units } = self;
        write!(f, "layer {layer}: {} of {units} units dead ({:.1} %)", dead.len(), 100.0 * self.share())
    }
}

impl DeadRelus {
    /// A detector that has seen no input.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `model.try_forward(input)` and looks at the output of each `ReLU`.
    ///
    /// # Errors
    ///
    /// The model failed.
    pub fn watch<X, M: WatchActivations<X>>(&mut self, model: &M, input: X) -> Result<M::Output, M::Error> {
        model.try_forward_watched(input, &mut ActivationObserver::new(self))
    }

    /// Looks at activations of a layer. The units are along axis 1 of tensors of rank 2 and 4 (batches of features and of
    /// images), and along the last axis of all others. For another axis see [`observe_axis`](Self::observe_axis).
    pub fn observe<S: Shape, E: Dtype, D: Device<E>, T>(&mut self, layer: &str, activations: &Tensor<S, E, D, T>) {
        let axis = if S::NUM_DIMS == 4 { 1 } else { S::NUM_DIMS.saturating_sub(1) };
        self.observe_axis(layer, activations, axis);
    }

    /// Looks at activations of a layer whose units are along `axis`. If the tensor has no such axis, it counts as one unit.
    /// A tensor without elements changes nothing.
    pub fn observe_axis<S: Shape, E: Dtype, D: Device<E>, T>(
        &mut self,
        layer: &str,
        activations: &Tensor<S, E, D, T>,
        axis: usize,
    ) {
        let shape: Vec<usize> = activations.shape().concrete().into();
        // dfdx itself cannot read a tensor without elements.
        if shape.contains(&0) {
            return;
        }
        let units = shape.get(axis).copied().unwrap_or(1);
        let after = shape.iter().skip(axis + 1).product::<usize>().max(1);
        let known = self.layers.iter().position(|(name, _)| name == layer);
        let known = known.unwrap_or_else(|| {
            self.layers.push((layer.into(), Vec::new()));
            self.layers.len() - 1
        });
        let fired = &mut self.layers[known].1;
        // The number of units may grow between batches.
        fired.resize(fired.len().max(units), false);
        let whole = if axis < shape.len() { after } else { usize::MAX };
        for (place, value) in activations.as_vec().into_iter().enumerate() {
            if value > E::default() {
                fired[place / whole % units] = true;
            }
        }
    }

    /// The dead units of all layers, in the order in which the layers were first seen.
    #[must_use]
    pub fn report(&self) -> Vec<DeadLayer> {
        let layer = |(layer, fired): &(String, Vec<bool>)| DeadLayer {
            layer: layer.clone(),
            dead: (0..fired.len()).filter(|&unit| !fired[unit]).collect(),
            units: fired.len(),
        };
        self.layers.iter().map(layer).collect()
    }

    /// The layers with a share of dead units of at least `share`, which is from 0 to 1.
    #[must_use]
    pub fn report_from(&self, share: f64) -> Vec<DeadLayer> {
        self.report().into_iter().filter(|layer| layer.share() >= share).collect()
    }

    /// The share of dead units of each layer as a metric of an epoch, `dead_share/<layer>`, for any
    /// [`Recorder`](crate::history::Recorder).
    ///
    /// ```
    /// use cyclic_optim::adapters::dfdx::DeadRelus;
    /// use dfdx::prelude::*;
    ///
    /// let mut detector = DeadRelus::new();
    /// detector.watch(&(ReLU,), Cpu::default().tensor([[1.0_f32, -1.0, -2.0, 0.5]])).unwrap();
    /// assert_eq!(detector.metrics(), [("dead_share/0".to_string(), 0.5)]);
    /// ```
    #[must_use]
    pub fn metrics(&self) -> Vec<(String, f64)> {
        self.report().iter().map(|layer| (format!("dead_share/{}", layer.layer), layer.share())).collect()
    }

    /// Forgets all activations. Call it at the start of each epoch for a report about that epoch alone.
    pub fn reset(&mut self) {
        self.layers.clear();
    }
}
