//! Adamax.

use dfdx::optim::WeightDecay;
use dfdx::tensor::Cpu;

use super::Elementwise;
use super::rule::{Fields, Real, Rule, SLOTS, Setting, Update, strength};
use crate::hyper::Hyper;

/// Adamax: Adam with the largest recent gradient in place of the mean square.
///
/// # Formula
///
/// ```text
/// m <- beta1 m + (1 - beta1) g
/// u <- max(beta2 u, |g| + eps)
/// p <- p - lr / (1 - beta1^t) m / u
/// ```
///
/// The rule and the defaults are the same as in PyTorch 2.15. Keras 3 adds `eps` to `u` instead, and has a rate of 0.001.
/// The momentum that a schedule cycles is beta1.
///
/// # Examples
///
/// ```
/// use cyclic_optim::{Cyclic, CyclicOptimizer, Adamax};
/// use dfdx::prelude::{AsArray, Backward, Cpu, Rank1, SumTo, Tensor, TensorFrom, Trace};
///
/// let mut w: Tensor<Rank1<2>, f64, _> = Cpu::default().tensor([1.0, -1.0]);
/// let mut optimizer = CyclicOptimizer::new(Adamax::default(), Cyclic::triangular(0.01, 0.1, 25)?);
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
/// D. P. Kingma and J. Ba, *Adam*, 2015, arXiv:1412.6980, section 7.1; PyTorch `torch.optim.Adamax`.
pub type Adamax<E = f32, D = Cpu> = Elementwise<AdamaxConfig, E, D>;

/// The hyper-parameters of [`Adamax`].
#[derive(Debug, Clone, Copy)]
pub struct AdamaxConfig {
    /// The learning rate. Defaults to 0.002.
    pub lr: f64,
    /// beta1 and beta2. Defaults to 0.9 and 0.999.
    pub betas: [f64; 2],
    /// Keeps the division finite. Defaults to 1e-8.
    pub eps: f64,
    /// The weight decay, L2 or decoupled. Defaults to none.
    pub weight_decay: Option<WeightDecay>,
}

impl Default for AdamaxConfig {
    fn default() -> Self {
        Self { lr: 2e-3, betas: [0.9, 0.999], eps: 1e-8, weight_decay: None }
    }
}

/// The numbers of one update.
#[derive(Debug, Clone, Copy)]
pub struct Constants<F> {
    lr: F,
    beta1: F,
    beta2: F,
    eps: F,
}

impl Rule for AdamaxConfig {
    const KIND: &'static str = "adamax";
    const STATE: &'static [&'static str] = &["moment1", "largest"];
    type Constants<F: Real> = Constants<F>;

    fn constants<F: Real>(&self, update: Update) -> Constants<F> {
        let [beta1, beta2] = self.betas.map(F::of);
        let lr = F::of(self.lr) / (F::one() - beta1.powi(update.power()));
        Constants { lr, beta1, beta2, eps: F::of(self.eps) }
    }

    #[inline(always)]
    fn step<F: Real>(constants: &Constants<F>, g: F, [m, u, _]: [&mut F; SLOTS]) -> F {
        let Constants { lr, beta1, beta2, eps } = *constants;
        *m = beta1 * *m + (F::one() - beta1) * g;
        // Not `f64::max`, which would hide a NaN.
        let (kept, new) = (beta2 * *u, g.abs() + eps);
        *u = if kept > new { kept } else { new };
        lr * *m / *u
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
}

impl Fields for AdamaxConfig {
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
