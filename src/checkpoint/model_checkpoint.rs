//! Checkpoint files of the best or the last models.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use super::Checkpoint;
use super::error::CheckpointError;
use super::saved::{SavedModel, SavedWith};
use super::template::{Template, TemplateError};
use crate::check;
use crate::error::ConfigError;
use crate::feedback::Improvement;
use crate::optimizer::CyclicOptimizer;
use crate::schedule::Schedule;

/// A [`ModelCheckpoint`] could not write or remove a file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelCheckpointError {
    /// The template has no value for a key.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The metric that decides which model is best was not reported.
    #[error("the metric {metric:?}, which decides what is best, was not reported; there are {reported:?}")]
    NoMetric {
        /// The metric.
        metric: String,
        /// The reported metrics.
        reported: Vec<String>,
    },
    /// A file could not be written or removed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// Writes checkpoint files during a run: of all models or only the best, of the run or the weights alone.
///
/// | option | default | purpose |
/// |---|---|---|
/// | `template` | required | file name, with `{epoch}`, `{update}` (both from 1) and metrics: `run/{epoch:03}-{val_loss:.4}.safetensors` |
/// | [`best_only`](Self::best_only) | off | save only a model that is better than the best so far; NaN never is |
/// | [`with_threshold`](Self::with_threshold) | none | the value to beat at first: the best of the run that is continued |
/// | [`every`](Self::every) | 1 | save on every n-th epoch or update |
/// | [`weights_only`](Self::weights_only) | off | save the model without the run |
/// | [`keep_last`](Self::keep_last) | all | keep the newest n files and remove the older ones that this value has written |
///
/// Call [`save`](Self::save) at the end of each epoch, or after each update. Missing folders are created. Files are written
/// atomically, and an old file is removed only after the new one is complete.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "dfdx")] {
/// use cyclic_optim::feedback::Improvement;
/// use cyclic_optim::{Constant, CyclicOptimizer, ModelCheckpoint, Sgd};
/// use dfdx::prelude::*;
///
/// let folder = std::env::temp_dir().join(format!("cyclic-optim-models-{}", std::process::id()));
/// let model = Cpu::default().build_module::<builders::Linear<2, 1>, f32>();
/// let optimizer = CyclicOptimizer::new(Sgd::<f32, Cpu>::default(), Constant::new(0.1)?);
/// let template = folder.join("{epoch:02}-{val_loss:.2}.safetensors");
/// let mut keep = ModelCheckpoint::new(template.to_str().unwrap())?.best_only("val_loss", Improvement::default());
/// for (epoch, val_loss) in [0.5, 0.7, f64::NAN, 0.25].into_iter().enumerate() {
///     keep.save(epoch as u64, &[("val_loss", val_loss)], &model, &optimizer)?;
/// }
/// let mut names: Vec<_> = std::fs::read_dir(&folder)?.map(|entry| entry.unwrap().file_name()).collect();
/// names.sort();
/// assert_eq!(names, ["01-0.50.safetensors", "04-0.25.safetensors"]);
/// # std::fs::remove_dir_all(&folder)?;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # References
///
/// Keras' `ModelCheckpoint`. Unlike there, a missing metric is an error, the direction is never guessed from a name, and
/// files are replaced atomically.
#[derive(Debug, Clone)]
pub struct ModelCheckpoint {
    template: Template,
    best_only: Option<(String, Improvement)>,
    best: Option<f64>,
    every: u64,
    weights_only: bool,
    keep_last: Option<usize>,
    written: VecDeque<PathBuf>,
}

impl ModelCheckpoint {
    /// Saves every model, under names from the template.
    ///
    /// # Errors
    ///
    /// The template is malformed.
    pub fn new(template: &str) -> Result<Self, TemplateError> {
        Ok(Self {
            template: Template::new(template)?,
            best_only: None,
            best: None,
            every: 1,
            weights_only: false,
            keep_last: None,
            written: VecDeque::new(),
        })
    }

    /// Saves a model only if `metric` is better than the best so far.
    #[must_use]
    pub fn best_only(mut self, metric: &str, improvement: Improvement) -> Self {
        self.best_only = Some((metric.into(), improvement));
        self
    }

