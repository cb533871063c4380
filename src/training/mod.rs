//! One update in any framework: guard, clip, update in place, zero the gradients, record.
//!
//! [`CyclicOptimizer::apply`](crate::CyclicOptimizer::apply) does all this over two traits: [`GradientsOf`] shows the
//! gradients of a model as slices, and [`UpdateInPlace`] updates the model from them. The dfdx adapter implements both; a
//! framework of your own takes about thirty lines, see [`GradientsOf`].

mod accumulator;
mod apply;
mod best_weights;
pub(crate) mod clip;
mod exchange;
mod gradients;
#[cfg(feature = "mpi")]
mod mpi;
mod ranks;
mod recovery;
mod shards;
#[cfg(feature = "std")]
mod threads;
pub(crate) mod wide;

pub use accumulator::{Accumulator, BatchLoss, LastMicroBatch};
pub use apply::UpdateError;
pub use best_weights::BestWeights;
pub use clip::Clipping;
pub use exchange::AverageError;
pub use gradients::{Element, GradientsOf, UpdateFailure, UpdateInPlace, clip_gradients};
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
pub use ranks::{Alone, Ranks, RanksError};
pub use recovery::{Outcome, Recovered, Recovery};
pub use shards::ShardPlan;
#[cfg(feature = "std")]
pub use threads::{Threads, ThreadsError};
