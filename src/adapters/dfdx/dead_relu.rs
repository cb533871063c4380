//! Units of ReLU layers that never fire.

use core::fmt;

use dfdx::dtypes::Dtype;
use dfdx::shapes::{HasShape, Shape};
use dfdx::tensor::Tensor;
use dfdx::tensor_ops::Device;

use super::watch::{ActivationObserver, WatchActivations};

/// Finds dead units: those whose activation is 0 over a whole set of inputs, so that no gradient ever reaches their weights.
///
/// A unit is a feature of a dense layer or a channel of a convolution. It has fired if any of its activations was above 0; NaN
/// is not. The activations come batch by batch, through [`watch`](Self::watch) from all the `ReLU`s of a dfdx model, or through
/// [`observe`](Self::observe) from wherever the caller has them.
///
/// # Examples
///
/// ```
/// use cyclic_optim::adapters::dfdx::DeadRelus;
/// use dfdx::prelude::*;
///
/// let device = Cpu::default();
/// let mut model = device.build_module::<(Linear<3, 4>, ReLU), f32>();
/// // With such a bias the second unit can never fire.
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
/// keras-contrib's `DeadReluDetector`, which prints layers from a share of 10 % on; here that is
/// [`report_from`](Self::report_from)`(0.1)`. Unlike there, the set may come in any number of batches, and dropout and batch
/// normalisation are as at inference.
#[derive(Debug, Clone, Default)]
pub struct DeadRelus {
    layers: Vec<(String, Vec<bool>)>,
}

/// What was found of one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLayer {
    /// The layer's name: its path in the model, as dfdx names it, or what the caller called it.
    pub layer: String,
    /// The units that never fired, counted from 0.
    pub dead: Vec<usize>,
    /// The number of units.
    pub units: usize,
}

impl DeadLayer {
    /// The share of the units that is dead.
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
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `input` through `model` as `model.try_forward` does, and looks at the output of each `ReLU` on the way.
    ///
    /// # Errors
    ///
    /// Those of the model.
    pub fn watch<X, M: WatchActivations<X>>(&mut self, model: &M, input: X) -> Result<M::Output, M::Error> {
        model.try_forward_watched(input, &mut ActivationObserver::new(self))
    }

    /// Looks at activations of a layer. Their units lie along axis 1 of a batch of features or of images (rank 2 and 4), along
    /// the last axis otherwise; see [`observe_axis`](Self::observe_axis) for any other.
    pub fn observe<S: Shape, E: Dtype, D: Device<E>, T>(&mut self, layer: &str, activations: &Tensor<S, E, D, T>) {
        let axis = if S::NUM_DIMS == 4 { 1 } else { S::NUM_DIMS.saturating_sub(1) };
        self.observe_axis(layer, activations, axis);
    }

    /// Looks at activations of a layer whose units lie along `axis`. An axis that the tensor does not have means that all of it
    /// is one unit.
    pub fn observe_axis<S: Shape, E: Dtype, D: Device<E>, T>(
        &mut self,
        layer: &str,
        activations: &Tensor<S, E, D, T>,
        axis: usize,
    ) {
        let shape: Vec<usize> = activations.shape().concrete().into();
        let units = shape.get(axis).copied().unwrap_or(1);
        let after = shape.iter().skip(axis + 1).product::<usize>().max(1);
        let known = self.layers.iter().position(|(name, _)| name == layer);
        let known = known.unwrap_or_else(|| {
            self.layers.push((layer.into(), Vec::new()));
            self.layers.len() - 1
        });
        let fired = &mut self.layers[known].1;
        // A layer without a fixed number of units may show more of them later.
        fired.resize(fired.len().max(units), false);
        let whole = if axis < shape.len() { after } else { usize::MAX };
        for (place, value) in activations.as_vec().into_iter().enumerate() {
            if value > E::default() {
                fired[place / whole % units] = true;
            }
        }
    }

    /// What was found of every layer, in the order in which they were seen.
    #[must_use]
    pub fn report(&self) -> Vec<DeadLayer> {
        let layer = |(layer, fired): &(String, Vec<bool>)| DeadLayer {
            layer: layer.clone(),
            dead: (0..fired.len()).filter(|&unit| !fired[unit]).collect(),
            units: fired.len(),
        };
        self.layers.iter().map(layer).collect()
    }

    /// What was found of the layers of which at least `share` is dead.
    #[must_use]
    pub fn report_from(&self, share: f64) -> Vec<DeadLayer> {
        self.report().into_iter().filter(|layer| layer.share() >= share).collect()
    }

    /// Forgets what was seen: at the beginning of each epoch, or the report would be about the whole run.
    pub fn reset(&mut self) {
        self.layers.clear();
    }
}
