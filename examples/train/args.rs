//! The flags, and what schedule and feedback follow from them.

#![allow(clippy::struct_field_names, reason = "the flags have the fields' names")]

use std::error::Error;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, ValueEnum};
use cyclic_optim::feedback::{Direction, EarlyStopping, Improvement, MinDelta, Plateau};
use cyclic_optim::{ClrConfig, Constant, Cyclic, OneCycle, Policy, WarmRestarts};

use crate::support::config_file;
use crate::support::digits::Run;

/// Train a network on handwritten digits, with everything that the crate has on a flag.
///
/// The metrics of an epoch are `loss`, `val_loss` and `val_accuracy`; the validation images are the test images.
#[derive(Parser)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) run: Run,
    /// The optimizer.
    #[arg(long, value_enum, default_value_t = Kind::Adam)]
    pub(crate) optimizer: Kind,
    /// Momentum of sgd and rmsprop where none is cycled.
    #[arg(long, default_value_t = 0.9)]
    pub(crate) momentum: f64,
    /// Find base-lr and max-lr by a range test instead of taking them from the flags.
    #[arg(long, conflicts_with_all = ["config", "base_lr", "max_lr"])]
    pub(crate) range_test: bool,
    /// File for the metrics of each epoch, as CSV.
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Folder for pictures of losses, rates and epochs; made if it is not there.
    #[arg(long, value_name = "DIR")]
    pub(crate) plot: Option<PathBuf>,
    /// Show a bar instead of a line for each epoch.
    #[arg(long)]
    pub(crate) progress: bool,
    /// Address that is sent the metrics of each epoch as JSON.
    #[arg(long, value_name = "URL")]
    pub(crate) remote: Option<String>,
    /// File that the run is saved in after each epoch, and continued from if it is there.
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// Make so many cycles and an ensemble of the models at their ends.
    #[arg(long, value_name = "M", conflicts_with_all = ["config", "policy"])]
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
    /// The schedule.
    #[arg(long, value_enum, default_value_t = PolicyKind::OneCycle)]
    policy: PolicyKind,
    /// The lower rate of the cycles; one-cycle has its own.
    #[arg(long)]
    base_lr: Option<f64>,
    /// The upper rate [default: 0.02, for sgd 0.1].
    #[arg(long)]
    max_lr: Option<f64>,
    /// Updates of half a cycle; of the first cycle for warm-restarts [default: two epochs].
    #[arg(long)]
    step_size: Option<u64>,
    /// Factor on the amplitude of exp-range, per update.
    #[arg(long, default_value_t = 0.999)]
    gamma: f64,
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
    #[arg(long, value_name = "N", default_value_t = 1, requires = "tensorboard")]
    pub(crate) tensorboard_update_freq: u64,
    /// Epochs between two histograms of the parameters; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "tensorboard")]
    pub(crate) tensorboard_histogram_freq: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
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
    #[arg(long, default_value = "val_loss", requires = "model_checkpoint")]
    pub(crate) model_checkpoint_monitor: String,
    /// Whether a smaller or a larger metric is better.
    #[arg(long, value_enum, default_value_t = Mode::Min, requires = "model_checkpoint")]
    pub(crate) model_checkpoint_mode: Mode,
    /// Write only what is better than the best so far.
    #[arg(long, requires = "model_checkpoint")]
    pub(crate) model_checkpoint_save_best_only: bool,
    /// Write the weights alone.
    #[arg(long, requires = "model_checkpoint")]
    pub(crate) model_checkpoint_save_weights_only: bool,
    /// Epochs between two files.
    #[arg(long, default_value_t = 1, requires = "model_checkpoint")]
    pub(crate) model_checkpoint_save_freq: u64,
    /// Keep only the last so many.
    #[arg(long, requires = "model_checkpoint")]
    pub(crate) model_checkpoint_keep_last: Option<usize>,
}

#[derive(Args)]
#[command(next_help_heading = "Early stopping")]
pub(crate) struct EarlyStoppingArguments {
    /// Stop when the metric no longer improves.
    #[arg(long)]
    pub(crate) early_stopping: bool,
    /// The metric.
    #[arg(long, default_value = "val_loss", requires = "early_stopping")]
    pub(crate) early_stopping_monitor: String,
    /// By how much it has to improve.
    #[arg(long, default_value_t = 0.0, requires = "early_stopping")]
    early_stopping_min_delta: f64,
    /// Epochs without improvement after which to stop.
    #[arg(long, default_value_t = 5, requires = "early_stopping")]
    early_stopping_patience: u64,
    /// Whether a smaller or a larger metric is better.
    #[arg(long, value_enum, default_value_t = Mode::Min, requires = "early_stopping")]
    early_stopping_mode: Mode,
    /// What has to be reached at all.
    #[arg(long, requires = "early_stopping")]
    early_stopping_baseline: Option<f64>,
    /// End with the weights of the best epoch.
    #[arg(long, requires = "early_stopping", action = ArgAction::SetTrue)]
    pub(crate) early_stopping_restore_best_weights: bool,
}

