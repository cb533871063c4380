//! A run in one file: saved at any moment, continued to the same bits.

mod document;
mod dtype;
mod file;
mod history;
mod optimizer;
mod part;
mod tensors;

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

use dfdx::nn::tensor_collection::TensorCollection;
use dfdx::tensor_ops::Device;
use safetensors::SafeTensors;
use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

pub use self::document::Difference;
use self::document::{Document, ENTRY, FORMAT, PartDocument, RunDocument, checksum, compare};
pub use self::dtype::CheckpointDtype;
use self::file::Tensors;
pub use self::optimizer::{Saved, Steps};
pub use self::part::{PartCounts, RunPart};
use self::tensors::{MODEL, State, check, collect, count, fill};
use crate::schedule::Schedule;
use crate::{ConfigError, CyclicOptimizer, Hyperparameters, atomic_file};

/// A checkpoint that could not be written, read or continued from. Nothing has changed then.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Reading or writing failed.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A file cannot be used for what it holds, or what was to be written to it cannot be.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong; neither this nor [`Io`](Self::Io).
        source: Box<CheckpointError>,
    },
    /// The file is no safetensors file, or none that this crate has written.
    #[error("not a checkpoint: {0}")]
    NotACheckpoint(String),
    /// The checksum does not fit: the file was changed or damaged.
    #[error("the checkpoint is damaged: its checksum does not fit")]
    Damaged,
    /// The file has another version of the format.
    #[error("the checkpoint has format version {found}, and this version of the crate reads {FORMAT}")]
    Version {
        /// The version found.
        found: u64,
    },
    /// The document in the file has a wrong form.
    #[error("the checkpoint's document: {0}")]
    Document(String),
    /// A tensor is missing, or has another shape or type than the model's.
    #[error("tensor {name} {problem}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The file holds a model and no run to continue.
    #[error("the checkpoint holds weights only, no run to continue")]
    WeightsOnly,
    /// The run was made with another config; [`Checkpoint::restore_as`] continues it with the present one.
    #[error("the run was saved with another config: {}", list(.0))]
    OtherConfig(Vec<Difference>),
    /// A part of the run, [`BestWeights`](crate::training::BestWeights) for instance, cannot be saved or restored.
    #[error("part {name:?} {problem}")]
    Part {
        /// The name of the part.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The state in the file is one that no run can be in.
    #[error("the checkpoint's state: {0}")]
    State(ConfigError),
    /// The device failed.
    #[error("the device failed: {0}")]
    Device(String),
}

