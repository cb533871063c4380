//! What reacts to reported numbers: plateau, auto-decay, early stopping.
//!
//! A schedule is a pure function of the update and stays one. Feedback never changes it; it changes an *envelope* around
//! it: a factor on the whole rate, or on the peak alone, so that the cycle keeps running with a smaller `max_lr`. The loop
//! reports a metric to [`CyclicOptimizer::observe`](crate::CyclicOptimizer::observe), which answers what came of it; nothing
//! is printed and nothing stops by itself.
//!
//! # Watching in phase
//!
//! Under a cyclic rate a validation loss swings by design: it is worst near the peaks of the rate, best where a cycle ends.
//!
//! ```text
//! rate   /\    /\    /\    /\         loss  -.  ,-.  ,-.  ,-.
//!       /  \  /  \  /  \  /  \               `-'   `-'   `-'   \_
//!      /    \/    \/    \/    \
//!           ^     ^     ^     ^    with Watch::CycleEnds only these are judged: minimum against minimum
//! ```
//!
//! Judged at every report, the swing itself looks like a plateau, and a patience long enough to sit it out is blind for
//! real ones. With [`Watch::CycleEnds`] the first report at or after the end of a cycle is judged, once, however many ends
//! have passed since the last one; the others are answered as not judged and change nothing. So it works as well when epochs
//! and cycles do not align. Patience and cooldown then count cycles.

pub(crate) mod divergence;
mod early_stopping;
mod improvement;
mod plateau;

pub use early_stopping::{EarlyStopping, EarlyStoppingState};
pub use improvement::{Direction, Improvement, MinDelta};
pub use plateau::{Counting, Plateau, PlateauState, Scope};

/// Which reports are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Watch {
    /// All of them.
    #[default]
    EveryReport,
    /// The first one at or after each end of a cycle. After the last end of a schedule with a limited number of cycles there is
    /// nothing to judge any more.
    CycleEnds,
}

/// Why a run should stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Stop {
    /// [`EarlyStopping`]: too many judged reports in a row without an improvement.
    NoImprovement,
    /// The guard has refused too many updates in a row.
    TooManyRefusals,
}

/// What came of a report.
#[derive(Debug, Clone, Copy, PartialEq)]
#[must_use = "it says whether to stop"]
pub struct Observation {
    /// What was reported; of two metrics, the one that [`improved`](Self::improved) speaks of.
    pub metric: f64,
    /// Whether it was judged; see [`Watch`].
    pub judged: bool,
    /// Whether the metric is better than the best so far: by the rule of early stopping if the config has early stopping, else
    /// by the plateau's. Without either there is no rule, and nothing improves.
    pub improved: bool,
    /// The factor by which the plateau has scaled the rate or the peak just now.
    pub scaled: Option<f64>,
    /// Why to stop, from the report on that says so.
    pub stop: Option<Stop>,
}
