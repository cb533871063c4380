//! Files of the best and of the last models.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::{fs, iter};

use dfdx::nn::tensor_collection::TensorCollection;
use dfdx::tensor_ops::Device;
use serde::Serialize;
use thiserror::Error;

use super::checkpoint::{Checkpoint, CheckpointDtype, CheckpointError, Saved};
use crate::feedback::Improvement;
use crate::schedule::Schedule;
use crate::{ConfigError, CyclicOptimizer, Hyperparameters, check};

/// A file name with holes for the epoch, the update and metrics: `{epoch}`, `{update}`, `{val_loss}`, with digits as in
/// Rust's own formatting: `{epoch:03}`, `{val_loss:.4}`. A brace is written twice.
///
/// Epochs and updates are counted from 1 here, as in Keras: `{epoch}` is the number of epochs that have been made.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Template {
    text: String,
    parts: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Hole { key: String, width: usize, zeros: bool, precision: Option<usize> },
}

/// A file name that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// A brace without its partner, or a format other than `{key}`, `{key:03}` and `{key:.4}`.
    #[error("template {template:?}: {problem}")]
    Syntax {
        /// The template.
        template: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A key that there is no value for.
    #[error("template {template:?}: there is no {key:?}; there are {known:?}")]
    UnknownKey {
        /// The template.
        template: String,
        /// The key.
        key: String,
        /// The keys that there are values for.
        known: Vec<String>,
    },
}

impl Template {
    fn new(text: &str) -> Result<Self, TemplateError> {
        let wrong = |problem: &str| TemplateError::Syntax { template: text.into(), problem: problem.into() };
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let hole = rest.split_once('}').filter(|_| brace == "{");
            let (hole, after) = hole.ok_or_else(|| wrong("a brace has no partner"))?;
            let (key, format) = hole.split_once(':').unwrap_or((hole, ""));
            let (width, precision) = match format.split_once('.') {
                Some((width, precision)) => (width, Some(precision)),
                None => (format, None),
            };
            let number = |digits: &str| digits.parse::<usize>().ok().filter(|&n| n <= 100);
            let unknown = || wrong("a format must be of the form 3, 03 or .4");
            if key.is_empty() {
                return Err(wrong("a key is missing"));
            }
            if !plain.is_empty() {
                parts.push(Piece::Text(std::mem::take(&mut plain)));
            }
            parts.push(Piece::Hole {
                key: key.into(),
                width: if width.is_empty() { 0 } else { number(width).ok_or_else(unknown)? },
                zeros: width.starts_with('0'),
                precision: precision.map(|precision| number(precision).ok_or_else(unknown)).transpose()?,
            });
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Piece::Text(plain));
        }
        Ok(Self { text: text.into(), parts })
    }

    fn fill(&self, counts: &[(&str, u64)], metrics: &[(&str, f64)]) -> Result<PathBuf, TemplateError> {
        let mut name = String::new();
        for part in &self.parts {
            match part {
                Piece::Text(text) => name.push_str(text),
                Piece::Hole { key, width, zeros, precision } => {
                    let count = counts.iter().find(|(name, _)| name == key).map(|(_, count)| count.to_string());
                    let metric = || {
                        let (_, value) = metrics.iter().find(|(name, _)| name == key)?;
                        Some(precision.map_or_else(|| value.to_string(), |precision| format!("{value:.precision$}")))
                    };
                    let value = count.or_else(metric).ok_or_else(|| TemplateError::UnknownKey {
                        template: self.text.clone(),
                        key: key.clone(),
                        known: counts.iter().map(|c| c.0).chain(metrics.iter().map(|m| m.0)).map(Into::into).collect(),
                    })?;
                    let missing = width.saturating_sub(value.len());
                    // As in Rust's own formatting: zeros stand behind the sign, and never before NaN.
                    let zeros = *zeros && value.ends_with(|digit: char| digit.is_ascii_digit());
                    let (sign, value) = value.split_at(usize::from(zeros && value.starts_with('-')));
                    name.push_str(sign);
                    name.extend(iter::repeat_n(if zeros { '0' } else { ' ' }, missing));
                    name.push_str(value);
                }
            }
        }
        Ok(name.into())
    }
}

/// A model that could not be kept.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelCheckpointError {
    /// The file name cannot be made.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// Only the best is to be kept, and the metric that says what is best was not reported.
    #[error("the best is to be kept by {metric:?}, which was not reported; there are {reported:?}")]
    NoMetric {
        /// The metric.
        metric: String,
        /// Those reported.
        reported: Vec<String>,
    },
    /// The file could not be written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// Writes files as the run goes on: each or only the best, whole runs or weights alone, every so many epochs or updates, all
