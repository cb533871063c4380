//! One update in any framework.

pub(crate) mod clip;
mod wide;