#[derive(Args)]
#[command(next_help_heading = "Reduce the rate on a plateau")]
struct ReduceLrArguments {
    /// Multiply the rate when the metric no longer improves.
    #[arg(long)]
    reduce_lr: bool,
    /// The metric.
    #[arg(long, default_value = "val_loss", requires = "reduce_lr")]
    reduce_lr_monitor: String,
    /// The factor.
    #[arg(long, default_value_t = 0.5, requires = "reduce_lr")]
    reduce_lr_factor: f64,
    /// Epochs without improvement after which to reduce.
    #[arg(long, default_value_t = 3, requires = "reduce_lr")]
    reduce_lr_patience: u64,
    /// Whether a smaller or a larger metric is better.
    #[arg(long, value_enum, default_value_t = Mode::Min, requires = "reduce_lr")]
    reduce_lr_mode: Mode,
    /// By how much it has to improve.
    #[arg(long, default_value_t = 1e-4, requires = "reduce_lr")]
    reduce_lr_min_delta: f64,
    /// Epochs of rest after a reduction.
    #[arg(long, default_value_t = 0, requires = "reduce_lr")]
    reduce_lr_cooldown: u64,
    /// The peak rate is not reduced below this.
    #[arg(long, default_value_t = 0.0, requires = "reduce_lr")]
    reduce_lr_min_lr: f64,
}

pub(crate) fn improvement(mode: Mode, min_delta: f64) -> Result<Improvement, cyclic_optim::ConfigError> {
    let direction = if mode == Mode::Min { Direction::Min } else { Direction::Max };
    Improvement::new(direction, MinDelta::Absolute(min_delta))
}

impl Arguments {
    /// The config for a run of so many updates; `found` is the range that a range test has found.
    pub(crate) fn config(
        &self,
        batches_per_epoch: u64,
        found: Option<(f64, f64)>,
    ) -> Result<ClrConfig, Box<dyn Error>> {
        let flags = &self.schedule;
        let mut config = match &flags.config {
            Some(file) => config_file::read(file)?,
            None => {
                ClrConfig::new(self.policy(u64::from(self.run.epochs) * batches_per_epoch, batches_per_epoch, found)?)
            }
        };
        if let (Some(base), Some(max)) = (flags.base_momentum, flags.max_momentum) {
            config = config.with_momentum(base, max)?;
        }
        let (stop, reduce) = (&self.early_stopping, &self.reduce_lr);
        if stop.early_stopping && reduce.reduce_lr && stop.early_stopping_monitor != reduce.reduce_lr_monitor {
            let (stop, reduce) = (&stop.early_stopping_monitor, &reduce.reduce_lr_monitor);
            return Err(
                format!("--early-stopping-monitor {stop} and --reduce-lr-monitor {reduce} must be the same").into()
            );
        }
        if reduce.reduce_lr {
            let improvement = improvement(reduce.reduce_lr_mode, reduce.reduce_lr_min_delta)?;
            let plateau = Plateau::keras(reduce.reduce_lr_factor, reduce.reduce_lr_patience)?
                .with_improvement(improvement)?
                .with_cooldown(reduce.reduce_lr_cooldown)
                .with_floor(reduce.reduce_lr_min_lr)?;
            config = config.with_plateau(plateau)?;
        }
        if stop.early_stopping {
            let improvement = improvement(stop.early_stopping_mode, stop.early_stopping_min_delta)?;
            let mut early_stopping = EarlyStopping::new(stop.early_stopping_patience)?.with_improvement(improvement)?;
            if let Some(baseline) = stop.early_stopping_baseline {
                early_stopping = early_stopping.with_baseline(baseline)?;
            }
            config = config.with_early_stopping(early_stopping)?;
        }
        Ok(config)
    }

    fn policy(&self, updates: u64, batches: u64, found: Option<(f64, f64)>) -> Result<Policy, Box<dyn Error>> {
        let flags = &self.schedule;
        let default = if self.optimizer == Kind::Sgd { 0.1 } else { 0.02 };
        let (base, max) = found.unwrap_or_else(|| {
            let max = flags.max_lr.unwrap_or(default);
            (flags.base_lr.unwrap_or(max / 20.0), max)
        });
        let step_size = flags.step_size.unwrap_or(2 * batches);
        if let Some(snapshots) = self.snapshots {
            return Ok(WarmRestarts::snapshots(max, updates, snapshots)?.into());
        }
        Ok(match flags.policy {
            PolicyKind::Constant => Constant::new(max)?.into(),
            PolicyKind::Triangular => Cyclic::triangular(base, max, step_size)?.into(),
            PolicyKind::Triangular2 => Cyclic::triangular2(base, max, step_size)?.into(),
            PolicyKind::ExpRange => Cyclic::exp_range(base, max, step_size, flags.gamma)?.into(),
            PolicyKind::OneCycle => OneCycle::new(max, updates)?.into(),
            PolicyKind::WarmRestarts => WarmRestarts::new(base, max, step_size)?.with_t_mult(2)?.into(),
        })
    }

    /// The metric that early stopping and the plateau are told of, if there is one of them.
    pub(crate) fn monitor(&self) -> Option<&str> {
        let stop = self.early_stopping.early_stopping.then_some(&self.early_stopping.early_stopping_monitor);
        let reduce = self.reduce_lr.reduce_lr.then_some(&self.reduce_lr.reduce_lr_monitor);
        stop.or(reduce).map(String::as_str)
    }
}
