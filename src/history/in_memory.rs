//! The record of a run in memory.

use super::{Per, RecordError, Recorder, Table};
use crate::check::{self, serde_checked};
use crate::error::ConfigError;
use crate::state::Applied;

serde_checked! {
    /// The record of a run in memory: what each update used, its loss and other metrics, and the metrics of each epoch.
    ///
    /// The table of updates has the series of [`Applied::metrics`] and one for each metric. The rate is the one that the update used,
    /// not the next one. The loss is that of the batch of the update, not a running mean.
    ///
    /// Rows stay in the order in which they were recorded, even if `restore` or `seek` takes the run back. Then
    /// [`truncate`](Self::truncate) removes the rows that will be recorded again.
    ///
    /// As a [`Recorder`] it never fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use cyclic_optim::history::{History, Recorder};
    /// use cyclic_optim::{ClrConfig, Cyclic};
    ///
    /// let config = ClrConfig::new(Cyclic::triangular(0.1, 0.3, 2)?);
    /// let mut history = History::new();
    /// for (used, loss) in config.preview().zip([2.0, 1.5, 9.0]) {
    ///     history.update(&used, &[("loss", loss)])?;
    /// }
    /// history.epoch(0, &[("val_loss", 1.2)])?;
    /// assert_eq!(history.updates().get("learning_rate").unwrap()[0], Some(0.1));
    /// assert_eq!(history.updates().values("loss").unwrap(), [2.0, 1.5, 9.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[derive(Debug, Clone, PartialEq)]
    pub struct History {
        every: u64,
        pub(super) updates: Table,
        pub(super) epochs: Table,
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

/// How the rows are numbered when histories are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reindex {
    /// Every row keeps its number: for the parts of one continued run.
    Keep,
    /// Each history begins where the one before ended: for runs that each began at 0.
    Continue,
}

impl History {
    /// An empty history that keeps every update.
    #[must_use]
    pub fn new() -> Self {
        Self { every: 1, updates: Table::new(Per::Update), epochs: Table::new(Per::Epoch) }
    }

    /// An empty history that keeps the updates whose number is a multiple of `updates`.
    ///
    /// # Errors
    ///
    /// `updates` is 0.
    pub fn every(updates: u64) -> Result<Self, ConfigError> {
        check::length("every", updates)?;
        Ok(Self { every: updates, ..Self::new() })
    }

    /// A history from its parts.
    #[cfg(feature = "checkpoint")]
    pub(crate) fn from_parts(every: u64, updates: Table, epochs: Table) -> Result<Self, ConfigError> {
        Self { every, updates, epochs }.check()
    }

    #[cfg(feature = "serde")]
    fn check(self) -> Result<Self, ConfigError> {
        check::length("every", self.every)?;
        if (self.updates.per(), self.epochs.per()) != (Per::Update, Per::Epoch) {
            return Err(ConfigError::Conflict {
                field: "updates",
                problem: "must be per update, and epochs per epoch",
            });
        }
        Ok(self)
    }

    /// The interval between kept updates: the history keeps those whose number is a multiple of it.
    #[must_use]
    pub fn kept_every(&self) -> u64 {
        self.every
    }

    /// Records an update, if the history keeps updates with its number.
    pub(crate) fn record(&mut self, used: &Applied, metrics: &[(&str, f64)]) {
        if used.iteration % self.every == 0 {
            self.updates.push(used.iteration, &[]);
            self.replace_last(used, metrics);
        }
    }

    /// Replaces what was recorded of the last update.
    pub(crate) fn replace_last(&mut self, used: &Applied, metrics: &[(&str, f64)]) {
        for (name, value) in used.metrics().chain(metrics.iter().copied()) {
            self.updates.set_last(name, value);
        }
    }

    /// Adds a metric to `update` if it was the last one recorded. Does nothing otherwise.
    pub fn note(&mut self, update: u64, name: &str, value: f64) {
        if self.updates.index().last() == Some(&update) {
            self.updates.set_last(name, value);
        }
    }

    /// The records of the updates.
    #[must_use]
    pub fn updates(&self) -> &Table {
        &self.updates
    }

    /// The records of the epochs.
    #[must_use]
    pub fn epochs(&self) -> &Table {
        &self.epochs
    }

    /// Drops the rows that a run will record again if it continues from `update` and `epoch`.
    pub fn truncate(&mut self, update: u64, epoch: u64) {
        self.updates.truncate(update);
        self.epochs.truncate(epoch);
    }

    /// Joins the histories of several runs. The rows of a history that lacks a series have no value in that series.
    ///
    /// ```
    /// use cyclic_optim::history::{History, Recorder, Reindex};
    ///
    /// let (mut first, mut second) = (History::new(), History::new());
    /// first.epoch(0, &[("loss", 0.9)])?;
    /// second.epoch(0, &[("loss", 0.5), ("val_loss", 0.6)])?;
    /// let joined = History::joined([&first, &second], Reindex::Continue);
    /// assert_eq!(joined.epochs().index(), [0, 1]);
    /// assert_eq!(joined.epochs().get("val_loss"), Some(&[None, Some(0.6)][..]));
    /// # Ok::<(), cyclic_optim::history::RecordError>(())
    /// ```
    #[must_use]
    pub fn joined<'a>(histories: impl IntoIterator<Item = &'a Self>, reindex: Reindex) -> Self {
        let mut joined = Self::new();
        for (n, history) in histories.into_iter().enumerate() {
            let after = |table: &Table, every: u64| match (reindex, table.index().iter().max()) {
                (Reindex::Continue, Some(last)) => last.saturating_add(every),
                _ => 0,
            };
            let (updates, epochs) = (after(&joined.updates, joined.every), after(&joined.epochs, 1));
            if n == 0 {
                joined.every = history.every;
            }
            joined.updates.append(&history.updates, updates);
            joined.epochs.append(&history.epochs, epochs);
        }
        joined
    }
}

impl Recorder for History {
    fn update(&mut self, used: &Applied, metrics: &[(&str, f64)]) -> Result<(), RecordError> {
        self.record(used, metrics);
        Ok(())
    }

    fn epoch(&mut self, epoch: u64, metrics: &[(&str, f64)]) -> Result<(), RecordError> {
        self.epochs.push(epoch, metrics);
        Ok(())
    }
}
