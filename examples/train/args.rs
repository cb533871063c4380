//! The flags, and what schedule and feedback follow from them.

#![allow(clippy::struct_field_names, clippy::struct_excessive_bools, reason = "the fields are the flags")]

use std::error::Error;
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, ValueEnum};
use cyclic_optim::feedback::{Direction, EarlyStopping, Improvement, MinDelta, Plateau};
use cyclic_optim::review::Review;
use cyclic_optim::{ClrConfig, ConfigError, Constant, Cyclic, OneCycle, Policy, RunLength, WarmRestarts};

use crate::support::config_file;
use crate::support::digits::Run;
use crate::support::flags::{self, named};

/// The metrics of an epoch: the loss of the training images, and loss and accuracy of the validation images.
pub(crate) const METRICS: [&str; 3] = ["loss", "val_loss", "val_accuracy"];

/// Train a network on handwritten digits, with everything that the crate has on a flag.
///
/// The metrics of an epoch are `loss`, `val_loss` and `val_accuracy`. The validation images are a part of the training
/// images that the network does not learn from. The test images are looked at once, when the training is over.
///
/// Epochs and updates count from 1 where people read them: on the console, in the bar and in the file names of models. They
/// count from 0 in records: CSV files, TensorBoard, JSON.
#[derive(Parser)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) run: Run,
    /// The optimizer.
    #[arg(long, value_enum, default_value_t = Kind::Adam)]
    pub(crate) optimizer: Kind,
    /// Momentum of sgd and rmsprop where none is cycled [default: 0.9].
    #[arg(long)]
    momentum: Option<f64>,
    /// The part of the training images that is held out for validation.
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    pub(crate) validation_split: f64,
    /// Find base-lr and max-lr by a range test instead of taking them from the flags.
    #[arg(long, conflicts_with_all = ["config", "base_lr", "max_lr"])]
    pub(crate) range_test: bool,
    /// Choose max-lr by short runs on clones instead of taking it from the flags; a continued run keeps the choice.
    #[arg(long, conflicts_with_all = ["config", "base_lr", "max_lr", "range_test"])]
    pub(crate) auto: bool,
    /// File for the metrics of each epoch, as CSV.
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Folder for pictures of losses, rates and epochs; made if it is not there.
    #[arg(long, value_name = "DIR")]
    pub(crate) plot: Option<PathBuf>,
    /// Show a bar instead of a line for each epoch, if stdout and stderr are a terminal.
    #[arg(long)]
    pub(crate) progress: bool,
    /// Address that is sent the metrics of each epoch as JSON.
    #[arg(long, value_name = "URL")]
    pub(crate) remote: Option<String>,
    /// File that the run is saved in after each epoch, and continued from if it is there.
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// Continue the run in the checkpoint although it was saved with other options, for instance other --epochs; the present
    /// options count.
    #[arg(long, requires = "checkpoint")]
    pub(crate) continue_with_changes: bool,
    /// Make so many cycles and an ensemble of the models at their ends.
    #[arg(long, value_name = "M", conflicts_with_all = ["config", "policy"], value_parser = at_least_1())]
    pub(crate) snapshots: Option<u64>,
    /// Report the units that never fire.
    #[arg(long)]
    pub(crate) dead_relu: bool,
    #[command(flatten)]
    schedule: ScheduleArguments,
    #[command(flatten)]
    pub(crate) tensorboard: TensorBoardArguments,
    #[command(flatten)]
    pub(crate) model_checkpoint: ModelCheckpointArguments,
    #[command(flatten)]
    pub(crate) early_stopping: EarlyStoppingArguments,
    #[command(flatten)]
    reduce_lr: ReduceLrArguments,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Adam,
    Sgd,
    Rmsprop,
}

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
struct ScheduleArguments {
    /// Schedule config, JSON or TOML, instead of the flags below.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["policy", "base_lr", "max_lr", "step_size", "gamma", "base_momentum"])]
    config: Option<PathBuf>,
    /// The schedule [default: one-cycle].
    #[arg(long, value_enum)]
    policy: Option<PolicyKind>,
    /// The lower rate of the cycles; one-cycle has its own [default: a twentieth of the upper one].
    #[arg(long)]
    base_lr: Option<f64>,
    /// The upper rate [default: 0.02, for sgd 0.1].
    #[arg(long)]
    max_lr: Option<f64>,
    /// Updates of half a cycle [default: two epochs]; of the first cycle for warm-restarts [default: a seventh of the run, which
    /// makes three cycles].
    #[arg(long)]
    step_size: Option<u64>,
    /// Factor on the amplitude of exp-range, per update [default: 0.999].
    #[arg(long)]
    gamma: Option<f64>,
    /// Momentum at the peak of the rate; cycles the momentum together with --max-momentum.
    #[arg(long, requires = "max_momentum")]
    base_momentum: Option<f64>,
    /// Momentum between the cycles.
    #[arg(long, requires = "base_momentum")]
    max_momentum: Option<f64>,
}

