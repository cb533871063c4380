//! What can be wrong with a configuration: one variant per broken precondition, with the numbers that broke it.

use thiserror::Error;

/// A schedule, a config or a state that cannot be used.
///
/// Every message names the field as the user wrote it and the value that was found. The same error comes out of a
/// constructor and, as text, out of a config file that fails the same check.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A learning rate that is not a finite number of at least 0.
    #[error("{field} must be a finite rate of at least 0, got {value}")]
    Rate {
        /// The parameter.
        field: &'static str,
        /// What it was set to.
        value: f64,
    },
    /// The lower end of a range lies above its upper end.
    #[error("{low_field} must not be above {high_field}, got {low_field} = {low}, {high_field} = {high}")]
    Reversed {
        /// The parameter that should be the lower one.
        low_field: &'static str,
        /// Its value.
        low: f64,
        /// The parameter that should be the higher one.
        high_field: &'static str,
        /// Its value.
        high: f64,
    },
    /// A number outside its range (NaN is outside every range).
    #[error("{field} must lie in {range}, got {value}")]
    OutOfRange {
        /// The parameter.
        field: &'static str,
        /// What it was set to.
        value: f64,
        /// The range, in interval notation.
        range: &'static str,
    },
    /// A length or a count that must be larger.
    #[error("{field} must be at least {minimum}, got {value}")]
    TooSmall {
        /// The parameter.
        field: &'static str,
        /// What it was set to.
        value: u64,
        /// The smallest value that makes sense.
        minimum: u64,
    },
    /// Milestones that do not rise strictly.
    #[error("milestones must rise strictly, got {milestone} after {previous}")]
    UnsortedMilestones {
        /// The milestone before.
        previous: u64,
        /// The milestone that is not above it.
        milestone: u64,
    },
    /// A list that needs at least one entry has none.
    #[error("{field} must not be empty, got 0 entries")]
    Empty {
        /// The parameter.
        field: &'static str,
    },
    /// A part of a sequence that has another after it but no length.
    #[error("parts[{index}].steps must be given: only the last part of a sequence may go on for ever, got none")]
    EndlessPart {
        /// The part, counted from 0.
        index: usize,
    },
    /// Sequences within sequences, deeper than a config file can hold.
    #[error("sequences must be nested at most {maximum} deep, got {depth}: join parts of an inner one to an outer one")]
    TooDeep {
        /// How deep they are nested; 1 is a sequence without another in it.
        depth: u64,
        /// How deep they may be.
        maximum: u64,
    },
    /// More updates than a `u64` can count.
    #[error("{field} must keep the horizon within u64, got {value}")]
    HorizonOverflow {
        /// The parameter that is too large.
        field: &'static str,
        /// What it was set to.
        value: u64,
    },
    /// Parameters that exclude or need each other.
    #[error("{field} {problem}")]
    Conflict {
        /// The parameter or parameters.
        field: &'static str,
        /// What is wrong with giving or omitting them.
        problem: &'static str,
    },
    /// Something was asked that only a schedule between a `base_lr` and a `max_lr` can do.
    #[error("{asked} needs a schedule that runs between a base_lr and a max_lr, and this one does not")]
    NoRange {
        /// What was asked.
        asked: &'static str,
    },
    /// Only the ends of cycles are to be judged, and the schedule has no cycles.
    #[error("watch = cycle_ends needs a schedule with cycles, and this one has none")]
    NoCycles,
    /// Momentum is to be cycled by a schedule that has no height.
    #[error(
        "momentum can only be cycled by a schedule that says how far between base and peak it is, and this one does not"
    )]
    NoHeight,
    /// Momentum is to be cycled on an optimizer that has none.
    #[error("momentum is to be cycled, but the inner optimizer has no momentum: switch it on there first")]
    NoMomentum,
    /// The inner optimizer has no learning rate to schedule.
    #[error("the inner optimizer has no learning rate to schedule")]
    NoLearningRate,
}
