//! Records of a run: numbers per update and per epoch, in memory and written out.
//!
//! Every writer is a [`Recorder`]: the training loop tells it about each update and each epoch. [`History`] keeps the numbers in
//! memory; an optimizer can own one ([`with_history`](crate::CyclicOptimizer::with_history)) and then records each update in it.
//! Each of the other writers has a feature of its own: a CSV file (`csv`), TensorBoard event files (`tensorboard`), a progress
//! bar (`progress`), a server (`remote`). The feature `plot` draws histories and schedules.
//!
//! Updates and epochs are counted from 0 everywhere, except in the progress bar, which counts epochs and cycles from 1.

mod in_memory;
mod recorder;
mod table;
mod writers;

pub use in_memory::{History, Reindex};
pub use recorder::{RecordError, Recorder};
#[cfg(feature = "checkpoint")]
pub(crate) use table::Series;
pub use table::{Per, Table};
#[cfg(feature = "csv")]
pub use writers::csv::{CsvError, CsvLog, CsvLogError};
#[cfg(feature = "plot")]
pub use writers::plot::{LossPlot, schedules_to_svg};
#[cfg(feature = "progress")]
pub use writers::progress::TrainingBar;
#[cfg(feature = "remote")]
pub use writers::remote::{InvalidUrl, Published, RemoteMonitor};
#[cfg(feature = "tensorboard")]
pub use writers::tensorboard::{TensorBoard, TensorBoardError};

/// The name under which a loss is recorded.
pub(crate) const LOSS: &str = "loss";
