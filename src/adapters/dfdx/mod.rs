//! dfdx 0.13: its optimizers as inner optimizers, its `Optimizer` trait for [`CyclicOptimizer`](crate::CyclicOptimizer),
//! and our own.
//!
//! # Optimizers
//!
//! | optimizer | as in | momentum that can be cycled |
//! |---|---|---|
//! | [`Adam`], [`Sgd`], [`RMSprop`] | dfdx, to the same bits | beta1, `momentum`, `momentum` |
//! | [`AdamW`] | PyTorch | beta1 |
//! | [`Adagrad`], [`Adadelta`] | PyTorch | none |
//! | [`Adamax`], [`Nadam`] | PyTorch | beta1 |
//! | [`TorchRMSprop`] | PyTorch | `momentum` |
//! | [`Lion`] | the authors' code, optax | beta1 |
//!
//! Each is a [`Rule`] that [`Elementwise`] applies to all parameters. A rule of your own works in the same way, and can
//! also be saved in checkpoints.
//!
//! # Which optimizer to use
//!
//! dfdx's own `Adam`, `Sgd` and `RMSprop` can be wrapped. Ours give the same bits and can do more:
//!
//! - They have a `Default` and need no model: `CyclicOptimizer::new(Adam::default(), config)`. Number type and device are
//!   inferred from the first call of `update` or `apply`.
//! - They are `Send`; dfdx's are not.
//! - Their whole state can be saved (`Checkpoint`, feature `checkpoint`); dfdx's moments are private.
//! - [`apply`](crate::CyclicOptimizer::apply) updates in place and zeroes the gradients in the same pass. dfdx's `update` takes
//!   `&Gradients`, whose entries code outside of dfdx cannot borrow, so `update` works on a copy.
//!
//! # Parameters without a gradient
//!
//! dfdx updates the parameters that have a gradient, skips the others, and then returns an error that lists the skipped ones.
//! Our optimizers do the same, and the error of `apply` names them. They look for missing gradients at each update until one
//! update has found no gradient missing. After that, a missing gradient counts as zeros, because the check takes two copies of
//! all gradients: dfdx has no public method that says whether an entry exists. In a loop with `alloc_grads` and `zero_grads`
//! every entry exists from the start, so dfdx reports none either.
//!
//! # Several optimizers on one set of gradients
//!
//! Each update keeps the gradients of its own model and drops all others, as dfdx's `zero_grads` does. So two optimizers on
//! two sub-modules cannot share one `Gradients`: after the first [`apply`](crate::CyclicOptimizer::apply) the second finds
//! none. Give each its own gradients (clone them before the first update), or use one optimizer for the whole model.

mod activation_statistics;
mod batch_norm;
#[cfg(feature = "checkpoint")]
mod checkpoint;
mod choose_peak;
mod dead_relu;
mod gradients;
mod missing;
mod named_activations;
mod optimizers;
mod parameters;
mod range_test;
mod replay;
mod snapshots;
mod update;
mod walk;
mod watch;
mod weight_average;

pub use activation_statistics::{ActivationStatistics, LayerStatistics};
pub use batch_norm::{average_batch_norm, recompute_batch_norm};
#[cfg(feature = "checkpoint")]
pub use checkpoint::{CheckpointDtype, DeviceError, Dfdx, Saved};
pub use choose_peak::{ChoosePeakError, TrialError, choose_peak};
pub use dead_relu::{DeadLayer, DeadRelus};
pub use named_activations::named_activations;
pub use optimizers::*;
pub use parameters::named_parameters;
pub use range_test::{RangeTestError, range_test, weight_decay_grid};
pub use snapshots::{EnsembleError, SnapshotEnsemble};
pub use update::InPlace;
pub use watch::{ActivationObserver, WatchActivations};
pub use weight_average::{Verdict, WeightAverage};
