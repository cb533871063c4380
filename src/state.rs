//! The state of a run: everything about a [`CyclicOptimizer`](crate::CyclicOptimizer) that is not in its config.

use alloc::boxed::Box;

use crate::check;
use crate::config::check_value;
use crate::error::ConfigError;
use crate::feedback::{EarlyStoppingState, PlateauState, Stop};
use crate::groups::Groups;
use crate::hyper::Hyper;
use crate::schedule::{InForce, LrRange, Policy, Schedule};

/// What one update used, from [`last`](crate::CyclicOptimizer::last), or will use, from
/// [`preview`](crate::CyclicOptimizer::preview).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Applied {
    /// The number of the update in the run, counted from 0.
    pub iteration: u64,
    /// The number of the update since the last [`reset_cycle`](crate::CyclicOptimizer::reset_cycle), counted from 0: the step
    /// that the schedule was asked for.
    pub step: u64,
    /// The learning rate.
    pub lr: f64,
    /// The momentum (beta1 for Adam), if it is cycled or has a schedule.
    pub momentum: Option<f64>,
    /// The weight decay, if it has a schedule.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub weight_decay: Option<f64>,
    /// Adam's beta2 or RMSprop's alpha, if it has a schedule.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub beta2: Option<f64>,
    /// The eps of the optimizer, if it has a schedule.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub eps: Option<f64>,
    /// The global norm of the gradients before clipping, if it was computed.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub grad_norm: Option<f64>,
}

impl Applied {
    /// The value of a hyper-parameter that has a schedule; `None` for one that has none.
    #[must_use]
    pub fn get(&self, hyper: Hyper) -> Option<f64> {
        match hyper {
            Hyper::LearningRate => Some(self.lr),
            Hyper::Momentum => self.momentum,
            Hyper::WeightDecay => self.weight_decay,
            Hyper::Beta2 => self.beta2,
            Hyper::Eps => self.eps,
        }
    }

    /// The hyper-parameters that have a schedule, with the values that the update used.
    pub(crate) fn hypers(&self) -> impl Iterator<Item = (Hyper, f64)> + '_ {
        Hyper::ALL.into_iter().filter_map(|hyper| Some((hyper, self.get(hyper)?)))
    }

    /// The metrics of the update, each with its name: `learning_rate`; `momentum`, `weight_decay`, `beta2` and `eps` if they
    /// are scheduled; `grad_norm` if it was computed. Every [`Recorder`](crate::history::Recorder) records these.
    ///
    /// ```
    /// use cyclic_optim::Applied;
    ///
    /// let used = Applied { iteration: 7, step: 7, lr: 0.1, grad_norm: Some(2.5), ..Applied::default() };
    /// assert!(used.metrics().eq([("learning_rate", 0.1), ("grad_norm", 2.5)]));
    /// ```
    pub fn metrics(&self) -> impl Iterator<Item = (&str, f64)> {
        let hypers = self.hypers().map(|(hyper, value)| (hyper.name(), value));
        hypers.chain(self.grad_norm.map(|norm| ("grad_norm", norm)))
    }
}

