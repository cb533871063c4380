//! Event files that TensorBoard reads.

mod event;
mod file;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use thiserror::Error;

use self::event::Value;
use self::file::EventFile;
use super::{GRAD_NORM, LEARNING_RATE, LOSS, MOMENTUM};
use crate::{Applied, ConfigError, check};

/// An event file that could not be opened or written: which one, and why.
#[derive(Debug, Error)]
#[error("{}: {source}", .path.display())]
pub struct TensorBoardError {
    /// The file or folder.
    pub path: PathBuf,
    /// What went wrong.
    pub source: io::Error,
}

/// A run for TensorBoard: scalars per update and per epoch, histograms, texts.
///
/// Writes into two folders, which TensorBoard shows as two runs: `train`, and `validation` for the metrics whose name begins
/// with `val_` (the prefix is taken off, so that both stand in one chart).
///
/// | tag | step |
/// |---|---|
/// | `update/learning_rate`, `update/momentum`, `update/loss`, `update/grad_norm`, `update/<metric>` | the update, counted from 0 |
/// | `update/steps_per_second` | the same |
/// | `epoch/<metric>` | the epoch, counted from 0 |
/// | histograms and texts: the tag that the caller gives, which must not begin with `update/` | the epoch |
///
/// Values are written as single precision, which is what TensorBoard draws; NaN and infinities go in as they are, and
/// TensorBoard marks them. Records are buffered and reach the file at each epoch, at each text, at [`flush`](Self::flush)
/// and on drop: what kills the program takes only what came after that, and readers stop at the last whole record.
///
/// # Examples
///
/// ```
/// use cyclic_optim::history::TensorBoard;
/// use cyclic_optim::{ClrConfig, Cyclic};
///
/// let folder = std::env::temp_dir().join(format!("cyclic-optim-events-{}", std::process::id()));
/// let config = ClrConfig::new(Cyclic::triangular(0.1, 0.3, 2)?);
/// let mut board = TensorBoard::open(&folder, None)?.with_update_frequency(10)?;
/// for used in config.preview().take(40) {
///     board.update(&used, 1.0, &[])?;
/// }
/// board.epoch(0, &[("loss", 0.9), ("val_loss", 1.1)])?;
/// # drop(board);
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # References
///
/// Keras' `TensorBoard` callback. Unlike with it, no step is written twice, none stands still, and the second of two runs does
/// not write over the first.
#[derive(Debug)]
pub struct TensorBoard {
    train: EventFile,
    /// Made when the first metric of the validation set comes.
    validation: Option<EventFile>,
    folder: PathBuf,
    every: u64,
    /// When and at which update the speed was last measured.
    measured: Option<(Instant, u64)>,
}

impl TensorBoard {
    /// Opens the event files of a run: a new one, or one that is continued. The folder is made if it is not there.
    ///
    /// `continued_from` is where the run goes on, as (update, epoch):
    ///
    /// - `None`, a new run: the folder must hold no event files;
    /// - `Some((update, epoch))`, a run that is continued there, for instance from a checkpoint: the values of earlier updates and
    ///   epochs are kept, the later ones are cut out, and so is a last record that a kill has torn. Histograms and texts are kept if their step
    ///   is below `epoch`. The files are made if there are none.
    ///
    /// What was written but not flushed when the program was killed is missing: [`flush`](Self::flush) before each checkpoint
    /// that a run may be continued from.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) if a new run finds event files; a file that is damaged before its end,
    /// which is left as it is; whatever cannot be read or written.
    pub fn open(folder: impl AsRef<Path>, continued_from: Option<(u64, u64)>) -> Result<Self, TensorBoardError> {
        let folder = folder.as_ref();
        for part in ["train", "validation"] {
            let path = folder.join(part);
            for file in file::event_files(&path)? {
                let Some((iteration, epoch)) = continued_from else {
                    let problem = "holds a run already; name another folder, remove this one, or continue that run from its checkpoint";
                    return Err(TensorBoardError {
                        path,
                        source: io::Error::new(io::ErrorKind::AlreadyExists, problem),
                    });
                };
                file::keep_before(&file, |tag| if tag.starts_with("update/") { iteration } else { epoch })?;
            }
        }
        let train = EventFile::create(&folder.join("train"))?;
        Ok(Self { train, validation: None, folder: folder.into(), every: 1, measured: None })
    }

