//! A review of a config before the run: what it will do that its user may not have meant.
//!
//! Nothing is forbidden, and nothing is changed: a review returns a list of [`Finding`]s. Each has a name, one sentence and its
//! numbers.
//!
//! ```
//! use cyclic_optim::review::{Finding, Review};
//! use cyclic_optim::{ClrConfig, Cyclic};
//!
//! let config = ClrConfig::new(Cyclic::triangular(0.001, 0.02, 90)?); // a cycle is 180 updates
//! assert_eq!(Review::new(900)?.findings(&config), []);
//! let findings = Review::new(990)?.findings(&config);
//! assert!(matches!(findings[..], [Finding::EndsInMidCycle { cycle: 5, made: 90, length: 180, .. }]));
//! println!("{}: {}", findings[0].name(), findings[0]);
//! # Ok::<(), cyclic_optim::ConfigError>(())
//! ```

mod finding;

use alloc::vec::Vec;

pub use finding::Finding;

use crate::check;
use crate::config::ClrConfig;
use crate::error::ConfigError;
use crate::feedback::Watch;
use crate::numeric;
use crate::schedule::{Cycle, Schedule, ScheduleExt, inverse_time};
use crate::state::{Applied, ClrState};

/// A planned run, to be compared with its config.
///
/// | option | default | what it lets the review find |
/// |---|---|---|
/// | `updates` | required | everything that compares the schedule with the length of the run |
/// | [`with_batches_per_epoch`](Self::with_batches_per_epoch) | unknown | [`Finding::StepSizeOutOfRange`] |
/// | [`with_rate_limit`](Self::with_rate_limit) | unknown | [`Finding::AboveLimit`] |
/// | [`with_snapshots`](Self::with_snapshots) | 0 | [`Finding::FewerSnapshots`] |
/// | [`with_constant_momentum`](Self::with_constant_momentum) | no | leaves out [`Finding::MomentumNotCycled`] |
///
/// A review computes the rate of each update, which takes some milliseconds. Of a longer run it computes only the first
/// 1,048,576 updates, so a higher rate after those is not found.
///
/// # Errors
///
/// A [`ConfigError`] for 0 updates, 0 batches in an epoch, and a limit that is not above 0 and finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Review {
    updates: u64,
    batches_per_epoch: Option<u64>,
    rate_limit: Option<f64>,
    snapshots: u64,
    constant_momentum: bool,
}

/// The largest number of updates whose rates are computed.
const LOOKED_AT: u64 = 1 << 20;

/// The part of the peak that counts as reached. It is below 1 because a turn may lie between two updates.
const REACHED: f64 = 0.99;

/// A run may end within a cycle if its rate is at most this part of the way from the rate at the end of the cycle to the
/// highest rate.
const NEARLY_ENDED: f64 = 0.02;

/// The part of the run by which the horizon may differ from the end of the run.
const HORIZON_TOLERANCE: f64 = 0.01;

/// The factor by which a decay may reduce the base.
const LARGEST_DECAY: f64 = 10.0;

impl Review {
    /// A run of `updates` updates from the start.
    ///
    /// # Errors
    ///
    /// 0 updates.
    pub fn new(updates: u64) -> Result<Self, ConfigError> {
        check::length("updates", updates)?;
        Ok(Self { updates, batches_per_epoch: None, rate_limit: None, snapshots: 0, constant_momentum: false })
    }

    /// Sets the number of updates in an epoch.
    ///
    /// # Errors
    ///
    /// 0 batches.
    pub fn with_batches_per_epoch(mut self, batches_per_epoch: u64) -> Result<Self, ConfigError> {
        check::length("batches_per_epoch", batches_per_epoch)?;
        self.batches_per_epoch = Some(batches_per_epoch);
        Ok(self)
    }

    /// Sets the highest rate that a range test found usable.
    ///
    /// # Errors
    ///
    /// A limit that is not above 0 and finite.
    pub fn with_rate_limit(mut self, rate_limit: f64) -> Result<Self, ConfigError> {
        check::positive("rate_limit", rate_limit)?;
        self.rate_limit = Some(rate_limit);
        Ok(self)
    }

    /// Sets the number of snapshots wanted, one at the end of each cycle.
    #[must_use]
    pub fn with_snapshots(mut self, snapshots: u64) -> Self {
        self.snapshots = snapshots;
        self
    }

