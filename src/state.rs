//! Where a run stands: everything about a [`CyclicOptimizer`](crate::CyclicOptimizer) that its config does not say.

use crate::check;
use crate::error::ConfigError;
use crate::feedback::{EarlyStoppingState, PlateauState, Stop};
use crate::schedule::{LrRange, Schedule};

/// What one update uses: what [`last`](crate::CyclicOptimizer::last) reports of the update just made, and
/// [`preview`](crate::CyclicOptimizer::preview) of those to come.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Applied {
    /// The update since the beginning of the run, counted from 0.
    pub iteration: u64,
    /// The update since the last [`reset_cycle`](crate::CyclicOptimizer::reset_cycle), counted from 0: the schedule's step.
    pub step: u64,
    /// The learning rate.
    pub lr: f64,
    /// The momentum (beta1 for Adam), if it is cycled.
    pub momentum: Option<f64>,
    /// The global norm of the gradients before they were clipped, if it was taken.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub grad_norm: Option<f64>,
}

impl Applied {
    pub(crate) const LEARNING_RATE: &str = "learning_rate";
    pub(crate) const MOMENTUM: &str = "momentum";

    /// The metrics of the update, each with its name: `learning_rate`, `momentum` if it is cycled, `grad_norm` if it was taken.
    /// This is what every [`Recorder`](crate::history::Recorder) records.
    ///
    /// ```
    /// use cyclic_optim::Applied;
    ///
    /// let used = Applied { iteration: 7, step: 7, lr: 0.1, momentum: None, grad_norm: Some(2.5) };
    /// assert!(used.metrics().eq([("learning_rate", 0.1), ("grad_norm", 2.5)]));
    /// ```
    pub fn metrics(&self) -> impl Iterator<Item = (&str, f64)> {
        let all =
            [(Self::LEARNING_RATE, Some(self.lr)), (Self::MOMENTUM, self.momentum), ("grad_norm", self.grad_norm)];
        all.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

/// Where a run stands. Plain data: save it, and [`restore`](crate::CyclicOptimizer::restore) it later.
///
/// The range and the scale are here and not in the config, for they are set in the course of a run.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct ClrState {
    /// Updates of the whole run: what the decay of the base reads.
    pub iterations: u64,
    /// Updates since the last reset: what the schedule reads.
    pub clr_iterations: u64,
    /// The range that replaces the schedule's own, if one was set.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub range: Option<LrRange>,
    /// The factor on every rate, 1 unless one was set.
    pub scale: f64,
    /// What recoveries from divergence have left of the rate, 1 at first.
    #[cfg_attr(feature = "serde", serde(default = "one"))]
    pub envelope: f64,
    /// Whether the update just made was the last one of its cycle.
    pub at_cycle_end: bool,
    /// What the update just made has used.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub last: Option<Applied>,
    /// Whether a cycle has ended since a report was last judged.
    #[cfg_attr(feature = "serde", serde(default))]
    pub unjudged_cycle_end: bool,
    /// Where the plateau stands.
    #[cfg_attr(feature = "serde", serde(default))]
    pub plateau: PlateauState,
    /// Where early stopping stands.
    #[cfg_attr(feature = "serde", serde(default))]
    pub early_stopping: EarlyStoppingState,
    /// Updates refused in a row.
    #[cfg_attr(feature = "serde", serde(default))]
    pub refusals: u64,
    /// Why the run should stop, once it should.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub stop: Option<Stop>,
}

#[cfg(feature = "serde")]
fn one() -> f64 {
    1.0
}

impl Default for ClrState {
    /// The state before the first update.
    fn default() -> Self {
        Self {
            iterations: 0,
            clr_iterations: 0,
            range: None,
            scale: 1.0,
            envelope: 1.0,
            at_cycle_end: false,
            last: None,
            unjudged_cycle_end: false,
            plateau: PlateauState::default(),
            early_stopping: EarlyStoppingState::default(),
            refusals: 0,
            stop: None,
        }
    }
}

impl ClrState {
    /// Checks that the state makes sense together with a schedule.
    pub(crate) fn check<S: Schedule>(&self, schedule: &S) -> Result<(), ConfigError> {
        check::non_negative("scale", self.scale)?;
        check::fraction("envelope", self.envelope)?;
        check::fraction("plateau.envelope", self.plateau.envelope)?;
        for (field, best) in [("plateau.best", self.plateau.best), ("early_stopping.best", self.early_stopping.best)] {
            best.map_or(Ok(()), |best| check::finite(field, best))?;
        }
        if let Some(last) = self.last {
            check::rate("last.lr", last.lr)?;
            last.momentum.map_or(Ok(()), |momentum| check::momentum("last.momentum", momentum))?;
            last.grad_norm.map_or(Ok(()), |norm| check::non_negative("last.grad_norm", norm))?;
        }
        if let Some(range) = self.range {
            check::rates(("base_lr", range.base_lr), ("max_lr", range.max_lr))?;
            schedule.range().ok_or(ConfigError::NoRange { asked: "set_range" })?;
        }
        Ok(())
    }
}
