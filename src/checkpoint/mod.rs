//! A run in one file, which can be saved at any moment and continued to the same bits. This module depends on no
//! framework.
//!
//! [`Checkpoint`] is the file, [`ModelCheckpoint`] keeps files of the best or the last models. A framework implements
//! [`SavedModel`] for its models and [`SavedWith`] for its optimizers: they turn tensors into named numbers and back.

mod difference;
mod document;
mod error;
mod file;
mod history;
mod model_checkpoint;
pub(crate) mod number;
mod part;
mod ranks;
mod restore;
mod saved;
mod template;
mod write;

use std::path::Path;

pub use self::difference::Difference;
use self::document::{Document, ENTRY};
pub use self::error::CheckpointError;
use self::file::File;
pub use self::file::{SavedTensors, Tensors};
pub use self::model_checkpoint::{ModelCheckpoint, ModelCheckpointError};
pub use self::number::Number;
#[cfg(feature = "dfdx")]
pub(crate) use self::part::at_most_one;
pub use self::part::{PartCounts, RunPart};
pub use self::saved::{MODEL, OPTIMIZER, SavedModel, SavedOptimizer, SavedWith, Steps};
pub use self::template::TemplateError;

/// A run in one file: the model, the optimizer with its moments and step count, the config, the state of schedule and feedback,
/// the history.
///
/// The file is a [safetensors] file. Its tensors are named `model.<path>`, `optimizer.<moment>.<path>` and `history.<..>`, with
/// the paths of the framework. Its one metadata entry is a JSON document with everything else, a format version and a
/// checksum.
///
/// Writing is atomic: the new file is written next to the old one, synced and renamed. If the program is killed or the disk is
/// full, the old file stays complete. Several processes may write the same file; the last write wins. Symlinks are followed,
/// and on Unix the permissions of the file are kept. A killed program leaves a file `.cyclic-optim-*.partial` in the folder,
/// which later writes remove when it is an hour old.
///
/// [`BestWeights`](crate::training::BestWeights) and other [`RunPart`]s are not part of the optimizer.
/// [`write_with`](Self::write_with) saves them in the same file.
///
/// # What continues to the same bits
///
/// Every parameter, rate and decision, on the same device and machine type. The file does not hold:
///
/// - the state of the device's random generator (dropout, random initialisation): with dfdx, make a new device by
///   `Cpu::seed_from_u64` at the start of each epoch, with a seed for this epoch, and save between epochs;
/// - the order of the data: derive it from seed and epoch alone, as the examples of this crate do, and continue with the same
///   seed;
/// - `dfdx::flush_denormals_to_zero`, which is a setting of the thread: set it again.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "dfdx")] {
/// use cyclic_optim::{Adam, Checkpoint, Cyclic, CyclicOptimizer};
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
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [safetensors]: https://github.com/huggingface/safetensors
#[derive(Debug, Clone)]
pub struct Checkpoint {
    file: File,
    document: Document,
}

impl Checkpoint {
    /// Reads a file and checks it.
    ///
    /// # Errors
    ///
    /// Reading failed; the file is damaged, has another version of the format, or is not a checkpoint.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(CheckpointError::io(path))?;
        Self::from_bytes(bytes).map_err(|error| error.in_file(path))
    }

    /// Reads the bytes that [`to_bytes`](Self::to_bytes) returned.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, CheckpointError> {
        let (file, text) = File::parse(bytes, ENTRY)?;
        let document = Document::from_text(&text, file.checksum())?;
        Ok(Self { file, document })
    }

    /// The number of updates in the saved run; `None` if the file holds weights only.
    #[must_use]
    pub fn iterations(&self) -> Option<u64> {
        self.document.run.as_ref().map(|run| run.state.iterations)
    }
}

/// The prefix of the tensors of a part's n-th model.
fn part_prefix(part: &str, n: usize) -> String {
    format!("part.{part}.{n}.")
}
