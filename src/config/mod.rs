//! What the user asks for: a schedule, and the options around it.

#[cfg(feature = "serde")]
mod file;
mod hyper;
mod into_config;
mod options;

use crate::check::{self, serde_checked};
use crate::error::ConfigError;
use crate::feedback::{EarlyStopping, Plateau, Scope, Watch};
use crate::groups::Groups;
use crate::hyper::Hyper;
use crate::schedule::{IntoPolicy, Policy, Schedule};

pub use hyper::HyperSchedules;
pub(crate) use hyper::check_value;
pub use into_config::IntoConfig;
pub use options::{Bounds, Clip, Guard, MomentumRange};

serde_checked! {
    /// The configuration of a [`CyclicOptimizer`](crate::CyclicOptimizer): a schedule, and optionally a momentum range, a
    /// decay of the base and bounds.
    ///
    /// # Formula
    ///
    /// With the two counters of [`ClrState`](crate::ClrState):
    ///
    /// ```text
    /// base     = base_lr / (1 + decay iterations)               the base decays first; the peak stays at max_lr
    /// value    = schedule over (base, max_lr) at clr_iterations
    /// lr       = clamp(value multiplier, floor, ceiling)        for the multiplier see ClrState
    /// momentum = max_momentum - (max_momentum - base_momentum) height (amplitude)
    /// others   = their own schedules at clr_iterations
    /// ```
    ///
    /// A run never changes its config. What it changes is in [`ClrState`](crate::ClrState).
    ///
    /// | option | default | purpose | range |
    /// |---|---|---|---|
    /// | `schedule` | required | the learning rate of each update | |
    /// | [`with_momentum`](Self::with_momentum) | none | momentum, inverse to the rate | 0 <= base <= max < 1 |
    /// | [`with_hyper`](Self::with_hyper) | none | weight decay, beta2, eps or momentum on a schedule of its own | |
    /// | [`with_decay`](Self::with_decay) | 0 | decay of the base | [0, inf) |
    /// | [`with_bounds`](Self::with_bounds) | none | limits of the applied rate | 0 <= floor <= ceiling |
    /// | [`with_plateau`](Self::with_plateau) | none | a smaller rate when the metric stops improving | [`Plateau`] |
    /// | [`with_early_stopping`](Self::with_early_stopping) | none | when to stop | [`EarlyStopping`] |
    /// | [`with_watch`](Self::with_watch) | every report | which reports are judged | [`Watch`] |
    /// | [`with_guard`](Self::with_guard) | loss only | which updates are refused | [`Guard`] |
    /// | [`with_clip`](Self::with_clip) | none | clipping of gradients | above 0 |
    /// | [`with_batches_per_epoch`](Self::with_batches_per_epoch) | none | the epoch that lengths in updates were computed for | >= 1 |
    /// | [`with_groups`](Self::with_groups) | none | rates and weight decays by name of the parameters | [`Groups`] |
    ///
    /// # Examples
    ///
    /// ```
    /// use cyclic_optim::{ClrConfig, Cyclic};
    ///
    /// let config = ClrConfig::new(Cyclic::triangular(0.01, 0.06, 2000)?)
    ///     .with_momentum(0.85, 0.95)?
    ///     .with_decay(1e-4)?;
    /// let at_peak = config.preview().nth(2000).unwrap();
    /// assert_eq!((at_peak.lr, at_peak.momentum), (0.06, Some(0.85)));
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    ///
    /// # References
    ///
    /// The order, decay before the cycle, and the two counters come from the optimizers of bckenstler/CLR; the inverse
    /// momentum comes from L. N. Smith, arXiv:1803.09820.
    #[derive(Debug, Clone, PartialEq)]
    pub struct ClrConfig<S: Schedule = Policy> {
        schedule: S,
        #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
        momentum: Option<MomentumRange>,
        #[cfg_attr(feature = "serde", serde(default))]
        decay: f64,
        #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
        bounds: Option<Bounds>,
        #[cfg_attr(feature = "serde", serde(default))]
        watch: Watch,
        #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
        plateau: Option<Plateau>,
        #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
        early_stopping: Option<EarlyStopping>,
        #[cfg_attr(feature = "serde", serde(default))]
        guard: Guard,
        #[cfg_attr(feature = "serde", serde(default))]
        clip: Clip,
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "HyperSchedules::is_empty"))]
        hyper: HyperSchedules,
        #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
        batches_per_epoch: Option<u64>,
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Groups::is_empty"))]
        groups: Groups,
    }
}

