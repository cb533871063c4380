//! Weight averaging.

use core::marker::PhantomData;

use dfdx::dtypes::Dtype;
use dfdx::nn::tensor_collection::TensorCollection;
use dfdx::tensor_ops::Device;

use super::walk::{Item, walk, walk_mut};
use crate::check;
use crate::error::ConfigError;
use crate::optimizer::CyclicOptimizer;
use crate::schedule::Schedule;

/// The running mean of models, parameter by parameter: stochastic weight averaging, or an exponential moving average (EMA).
///
/// The mean of models from different minima can be worse than each of them; [`verdict`](Self::verdict) measures that.
/// [`SnapshotEnsemble`](super::SnapshotEnsemble) averages predictions instead.
///
/// # Formula
///
/// ```text
/// average <- average + (model - average) / n              new: the mean of all models, for the n-th
/// average <- average + (model - average) (1 - decay)      exponential: recent models weigh more
/// ```
///
/// Both start with a copy of the first model and calculate in the precision of the model. For stochastic weight averaging
/// add the model at the end of each cycle ([`after_update`](Self::after_update)), for an EMA after each update
/// ([`add`](Self::add)).
///
/// The statistics of batch normalisation are averaged, too, but averaged statistics are wrong for averaged weights.
/// Recompute them with [`recompute_batch_norm`](super::recompute_batch_norm).
///
/// # Examples
///
/// ```
/// use cyclic_optim::adapters::dfdx::WeightAverage;
/// use dfdx::prelude::*;
///
/// let device = Cpu::default();
/// let mut average = WeightAverage::<_, f32, Cpu>::new();
/// for value in [1.0, 2.0, 6.0] {
///     let model: Tensor<Rank0, f32, _> = device.tensor(value);
///     average.add(&model)?;
/// }
/// assert_eq!((average.model().unwrap().array(), average.models()), (3.0, 3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # References
///
/// P. Izmailov et al., *Averaging Weights Leads to Wider Optima and Better Generalization*, 2018, arXiv:1803.05407. Keras'
/// `use_ema` and PyTorch's `AveragedModel` with `get_ema_multi_avg_fn` have the same exponential mean.
#[derive(Debug, Clone)]
pub struct WeightAverage<M, E, D> {
    weighting: Weighting,
    pub(super) average: Option<M>,
    pub(super) models: usize,
    /// The number of updates at the last model that was added at the end of a cycle.
    pub(super) taken_at: Option<u64>,
    of: PhantomData<(E, D)>,
}

impl<M, E, D> Default for WeightAverage<M, E, D> {
    fn default() -> Self {
        Self { weighting: Weighting::Equal, average: None, models: 0, taken_at: None, of: PhantomData }
    }
}

/// The weights of the models in the mean.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Weighting {
    /// All models have the same weight.
    Equal,
    /// Each model has a smaller weight than the next.
    Exponential { decay: f64, warmup: bool },
}

impl Weighting {
    /// The weight of the next model, if there are `models` in the mean.
    #[expect(clippy::cast_precision_loss, reason = "a count of models")]
    fn share<E: Dtype>(self, models: usize) -> E {
        match self {
            Self::Equal => E::from_usize(models + 1).map_or(E::ONE, |models| E::ONE / models),
            Self::Exponential { decay, warmup } => {
                let most = if warmup { (1.0 + models as f64) / (10.0 + models as f64) } else { 1.0 };
                E::from_f64(1.0 - decay.min(most)).unwrap_or(E::ONE)
            }
        }
    }
}

impl<M, E, D> WeightAverage<M, E, D> {
    /// An empty exponential mean. `decay` is the weight of the past; its default is 0.99 in Keras and 0.999 in PyTorch.
    ///
    /// ```
    /// use cyclic_optim::adapters::dfdx::WeightAverage;
    /// use dfdx::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let mut average = WeightAverage::<_, f32, Cpu>::exponential(0.5)?;
    /// for value in [1.0, 2.0, 6.0] {
    ///     let model: Tensor<Rank0, f32, _> = device.tensor(value);
    ///     average.add(&model)?;
    /// }
    /// assert_eq!(average.model().unwrap().array(), 3.75);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A decay outside [0, 1).
    pub fn exponential(decay: f64) -> Result<Self, ConfigError> {
        check::weight("decay", decay)?;
        Ok(Self { weighting: Weighting::Exponential { decay, warmup: false }, ..Self::default() })
    }

