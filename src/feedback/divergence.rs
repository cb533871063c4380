//! When a loss has run away: the rule that the range test and the recovery share.

use crate::smoothing::Ewma;

/// Says when the smoothed loss exceeds `best + (factor - 1) max(|best|, share (first - best))`: `factor` times its best, unless
/// that is negative or small beside what the loss has come down by.
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

    /// The same rule over a loss that is smoothed by so much; it begins anew.
    pub(crate) fn with_smoothing(self, alpha: f64) -> Self {
        Self::new(self.factor, self.share, alpha)
    }

    /// Takes note of a finite loss, and says whether it carries the smoothed loss above the limit.
    pub(crate) fn exceeded_by(&mut self, loss: f64) -> bool {
        let loss = self.mean.push(loss);
        let (first, best) = self.seen.map_or((loss, loss), |(first, best)| (first, best.min(loss)));
        self.seen = Some((first, best));
        self.above_limit(loss)
    }

    /// Whether a loss, as it is, lies above the limit.
    pub(crate) fn above_limit(&self, loss: f64) -> bool {
        self.seen.is_some_and(|(first, best)| {
            let scale = best.abs().max(self.share * (first - best));
            // All losses 0 so far: there is nothing to compare with.
            scale > 0.0 && loss > best + (self.factor - 1.0) * scale
        })
    }

    /// Takes note of the loss of a model that is known to be good. If it lies above the limit, the limit was too low: the first
    /// batches were easy ones.
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
