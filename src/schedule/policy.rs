//! The closed, serialisable set of the crate's schedules.
//!
//! To add a schedule: write its file, add it to the list below, and re-export it in `schedule/mod.rs` and `lib.rs`. It also
//! needs a strategy in `tests/support`, its values in `tests/value_stability.rs`, its stored form in
//! `tests/serde_format.rs`, and a row in the table of `guide/schedules.md` with its proof in `tests/moving_over.rs`.

use super::{Cycle, LrRange, Point, Position, Ramp, Schedule};
use crate::error::ConfigError;

/// The list of all schedules, given to the macro `$with`.
macro_rules! for_each_schedule {
    ($with:ident) => {
        $with! {
            Constant,
            LinearDecay,
            StepDecay,
            MultiStepDecay,
            ExponentialDecay,
            PolynomialDecay,
            CosineDecay,
            InverseTimeDecay,
            InverseSqrtDecay,
            Cyclic,
            OneCycle,
            WarmRestarts,
            Sequence,
            Product,
        }
    };
}
pub(crate) use for_each_schedule;

macro_rules! policies {
    ($($kind:ident),+ $(,)?) => {
        /// Any schedule of this crate. A config file holds one.
        ///
        /// In a file, the name of the table is the kind: `{"cyclic": {"base_lr": 0.001, ...}}`.
        ///
        /// ```
        /// use cyclic_optim::{Cyclic, Policy, Schedule};
        /// let policy = Policy::from(Cyclic::triangular(0.0, 1.0, 10)?);
        /// assert_eq!(policy.value_at(5), 0.5);
        /// # Ok::<(), cyclic_optim::ConfigError>(())
        /// ```
        #[derive(Debug, Clone, PartialEq)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
        #[non_exhaustive]
        pub enum Policy {
            $(#[doc = concat!("See [`", stringify!($kind), "`](crate::schedule::", stringify!($kind), ").")] $kind(crate::schedule::$kind),)+
        }

        $(impl From<crate::schedule::$kind> for Policy {
            fn from(schedule: crate::schedule::$kind) -> Self {
                Self::$kind(schedule)
            }
        }

        impl IntoPolicy for crate::schedule::$kind {
            fn into_policy(self) -> Policy {
                self.into()
            }
        })+

        impl Schedule for Policy {
            #[inline]
            fn value_at(&self, step: u64) -> f64 {
                match self { $(Self::$kind(schedule) => schedule.value_at(step),)+ }
            }

            fn horizon(&self) -> Option<u64> {
                match self { $(Self::$kind(schedule) => schedule.horizon(),)+ }
            }

            fn range(&self) -> Option<LrRange> {
                match self { $(Self::$kind(schedule) => schedule.range(),)+ }
            }

            fn peak(&self) -> f64 {
                match self {
                    $(Self::$kind(schedule) => schedule.peak(),)+
                }
            }

            fn peak_over(&self, range: LrRange) -> f64 {
                match self { $(Self::$kind(schedule) => schedule.peak_over(range),)+ }
            }

            #[inline]
            fn cycle_at(&self, step: u64) -> Option<Cycle> {
                match self { $(Self::$kind(schedule) => schedule.cycle_at(step),)+ }
            }

            fn cycle_start(&self, index: u64) -> Option<u64> {
                match self { $(Self::$kind(schedule) => schedule.cycle_start(index),)+ }
            }

            #[inline]
            fn ramp_at(&self, position: &Position, range: Option<LrRange>) -> Option<Ramp> {
                match self {
                    $(Self::$kind(schedule) => schedule.ramp_at(position, range),)+
                }
            }

            #[inline]
            fn point_at(&self, step: u64, range: Option<LrRange>) -> Point {
                match self { $(Self::$kind(schedule) => schedule.point_at(step, range),)+ }
            }
        }
    };
}

/// A schedule of this crate: what [`ClrConfig::new`](crate::ClrConfig::new) and [`Part::new`](super::Part::new) take.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a schedule of this crate",
    note = "constructors of schedules return a `Result`: add `?` or `.unwrap()`",
    note = "for a schedule of your own use `ClrConfig::custom`"
)]
pub trait IntoPolicy {
    /// The schedule as a [`Policy`].
    fn into_policy(self) -> Policy;
}

impl IntoPolicy for Policy {
    fn into_policy(self) -> Policy {
        self
    }
}

for_each_schedule!(policies);

/// The largest depth of nested sequences and products. Each of them takes four levels of a JSON or TOML document, and a
/// checkpoint adds a few. `serde_json` reads at most 128 levels, and `toml` 80.
const MAX_DEPTH: u64 = 16;

/// Checks a depth of nested sequences and products.
pub(super) fn check_depth(depth: u64) -> Result<(), ConfigError> {
    if depth <= MAX_DEPTH { Ok(()) } else { Err(ConfigError::TooDeep { depth, maximum: MAX_DEPTH }) }
}

impl Policy {
    /// The depth of nested sequences and products. Inner ones are already checked, so the recursion is short.
    pub(super) fn depth(&self) -> u64 {
        match self {
            Self::Sequence(sequence) => sequence.depth(),
            Self::Product(product) => product.depth(),
            _ => 0,
        }
    }
}
