//! Snapshot ensembles.

use dfdx::dtypes::Dtype;
use dfdx::nn::{Module, modules};
use dfdx::shapes::Shape;
use dfdx::tensor::Tensor;
use dfdx::tensor_ops::{Device, TryAdd, TryMul};
use thiserror::Error;

use crate::optimizer::CyclicOptimizer;
use crate::schedule::Schedule;

/// An ensemble could not predict.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EnsembleError<Err> {
    /// The ensemble has no models.
    #[error("the ensemble is empty: no cycle has ended yet")]
    Empty,
    /// 0 snapshots, or more than the ensemble has, were asked for.
    #[error("{asked} snapshots were asked for, and the ensemble has {held}")]
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

/// A snapshot ensemble: copies of the model from the ends of cycles, whose class probabilities are averaged.
///
/// A snapshot is taken after the update that ends a cycle, when the rate is at its minimum. The schedule
/// [`WarmRestarts::snapshots`](crate::WarmRestarts::snapshots) has one cycle for each snapshot, even if the number of updates
/// is not a multiple of the number of snapshots.
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
/// `SnapshotCallbackBuilder` takes 7 snapshots in this example instead of 5, and does not average predictions.
#[derive(Debug, Clone)]
pub struct SnapshotEnsemble<M> {
    pub(super) snapshots: Vec<M>,
    /// The number of updates at the last snapshot that was taken at the end of a cycle.
    pub(super) taken_at: Option<u64>,
}

impl<M> Default for SnapshotEnsemble<M> {
    fn default() -> Self {
        Self { snapshots: Vec::new(), taken_at: None }
    }
}

impl<M: Clone> SnapshotEnsemble<M> {
    /// An ensemble without snapshots.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a snapshot if the last update ended a cycle, and returns its number, counted from 0. Otherwise returns `None`.
    /// A second call after the same update replaces that snapshot.
    pub fn after_update<O, S: Schedule>(&mut self, optimizer: &CyclicOptimizer<O, S>, model: &M) -> Option<usize> {
        if !optimizer.at_cycle_end() {
            return None;
        }
        if self.taken_at.replace(optimizer.iterations()) == Some(optimizer.iterations()) {
            self.snapshots.pop();
        }
        Some(self.push(model.clone()))
    }

    /// Adds a model, for instance from a file, and returns its number, counted from 0.
    pub fn push(&mut self, model: M) -> usize {
        self.snapshots.push(model);
        self.snapshots.len() - 1
    }

    /// The models, oldest first.
    #[must_use]
    pub fn snapshots(&self) -> &[M] {
        &self.snapshots
    }

    /// The class probabilities of `input`: the mean, over the last `last` snapshots, of the softmax of their logits along the
    /// last axis.
    ///
    /// # Errors
    ///
    /// There are no snapshots, `last` is 0 or more than there are, or a model failed.
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
