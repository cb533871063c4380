//! The writers, each behind a feature. A new writer needs a file here, an entry in this list and a re-export in
//! `history`.

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
