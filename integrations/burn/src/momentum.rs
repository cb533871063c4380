//! An optimizer whose momentum a scheduler cycles.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use burn_core::tensor::{Device, Tensor};
use burn_optim::{LearningRate, Optimizer};

/// The momentum of the coming update, shared by a scheduler and its optimizer. A NaN stands for none.
#[derive(Debug, Clone)]
pub(crate) struct MomentumCell(Arc<AtomicU64>);

impl Default for MomentumCell {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(f64::NAN.to_bits())))
    }
}

impl MomentumCell {
    pub(crate) fn set(&self, momentum: Option<f64>) {
        self.0.store(momentum.unwrap_or(f64::NAN).to_bits(), Ordering::Release);
    }

    fn get(&self) -> Option<f64> {
        let momentum = f64::from_bits(self.0.load(Ordering::Acquire));
        (!momentum.is_nan()).then_some(momentum)
    }
}

/// An optimizer of burn that is made anew for each update, with the momentum of that update.
///
/// [`ClrScheduler::with_optimizer`](crate::ClrScheduler::with_optimizer) makes it. The moments lie outside of it, in burn's
/// `ModuleOptimizer`, and have the type of the optimizer inside: records of one can be loaded into the other.
#[derive(Clone)]
pub struct CycledMomentum<F> {
    build: F,
    momentum: MomentumCell,
}

impl<F> CycledMomentum<F> {
    pub(crate) fn new(build: F, momentum: MomentumCell) -> Self {
        Self { build, momentum }
    }

    /// The momentum of the update that was scheduled last, or of the first one; `None` if momentum is not cycled.
    #[must_use]
    pub fn momentum(&self) -> Option<f64> {
        self.momentum.get()
    }
}

impl<F> fmt::Debug for CycledMomentum<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CycledMomentum").field("momentum", &self.momentum()).finish_non_exhaustive()
    }
}

impl<F, O> Optimizer for CycledMomentum<F>
where
    F: Fn(Option<f64>) -> O + Clone + Send + Sync + 'static,
    O: Optimizer,
{
    type State<const D: usize> = O::State<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        (self.build)(self.momentum()).step(lr, tensor, gradient, state)
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        O::to_device(state, device)
    }
}
