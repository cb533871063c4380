//! Our optimizers, one file for each rule.
//!
//! A new rule needs a file here, two lines below, and one line in the list of `hyper.rs`.

#![expect(clippy::inline_always, reason = "only what is inlined is compiled for the processor")]

mod adadelta;
mod adagrad;
mod adam;
mod adamax;
mod adamw;
mod assignment;
mod bias;
mod cpu;
mod elementwise;
mod hyper;
mod lion;
mod nadam;
mod rmsprop;
mod rule;
mod sgd;
mod torch_rmsprop;
mod unset;

pub use adadelta::{Adadelta, AdadeltaConfig};
pub use adagrad::{Adagrad, AdagradConfig};
pub use adam::Adam;
pub use adamax::{Adamax, AdamaxConfig};
pub use adamw::{AdamW, AdamWConfig};
#[cfg(feature = "checkpoint")]
pub(super) use bias::BetaProduct;
pub use bias::BiasCorrected;
pub use elementwise::Elementwise;
pub use lion::{Lion, LionConfig};
pub use nadam::{Nadam, NadamConfig};
pub use rmsprop::RMSprop;
pub use rule::{Real, Rule, SLOTS, Setting, Update};
pub use sgd::Sgd;
pub use torch_rmsprop::{TorchRMSprop, TorchRMSpropConfig};
