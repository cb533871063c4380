//! The flags, and the config that follows from them.

#![allow(clippy::struct_field_names, clippy::struct_excessive_bools, reason = "the fields are the flags")]

mod feedback;
mod files;
mod schedule;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Parser, ValueEnum};
use cyclic_optim::review::Review;
use cyclic_optim::{ClrConfig, ConfigError, Group, Groups, RunLength};

use self::feedback::{EarlyStoppingArguments, ReduceLrArguments};
pub(crate) use self::feedback::{Monitors, improvement};
pub(crate) use self::files::ModelCheckpointArguments;
use self::files::TensorBoardArguments;
use self::schedule::ScheduleArguments;
use crate::support::config_file;
use crate::support::digits::{BATCH, Run};
use crate::support::flags::named;
use crate::time_limit::duration;

/// The metrics of an epoch: the loss of the training images, and loss and accuracy of the validation images.
pub(crate) const METRICS: [&str; 3] = ["loss", "val_loss", "val_accuracy"];

/// Train a network on handwritten digits, with flags for most features of the crate.
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
    /// Train with this optimizer.
    #[arg(long, value_enum, default_value_t = Kind::Adam)]
    pub(crate) optimizer: Kind,
    /// Use this momentum for sgd and rmsprop if none is cycled [default: 0.9].
    #[arg(long)]
    momentum: Option<f64>,
    /// Multiply the rate of the parameters whose names begin with PREFIX by FACTOR, for instance 0=0.1; 0 freezes them. It may be
    /// given several times, and the last prefix that fits a name counts.
    #[arg(long, value_name = "PREFIX=FACTOR", value_parser = group)]
    group: Vec<Group>,
    /// Hold out this part of the training images for validation.
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    pub(crate) validation_split: f64,
    /// Find base-lr and max-lr by a range test instead of taking them from the flags.
    #[arg(long, conflicts_with_all = ["config", "base_lr", "max_lr"])]
    pub(crate) range_test: bool,
    /// Choose max-lr by short runs on clones instead of taking it from the flags; a continued run keeps the choice.
    #[arg(long, conflicts_with_all = ["config", "base_lr", "max_lr", "range_test"])]
    pub(crate) auto: bool,
    /// Write the metrics of each epoch to this file, as CSV.
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Draw pictures of losses, rates and epochs into this folder, which is created if it does not exist.
    #[arg(long, value_name = "DIR")]
    pub(crate) plot: Option<PathBuf>,
    /// Write a report of the run to this file at the end, as HTML for a browser.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Show a bar instead of a line for each epoch, if stdout and stderr are terminals.
    #[arg(long)]
    pub(crate) progress: bool,
    /// Send the metrics of each epoch to this address, as JSON.
    #[arg(long, value_name = "URL")]
    pub(crate) remote: Option<String>,
    /// Save the run in this file after each epoch, and continue it from there if the file exists.
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// Continue the run in the checkpoint although it was saved with other options, for instance other --epochs; the present
    /// options apply.
    #[arg(long, requires = "checkpoint")]
    pub(crate) continue_with_changes: bool,
    /// Stop after the epoch in which this time runs out, for instance 90s, 5m or 1.5h. The time of epochs before an
    /// interruption counts if they were saved by --checkpoint with this option. The time of each epoch is recorded as
    /// `seconds`.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) max_time: Option<Duration>,
    /// Divide each batch into this number of parts, whose gradients are added up for one update. This helps if a whole batch
    /// needs too much memory. The updates are the same, up to rounding.
    #[arg(long, value_name = "PARTS", default_value = "1", value_parser = parts)]
    pub(crate) accumulate: usize,
    /// Average the weights after each update, with this weight for the past, for instance 0.99. The averaged weights are
    /// tested as well as the others, as `val_ema_loss` and `val_ema_accuracy`, and saved in --checkpoint.
    #[arg(long, value_name = "DECAY")]
    pub(crate) ema: Option<f64>,
    /// Make this number of cycles, and an ensemble of the models at their ends.
    #[arg(long, value_name = "M", conflicts_with_all = ["config", "policy"], value_parser = at_least_1())]
    pub(crate) snapshots: Option<u64>,
    /// Write the snapshots into this folder, which is created if it does not exist, as the weights files
    /// snapshot-1.safetensors and so on.
    #[arg(long, value_name = "DIR", requires = "snapshots")]
    pub(crate) snapshots_dir: Option<PathBuf>,
    /// Report at the end which units fire for no training image. After each epoch, record their share in each layer, if
    /// there is a --csv, --tensorboard, --plot, --report or --remote.
    #[arg(long)]
    pub(crate) dead_relu: bool,
    /// Record mean, standard deviation and share of zeros of the activations of each ReLU layer after each epoch, over all
    /// training images: in --csv, --tensorboard and --remote, and as one picture for each statistic in --plot and --report.
    #[arg(long)]
    pub(crate) activation_stats: bool,
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