fn list(differences: &[Difference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl CheckpointError {
    fn device(error: impl Debug) -> Self {
        Self::Device(format!("{error:?}"))
    }

    /// The same, naming the file.
    fn in_file(self, path: &Path) -> Self {
        match self {
            Self::Io { .. } | Self::File { .. } => self,
            error => Self::File { path: path.into(), source: Box::new(error) },
        }
    }

    fn tensor(name: &str, problem: impl Into<String>) -> Self {
        Self::Tensor { name: name.into(), problem: problem.into() }
    }

    fn part(name: &str, problem: impl Into<String>) -> Self {
        Self::Part { name: name.into(), problem: problem.into() }
    }
}

/// A run in one file: the model's parameters and buffers, the optimizer's moments and step count, the config, the state of
/// schedule and feedback, the history.
///
/// The model's tensors have to be contiguous, as those of dfdx's modules are.
///
/// The file is a [safetensors] file. Its tensors are `model.<path>`, `optimizer.<moment>.<path>` and `history.<..>`, under the
/// paths that dfdx gives them; its one metadata entry is a JSON document with everything else, a format version, and a
/// checksum. It is written beside the old one, synced and renamed: a kill or a full disk at any byte leaves the old one whole, and several
/// processes may write the same file, of which the last one's stays. A symlink is followed; on Unix the permissions of the file are kept. A
/// killed writer leaves a file `.cyclic-optim-*.partial` in the folder, which a write an hour later removes.
///
/// [`BestWeights`](crate::training::BestWeights), [`SnapshotEnsemble`](super::SnapshotEnsemble) and
/// [`WeightAverage`](super::WeightAverage) stand beside the optimizer. [`write_with`](Self::write_with) saves them in the same
/// file as [`RunPart`]s of the run.
///
/// # What continues to the same bits
///
/// Every parameter, rate and decision, on the same device and machine type. Outside of this crate's reach are:
///
/// - the generator of the dfdx device (dropout, random initialisation), which is private to dfdx: make a device with
///   `Cpu::seed_from_u64` from seed and epoch at the beginning of each epoch, and save between epochs;
/// - the order of the data: draw it as a pure function of seed and epoch, as the examples of this crate do, and continue with the
///   same seed, which the file does not know;
/// - `dfdx::flush_denormals_to_zero`, which is a setting of the thread: set it again.
///
/// # Examples
///
/// ```
/// use cyclic_optim::adapters::dfdx::Checkpoint;
/// use cyclic_optim::{Adam, Cyclic, CyclicOptimizer};
/// use dfdx::prelude::*;
///
/// let path = std::env::temp_dir().join(format!("cyclic-optim-{}.safetensors", std::process::id()));
/// let device = Cpu::default();
/// let schedule = || Cyclic::triangular(0.001, 0.01, 3).unwrap();
/// let x: Tensor<Rank2<4, 3>, f32, _> = device.sample_normal();
/// let train = |model: &mut modules::Linear<3, 1, f32, Cpu>, optimizer: &mut CyclicOptimizer<Adam<f32, Cpu>>| {
///     for _ in 0..5 {
///         let loss = model.forward(x.leaky_trace()).square().mean();
///         optimizer.update(model, &loss.backward()).unwrap();
///     }
/// };
///
/// let mut model = device.build_module::<builders::Linear<3, 1>, f32>();
/// let mut optimizer = CyclicOptimizer::new(Adam::default(), schedule());
/// train(&mut model, &mut optimizer);
/// Checkpoint::write(&path, &model, &optimizer)?;
/// train(&mut model, &mut optimizer);
///
/// // Another process, another model: the same bits.
/// let mut resumed = device.build_module::<builders::Linear<3, 1>, f32>();
/// let mut again = CyclicOptimizer::new(Adam::default(), schedule());
/// Checkpoint::read(&path)?.restore(&mut resumed, &mut again)?;
/// assert_eq!(again.iterations(), 5);
/// train(&mut resumed, &mut again);
/// assert_eq!(resumed.weight.array(), model.weight.array());
/// assert_eq!(again.lr().to_bits(), optimizer.lr().to_bits());
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [safetensors]: https://github.com/huggingface/safetensors
#[derive(Debug, Clone)]
pub struct Checkpoint {
    bytes: Vec<u8>,
    document: Document,
}

impl Checkpoint {
    /// Saves a run, also one that has not made an update yet.
    ///
    /// Optimizers of dfdx's own cannot be saved, which the bound on `O` says.
    ///
    /// # Errors
    ///
    /// Those of the device and of writing; the file that was there before is whole then.
    pub fn write<M, O, S, E, D>(
        path: impl AsRef<Path>,
        model: &M,
        optimizer: &CyclicOptimizer<O, S>,
    ) -> Result<(), CheckpointError>
    where
        M: TensorCollection<E, D>,
        O: Saved<E, D> + Hyperparameters,
        S: Schedule + Serialize,
        E: CheckpointDtype,
        D: Device<E>,
    {
        Self::write_with(path, model, optimizer, &[])
    }

    /// Saves a run together with what stands beside it, each part under a name of your choice.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write). A name that is empty, contains a dot, or is given twice.
    ///
    /// # Examples
    ///
    /// ```
    /// use cyclic_optim::adapters::dfdx::{Checkpoint, SnapshotEnsemble};
    /// use cyclic_optim::{Adam, CyclicOptimizer, WarmRestarts};
    /// use dfdx::prelude::*;
    ///
    /// let path = std::env::temp_dir().join(format!("cyclic-optim-parts-{}.safetensors", std::process::id()));
    /// let mut model = Cpu::default().build_module::<builders::Linear<3, 1>, f32>();
    /// let mut optimizer = CyclicOptimizer::new(Adam::<f32, Cpu>::default(), WarmRestarts::snapshots(0.1, 14, 5)?);
    /// let mut ensemble = SnapshotEnsemble::new();
    /// ensemble.push(model.clone());
    /// Checkpoint::write_with(&path, &model, &optimizer, &[("ensemble", &ensemble)])?;
    ///
    /// let mut resumed = SnapshotEnsemble::new();
    /// let checkpoint = Checkpoint::read(&path)?;
    /// checkpoint.restore_with(&mut model, &mut optimizer, &mut [("ensemble", &mut resumed)])?;
    /// assert_eq!(resumed.snapshots()[0].weight.array(), ensemble.snapshots()[0].weight.array());
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn write_with<M, O, S, E, D>(
        path: impl AsRef<Path>,
        model: &M,
        optimizer: &CyclicOptimizer<O, S>,
        parts: &[(&str, &dyn RunPart<M>)],
    ) -> Result<(), CheckpointError>
    where
        M: TensorCollection<E, D>,
        O: Saved<E, D> + Hyperparameters,
        S: Schedule + Serialize,
        E: CheckpointDtype,
        D: Device<E>,
    {
        let path = path.as_ref();
        Self::pack(model, optimizer, parts).and_then(|packed| packed.write(path)).map_err(|error| error.in_file(path))
    }

    /// Continues the run that is saved at `path`, or saves this one there before its first update. Returns the update from
    /// which a saved run continues, and `None` for a new one.
    ///
    /// Call it before any log is opened. A run that is killed at any later moment then continues when it is started again in
    /// the same way: its logs are either not there yet, or they belong to the run of the checkpoint. `CsvLog::open` and
    /// `TensorBoard::open` take what this returns.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read) and [`restore_with`](Self::restore_with) if there is a file, otherwise as
    /// [`write_with`](Self::write_with).
    ///
    /// # Examples
    ///
    /// ```
    /// use cyclic_optim::adapters::dfdx::Checkpoint;
    /// use cyclic_optim::training::BestWeights;
    /// use cyclic_optim::{Adam, CyclicOptimizer, OneCycle};
    /// use dfdx::prelude::*;
    ///
    /// let path = std::env::temp_dir().join(format!("cyclic-optim-start-{}.safetensors", std::process::id()));
    /// let mut model = Cpu::default().build_module::<builders::Linear<3, 1>, f32>();
    /// let mut optimizer = CyclicOptimizer::new(Adam::<f32, Cpu>::default(), OneCycle::new(0.02, 900)?);
    /// let mut best = BestWeights::new();
    /// let mut start = || Checkpoint::resume_or_start(&path, &mut model, &mut optimizer, &mut [("best", &mut best)]);
    /// assert_eq!(start()?, None);
    /// assert_eq!(start()?, Some(0)); // killed before its first update, and started again
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resume_or_start<M, O, S, E, D>(
        path: impl AsRef<Path>,
        model: &mut M,
        optimizer: &mut CyclicOptimizer<O, S>,
        parts: &mut [(&str, &mut dyn RunPart<M>)],
    ) -> Result<Option<u64>, CheckpointError>
    where
        M: TensorCollection<E, D> + Clone,
        O: Saved<E, D> + Hyperparameters,
        S: Schedule + Serialize,
        E: CheckpointDtype,
        D: Device<E>,
    {
        let path = path.as_ref();
        match Self::read(path) {
            Err(CheckpointError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let parts: Vec<(&str, &dyn RunPart<M>)> = parts.iter().map(|(name, part)| (*name, &**part)).collect();
                Self::write_with(path, model, optimizer, &parts)?;
                Ok(None)
            }
            Err(error) => Err(error),
            Ok(saved) => {
                saved.restore_with(model, optimizer, parts).map_err(|error| error.in_file(path))?;
                Ok(Some(optimizer.iterations()))
            }
        }
    }

    /// Saves a model alone.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn write_weights<M, E, D>(path: impl AsRef<Path>, model: &M) -> Result<(), CheckpointError>
    where
        M: TensorCollection<E, D>,
        E: CheckpointDtype,
        D: Device<E>,
    {
        let path = path.as_ref();
        let packed = || {
            let state = State::<E, D>::none();
            let mut tensors = Tensors::with_room_for::<E>(count(model, &state));
            collect(MODEL, model, state, &mut tensors)?;
            Packed::new(tensors, None)
        };
        packed().and_then(|packed| packed.write(path)).map_err(|error: CheckpointError| error.in_file(path))
    }

    /// What [`write`](Self::write) writes. Equal runs give equal bytes.
    ///
    /// # Errors
    ///
    /// Those of the device.
    pub fn to_bytes<M, O, S, E, D>(model: &M, optimizer: &CyclicOptimizer<O, S>) -> Result<Vec<u8>, CheckpointError>
    where
        M: TensorCollection<E, D>,
        O: Saved<E, D> + Hyperparameters,
        S: Schedule + Serialize,
        E: CheckpointDtype,
        D: Device<E>,
    {
        let Packed { tensors, text } = Self::pack(model, optimizer, &[])?;
        let mut bytes = Vec::new();
        // Writing into memory does not fail.
        tensors.write((ENTRY, &text), &mut bytes).map_err(|error| CheckpointError::Document(error.to_string()))?;
        Ok(bytes)
    }

    fn pack<M, O, S, E, D>(
        model: &M,
        optimizer: &CyclicOptimizer<O, S>,
        parts: &[(&str, &dyn RunPart<M>)],
    ) -> Result<Packed, CheckpointError>
    where
        M: TensorCollection<E, D>,
        O: Saved<E, D> + Hyperparameters,
        S: Schedule + Serialize,
        E: CheckpointDtype,
        D: Device<E>,
    {
        let inner = optimizer.get_ref();
        let state = State::of(inner);
        let copies: usize = parts.iter().map(|(_, part)| part.models().len()).sum();
        let numbers = count(model, &state) + copies * count(model, &State::<E, D>::none());
        let mut tensors = Tensors::with_room_for::<E>(numbers);
        collect(MODEL, model, state, &mut tensors)?;
        let parts = pack_parts(parts, &mut tensors)?;
        let history = optimizer.history().map(|history| history::collect(history, &mut tensors));
        let run = RunDocument {
            optimizer: O::KIND.into(),
            hyperparameters: inner.hyperparameters(),
            steps: inner.steps(),
            updated: !inner.updated().is_empty(),
            config: config_of(optimizer)?,
            state: optimizer.state(),
            history,
            parts,
        };
        Packed::new(tensors, Some(run))
    }

    /// Reads a file and checks it.
    ///
    /// # Errors
    ///
    /// Those of reading; a file that is damaged, foreign, or of another version of the format.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| CheckpointError::Io { path: path.into(), source })?;
        Self::from_bytes(bytes).map_err(|error| error.in_file(path))
    }

    /// Reads what [`to_bytes`](Self::to_bytes) gave.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, CheckpointError> {
        let foreign = |error: safetensors::SafeTensorError| CheckpointError::NotACheckpoint(error.to_string());
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(foreign)?;
        let text = header.metadata().as_ref().and_then(|entries| entries.get(ENTRY));
        let text = text.ok_or_else(|| CheckpointError::NotACheckpoint(format!("it has no metadata entry {ENTRY}")))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(foreign)?;
        let listed = tensors.tensors();
        let listed = listed.iter().map(|(name, t)| (name.as_str(), t.dtype(), t.shape(), t.data()));
        let document = Document::from_text(text, checksum(listed))?;
        Ok(Self { bytes, document })
    }

    /// Updates that the saved run had made; `None` for weights only.
    #[must_use]
    pub fn iterations(&self) -> Option<u64> {
        self.document.run.as_ref().map(|run| run.state.iterations)
    }

    /// Continues the run: `model` and `optimizer`, made as for the run that was saved, become what those were.
    ///
    /// # Errors
    ///
    /// A model of another shape, type or with other names; another kind of optimizer; a config or hyper-parameters that differ, each
    /// field of which is named; a part in the file, which only [`restore_with`](Self::restore_with) can restore. Nothing has
    /// changed then. A range, scale or envelope that was set is state and no difference, and so are the rate and the cycled
    /// momentum of the inner optimizer.
    pub fn restore<M, O, S, E, D>(
        &self,
        model: &mut M,
        optimizer: &mut CyclicOptimizer<O, S>,
    ) -> Result<(), CheckpointError>
    where
        M: TensorCollection<E, D>,
        O: Saved<E, D> + Hyperparameters,
        S: Schedule + Serialize,
        E: CheckpointDtype,
        D: Device<E>,
    {
        self.check_same(optimizer, &[])?;
        self.restore_as(model, optimizer)
    }

    /// Continues the run together with what stands beside it: the parts in the file and those given are the same.
    ///
    /// # Errors
    ///
    /// As [`restore`](Self::restore). A part that is missing on one side, is of another kind, or does not fit the model. Nothing
    /// has changed then.
    pub fn restore_with<M, O, S, E, D>(
        &self,
        model: &mut M,
        optimizer: &mut CyclicOptimizer<O, S>,
        parts: &mut [(&str, &mut dyn RunPart<M>)],
    ) -> Result<(), CheckpointError>
    where
        M: TensorCollection<E, D> + Clone,
        O: Saved<E, D> + Hyperparameters,
        S: Schedule + Serialize,
        E: CheckpointDtype,
        D: Device<E>,
    {
        let names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
        self.check_same(optimizer, &names)?;
        self.restore_as_with(model, optimizer, parts)
    }

    /// Continues the run with the config and the hyper-parameters that `optimizer` has now: another schedule, a longer horizon.
    /// Parts in the file are left out.
    ///
    /// # Errors
    ///
    /// As [`restore`](Self::restore), but for the differences; a state that does not go with the present config.
    pub fn restore_as<M, O, S, E, D>(
        &self,
        model: &mut M,
        optimizer: &mut CyclicOptimizer<O, S>,
    ) -> Result<(), CheckpointError>
    where
        M: TensorCollection<E, D>,
        O: Saved<E, D> + Hyperparameters,
        S: Schedule,
        E: CheckpointDtype,
        D: Device<E>,
    {
        let run = self.run()?;
        if run.optimizer != O::KIND {
            let difference =
                Difference { field: "optimizer".into(), saved: run.optimizer.clone(), present: O::KIND.into() };
            return Err(CheckpointError::OtherConfig(vec![difference]));
        }
        let file = self.tensors()?;
        let (moments, parameters) = check(MODEL, model, O::MOMENTS, &file)?;
        let history = run.history.as_ref().map(|document| history::read(document, &file)).transpose()?;
        // Before the first update there are no moments, and any model may be updated.
        let updated = if run.updated { parameters } else { Vec::new() };
        let inner = optimizer.get_ref().with_state(run.steps, moments, updated);
        optimizer.continue_from(inner, run.state.clone(), history).map_err(CheckpointError::State)?;
        fill(MODEL, model, &file);
        Ok(())
    }

    /// Continues the run with the present config, as [`restore_as`](Self::restore_as), and restores those parts that the file
    /// holds under the names given. The other parts stay as they are.
    ///
    /// # Errors
    ///
    /// As [`restore_as`](Self::restore_as). A part of another kind, or that does not fit the model. Nothing has changed then.
    pub fn restore_as_with<M, O, S, E, D>(
        &self,
        model: &mut M,
        optimizer: &mut CyclicOptimizer<O, S>,
        parts: &mut [(&str, &mut dyn RunPart<M>)],
    ) -> Result<(), CheckpointError>
    where
        M: TensorCollection<E, D> + Clone,
        O: Saved<E, D> + Hyperparameters,
        S: Schedule,
        E: CheckpointDtype,
        D: Device<E>,
    {
        let mut read = Vec::new();
        for (name, part) in parts.iter() {
            read.push(self.read_part(name, &**part, model)?);
        }
        self.restore_as(model, optimizer)?;
        for ((_, part), read) in parts.iter_mut().zip(read) {
            if let Some((models, counts)) = read {
                part.restore(models, counts);
            }
        }
        Ok(())
    }

    /// The saved contents of a part; `None` if the file does not hold it.
    fn read_part<M, E, D>(
        &self,
        name: &str,
        part: &dyn RunPart<M>,
        model: &M,
    ) -> Result<Option<(Vec<M>, PartCounts)>, CheckpointError>
    where
        M: TensorCollection<E, D> + Clone,
        E: CheckpointDtype,
        D: Device<E>,
    {
        let Some(saved) = self.run()?.parts.iter().find(|saved| saved.name == name) else { return Ok(None) };
        if saved.kind != part.kind() {
            return Err(CheckpointError::part(name, format!("was saved as {} and is {}", saved.kind, part.kind())));
        }
        part.check(saved.models, saved.counts).map_err(|problem| CheckpointError::part(name, problem))?;
        let file = self.tensors()?;
        let mut models = Vec::new();
        for n in 0..saved.models {
            let prefix = part_prefix(name, n);
            check(&prefix, model, &[], &file)?;
            let mut read = model.clone();
            fill(&prefix, &mut read, &file);
            models.push(read);
        }
        Ok(Some((models, saved.counts)))
    }

    /// Checks that the saved run has the config, the hyper-parameters and the parts of the present one.
    fn check_same<O, S, E, D>(&self, optimizer: &CyclicOptimizer<O, S>, parts: &[&str]) -> Result<(), CheckpointError>
    where
        O: Saved<E, D>,
        S: Schedule + Serialize,
        E: CheckpointDtype,
        D: Device<E>,
    {
        let differences = self.differences(optimizer)?;
        if !differences.is_empty() {
            return Err(CheckpointError::OtherConfig(differences));
        }
        let saved = &self.run()?.parts;
        if let Some(left) = saved.iter().find(|saved| !parts.contains(&saved.name.as_str())) {
            return Err(CheckpointError::part(&left.name, "is in the file and was not given: pass it to restore_with"));
        }
        match parts.iter().find(|name| saved.iter().all(|saved| saved.name != **name)) {
            Some(missing) => Err(CheckpointError::part(missing, "is not in the file")),
            None => Ok(()),
        }
    }

    /// Takes the weights alone, whether or not a run was saved with them.
    ///
    /// # Errors
    ///
    /// A model of another shape, type or with other names. Nothing has changed then.
    pub fn restore_weights<M, E, D>(&self, model: &mut M) -> Result<(), CheckpointError>
    where
        M: TensorCollection<E, D>,
        E: CheckpointDtype,
        D: Device<E>,
    {
        let file = self.tensors()?;
        check(MODEL, model, &[], &file)?;
        fill(MODEL, model, &file);
        Ok(())
    }

    /// The fields in which the saved run's config and hyper-parameters differ from those of `optimizer`.
    ///
    /// # Errors
    ///
    /// Weights only.
    pub fn differences<O, S, E, D>(&self, optimizer: &CyclicOptimizer<O, S>) -> Result<Vec<Difference>, CheckpointError>
    where
        O: Saved<E, D>,
        S: Schedule + Serialize,
        E: CheckpointDtype,
        D: Device<E>,
    {
        let run = self.run()?;
        let mut found = Vec::new();
        compare("optimizer", Some(&run.optimizer.clone().into()), Some(&O::KIND.into()), &mut found);
        let scheduled = |name: &str| {
            name == "lr" || (optimizer.config().momentum().is_some() && matches!(name, "beta1" | "momentum"))
        };
        // What is scheduled is no difference, but whether it is there at all.
        let own = |mut all: serde_json::Map<String, Value>| {
            for (name, value) in &mut all {
                if scheduled(name) && !value.is_null() {
                    *value = "scheduled".into();
                }
            }
            Value::from(all)
        };
        if found.is_empty() {
            let (saved, present) = (own(run.hyperparameters.clone()), own(optimizer.get_ref().hyperparameters()));
            compare("optimizer", Some(&saved), Some(&present), &mut found);
        }
        compare("config", Some(&run.config), Some(&config_of(optimizer)?), &mut found);
        Ok(found)
    }

    fn run(&self) -> Result<&RunDocument, CheckpointError> {
        self.document.run.as_ref().ok_or(CheckpointError::WeightsOnly)
    }

    fn tensors(&self) -> Result<SafeTensors<'_>, CheckpointError> {
        SafeTensors::deserialize(&self.bytes).map_err(|error| CheckpointError::NotACheckpoint(error.to_string()))
    }
}

