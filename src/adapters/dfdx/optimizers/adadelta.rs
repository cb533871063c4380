//! Adadelta.

use dfdx::optim::WeightDecay;
use dfdx::tensor::Cpu;

use super::Elementwise;
use super::rule::{Fields, Real, Rule, SLOTS, Setting, Update, strength};
use crate::hyper::Hyper;

/// Adadelta: the step is scaled by the size of the steps so far, so the usual rate is 1.
///
/// # Formula
///
/// ```text
/// s <- rho s + (1 - rho) g^2
/// d = g sqrt((a + eps) / (s + eps))
/// a <- rho a + (1 - rho) d^2
/// p <- p - lr d
/// ```
///
/// The rule and the defaults are the same as in PyTorch 2.15. Keras 3 has a rate of 0.001, `rho` 0.95 and `eps` 1e-7. There
/// is no momentum to cycle.
///
/// # Examples
///
/// ```
/// use cyclic_optim::{Cyclic, CyclicOptimizer, Adadelta};
/// use dfdx::prelude::{AsArray, Backward, Cpu, Rank1, SumTo, Tensor, TensorFrom, Trace};
///
/// let mut w: Tensor<Rank1<2>, f64, _> = Cpu::default().tensor([1.0, -1.0]);
/// let mut optimizer = CyclicOptimizer::new(Adadelta::default(), Cyclic::triangular(10.0, 100.0, 25)?);
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
/// M. D. Zeiler, *ADADELTA: An Adaptive Learning Rate Method*, 2012, arXiv:1212.5701; PyTorch `torch.optim.Adadelta`.
pub type Adadelta<E = f32, D = Cpu> = Elementwise<AdadeltaConfig, E, D>;

/// The hyper-parameters of [`Adadelta`].
#[derive(Debug, Clone, Copy)]
pub struct AdadeltaConfig {
    /// The learning rate. Defaults to 1.
    pub lr: f64,
    /// How much of the mean squares is kept at each update. Defaults to 0.9.
    pub rho: f64,
    /// Keeps the first steps from being 0, and the division finite. Defaults to 1e-6.
    pub eps: f64,
    /// The weight decay, L2 or decoupled. Defaults to none.
    pub weight_decay: Option<WeightDecay>,
}

impl Default for AdadeltaConfig {
    fn default() -> Self {
        Self { lr: 1.0, rho: 0.9, eps: 1e-6, weight_decay: None }
    }
}

/// The numbers of one update.
#[derive(Debug, Clone, Copy)]
pub struct Constants<F> {
    lr: F,
    rho: F,
    eps: F,
}

impl Rule for AdadeltaConfig {
    const KIND: &'static str = "adadelta";
    const STATE: &'static [&'static str] = &["square_avg", "acc_delta"];
    type Constants<F: Real> = Constants<F>;

    fn constants<F: Real>(&self, _: Update) -> Constants<F> {
        Constants { lr: F::of(self.lr), rho: F::of(self.rho), eps: F::of(self.eps) }
    }

    #[inline(always)]
    fn step<F: Real>(&Constants { lr, rho, eps }: &Constants<F>, g: F, [s, a, _]: [&mut F; SLOTS]) -> F {
        *s = rho * *s + (F::one() - rho) * g * g;
        let delta = g * ((*a + eps) / (*s + eps)).sqrt();
        *a = rho * *a + (F::one() - rho) * delta * delta;
        lr * delta
    }

    fn settings(&self) -> Vec<(&'static str, Setting)> {
        vec![
            ("lr", self.lr.into()),
            ("rho", self.rho.into()),
            ("eps", self.eps.into()),
            ("weight_decay", self.weight_decay.into()),
        ]
    }

    fn weight_decay(&self) -> Option<WeightDecay> {
        self.weight_decay
    }
}

impl Fields for AdadeltaConfig {
    #[inline]
    fn field(&mut self, hyper: Hyper) -> Option<&mut f64> {
        match hyper {
            Hyper::LearningRate => Some(&mut self.lr),
            Hyper::Momentum => None,
            Hyper::WeightDecay => strength(&mut self.weight_decay),
            Hyper::Beta2 => Some(&mut self.rho),
            Hyper::Eps => Some(&mut self.eps),
        }
    }
}
