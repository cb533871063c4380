//! Nadam.

use dfdx::optim::WeightDecay;
use dfdx::tensor::Cpu;

use super::Elementwise;
use super::rule::{Fields, Real, Rule, SLOTS, Setting, Update, strength};
use crate::hyper::Hyper;
use crate::numeric;

/// Nadam: Adam with Nesterov momentum.
///
/// # Formula
///
/// ```text
/// mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2)          P_t = mu_1 mu_2 .. mu_t
/// m <- beta1 m + (1 - beta1) g             v <- beta2 v + (1 - beta2) g^2
/// n = (1 - mu_t) / (1 - P_t) g + mu_(t+1) / (1 - P_t mu_(t+1)) m
/// p <- p - lr n / (sqrt(v / (1 - beta2^t)) + eps)
/// ```
///
/// The rule, the momentum schedule and the defaults are the same as in PyTorch 2.15. Keras 3 has the same schedule, and a
/// rate of 0.001. The momentum that a schedule cycles is beta1; each `mu` depends on the beta1 of its update. The product of
/// all `mu` is saved with the run.
///
/// # Examples
///
/// ```
/// use cyclic_optim::{Cyclic, CyclicOptimizer, Nadam};
/// use dfdx::prelude::{AsArray, Backward, Cpu, Rank1, SumTo, Tensor, TensorFrom, Trace};
///
/// let mut w: Tensor<Rank1<2>, f64, _> = Cpu::default().tensor([1.0, -1.0]);
/// let mut optimizer = CyclicOptimizer::new(Nadam::default(), Cyclic::triangular(0.01, 0.1, 25)?);
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
/// T. Dozat, *Incorporating Nesterov Momentum into Adam*, 2016; PyTorch `torch.optim.NAdam`.
pub type Nadam<E = f32, D = Cpu> = Elementwise<NadamConfig, E, D>;

/// The hyper-parameters of [`Nadam`].
#[derive(Debug, Clone, Copy)]
pub struct NadamConfig {
    /// The learning rate. Defaults to 0.002.
    pub lr: f64,
    /// beta1 and beta2. Defaults to 0.9 and 0.999.
    pub betas: [f64; 2],
    /// Keeps the division finite. Defaults to 1e-8.
    pub eps: f64,
    /// How fast the momentum rises from half of beta1 to beta1. Defaults to 0.004.
    pub momentum_decay: f64,
    /// The weight decay, L2 or decoupled. Defaults to none.
    pub weight_decay: Option<WeightDecay>,
}

impl Default for NadamConfig {
    fn default() -> Self {
        Self { lr: 2e-3, betas: [0.9, 0.999], eps: 1e-8, momentum_decay: 4e-3, weight_decay: None }
    }
}

/// The numbers of one update.
#[derive(Debug, Clone, Copy)]
pub struct Constants<F> {
    of_gradient: F,
    of_moment: F,
    beta1: F,
    beta2: F,
    correction2: F,
    eps: F,
}

impl NadamConfig {
    /// The momentum of update `t`.
    fn mu(&self, t: u64) -> f64 {
        self.betas[0] * (1.0 - 0.5 * numeric::real_power(0.96, numeric::float(t) * self.momentum_decay))
    }
}

impl Rule for NadamConfig {
    const KIND: &'static str = "nadam";
    const STATE: &'static [&'static str] = &["moment1", "moment2"];
    type Constants<F: Real> = Constants<F>;

    fn constants<F: Real>(&self, update: Update) -> Constants<F> {
        let [beta1, beta2] = self.betas.map(F::of);
        let (mu, next) = (self.mu(update.number), self.mu(update.number.saturating_add(1)));
        Constants {
            of_gradient: F::of(self.lr * (1.0 - mu) / (1.0 - update.carried)),
            of_moment: F::of(self.lr * next / (1.0 - update.carried * next)),
            beta1,
            beta2,
            correction2: (F::one() - beta2.powi(update.power())).recip(),
            eps: F::of(self.eps),
        }
    }

    #[inline(always)]
    fn step<F: Real>(constants: &Constants<F>, g: F, [m, v, _]: [&mut F; SLOTS]) -> F {
        let Constants { of_gradient, of_moment, beta1, beta2, correction2, eps } = *constants;
        *m = beta1 * *m + (F::one() - beta1) * g;
        *v = beta2 * *v + (F::one() - beta2) * g * g;
        (of_gradient * g + of_moment * *m) / ((*v * correction2).sqrt() + eps)
    }

    fn settings(&self) -> Vec<(&'static str, Setting)> {
        vec![
            ("lr", self.lr.into()),
            ("beta1", self.betas[0].into()),
            ("beta2", self.betas[1].into()),
            ("eps", self.eps.into()),
            ("momentum_decay", self.momentum_decay.into()),
            ("weight_decay", self.weight_decay.into()),
        ]
    }

    fn weight_decay(&self) -> Option<WeightDecay> {
        self.weight_decay
    }

    /// The product of all `mu` so far.
    fn carry(&self, update: Update) -> f64 {
        update.carried * self.mu(update.number)
    }
}

impl Fields for NadamConfig {
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
