//! RMSprop, as PyTorch has it.

use dfdx::optim::WeightDecay;
use dfdx::tensor::Cpu;

use super::Elementwise;
use super::rule::{Fields, Real, Rule, SLOTS, Setting, Update, strength};
use crate::hyper::Hyper;

/// RMSprop as in PyTorch: the mean square starts at 0, and `eps` is added after the square root. For dfdx's form see
/// [`RMSprop`](super::RMSprop).
///
/// # Formula
///
/// ```text
/// s <- alpha s + (1 - alpha) g^2
/// p <- p - lr g / (sqrt(s) + eps)                   without momentum
/// v <- momentum v + g / (sqrt(s) + eps)
/// p <- p - lr v                                     with momentum
/// ```
///
/// With `centered` the square of the mean gradient is subtracted from `s` under the square root. The defaults are the same
/// as in PyTorch 2.15. The momentum that a schedule cycles is `momentum`, never `alpha`; it has to be switched on.
///
/// # Examples
///
/// ```
/// use cyclic_optim::{Cyclic, CyclicOptimizer, TorchRMSprop};
/// use dfdx::prelude::{AsArray, Backward, Cpu, Rank1, SumTo, Tensor, TensorFrom, Trace};
///
/// let mut w: Tensor<Rank1<2>, f64, _> = Cpu::default().tensor([1.0, -1.0]);
/// let mut optimizer = CyclicOptimizer::new(TorchRMSprop::default(), Cyclic::triangular(0.01, 0.05, 25)?);
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
/// T. Tieleman and G. Hinton, *RMSprop*, 2012; PyTorch `torch.optim.RMSprop`.
pub type TorchRMSprop<E = f32, D = Cpu> = Elementwise<TorchRMSpropConfig, E, D>;

/// The hyper-parameters of [`TorchRMSprop`].
#[derive(Debug, Clone, Copy)]
pub struct TorchRMSpropConfig {
    /// The learning rate. Defaults to 0.01.
    pub lr: f64,
    /// How much of the mean square is kept at each update. Defaults to 0.99.
    pub alpha: f64,
    /// Keeps the division finite. Defaults to 1e-8.
    pub eps: f64,
    /// The momentum. Defaults to none.
    pub momentum: Option<f64>,
    /// Whether to subtract the square of the mean gradient. Defaults to false.
    pub centered: bool,
    /// The weight decay, L2 or decoupled. Defaults to none.
    pub weight_decay: Option<WeightDecay>,
}

impl Default for TorchRMSpropConfig {
    fn default() -> Self {
        Self { lr: 1e-2, alpha: 0.99, eps: 1e-8, momentum: None, centered: false, weight_decay: None }
    }
}

/// The numbers of one update.
#[derive(Debug, Clone, Copy)]
pub struct Constants<F> {
    lr: F,
    alpha: F,
    eps: F,
    momentum: Option<F>,
    centered: bool,
}

impl Rule for TorchRMSpropConfig {
    const KIND: &'static str = "torch_rmsprop";
    const STATE: &'static [&'static str] = &["momentum", "square_avg", "grad_avg"];
    type Constants<F: Real> = Constants<F>;

    fn constants<F: Real>(&self, _: Update) -> Constants<F> {
        let Self { lr, alpha, eps, momentum, centered, .. } = *self;
        Constants { lr: F::of(lr), alpha: F::of(alpha), eps: F::of(eps), momentum: momentum.map(F::of), centered }
    }

    #[inline(always)]
    fn step<F: Real>(constants: &Constants<F>, g: F, [v, s, mean]: [&mut F; SLOTS]) -> F {
        let Constants { lr, alpha, eps, momentum, centered } = *constants;
        *s = alpha * *s + (F::one() - alpha) * g * g;
        let square = if centered {
            *mean = alpha * *mean + (F::one() - alpha) * g;
            *s - *mean * *mean
        } else {
            *s
        };
        let scaled = g / (square.sqrt() + eps);
        match momentum {
            None => lr * scaled,
            Some(momentum) => {
                *v = momentum * *v + scaled;
                lr * *v
            }
        }
    }

    fn settings(&self) -> Vec<(&'static str, Setting)> {
        vec![
            ("lr", self.lr.into()),
            ("alpha", self.alpha.into()),
            ("eps", self.eps.into()),
            ("momentum", self.momentum.into()),
            ("centered", self.centered.into()),
            ("weight_decay", self.weight_decay.into()),
        ]
    }

    fn weight_decay(&self) -> Option<WeightDecay> {
        self.weight_decay
    }
}

impl Fields for TorchRMSpropConfig {
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
