//! Schedules without cycles: a constant rate, and rates that only fall or only rise.

mod constant;
mod cosine;
mod exponential;
mod inverse_sqrt;
mod inverse_time;
mod linear;
mod polynomial;
mod step;

pub use constant::Constant;
pub use cosine::CosineDecay;
pub use exponential::ExponentialDecay;
pub use inverse_sqrt::InverseSqrtDecay;
pub use inverse_time::InverseTimeDecay;
pub(crate) use inverse_time::inverse_time;
pub use linear::LinearDecay;
pub use polynomial::PolynomialDecay;
pub use step::{MultiStepDecay, StepDecay};
