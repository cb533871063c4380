//! What an inner optimizer must provide: access to its hyper-parameters.

use thiserror::Error;

use crate::groups::{Groups, NoGroups};

/// A hyper-parameter that can be read and set between two updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hyper {
    /// The learning rate.
    LearningRate,
    /// The velocity factor of SGD (classic or Nesterov), the momentum of RMSprop (never its alpha), beta1 of Adam.
    Momentum,
    /// The weight decay, L2 or decoupled as the optimizer defines it.
    WeightDecay,
    /// The weight of the past in the mean square: beta2 of Adam, alpha of RMSprop (rho in Keras). Lion's
    /// beta2 is the weight of the past in its momentum.
    Beta2,
    /// The small number that prevents a division by 0.
    Eps,
}

impl Hyper {
    /// All of them, in the order in which they are reported.
    pub(crate) const ALL: [Self; 5] = [Self::LearningRate, Self::Momentum, Self::WeightDecay, Self::Beta2, Self::Eps];

    /// The name in config files, histories and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LearningRate => "learning_rate",
            Self::Momentum => "momentum",
            Self::WeightDecay => "weight_decay",
            Self::Beta2 => "beta2",
            Self::Eps => "eps",
        }
    }
}

/// The optimizer does not have this hyper-parameter, or it is switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this optimizer has no {} to set", .0.name())]
pub struct Unsupported(pub Hyper);

/// An optimizer whose hyper-parameters can be read and written between two updates.
///
/// Implement it for an optimizer of your own to wrap it in a [`CyclicOptimizer`](crate::CyclicOptimizer) and drive it
/// through [`update_with`](crate::CyclicOptimizer::update_with).
///
/// ```
/// use cyclic_optim::{Cyclic, CyclicOptimizer, Hyper, Hyperparameters, Unsupported};
///
/// struct PlainSgd {
///     rate: f64,
/// }
///
/// impl Hyperparameters for PlainSgd {
///     fn get(&self, hyper: Hyper) -> Option<f64> {
///         matches!(hyper, Hyper::LearningRate).then_some(self.rate)
///     }
///     fn set(&mut self, hyper: Hyper, value: f64) -> Result<(), Unsupported> {
///         match hyper {
///             Hyper::LearningRate => Ok(self.rate = value),
///             other => Err(Unsupported(other)),
///         }
///     }
/// }
///
/// // Minimise w^2.
/// let mut w = 1.0;
/// let mut optimizer = CyclicOptimizer::new(PlainSgd { rate: 0.0 }, Cyclic::triangular(0.1, 0.3, 2)?);
/// for expected in [0.1, 0.2, 0.3, 0.2, 0.1] {
///     optimizer.update_with(|inner| {
///         assert!((inner.rate - expected).abs() < 1e-15);
///         w -= inner.rate * 2.0 * w;
///         Ok::<(), ()>(())
///     }).unwrap();
/// }
/// assert!(w < 0.1);
/// # Ok::<(), cyclic_optim::ConfigError>(())
/// ```
pub trait Hyperparameters {
    /// The present value; `None` if the optimizer does not have the hyper-parameter or it is switched off.
    fn get(&self, hyper: Hyper) -> Option<f64>;

    /// Sets the value that the next update uses.
    ///
    /// # Errors
    ///
    /// [`Unsupported`] if and only if [`get`](Self::get) returns `None`: setting a value never switches a
    /// hyper-parameter on.
    fn set(&mut self, hyper: Hyper, value: f64) -> Result<(), Unsupported>;

    /// Sets the groups of parameters for all later updates. The default supports none.
    ///
    /// # Errors
    ///
    /// The optimizer has no groups.
    fn set_groups(&mut self, groups: &Groups) -> Result<(), NoGroups> {
        if groups.is_empty() { Ok(()) } else { Err(NoGroups) }
    }
}

/// An inner optimizer that is only a learning rate and a momentum, for frameworks whose rate is set from outside, and for
/// tests.
///
/// ```
/// use cyclic_optim::{Cyclic, CyclicOptimizer, RateAndMomentum};
///
/// let mut optimizer = CyclicOptimizer::new(RateAndMomentum::default(), Cyclic::triangular(0.1, 0.3, 2)?);
/// let mut w = 1.0;
/// for _ in 0..4 {
///     optimizer.update_with(|rates| Ok::<_, ()>(w -= rates.lr * 2.0 * w)).unwrap(); // minimises w^2
/// }
/// assert!(w < 0.2);
/// # Ok::<(), cyclic_optim::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RateAndMomentum {
    /// The learning rate.
    pub lr: f64,
    /// The momentum; `None` if the optimizer has none.
    pub momentum: Option<f64>,
}

impl Hyperparameters for RateAndMomentum {
    fn get(&self, hyper: Hyper) -> Option<f64> {
        match hyper {
            Hyper::LearningRate => Some(self.lr),
            Hyper::Momentum => self.momentum,
            _ => None,
        }
    }

    fn set(&mut self, hyper: Hyper, value: f64) -> Result<(), Unsupported> {
        match (hyper, &mut self.momentum) {
            (Hyper::LearningRate, _) => self.lr = value,
            (Hyper::Momentum, Some(momentum)) => *momentum = value,
            _ => return Err(Unsupported(hyper)),
        }
        Ok(())
    }
}
