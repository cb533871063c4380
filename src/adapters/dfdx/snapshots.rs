//! Models at the ends of cycles: ensembles of their predictions, and their average.

use core::convert::Infallible;
use core::marker::PhantomData;

use dfdx::dtypes::Dtype;
use dfdx::nn::tensor_collection::{
    RecursiveWalker, ScalarOptions, TensorCollection, TensorOptions, TensorVisitor, ViewTensorMut, ViewTensorName,
    ViewTensorRef,
};
use dfdx::nn::{Module, modules};
use dfdx::shapes::Shape;
use dfdx::tensor::Tensor;
use dfdx::tensor_ops::{Device, TryAdd, TryMul};
use num_traits::NumCast;
use thiserror::Error;

use crate::schedule::Schedule;
use crate::{ConfigError, CyclicOptimizer, check};

/// A prediction that cannot be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EnsembleError<Err> {
    /// There are no models to predict with.
    #[error("the ensemble is empty: no cycle has ended yet")]
    Empty,
    /// No models, or more than there are, were asked for.
    #[error("{asked} of {held} snapshots were asked for")]
    Number {
        /// The number asked for.
        asked: usize,
        /// The number held.
        held: usize,
    },
    /// A model failed.
    #[error("a model failed: {0:?}")]
    Model(Err),
}

/// The models at the ends of cycles, whose class probabilities are averaged: a snapshot ensemble.
///
/// A snapshot is taken after the update that ends a cycle, when the rate is at its minimum. The schedule
/// [`WarmRestarts::snapshots`](crate::WarmRestarts::snapshots) makes just as many cycles as there are to be snapshots, whether
/// or not their number divides that of the updates.
///
/// # Examples
///
/// ```
/// use cyclic_optim::adapters::dfdx::SnapshotEnsemble;
/// use cyclic_optim::{CyclicOptimizer, Sgd, WarmRestarts};
/// use dfdx::prelude::*;
///
/// let device = Cpu::default();
/// let x: Tensor<Rank2<6, 2>, f32, _> = device.sample_normal();
/// let mut model = device.build_module::<builders::Linear<2, 3>, f32>();
/// let mut optimizer = CyclicOptimizer::new(Sgd::default(), WarmRestarts::snapshots(0.1, 14, 5)?);
/// let mut ensemble = SnapshotEnsemble::new();
/// for _ in 0..14 {
///     let grads = model.forward(x.leaky_trace()).square().mean().backward();
///     optimizer.update(&mut model, &grads)?;
///     ensemble.after_update(&optimizer, &model);
/// }
/// assert_eq!(ensemble.snapshots().len(), 5);
/// let probabilities = ensemble.predict(3, &x)?; // the mean of the last 3
/// assert!(probabilities.sum::<_, Axis<1>>().array().iter().all(|sum| (sum - 1.0).abs() < 1e-6));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # References
///
/// G. Huang et al., *Snapshot Ensembles: Train 1, get M for free*, 2017, arXiv:1704.00109. keras-contrib's
/// `SnapshotCallbackBuilder` takes the snapshots, of which it makes 7 instead of 5 here, and does not average them.
#[derive(Debug, Clone)]
pub struct SnapshotEnsemble<M> {
    snapshots: Vec<M>,
}

impl<M> Default for SnapshotEnsemble<M> {
    fn default() -> Self {
        Self { snapshots: Vec::new() }
    }
}

impl<M: Clone> SnapshotEnsemble<M> {
    /// No snapshots yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a snapshot if the update just made has ended a cycle; returns its number, counted from 0. The place to write it
    /// to a file, too.
    pub fn after_update<O, S: Schedule>(&mut self, optimizer: &CyclicOptimizer<O, S>, model: &M) -> Option<usize> {
        optimizer.at_cycle_end().then(|| self.push(model.clone()))
    }

    /// Adds a model, for instance one read from a file; returns its number, counted from 0.
    pub fn push(&mut self, model: M) -> usize {
        self.snapshots.push(model);
        self.snapshots.len() - 1
    }

