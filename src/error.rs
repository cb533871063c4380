//! The errors of parameters: one variant for each precondition, with the numbers that break it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use thiserror::Error;

/// A parameter of a schedule, a config or a state is invalid.
///
/// Every message names the field as the user writes it, and its value. A constructor returns this error; reading a config
/// file that fails the same check returns its text.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A learning rate is not finite or is negative.
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
    /// A number is outside its range. NaN is outside every range.
    #[error("{field} must lie in {range}, got {value}")]
    OutOfRange {
        /// The parameter.
        field: &'static str,
        /// What it was set to.
        value: f64,
        /// The range, in interval notation.
        range: &'static str,
    },
    /// A length or a count is too small.
    #[error("{field} must be at least {minimum}, got {value}")]
    TooSmall {
        /// The parameter.
        field: &'static str,
        /// What it was set to.
        value: u64,
        /// The smallest valid value.
        minimum: u64,
    },
    /// The milestones are not strictly increasing.
    #[error("milestones must be strictly increasing, got {milestone} after {previous}")]
    UnsortedMilestones {
        /// The milestone before.
        previous: u64,
        /// The next one, which is not above it.
        milestone: u64,
    },
    /// A list that needs at least one entry is empty.
    #[error("{field} must not be empty, got 0 entries")]
    Empty {
        /// The parameter.
        field: &'static str,
    },
    /// A part of a sequence has no length, although it is not the last part.
    #[error("parts[{index}].steps is missing: only the last part of a sequence may be endless")]
    EndlessPart {
        /// The part, counted from 0.
        index: usize,
    },
    /// A product of a schedule without end and one that holds its last value.
    #[error(
        "factors[{held}] holds its value from update {horizon} on, but factors[{endless}] is endless; make all of them endless or \
         none: a sequence is endless if its last part has no steps"
    )]
    EndlessAndHeld {
        /// The first endless schedule, counted from 0.
        endless: usize,
        /// The first schedule that ends, counted from 0.
        held: usize,
        /// The number of updates after which it holds its value.
        horizon: u64,
    },
    /// Sequences and products are nested deeper than a config file can hold.
    #[error(
        "sequences must be nested at most {maximum} deep, got {depth}: move parts of an inner sequence or factors of an inner \
         product to an outer one"
    )]
    TooDeep {
        /// The depth; 1 is a sequence without inner sequences.
        depth: u64,
        /// The largest depth.
        maximum: u64,
    },
    /// There are more updates than a `u64` can count.
    #[error("{field} must keep the horizon within u64, got {value}")]
    HorizonOverflow {
        /// The parameter that is too large.
        field: &'static str,
        /// What it was set to.
        value: u64,
    },
    /// Parameters exclude or need each other.
    #[error("{field} {problem}")]
    Conflict {
        /// The parameter or parameters.
        field: &'static str,
        /// The conflict.
        problem: &'static str,
    },
    /// An option needs a schedule that runs between a `base_lr` and a `max_lr`.
    #[error("{asked} needs a schedule that runs between a base_lr and a max_lr, and this one does not")]
    NoRange {
        /// The option.
        asked: &'static str,
    },
    /// [`Watch::CycleEnds`](crate::feedback::Watch::CycleEnds) needs a schedule with cycles.
    #[error("watch = cycle_ends needs a schedule with cycles, and this one has none")]
    NoCycles,
    /// Cycled momentum needs a schedule with a height.
    #[error("momentum can only be cycled by a schedule with a base and a peak, and this one has none")]
    NoHeight,
    /// Cycled momentum needs an inner optimizer with momentum.
    #[error("momentum cannot be cycled: the inner optimizer has no momentum, or it is switched off")]
    NoMomentum,
    /// A hyper-parameter has two schedules.
    #[error("{hyper} has two schedules, and can follow only one")]
    TwoSchedules {
        /// The hyper-parameter.
        hyper: &'static str,
    },
    /// The inner optimizer lacks a hyper-parameter that has a schedule.
    #[error("{hyper} cannot be scheduled: the inner optimizer has none, or it is switched off")]
    NoHyper {
        /// The hyper-parameter.
        hyper: &'static str,
    },
    /// Two groups have the same prefix.
    #[error("groups must have different prefixes, got {prefix:?} twice")]
    SamePrefix {
        /// The prefix.
        prefix: String,
    },
    /// A group has no parameters.
    #[error(transparent)]
    UnknownPrefix(UnknownPrefix),
    /// The inner optimizer cannot treat groups of parameters differently.
    #[error("groups need an inner optimizer that has groups of parameters, and this one does not")]
    NoGroups,
    /// The inner optimizer has no learning rate to schedule.
    #[error("the inner optimizer has no learning rate to schedule")]
    NoLearningRate,
}

/// No parameter of the model belongs to a group.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no parameter has a name that begins with {prefix:?}, the prefix of a group; the names are {}", listed(names))]
pub struct UnknownPrefix {
    /// The prefix.
    pub prefix: String,
    /// The names of all parameters.
    pub names: Vec<String>,
}

/// The first names, and the number of the others.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 10;
    match names.len().checked_sub(SHOWN) {
        Some(others @ 1..) => format!("{} and {others} more", names[..SHOWN].join(", ")),
        _ => names.join(", "),
    }
}