#[derive(Args)]
#[command(next_help_heading = "TensorBoard")]
pub(crate) struct TensorBoardArguments {
    /// Folder for the event files.
    #[arg(long, value_name = "DIR")]
    pub(crate) tensorboard: Option<PathBuf>,
    /// Updates between two that are written.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "tensorboard", value_parser = at_least_1())]
    pub(crate) tensorboard_update_freq: u64,
    /// Epochs between two histograms of the parameters; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "tensorboard")]
    pub(crate) tensorboard_histogram_freq: u64,
}

/// Whether a smaller or a larger metric is better.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// As the name of the metric says: max for an accuracy, min for a loss.
    Auto,
    Min,
    Max,
}

#[derive(Args)]
#[command(next_help_heading = "Model checkpoint")]
pub(crate) struct ModelCheckpointArguments {
    /// File name for models, for instance models/{epoch:02}-{val_loss:.3}.safetensors.
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) model_checkpoint: Option<String>,
    /// The metric that says which is best.
    #[arg(long, value_name = "METRIC", default_value = "val_loss", requires = "model_checkpoint_save_best_only", value_parser = METRICS)]
    pub(crate) model_checkpoint_monitor: String,
    /// Whether a smaller or a larger metric is better.
    #[arg(long, value_enum, default_value_t = Mode::Auto, requires = "model_checkpoint_save_best_only")]
    pub(crate) model_checkpoint_mode: Mode,
    /// Write only what is better than the best so far.
    #[arg(long, requires = "model_checkpoint")]
    pub(crate) model_checkpoint_save_best_only: bool,
    /// Write the weights alone.
    #[arg(long, requires = "model_checkpoint")]
    pub(crate) model_checkpoint_save_weights_only: bool,
    /// Epochs between two files.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "model_checkpoint", value_parser = at_least_1())]
    pub(crate) model_checkpoint_save_freq: u64,
    /// Keep only the last so many.
    #[arg(long, value_name = "N", requires = "model_checkpoint", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub(crate) model_checkpoint_keep_last: Option<usize>,
}

#[derive(Args)]
#[command(next_help_heading = "Early stopping")]
pub(crate) struct EarlyStoppingArguments {
    /// Stop when the metric no longer improves.
    #[arg(long)]
    pub(crate) early_stopping: bool,
    /// The metric [default: `val_loss`]. Early stopping from a --config needs it, too.
    #[arg(long, value_name = "METRIC", value_parser = METRICS)]
    early_stopping_monitor: Option<String>,
    /// By how much it has to improve.
    #[arg(long, default_value_t = 0.0, requires = "early_stopping")]
    early_stopping_min_delta: f64,
    /// Epochs without improvement after which to stop.
    #[arg(long, default_value_t = 5, requires = "early_stopping")]
    early_stopping_patience: u64,
    /// Whether a smaller or a larger metric is better.
    #[arg(long, value_enum, default_value_t = Mode::Auto, requires = "early_stopping")]
    early_stopping_mode: Mode,
    /// What has to be reached at all.
    #[arg(long, requires = "early_stopping")]
    early_stopping_baseline: Option<f64>,
    /// End with the weights of the best epoch.
    #[arg(long)]
    pub(crate) early_stopping_restore_best_weights: bool,
}

