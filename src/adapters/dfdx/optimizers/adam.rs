//! Adam with a state that can be saved.

use dfdx::dtypes::Dtype;
use dfdx::nn::tensor_collection::TensorCollection;
use dfdx::optim::{AdamConfig, Optimizer, OptimizerUpdateError};
use dfdx::shapes::Shape;
use dfdx::tensor::{Cpu, Gradients, Storage, Tensor};
use dfdx::tensor_ops::Device;

use super::hyper::{Fields, strength};
use super::sweep::{self, Kernel, Pass};
use crate::hyper::Hyper;

/// Adam, or AdamW with decoupled weight decay. It gives the same bits as dfdx's own, needs no model, and is `Send`.
///
/// # Formula
///
/// ```text
/// m <- beta1 m + (1 - beta1) g             v <- beta2 v + (1 - beta2) g^2
/// p <- p - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
/// ```
///
/// The momentum that a schedule cycles is beta1. The bias correction uses the current beta1, as in dfdx and PyTorch, so a
/// falling beta1 makes the first steps of a run somewhat smaller. The count t stops at `i32::MAX`, where the correction has
/// long been 1.
///
/// # Examples
///
/// ```
/// use cyclic_optim::Adam;
/// use dfdx::optim::{AdamConfig, Optimizer};
/// use dfdx::prelude::{AsArray, Backward, Cpu, Rank1, SumTo, Tensor, TensorFrom, Trace};
///
/// let device = Cpu::default();
/// let mut w: Tensor<Rank1<2>, f64, _> = device.tensor([1.0, -1.0]);
/// let mut optimizer = Adam::new(AdamConfig { lr: 0.05, ..Default::default() });
/// for _ in 0..100 {
///     let grads = w.leaky_trace().square().sum().backward();
///     optimizer.update(&mut w, &grads).unwrap();
/// }
/// assert!(w.array()[0].abs() < 0.1);
/// ```
///
/// # References
///
/// D. P. Kingma and J. Ba, *Adam*, 2015, arXiv:1412.6980; dfdx 0.13 `optim::Adam`.
#[derive(Debug, Clone)]
pub struct Adam<E = f32, D: Storage<E> = Cpu> {
    /// The hyper-parameters. Each update reads them.
    pub cfg: AdamConfig,
    pub(in crate::adapters::dfdx) t: i32,
    pub(in crate::adapters::dfdx) moment1: Gradients<E, D>,
    pub(in crate::adapters::dfdx) moment2: Gradients<E, D>,
    pub(in crate::adapters::dfdx) pass: Pass,
}

impl<E, D: Storage<E>> Adam<E, D> {
    /// An optimizer before its first update.
    #[must_use]
    pub fn new(cfg: AdamConfig) -> Self {
        Self { cfg, t: 0, moment1: Gradients::leaky(), moment2: Gradients::leaky(), pass: Pass::default() }
    }
}

impl<E, D: Storage<E>> Default for Adam<E, D> {
    /// dfdx's default hyper-parameters.
    fn default() -> Self {
        Self::new(AdamConfig::default())
    }
}

impl Fields for AdamConfig {
    #[inline]
    fn field(&mut self, hyper: Hyper) -> Option<&mut f64> {
        match hyper {
            Hyper::LearningRate => Some(&mut self.lr),
            Hyper::Momentum => Some(&mut self.betas[0]),
            Hyper::WeightDecay => strength(&mut self.weight_decay),
            Hyper::Beta2 => Some(&mut self.betas[1]),
            Hyper::Eps => Some(&mut self.eps),
        }
    }
}

impl<E: Dtype, D: Device<E>> Kernel<E, D> for Adam<E, D> {
    fn pass(&mut self) -> &mut Pass {
        &mut self.pass
    }

    fn begin(&mut self) {
        self.t = self.t.saturating_add(1);
    }

    #[inline]
    fn step<S: Shape>(
        &mut self,
        parameter: &mut Tensor<S, E, D>,
        gradient: &<D as Storage<E>>::Vec,
    ) -> Result<(), D::Err> {
        let moment1 = self.moment1.get_or_alloc_mut(parameter)?;
        let moment2 = self.moment2.get_or_alloc_mut(parameter)?;
        self.cfg.try_update(self.t, parameter, moment1, moment2, gradient)
    }
}

impl<M: TensorCollection<E, D>, E: Dtype, D: Device<E>> Optimizer<M, D, E> for Adam<E, D> {
    fn update(&mut self, module: &mut M, gradients: &Gradients<E, D>) -> Result<(), OptimizerUpdateError<D::Err>> {
        sweep::update(self, module, gradients)
    }
}
