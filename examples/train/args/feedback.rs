//! The flags of early stopping and of the plateau, and the rules that follow from them.

use clap::{ArgGroup, Args, ValueEnum};
use cyclic_optim::ClrConfig;
use cyclic_optim::feedback::{Direction, EarlyStopping, Improvement, MinDelta, Plateau};

use super::{Arguments, METRICS};
use crate::support::flags::named;

/// Whether a smaller or a larger metric is better.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// As the name of the metric says: max for an accuracy, min for a loss.
    Auto,
    Min,
    Max,
}

#[derive(Args)]
#[command(next_help_heading = "Early stopping")]
#[command(group(ArgGroup::new("stops").args(["early_stopping", "stop_at"]).multiple(true)))]
pub(crate) struct EarlyStoppingArguments {
    /// Stop when the metric no longer improves.
    #[arg(long)]
    early_stopping: bool,
    /// Stop as soon as the metric reaches this value.
    #[arg(long, value_name = "VALUE", requires = "early_stopping_monitor")]
    stop_at: Option<f64>,
    /// Watch this metric [default: `val_loss`]. Early stopping from a --config needs it, too. It may be given several times:
    /// the run stops when one of the metrics no longer improves, and the first one decides which weights are the best. If
    /// one of the others has stopped a run, the run continues only without that metric, also with --continue-with-changes.
    #[arg(long, value_name = "METRIC", value_parser = METRICS)]
    early_stopping_monitor: Vec<String>,
    /// Take only a change by more than this for an improvement.
    #[arg(long, default_value_t = 0.0, requires = "early_stopping")]
    early_stopping_min_delta: f64,
    /// Stop after this number of epochs without improvement.
    #[arg(long, default_value_t = 5, requires = "early_stopping")]
    early_stopping_patience: u64,
    /// Say whether a smaller or a larger metric is better.
    #[arg(long, value_enum, default_value_t = Mode::Auto, requires = "stops")]
    early_stopping_mode: Mode,
    /// Count an epoch as one without improvement until the metric has beaten this value.
    #[arg(long, requires = "early_stopping")]
    early_stopping_baseline: Option<f64>,
    /// End with the weights of the best epoch.
    #[arg(long)]
    pub(crate) early_stopping_restore_best_weights: bool,
}

#[derive(Args)]
#[command(next_help_heading = "Reduce the rate on a plateau")]
pub(super) struct ReduceLrArguments {
    /// Multiply the rate when the metric no longer improves.
    #[arg(long)]
    reduce_lr: bool,
    /// Watch this metric [default: `val_loss`]. A plateau from a --config needs it, too.
    #[arg(long, value_name = "METRIC", value_parser = METRICS)]
    reduce_lr_monitor: Option<String>,
    /// Multiply the rate by this factor.
    #[arg(long, default_value_t = 0.5, requires = "reduce_lr")]
    reduce_lr_factor: f64,
    /// Reduce the rate after this number of epochs without improvement.
    #[arg(long, default_value_t = 3, requires = "reduce_lr")]
    reduce_lr_patience: u64,
    /// Say whether a smaller or a larger metric is better.
    #[arg(long, value_enum, default_value_t = Mode::Auto, requires = "reduce_lr")]
    reduce_lr_mode: Mode,
    /// Take only a change by more than this for an improvement.
    #[arg(long, default_value_t = 1e-4, requires = "reduce_lr")]
    reduce_lr_min_delta: f64,
    /// Wait this number of epochs after a reduction before the next one is considered.
    #[arg(long, default_value_t = 0, requires = "reduce_lr")]
    reduce_lr_cooldown: u64,
    /// Judge the trend of the last N epochs instead of comparing with the best epoch: a loss that falls after a spike is
    /// then no plateau.
    #[arg(long, value_name = "N", requires = "reduce_lr")]
    reduce_lr_trend_window: Option<u64>,
    /// Do not reduce the peak rate below this.
    #[arg(long, default_value_t = 0.0, requires = "reduce_lr")]
    reduce_lr_min_lr: f64,
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
    /// Further metrics that can stop the run, each with its rule.
    pub(crate) others: Vec<(String, EarlyStopping)>,
}

