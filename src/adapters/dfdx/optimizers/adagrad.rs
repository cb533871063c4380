//! Adagrad.

use dfdx::optim::WeightDecay;
use dfdx::tensor::Cpu;

use super::Elementwise;
use super::rule::{Fields, Real, Rule, SLOTS, Setting, Update, strength};
use crate::hyper::Hyper;

/// Adagrad: each number has a rate of its own, which falls with the sum of the squares of its gradients so far.
///
/// # Formula
///
/// ```text
/// s <- s + g^2
/// p <- p - lr g / (sqrt(s) + eps)
/// ```
///
/// The rule and the defaults are the same as in PyTorch 2.15, but without `lr_decay`, because the schedule determines how
/// the rate falls. Keras starts `s` at 0.1 and divides by `sqrt(s + eps)`. There is no momentum to cycle.
///
/// # Examples
///
/// ```
/// use cyclic_optim::{Cyclic, CyclicOptimizer, Adagrad};
/// use dfdx::prelude::{AsArray, Backward, Cpu, Rank1, SumTo, Tensor, TensorFrom, Trace};
///
/// let mut w: Tensor<Rank1<2>, f64, _> = Cpu::default().tensor([1.0, -1.0]);
/// let mut optimizer = CyclicOptimizer::new(Adagrad::default(), Cyclic::triangular(0.05, 0.5, 25)?);
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
/// J. Duchi et al., *Adaptive Subgradient Methods for Online Learning and Stochastic Optimization*, 2011; PyTorch
/// `torch.optim.Adagrad`.
pub type Adagrad<E = f32, D = Cpu> = Elementwise<AdagradConfig, E, D>;

/// The hyper-parameters of [`Adagrad`].
#[derive(Debug, Clone, Copy)]
pub struct AdagradConfig {
    /// The learning rate. Defaults to 0.01.
    pub lr: f64,
    /// Keeps the division finite. Defaults to 1e-10.
    pub eps: f64,
    /// What `s` starts at. Defaults to 0.
    pub initial_accumulator: f64,
    /// The weight decay, L2 or decoupled. Defaults to none.
    pub weight_decay: Option<WeightDecay>,
}

impl Default for AdagradConfig {
    fn default() -> Self {
        Self { lr: 1e-2, eps: 1e-10, initial_accumulator: 0.0, weight_decay: None }
    }
}

/// The numbers of one update.
#[derive(Debug, Clone, Copy)]
pub struct Constants<F> {
    lr: F,
    eps: F,
}

impl Rule for AdagradConfig {
    const KIND: &'static str = "adagrad";
    const STATE: &'static [&'static str] = &["sum"];
    type Constants<F: Real> = Constants<F>;

    fn constants<F: Real>(&self, _: Update) -> Constants<F> {
        Constants { lr: F::of(self.lr), eps: F::of(self.eps) }
    }

    #[inline(always)]
    fn step<F: Real>(&Constants { lr, eps }: &Constants<F>, g: F, [s, ..]: [&mut F; SLOTS]) -> F {
        *s += g * g;
        lr * g / (s.sqrt() + eps)
    }

    fn settings(&self) -> Vec<(&'static str, Setting)> {
        vec![
            ("lr", self.lr.into()),
            ("eps", self.eps.into()),
            ("initial_accumulator", self.initial_accumulator.into()),
            ("weight_decay", self.weight_decay.into()),
        ]
    }

    fn weight_decay(&self) -> Option<WeightDecay> {
        self.weight_decay
    }

    fn start(&self) -> [f64; SLOTS] {
        [self.initial_accumulator, 0.0, 0.0]
    }
}

impl Fields for AdagradConfig {
    #[inline]
    fn field(&mut self, hyper: Hyper) -> Option<&mut f64> {
        match hyper {
            Hyper::LearningRate => Some(&mut self.lr),
            Hyper::Momentum | Hyper::Beta2 => None,
            Hyper::WeightDecay => strength(&mut self.weight_decay),
            Hyper::Eps => Some(&mut self.eps),
        }
    }
}
