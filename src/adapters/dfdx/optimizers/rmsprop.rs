//! RMSprop, as dfdx has it.

use dfdx::dtypes::Dtype;
use dfdx::optim::{RMSpropConfig, WeightDecay};
use dfdx::shapes::Shape;
use dfdx::tensor::{Cpu, Storage, Tensor};
use dfdx::tensor_ops::Device;

use super::Elementwise;
use super::rule::{Fields, Real, Rule, SLOTS, Setting, Update, strength};
use super::unset::zero_if_unset;
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
/// change a parameter less here, and the difference grows as they get smaller. No option makes the two equal:
/// [`TorchRMSprop`](super::TorchRMSprop) is PyTorch's. With `lr` 0.01, `alpha` 0.9, `eps` 1e-8 and the same gradient 200 times, a
/// parameter has moved by
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
pub type RMSprop<E = f32, D = Cpu> = Elementwise<RMSpropConfig, E, D>;

/// The numbers of one update.
#[derive(Debug, Clone, Copy)]
pub struct Constants<F> {
    lr: F,
    alpha: F,
    eps: F,
    momentum: Option<F>,
    centered: bool,
}

impl Rule for RMSpropConfig {
    const KIND: &'static str = "rmsprop";
    const STATE: &'static [&'static str] = &["momentum", "square_avg", "grad_avg"];
    type Constants<F: Real> = Constants<F>;

    fn constants<F: Real>(&self, _: Update) -> Constants<F> {
        let Self { lr, alpha, eps, momentum, centered, .. } = *self;
        Constants { lr: F::of(lr), alpha: F::of(alpha), eps: F::of(eps), momentum: momentum.map(F::of), centered }
    }

    #[inline(always)]
    fn step<F: Real>(constants: &Constants<F>, g: F, [v, s, mean]: [&mut F; SLOTS]) -> F {
        let Constants { lr, alpha, eps, momentum, centered } = *constants;
        *s += (F::one() - alpha) * (g * g - *s);
        let square = if centered {
            *mean += (F::one() - alpha) * (g - *mean);
            *s - *mean * *mean
        } else {
            *s
        };
        let scaled = g / (square + eps).sqrt();
        match momentum {
            None => scaled * lr,
            Some(momentum) => {
                *v = *v * momentum + scaled;
                *v * lr
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

    fn start(&self) -> [f64; SLOTS] {
        [0.0, 1.0, 0.0]
    }

    /// dfdx's own kernel is limited only by the processor's divisions and square roots. For small parameters the set-up of our
    /// loop costs more, and for large ones the copy of the parameter.
    fn prefers_device(&self, numbers: usize) -> bool {
        !(512..=2048).contains(&numbers) || cfg!(target_feature = "avx2")
    }

    fn on_device<S: Shape, E: Dtype, D: Device<E>>(
        &self,
        _: Update,
        parameter: &mut Tensor<S, E, D>,
        gradient: &<D as Storage<E>>::Vec,
        state: [Option<&mut <D as Storage<E>>::Vec>; SLOTS],
    ) -> Option<Result<(), D::Err>> {
        let [Some(momentum), Some(square_avg), Some(grad_avg)] = state else { return None };
        let mut cfg = *self;
        zero_if_unset(&mut cfg.momentum, 0.0);
        zero_if_unset(&mut cfg.weight_decay, WeightDecay::L2(0.0));
        Some(cfg.try_update(parameter, momentum, square_avg, grad_avg, gradient))
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
