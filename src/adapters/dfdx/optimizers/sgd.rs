//! SGD with a state that can be saved.

use dfdx::dtypes::Dtype;
use dfdx::nn::tensor_collection::TensorCollection;
use dfdx::optim::{Momentum, Optimizer, OptimizerUpdateError, SgdConfig};
use dfdx::shapes::Shape;
use dfdx::tensor::{Cpu, Gradients, Storage, Tensor};
use dfdx::tensor_ops::Device;

use super::hyper::{Fields, strength};
use super::sweep::{self, Kernel, Pass};
use crate::hyper::Hyper;

/// SGD, plain or with classic or Nesterov momentum. It gives the same bits as dfdx's own, needs no model, and is `Send`.
///
/// # Formula
///
/// ```text
/// v <- g + momentum v
/// p <- p - lr v                     classic
/// p <- p - lr (g + momentum v)      Nesterov
/// ```
///
/// The rate is outside of the velocity, as in PyTorch: a new rate acts on the whole velocity at once. (In Keras the velocity
/// contains the old rates, so its runs differ under any schedule.)
///
/// # Examples
///
/// ```
/// use cyclic_optim::Sgd;
/// use dfdx::optim::{SgdConfig, Optimizer};
/// use dfdx::prelude::{AsArray, Backward, Cpu, Rank1, SumTo, Tensor, TensorFrom, Trace};
///
/// let device = Cpu::default();
/// let mut w: Tensor<Rank1<2>, f64, _> = device.tensor([1.0, -1.0]);
/// let mut optimizer = Sgd::new(SgdConfig { lr: 0.05, ..Default::default() });
/// for _ in 0..100 {
///     let grads = w.leaky_trace().square().sum().backward();
///     optimizer.update(&mut w, &grads).unwrap();
/// }
/// assert!(w.array()[0].abs() < 0.1);
/// ```
///
/// # References
///
/// I. Sutskever et al., *On the importance of initialization and momentum*, 2013; dfdx 0.13 `optim::Sgd`.
#[derive(Debug, Clone)]
pub struct Sgd<E = f32, D: Storage<E> = Cpu> {
    /// The hyper-parameters. Each update reads them.
    pub cfg: SgdConfig,
    pub(in crate::adapters::dfdx) velocity: Gradients<E, D>,
    pub(in crate::adapters::dfdx) pass: Pass,
}

impl<E, D: Storage<E>> Sgd<E, D> {
    /// An optimizer before its first update.
    #[must_use]
    pub fn new(cfg: SgdConfig) -> Self {
        Self { cfg, velocity: Gradients::leaky(), pass: Pass::default() }
    }
}

impl<E, D: Storage<E>> Default for Sgd<E, D> {
    /// dfdx's default hyper-parameters.
    fn default() -> Self {
        Self::new(SgdConfig::default())
    }
}

impl Fields for SgdConfig {
    #[inline]
    fn field(&mut self, hyper: Hyper) -> Option<&mut f64> {
        match hyper {
            Hyper::LearningRate => Some(&mut self.lr),
            Hyper::Momentum => match self.momentum.as_mut()? {
                Momentum::Classic(momentum) | Momentum::Nesterov(momentum) => Some(momentum),
            },
            Hyper::WeightDecay => strength(&mut self.weight_decay),
            Hyper::Beta2 | Hyper::Eps => None,
        }
    }
}

impl<E: Dtype, D: Device<E>> Kernel<E, D> for Sgd<E, D> {
    fn pass(&mut self) -> &mut Pass {
        &mut self.pass
    }

    #[inline]
    fn step<S: Shape>(
        &mut self,
        parameter: &mut Tensor<S, E, D>,
        gradient: &<D as Storage<E>>::Vec,
    ) -> Result<(), D::Err> {
        let velocity = self.velocity.get_or_alloc_mut(parameter)?;
        self.cfg.try_update(parameter, velocity, gradient)
    }
}

impl<M: TensorCollection<E, D>, E: Dtype, D: Device<E>> Optimizer<M, D, E> for Sgd<E, D> {
    fn update(&mut self, module: &mut M, gradients: &Gradients<E, D>) -> Result<(), OptimizerUpdateError<D::Err>> {
        sweep::update(self, module, gradients)
    }
}
