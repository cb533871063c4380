//! A run as one HTML file: to look at in a browser, to print, to send. Feature `report`.
//!
//! The file holds everything that it shows, pictures included. It loads nothing, needs no network and runs no script. It follows
//! the reader's choice of light or dark, and fits on a phone. Each picture has a text that says in numbers what it shows.
//!
//! ```
//! use cyclic_optim::history::Recorder;
//! use cyclic_optim::report::Report;
//! use cyclic_optim::{ClrConfig, Cyclic, History};
//!
//! let config = ClrConfig::new(Cyclic::triangular(0.1, 0.3, 20)?);
//! let mut history = History::new();
//! for (update, used) in config.preview().take(80).enumerate() {
//!     history.update(&used, &[("loss", 2.0 / (update as f64 + 1.0))])?;
//! }
//! history.epoch(0, &[("val_accuracy", 0.91)])?;
//! history.epoch(1, &[("val_accuracy", 0.97)])?;
//! let report = Report::new("Digits & letters").with_history(&history).with_config(&config)?;
//! let html = report.with_fact("seed", 7).with_link("all epochs", "epochs.csv").to_html()?;
//! assert!(html.contains("<h1>Digits &amp; letters</h1>") && html.contains("val_accuracy"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod link;
mod page;
mod settings;
mod summary;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use crate::atomic_file;
use crate::history::History;
use crate::picture::PlotError;
use crate::range_test::{LossCurve, PeakChoice};
use crate::review::Finding;
use crate::smoothing::Smoothing;
use crate::state::ClrState;

/// Why a report could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The config cannot be written as JSON.
    #[error("the config cannot be written as JSON: {0}")]
    Config(#[from] serde_json::Error),
    /// A picture could not be drawn.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// The file could not be written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// A report of a run. Everything but the title is optional; what is missing has no section.
///
/// | part | what the report shows of it |
/// |---|---|
/// | [`with_history`](Self::with_history) | losses, rates, momentum and other values of the updates; metrics of the epochs, their first, best and last values |
/// | [`with_state`](Self::with_state) | the number of updates, and why the run stopped |
/// | [`with_config`](Self::with_config) | a table of all settings, and the same as JSON |
/// | [`with_review`](Self::with_review) | the findings |
/// | [`with_choice`](Self::with_choice) | the rates that were tried, and the peak |
/// | [`with_curve`](Self::with_curve) | the loss curve of a range test, and the suggested rates |
/// | [`with_environment`](Self::with_environment) | crate version, operating system, processor |
/// | [`with_duration`](Self::with_duration) | the time that the run took |
/// | [`with_fact`](Self::with_fact), [`with_link`](Self::with_link) | what only the caller knows, and files of the run |
///
/// Updates and epochs are counted from 0, as in all records. A picture of more than 2,000 points shows the lowest and the highest
/// of each stretch, and the report says so.
#[derive(Debug, Clone)]
pub struct Report<'a> {
    title: String,
    history: Option<&'a History>,
    state: Option<&'a ClrState>,
    config: Option<Value>,
    findings: Option<&'a [Finding]>,
    choice: Option<&'a PeakChoice>,
    curve: Option<(&'a LossCurve, Smoothing)>,
    environment: bool,
    duration: Option<Duration>,
    facts: Vec<(String, String)>,
    links: Vec<(String, PathBuf)>,
}

impl<'a> Report<'a> {
    /// A report with a title and nothing else.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            history: None,
            state: None,
            config: None,
            findings: None,
            choice: None,
            curve: None,
            environment: false,
            duration: None,
            facts: Vec::new(),
            links: Vec::new(),
        }
    }

    /// Adds the history of the run.
    #[must_use]
    pub fn with_history(mut self, history: &'a History) -> Self {
        self.history = Some(history);
        self
    }

    /// Adds the state of the run, usually at its end: [`CyclicOptimizer::state`](crate::CyclicOptimizer::state).
    #[must_use]
    pub fn with_state(mut self, state: &'a ClrState) -> Self {
        self.state = Some(state);
        self
    }

    /// Adds the config of the run: a [`ClrConfig`](crate::ClrConfig), or the JSON of one.
    ///
    /// # Errors
    ///
    /// The config, with a schedule of your own, cannot be written as JSON.
    pub fn with_config(mut self, config: &impl Serialize) -> Result<Self, ReportError> {
        self.config = Some(serde_json::to_value(config)?);
        Ok(self)
    }

    /// Adds the findings of a [`Review`](crate::review::Review). An empty list is shown, too.
    #[must_use]
    pub fn with_review(mut self, findings: &'a [Finding]) -> Self {
        self.findings = Some(findings);
        self
    }

    /// Adds the choice of the peak rate.
    #[must_use]
    pub fn with_choice(mut self, choice: &'a PeakChoice) -> Self {
        self.choice = Some(choice);
        self
    }

    /// Adds the curve of a range test, and the smoothing under which rates are suggested.
    #[must_use]
    pub fn with_curve(mut self, curve: &'a LossCurve, smoothing: &Smoothing) -> Self {
        self.curve = Some((curve, *smoothing));
        self
    }

    /// Adds the machine that this program runs on. Leave it out if the run was on another machine.
    #[must_use]
    pub fn with_environment(mut self) -> Self {
        self.environment = true;
        self
    }

    /// Adds the time that the whole run took.
    #[must_use]
    pub fn with_duration(mut self, duration: Duration) -> Self {
        self.duration = Some(duration);
        self
    }

    /// Adds something else that is worth knowing, such as a test accuracy or a seed.
    #[must_use]
    pub fn with_fact(mut self, name: impl Into<String>, value: impl Display) -> Self {
        self.facts.push((name.into(), value.to_string()));
        self
    }

    /// Adds a link to a file of the run. [`write`](Self::write) makes it relative to the folder of the report, so that both
    /// may move together.
    #[must_use]
    pub fn with_link(mut self, label: impl Into<String>, file: impl Into<PathBuf>) -> Self {
        self.links.push((label.into(), file.into()));
        self
    }

    /// The report as HTML. Links are as they were given.
    ///
    /// # Errors
    ///
    /// [`ReportError::Plot`] if the drawing library fails. A picture without a point is left out.
    pub fn to_html(&self) -> Result<String, ReportError> {
        let links = self.links.iter().map(|(label, file)| (label.as_str(), link::address(file)));
        Ok(page::page(self, &links.collect::<Vec<_>>())?.into_string())
    }

    /// Writes the report into a file, which it replaces as a whole: a failure leaves the old file.
    ///
    /// # Errors
    ///
    /// As [`to_html`](Self::to_html). The file cannot be written: the error names it.
    pub fn write(&self, file: impl AsRef<Path>) -> Result<(), ReportError> {
        let file = file.as_ref();
        let links = self.links.iter().map(|(label, target)| (label.as_str(), link::address(&link::from(file, target))));
        let html = page::page(self, &links.collect::<Vec<_>>())?.into_string();
        atomic_file::replace(file, |writer| writer.write_all(html.as_bytes()))
            .map_err(|source| ReportError::Io { path: file.into(), source })
    }
}
