//! Writing a checkpoint.

use std::io;
use std::path::Path;

use serde::Serialize;

use super::document::{Document, ENTRY, PartDocument, RunDocument, config_of};
use super::error::CheckpointError;
use super::file::Tensors;
use super::part::RunPart;
use super::saved::{MODEL, SavedModel, SavedWith};
use super::{Checkpoint, history, part_prefix};
use crate::atomic_file;
use crate::optimizer::CyclicOptimizer;
use crate::schedule::Schedule;

impl Checkpoint {
    /// Saves a run, before or after its first update.
    ///
    /// # Errors
    ///
    /// The device failed, or the file could not be written. An existing file stays complete.
    pub fn write<M: SavedModel<F>, O: SavedWith<M, F>, S: Schedule + Serialize, F>(
        path: impl AsRef<Path>,
        model: &M,
        optimizer: &CyclicOptimizer<O, S>,
    ) -> Result<(), CheckpointError> {
        Self::write_with(path, model, optimizer, &[])
    }

    /// Saves a run together with its parts, each under a name of your choice.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write). A name is empty, contains a dot, or is given twice.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "dfdx")] {
    /// use cyclic_optim::adapters::dfdx::SnapshotEnsemble;
    /// use cyclic_optim::{Adam, Checkpoint, CyclicOptimizer, WarmRestarts};
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
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn write_with<M: SavedModel<F>, O: SavedWith<M, F>, S: Schedule + Serialize, F>(
        path: impl AsRef<Path>,
        model: &M,
        optimizer: &CyclicOptimizer<O, S>,
        parts: &[(&str, &dyn RunPart<M>)],
    ) -> Result<(), CheckpointError> {
        let path = path.as_ref();
        let packed = Packed::run(model, optimizer, parts);
        packed.and_then(|packed| packed.write(path)).map_err(|error| error.in_file(path))
    }

    /// Continues the run that is saved at `path`. If there is no file, saves this run there before its first update.
    /// Returns the number of updates of the saved run, or `None` for a new run.
    ///
    /// Call it before you open any log, and pass the result to `CsvLog::open` and `TensorBoard::open`. Then a run that was
    /// killed at any moment continues when the same program is started again: its logs either do not exist yet, or belong
    /// to the run of the checkpoint. If a log of a new run cannot be opened because it holds another run, remove the new file
    /// at `path`: the next start would continue from it, and empty the log of the other run.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read) and [`restore_with`](Self::restore_with) if there is a file, otherwise as
    /// [`write_with`](Self::write_with).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "dfdx")] {
    /// use cyclic_optim::training::BestWeights;
    /// use cyclic_optim::{Adam, Checkpoint, CyclicOptimizer, OneCycle};
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
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resume_or_start<M: SavedModel<F> + Clone, O: SavedWith<M, F>, S: Schedule + Serialize, F>(
        path: impl AsRef<Path>,
        model: &mut M,
        optimizer: &mut CyclicOptimizer<O, S>,
        parts: &mut [(&str, &mut dyn RunPart<M>)],
    ) -> Result<Option<u64>, CheckpointError> {
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

    /// Saves a model without a run.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn write_weights<M: SavedModel<F>, F>(path: impl AsRef<Path>, model: &M) -> Result<(), CheckpointError> {
        let path = path.as_ref();
        Packed::weights(model).and_then(|packed| packed.write(path)).map_err(|error| error.in_file(path))
    }

    /// The bytes that [`write`](Self::write) would write. Equal runs give equal bytes.
    ///
    /// # Errors
    ///
    /// The device failed.
    pub fn to_bytes<M: SavedModel<F>, O: SavedWith<M, F>, S: Schedule + Serialize, F>(
        model: &M,
        optimizer: &CyclicOptimizer<O, S>,
    ) -> Result<Vec<u8>, CheckpointError> {
        Packed::run(model, optimizer, &[])?.to_bytes()
    }
}

/// The contents of a file: the tensors, and the text of the document.
pub(super) struct Packed {
    tensors: Tensors,
    text: String,
}

impl Packed {
    fn weights<M: SavedModel<F>, F>(model: &M) -> Result<Self, CheckpointError> {
        let mut tensors = Tensors::default();
        model.save_tensors(MODEL, &mut tensors)?;
        Self::new(tensors, None)
    }

    pub(super) fn run<M: SavedModel<F>, O: SavedWith<M, F>, S: Schedule + Serialize, F>(
        model: &M,
        optimizer: &CyclicOptimizer<O, S>,
        parts: &[(&str, &dyn RunPart<M>)],
    ) -> Result<Self, CheckpointError> {
        let inner = optimizer.get_ref();
        let mut tensors = Tensors::default();
        inner.save_run(model, &mut tensors)?;
        let parts = pack_parts(parts, &mut tensors)?;
        let history = optimizer.history().map(|history| history::collect(history, &mut tensors)).transpose()?;
        let run = RunDocument {
            optimizer: O::KIND.into(),
            hyperparameters: inner.hyperparameters(),
            steps: inner.steps(),
            updated: inner.steps().updated,
            config: config_of(optimizer)?,
            state: optimizer.state(),
            history,
            parts,
        };
        Self::new(tensors, Some(run))
    }

    fn new(tensors: Tensors, run: Option<RunDocument>) -> Result<Self, CheckpointError> {
        let sum = tensors.checksum();
        let text = Document::new(run).to_text(sum)?;
        // Checked before writing, so that a document that cannot be read never replaces one that can.
        Document::from_text(&text, sum)?;
        Ok(Self { tensors, text })
    }

    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, CheckpointError> {
        let mut bytes = Vec::new();
        // Writing to memory does not fail.
        let written = self.tensors.write((ENTRY, &self.text), &mut bytes);
        written.map_err(|error| CheckpointError::Document(error.to_string()))?;
        Ok(bytes)
    }

    fn write(&self, path: &Path) -> Result<(), CheckpointError> {
        atomic_file::replace(path, |file| self.tensors.write((ENTRY, &self.text), file))
            .map_err(CheckpointError::io(path))
    }
}

/// Adds the models of the parts to the tensors, and returns everything else that is saved of the parts.
fn pack_parts<M: SavedModel<F>, F>(
    parts: &[(&str, &dyn RunPart<M>)],
    tensors: &mut Tensors,
) -> Result<Vec<PartDocument>, CheckpointError> {
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
            model.save_tensors(&part_prefix(name, n), tensors)?;
        }
        let (name, kind, peak_choice) = (name.into(), part.kind().into(), part.peak_choice().cloned());
        packed.push(PartDocument { name, kind, models: models.len(), counts: part.counts(), peak_choice });
    }
    Ok(packed)
}
