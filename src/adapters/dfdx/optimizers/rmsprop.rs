//! RMSprop with a state that can be saved.

use dfdx::dtypes::Dtype;
use dfdx::nn::tensor_collection::TensorCollection;
use dfdx::optim::{Optimizer, OptimizerUpdateError, RMSpropConfig};
use dfdx::shapes::Shape;
use dfdx::tensor::{Cpu, Gradients, Storage, Tensor};
use dfdx::tensor_ops::Device;

use super::hyper::{Fields, strength};
use super::sweep::{self, Kernel, Pass};
use crate::hyper::Hyper;

/// RMSprop. It gives the same bits as dfdx's own, needs no model, and is `Send`.
///
/// # Formula
///
/// ```text
/// s <- alpha s + (1 - alpha) g^2        s starts at 1
/// p <- p - lr g / sqrt(s + eps)         or through a velocity, with momentum
/// ```
///
/// The momentum that a schedule cycles is `momentum`, never `alpha`; it has to be switched on. As in dfdx, `s` starts at 1
/// for the parameters of the very first update, and at 0 for one that gets its first gradient later.
///
/// # Differences from PyTorch
///
/// PyTorch's `s` starts at 0, and its update is `lr g / (sqrt(s) + eps)`; its default `alpha` is 0.99, dfdx's 0.9. So small gradients
/// move a parameter less here, and the more so the smaller they are. No option makes the two equal. With `lr` 0.01, `alpha` 0.9, `eps`
/// 1e-8 and the same gradient 200 times, a parameter has moved by
///
/// | gradient | here | PyTorch 2.15 |
/// |---|---|---|
/// | 0.00001 | 0.039 | 2.089 |
/// | 0.0001 | 0.322 | 2.091 |
/// | 0.001 | 0.822 | 2.091 |
/// | 0.01 | 1.260 | 2.091 |
/// | 0.1 | 1.681 | 2.091 |
/// | 1 | 2.000 | 2.091 |
///
/// # Examples
///
/// ```
/// use cyclic_optim::RMSprop;
/// use dfdx::optim::{RMSpropConfig, Optimizer};
/// use dfdx::prelude::{AsArray, Backward, Cpu, Rank1, SumTo, Tensor, TensorFrom, Trace};
///
/// let device = Cpu::default();
/// let mut w: Tensor<Rank1<2>, f64, _> = device.tensor([1.0, -1.0]);
/// let mut optimizer = RMSprop::new(RMSpropConfig { lr: 0.05, ..Default::default() });
/// for _ in 0..100 {
///     let grads = w.leaky_trace().square().sum().backward();
///     optimizer.update(&mut w, &grads).unwrap();
/// }
/// assert!(w.array()[0].abs() < 0.1);
/// ```
///
/// # References
///
/// T. Tieleman and G. Hinton, *RMSprop*, 2012; dfdx 0.13 `optim::RMSprop`.
#[derive(Debug, Clone)]
pub struct RMSprop<E = f32, D: Storage<E> = Cpu> {
    /// The hyper-parameters. Each update reads them.
    pub cfg: RMSpropConfig,
    pub(in crate::adapters::dfdx) step: u64,
    pub(in crate::adapters::dfdx) momentums: Gradients<E, D>,
    pub(in crate::adapters::dfdx) square_avg: Gradients<E, D>,
    pub(in crate::adapters::dfdx) grad_avg: Gradients<E, D>,
    pub(in crate::adapters::dfdx) pass: Pass,
}

impl<E, D: Storage<E>> RMSprop<E, D> {
    /// An optimizer before its first update.
    #[must_use]
    pub fn new(cfg: RMSpropConfig) -> Self {
        Self {
            cfg,
            step: 0,
            momentums: Gradients::leaky(),
            square_avg: Gradients::leaky(),
            grad_avg: Gradients::leaky(),
            pass: Pass::default(),
        }
    }
}

impl<E, D: Storage<E>> Default for RMSprop<E, D> {
    /// dfdx's default hyper-parameters.
    fn default() -> Self {
        Self::new(RMSpropConfig::default())
    }
}

impl Fields for RMSpropConfig {
    #[inline]
    fn field(&mut self, hyper: Hyper) -> Option<&mut f64> {
        match hyper {
            Hyper::LearningRate => Some(&mut self.lr),
            Hyper::Momentum => self.momentum.as_mut(),
            Hyper::WeightDecay => strength(&mut self.weight_decay),
            Hyper::Beta2 => Some(&mut self.alpha),
            Hyper::Eps => Some(&mut self.eps),
        }
    }
}

impl<E: Dtype, D: Device<E>> Kernel<E, D> for RMSprop<E, D> {
    fn pass(&mut self) -> &mut Pass {
        &mut self.pass
    }

    #[inline]
    fn step<S: Shape>(
        &mut self,
        parameter: &mut Tensor<S, E, D>,
        gradient: &<D as Storage<E>>::Vec,
    ) -> Result<(), D::Err> {
        let momentum = self.momentums.get_or_alloc_mut(parameter)?;
        let square_avg = self.square_avg.get_or_alloc_mut(parameter)?;
        let grad_avg = self.grad_avg.get_or_alloc_mut(parameter)?;
        if self.step == 0 {
            parameter.device().try_fill_with_ones(square_avg)?;
        }
        self.cfg.try_update(parameter, momentum, square_avg, grad_avg, gradient)
    }

    fn end(&mut self) {
        self.step = self.step.saturating_add(1);
    }
}

impl<M: TensorCollection<E, D>, E: Dtype, D: Device<E>> Optimizer<M, D, E> for RMSprop<E, D> {
    fn update(&mut self, module: &mut M, gradients: &Gradients<E, D>) -> Result<(), OptimizerUpdateError<D::Err>> {
        sweep::update(self, module, gradients)
    }
}
