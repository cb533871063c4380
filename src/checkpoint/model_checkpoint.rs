//! Checkpoint files of the best or the last models.

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

/// Writes checkpoint files during a run: of all models, the best or the last ones, of the run or the weights alone.
///
/// | option | default | purpose |
/// |---|---|---|
/// | `template` | required | file name, with `{epoch}`, `{update}` (both from 1) and metrics: `run/{epoch:03}-{val_loss:.4}.safetensors` |
/// | [`best_only`](Self::best_only) | off | save only a model that is better than the best so far; NaN never is |
/// | [`with_threshold`](Self::with_threshold) | none | the value to beat at first |
/// | [`every`](Self::every) | 1 | save on every n-th epoch or update |
/// | [`weights_only`](Self::weights_only) | off | save the model without the run |
/// | [`keep_last`](Self::keep_last) | all | keep the newest n files and remove the older ones |
/// | [`keep_best`](Self::keep_best) | all | keep the files of the n best models and remove the others |
///
/// Call [`save`](Self::save) at the end of each epoch, or after each update. Missing folders are created. Files are written
/// atomically, and an old file is removed only after the new one is complete. A `ModelCheckpoint` removes only files that it
/// has written itself or knows from [`replay`](Self::replay).
///
/// For a continued run, call [`replay`](Self::replay) for each epoch that the run made before. Then the same files are saved
/// and removed as without the interruption.
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
/// Keras' `ModelCheckpoint`, and `save_top_k` of Lightning's. Here a missing metric is an error, the direction is never
/// guessed from a name, and files are replaced atomically.
#[derive(Debug, Clone)]
pub struct ModelCheckpoint {
    template: Template,
    every: u64,
    weights_only: bool,
    which: Which,
    best: Option<f64>,
    /// The most files to keep.
    files: Option<usize>,
    /// The files that are there: the first to be removed last. The metric is that of the models to choose from.
    written: Vec<(f64, PathBuf)>,
}

/// Which models are saved, and which of their files stay.
#[derive(Debug, Clone)]
enum Which {
    /// Every model; the newest stay.
    All,
    /// A model that is better than all before it; the newest stay.
    BetterThanAll { metric: String, improvement: Improvement },
    /// A model that is one of the best so far; the best stay.
    Best { metric: String, improvement: Improvement },
}

