//! Mean, deviation and zeros of the activations of each layer.

use core::fmt;

use dfdx::dtypes::Dtype;
use dfdx::shapes::Shape;
use dfdx::tensor::Tensor;
use dfdx::tensor_ops::Device;

use super::watch::{ActivationObserver, WatchActivations, doubles};
use crate::check;
use crate::error::ConfigError;
use crate::numeric;

/// The statistics of the activations of each layer over a set of inputs: mean, standard deviation, share of zeros.
///
/// A network that trains well has means and deviations that change slowly and are similar from layer to layer. A deviation
/// that collapses while the share of zeros rises is a sign of a rate that was too high. [`DeadRelus`](super::DeadRelus)
/// names the units that are always 0.
///
/// Show it the inputs batch by batch: [`watch`](Self::watch) runs a dfdx model and looks at all its `ReLU`s,
/// [`observe`](Self::observe) takes activations from anywhere. The result is the same as for one batch with all the inputs,
/// whatever the sizes of the batches.
///
/// # Formula
///
/// Over the `n` activations `x` of a layer, in f64:
///
/// ```text
/// mean               = sum of x / n
/// standard deviation = sqrt(sum of (x - mean)^2 / n)
/// zeros              = number of |x| <= near_zero / n                      near_zero is 0 unless it is set
/// ```
///
/// Batches are merged by the formula of Chan et al., which does not cancel as sums of squares do:
///
/// ```text
/// d = mean_b - mean_a;   mean = mean_a + d n_b / n;   m2 = m2_a + m2_b + d^2 n_a n_b / n;   n = n_a + n_b
/// ```
///
/// A NaN makes mean and deviation of its layer NaN. An infinity makes the mean infinite, and the deviation NaN.
///
/// # Examples
///
/// ```
/// use cyclic_optim::adapters::dfdx::ActivationStatistics;
/// use cyclic_optim::history::Recorder;
/// use cyclic_optim::History;
/// use dfdx::prelude::*;
///
/// let device = Cpu::default();
/// let model = (ReLU, Square, ReLU);
/// let mut statistics = ActivationStatistics::new();
/// for batch in [[[1.0_f32, -1.0]], [[3.0, -2.0]]] {
///     statistics.watch(&model, device.tensor(batch)).unwrap();
/// }
/// let layers = statistics.report();
/// assert_eq!((layers[0].layer.as_str(), layers[0].mean, layers[0].zeros), ("0", 1.0, 0.5)); // of 1, 0, 3 and 0
/// assert_eq!(layers[1].to_string(), "layer 2: mean 2.5000, standard deviation 3.7749, zeros 50.0 %");
///
/// let mut history = History::new();
/// let metrics = statistics.metrics();
/// let metrics: Vec<(&str, f64)> = metrics.iter().map(|(name, value)| (name.as_str(), *value)).collect();
/// history.epoch(0, &metrics)?;
/// assert_eq!(history.epochs().values("activation_mean/2").unwrap(), [2.5]);
/// # Ok::<(), cyclic_optim::history::RecordError>(())
/// ```
///
/// # References
///
/// fastai's `ActivationStats`, which looks at every training batch separately, divides by n - 1, and counts activations of
/// at most 0.05 as near zero: [`with_near_zero`](Self::with_near_zero)`(0.05)` here.
///
/// T. F. Chan et al., *Updating Formulae and a Pairwise Algorithm for Computing Sample Variances*, 1979.
#[derive(Debug, Clone, Default)]
pub struct ActivationStatistics {
    near_zero: f64,
    layers: Vec<(String, Moments)>,
}

/// The statistics of one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerStatistics {
    /// The name of the layer: dfdx's path in the model, or the name given to [`observe`](ActivationStatistics::observe).
    pub layer: String,
    /// The mean activation.
    pub mean: f64,
    /// The standard deviation of the activations.
    pub standard_deviation: f64,
    /// The share of the activations that are 0, or near it, from 0 to 1.
    pub zeros: f64,
    /// The number of activations: inputs times units.
    pub activations: u64,
}

