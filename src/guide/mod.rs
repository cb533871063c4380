//! The guide: what the crate can do, one page for each task.
//!
//! Every block of code on these pages is a whole program. `cargo test` runs them.

#[doc = include_str!("schedules.md")]
#[doc = include_str!("../../examples/pictures/schedules.svg")]
pub mod schedules {}

#[doc = include_str!("optimizers.md")]
pub mod optimizers {}

#[doc = include_str!("finding_the_range.md")]
pub mod finding_the_range {}

#[doc = include_str!("feedback.md")]
pub mod feedback {}

#[doc = include_str!("recording.md")]
#[doc = include_str!("../../examples/pictures/losses.svg")]
#[doc = include_str!("../../examples/pictures/rates.svg")]
pub mod recording {}

#[doc = include_str!("resuming.md")]
pub mod resuming {}

#[doc = include_str!("config_files.md")]
pub mod config_files {}

#[doc = include_str!("many_machines.md")]
pub mod many_machines {}

#[doc = include_str!("frameworks.md")]
pub mod frameworks {}

#[doc = include_str!("moving_over.md")]
pub mod moving_over {}

#[doc = include_str!("measured.md")]
#[doc = include_str!("../../examples/pictures/convergence_adam.svg")]
#[doc = include_str!("../../examples/pictures/convergence_sgd.svg")]
pub mod measured {}