#[derive(Args)]
#[command(next_help_heading = "Reduce the rate on a plateau")]
struct ReduceLrArguments {
    /// Multiply the rate when the metric no longer improves.
    #[arg(long)]
    reduce_lr: bool,
    /// The metric [default: `val_loss`]. A plateau from a --config needs it, too.
    #[arg(long, value_name = "METRIC", value_parser = METRICS)]
    reduce_lr_monitor: Option<String>,
    /// The factor.
    #[arg(long, default_value_t = 0.5, requires = "reduce_lr")]
    reduce_lr_factor: f64,
    /// Epochs without improvement after which to reduce.
    #[arg(long, default_value_t = 3, requires = "reduce_lr")]
    reduce_lr_patience: u64,
    /// Whether a smaller or a larger metric is better.
    #[arg(long, value_enum, default_value_t = Mode::Auto, requires = "reduce_lr")]
    reduce_lr_mode: Mode,
    /// By how much it has to improve.
    #[arg(long, default_value_t = 1e-4, requires = "reduce_lr")]
    reduce_lr_min_delta: f64,
    /// Epochs of rest after a reduction.
    #[arg(long, default_value_t = 0, requires = "reduce_lr")]
    reduce_lr_cooldown: u64,
    /// Judge the trend of so many epochs instead of the record: after a spike, a loss that falls is no plateau.
    #[arg(long, value_name = "N", requires = "reduce_lr")]
    reduce_lr_trend_window: Option<u64>,
    /// The peak rate is not reduced below this.
    #[arg(long, default_value_t = 0.0, requires = "reduce_lr")]
    reduce_lr_min_lr: f64,
}

fn at_least_1() -> RangedU64ValueParser {
    clap::value_parser!(u64).range(1..)
}

/// The rule of a flag's metric; `flags` is what the names of the flags begin with.
pub(crate) fn improvement(flags: &str, mode: Mode, monitor: &str, min_delta: f64) -> Result<Improvement, String> {
    let direction = match mode {
        Mode::Min => Direction::Min,
        Mode::Max => Direction::Max,
        Mode::Auto => Direction::of_metric(monitor).ok_or_else(|| {
            format!("{flags}mode auto does not know whether {monitor} should fall or rise: say min or max")
        })?,
    };
    Improvement::new(direction, MinDelta::Absolute(min_delta)).map_err(named(flags))
}

/// The metric that each reaction is told of.
pub(crate) struct Monitors {
    pub(crate) plateau: Option<String>,
    pub(crate) early_stopping: Option<String>,
}