    /// Begins with a smaller decay, so that the first models soon lose their weight: `min(decay, (1 + n) / (10 + n))` with n
    /// models in the mean, as in TensorFlow's `ExponentialMovingAverage`. Has no effect on a mean of equal weights.
    #[must_use]
    pub fn with_warmup(mut self) -> Self {
        if let Weighting::Exponential { warmup, .. } = &mut self.weighting {
            *warmup = true;
        }
        self
    }

    /// Whether recent models have more weight.
    #[cfg(feature = "checkpoint")]
    pub(super) fn is_exponential(&self) -> bool {
        self.weighting != Weighting::Equal
    }
}

/// The losses of an averaged model and of the models it was made of.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
#[non_exhaustive]
pub struct Verdict {
    /// The loss of the average.
    pub average: f64,
    /// The losses of the models.
    pub parts: Vec<f64>,
}

impl Verdict {
    /// Whether the loss of the average is NaN, or above the mean loss of the models. A model with a loss of NaN counts
    /// as one with an infinite loss.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a count of models")]
    pub fn hurts(&self) -> bool {
        let parts = self.parts.iter().map(|&part| if part.is_nan() { f64::INFINITY } else { part });
        self.average.is_nan() || self.average > parts.sum::<f64>() / self.parts.len() as f64
    }
}

impl<M: TensorCollection<E, D> + Clone, E: Dtype, D: Device<E>> WeightAverage<M, E, D> {
    /// An empty mean, in which all models will have the same weight.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Continues a saved mean of `models` models, all of the same weight.
    #[must_use]
    pub fn resumed(average: M, models: usize) -> Self {
        Self { average: Some(average), models, ..Self::default() }
    }

    /// Adds a model to the mean. Its tensors must be contiguous, as those of dfdx's modules are.
    ///
    /// # Errors
    ///
    /// The device failed. The mean has not changed then.
    pub fn add(&mut self, model: &M) -> Result<(), D::Err> {
        let models = self.models + 1;
        let average = match &self.average {
            None => model.clone(),
            Some(average) => {
                let mut values = Vec::new();
                walk::<_, E, D, D::Err>(model, |_, item| {
                    if let Item::Tensor { tensor, .. } = item {
                        values.push(tensor.values());
                    }
                    Ok(())
                })?;
                let mut values = values.into_iter();
                let mut average = average.clone();
                let share: E = self.weighting.share(self.models);
                walk_mut::<_, E, D, D::Err>(&mut average, |_, item| {
                    if let (Item::Tensor { tensor, .. }, Some(towards)) = (item, values.next()) {
                        let mut numbers = tensor.values();
                        for (number, towards) in numbers.iter_mut().zip(towards) {
                            *number += (towards - *number) * share;
                        }
                        tensor.set(&numbers);
                    }
                    Ok(None)
                })?;
                average
            }
        };
        (self.average, self.models) = (Some(average), models);
        Ok(())
    }

    /// Adds the model to the mean if the last update ended a cycle. Returns whether it did.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub fn after_update<O, S: Schedule>(
        &mut self,
        optimizer: &CyclicOptimizer<O, S>,
        model: &M,
    ) -> Result<bool, D::Err> {
        // After a refused update this is called again for the same update.
        let take = optimizer.at_cycle_end() && self.taken_at != Some(optimizer.iterations());
        if take {
            self.add(model)?;
            self.taken_at = Some(optimizer.iterations());
        }
        Ok(take)
    }

    /// The number of models in the mean.
    #[must_use]
    pub fn models(&self) -> usize {
        self.models
    }

    /// The mean; `None` before the first model.
    #[must_use]
    pub fn model(&self) -> Option<&M> {
        self.average.as_ref()
    }

    /// Compares the mean with the models it was made of. `loss` evaluates a model.
    ///
    /// # Errors
    ///
    /// `parts` is empty, or there is no mean yet.
    pub fn verdict(&self, parts: &[M], mut loss: impl FnMut(&M) -> f64) -> Result<Verdict, ConfigError> {
        let average = self.average.as_ref().filter(|_| !parts.is_empty());
        let average = average.ok_or(ConfigError::Empty { field: "parts" })?;
        Ok(Verdict { average: loss(average), parts: parts.iter().map(loss).collect() })
    }
}
