// This page and the guide show most of the crate, so they need most of its features; docs.rs builds them all.
#![cfg_attr(
    all(feature = "dfdx", feature = "serde", feature = "csv", feature = "plot", feature = "checkpoint"),
    doc = concat!(
        include_str!("guide/crate_page.md"),
        "```rust\n", include_str!("../examples/quickstart.rs"), "```\n",
        include_str!("guide/crate_page_end.md"),
        include_str!("../examples/pictures/convergence_adam.svg"),
    )
)]
#![cfg_attr(
    not(all(feature = "dfdx", feature = "serde", feature = "csv", feature = "plot", feature = "checkpoint")),
    doc = "Learning-rate schedules that live inside the optimizer. The guide is shown with the feature `full`."
)]
#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;

#[cfg(any(feature = "candle", feature = "dfdx"))]
pub mod adapters;
#[cfg(any(feature = "csv", feature = "tensorboard", feature = "checkpoint", feature = "report"))]
mod atomic_file;
mod check;
#[cfg(feature = "checkpoint")]
pub mod checkpoint;
mod config;
#[cfg(feature = "csv")]
mod csv_number;
mod error;
pub mod feedback;
mod groups;
#[cfg(all(
    any(doc, doctest),
    feature = "dfdx",
    feature = "serde",
    feature = "csv",
    feature = "plot",
    feature = "checkpoint"
))]
#[cfg_attr(docsrs, doc(auto_cfg = false))]
pub mod guide;
pub mod history;
mod hyper;
mod numeric;
mod optimizer;
#[cfg(feature = "plot")]
mod picture;
pub mod range_test;
#[cfg(feature = "report")]
pub mod report;
pub mod review;
mod run;
pub mod schedule;
mod smoothing;
mod state;
pub mod time;
pub mod training;
#[cfg(any(feature = "csv", feature = "tensorboard"))]
mod whole_append;

#[cfg(feature = "dfdx")]
pub use adapters::dfdx::{Adadelta, Adagrad, Adam, AdamW, Adamax, Lion, Nadam, RMSprop, Sgd, TorchRMSprop};
#[cfg(feature = "checkpoint")]
pub use checkpoint::{Checkpoint, CheckpointError, ModelCheckpoint};
pub use config::{Bounds, Clip, ClrConfig, Guard, HyperSchedules, IntoConfig, MomentumRange};
pub use error::{ConfigError, UnknownPrefix};
pub use groups::{Group, Groups, NoGroups};
pub use history::History;
pub use hyper::{Hyper, Hyperparameters, RateAndMomentum, Unsupported};
pub use optimizer::CyclicOptimizer;
#[cfg(feature = "plot")]
pub use picture::PlotError;
pub use run::Preview;
pub use schedule::{
    Amplitude, Constant, CosineDecay, Curve, Cycle, Cyclic, Dialect, ExponentialDecay, FromFn, IntoPolicy,
    InverseSqrtDecay, InverseTimeDecay, LinearDecay, LrRange, MultiStepDecay, OneCycle, Part, Place, Point, Policy,
    PolynomialDecay, Product, ScaleMode, ScaledCyclic, Schedule, ScheduleExt, Sequence, StepDecay, WarmRestarts,
    from_fn,
};
pub use smoothing::{Smoothing, winsorised, winsorising_bounds};
pub use state::{Applied, ClrState};
pub use time::{RunLength, Time, TimeError};
pub use training::UpdateError;
