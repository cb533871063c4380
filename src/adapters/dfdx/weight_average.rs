//! The average of models.

use core::marker::PhantomData;

use dfdx::dtypes::Dtype;
use dfdx::nn::tensor_collection::TensorCollection;
use dfdx::tensor_ops::Device;

use super::walk::{Item, walk, walk_mut};
use crate::schedule::Schedule;
use crate::{ConfigError, CyclicOptimizer};

/// The running mean of models, parameter by parameter: stochastic weight averaging.
///
/// It stands beside prediction averaging, not in its place: the mean of models from different valleys may be worse than each of
/// them, which [`verdict`](Self::verdict) tells.
///
/// # Formula
///
/// ```text
/// average <- average + (model - average) / n        for the n-th model, in the model's own precision
/// ```
///
/// Batch-norm statistics are averaged as everything else, which is not what they would be; recompute them with
/// [`recompute_batch_norm`](super::recompute_batch_norm).
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
/// P. Izmailov et al., *Averaging Weights Leads to Wider Optima and Better Generalization*, 2018, arXiv:1803.05407.
#[derive(Debug, Clone)]
pub struct WeightAverage<M, E, D> {
    pub(super) average: Option<M>,
    pub(super) models: usize,
    /// The updates that had been made when a cycle was last taken in.
    pub(super) taken_at: Option<u64>,
    of: PhantomData<(E, D)>,
}

impl<M, E, D> Default for WeightAverage<M, E, D> {
    fn default() -> Self {
        Self { average: None, models: 0, taken_at: None, of: PhantomData }
    }
}

/// How an averaged model compares with its parts.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Verdict {
    /// The loss of the average.
    pub average: f64,
    /// The losses of the parts.
    pub parts: Vec<f64>,
}

impl Verdict {
    /// Whether the average is worse than the mean of its parts, or is not a number: then averaging hurts. A part that is not a
    /// number counts as infinitely bad.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a count of models")]
    pub fn hurts(&self) -> bool {
        let parts = self.parts.iter().map(|&part| if part.is_nan() { f64::INFINITY } else { part });
        self.average.is_nan() || self.average > parts.sum::<f64>() / self.parts.len() as f64
    }
}

impl<M: TensorCollection<E, D> + Clone, E: Dtype, D: Device<E>> WeightAverage<M, E, D> {
    /// No models yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on with a mean of so many models that was saved.
    #[must_use]
    pub fn resumed(average: M, models: usize) -> Self {
        Self { average: Some(average), models, ..Self::default() }
    }

    /// Takes another model into the mean. Its tensors have to be contiguous, as those of dfdx's modules are.
    ///
    /// # Errors
    ///
    /// Those of the device. The mean is then as it was.
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
                let share = E::from_usize(models).map_or(E::ONE, |models| E::ONE / models);
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

    /// Takes the model into the mean if the update just made has ended a cycle; says whether it did.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub fn after_update<O, S: Schedule>(
        &mut self,
        optimizer: &CyclicOptimizer<O, S>,
        model: &M,
    ) -> Result<bool, D::Err> {
        // Asked again at the same update, as after a refused one, it has been taken.
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

    /// Compares the mean with the models it was made of, by a loss of the caller's.
    ///
    /// # Errors
    ///
    /// No parts, or no mean.
    pub fn verdict(&self, parts: &[M], mut loss: impl FnMut(&M) -> f64) -> Result<Verdict, ConfigError> {
        let average = self.average.as_ref().filter(|_| !parts.is_empty());
        let average = average.ok_or(ConfigError::Empty { field: "parts" })?;
        Ok(Verdict { average: loss(average), parts: parts.iter().map(loss).collect() })
    }
}
