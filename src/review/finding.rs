//! What a review can find.

use core::fmt;

/// Something that a config will do in a run, and that may be a mistake.
///
/// `Display` writes it as one sentence. Updates and cycles count from 0 in the fields and from 1 in the sentence.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Finding {
    /// The run ends within a cycle, at a rate that is still high: more than 2 % of the way from the rate at the end of the
    /// cycle to the highest rate of the run. The weights have not settled at such a rate.
    EndsInMidCycle {
        /// The cycle, counted from 0.
        cycle: u64,
        /// The number of its updates that are made.
        made: u64,
        /// The number of its updates.
        length: u64,
        /// The rate of the last update of the run.
        lr: f64,
        /// The rate of the last update of the cycle.
        cycle_end_lr: f64,
    },
    /// No update of the run reaches 99 % of the highest rate of the schedule, because the run is too short or a bound cuts the
    /// peak off. The schedule is looked at up to its horizon, or up to the end of the cycle in which the run ends.
    PeakNeverReached {
        /// The highest rate of the run.
        highest: f64,
        /// The highest rate of the schedule.
        peak: f64,
        /// The number of updates of the run.
        updates: u64,
    },
    /// The schedule is more than 1 % shorter than the run, and the rest of the run uses its last rate. A schedule that ends at its
    /// peak is not reported.
    HorizonBeforeEnd {
        /// The number of updates of the schedule.
        horizon: u64,
        /// The number of updates of the run.
        updates: u64,
        /// The rate that is held.
        held_lr: f64,
    },
    /// The schedule is more than 1 % longer than the run. Its end is never used.
    HorizonAfterEnd {
        /// The number of updates of the schedule.
        horizon: u64,
        /// The number of updates of the run.
        updates: u64,
        /// The rate of the last update of the run.
        lr: f64,
        /// The rate at the end of the schedule.
        horizon_lr: f64,
    },
    /// There is more than one cycle, the cycles begin with their rise, and half a cycle is not between 2 and 10 epochs long,
    /// as L. N. Smith recommends (arXiv:1506.01186, section 3.2).
    StepSizeOutOfRange {
        /// Updates of half a cycle.
        step_size: u64,
        /// The same in epochs.
        epochs: f64,
        /// Updates of an epoch.
        batches_per_epoch: u64,
    },
    /// The first update has a rate of 0: it costs a batch and changes nothing.
    FirstUpdateAtZero {
        /// The rate of the second update.
        second_lr: f64,
    },
    /// The schedule is a single cycle, and the momentum is constant. The one-cycle policy lowers the momentum while the rate
    /// rises (arXiv:1803.09820, section 4.3).
    MomentumNotCycled {
        /// The peak rate.
        max_lr: f64,
    },
    /// The momentum is higher at the highest rate than at the lowest. A high rate and a high momentum together make
    /// very large steps.
    MomentumRisesWithRate {
        /// The momentum at the lowest rate of the run.
        at_lowest_lr: f64,
        /// The momentum at the highest rate of the run.
        at_highest_lr: f64,
    },
    /// A plateau judges every report although the rate has several cycles. The metric then swings with the rate, which
    /// looks like a plateau.
    PlateauJudgesEveryReport {
        /// The patience of the plateau.
        patience: u64,
        /// The number of updates of a cycle.
        cycle_length: u64,
    },
    /// The decay reduces the base to less than a tenth within the run.
    BaseDecaysAway {
        /// The base at the start.
        base_lr: f64,
        /// The base at the last update.
        last_base_lr: f64,
        /// The decay.
        decay: f64,
    },
    /// Fewer cycles end within the run than the number of snapshots that are wanted.
    FewerSnapshots {
        /// The snapshots wanted.
        asked: u64,
        /// The cycles that end.
        made: u64,
    },
    /// A rate of the run is above the limit that was found.
    AboveLimit {
        /// The limit.
        limit: f64,
        /// The highest rate of the run.
        highest: f64,
        /// The first update that has it.
        update: u64,
    },
}

