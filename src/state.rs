//! Where a run stands: everything about a [`CyclicOptimizer`](crate::CyclicOptimizer) that its config does not say.

use crate::schedule::{Cursor, LrRange, Schedule};
use crate::{ConfigError, check};

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
}

/// The rate and the momentum of an update whose number goes without saying.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rates {
    pub(crate) lr: f64,
    pub(crate) momentum: Option<f64>,
}

impl Rates {
    /// The same with the numbers of the update that `state` and `cursor` stand before.
    #[inline]
    pub(crate) fn at(self, state: &ClrState, cursor: &Cursor) -> Applied {
        Applied { iteration: state.iterations, step: cursor.step(), lr: self.lr, momentum: self.momentum }
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
    /// Whether the update just made was the last one of its cycle.
    pub at_cycle_end: bool,
    /// What the update just made has used.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub last: Option<Applied>,
}

impl Default for ClrState {
    /// The state before the first update.
    fn default() -> Self {
        Self { iterations: 0, clr_iterations: 0, range: None, scale: 1.0, at_cycle_end: false, last: None }
    }
}

impl ClrState {
    /// Counts an update that was made at `cursor` with `used`, and moves the cursor on.
    #[inline]
    pub(crate) fn count<S: Schedule>(&mut self, schedule: &S, cursor: &mut Cursor, used: Rates) {
        self.last = Some(used.at(self, cursor));
        self.iterations = self.iterations.saturating_add(1);
        self.at_cycle_end = cursor.advance() && cursor.look(schedule, self.range);
        self.clr_iterations = cursor.step();
    }

    /// Checks that the state makes sense together with a schedule.
    pub(crate) fn check<S: Schedule>(&self, schedule: &S) -> Result<(), ConfigError> {
        check::non_negative("scale", self.scale)?;
        if let Some(range) = self.range {
            check::rates(("base_lr", range.base_lr), ("max_lr", range.max_lr))?;
            schedule.range().ok_or(ConfigError::NoRange { asked: "set_range" })?;
        }
        Ok(())
    }
}