    /// Says that the momentum is constant on purpose, or that the inner optimizer has none.
    #[must_use]
    pub fn with_constant_momentum(mut self) -> Self {
        self.constant_momentum = true;
        self
    }

    /// Finds what may be a mistake in the config for this run. The findings have the order of the variants of [`Finding`].
    #[must_use]
    pub fn findings<S: Schedule>(&self, config: &ClrConfig<S>) -> Vec<Finding> {
        let Some(rates) = Rates::of(config, self.updates) else { return Vec::new() };
        [
            self.ends_in_mid_cycle(config, &rates),
            self.peak_never_reached(config, &rates),
            self.horizon_before_end(config, &rates),
            self.horizon_after_end(config),
            self.step_size_out_of_range(config),
            Self::first_update_at_zero(config, &rates),
            self.momentum_not_cycled(config, &rates),
            rates.momentum_rises_with_rate(),
            self.plateau_judges_every_report(config),
            self.base_decays_away(config),
            self.fewer_snapshots(config),
            self.above_limit(&rates),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The last update of the run.
    fn last(&self) -> u64 {
        self.updates - 1
    }

    fn ends_in_mid_cycle<S: Schedule>(&self, config: &ClrConfig<S>, rates: &Rates) -> Option<Finding> {
        let cycle = config.schedule().cycle_at(self.last())?;
        let cycle_end = self.updates.saturating_add(cycle.remaining()).saturating_sub(2);
        let (lr, cycle_end_lr) = (lr_at(config, self.last()), lr_at(config, cycle_end));
        let matters = lr - cycle_end_lr > NEARLY_ENDED * (rates.highest.lr - cycle_end_lr);
        let Cycle { index, place, length } = cycle;
        (!cycle.is_last() && matters).then_some(Finding::EndsInMidCycle {
            cycle: index,
            made: place.saturating_add(1),
            length,
            lr,
            cycle_end_lr,
        })
    }

    fn peak_never_reached<S: Schedule>(&self, config: &ClrConfig<S>, rates: &Rates) -> Option<Finding> {
        let schedule = config.schedule();
        let cycle_end = || Some(self.last().saturating_add(schedule.cycle_at(self.last())?.remaining()));
        let end = schedule.horizon().or_else(cycle_end).unwrap_or(0).max(self.last());
        let (_, peak) = schedule.extremes(0..end.saturating_add(1).min(LOOKED_AT))?.max;
        let highest = rates.highest.lr;
        (highest < REACHED * peak).then_some(Finding::PeakNeverReached { highest, peak, updates: self.updates })
    }

    /// The number of updates by which run and schedule may differ.
    fn tolerance(&self) -> u64 {
        numeric::nearest_step(HORIZON_TOLERANCE, self.updates)
    }

    fn horizon_before_end<S: Schedule>(&self, config: &ClrConfig<S>, rates: &Rates) -> Option<Finding> {
        let horizon = config.schedule().horizon()?;
        let held = self.updates.checked_sub(horizon)?;
        let held_lr = lr_at(config, horizon);
        // A schedule that rises to a constant rate is meant to hold it.
        let falls = held_lr < rates.highest.lr;
        (held > self.tolerance() && falls).then_some(Finding::HorizonBeforeEnd {
            horizon,
            updates: self.updates,
            held_lr,
        })
    }

    fn horizon_after_end<S: Schedule>(&self, config: &ClrConfig<S>) -> Option<Finding> {
        let horizon = config.schedule().horizon()?;
        let cut = horizon.checked_sub(self.updates)?;
        let (lr, horizon_lr) = (lr_at(config, self.last()), lr_at(config, horizon));
        (cut > self.tolerance()).then_some(Finding::HorizonAfterEnd { horizon, updates: self.updates, lr, horizon_lr })
    }

    fn step_size_out_of_range<S: Schedule>(&self, config: &ClrConfig<S>) -> Option<Finding> {
        let (schedule, batches) = (config.schedule(), self.batches_per_epoch?);
        // Smith's rule is about repeated cycles that begin with their rise.
        let second = schedule.cycle_start(1).filter(|&start| start < self.updates)?;
        let Cycle { length, .. } = schedule.cycle_at(second)?;
        let rises = schedule.height_at(second)? < 0.5;
        // The lengths of cycles that divide a total may differ by one update.
        let epochs = |epochs: u64| batches.saturating_mul(2 * epochs);
        let outside = length < epochs(2) - 1 || length > epochs(10).saturating_add(1);
        (rises && outside).then(|| Finding::StepSizeOutOfRange {
            step_size: length / 2,
            epochs: numeric::fraction(length, batches) / 2.0,
            batches_per_epoch: batches,
        })
    }

    fn first_update_at_zero<S: Schedule>(config: &ClrConfig<S>, rates: &Rates) -> Option<Finding> {
        (rates.first.lr == 0.0).then(|| Finding::FirstUpdateAtZero { second_lr: lr_at(config, 1) })
    }

    fn momentum_not_cycled<S: Schedule>(&self, config: &ClrConfig<S>, rates: &Rates) -> Option<Finding> {
        let schedule = config.schedule();
        let cycle = schedule.cycle_at(0)?;
        let one_cycle = schedule.horizon() == Some(cycle.length) && schedule.height_at(0)? < 0.5;
        let constant = rates.first.momentum.is_none() && !self.constant_momentum;
        (one_cycle && constant).then_some(Finding::MomentumNotCycled { max_lr: rates.highest.lr })
    }

    fn plateau_judges_every_report<S: Schedule>(&self, config: &ClrConfig<S>) -> Option<Finding> {
        let plateau = config.plateau().filter(|_| config.watch() == Watch::EveryReport)?;
        // One cycle has no other to compare its end with.
        let second = config.schedule().cycle_start(1).filter(|&start| start < self.updates)?;
        let Cycle { length, .. } = config.schedule().cycle_at(second)?;
        Some(Finding::PlateauJudgesEveryReport { patience: plateau.patience, cycle_length: length })
    }

    fn base_decays_away<S: Schedule>(&self, config: &ClrConfig<S>) -> Option<Finding> {
        let base_lr = config.schedule().range()?.base_lr;
        let last_base_lr = inverse_time(base_lr, config.decay(), self.last());
        (last_base_lr * LARGEST_DECAY < base_lr).then(|| Finding::BaseDecaysAway {
            base_lr,
            last_base_lr,
            decay: config.decay(),
        })
    }

    fn fewer_snapshots<S: Schedule>(&self, config: &ClrConfig<S>) -> Option<Finding> {
        let ended = |cycles| config.schedule().updates_for_cycles(cycles).is_some_and(|end| end <= self.updates);
        if ended(self.snapshots) {
            return None;
        }
        // At each step, `made` cycles end within the run and `too_many` do not.
        let (mut made, mut too_many) = (0, self.snapshots);
        while too_many - made > 1 {
            let middle = made + (too_many - made) / 2;
            if ended(middle) { made = middle } else { too_many = middle }
        }
        Some(Finding::FewerSnapshots { asked: self.snapshots, made })
    }

    fn above_limit(&self, rates: &Rates) -> Option<Finding> {
        let limit = self.rate_limit?;
        let Applied { step, lr, .. } = rates.highest;
        (lr > limit).then_some(Finding::AboveLimit { limit, highest: lr, update: step })
    }
}

/// The rate of an update.
fn lr_at<S: Schedule>(config: &ClrConfig<S>, step: u64) -> f64 {
    let state = ClrState { iterations: step, clr_iterations: step, ..ClrState::default() };
    config.preview_from(state).next().map_or(f64::NAN, |used| used.lr)
}

/// The outstanding updates of a run.
struct Rates {
    first: Applied,
    lowest: Applied,
    highest: Applied,
}

impl Rates {
    /// `None` for no updates, which a review does not have.
    fn of<S: Schedule>(config: &ClrConfig<S>, updates: u64) -> Option<Self> {
        let mut used = config.preview().take(usize::try_from(updates.min(LOOKED_AT)).unwrap_or(usize::MAX));
        let first = used.next()?;
        Some(used.fold(Self { first, lowest: first, highest: first }, |found, used| Self {
            lowest: if used.lr < found.lowest.lr { used } else { found.lowest },
            highest: if used.lr > found.highest.lr { used } else { found.highest },
            ..found
        }))
    }

    fn momentum_rises_with_rate(&self) -> Option<Finding> {
        let (low, high) = (self.lowest.momentum?, self.highest.momentum?);
        (high > low).then_some(Finding::MomentumRisesWithRate { at_lowest_lr: low, at_highest_lr: high })
    }
}