fn at_least_1() -> RangedU64ValueParser {
    clap::value_parser!(u64).range(1..)
}

/// Reads a number of equal parts into which a batch can be divided.
fn parts(text: &str) -> Result<usize, String> {
    let parts = text.parse().ok().filter(|&parts| parts > 0 && BATCH % parts == 0);
    parts.ok_or_else(|| format!("the {BATCH} images of a batch cannot be divided into so many equal parts"))
}

/// Reads `PREFIX=FACTOR`.
fn group(text: &str) -> Result<Group, String> {
    let (prefix, factor) = text.rsplit_once('=').ok_or("write the prefix, = and the factor")?;
    let factor = factor.parse().map_err(|_| format!("{factor:?} is not a number"))?;
    Group::new(prefix, factor).map_err(|_| format!("the factor must be a finite number of at least 0, got {factor}"))
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
        if let Some(decay) = self.ema.filter(|decay| !(0.0..1.0).contains(decay)) {
            return Err(format!("--ema must lie in [0, 1), got {decay}"));
        }
        self.check_schedule()?;
        if self.activation_stats && !self.has_records() {
            let records = "--csv, --tensorboard, --plot, --report or --remote";
            return Err(format!("--activation-stats has no effect without {records}"));
        }
        if self.momentum.is_some() && self.optimizer == Kind::Adam {
            return Err("--momentum has no effect with --optimizer adam".into());
        }
        if self.momentum.is_some() && self.schedule.base_momentum.is_some() {
            return Err("--momentum has no effect with --base-momentum and --max-momentum".into());
        }
        Ok(())
    }

    /// The file that the config is read from.
    pub(crate) fn config_file(&self) -> Option<&Path> {
        self.schedule.config.as_deref()
    }

    /// Whether there is something to record the metrics of an epoch in.
    pub(crate) fn has_records(&self) -> bool {
        let files = [&self.csv, &self.plot, &self.report, &self.tensorboard.tensorboard];
        self.remote.is_some() || files.into_iter().any(Option::is_some)
    }

    /// Momentum of an optimizer that needs one.
    pub(crate) fn momentum(&self) -> f64 {
        self.momentum.unwrap_or(0.9)
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
        if !self.group.is_empty() {
            if !config.groups().is_empty() {
                return Err("--group cannot be used with this --config, which has groups already".into());
            }
            config = config.with_groups(Groups::new(self.group.clone())?)?;
        }
        Ok(self.with_feedback(config)?)
    }

    /// The review of a run of so many updates.
    pub(crate) fn review(&self, updates: u64, batches_per_epoch: u64) -> Result<Review, ConfigError> {
        let review = Review::new(updates)?
            .with_batches_per_epoch(batches_per_epoch)?
            .with_snapshots(self.snapshots.unwrap_or(0));
        // The flags have one for momentum that is cycled, so what they make is meant to be so. A file may have forgotten it.
        Ok(if self.schedule.config.is_none() { review.with_constant_momentum() } else { review })
    }
}
