//! Lion.

use dfdx::optim::WeightDecay;
use dfdx::tensor::Cpu;

use super::Elementwise;
use super::rule::{Fields, Real, Rule, SLOTS, Setting, Update, strength};
use crate::hyper::Hyper;

/// Lion: the sign of a mean of the gradient and the momentum.
///
/// # Formula
///
/// ```text
/// p <- p - lr sign(beta1 m + (1 - beta1) g)
/// m <- beta2 m + (1 - beta2) g
/// ```
///
/// The rule and the defaults are the same as in the authors' own implementation; optax has the same rule with a weight decay
/// of 0.001. Every number changes by the rate at each update, so a good rate is 3 to 10 times smaller than for Adam. The
/// weight decay should be larger by the same factor. The momentum that a schedule cycles is beta1.
///
/// # Examples
///
/// ```
/// use cyclic_optim::{Cyclic, CyclicOptimizer, Lion};
/// use dfdx::prelude::{AsArray, Backward, Cpu, Rank1, SumTo, Tensor, TensorFrom, Trace};
///
/// let mut w: Tensor<Rank1<2>, f64, _> = Cpu::default().tensor([1.0, -1.0]);
/// let mut optimizer = CyclicOptimizer::new(Lion::default(), Cyclic::triangular(0.001, 0.05, 25)?);
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
/// X. Chen et al., *Symbolic Discovery of Optimization Algorithms*, 2023, arXiv:2302.06675.
pub type Lion<E = f32, D = Cpu> = Elementwise<LionConfig, E, D>;

/// The hyper-parameters of [`Lion`].
#[derive(Debug, Clone, Copy)]
pub struct LionConfig {
    /// The learning rate. Defaults to 0.0001.
    pub lr: f64,
    /// beta1 and beta2. Defaults to 0.9 and 0.99.
    pub betas: [f64; 2],
    /// The weight decay, L2 or decoupled. Defaults to none.
    pub weight_decay: Option<WeightDecay>,
}

impl Default for LionConfig {
    fn default() -> Self {
        Self { lr: 1e-4, betas: [0.9, 0.99], weight_decay: None }
    }
}

/// The numbers of one update.
#[derive(Debug, Clone, Copy)]
pub struct Constants<F> {
    lr: F,
    beta1: F,
    beta2: F,
}

impl Rule for LionConfig {
    const KIND: &'static str = "lion";
    const STATE: &'static [&'static str] = &["moment"];
    type Constants<F: Real> = Constants<F>;

    fn constants<F: Real>(&self, _: Update) -> Constants<F> {
        let [beta1, beta2] = self.betas.map(F::of);
        Constants { lr: F::of(self.lr), beta1, beta2 }
    }

    #[inline(always)]
    fn step<F: Real>(constants: &Constants<F>, g: F, [m, ..]: [&mut F; SLOTS]) -> F {
        let Constants { lr, beta1, beta2 } = *constants;
        let mean = beta1 * *m + (F::one() - beta1) * g;
        *m = beta2 * *m + (F::one() - beta2) * g;
        // Not `signum`, which returns 1 for 0. A NaN stays NaN.
        let below = if mean < F::zero() { -lr } else { mean };
        if mean > F::zero() { lr } else { below }
    }

    fn settings(&self) -> Vec<(&'static str, Setting)> {
        vec![
            ("lr", self.lr.into()),
            ("beta1", self.betas[0].into()),
            ("beta2", self.betas[1].into()),
            ("weight_decay", self.weight_decay.into()),
        ]
    }

    fn weight_decay(&self) -> Option<WeightDecay> {
        self.weight_decay
    }
}

impl Fields for LionConfig {
    #[inline]
    fn field(&mut self, hyper: Hyper) -> Option<&mut f64> {
        match hyper {
            Hyper::LearningRate => Some(&mut self.lr),
            Hyper::Momentum => Some(&mut self.betas[0]),
            Hyper::WeightDecay => strength(&mut self.weight_decay),
            Hyper::Beta2 => Some(&mut self.betas[1]),
            Hyper::Eps => None,
        }
    }
}