impl ClrConfig {
    /// A config with a schedule of this crate and no further options.
    pub fn new(schedule: impl IntoPolicy) -> Self {
        Self::custom(schedule.into_policy())
    }
}

impl<S: Schedule> ClrConfig<S> {
    /// A config with any schedule, including one of your own.
    pub fn custom(schedule: S) -> Self {
        Self {
            schedule,
            momentum: None,
            decay: 0.0,
            bounds: None,
            watch: Watch::default(),
            plateau: None,
            early_stopping: None,
            guard: Guard::default(),
            clip: Clip::default(),
            hyper: HyperSchedules::default(),
            batches_per_epoch: None,
            groups: Groups::default(),
        }
    }

    /// Cycles the momentum inversely to the rate: `max_momentum` at the base, `base_momentum` at the peak.
    ///
    /// # Errors
    ///
    /// A momentum outside [0, 1), `base_momentum` above `max_momentum`, a schedule without a height.
    pub fn with_momentum(mut self, base_momentum: f64, max_momentum: f64) -> Result<Self, ConfigError> {
        self.momentum = Some(MomentumRange { base_momentum, max_momentum, scaled: false });
        self.check()
    }

    /// Like [`with_momentum`](Self::with_momentum), but the lowest momentum of a cycle rises as the amplitude of the cycles
    /// shrinks, as in PyTorch's `CyclicLR`.
    ///
    /// # Errors
    ///
    /// See [`with_momentum`](Self::with_momentum).
    pub fn with_scaled_momentum(mut self, base_momentum: f64, max_momentum: f64) -> Result<Self, ConfigError> {
        self.momentum = Some(MomentumRange { base_momentum, max_momentum, scaled: true });
        self.check()
    }

    /// Gives a hyper-parameter other than the learning rate a schedule of its own, over the same steps. Where the
    /// documentation of a schedule says rate, the value of the hyper-parameter is meant.
    ///
    /// Scale, plateau, bounds and [`set_range`](crate::CyclicOptimizer::set_range) act on the learning rate alone.
    ///
    /// ```
    /// use cyclic_optim::{ClrConfig, CosineDecay, Cyclic, Hyper, LinearDecay, Part, Sequence};
    ///
    /// // Weight decay that fades out, and RMSprop's alpha (Adam's beta2) against the rate: down while it rises, then up.
    /// let down = LinearDecay::new(0.95, 0.85, 100)?;
    /// let against = Sequence::new([Part::new(down, 100), Part::endless(Cyclic::triangular(0.85, 0.95, 100)?)])?;
    /// let config = ClrConfig::new(Cyclic::triangular(0.001, 0.006, 100)?)
    ///     .with_hyper(Hyper::WeightDecay, CosineDecay::new(0.01, 0.0, 400)?)?
    ///     .with_hyper(Hyper::Beta2, against)?;
    /// let at_peak = config.preview().nth(100).unwrap();
    /// assert_eq!((at_peak.lr, at_peak.beta2), (0.006, Some(0.85)));
    /// assert_eq!(config.preview().nth(200).unwrap().weight_decay, Some(0.005));
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A second schedule for the same hyper-parameter (the learning rate has one already), a momentum or beta2 of 1 or above.
    pub fn with_hyper(mut self, hyper: Hyper, schedule: impl IntoPolicy) -> Result<Self, ConfigError> {
        self.hyper = self.hyper.insert(hyper, schedule.into_policy())?;
        self.check()
    }

    /// Decays the base of the cycle: `base_lr / (1 + decay iterations)`. The peak stays at `max_lr`, as in the optimizers of
    /// bckenstler/CLR. (The `decay` of Keras 2's own optimizers divides the whole rate, including the peak.)
    ///
    /// # Errors
    ///
    /// A negative or non-finite `decay`, a schedule that has no base and peak.
    pub fn with_decay(mut self, decay: f64) -> Result<Self, ConfigError> {
        self.decay = decay;
        self.check()
    }

    /// Keeps every applied rate between `floor` and `ceiling`.
    ///
    /// # Errors
    ///
    /// A negative or non-finite rate, `floor` above `ceiling`.
    pub fn with_bounds(mut self, floor: f64, ceiling: f64) -> Result<Self, ConfigError> {
        self.bounds = Some(Bounds { floor, ceiling });
        self.check()
    }