    /// The same, writing only the updates whose number is a multiple of `updates`.
    ///
    /// # Errors
    ///
    /// 0 updates.
    pub fn with_update_frequency(mut self, updates: u64) -> Result<Self, ConfigError> {
        check::length("update_frequency", updates)?;
        self.every = updates;
        Ok(self)
    }

    /// Writes what an update used, its loss, further metrics of it, and the steps per second since the last one written.
    ///
    /// # Errors
    ///
    /// Those of writing. What was written before stays readable; what could not be written is kept and written with the next,
    /// so do not say it twice.
    pub fn update(&mut self, used: &Applied, loss: f64, metrics: &[(&str, f64)]) -> Result<(), TensorBoardError> {
        if used.iteration % self.every != 0 {
            return Ok(());
        }
        let now = Instant::now();
        let speed = self.measured.and_then(|(then, iteration)| {
            let (steps, time) = (used.iteration.checked_sub(iteration)?, now.duration_since(then).as_secs_f64());
            (time > 0.0).then(|| crate::schedule::curve::float(steps) / time)
        });
        self.measured = Some((now, used.iteration));
        let own = [
            (LEARNING_RATE, Some(used.lr)),
            (MOMENTUM, used.momentum),
            (LOSS, Some(loss)),
            (GRAD_NORM, used.grad_norm),
            ("steps_per_second", speed),
        ];
        // A metric of the caller's by the same name stands for it.
        let own = own.into_iter().filter(|own| metrics.iter().all(|(name, _)| *name != own.0));
        let own = own.filter_map(|(name, value)| Some((name, value?)));
        let values =
            own.chain(metrics.iter().copied()).map(|(name, value)| Value::scalar(format!("update/{name}"), value));
        self.train.write(used.iteration, values.collect())
    }

    /// Writes the metrics of an epoch, and flushes.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub fn epoch(&mut self, epoch: u64, metrics: &[(&str, f64)]) -> Result<(), TensorBoardError> {
        let scalar = |name: &str, value| Value::scalar(format!("epoch/{name}"), value);
        let (mut train, mut validation) = (Vec::new(), Vec::new());
        for &(name, value) in metrics {
            match name.strip_prefix("val_") {
                Some(name) => validation.push(scalar(name, value)),
                None => train.push(scalar(name, value)),
            }
        }
        if !validation.is_empty() {
            // First, for making the file may fail.
            let file = match &mut self.validation {
                Some(file) => file,
                none => none.insert(EventFile::create(&self.folder.join("validation"))?),
            };
            file.push(epoch, validation);
        }
        if !train.is_empty() {
            self.train.push(epoch, train);
        }
        self.flush()
    }

    /// Writes the histogram of the finite values of an epoch.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub fn histogram(&mut self, tag: &str, epoch: u64, values: &[f64]) -> Result<(), TensorBoardError> {
        self.train.write(epoch, vec![Value::histogram(tag.into(), values)])
    }

    /// Writes a text, for instance the config. TensorBoard reads it as Markdown.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub fn text(&mut self, tag: &str, epoch: u64, text: &str) -> Result<(), TensorBoardError> {
        self.train.write(epoch, vec![Value::text(tag.into(), text)])?;
        self.flush()
    }

    /// Hands everything to the operating system.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub fn flush(&mut self) -> Result<(), TensorBoardError> {
        self.train.flush()?;
        self.validation.as_mut().map_or(Ok(()), EventFile::flush)
    }
}
