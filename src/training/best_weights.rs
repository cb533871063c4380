//! The best model so far, in memory.

use crate::feedback::Observation;

/// Keeps a copy of the model with the best report in memory. It is available however the run ended, and needs no file.
///
/// The optimizer's early stopping or plateau decides what is best, so the config needs one of them.
///
/// The copy is one model: dfdx's tensors share their data until one of them is changed.
///
/// # Examples
///
/// ```
/// use cyclic_optim::feedback::EarlyStopping;
/// use cyclic_optim::training::BestWeights;
/// use cyclic_optim::{ClrConfig, Constant, CyclicOptimizer, RateAndMomentum};
///
/// let config = ClrConfig::new(Constant::new(0.1)?).with_early_stopping(EarlyStopping::new(2)?)?;
/// let mut optimizer = CyclicOptimizer::new(RateAndMomentum::default(), config);
/// let mut best = BestWeights::new();
/// for (model, loss) in [([1.0], 3.0), ([2.0], 1.0), ([3.0], 2.0)] {
///     best.keep(&optimizer.observe(loss), &model);
/// }
/// assert_eq!(best.into_inner(), Some([2.0]));
/// # Ok::<(), cyclic_optim::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct BestWeights<M>(pub(crate) Option<M>);

impl<M: Clone> BestWeights<M> {
    /// An empty `BestWeights`, without a model.
    #[must_use]
    pub fn new() -> Self {
        Self(None)
    }

    /// Keeps a copy of `model` if the metric that was just reported is the best so far. Returns whether it was.
    pub fn keep(&mut self, observation: &Observation, model: &M) -> bool {
        if observation.improved {
            self.0 = Some(model.clone());
        }
        observation.improved
    }

    /// The best model, if there was a report that improved.
    #[must_use]
    pub fn get(&self) -> Option<&M> {
        self.0.as_ref()
    }

    /// The best model, if there was a report that improved.
    #[must_use]
    pub fn into_inner(self) -> Option<M> {
        self.0
    }
}
