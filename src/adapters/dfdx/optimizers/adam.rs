//! Adam.

use dfdx::dtypes::Dtype;
use dfdx::optim::{AdamConfig, WeightDecay};
use dfdx::shapes::Shape;
use dfdx::tensor::{Cpu, Storage, Tensor};
use dfdx::tensor_ops::Device;

use super::Elementwise;
use super::bias::BiasCorrected;
use super::rule::{Fields, Real, Rule, SLOTS, Setting, Update, strength};
use super::unset::zero_if_unset;
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
/// The momentum that a schedule cycles is beta1. The bias correction uses the current beta1, as in dfdx and PyTorch, so
/// a falling beta1 makes the first steps of a run somewhat smaller.
/// [`with_exact_bias_correction`](Elementwise::with_exact_bias_correction) corrects that. The count t stops at
/// `i32::MAX`, where the correction has long been 1.
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
pub type Adam<E = f32, D = Cpu> = Elementwise<AdamConfig, E, D>;

/// The numbers of one update, as dfdx's kernel takes them.
#[derive(Debug, Clone, Copy)]
pub struct Constants<F> {
    lr: F,
    beta1: F,
    beta2: F,
    /// The factors that correct the bias of the first and of the second moment.
    corrections: [F; 2],
    eps: F,
}

impl<F: Real> Constants<F> {
    pub(super) fn new(lr: f64, betas: [f64; 2], eps: f64, update: Update) -> Self {
        let [beta1, beta2] = betas.map(F::of);
        let correction = |beta: F| (F::one() - beta.powi(update.power())).recip();
        Self { lr: F::of(lr), beta1, beta2, corrections: [correction(beta1), correction(beta2)], eps: F::of(eps) }
    }

    #[inline(always)]
    pub(super) fn step(&self, g: F, [m, v, _]: [&mut F; SLOTS]) -> F {
        *m = *m * self.beta1 + g * (F::one() - self.beta1);
        *v = *v * self.beta2 + g * g * (F::one() - self.beta2);
        let [correction1, correction2] = self.corrections;
        self.lr * (*m * correction1) / ((*v * correction2).sqrt() + self.eps)
    }
}

impl Rule for AdamConfig {
    const KIND: &'static str = "adam";
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
        vec![
            ("lr", self.lr.into()),
            ("beta1", self.betas[0].into()),
            ("beta2", self.betas[1].into()),
            ("eps", self.eps.into()),
            ("weight_decay", self.weight_decay.into()),
        ]
    }

    fn weight_decay(&self) -> Option<WeightDecay> {
        self.weight_decay
    }

    /// For small parameters the set-up of our loop costs more. For large ones memory is the limit, and dfdx's own
    /// kernel reads and writes less of it.
    fn prefers_device(&self, numbers: usize) -> bool {
        !(512..=65_536).contains(&numbers) || cfg!(target_feature = "avx2")
    }

    fn on_device<S: Shape, E: Dtype, D: Device<E>>(
        &self,
        update: Update,
        parameter: &mut Tensor<S, E, D>,
        gradient: &<D as Storage<E>>::Vec,
        state: [Option<&mut <D as Storage<E>>::Vec>; SLOTS],
    ) -> Option<Result<(), D::Err>> {
        let [Some(moment1), Some(moment2), ..] = state else { return None };
        let mut cfg = *self;
        zero_if_unset(&mut cfg.weight_decay, WeightDecay::L2(0.0));
        Some(cfg.try_update(update.power(), parameter, moment1, moment2, gradient))
    }
}

impl BiasCorrected for AdamConfig {
    fn with_longer_step(&self, factor: f64) -> Self {
        let weight_decay = match self.weight_decay {
            Some(WeightDecay::Decoupled(strength)) => Some(WeightDecay::Decoupled(strength / factor)),
            same => same,
        };
        Self { lr: self.lr * factor, weight_decay, ..*self }
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
