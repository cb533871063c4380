//! When a loss has diverged: the rule that the range test and the recovery share.

use crate::smoothing::Ewma;

/// Detects that the smoothed loss exceeds `best + (factor - 1) max(|best|, share (first - best))`. That is `factor` times the
/// best loss, unless the best loss is negative or small compared with the improvement since the first loss.
#[derive(Debug, Clone)]
pub(crate) struct Divergence {
    factor: f64,
    share: f64,
    mean: Ewma,
    /// The first and the best smoothed loss.
    seen: Option<(f64, f64)>,
}

impl Divergence {
    pub(crate) fn new(factor: f64, share: f64, alpha: f64) -> Self {
        Self { factor, share, mean: Ewma::new(alpha), seen: None }
    }

    /// The same rule with another smoothing, without any losses yet.
    pub(crate) fn with_smoothing(self, alpha: f64) -> Self {
        Self::new(self.factor, self.share, alpha)
    }

    /// Adds a finite loss. Returns whether the smoothed loss is now above the limit.
    pub(crate) fn exceeded_by(&mut self, loss: f64) -> bool {
        let loss = self.mean.push(loss);
        let (first, best) = self.seen.map_or((loss, loss), |(first, best)| (first, best.min(loss)));
        self.seen = Some((first, best));
        self.above_limit(loss)
    }

    /// Whether a loss, without smoothing, is above the limit.
    pub(crate) fn above_limit(&self, loss: f64) -> bool {
        self.seen.is_some_and(|(first, best)| {
            let scale = best.abs().max(self.share * (first - best));
            // If all losses were 0, there is nothing to compare with.
            scale > 0.0 && loss > best + (self.factor - 1.0) * scale
        })
    }

    /// Adds the loss of a model that is known to be good. If that loss is above the limit, the first batches were easy ones
    /// and the limit was too low, so this raises the limit.
    pub(crate) fn accept(&mut self, loss: f64) {
        if self.exceeded_by(loss) {
            self.seen = self.seen.map(|(first, _)| (first.max(loss), loss));
        }
    }

    /// The best smoothed loss so far.
    pub(crate) fn best(&self) -> Option<f64> {
        self.seen.map(|(_, best)| best)
    }
}