    /// The models, the oldest first.
    #[must_use]
    pub fn snapshots(&self) -> &[M] {
        &self.snapshots
    }

    /// The class probabilities of `input`, averaged over the last `last` snapshots: the mean of the softmax of their logits,
    /// over the last axis.
    ///
    /// # Errors
    ///
    /// No snapshots, none or more than there are asked for, and those of the models.
    pub fn predict<X, S, E, D>(&self, last: usize, input: &X) -> Result<Tensor<S, E, D>, EnsembleError<D::Err>>
    where
        X: Clone,
        S: Shape,
        E: Dtype,
        D: Device<E>,
        M: Module<X, Output = Tensor<S, E, D>, Error = D::Err>,
        modules::Softmax: Module<Tensor<S, E, D>, Output = Tensor<S, E, D>, Error = D::Err>,
    {
        let held = self.snapshots.len();
        if held == 0 {
            return Err(EnsembleError::Empty);
        }
        if last == 0 || last > held {
            return Err(EnsembleError::Number { asked: last, held });
        }
        let mut sum: Option<Tensor<S, E, D>> = None;
        for model in &self.snapshots[held - last..] {
            let logits = model.try_forward(input.clone()).map_err(EnsembleError::Model)?;
            let probabilities = modules::Softmax.try_forward(logits).map_err(EnsembleError::Model)?;
            sum = Some(match sum {
                None => probabilities,
                Some(sum) => sum.try_add(probabilities).map_err(EnsembleError::Model)?,
            });
        }
        let share = E::from_usize(last).map_or(E::ONE, |last| E::ONE / last);
        sum.map_or(Err(EnsembleError::Empty), |sum| sum.try_mul(share).map_err(EnsembleError::Model))
    }
}

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
/// [`recompute_batch_norm`].
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
    average: Option<M>,
    models: usize,
    of: PhantomData<(E, D)>,
}

