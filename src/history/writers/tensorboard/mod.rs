//! Event files that TensorBoard reads.

mod event;
mod file;
mod grey;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use thiserror::Error;

use self::event::Value;
use self::file::EventFile;
use crate::check;
use crate::error::ConfigError;
use crate::history::{RecordError, Recorder};
use crate::state::Applied;

/// An event file that could not be opened or written.
#[derive(Debug, Error)]
#[error("{}: {source}", .path.display())]
pub struct TensorBoardError {
    /// The file or folder.
    pub path: PathBuf,
    /// What went wrong.
    pub source: io::Error,
}

impl From<TensorBoardError> for RecordError {
    fn from(error: TensorBoardError) -> Self {
        Self::new(error)
    }
}

/// A run for TensorBoard: scalars per update and per epoch, histograms, images, texts.
///
/// It writes into two folders, which TensorBoard shows as two runs: `train`, and `validation` for the metrics whose name begins
/// with `val_`. The prefix is removed there, so that TensorBoard draws both in one chart.
///
/// | tag | step |
/// |---|---|
/// | `update/<metric>`, also for the [metrics of `Applied`](Applied::metrics) | the update, counted from 0 |
/// | `update/steps_per_second` | the update |
/// | `epoch/<metric>` | the epoch, counted from 0 |
/// | histograms, images and texts: the tag that the caller gives, which must not begin with `update/` | the epoch |
///
/// Values are written in single precision, because TensorBoard reads them so. NaN and infinities are written as they are, and
/// TensorBoard marks them. Records are buffered; an epoch, a text, [`flush`](Self::flush) and a drop write them to the file. If the
/// program is killed, only records after the last of these are lost, and readers stop at the last whole record.
///
/// # Examples
///
/// ```
/// use cyclic_optim::history::{Recorder, TensorBoard};
/// use cyclic_optim::{ClrConfig, Cyclic};
///
/// let folder = std::env::temp_dir().join(format!("cyclic-optim-events-{}", std::process::id()));
/// let config = ClrConfig::new(Cyclic::triangular(0.1, 0.3, 2)?);
/// let mut board = TensorBoard::open(&folder, None)?.with_update_frequency(10)?;
/// for used in config.preview().take(40) {
///     board.update(&used, &[("loss", 1.0)])?;
/// }
/// board.epoch(0, &[("loss", 0.9), ("val_loss", 1.1)])?;
/// board.finish()?;
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # References
///
/// Keras' `TensorBoard` callback, which may write a step twice or not advance it, and whose second run overwrites the first.
/// Here, none of this happens.
#[derive(Debug)]
pub struct TensorBoard {
    train: EventFile,
    /// Made for the first validation metric.
    validation: Option<EventFile>,
    folder: PathBuf,
    every: u64,
    /// When and at which update the speed was last measured.
    measured: Option<(Instant, u64)>,
}