    /// Reduces the rate or the peak when the reported metric stops improving.
    ///
    /// Plateau and early stopping each have their own rule of improvement. With
    /// [`observe`](crate::CyclicOptimizer::observe) both judge the same metric, so give both rules its direction. With
    /// [`observe_separately`](crate::CyclicOptimizer::observe_separately) each judges its own metric.
    ///
    /// # Errors
    ///
    /// A floor above the reference rate, a plateau on the peak of a schedule that has none.
    pub fn with_plateau(mut self, plateau: Plateau) -> Result<Self, ConfigError> {
        self.plateau = Some(plateau);
        self.check()
    }

    /// Reports when the run should stop. [`with_plateau`](Self::with_plateau) explains which metric each of the two judges.
    ///
    /// # Errors
    ///
    /// None at present: an [`EarlyStopping`] is checked when it is made.
    pub fn with_early_stopping(mut self, early_stopping: EarlyStopping) -> Result<Self, ConfigError> {
        self.early_stopping = Some(early_stopping);
        self.check()
    }

    /// Sets which reports are judged.
    ///
    /// # Errors
    ///
    /// [`Watch::CycleEnds`] for a schedule without cycles.
    pub fn with_watch(mut self, watch: Watch) -> Result<Self, ConfigError> {
        self.watch = watch;
        self.check()
    }

    /// Sets when [`apply`](crate::CyclicOptimizer::apply) refuses an update.
    ///
    /// # Errors
    ///
    /// `max_refusals` of 0.
    pub fn with_guard(mut self, guard: Guard) -> Result<Self, ConfigError> {
        self.guard = guard;
        self.check()
    }

    /// Sets how [`apply`](crate::CyclicOptimizer::apply) clips gradients.
    ///
    /// # Errors
    ///
    /// A norm or a value that is not above 0 and finite.
    pub fn with_clip(mut self, clip: Clip) -> Result<Self, ConfigError> {
        self.clip = clip;
        self.check()
    }

    /// Sets the number of updates in an epoch from which the lengths of this config were computed. It changes no rate. But
    /// it is part of the config, so a checkpoint is not continued with another number by accident.
    ///
    /// # Errors
    ///
    /// 0 batches.
    pub fn with_batches_per_epoch(mut self, batches_per_epoch: u64) -> Result<Self, ConfigError> {
        self.batches_per_epoch = Some(batches_per_epoch);
        self.check()
    }

    /// Gives groups of parameters rates and weight decays of their own, as factors of the scheduled ones.
    ///
    /// # Errors
    ///
    /// None: [`Groups`] are checked when they are made. The first update by [`apply`](crate::CyclicOptimizer::apply) checks
    /// that each prefix fits a parameter. dfdx's `update` has no error for this, and ignores a prefix that fits none;
    /// [`Groups::check_names`] finds it.
    pub fn with_groups(mut self, groups: Groups) -> Result<Self, ConfigError> {
        self.groups = groups;
        self.check()
    }

    /// The schedule.
    #[inline]
    pub fn schedule(&self) -> &S {
        &self.schedule
    }

    /// The range of the momentum, if it is cycled.
    #[inline]
    pub fn momentum(&self) -> Option<MomentumRange> {
        self.momentum
    }

    /// Whether a run sets this hyper-parameter at each update.
    pub fn is_scheduled(&self, hyper: Hyper) -> bool {
        match hyper {
            Hyper::LearningRate => true,
            Hyper::Momentum if self.momentum.is_some() => true,
            _ => self.hyper.get(hyper).is_some(),
        }
    }

    /// The schedules of hyper-parameters other than the learning rate.
    pub fn hyper(&self) -> &HyperSchedules {
        &self.hyper
    }

    /// The decay of the base.
    #[inline]
    pub fn decay(&self) -> f64 {
        self.decay
    }

    /// The limits of the applied rate, if any.
    #[inline]
    pub fn bounds(&self) -> Option<Bounds> {
        self.bounds
    }

    /// Which reports are judged.
    pub fn watch(&self) -> Watch {
        self.watch
    }

    /// The plateau, if there is one.
    #[inline]
    pub fn plateau(&self) -> Option<Plateau> {
        self.plateau
    }

    /// Early stopping, if there is one.
    pub fn early_stopping(&self) -> Option<EarlyStopping> {
        self.early_stopping
    }

