//! dfdx's models and our optimizers in checkpoints.

mod dtype;
mod optimizer;
mod part;
mod tensors;

pub use self::dtype::CheckpointDtype;
pub use self::optimizer::Saved;
pub use self::tensors::{DeviceError, Dfdx};
