//! Checkpoints of a run of several ranks.

use std::path::Path;

use serde::Serialize;

use super::Checkpoint;
use super::error::CheckpointError;
use super::part::RunPart;
use super::saved::{SavedModel, SavedWith};
use super::write::Packed;
use crate::optimizer::CyclicOptimizer;
use crate::schedule::Schedule;
use crate::training::Ranks;

impl Checkpoint {
    /// Starts a run of several ranks. It checks that all ranks have the same config. Then it copies the model, the optimizer
    /// with its moments, the state, the history and the parts of rank 0 to all others. Without this call, ranks that were
    /// initialised differently would stay different, and nothing would report it.
    ///
    /// # Errors
    ///
    /// On a rank that differs from rank 0: [`OtherConfigThanRank0`](CheckpointError::OtherConfigThanRank0), which names each
    /// field, or the error for a model with other shapes, types or names, or for other parts. On all other ranks: the text of
    /// that error with the number of that rank.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "dfdx")] {
    /// use cyclic_optim::training::{Ranks, Threads};
    /// use cyclic_optim::{Adam, Checkpoint, Constant, CyclicOptimizer};
    /// use dfdx::prelude::*;
    ///
    /// let weights = Threads::run(2, |ranks| {
    ///     // Each rank has another seed.
    ///     let device = Cpu::seed_from_u64(ranks.rank() as u64);
    ///     let mut model = device.build_module::<builders::Linear<3, 1>, f32>();
    ///     let mut optimizer = CyclicOptimizer::new(Adam::<f32, Cpu>::default(), Constant::new(0.1).unwrap());
    ///     Checkpoint::share(ranks, &mut model, &mut optimizer, &mut [])?;
    ///     Ok::<_, cyclic_optim::CheckpointError>(model.weight.array())
    /// });
    /// let weights = weights.unwrap();
    /// assert_eq!(weights[0], weights[1]);
    /// # }
    /// ```
    pub fn share<M: SavedModel<F> + Clone, O: SavedWith<M, F>, S: Schedule + Serialize, F>(
        ranks: &impl Ranks,
        model: &mut M,
        optimizer: &mut CyclicOptimizer<O, S>,
        parts: &mut [(&str, &mut dyn RunPart<M>)],
    ) -> Result<(), CheckpointError> {
        let packed = if ranks.is_first() {
            let parts: Vec<(&str, &dyn RunPart<M>)> = parts.iter().map(|(name, part)| (*name, &**part)).collect();
            Packed::run(model, optimizer, &parts).and_then(|packed| packed.to_bytes())
        } else {
            Ok(Vec::new())
        };
        let mut bytes = ranks.agree(packed)?;
        ranks.broadcast(0, &mut bytes)?;
        let restored = if ranks.is_first() {
            Ok(())
        } else {
            Self::from_bytes(bytes).and_then(|saved| saved.restore_with(model, optimizer, parts))
        };
        ranks.agree(restored.map_err(|error| match error {
            CheckpointError::OtherConfig(differences) => CheckpointError::OtherConfigThanRank0(differences),
            error => error,
        }))
    }

    /// Does the same as [`resume_or_start`](Self::resume_or_start) for a run of several ranks: rank 0 reads or writes the
    /// file, and then all others get its run, as with [`share`](Self::share). So only rank 0 needs the file, and a run can
    /// be resumed with another number of ranks.
    ///
    /// # Errors
    ///
    /// As [`resume_or_start`](Self::resume_or_start) and [`share`](Self::share), on every rank.
    pub fn resume_or_start_on<M: SavedModel<F> + Clone, O: SavedWith<M, F>, S: Schedule + Serialize, F>(
        ranks: &impl Ranks,
        path: impl AsRef<Path>,
        model: &mut M,
        optimizer: &mut CyclicOptimizer<O, S>,
        parts: &mut [(&str, &mut dyn RunPart<M>)],
    ) -> Result<Option<u64>, CheckpointError> {
        let started = if ranks.is_first() { Self::resume_or_start(path, model, optimizer, parts) } else { Ok(None) };
        let mut resumed = vec![u8::from(ranks.agree(started)?.is_some())];
        ranks.broadcast(0, &mut resumed)?;
        Self::share(ranks, model, optimizer, parts)?;
        Ok((resumed == [1]).then(|| optimizer.iterations()))
    }

    /// Does the same as [`write_with`](Self::write_with) for a run of several ranks: rank 0 writes the file. If that fails,
    /// every rank returns an error.
    ///
    /// The file holds the statistics of batch normalisation of rank 0. To save their averages, average them over all ranks
    /// first; for dfdx call `adapters::dfdx::average_batch_norm`.
    ///
    /// # Errors
    ///
    /// As [`write_with`](Self::write_with), on every rank.
    pub fn write_on<M: SavedModel<F>, O: SavedWith<M, F>, S: Schedule + Serialize, F>(
        ranks: &impl Ranks,
        path: impl AsRef<Path>,
        model: &M,
        optimizer: &CyclicOptimizer<O, S>,
        parts: &[(&str, &dyn RunPart<M>)],
    ) -> Result<(), CheckpointError> {
        ranks.agree(if ranks.is_first() { Self::write_with(path, model, optimizer, parts) } else { Ok(()) })
    }
}
