//! Stochastic gradient descent.

use dfdx::dtypes::Dtype;
use dfdx::optim::{Momentum, SgdConfig, WeightDecay};
use dfdx::shapes::Shape;
use dfdx::tensor::{Cpu, Storage, Tensor};
use dfdx::tensor_ops::Device;

use super::Elementwise;
use super::rule::{Fields, Real, Rule, SLOTS, Setting, Update, strength};
use super::unset::zero_if_unset;
use crate::hyper::Hyper;

/// SGD, plain or with classic or Nesterov momentum. It gives the same bits as dfdx's own, needs no model, and is `Send`.
///
/// # Formula
///
/// ```text
/// v <- g + momentum v
/// p <- p - lr v                     classic
/// p <- p - lr (g + momentum v)      Nesterov
/// ```
///
/// As in PyTorch, the velocity does not contain the rate, so a new rate acts on the whole velocity at once. (In Keras the
/// velocity contains the earlier rates, so its runs differ under any schedule.)
///
/// # Examples
///
/// ```
/// use cyclic_optim::Sgd;
/// use dfdx::optim::{SgdConfig, Optimizer};
/// use dfdx::prelude::{AsArray, Backward, Cpu, Rank1, SumTo, Tensor, TensorFrom, Trace};
///
/// let device = Cpu::default();
/// let mut w: Tensor<Rank1<2>, f64, _> = device.tensor([1.0, -1.0]);
/// let mut optimizer = Sgd::new(SgdConfig { lr: 0.05, ..Default::default() });
/// for _ in 0..100 {
///     let grads = w.leaky_trace().square().sum().backward();
///     optimizer.update(&mut w, &grads).unwrap();
/// }
/// assert!(w.array()[0].abs() < 0.1);
/// ```
///
/// # References
///
/// I. Sutskever et al., *On the importance of initialization and momentum*, 2013; dfdx 0.13 `optim::Sgd`.
pub type Sgd<E = f32, D = Cpu> = Elementwise<SgdConfig, E, D>;

/// The numbers of one update.
#[derive(Debug, Clone, Copy)]
pub struct Constants<F> {
    lr: F,
    momentum: F,
    moves: bool,
    nesterov: bool,
}

impl Rule for SgdConfig {
    const KIND: &'static str = "sgd";
    const STATE: &'static [&'static str] = &["velocity"];
    type Constants<F: Real> = Constants<F>;

    fn constants<F: Real>(&self, _: Update) -> Constants<F> {
        let momentum =
            self.momentum.map_or(0.0, |(Momentum::Classic(momentum) | Momentum::Nesterov(momentum))| momentum);
        Constants {
            lr: F::of(self.lr),
            momentum: F::of(momentum),
            moves: self.momentum.is_some(),
            nesterov: matches!(self.momentum, Some(Momentum::Nesterov(_))),
        }
    }

    /// No branch depends on a number, so that the loop can be vectorised.
    #[inline(always)]
    fn step<F: Real>(constants: &Constants<F>, g: F, [v, ..]: [&mut F; SLOTS]) -> F {
        let Constants { lr, momentum, moves, nesterov } = *constants;
        let velocity = g + momentum * *v;
        *v = if moves { velocity } else { *v };
        let ahead = if nesterov { g + momentum * velocity } else { velocity };
        (if moves { ahead } else { g }) * lr
    }

    fn settings(&self) -> Vec<(&'static str, Setting)> {
        let (kind, momentum) = match self.momentum {
            None => (None, None),
            Some(Momentum::Classic(momentum)) => (Some("classic"), Some(momentum)),
            Some(Momentum::Nesterov(momentum)) => (Some("nesterov"), Some(momentum)),
        };
        vec![
            ("lr", self.lr.into()),
            ("momentum_kind", kind.into()),
            ("momentum", momentum.into()),
            ("weight_decay", self.weight_decay.into()),
        ]
    }

    fn weight_decay(&self) -> Option<WeightDecay> {
        self.weight_decay
    }

    /// In small tensors the set-up of our loop costs more than the calculation. Where the whole program is compiled for AVX2,
    /// dfdx's own kernel uses it, too, and needs no copy of the parameter.
    fn prefers_device(&self, numbers: usize) -> bool {
        numbers < 32 || cfg!(target_feature = "avx2")
    }

    fn on_device<S: Shape, E: Dtype, D: Device<E>>(
        &self,
        _: Update,
        parameter: &mut Tensor<S, E, D>,
        gradient: &<D as Storage<E>>::Vec,
        state: [Option<&mut <D as Storage<E>>::Vec>; SLOTS],
    ) -> Option<Result<(), D::Err>> {
        let [Some(velocity), ..] = state else { return None };
        let mut cfg = *self;
        zero_if_unset(&mut cfg.momentum, Momentum::Classic(0.0));
        zero_if_unset(&mut cfg.weight_decay, WeightDecay::L2(0.0));
        Some(cfg.try_update(parameter, velocity, gradient))
    }
}

impl Fields for SgdConfig {
    #[inline]
    fn field(&mut self, hyper: Hyper) -> Option<&mut f64> {
        match hyper {
            Hyper::LearningRate => Some(&mut self.lr),
            Hyper::Momentum => match self.momentum.as_mut()? {
                Momentum::Classic(momentum) | Momentum::Nesterov(momentum) => Some(momentum),
            },
            Hyper::WeightDecay => strength(&mut self.weight_decay),
            Hyper::Beta2 | Hyper::Eps => None,
        }
    }
}