impl Arguments {
    /// The config with early stopping and plateau, and what they watch.
    pub(super) fn with_feedback(&self, mut config: ClrConfig) -> Result<(ClrConfig, Monitors), String> {
        let (stop, reduce) = (&self.early_stopping, &self.reduce_lr);
        let monitors = Monitors {
            plateau: monitor(
                ["--reduce-lr", "--reduce-lr", "--reduce-lr-monitor"],
                (reduce.reduce_lr, config.plateau().is_some()),
                reduce.reduce_lr_monitor.as_deref(),
            )?,
            early_stopping: monitor(
                [stop.switch(), "--early-stopping or --stop-at", "--early-stopping-monitor"],
                (stop.is_asked_for(), config.early_stopping().is_some()),
                stop.early_stopping_monitor.first().map(String::as_str),
            )?,
            others: stop.others()?,
        };
        if stop.early_stopping_restore_best_weights && monitors.early_stopping.is_none() {
            let flag = "--early-stopping-restore-best-weights";
            return Err(format!("{flag} has no effect without --early-stopping or --stop-at"));
        }
        if let (true, Some(monitor)) = (reduce.reduce_lr, &monitors.plateau) {
            config = config.with_plateau(reduce.plateau(monitor)?).map_err(named("--reduce-lr-"))?;
        }
        if let (true, Some(monitor)) = (stop.is_asked_for(), &monitors.early_stopping) {
            config = config.with_early_stopping(stop.early_stopping(monitor)?).map_err(named("--early-stopping-"))?;
        }
        Ok((config, monitors))
    }
}

/// The metric of a reaction that a flag or the config file asks for. The flags are the one that asks for it, all that could, and
/// the one that names the metric.
fn monitor(
    [given, switch, flag]: [&str; 3],
    (by_flag, by_file): (bool, bool),
    monitor: Option<&str>,
) -> Result<Option<String>, String> {
    match (by_flag, by_file, monitor) {
        (true, true, _) => Err(format!("{given} cannot be used with this --config, which has it already")),
        (false, true, None) => Err(format!("this --config does the same as {given}: name the metric with {flag}")),
        (false, false, Some(_)) => Err(format!("{flag} has no effect without {switch}")),
        (false, false, None) => Ok(None),
        (_, _, monitor) => Ok(Some(monitor.unwrap_or("val_loss").into())),
    }
}

impl EarlyStoppingArguments {
    fn is_asked_for(&self) -> bool {
        self.early_stopping || self.stop_at.is_some()
    }

    /// The rules of all metrics but the first.
    fn others(&self) -> Result<Vec<(String, EarlyStopping)>, String> {
        let monitors = &self.early_stopping_monitor;
        let others = monitors.get(1..).unwrap_or_default();
        for (n, monitor) in monitors.iter().enumerate() {
            if monitors[..n].contains(monitor) {
                return Err(format!("--early-stopping-monitor {monitor} was given twice"));
            }
        }
        for (flag, given) in [
            ("--stop-at", self.stop_at.is_some()),
            ("--early-stopping-baseline", self.early_stopping_baseline.is_some()),
            ("--early-stopping-min-delta", self.early_stopping_min_delta != 0.0),
            ("--early-stopping-mode", self.early_stopping_mode != Mode::Auto),
        ] {
            if given && !others.is_empty() {
                return Err(format!("{flag} is for one metric, and --early-stopping-monitor names {}", monitors.len()));
            }
        }
        if !others.is_empty() && !self.early_stopping {
            return Err("several metrics in --early-stopping-monitor need --early-stopping".into());
        }
        others.iter().map(|monitor| Ok((monitor.clone(), self.early_stopping(monitor)?))).collect()
    }

    pub(crate) fn patience(&self) -> u64 {
        self.early_stopping_patience.max(1)
    }

    fn switch(&self) -> &'static str {
        if self.early_stopping || self.stop_at.is_none() { "--early-stopping" } else { "--stop-at" }
    }

    fn early_stopping(&self, monitor: &str) -> Result<EarlyStopping, String> {
        let improvement =
            improvement("--early-stopping-", self.early_stopping_mode, monitor, self.early_stopping_min_delta)?;
        // With a value to stop at alone, no wait is too long.
        let patience = if self.early_stopping { self.early_stopping_patience } else { u64::MAX };
        let rule = EarlyStopping::new(patience).and_then(|rule| rule.with_improvement(improvement));
        let rule = match self.early_stopping_baseline {
            Some(baseline) => rule.and_then(|rule| rule.with_baseline(baseline)),
            None => rule,
        };
        let rule = rule.map_err(named("--early-stopping-"))?;
        match self.stop_at {
            Some(value) if !value.is_finite() => Err(format!("--stop-at must be finite, got {value}")),
            Some(value) => rule.with_threshold(value).map_err(named("--")),
            None => Ok(rule),
        }
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
