//! Reactions to reported metrics: plateau, auto-decay, early stopping.
//!
//! Feedback never changes a schedule, which stays a pure function of the step. It changes an *envelope*: a multiplier of the
//! whole rate, or of the peak alone, so that the cycle continues with a smaller `max_lr`. The training loop reports a metric
//! to [`CyclicOptimizer::observe`](crate::CyclicOptimizer::observe), which returns what happened. Nothing is printed, and
//! nothing stops by itself.
//!
//! # Judging at the ends of cycles
//!
//! Under a cyclic rate a validation loss swings with the rate: it is worst near the peaks and best at the ends of cycles.
//!
//! ```text
//! rate   /\    /\    /\    /\         loss  -.  ,-.  ,-.  ,-.
//!       /  \  /  \  /  \  /  \               `-'   `-'   `-'   \_
//!      /    \/    \/    \/    \
//!           ^     ^     ^     ^    with Watch::CycleEnds only these are judged: minimum against minimum
//! ```
//!
//! If every report is judged, this swing looks like a plateau, and a patience long enough to ignore the swing misses real
//! plateaus. With [`Watch::CycleEnds`] only the first report at or after the end of a cycle is judged. If several cycles have
//! ended since the last report, it is judged once. Other reports change nothing. Epochs and cycles need not align. Patience
//! and cooldown then count judged reports: one for each cycle, if every cycle gets a report.
//!
//! # Best metric or trend
//!
//! For a [`Plateau`], a report is bad if it does not beat the best of all reports so far, as in Keras and PyTorch. So after a
//! spike, every report is bad until the loss is below the old best, even while it falls steadily.
//! [`Plateau::with_trend_window`] judges only the trend of the last reports.

pub(crate) mod divergence;
mod early_stopping;
mod improvement;
mod plateau;
mod trend;

pub use early_stopping::{EarlyStopping, EarlyStoppingState};
pub use improvement::{Direction, Improvement, MinDelta};
pub use plateau::{Counting, Plateau, PlateauState, Scope};

/// Which reports are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Watch {
    /// All reports.
    #[default]
    EveryReport,
    /// The first report at or after the end of each cycle. After the last cycle of a limited schedule, only one more report is
    /// judged.
    CycleEnds,
}

/// Why a run should stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Stop {
    /// The patience of [`EarlyStopping`] was reached.
    NoImprovement,
    /// The metric reached the threshold of [`EarlyStopping`].
    ThresholdReached,
    /// The guard's limit of consecutive refusals was reached.
    TooManyRefusals,
}

/// The result of a report.
#[derive(Debug, Clone, Copy, PartialEq)]
#[must_use = "it says whether to stop"]
#[non_exhaustive]
pub struct Observation {
    /// The reported metric. If two were reported, the one that [`improved`](Self::improved) refers to.
    pub metric: f64,
    /// Whether the report was judged; see [`Watch`].
    pub judged: bool,
    /// Whether the metric is better than the best so far, by the rule of early stopping, or of the plateau if there is no
    /// early stopping. Without both it is false.
    pub improved: bool,
    /// The factor by which the plateau has now reduced the rate or the peak; `None` without a reduction.
    pub scaled: Option<f64>,
    /// Why the run should stop, in this report and all later ones.
    pub stop: Option<Stop>,
}
