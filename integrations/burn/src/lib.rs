#![doc = include_str!("../README.md")]

mod momentum;
mod record;
mod scheduler;

pub use cyclic_optim;
pub use momentum::CycledMomentum;
pub use record::LoadError;
pub use scheduler::{ClrScheduler, RunHandle, SchedulerError};
