//! The lines on stdout, and the progress bar.

use std::error::Error;
use std::io::{IsTerminal, stdout};

use cyclic_optim::history::{RecordError, Recorder, TrainingBar};
use cyclic_optim::{Applied, ClrConfig};

use crate::metrics::Metrics;
use crate::support::output::{self, OutputError};

/// The lines on stdout, and the progress bar if one was asked for.
pub(crate) struct Console {
    bar: Option<TrainingBar>,
    /// Whether each epoch gets a line.
    lines: bool,
    epochs: u64,
}

impl Console {
    pub(crate) fn new(progress: bool, config: &ClrConfig, epochs: u64, batches: u64) -> Self {
        let bar = progress.then(|| TrainingBar::new(epochs, batches).with_schedule(config.schedule().clone()));
        let bar = bar.filter(|bar| !bar.is_hidden());
        let lines = bar.is_none() || !stdout().is_terminal();
        Self { bar, lines, epochs }
    }

    /// Prints a line without tearing the bar.
    pub(crate) fn say(&self, text: &str) -> Result<(), OutputError> {
        match &self.bar {
            Some(bar) => bar.suspend(|| output::line(text)),
            None => output::line(text),
        }
    }

    pub(crate) fn update(&mut self, used: &Applied, loss: f64) -> Result<(), RecordError> {
        self.bar.update(used, &[("loss", loss)])
    }

    /// Shows an epoch, counted from 0, with the rate that its last update used, and the momentum if it is cycled.
    pub(crate) fn epoch(&mut self, epoch: u64, used: &Applied, metrics: &Metrics) -> Result<(), Box<dyn Error>> {
        let shown = metrics.shown();
        self.bar.epoch(epoch, &shown)?;
        if !self.lines {
            return Ok(());
        }
        let mut parts = vec![format!("epoch {:>3}/{}", epoch + 1, self.epochs), format!("lr {:.2e}", used.lr)];
        parts.extend(used.momentum.map(|momentum| format!("momentum {momentum:.4}")));
        parts.extend(shown.iter().map(|(name, value)| format!("{name} {value:.4}")));
        Ok(self.say(&parts.join("  "))?)
    }

    /// Removes the bar.
    pub(crate) fn finish(&mut self) -> Result<(), RecordError> {
        self.bar.finish()
    }
}
