//! What is read from a file, before it is checked.

use super::{Bounds, Clip, ClrConfig, ConfigError, EarlyStopping, Guard, MomentumRange, Plateau, Schedule, Watch};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClrConfigFile<S> {
    schedule: S,
    momentum: Option<MomentumRange>,
    #[serde(default)]
    decay: f64,
    bounds: Option<Bounds>,
    #[serde(default)]
    watch: Watch,
    plateau: Option<Plateau>,
    early_stopping: Option<EarlyStopping>,
    #[serde(default)]
    guard: Guard,
    #[serde(default)]
    clip: Clip,
}

impl<S: Schedule> TryFrom<ClrConfigFile<S>> for ClrConfig<S> {
    type Error = ConfigError;

    fn try_from(file: ClrConfigFile<S>) -> Result<Self, ConfigError> {
        let ClrConfigFile { schedule, momentum, decay, bounds, watch, plateau, early_stopping, guard, clip } = file;
        Self { schedule, momentum, decay, bounds, watch, plateau, early_stopping, guard, clip }.check()
    }
}