/// The state of a run. Plain data: save it, and [`restore`](crate::CyclicOptimizer::restore) it later.
///
/// # Time
///
/// | word | meaning |
/// |---|---|
/// | update | one change of the parameters by the inner optimizer; everything is counted in updates |
/// | iteration | the number of an update in the whole run, counted from 0. The decay of the base depends on it |
/// | step | the number of an update since the last [`reset_cycle`](crate::CyclicOptimizer::reset_cycle), counted from 0. The schedule depends on it |
///
/// `iterations` and `clr_iterations` count the updates made, so they are also the iteration and the step of the *next*
/// update. [`seek`](crate::CyclicOptimizer::seek) sets both. Lengths such as `total_steps` and `step_size` are numbers of
/// updates, too.
///
/// # Multipliers
///
/// Several numbers multiply the rate:
///
/// | number | set by | multiplies |
/// |---|---|---|
/// | `scale` | [`set_scale`](crate::CyclicOptimizer::set_scale) | the whole rate |
/// | `envelope` | [`cut_envelope`](crate::CyclicOptimizer::cut_envelope), which a recovery calls | the whole rate |
/// | `plateau.envelope` | the [`Plateau`](crate::feedback::Plateau) | the whole rate, or `max_lr` alone; see [`Scope`](crate::feedback::Scope) |
///
/// A *scale* is set by the user. An *envelope* starts at 1 and can only shrink: it is the product of all automatic
/// reductions. A *factor* is one such reduction. The `multiplier` in the formula of [`ClrConfig`](crate::ClrConfig) is
/// the product of the numbers that multiply the whole rate.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct ClrState {
    /// The number of updates made so far in the run.
    pub iterations: u64,
    /// The number of updates since the last reset.
    pub clr_iterations: u64,
    /// The schedule that replaces the config's, if one was set.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub schedule: Option<Box<Policy>>,
    /// The groups of parameters that replace the config's, if any were set.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub groups: Option<Groups>,
    /// The range that replaces the schedule's own, if one was set.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub range: Option<LrRange>,
    /// The user's factor on every rate; 1 by default.
    pub scale: f64,
    /// The product of all cuts by [`cut_envelope`](crate::CyclicOptimizer::cut_envelope); 1 at first.
    #[cfg_attr(feature = "serde", serde(default = "one"))]
    pub envelope: f64,
    /// Whether the last update was the last one of its cycle.
    pub at_cycle_end: bool,
    /// What the last update used.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub last: Option<Applied>,
    /// Whether a cycle has ended since a report was last judged.
    #[cfg_attr(feature = "serde", serde(default))]
    pub unjudged_cycle_end: bool,
    /// The state of the plateau.
    #[cfg_attr(feature = "serde", serde(default))]
    pub plateau: PlateauState,
    /// The state of early stopping.
    #[cfg_attr(feature = "serde", serde(default))]
    pub early_stopping: EarlyStoppingState,
    /// The number of consecutive refused updates.
    #[cfg_attr(feature = "serde", serde(default))]
    pub refusals: u64,
    /// Why the run should stop, if it should.
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
            schedule: None,
            groups: None,
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
    /// The schedule that the run follows: the one in this state, or else `schedule`, which is the config's.
    #[inline]
    pub(crate) fn in_force<'a, S>(&'a self, schedule: &'a S) -> InForce<'a, S> {
        match &self.schedule {
            None => InForce::Config(schedule),
            Some(set) => InForce::Set(set),
        }
    }

    /// Checks the numbers, and that they fit the schedule.
    pub(crate) fn check<S: Schedule>(&self, schedule: &S) -> Result<(), ConfigError> {
        check::non_negative("scale", self.scale)?;
        check::fraction("envelope", self.envelope)?;
        check::fraction("plateau.envelope", self.plateau.envelope)?;
        for (field, best) in [("plateau.best", self.plateau.best), ("early_stopping.best", self.early_stopping.best)] {
            best.map_or(Ok(()), |best| check::finite(field, best))?;
        }
        self.plateau.recent.iter().try_for_each(|&metric| check::finite("plateau.recent", metric))?;
        if let Some(last) = self.last {
            check::rate("last.lr", last.lr)?;
            last.momentum.map_or(Ok(()), |momentum| check::momentum("last.momentum", momentum))?;
            last.hypers().try_for_each(|(hyper, value)| check_value(hyper, value))?;
            last.grad_norm.map_or(Ok(()), |norm| check::non_negative("last.grad_norm", norm))?;
        }
        if let Some(range) = self.range {
            check::rates(("base_lr", range.base_lr), ("max_lr", range.max_lr))?;
            schedule.range().ok_or(ConfigError::NoRange { asked: "set_range" })?;
        }
        Ok(())
    }
}
