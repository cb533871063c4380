//! One-way schedules: a constant rate, and the rates that only fall (or, for a warm-up, only rise).

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
