//! Schedules of hyper-parameters other than the learning rate.

use crate::check::{self, serde_checked};
use crate::error::ConfigError;
use crate::hyper::Hyper;
use crate::schedule::{Policy, Schedule};

serde_checked! {
    /// The schedules of hyper-parameters other than the learning rate.
    ///
    /// In a file: `"hyper": {"weight_decay": {"cosine_decay": {..}}, "beta2": {"cyclic": {..}}}`.
    #[derive(Debug, Clone, PartialEq, Default)]
    pub struct HyperSchedules {
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        momentum: Option<Policy>,
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        weight_decay: Option<Policy>,
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        beta2: Option<Policy>,
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        eps: Option<Policy>,
    }
}

impl HyperSchedules {
    /// Whether no hyper-parameter has a schedule of its own.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The schedule of a hyper-parameter. `None` for the learning rate, whose schedule is the config's own.
    #[must_use]
    pub fn get(&self, hyper: Hyper) -> Option<&Policy> {
        match hyper {
            Hyper::LearningRate => None,
            Hyper::Momentum => self.momentum.as_ref(),
            Hyper::WeightDecay => self.weight_decay.as_ref(),
            Hyper::Beta2 => self.beta2.as_ref(),
            Hyper::Eps => self.eps.as_ref(),
        }
    }

    /// The hyper-parameters that have a schedule of their own.
    pub fn iter(&self) -> impl Iterator<Item = (Hyper, &Policy)> {
        Hyper::ALL.into_iter().filter_map(|hyper| Some((hyper, self.get(hyper)?)))
    }

    /// Adds a schedule.
    pub(super) fn insert(mut self, hyper: Hyper, schedule: Policy) -> Result<Self, ConfigError> {
        let slot = match hyper {
            // The schedule of the config.
            Hyper::LearningRate => return Err(ConfigError::TwoSchedules { hyper: hyper.name() }),
            Hyper::Momentum => &mut self.momentum,
            Hyper::WeightDecay => &mut self.weight_decay,
            Hyper::Beta2 => &mut self.beta2,
            Hyper::Eps => &mut self.eps,
        };
        if slot.replace(schedule).is_some() {
            return Err(ConfigError::TwoSchedules { hyper: hyper.name() });
        }
        self.check()
    }

    /// Checks the highest values. The lowest need no check, because no schedule goes below 0.
    fn check(self) -> Result<Self, ConfigError> {
        self.iter().try_for_each(|(hyper, schedule)| check_value(hyper, schedule.peak()))?;
        Ok(self)
    }
}

/// Checks a value of a hyper-parameter.
pub(crate) fn check_value(hyper: Hyper, value: f64) -> Result<(), ConfigError> {
    match hyper {
        Hyper::Momentum | Hyper::Beta2 => check::momentum(hyper.name(), value),
        Hyper::LearningRate | Hyper::WeightDecay | Hyper::Eps => check::non_negative(hyper.name(), value),
    }
}