/// A file that is to be written.
struct Due {
    /// The metric that decides; 0 if none does.
    value: f64,
    path: PathBuf,
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
            every: 1,
            weights_only: false,
            which: Which::All,
            best: None,
            files: None,
            written: Vec::new(),
        })
    }

    /// Saves a model only if `metric` is better than the best so far. Replaces [`keep_best`](Self::keep_best).
    #[must_use]
    pub fn best_only(mut self, metric: &str, improvement: Improvement) -> Self {
        if matches!(self.which, Which::Best { .. }) {
            self.files = None;
        }
        self.which = Which::BetterThanAll { metric: metric.into(), improvement };
        self
    }

    /// Sets the value that the first model has to beat. It has no effect on [`keep_best`](Self::keep_best).
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

    /// Keeps the newest `files` files. Replaces [`keep_best`](Self::keep_best).
    ///
    /// # Errors
    ///
    /// `files` is 0.
    pub fn keep_last(mut self, files: usize) -> Result<Self, ConfigError> {
        check::length("keep_last", files as u64)?;
        if matches!(self.which, Which::Best { .. }) {
            self.which = Which::All;
        }
        self.files = Some(files);
        Ok(self)
    }

    /// Keeps the files of the `files` models with the best `metric`. While there are fewer files, every model is saved.
    /// After that, a model is saved only if it is better than the worst of them, whose file is then removed. Of two equally
    /// good models the older one stays. NaN and infinities are never saved. Replaces [`best_only`](Self::best_only) and
    /// [`keep_last`](Self::keep_last).
    ///
    /// The template should give each model a name of its own, by its epoch or update. If a kept file already has the name of
    /// a new model, the new model replaces it only if it is better than the model in the file.
    ///
    /// ```
    /// # #[cfg(feature = "dfdx")] {
    /// use cyclic_optim::feedback::Improvement;
    /// use cyclic_optim::{Constant, CyclicOptimizer, ModelCheckpoint, Sgd};
    /// use dfdx::prelude::*;
    ///
    /// let folder = std::env::temp_dir().join(format!("cyclic-optim-best-models-{}", std::process::id()));
    /// let model = Cpu::default().build_module::<builders::Linear<2, 1>, f32>();
    /// let optimizer = CyclicOptimizer::new(Sgd::<f32, Cpu>::default(), Constant::new(0.1)?);
    /// let template = folder.join("{epoch}.safetensors");
    /// let mut keep = ModelCheckpoint::new(template.to_str().unwrap())?.keep_best(2, "val_loss", Improvement::default())?;
    /// for (epoch, val_loss) in [0.5, 0.7, 0.6, 0.9, 0.25].into_iter().enumerate() {
    ///     keep.save(epoch as u64, &[("val_loss", val_loss)], &model, &optimizer)?;
    /// }
    /// let mut names: Vec<_> = std::fs::read_dir(&folder)?.map(|entry| entry.unwrap().file_name()).collect();
    /// names.sort();
    /// assert_eq!(names, ["1.safetensors", "5.safetensors"]);
    /// # std::fs::remove_dir_all(&folder)?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `files` is 0.
    pub fn keep_best(mut self, files: usize, metric: &str, improvement: Improvement) -> Result<Self, ConfigError> {
        check::length("keep_best", files as u64)?;
        self.which = Which::Best { metric: metric.into(), improvement };
        self.files = Some(files);
        Ok(self)
    }

    /// The best value so far, where the threshold counts as a value; `None` if there is neither.
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

    /// Writes a file if the options say so, and returns its path; `None` if nothing was written. `count` is the number of
    /// this epoch, or of this update, counted from 0.
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
        let Some(due) = self.due(count, optimizer.iterations(), metrics)? else { return Ok(None) };
        let path = due.path.clone();
        create_folder(&path)?;
        if self.weights_only {
            Checkpoint::write_weights(&path, model)?;
        } else {
            Checkpoint::write(&path, model, optimizer)?;
        }
        self.add(due);
        while self.files.is_some_and(|files| self.written.len() > files) {
            let Some((value, last)) = self.written.pop() else { break };
            match fs::remove_file(&last) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    self.written.push((value, last.clone()));
                    return Err(CheckpointError::Io { path: last, source }.into());
                }
                _ => {}
            }
        }
        Ok(Some(path))
    }

    /// Takes account of an epoch, or an update, that the run made before it was interrupted. Pass the arguments that
    /// [`save`](Self::save) had; `updates` is the number of updates at that time. Nothing is written or removed. A file that
    /// no longer exists is not counted among the kept files, but its metric still counts for [`best`](Self::best).
    ///
    /// Call it for each epoch of the run, in their order, before the first `save`:
    ///
    /// ```
    /// use cyclic_optim::feedback::Improvement;
    /// use cyclic_optim::history::Recorder;
    /// use cyclic_optim::{History, ModelCheckpoint};
    ///
    /// let mut history = History::new(); // that of the continued run
    /// history.epoch(0, &[("val_loss", 0.5)])?;
    /// history.epoch(1, &[("val_loss", 0.7)])?;
    ///
    /// let mut keep = ModelCheckpoint::new("models/{epoch}.safetensors")?.best_only("val_loss", Improvement::default());
    /// for (epoch, metrics) in history.epochs().rows() {
    ///     keep.replay(epoch, 45 * (epoch + 1), &metrics)?;
    /// }
    /// assert_eq!(keep.best(), Some(0.5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A key or metric was not reported.
    pub fn replay(&mut self, count: u64, updates: u64, metrics: &[(&str, f64)]) -> Result<(), ModelCheckpointError> {
        if let Some(due) = self.due(count, updates, metrics)? {
            let (value, there) = (due.value, due.path.exists());
            if there {
                self.add(due);
                self.written.truncate(self.files.unwrap_or(usize::MAX));
            } else {
                self.note_best(value);
            }
        }
        Ok(())
    }

    /// The file that is to be written at this count, if one is.
    fn due(&self, count: u64, updates: u64, metrics: &[(&str, f64)]) -> Result<Option<Due>, ModelCheckpointError> {
        if count.saturating_add(1) % self.every != 0 {
            return Ok(None);
        }
        let path = self.path(count, updates, metrics);
        let (metric, improvement) = match &self.which {
            Which::All => return Ok(Some(Due { value: 0.0, path: path? })),
            Which::BetterThanAll { metric, improvement } | Which::Best { metric, improvement } => (metric, improvement),
        };
        let Some(&(_, value)) = metrics.iter().find(|(name, _)| name == metric) else {
            let reported = metrics.iter().map(|(name, _)| (*name).into()).collect();
            return Err(ModelCheckpointError::NoMetric { metric: metric.clone(), reported });
        };
        let path = path?;
        let rival = match &self.which {
            Which::Best { .. } => {
                // The model in the same file, or else the worst of those that may stay.
                let same = self.written.iter().find(|(_, written)| *written == path);
                let last = self.files.and_then(|files| self.written.get(files - 1));
                same.or(last).map(|(value, _)| *value)
            }
            _ => self.best,
        };
        Ok(improvement.is_better(value, rival).then_some(Due { value, path }))
    }

    /// Notes a file that is there, in its place among the others.
    fn add(&mut self, due: Due) {
        self.note_best(due.value);
        self.written.retain(|(_, path)| *path != due.path);
        let place = match &self.which {
            Which::Best { improvement, .. } => {
                let worse = |(value, _): &(f64, PathBuf)| improvement.direction.is_better(due.value, *value);
                self.written.iter().position(worse).unwrap_or(self.written.len())
            }
            _ => 0,
        };
        self.written.insert(place, (due.value, due.path));
    }

    fn note_best(&mut self, value: f64) {
        self.best = match &self.which {
            Which::All => self.best,
            Which::BetterThanAll { .. } => Some(value),
            Which::Best { improvement, .. } => {
                let beaten = self.best.is_some_and(|best| !improvement.direction.is_better(value, best));
                if beaten { self.best } else { Some(value) }
            }
        };
    }
}

fn create_folder(file: &Path) -> Result<(), CheckpointError> {
    let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    fs::create_dir_all(folder).map_err(CheckpointError::io(folder))
}