/// or the last few.
///
/// | option | default | purpose |
/// |---|---|---|
/// | `template` | required | file name, with `{epoch}`, `{update}` (both from 1) and metrics: `run/{epoch:03}-{val_loss:.4}.safetensors` |
/// | [`best_only`](Self::best_only) | all | only what is better than the best so far; NaN never is |
/// | [`with_threshold`](Self::with_threshold) | none | what the first one has to beat: the best of a run that is continued |
/// | [`every`](Self::every) | 1 | only at every so many calls' count of epochs or updates |
/// | [`weights_only`](Self::weights_only) | the run | the model alone |
/// | [`keep_last`](Self::keep_last) | all | removes the oldest of those that this value has written |
///
/// Call [`save`](Self::save) at the end of each epoch, or after each update. Folders are made. Each file is written
/// atomically, and an older one is removed only when the newer is whole.
///
/// # Examples
///
/// ```
/// use cyclic_optim::adapters::dfdx::ModelCheckpoint;
/// use cyclic_optim::feedback::Improvement;
/// use cyclic_optim::{Constant, CyclicOptimizer, Sgd};
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
    /// Keeps all, under names that the template makes.
    ///
    /// # Errors
    ///
    /// A template that is not well formed.
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

    /// Keeps only what is better than the best so far by a metric.
    #[must_use]
    pub fn best_only(mut self, metric: &str, improvement: Improvement) -> Self {
        self.best_only = Some((metric.into(), improvement));
        self
    }

    /// What the first one has to beat.
    ///
    /// # Errors
    ///
    /// A threshold that is not finite.
    pub fn with_threshold(mut self, best: f64) -> Result<Self, ConfigError> {
        check::finite("threshold", best)?;
        self.best = Some(best);
        Ok(self)
    }

    /// Looks only at those calls whose count, `count + 1`, is a multiple of `every`.
    ///
    /// # Errors
    ///
    /// 0.
    pub fn every(mut self, every: u64) -> Result<Self, ConfigError> {
        check::length("every", every)?;
        self.every = every;
        Ok(self)
    }

    /// Writes the model alone.
    #[must_use]
    pub fn weights_only(mut self) -> Self {
        self.weights_only = true;
        self
    }

    /// Keeps the last `files` files.
    ///
    /// # Errors
    ///
    /// 0 files.
    pub fn keep_last(mut self, files: usize) -> Result<Self, ConfigError> {
        check::length("keep_last", files as u64)?;
        self.keep_last = Some(files);
        Ok(self)
    }

    /// The best so far: what a run that is continued takes as its threshold.
    #[must_use]
    pub fn best(&self) -> Option<f64> {
        self.best
    }

    /// The file that [`save`](Self::save) would write for this count, so many updates and these metrics. With metrics of any
    /// value this checks the template before the run.
    ///
    /// # Errors
    ///
    /// A key that is none of `epoch`, `update` and the metrics.
    ///
    /// ```
    /// use cyclic_optim::adapters::dfdx::ModelCheckpoint;
    ///
    /// let keep = ModelCheckpoint::new("models/{epoch:02}-{val_loss:.1}.safetensors")?;
    /// assert_eq!(keep.path(0, 45, &[("val_loss", 0.5)])?.to_str(), Some("models/01-0.5.safetensors"));
    /// assert!(keep.path(0, 45, &[("loss", 0.5)]).is_err());
    /// # Ok::<(), cyclic_optim::adapters::dfdx::TemplateError>(())
    /// ```
    pub fn path(&self, count: u64, updates: u64, metrics: &[(&str, f64)]) -> Result<PathBuf, TemplateError> {
        self.template.fill(&[("epoch", count.saturating_add(1)), ("update", updates)], metrics)
    }

    /// Writes a file, if it is time and good enough; says which. `count` counts the calls from 0: it is the epoch, or the
    /// update if this is called after each.
    ///
    /// # Errors
    ///
    /// A key or metric that was not reported; those of writing: the best so far stays as it was. An older file that cannot be
    /// removed: the new one is written, and the removal is tried again the next time.
    pub fn save<M, O, S, E, D>(
        &mut self,
        count: u64,
        metrics: &[(&str, f64)],
        model: &M,
        optimizer: &CyclicOptimizer<O, S>,
    ) -> Result<Option<PathBuf>, ModelCheckpointError>
    where
        M: TensorCollection<E, D>,
        O: Saved<E, D> + Hyperparameters,
        S: Schedule + Serialize,
        E: CheckpointDtype,
        D: Device<E>,
    {
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
        make_folder(&path)?;
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
                    Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
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

fn make_folder(path: &Path) -> Result<(), CheckpointError> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    fs::create_dir_all(folder).map_err(|source| CheckpointError::Io { path: folder.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled() {
        let counts = [("epoch", 7), ("update", 315)];
        let metrics = [("val_loss", 0.123_456), ("accuracy", f64::NAN), ("loss", -1.5)];
        for (template, expected) in [
            ("plain", "plain"),
            ("{epoch}", "7"),
            ("a/{epoch:03}-{val_loss:.2}.st", "a/007-0.12.st"),
            ("{update:5}|{val_loss:08.3}|{accuracy}", "  315|0000.123|NaN"),
            ("{{{epoch}}}", "{7}"),
            ("{loss:07.2} {accuracy:05}", "-001.50   NaN"),
        ] {
            assert_eq!(Template::new(template).unwrap().fill(&counts, &metrics).unwrap(), Path::new(expected));
        }
        let error = Template::new("{f1}").unwrap().fill(&counts, &metrics).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"template "{f1}": there is no "f1"; there are ["epoch", "update", "val_loss", "accuracy", "loss"]"#
        );
        for wrong in ["{", "}", "a}b", "{epoch", "{}", "{:3}", "{epoch:x}", "{epoch:.x}", "{epoch:999}", "{a{b}"] {
            let made = Template::new(wrong);
            // A brace within a hole is a part of its key, which nobody has.
            let unknown = made.as_ref().is_ok_and(|template| template.fill(&counts, &metrics).is_err());
            assert!(matches!(made, Err(TemplateError::Syntax { .. })) || unknown, "{wrong}");
        }
    }
}