    /// Sets the value that the first model has to beat.
    ///
    /// # Errors
    ///
    /// `best` is not finite.
    pub fn with_threshold(mut self, best: f64) -> Result<Self, ConfigError> {
        check::finite("threshold", best)?;
        self.best = Some(best);
        Ok(self)
    }

    /// Saves only when `count + 1` is a multiple of `every`.
    ///
    /// # Errors
    ///
    /// `every` is 0.
    pub fn every(mut self, every: u64) -> Result<Self, ConfigError> {
        check::length("every", every)?;
        self.every = every;
        Ok(self)
    }

    /// Saves the model without the run.
    #[must_use]
    pub fn weights_only(mut self) -> Self {
        self.weights_only = true;
        self
    }

    /// Keeps the newest `files` files.
    ///
    /// # Errors
    ///
    /// `files` is 0.
    pub fn keep_last(mut self, files: usize) -> Result<Self, ConfigError> {
        check::length("keep_last", files as u64)?;
        self.keep_last = Some(files);
        Ok(self)
    }

    /// The best value so far. A run that is continued takes it as its threshold.
    #[must_use]
    pub fn best(&self) -> Option<f64> {
        self.best
    }

    /// The file that [`save`](Self::save) would write. Call it with metrics of any value to check the template before the run.
    ///
    /// # Errors
    ///
    /// A key is not `epoch`, `update` or one of the metrics.
    ///
    /// ```
    /// use cyclic_optim::ModelCheckpoint;
    ///
    /// let keep = ModelCheckpoint::new("models/{epoch:02}-{val_loss:.1}.safetensors")?;
    /// assert_eq!(keep.path(0, 45, &[("val_loss", 0.5)])?.to_str(), Some("models/01-0.5.safetensors"));
    /// assert!(keep.path(0, 45, &[("loss", 0.5)]).is_err());
    /// # Ok::<(), cyclic_optim::checkpoint::TemplateError>(())
    /// ```
    pub fn path(&self, count: u64, updates: u64, metrics: &[(&str, f64)]) -> Result<PathBuf, TemplateError> {
        self.template.fill(&[("epoch", count.saturating_add(1)), ("update", updates)], metrics)
    }

    /// Writes a file if the options say so, and returns its path. `count` is the number of this epoch, or of this update,
    /// counted from 0.
    ///
    /// # Errors
    ///
    /// A key or metric was not reported, or writing failed: the best so far stays as it was. An old file cannot be removed: the
    /// new one is written, and the next call tries to remove the old one again.
    pub fn save<M: SavedModel<F>, O: SavedWith<M, F>, S: Schedule + Serialize, F>(
        &mut self,
        count: u64,
        metrics: &[(&str, f64)],
        model: &M,
        optimizer: &CyclicOptimizer<O, S>,
    ) -> Result<Option<PathBuf>, ModelCheckpointError> {
        let number = count.saturating_add(1);
        if number % self.every != 0 {
            return Ok(None);
        }
        let mut best = self.best;
        if let Some((metric, improvement)) = &self.best_only {
            let Some(&(_, value)) = metrics.iter().find(|(name, _)| name == metric) else {
                let reported = metrics.iter().map(|(name, _)| (*name).into()).collect();
                return Err(ModelCheckpointError::NoMetric { metric: metric.clone(), reported });
            };
            if !improvement.is_better(value, best) {
                return Ok(None);
            }
            best = Some(value);
        }
        let path = self.path(count, optimizer.iterations(), metrics)?;
        create_folder(&path)?;
        if self.weights_only {
            Checkpoint::write_weights(&path, model)?;
        } else {
            Checkpoint::write(&path, model, optimizer)?;
        }
        self.best = best;
        self.written.retain(|written| *written != path);
        self.written.push_back(path.clone());
        while self.keep_last.is_some_and(|files| self.written.len() > files) {
            if let Some(oldest) = self.written.pop_front() {
                match fs::remove_file(&oldest) {
                    Err(source) if source.kind() != io::ErrorKind::NotFound => {
                        self.written.push_front(oldest.clone());
                        return Err(CheckpointError::Io { path: oldest, source }.into());
                    }
                    _ => {}
                }
            }
        }
        Ok(Some(path))
    }
}

fn create_folder(file: &Path) -> Result<(), CheckpointError> {
    let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    fs::create_dir_all(folder).map_err(CheckpointError::io(folder))
}