impl Arguments {
    /// Checks what can be checked before the data are read: options out of their range, and options without effect.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (momentum, split) = (self.momentum(), self.validation_split);
        if !(0.0..1.0).contains(&momentum) {
            return Err(format!("--momentum must lie in [0, 1), got {momentum}"));
        }
        if !(split > 0.0 && split < 1.0) {
            return Err(format!("--validation-split must lie in (0, 1), got {split}"));
        }
        let flags = &self.schedule;
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
        if self.momentum.is_some() && self.optimizer == Kind::Adam {
            return Err("--momentum has no effect with --optimizer adam".into());
        }
        if self.momentum.is_some() && flags.base_momentum.is_some() {
            return Err("--momentum has no effect with --base-momentum and --max-momentum".into());
        }
        Ok(())
    }

    /// Momentum of an optimizer that needs one.
    pub(crate) fn momentum(&self) -> f64 {
        self.momentum.unwrap_or(0.9)
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

    /// The config of the run, and what its reactions watch; `found` is the range that a range test has found.
    pub(crate) fn config(
        &self,
        batches_per_epoch: u64,
        found: Option<(f64, f64)>,
    ) -> Result<(ClrConfig, Monitors), Box<dyn Error>> {
        let flags = &self.schedule;
        let mut config = match &flags.config {
            Some(file) => config_file::read(file, &RunLength::new(batches_per_epoch, self.run.epochs.into())?)?,
            None => ClrConfig::new(self.policy(batches_per_epoch, found)?),
        };
        if let (Some(base), Some(max)) = (flags.base_momentum, flags.max_momentum) {
            config = config.with_momentum(base, max).map_err(named("--"))?;
        }
        if self.momentum.is_some() && config.momentum().is_some() {
            return Err("--momentum has no effect with this --config, which cycles the momentum".into());
        }
        let (stop, reduce) = (&self.early_stopping, &self.reduce_lr);
        let monitors = Monitors {
            plateau: monitor(
                ["--reduce-lr", "--reduce-lr-monitor"],
                (reduce.reduce_lr, config.plateau().is_some()),
                reduce.reduce_lr_monitor.as_deref(),
            )?,
            early_stopping: monitor(
                ["--early-stopping", "--early-stopping-monitor"],
                (stop.early_stopping, config.early_stopping().is_some()),
                stop.early_stopping_monitor.as_deref(),
            )?,
        };
        if stop.early_stopping_restore_best_weights && monitors.early_stopping.is_none() {
            return Err("--early-stopping-restore-best-weights has no effect without --early-stopping".into());
        }
        if let (true, Some(monitor)) = (reduce.reduce_lr, &monitors.plateau) {
            config = config.with_plateau(reduce.plateau(monitor)?).map_err(named("--reduce-lr-"))?;
        }
        if let (true, Some(monitor)) = (stop.early_stopping, &monitors.early_stopping) {
            config = config.with_early_stopping(stop.early_stopping(monitor)?).map_err(named("--early-stopping-"))?;
        }
        Ok((config, monitors))
    }

    /// The review of a run of so many updates.
    pub(crate) fn review(&self, updates: u64, batches_per_epoch: u64) -> Result<Review, ConfigError> {
        let review = Review::new(updates)?
            .with_batches_per_epoch(batches_per_epoch)?
            .with_snapshots(self.snapshots.unwrap_or(0));
        // The flags have one for momentum that is cycled, so what they make is meant to be so. A file may have forgotten it.
        Ok(if self.schedule.config.is_none() { review.with_constant_momentum() } else { review })
    }

    fn policy(&self, batches: u64, found: Option<(f64, f64)>) -> Result<Policy, String> {
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

/// The metric of a reaction that a flag or the config file asks for.
fn monitor(
    [switch, flag]: [&str; 2],
    (by_flag, by_file): (bool, bool),
    monitor: Option<&str>,
) -> Result<Option<String>, String> {
    match (by_flag, by_file, monitor) {
        (true, true, _) => Err(format!("{switch} cannot be used with this --config, which has it already")),
        (false, true, None) => Err(format!("--config asks for what {switch} does: name the metric by {flag}")),
        (false, false, Some(_)) => Err(format!("{flag} has no effect without {switch}")),
        (false, false, None) => Ok(None),
        (_, _, monitor) => Ok(Some(monitor.unwrap_or("val_loss").into())),
    }
}

impl EarlyStoppingArguments {
    fn early_stopping(&self, monitor: &str) -> Result<EarlyStopping, String> {
        let improvement =
            improvement("--early-stopping-", self.early_stopping_mode, monitor, self.early_stopping_min_delta)?;
        let rule = EarlyStopping::new(self.early_stopping_patience).and_then(|rule| rule.with_improvement(improvement));
        let rule = match self.early_stopping_baseline {
            Some(baseline) => rule.and_then(|rule| rule.with_baseline(baseline)),
            None => rule,
        };
        rule.map_err(named("--early-stopping-"))
    }
}

impl ReduceLrArguments {
    fn plateau(&self, monitor: &str) -> Result<Plateau, String> {
        let improvement = improvement("--reduce-lr-", self.reduce_lr_mode, monitor, self.reduce_lr_min_delta)?;
        let plateau = Plateau::keras(self.reduce_lr_factor, self.reduce_lr_patience)
            .and_then(|plateau| plateau.with_improvement(improvement))
            .and_then(|plateau| plateau.with_cooldown(self.reduce_lr_cooldown).with_floor(self.reduce_lr_min_lr))
            .and_then(|plateau| match self.reduce_lr_trend_window {
                Some(window) => plateau.with_trend_window(window),
                None => Ok(plateau),
            });
        plateau.map_err(named("--reduce-lr-"))
    }
}