    /// When an update is refused.
    pub fn guard(&self) -> Guard {
        self.guard
    }

    /// The groups of parameters.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// How gradients are clipped.
    pub fn clip(&self) -> Clip {
        self.clip
    }

    /// The number of updates in an epoch that the lengths were made for, if it was given.
    pub fn batches_per_epoch(&self) -> Option<u64> {
        self.batches_per_epoch
    }

    fn check(mut self) -> Result<Self, ConfigError> {
        check::non_negative("decay", self.decay)?;
        if let Some(Bounds { floor, ceiling }) = &mut self.bounds {
            check::schedule_rate("floor", floor)?;
            check::schedule_rate("ceiling", ceiling)?;
            check::ordered(("floor", *floor), ("ceiling", *ceiling))?;
        }
        if let Some(MomentumRange { base_momentum, max_momentum, scaled: _ }) = self.momentum {
            check::momentum("base_momentum", base_momentum)?;
            check::momentum("max_momentum", max_momentum)?;
            check::ordered(("base_momentum", base_momentum), ("max_momentum", max_momentum))?;
            if self.hyper.get(Hyper::Momentum).is_some() {
                return Err(ConfigError::TwoSchedules { hyper: Hyper::Momentum.name() });
            }
        }
        if let Some(plateau) = self.plateau {
            plateau.check()?;
        }
        if let Some(early_stopping) = self.early_stopping {
            early_stopping.check()?;
        }
        self.batches_per_epoch.map_or(Ok(()), |batches| check::length("batches_per_epoch", batches))?;
        self.guard.max_refusals.map_or(Ok(()), |refusals| check::length("max_refusals", refusals))?;
        self.clip.norm.map_or(Ok(()), |norm| check::positive("clip.norm", norm))?;
        self.clip.value.map_or(Ok(()), |value| check::positive("clip.value", value))?;
        self.check_schedule(&self.schedule)?;
        Ok(self)
    }

    /// Checks that a schedule has what the options need.
    pub(crate) fn check_schedule<T: Schedule>(&self, schedule: &T) -> Result<(), ConfigError> {
        if self.decay > 0.0 && schedule.range().is_none() {
            return Err(ConfigError::NoRange { asked: "decay" });
        }
        if self.momentum.is_some() {
            schedule.point_at(0, None).height.ok_or(ConfigError::NoHeight)?;
        }
        if let Some(plateau) = self.plateau {
            if plateau.scope == Scope::Peak {
                schedule.range().ok_or(ConfigError::NoRange { asked: "a plateau on the peak" })?;
            }
            check::ordered(("floor", plateau.floor), ("the reference rate", schedule.peak()))?;
        }
        if self.watch == Watch::CycleEnds {
            schedule.cycle_start(0).ok_or(ConfigError::NoCycles)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Constant, Cyclic};

    #[test]
    fn every_precondition() {
        use ConfigError::{NoHeight, NoRange, OutOfRange, Rate, Reversed};
        let config = || ClrConfig::new(Cyclic::triangular(0.1, 0.2, 5).unwrap());
        let constant = || ClrConfig::new(Constant::new(0.1).unwrap());
        for bad in [f64::NAN, f64::INFINITY, -0.1] {
            assert!(matches!(config().with_decay(bad), Err(OutOfRange { field: "decay", .. })));
            assert!(matches!(config().with_bounds(bad, 1.0), Err(Rate { field: "floor", .. })));
            assert!(matches!(config().with_bounds(0.0, bad), Err(Rate { field: "ceiling", .. })));
            assert!(matches!(config().with_momentum(bad, 0.9), Err(OutOfRange { field: "base_momentum", .. })));
            assert!(matches!(config().with_momentum(0.9, bad), Err(OutOfRange { field: "max_momentum", .. })));
        }
        assert!(matches!(config().with_momentum(0.5, 1.0), Err(OutOfRange { field: "max_momentum", .. })));
        assert!(matches!(config().with_scaled_momentum(0.9, 0.8), Err(Reversed { .. })));
        assert!(matches!(config().with_bounds(0.2, 0.1), Err(Reversed { .. })));
        assert!(matches!(constant().with_decay(0.1), Err(NoRange { asked: "decay" })));
        assert!(matches!(constant().with_momentum(0.8, 0.9), Err(NoHeight)));
    }
}
