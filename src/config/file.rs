//! Reading a config for a run whose length is known.

use serde::{Deserialize, Deserializer};

use super::ClrConfig;
use crate::schedule::Schedule;
use crate::time::RunLength;
use crate::time::file::Context;

impl<S: Schedule> ClrConfig<S> {
    /// Reads a config whose lengths may be given in epochs or per cent of the run: `step_size = "2 epochs"`,
    /// `total_steps = "100 %"`, `milestones = ["50 %", "75 %"]`. Integers stay updates. [`Time`](crate::time::Time) has the forms,
    /// and [`time`](crate::time) the rule of rounding.
    ///
    /// The config holds updates, as if the file had had integers. If a length depends on the run, the config also keeps
    /// the [batches per epoch](Self::batches_per_epoch), so that a checkpoint is not continued with another number of
    /// batches by accident.
    ///
    /// The fields that can hold a time are `step_size`, `step_size_up`, `step_size_down`, `total_steps`, `steps`, `t_0`,
    /// `timescale` and `milestones`. The format must be self-describing, as JSON and TOML are.
    ///
    /// ```
    /// use cyclic_optim::{ClrConfig, Cyclic, RunLength};
    ///
    /// let file = r#"{"schedule": {"cyclic": {"base_lr": 0.001, "max_lr": 0.02, "step_size": "2 epochs"}}}"#;
    /// let run = RunLength::new(45, 20)?;
    /// let config: ClrConfig = ClrConfig::deserialize_for(&run, &mut serde_json::Deserializer::from_str(file))?;
    /// assert_eq!(config, ClrConfig::new(Cyclic::triangular(0.001, 0.02, 90)?).with_batches_per_epoch(45)?);
    /// let unknown = ClrConfig::<cyclic_optim::Policy>::deserialize_for(
    ///     &RunLength::default(),
    ///     &mut serde_json::Deserializer::from_str(file),
    /// );
    /// let error = unknown.unwrap_err().to_string();
    /// assert!(error.starts_with("step_size: 2 epochs cannot be turned into updates: the number of batches"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What the format refuses, and what [`RunLength::updates`] refuses, with the name of the field.
    pub fn deserialize_for<'de, D: Deserializer<'de>>(run: &RunLength, deserializer: D) -> Result<Self, D::Error>
    where
        S: Deserialize<'de>,
    {
        let context = Context::new(*run);
        let config = Self::deserialize(context.read(deserializer))?;
        match run.batches_per_epoch() {
            Some(batches) if context.depends() => {
                config.with_batches_per_epoch(batches).map_err(serde::de::Error::custom)
            }
            _ => Ok(config),
        }
    }
}
