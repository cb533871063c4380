//! AdamW.

use dfdx::dtypes::Dtype;
use dfdx::optim::{AdamConfig, WeightDecay};
use dfdx::shapes::Shape;
use dfdx::tensor::{Cpu, Storage, Tensor};
use dfdx::tensor_ops::Device;

use super::Elementwise;
use super::adam::Constants;
use super::rule::{Fields, Real, Rule, SLOTS, Setting, Update};
use crate::hyper::Hyper;

/// AdamW: [`Adam`](super::Adam) with decoupled weight decay, by its name.
///
/// # Formula
///
/// ```text
/// m <- beta1 m + (1 - beta1) g             v <- beta2 v + (1 - beta2) g^2
/// p <- p - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps) - lr weight_decay p
/// ```
///
/// It gives the same bits as `Adam` with `WeightDecay::Decoupled`. The defaults are the same as in PyTorch 2.15; Keras 3 has
/// a weight decay of 0.004. The momentum that a schedule cycles is beta1. The decay is multiplied by the scheduled rate, as
/// in PyTorch.
///
/// # Examples
///
/// ```
/// use cyclic_optim::{Cyclic, CyclicOptimizer, AdamW};
/// use dfdx::prelude::{AsArray, Backward, Cpu, Rank1, SumTo, Tensor, TensorFrom, Trace};
///
/// let mut w: Tensor<Rank1<2>, f64, _> = Cpu::default().tensor([1.0, -1.0]);
/// let mut optimizer = CyclicOptimizer::new(AdamW::default(), Cyclic::triangular(0.01, 0.1, 25)?);
/// for _ in 0..100 {
///     let loss = w.leaky_trace().square().sum();
///     let value = loss.array();
///     optimizer.apply(&mut w, &mut loss.backward(), value)?;
/// }
/// assert!(w.array()[0].abs() < 0.1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # References
///
/// I. Loshchilov and F. Hutter, *Decoupled Weight Decay Regularization*, 2019, arXiv:1711.05101; PyTorch
/// `torch.optim.AdamW`.
pub type AdamW<E = f32, D = Cpu> = Elementwise<AdamWConfig, E, D>;

/// The hyper-parameters of [`AdamW`].
#[derive(Debug, Clone, Copy)]
pub struct AdamWConfig {
    /// The learning rate. Defaults to 0.001.
    pub lr: f64,
    /// beta1 and beta2. Defaults to 0.9 and 0.999.
    pub betas: [f64; 2],
    /// Keeps the division finite. Defaults to 1e-8.
    pub eps: f64,
    /// The strength of the decoupled weight decay. Defaults to 0.01.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 1e-2 }
    }
}

impl Rule for AdamWConfig {
    const KIND: &'static str = "adamw";
    const STATE: &'static [&'static str] = &["moment1", "moment2"];
    type Constants<F: Real> = Constants<F>;

    fn constants<F: Real>(&self, update: Update) -> Constants<F> {
        Constants::new(self.lr, self.betas, self.eps, update)
    }

    #[inline(always)]
    fn step<F: Real>(constants: &Constants<F>, gradient: F, state: [&mut F; SLOTS]) -> F {
        constants.step(gradient, state)
    }

    fn settings(&self) -> Vec<(&'static str, Setting)> {
        self.adam().settings()
    }

    fn weight_decay(&self) -> Option<WeightDecay> {
        Some(WeightDecay::Decoupled(self.weight_decay))
    }

    fn prefers_device(&self, numbers: usize) -> bool {
        self.adam().prefers_device(numbers)
    }

    fn on_device<S: Shape, E: Dtype, D: Device<E>>(
        &self,
        update: Update,
        parameter: &mut Tensor<S, E, D>,
        gradient: &<D as Storage<E>>::Vec,
        state: [Option<&mut <D as Storage<E>>::Vec>; SLOTS],
    ) -> Option<Result<(), D::Err>> {
        self.adam().on_device(update, parameter, gradient, state)
    }
}

impl AdamWConfig {
    /// The config of dfdx's `Adam` with decoupled weight decay.
    fn adam(&self) -> AdamConfig {
        let Self { lr, betas, eps, weight_decay } = *self;
        AdamConfig { lr, betas, eps, weight_decay: Some(WeightDecay::Decoupled(weight_decay)) }
    }
}

impl Fields for AdamWConfig {
    #[inline]
    fn field(&mut self, hyper: Hyper) -> Option<&mut f64> {
        match hyper {
            Hyper::LearningRate => Some(&mut self.lr),
            Hyper::Momentum => Some(&mut self.betas[0]),
            Hyper::WeightDecay => Some(&mut self.weight_decay),
            Hyper::Beta2 => Some(&mut self.betas[1]),
            Hyper::Eps => Some(&mut self.eps),
        }
    }
}
