//! dfdx 0.13: its optimizers as inner optimizers, its `Optimizer` trait for [`CyclicOptimizer`](crate::CyclicOptimizer),
//! and [`Adam`], [`Sgd`] and [`RMSprop`] of our own.
//!
//! # Whose optimizer?
//!
//! dfdx's own `Adam`, `Sgd` and `RMSprop` can be wrapped. Ours give the same bits and can do more:
//!
//! - they have a `Default` and need no model to be made: `CyclicOptimizer::new(Adam::default(), config)`; dtype and device
//!   are inferred at the first update;
//! - they are `Send`; dfdx's are not;
//! - their whole state can be saved (`Checkpoint`, with the feature `checkpoint`); dfdx's moments are private;
//! - through [`apply`](crate::CyclicOptimizer::apply) they update in place and zero the gradients in the same pass.
//!   dfdx's `update` takes `&Gradients`, whose entries cannot be borrowed from outside of dfdx, so there they work on a
//!   copy.
//!
//! # Parameters without a gradient
//!
//! dfdx moves the parameters that have a gradient, skips the others, and then returns `UnusedParams` with their ids. So do
//! ours, at the first update; as long as some are missing they look again at each further one. Once an update has found
//! all of them they take them to be there: one that goes missing later counts as a gradient of zeros, for dfdx lets
//! nobody outside of it ask whether an entry exists, and finding out takes two copies of all gradients. In a loop around
//! `alloc_grads` and `zero_grads` every entry exists from the start, and dfdx does not report any either.
//!
//! # Several optimizers on one set of gradients
//!
//! Each update keeps the gradients of its own model and drops all others, as dfdx's `zero_grads` does. So two optimizers on
//! two sub-modules cannot share one `Gradients`: after the first [`apply`](crate::CyclicOptimizer::apply) the second finds
//! none. Give each its own gradients (clone them before the first update), or use one optimizer for the whole model.

mod adam;
mod batch_norm;
#[cfg(feature = "checkpoint")]
mod checkpoint;
mod dead_relu;
mod gradients;
mod hyper;
mod missing;
#[cfg(feature = "checkpoint")]
mod model_checkpoint;
mod parameters;
mod range_test;
mod replay;
mod rmsprop;
mod sgd;
mod snapshots;
mod sweep;
mod update;
mod walk;
mod watch;
mod weight_average;

pub use adam::Adam;
pub use batch_norm::recompute_batch_norm;
#[cfg(feature = "checkpoint")]
pub use checkpoint::{Checkpoint, CheckpointDtype, CheckpointError, Difference, PartCounts, RunPart, Saved, Steps};
pub use dead_relu::{DeadLayer, DeadRelus};
#[cfg(feature = "checkpoint")]
pub use model_checkpoint::{ModelCheckpoint, ModelCheckpointError, TemplateError};
pub use parameters::named_parameters;
pub use range_test::{RangeTestError, range_test, weight_decay_grid};
pub use rmsprop::RMSprop;
pub use sgd::Sgd;
pub use snapshots::{EnsembleError, SnapshotEnsemble};
pub use update::InPlace;
pub use watch::{ActivationObserver, WatchActivations};
pub use weight_average::{Verdict, WeightAverage};
