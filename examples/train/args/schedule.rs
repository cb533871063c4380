//! The flags of the schedule, and the schedule that follows from them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use cyclic_optim::{ConfigError, Constant, Cyclic, OneCycle, Policy, WarmRestarts};

use super::{Arguments, Kind};
use crate::support::flags::{self, named};

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PolicyKind {
    Constant,
    Triangular,
    Triangular2,
    ExpRange,
    OneCycle,
    WarmRestarts,
}

#[derive(Args)]
#[command(next_help_heading = "Schedule")]
pub(super) struct ScheduleArguments {
    /// Read the config from this file, JSON or TOML, instead of making it from the flags below.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["policy", "base_lr", "max_lr", "step_size", "gamma", "base_momentum"])]
    pub(super) config: Option<PathBuf>,
    /// Follow this schedule [default: one-cycle].
    #[arg(long, value_enum)]
    policy: Option<PolicyKind>,
    /// Set the lowest rate of the cycles; one-cycle has its own [default: a twentieth of --max-lr].
    #[arg(long)]
    base_lr: Option<f64>,
    /// Set the highest rate [default: 0.02, for sgd 0.1].
    #[arg(long)]
    max_lr: Option<f64>,
    /// Set the number of updates in half a cycle [default: two epochs] or, for warm-restarts, in the first cycle [default: a
    /// seventh of the run, which makes three cycles].
    #[arg(long)]
    step_size: Option<u64>,
    /// Multiply the amplitude of exp-range by this at each update [default: 0.999].
    #[arg(long)]
    gamma: Option<f64>,
    /// Cycle the momentum against the rate, with this value at the peak of the rate.
    #[arg(long, requires = "max_momentum")]
    pub(super) base_momentum: Option<f64>,
    /// Cycle the momentum against the rate, with this value between the cycles.
    #[arg(long, requires = "base_momentum")]
    pub(super) max_momentum: Option<f64>,
}

impl Arguments {
    /// Refuses flags that make no difference to the schedule that was chosen.
    pub(super) fn check_schedule(&self) -> Result<(), String> {
        let flags = &self.schedule;
        // The default of --base-lr is made from it.
        if let Some(max) = flags.max_lr.filter(|max| !(0.0..f64::INFINITY).contains(max)) {
            return Err(format!("--max-lr must be a finite rate of at least 0, got {max}"));
        }
        let (policy, chosen) = (self.policy_kind(), self.chosen());
        let cycles = !matches!(policy, PolicyKind::Constant | PolicyKind::OneCycle) && self.snapshots.is_none();
        for (flag, given, works) in [
            ("--base-lr", flags.base_lr.is_some(), cycles),
            ("--step-size", flags.step_size.is_some(), cycles),
            ("--gamma", flags.gamma.is_some(), policy == PolicyKind::ExpRange && self.snapshots.is_none()),
            ("--base-momentum", flags.base_momentum.is_some(), policy != PolicyKind::Constant),
        ] {
            if given && !works {
                return Err(format!("{flag} has no effect with {chosen}"));
            }
        }
        Ok(())
    }

    fn policy_kind(&self) -> PolicyKind {
        self.schedule.policy.unwrap_or(if self.snapshots.is_some() {
            PolicyKind::WarmRestarts
        } else {
            PolicyKind::OneCycle
        })
    }

    /// What the schedule was chosen by.
    fn chosen(&self) -> String {
        match (self.snapshots, self.schedule.policy.and_then(|policy| policy.to_possible_value())) {
            (Some(_), _) => "--snapshots".into(),
            (None, Some(policy)) => format!("--policy {}", policy.get_name()),
            (None, None) => "--policy one-cycle, the default".into(),
        }
    }

    /// The schedule; `found` is the range that a range test has found.
    pub(super) fn policy(&self, batches: u64, found: Option<(f64, f64)>) -> Result<Policy, String> {
        let given = &self.schedule;
        let updates = u64::from(self.run.epochs) * batches;
        let default = if self.optimizer == Kind::Sgd { 0.1 } else { 0.02 };
        let (base, max) = found.unwrap_or_else(|| {
            let max = given.max_lr.unwrap_or(default);
            (given.base_lr.unwrap_or(max / 20.0), max)
        });
        let step_size = given.step_size.unwrap_or(2 * batches);
        if let Some(snapshots) = self.snapshots {
            return Ok(flags::snapshots(max, updates, snapshots)?.into());
        }
        let policy = || -> Result<Policy, ConfigError> {
            Ok(match self.policy_kind() {
                PolicyKind::Constant => Constant::new(max)?.into(),
                PolicyKind::Triangular => Cyclic::triangular(base, max, step_size)?.into(),
                PolicyKind::Triangular2 => Cyclic::triangular2(base, max, step_size)?.into(),
                PolicyKind::ExpRange => Cyclic::exp_range(base, max, step_size, given.gamma.unwrap_or(0.999))?.into(),
                PolicyKind::OneCycle => OneCycle::new(max, updates)?.into(),
                PolicyKind::WarmRestarts => {
                    let t_0 = given.step_size.unwrap_or(updates.div_ceil(7));
                    WarmRestarts::new(base, max, t_0)?.with_t_mult(2)?.into()
                }
            })
        };
        policy().map_err(named("--"))
    }
}
