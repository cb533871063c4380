//! The writers, each behind a feature. A new one is a file here, an entry in this list and an export in `history`.

#[cfg(feature = "csv")]
pub(super) mod csv;
#[cfg(feature = "plot")]
pub(super) mod plot;
#[cfg(feature = "progress")]
pub(super) mod progress;
#[cfg(feature = "remote")]
pub(super) mod remote;
#[cfg(feature = "tensorboard")]
pub(super) mod tensorboard;
