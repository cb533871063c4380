//! What happened in a run: numbers per update and per epoch, in memory and on their way out.
//!
//! A [`History`] keeps one record per update with what that update *used*. An optimizer can own one
//! ([`with_history`](crate::CyclicOptimizer::with_history)) and fills in rate and momentum by itself. Beside it stand, each
//! behind its feature, a CSV file that grows row by row (`csv`), pictures (`plot`), files for TensorBoard (`tensorboard`), a
//! bar that moves (`progress`) and a page on another machine (`remote`).
//!
//! Updates and epochs are counted from 0 in everything that is recorded or written; only what is meant to be read by
//! people alone, the progress bar, counts epochs from 1.

#[cfg(feature = "csv")]
mod csv;
#[cfg(feature = "plot")]
mod plot;
#[cfg(feature = "progress")]
mod progress;
#[cfg(feature = "remote")]
mod remote;
mod table;
#[cfg(feature = "tensorboard")]
mod tensorboard;

#[cfg(feature = "csv")]
pub use self::csv::{CsvError, CsvLog, CsvLogError};
#[cfg(feature = "plot")]
pub use plot::{LossPlot, schedules_to_svg};
#[cfg(feature = "progress")]
pub use progress::TrainingBar;
#[cfg(feature = "remote")]
pub use remote::{InvalidUrl, Published, RemoteMonitor};
#[cfg(feature = "checkpoint")]
pub(crate) use table::Series;
pub use table::{Per, Table};
#[cfg(feature = "tensorboard")]
pub use tensorboard::{TensorBoard, TensorBoardError};

use crate::{Applied, ConfigError, check};

/// The series that an update is recorded in, beside the metrics of the caller.
pub(crate) const LEARNING_RATE: &str = "learning_rate";
pub(crate) const MOMENTUM: &str = "momentum";
pub(crate) const LOSS: &str = "loss";
pub(crate) const GRAD_NORM: &str = "grad_norm";

/// A record of a run: for each update what it used and its loss, for each epoch the metrics that it was given.
///
/// The series of an update are `learning_rate`, `momentum` (if it is cycled), `loss` and `grad_norm` (if it was taken), and
/// any other metric by its name. Rows stay in the order in which they were recorded, also after a `restore` or `seek` that
/// leads back; [`truncate`](Self::truncate) drops what is to be made again. The rate is the one that the update used, not the next one; the loss is the one of its
/// own batch, not a running mean.
///
/// # Examples
///
/// ```
/// use cyclic_optim::history::History;
/// use cyclic_optim::{ClrConfig, Cyclic, winsorised};
///
/// let config = ClrConfig::new(Cyclic::triangular(0.1, 0.3, 2)?);
/// let mut history = History::new();
/// for (used, loss) in config.preview().zip([2.0, 1.5, 9.0]) {
///     history.record(&used, loss, &[]);
/// }
/// history.record_epoch(0, &[("val_loss", 1.2)]);
/// assert_eq!(history.updates().get("learning_rate").unwrap()[0], Some(0.1));
/// assert_eq!(history.updates().values("loss").unwrap(), [2.0, 1.5, 9.0]);
/// # Ok::<(), cyclic_optim::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct History {
    every: u64,
    updates: Table,
    epochs: Table,
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

/// What happens to the index when histories are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reindex {
    /// Every row keeps its index: for runs that were continued.
    Keep,
    /// Each history begins where the one before has ended: for runs that each began at 0.
    Continue,
}

impl History {
    /// Nothing recorded yet; every update will be.
    #[must_use]
    pub fn new() -> Self {
        Self { every: 1, updates: Table::new(Per::Update), epochs: Table::new(Per::Epoch) }
    }

    /// Nothing recorded yet; of the updates, those whose number is a multiple of `updates` will be.
    ///
    /// # Errors
    ///
    /// 0 updates.
    pub fn every(updates: u64) -> Result<Self, ConfigError> {
        check::length("every", updates)?;
        Ok(Self { every: updates, ..Self::new() })
    }

    /// From its parts, of which the caller knows that they are per update and per epoch.
    #[cfg(feature = "serde")]
    pub(crate) fn from_parts(every: u64, updates: Table, epochs: Table) -> Result<Self, ConfigError> {
        Ok(Self { updates, epochs, ..Self::every(every)? })
    }

    /// Of how many updates one is kept.
    #[must_use]
    pub fn kept_every(&self) -> u64 {
        self.every
    }

    /// Records an update: what it used, its loss, and further metrics of it.
    pub fn record(&mut self, used: &Applied, loss: f64, metrics: &[(&str, f64)]) {
        if used.iteration % self.every != 0 {
            return;
        }
        self.updates.push(used.iteration, &[]);
        self.renew(used, loss);
        for &(name, value) in metrics {
            self.updates.set_last(name, value);
        }
    }

    /// Says anew what the update recorded last has used.
    pub(crate) fn renew(&mut self, used: &Applied, loss: f64) {
        let own = [
            (LEARNING_RATE, Some(used.lr)),
            (LOSS, Some(loss)),
            (MOMENTUM, used.momentum),
            (GRAD_NORM, used.grad_norm),
        ];
        for (name, value) in own {
            if let Some(value) = value {
                self.updates.set_last(name, value);
            }
        }
    }

    /// Gives an update that was recorded last another metric. Does nothing for an update that was not kept.
    pub fn note(&mut self, iteration: u64, name: &str, value: f64) {
        if self.updates.index().last() == Some(&iteration) {
            self.updates.set_last(name, value);
        }
    }

    /// Records an epoch, counted from 0. By convention the metrics of the validation set begin with `val_`.
    pub fn record_epoch(&mut self, epoch: u64, metrics: &[(&str, f64)]) {
        self.epochs.push(epoch, metrics);
    }

    /// What was recorded of updates.
    #[must_use]
    pub fn updates(&self) -> &Table {
        &self.updates
    }

    /// What was recorded of epochs.
    #[must_use]
    pub fn epochs(&self) -> &Table {
        &self.epochs
    }

    /// Drops what a run that goes on from update `iteration` in epoch `epoch` will record again.
    pub fn truncate(&mut self, iteration: u64, epoch: u64) {
        self.updates.truncate(iteration);
        self.epochs.truncate(epoch);
    }

    /// Joins the histories of several runs. A series that is missing in one of them has no value in its rows.
    ///
    /// ```
    /// use cyclic_optim::history::{History, Reindex};
    ///
    /// let (mut first, mut second) = (History::new(), History::new());
    /// first.record_epoch(0, &[("loss", 0.9)]);
    /// second.record_epoch(0, &[("loss", 0.5), ("val_loss", 0.6)]);
    /// let joined = History::joined([&first, &second], Reindex::Continue);
    /// assert_eq!(joined.epochs().index(), [0, 1]);
    /// assert_eq!(joined.epochs().get("val_loss"), Some(&[None, Some(0.6)][..]));
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

/// Read through the checks of the constructors.
#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for History {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;

        #[derive(serde::Deserialize)]
        #[serde(rename = "History", deny_unknown_fields)]
        struct Form {
            every: u64,
            updates: Table,
            epochs: Table,
        }

        let Form { every, updates, epochs } = Form::deserialize(deserializer)?;
        if (updates.per(), epochs.per()) != (Per::Update, Per::Epoch) {
            return Err(D::Error::custom("updates must be per update and epochs per epoch"));
        }
        Self::from_parts(every, updates, epochs).map_err(D::Error::custom)
    }
}
