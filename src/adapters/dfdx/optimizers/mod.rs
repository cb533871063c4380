//! Our optimizers, one file for each rule.
//!
//! A new rule is one file here, two lines below, and one in the list of `hyper.rs`.

#![expect(clippy::inline_always, reason = "only what is inlined is compiled for the processor")]

mod adam;
mod cpu;
mod elementwise;
mod hyper;
mod rmsprop;
mod rule;
mod sgd;

pub use adam::Adam;
pub use elementwise::Elementwise;
pub use rmsprop::RMSprop;
pub use rule::{Real, Rule, SLOTS, Setting, Update};
pub use sgd::Sgd;
