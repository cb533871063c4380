//! Exact bias correction under a momentum that changes.

use super::rule::Rule;
use crate::hyper::Hyper;

/// A rule that divides its first moment by `1 - beta1^t` to correct its bias.
///
/// That is exact only for a constant beta1. For a scheduled beta1 the exact divisor is `1 - P`, where P is the product of the
/// beta1 of all updates. [`Elementwise::with_exact_bias_correction`](super::Elementwise::with_exact_bias_correction) switches
/// it on.
pub trait BiasCorrected: Rule {
    /// The same hyper-parameters, with a step that is `factor` times as long. A decoupled weight decay must not change.
    #[must_use]
    fn with_longer_step(&self, factor: f64) -> Self;
}

/// The product of the beta1 of all updates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::adapters::dfdx) struct BetaProduct {
    /// The beta1 of the last `count` updates.
    beta: f64,
    count: i32,
    /// The product of all earlier ones.
    before: f64,
}

impl BetaProduct {
    /// The product over `updates` updates with a constant beta1.
    pub(in crate::adapters::dfdx) fn constant(beta: f64, updates: u64) -> Self {
        Self { beta, count: i32::try_from(updates).unwrap_or(i32::MAX), before: 1.0 }
    }

    /// The form in which it is saved.
    #[cfg(feature = "checkpoint")]
    pub(in crate::adapters::dfdx) fn parts(self) -> (f64, f64, i32) {
        (self.before, self.beta, self.count)
    }

    /// Reads the form in which it was saved.
    #[cfg(feature = "checkpoint")]
    pub(in crate::adapters::dfdx) fn of_parts((before, beta, count): (f64, f64, i32)) -> Self {
        Self { beta, count, before }
    }

    /// Multiplies by the beta1 of one more update.
    fn take(&mut self, beta: f64) {
        if beta == self.beta {
            self.count = self.count.saturating_add(1);
        } else {
            *self = Self { beta, count: 1, before: self.before * self.beta.powi(self.count) };
        }
    }

    /// `(1 - beta^t) / (1 - P)`, the factor for the step of update t. With a constant beta1 both are the same number, so the
    /// factor is exactly 1.
    fn factor(&self, updates: u64) -> f64 {
        let power = i32::try_from(updates).unwrap_or(i32::MAX);
        (1.0 - self.beta.powi(power)) / (1.0 - self.before * self.beta.powi(self.count))
    }
}

/// The exact correction of a rule, if it is switched on.
#[derive(Debug, Clone)]
pub(in crate::adapters::dfdx) struct ExactBias<R> {
    longer: fn(&R, f64) -> R,
    pub(in crate::adapters::dfdx) product: BetaProduct,
    factor: f64,
}

impl<R: Rule> ExactBias<R> {
    pub(super) fn new(cfg: &R, updates: u64) -> Self
    where
        R: BiasCorrected,
    {
        let beta = cfg.get(Hyper::Momentum).unwrap_or_default();
        Self { longer: R::with_longer_step, product: BetaProduct::constant(beta, updates), factor: 1.0 }
    }

    /// Takes the beta1 of update number `updates`.
    pub(super) fn begin(&mut self, cfg: &R, updates: u64) {
        self.product.take(cfg.get(Hyper::Momentum).unwrap_or_default());
        self.factor = self.product.factor(updates);
    }

    /// The hyper-parameters with the step of this update.
    pub(super) fn correct(&self, cfg: &R) -> R {
        (self.longer)(cfg, self.factor)
    }
}