impl fmt::Display for LayerStatistics {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { layer, mean, standard_deviation, zeros, .. } = self;
        let percent = 100.0 * zeros;
        write!(f, "layer {layer}: mean {mean:.4}, standard deviation {standard_deviation:.4}, zeros {percent:.1} %")
    }
}

impl ActivationStatistics {
    /// Statistics of no activations, in which only 0 itself counts as zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts activations of at most `near_zero` in size as zeros.
    ///
    /// # Errors
    ///
    /// A number that is negative or not finite.
    pub fn with_near_zero(mut self, near_zero: f64) -> Result<Self, ConfigError> {
        check::non_negative("near_zero", near_zero)?;
        self.near_zero = near_zero;
        Ok(self)
    }

    /// Runs `model.try_forward(input)` and looks at the output of each `ReLU`.
    ///
    /// # Errors
    ///
    /// The model failed.
    pub fn watch<X, M: WatchActivations<X>>(&mut self, model: &M, input: X) -> Result<M::Output, M::Error> {
        model.try_forward_watched(input, &mut ActivationObserver::new(self))
    }

    /// Looks at activations of a layer, in tensors of any shape. A tensor without elements changes nothing.
    pub fn observe<S: Shape, E: Dtype, D: Device<E>, T>(&mut self, layer: &str, activations: &Tensor<S, E, D, T>) {
        let values = doubles(activations);
        if values.is_empty() {
            return;
        }
        let batch = Moments::of(&values, self.near_zero);
        match self.layers.iter_mut().find(|(name, _)| name == layer) {
            Some((_, moments)) => moments.merge(&batch),
            None => self.layers.push((layer.into(), batch)),
        }
    }

    /// The statistics of all layers, in the order in which the layers were first seen.
    #[must_use]
    pub fn report(&self) -> Vec<LayerStatistics> {
        let layer = |(layer, moments): &(String, Moments)| LayerStatistics {
            layer: layer.clone(),
            mean: moments.mean,
            standard_deviation: (moments.squares / numeric::float(moments.count)).sqrt(),
            zeros: numeric::fraction(moments.zeros, moments.count),
            activations: moments.count,
        };
        self.layers.iter().map(layer).collect()
    }

    /// The statistics as metrics of an epoch, for any [`Recorder`](crate::history::Recorder): `activation_mean/<layer>`,
    /// `activation_std/<layer>` and `activation_zeros/<layer>` of each layer.
    #[must_use]
    pub fn metrics(&self) -> Vec<(String, f64)> {
        let of_layer = |layer: LayerStatistics| {
            let values = [("mean", layer.mean), ("std", layer.standard_deviation), ("zeros", layer.zeros)];
            values.map(|(name, value)| (format!("activation_{name}/{}", layer.layer), value))
        };
        self.report().into_iter().flat_map(of_layer).collect()
    }

    /// Forgets all activations. Call it at the start of each epoch for the statistics of that epoch alone.
    pub fn reset(&mut self) {
        self.layers.clear();
    }
}

/// What is known of a number of activations.
#[derive(Debug, Clone)]
struct Moments {
    count: u64,
    mean: f64,
    /// The sum of the squares of the distances from the mean.
    squares: f64,
    zeros: u64,
}

impl Moments {
    /// Of at least one value.
    fn of(values: &[f64], near_zero: f64) -> Self {
        let count = values.len() as u64;
        let mean = values.iter().sum::<f64>() / numeric::float(count);
        let squares = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        let zeros = values.iter().filter(|value| value.abs() <= near_zero).count() as u64;
        Self { count, mean, squares, zeros }
    }

    fn merge(&mut self, other: &Self) {
        let count = self.count + other.count;
        let (distance, share) = (other.mean - self.mean, numeric::fraction(other.count, count));
        // The distance from an infinite mean would make the mean NaN.
        self.mean = if distance.is_finite() {
            self.mean + distance * share
        } else {
            self.mean * (1.0 - share) + other.mean * share
        };
        self.squares += other.squares + distance * distance * numeric::float(self.count) * share;
        self.count = count;
        self.zeros += other.zeros;
    }
}
