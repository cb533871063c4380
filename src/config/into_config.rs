//! What [`CyclicOptimizer::new`](crate::CyclicOptimizer::new) takes: a schedule or a config.

use super::ClrConfig;
use crate::schedule::{Policy, for_each_schedule};

/// A schedule of this crate or a [`ClrConfig`]: what [`CyclicOptimizer::new`](crate::CyclicOptimizer::new) takes.
///
/// Implement it for your own type if it can be converted into a config.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a schedule of this crate nor a `ClrConfig`",
    note = "constructors of schedules and the `with_..` methods return a `Result`: add `?` or `.unwrap()`",
    note = "for a schedule of your own use `ClrConfig::custom`"
)]
pub trait IntoConfig<S> {
    /// The config.
    fn into_config(self) -> ClrConfig<S>;
}

impl<S> IntoConfig<S> for ClrConfig<S> {
    fn into_config(self) -> ClrConfig<S> {
        self
    }
}

// One impl for each source type: a blanket impl over all schedules would break type inference.
macro_rules! from_schedules {
    ($($schedule:ident),+ $(,)?) => {$(
        impl IntoConfig<Policy> for crate::schedule::$schedule {
            fn into_config(self) -> ClrConfig {
                self.into()
            }
        }

        impl From<crate::schedule::$schedule> for ClrConfig {
            fn from(schedule: crate::schedule::$schedule) -> Self {
                Self::new(schedule)
            }
        }
    )+};
}

for_each_schedule!(from_schedules);
from_schedules! { Policy }