impl<M, E, D> Default for WeightAverage<M, E, D> {
    fn default() -> Self {
        Self { average: None, models: 0, of: PhantomData }
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
    /// Whether the average is worse than the mean of its parts, or is not a number: then averaging hurts.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a count of models")]
    pub fn hurts(&self) -> bool {
        let mean = self.parts.iter().sum::<f64>() / self.parts.len() as f64;
        self.average > mean || (self.average - mean).is_nan()
    }
}

impl<M: TensorCollection<E, D> + Clone, E: Dtype, D: Device<E>> WeightAverage<M, E, D> {
    /// No models yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes another model into the mean.
    ///
    /// # Errors
    ///
    /// Those of the device. The mean is then as it was.
    pub fn add(&mut self, model: &M) -> Result<(), D::Err> {
        let models = self.models + 1;
        let average = match &self.average {
            None => model.clone(),
            Some(average) => {
                let mut numbers = Numbers { values: Vec::new() };
                M::iter_tensors(&mut RecursiveWalker { m: model, f: &mut numbers })?;
                let mut average = average.clone();
                let share = E::from_usize(models).map_or(E::ONE, |models| E::ONE / models);
                let mut towards = Towards { values: numbers.values.into_iter(), share };
                M::iter_tensors(&mut RecursiveWalker { m: &mut average, f: &mut towards })?;
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
        if optimizer.at_cycle_end() {
            self.add(model)?;
        }
        Ok(optimizer.at_cycle_end())
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

/// The numbers of all tensors, in the order in which they are visited.
struct Numbers<E> {
    values: Vec<Vec<E>>,
}

impl<E: Dtype, D: Device<E>> TensorVisitor<E, D> for Numbers<E> {
    type Viewer = ViewTensorRef;
    type Err = D::Err;
    type E2 = E;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        _: TensorOptions<S, E, D>,
        tensor: &Tensor<S, E, D>,
    ) -> Result<Option<Tensor<S, E, D>>, D::Err> {
        self.values.push(tensor.as_vec());
        Ok(None)
    }

    fn visit_scalar<N: NumCast>(&mut self, _: ScalarOptions<N>, _: &N) -> Result<Option<N>, D::Err> {
        Ok(None)
    }
}

/// Moves every tensor by a share of the way towards others.
struct Towards<E> {
    values: std::vec::IntoIter<Vec<E>>,
    share: E,
}

impl<E: Dtype, D: Device<E>> TensorVisitor<E, D> for Towards<E> {
    type Viewer = ViewTensorMut;
    type Err = D::Err;
    type E2 = E;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        _: TensorOptions<S, E, D>,
        tensor: &mut Tensor<S, E, D>,
    ) -> Result<Option<Tensor<S, E, D>>, D::Err> {
        let mut numbers = tensor.as_vec();
        for (number, towards) in numbers.iter_mut().zip(self.values.next().unwrap_or_default()) {
            *number += (towards - *number) * self.share;
        }
        tensor.copy_from(&numbers);
        Ok(None)
    }

    fn visit_scalar<N: NumCast>(&mut self, _: ScalarOptions<N>, _: &mut N) -> Result<Option<N>, D::Err> {
        Ok(None)
    }
}

/// Computes the running statistics of batch normalisation anew, as the plain means over the batches.
///
/// `forward` runs one batch through the model as in training (`model.forward_mut(batch.leaky_traced())`), and nothing else; no
/// parameter is changed. A model without batch normalisation stays as it is.
///
/// # Errors
///
/// No batches, and those of the device.
pub fn recompute_batch_norm<M, B, E, D>(
    model: &mut M,
    batches: impl IntoIterator<Item = B>,
    mut forward: impl FnMut(&mut M, B),
) -> Result<(), ConfigError>
where
    M: TensorCollection<E, D>,
    E: Dtype,
    D: Device<E>,
{
    // dfdx: running <- running (1 - momentum) + batch momentum. With 1/n for the n-th batch that is their mean.
    let mut saved = BatchNormMomentum { set: None, saved: Vec::new() };
    let mut seen = 0_u32;
    for batch in batches {
        seen += 1;
        let mut momentum = BatchNormMomentum { set: Some(1.0 / <f64 as From<u32>>::from(seen)), saved: Vec::new() };
        let Ok(_) = M::iter_tensors(&mut RecursiveWalker { m: (&mut *model, String::new()), f: &mut momentum });
        if seen == 1 {
            saved.saved = momentum.saved;
        }
        forward(model, batch);
    }
    let Ok(_) = M::iter_tensors(&mut RecursiveWalker { m: (&mut *model, String::new()), f: &mut saved });
    check::length("batches", seen.into())
}

/// Sets the momentum of the running statistics and keeps what it was, or puts back what was saved.
struct BatchNormMomentum {
    set: Option<f64>,
    saved: Vec<f64>,
}

impl<E: Dtype, D: Device<E>> TensorVisitor<E, D> for BatchNormMomentum {
    type Viewer = (ViewTensorMut, ViewTensorName);
    type Err = Infallible;
    type E2 = E;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        _: TensorOptions<S, E, D>,
        _: (&mut Tensor<S, E, D>, String),
    ) -> Result<Option<Tensor<S, E, D>>, Infallible> {
        Ok(None)
    }

    fn visit_scalar<N: NumCast>(
        &mut self,
        _: ScalarOptions<N>,
        (scalar, path): (&mut N, String),
    ) -> Result<Option<N>, Infallible> {
        // Batch normalisation has two scalars: this and epsilon.
        if path == "momentum" || path.ends_with(".momentum") {
            let value = match self.set {
                Some(value) => {
                    self.saved.push(scalar.to_f64().unwrap_or(f64::NAN));
                    Some(value)
                }
                None if self.saved.is_empty() => None,
                None => Some(self.saved.remove(0)),
            };
            if let Some(value) = value.and_then(N::from) {
                *scalar = value;
            }
        }
        Ok(None)
    }
}
