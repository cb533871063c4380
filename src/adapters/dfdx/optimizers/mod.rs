//! Our optimizers, one file for each rule.

mod adam;
mod hyper;
mod rmsprop;
mod sgd;
pub(super) mod sweep;

pub use adam::Adam;
pub use rmsprop::RMSprop;
pub use sgd::Sgd;
