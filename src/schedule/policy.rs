//! The closed, serialisable set of the crate's schedules.
//!
//! A new schedule needs: its file, a line of `policies!` here and of `from_schedules!` in `config.rs`, the re-exports in
//! `schedule/mod.rs` and `lib.rs`, a strategy in `tests/support`, its values in `tests/value_stability.rs`, its form in
//! `tests/serde_format.rs`, a row in the README's table, with what proves it in `tests/moving_over.rs`.

use super::{
    Constant, CosineDecay, Cycle, Cyclic, ExponentialDecay, InverseSqrtDecay, InverseTimeDecay, LinearDecay, LrRange,
    MultiStepDecay, OneCycle, Point, PolynomialDecay, Position, Ramp, Schedule, Sequence, StepDecay, WarmRestarts,
};

macro_rules! policies {
    ($($kind:ident),+ $(,)?) => {
        /// Any schedule of this crate: what a config file can hold.
        ///
        /// In a file the kind is the name of the table: `{"cyclic": {"base_lr": 0.001, ...}}`.
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
            $(#[doc = concat!("See [`", stringify!($kind), "`].")] $kind($kind),)+
        }

        $(impl From<$kind> for Policy {
            fn from(schedule: $kind) -> Self {
                Self::$kind(schedule)
            }
        }

        impl IntoPolicy for $kind {
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

policies! {
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
}