impl Finding {
    /// The name, in the form that is used in logs: `ends_in_mid_cycle`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::EndsInMidCycle { .. } => "ends_in_mid_cycle",
            Self::PeakNeverReached { .. } => "peak_never_reached",
            Self::HorizonBeforeEnd { .. } => "horizon_before_end",
            Self::HorizonAfterEnd { .. } => "horizon_after_end",
            Self::StepSizeOutOfRange { .. } => "step_size_out_of_range",
            Self::FirstUpdateAtZero { .. } => "first_update_at_zero",
            Self::MomentumNotCycled { .. } => "momentum_not_cycled",
            Self::MomentumRisesWithRate { .. } => "momentum_rises_with_rate",
            Self::PlateauJudgesEveryReport { .. } => "plateau_judges_every_report",
            Self::BaseDecaysAway { .. } => "base_decays_away",
            Self::FewerSnapshots { .. } => "fewer_snapshots",
            Self::AboveLimit { .. } => "above_limit",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::EndsInMidCycle { cycle, made, length, lr, cycle_end_lr } => {
                let cycle = cycle.saturating_add(1);
                write!(
                    f,
                    "the run ends after update {made} of the {length} of cycle {cycle}, at a rate of {lr:.2e}, "
                )?;
                if cycle_end_lr > 0.0 {
                    write!(f, "{:.1} times the {cycle_end_lr:.2e} at which the cycle ends", lr / cycle_end_lr)
                } else {
                    write!(f, "and the cycle ends at 0")
                }
            }
            Self::PeakNeverReached { highest, peak, updates } => {
                write!(
                    f,
                    "the highest rate of the {updates} updates is {highest:.2e}, and the peak of the schedule is {peak:.2e}"
                )
            }
            Self::HorizonBeforeEnd { horizon, updates, held_lr } => write!(
                f,
                "the schedule ends after {horizon} updates, and the run has {updates}: the last {} all use a rate of {held_lr:.2e}",
                updates - horizon
            ),
            Self::HorizonAfterEnd { horizon, updates, lr, horizon_lr } => write!(
                f,
                "the schedule has {horizon} updates, and the run only {updates}: it ends at a rate of {lr:.2e} instead of {horizon_lr:.2e}"
            ),
            Self::StepSizeOutOfRange { step_size, epochs, batches_per_epoch } => write!(
                f,
                "half a cycle is {step_size} updates, {epochs:.2} epochs of {batches_per_epoch}, and Smith recommends 2 to 10 epochs"
            ),
            Self::FirstUpdateAtZero { second_lr } => {
                write!(f, "the first update has a rate of 0 and changes nothing; the second has {second_lr:.2e}")
            }
            Self::MomentumNotCycled { max_lr } => write!(
                f,
                "the rate makes one cycle up to {max_lr:.2e}, and the momentum stays constant: the one-cycle policy lowers it, \
                 usually from 0.95 to 0.85, while the rate rises"
            ),
            Self::MomentumRisesWithRate { at_lowest_lr, at_highest_lr } => write!(
                f,
                "the momentum is {at_highest_lr} at the highest rate and {at_lowest_lr} at the lowest: it should be lowest where \
                 the rate is highest"
            ),
            Self::PlateauJudgesEveryReport { patience, cycle_length } => write!(
                f,
                "a plateau with patience {patience} judges every report, and the metric swings with cycles of {cycle_length} \
                 updates: judge at the ends of cycles (watch = cycle_ends)"
            ),
            Self::BaseDecaysAway { base_lr, last_base_lr, decay } => write!(
                f,
                "the decay of {decay} reduces the base from {base_lr:.2e} to {last_base_lr:.2e}, by a factor of {:.0}",
                base_lr / last_base_lr
            ),
            Self::FewerSnapshots { asked, made } => {
                write!(f, "{asked} snapshots are wanted, and {made} cycles end within the run")
            }
            Self::AboveLimit { limit, highest, update } => write!(
                f,
                "the rate of update {} is {highest:.2e}, and the highest usable rate that was found is {limit:.2e}",
                update.saturating_add(1)
            ),
        }
    }
}
