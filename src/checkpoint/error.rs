//! What can go wrong with a checkpoint.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::difference::Difference;
use crate::error::ConfigError;
use crate::training::RanksError;

/// The version of the format that this crate writes and reads.
pub(super) const FORMAT: u64 = 1;

/// A checkpoint could not be written, read or restored. The model, the optimizer and an existing file have not changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Reading or writing failed.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The contents of a file are invalid, or contents could not be written to it.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The problem. It is neither `File` nor [`Io`](Self::Io).
        source: Box<CheckpointError>,
    },
    /// The file is not a safetensors file, or this crate did not write it.
    #[error("not a checkpoint: {0}")]
    NotACheckpoint(String),
    /// The checksum does not match: the file was changed or damaged.
    #[error("the checkpoint is damaged: its checksum does not match")]
    Damaged,
    /// The file has another version of the format.
    #[error("the checkpoint has format version {found}, and this version of the crate reads {FORMAT}")]
    Version {
        /// The version of the file.
        found: u64,
    },
    /// The JSON document in the file is invalid.
    #[error("the checkpoint's document: {0}")]
    Document(String),
    /// A tensor is missing, or its shape or type is not the model's.
    #[error("tensor {name} {problem}")]
    Tensor {
        /// The name of the tensor in the file.
        name: String,
        /// The problem.
        problem: String,
    },
    /// The file holds weights and no run.
    #[error("the checkpoint holds weights only, no run to continue")]
    WeightsOnly,
    /// The run was saved with another config. [`Checkpoint::restore_as`](super::Checkpoint::restore_as) continues it with the
    /// present one.
    #[error("the run was saved with another config: {}", list(.0))]
    OtherConfig(Vec<Difference>),
    /// This rank was started with another config than rank 0. In each difference, `saved` is the value of rank 0.
    #[error("this rank has another config than rank 0: {}", beside_rank_0(.0))]
    OtherConfigThanRank0(Vec<Difference>),
    /// The exchange between the ranks failed, or another rank reported an error.
    #[error(transparent)]
    Ranks(#[from] RanksError),
    /// A part of the run, for instance [`BestWeights`](crate::training::BestWeights), cannot be saved or restored.
    #[error("part {name:?} {problem}")]
    Part {
        /// The name of the part.
        name: String,
        /// The problem.
        problem: String,
    },
    /// The saved state does not fit the config.
    #[error("the saved state cannot be restored: {0}")]
    State(#[source] ConfigError),
    /// The device or the framework failed.
    #[error("the device failed: {0}")]
    Device(#[source] Box<dyn Error + Send + Sync>),
}

fn list(differences: &[Difference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn beside_rank_0(differences: &[Difference]) -> String {
    let texts = differences
        .iter()
        .map(|Difference { field, saved, present }| format!("{field} is {present} here and {saved} there"));
    texts.collect::<Vec<_>>().join("; ")
}

impl CheckpointError {
    /// Adds the name of the file.
    pub(super) fn in_file(self, path: &Path) -> Self {
        match self {
            Self::Io { .. } | Self::File { .. } => self,
            error => Self::File { path: path.into(), source: Box::new(error) },
        }
    }

    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.into(), source }
    }

    pub(super) fn tensor(name: &str, problem: impl Into<String>) -> Self {
        Self::Tensor { name: name.into(), problem: problem.into() }
    }

    pub(super) fn part(name: &str, problem: impl Into<String>) -> Self {
        Self::Part { name: name.into(), problem: problem.into() }
    }
}