fn part_prefix(name: &str, model: usize) -> String {
    format!("part.{name}.{model}.")
}

/// Puts the models of the parts beside the tensors; gives what else is to be saved of them.
fn pack_parts<M, E, D>(
    parts: &[(&str, &dyn RunPart<M>)],
    tensors: &mut Tensors,
) -> Result<Vec<PartDocument>, CheckpointError>
where
    M: TensorCollection<E, D>,
    E: CheckpointDtype,
    D: Device<E>,
{
    let mut packed: Vec<PartDocument> = Vec::new();
    for &(name, part) in parts {
        // Dots separate the levels of a tensor's name.
        if name.is_empty() || name.contains('.') {
            return Err(CheckpointError::part(name, "needs a name without dots"));
        }
        if packed.iter().any(|packed| packed.name == name) {
            return Err(CheckpointError::part(name, "is given twice"));
        }
        let models = part.models();
        for (n, model) in models.iter().enumerate() {
            collect(&part_prefix(name, n), *model, State::none(), tensors)?;
        }
        let (name, kind) = (name.into(), part.kind().into());
        packed.push(PartDocument { name, kind, models: models.len(), counts: part.counts() });
    }
    Ok(packed)
}

fn config_of<O, S: Schedule + Serialize>(optimizer: &CyclicOptimizer<O, S>) -> Result<Value, CheckpointError> {
    serde_json::to_value(optimizer.config()).map_err(|error| CheckpointError::Document(error.to_string()))
}

/// What becomes a file: the tensors, and the text of the document.
struct Packed {
    tensors: Tensors,
    text: String,
}

impl Packed {
    fn new(tensors: Tensors, run: Option<RunDocument>) -> Result<Self, CheckpointError> {
        let sum = checksum(tensors.list());
        let text = Document::new(run).to_text(sum)?;
        // What could not be read again must not take the place of what can.
        Document::from_text(&text, sum)?;
        Ok(Self { tensors, text })
    }

    fn write(&self, path: &Path) -> Result<(), CheckpointError> {
        atomic_file::replace(path, |file| self.tensors.write((ENTRY, &self.text), file))
            .map_err(|source| CheckpointError::Io { path: path.into(), source })
    }
}