impl TensorBoard {
    /// Opens the event files of a new or a continued run. Creates the folder if it does not exist.
    ///
    /// `continued_from` is the first (update, epoch) that is still to be recorded:
    ///
    /// - `None`, a new run: the folder must hold no event files;
    /// - `Some((update, epoch))`, a continued run, for example from a checkpoint: values of earlier updates and epochs are kept,
    ///   later ones are removed, and so is an incomplete last record. Histograms, images and texts are kept if their step is below `epoch`.
    ///   The files are created if there are none.
    ///
    /// Records that were not flushed when the program was killed are missing: [`flush`](Self::flush) before each checkpoint from
    /// which a run may be continued.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) if a new run finds event files; a file that is damaged before its end
    /// (it is not changed); files that cannot be read or written.
    pub fn open(folder: impl AsRef<Path>, continued_from: Option<(u64, u64)>) -> Result<Self, TensorBoardError> {
        let folder = folder.as_ref();
        for part in ["train", "validation"] {
            let path = folder.join(part);
            for file in file::event_files(&path)? {
                let Some((iteration, epoch)) = continued_from else {
                    let problem = "already holds a run; choose another folder, remove this one, or continue that run from its checkpoint";
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

    /// Writes only the updates whose number is a multiple of `updates`.
    ///
    /// # Errors
    ///
    /// `updates` is 0.
    pub fn with_update_frequency(mut self, updates: u64) -> Result<Self, ConfigError> {
        check::length("update_frequency", updates)?;
        self.every = updates;
        Ok(self)
    }

    /// Writes a histogram of the finite `values` at `epoch`.
    ///
    /// # Errors
    ///
    /// The file cannot be written. What could not be written is kept and written with the next record.
    pub fn histogram(&mut self, tag: &str, epoch: u64, values: &[f64]) -> Result<(), TensorBoardError> {
        self.train.write(epoch, vec![Value::histogram(tag.into(), values)])
    }

    /// Writes a grey image of `values` at `epoch`, row by row, for example the weights of a layer: the smallest finite value
    /// is black, the largest is white, and the grey of the others is linear in their value. NaN and infinities are black,
    /// and so is an image whose values are all equal.
    ///
    /// ```
    /// use cyclic_optim::history::TensorBoard;
    ///
    /// let folder = std::env::temp_dir().join(format!("cyclic-optim-images-{}", std::process::id()));
    /// let mut board = TensorBoard::open(&folder, None)?;
    /// let weights = [-0.5, 0.0, 0.5, 0.25, -0.25, 0.0];
    /// board.image("first layer", 0, (2, 3), &weights)?;
    /// let error = board.image("first layer", 0, (2, 2), &weights).unwrap_err().to_string();
    /// assert!(error.ends_with("6 values do not fill an image of 2 rows and 2 columns"), "{error}");
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if there are no rows or no columns, if the values do not fill them, or if
    /// one of them exceeds 2^31 - 1. As [`histogram`](Self::histogram).
    ///
    /// # References
    ///
    /// Keras' `write_images`, which clips weights outside of [0, 1].
    pub fn image(
        &mut self,
        tag: &str,
        epoch: u64,
        (rows, columns): (usize, usize),
        values: &[f64],
    ) -> Result<(), TensorBoardError> {
        let image = grey::image((rows, columns), values)
            .map_err(|source| TensorBoardError { path: self.folder.clone(), source })?;
        self.train.write(epoch, vec![Value::image(tag.into(), image)])
    }

    /// Writes a text, for example the config, and flushes. TensorBoard reads it as Markdown.
    ///
    /// # Errors
    ///
    /// As [`histogram`](Self::histogram).
    pub fn text(&mut self, tag: &str, epoch: u64, text: &str) -> Result<(), TensorBoardError> {
        self.train.write(epoch, vec![Value::text(tag.into(), text)])?;
        self.flush()
    }

    /// Writes all buffered records to the files.
    ///
    /// # Errors
    ///
    /// As [`histogram`](Self::histogram).
    pub fn flush(&mut self) -> Result<(), TensorBoardError> {
        self.train.flush()?;
        self.validation.as_mut().map_or(Ok(()), EventFile::flush)
    }
}

/// Errors are [`TensorBoardError`]. What was written before stays readable. What could not be written is kept and written with
/// the next record, so do not record it again.
impl Recorder for TensorBoard {
    /// Writes what the update used, its metrics, and the updates per second since the last one written.
    fn update(&mut self, used: &Applied, metrics: &[(&str, f64)]) -> Result<(), RecordError> {
        if used.iteration % self.every != 0 {
            return Ok(());
        }
        let now = Instant::now();
        let speed = self.measured.and_then(|(then, iteration)| {
            let (updates, time) = (used.iteration.checked_sub(iteration)?, now.duration_since(then).as_secs_f64());
            (time > 0.0).then(|| crate::numeric::float(updates) / time)
        });
        self.measured = Some((now, used.iteration));
        let own = used.metrics().chain(speed.map(|speed| ("steps_per_second", speed)));
        let own = own.filter(|own| metrics.iter().all(|(name, _)| *name != own.0));
        let values =
            own.chain(metrics.iter().copied()).map(|(name, value)| Value::scalar(format!("update/{name}"), value));
        Ok(self.train.write(used.iteration, values.collect())?)
    }

    /// Writes the metrics, and flushes.
    fn epoch(&mut self, epoch: u64, metrics: &[(&str, f64)]) -> Result<(), RecordError> {
        let scalar = |name: &str, value| Value::scalar(format!("epoch/{name}"), value);
        let (mut train, mut validation) = (Vec::new(), Vec::new());
        for &(name, value) in metrics {
            match name.strip_prefix("val_") {
                Some(name) => validation.push(scalar(name, value)),
                None => train.push(scalar(name, value)),
            }
        }
        if !validation.is_empty() {
            // First, because creating the file may fail.
            let file = match &mut self.validation {
                Some(file) => file,
                none => none.insert(EventFile::create(&self.folder.join("validation"))?),
            };
            file.push(epoch, validation);
        }
        if !train.is_empty() {
            self.train.push(epoch, train);
        }
        Ok(self.flush()?)
    }

    /// Flushes.
    fn finish(&mut self) -> Result<(), RecordError> {
        Ok(self.flush()?)
    }
}
