//! Restoring a checkpoint.

use serde::Serialize;
use serde_json::{Map, Value};

use super::difference::{Difference, compare};
use super::document::{RunDocument, config_of};
use super::error::CheckpointError;
use super::file::SavedTensors;
use super::part::{PartCounts, RunPart};
use super::saved::{MODEL, OPTIMIZER, SavedModel, SavedOptimizer, SavedWith, Steps};
use super::{Checkpoint, history, part_prefix};
use crate::history::History;
use crate::hyper::Hyper;
use crate::optimizer::CyclicOptimizer;
use crate::range_test::PeakChoice;
use crate::schedule::Schedule;
use crate::state::ClrState;

impl Checkpoint {
    /// Continues the run. Make `model` and `optimizer` as for the saved run; they get its values.
    ///
    /// # Errors
    ///
    /// The model has other shapes, types or names; the optimizer is of another kind; the config or the hyper-parameters differ
    /// (the error names each field); the file has a part, which only [`restore_with`](Self::restore_with) can restore. In these
    /// cases nothing has changed. A range, a scale or an envelope belongs to the state: it is restored and is not a difference.
    /// The same holds for the rate and the cycled momentum of the inner optimizer.
    pub fn restore<M: SavedModel<F>, O: SavedWith<M, F>, S: Schedule + Serialize, F>(
        &self,
        model: &mut M,
        optimizer: &mut CyclicOptimizer<O, S>,
    ) -> Result<(), CheckpointError> {
        self.check_same(optimizer, &[])?;
        self.restore_as(model, optimizer)
    }

    /// Continues the run together with its parts. `parts` are those in the file, in any order.
    ///
    /// # Errors
    ///
    /// As [`restore`](Self::restore). A part is missing in the file or in `parts`, is of another kind, or does not fit the
    /// model. Nothing has changed in these cases.
    pub fn restore_with<M: SavedModel<F> + Clone, O: SavedWith<M, F>, S: Schedule + Serialize, F>(
        &self,
        model: &mut M,
        optimizer: &mut CyclicOptimizer<O, S>,
        parts: &mut [(&str, &mut dyn RunPart<M>)],
    ) -> Result<(), CheckpointError> {
        let names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
        self.check_same(optimizer, &names)?;
        self.restore_as_with(model, optimizer, parts)
    }

    /// Continues the run with the config and the hyper-parameters that `optimizer` has now, for example with another schedule
    /// or a longer one. Ignores the parts in the file.
    ///
    /// # Errors
    ///
    /// As [`restore`](Self::restore), but differences are not errors. The state does not fit the present config.
    pub fn restore_as<M: SavedModel<F>, O: SavedWith<M, F>, S: Schedule, F>(
        &self,
        model: &mut M,
        optimizer: &mut CyclicOptimizer<O, S>,
    ) -> Result<(), CheckpointError> {
        let run = self.run()?;
        if run.optimizer != O::KIND {
            let difference =
                Difference { field: "optimizer".into(), saved: run.optimizer.clone(), present: O::KIND.into() };
            return Err(CheckpointError::OtherConfig(vec![difference]));
        }
        let mut saved = SavedTensors::of(&self.file);
        model.check_tensors(MODEL, &mut saved)?;
        let steps = Steps { updated: run.updated, ..run.steps };
        let load = |inner: &O| inner.load_state(model, steps, &mut saved);
        let inner = optimizer.with_groups_of(&run.state, load).map_err(CheckpointError::State)??;
        saved.all_used(&[MODEL, OPTIMIZER])?;
        let history = run.history.as_ref().map(|document| history::read(document, &mut saved)).transpose()?;
        optimizer.continue_from(inner, run.state.clone(), history).map_err(CheckpointError::State)?;
        model.load_tensors(MODEL, &mut saved);
        Ok(())
    }

    /// Continues the run with the present config, as [`restore_as`](Self::restore_as) does, and restores those of `parts`
    /// that are in the file. The others do not change.
    ///
    /// # Errors
    ///
    /// As [`restore_as`](Self::restore_as). A part is of another kind, or does not fit the model. Nothing has changed then.
    pub fn restore_as_with<M: SavedModel<F> + Clone, O: SavedWith<M, F>, S: Schedule, F>(
        &self,
        model: &mut M,
        optimizer: &mut CyclicOptimizer<O, S>,
        parts: &mut [(&str, &mut dyn RunPart<M>)],
    ) -> Result<(), CheckpointError> {
        let mut read = Vec::new();
        for (name, part) in parts.iter() {
            read.push(self.read_part(name, &**part, model)?);
        }
        self.restore_as(model, optimizer)?;
        for ((_, part), read) in parts.iter_mut().zip(read) {
            if let Some((models, counts)) = read {
                part.restore(models, counts);
            }
        }
        Ok(())
    }

    /// Loads the weights only, whether or not a run was saved with them.
    ///
    /// # Errors
    ///
    /// The model has other shapes, types or names. Nothing has changed then.
    pub fn restore_weights<M: SavedModel<F>, F>(&self, model: &mut M) -> Result<(), CheckpointError> {
        self.load(MODEL, model)
    }

    /// The choice of a peak rate that was saved as a part of the run; `None` if there is none. Make the schedule of the resumed run
    /// from it instead of searching again, and pass it to [`restore_with`](Self::restore_with) like the other parts.
    #[must_use]
    pub fn peak_choice(&self) -> Option<&PeakChoice> {
        self.document.run.as_ref()?.parts.iter().find_map(|part| part.peak_choice.as_ref())
    }

    /// The history of the saved run; `None` for a run without one, and for weights only. Neither model nor optimizer is needed.
    ///
    /// # Errors
    ///
    /// The tables of the history do not fit together, in a file that was changed.
    pub fn history(&self) -> Result<Option<History>, CheckpointError> {
        let document = self.document.run.as_ref().and_then(|run| run.history.as_ref());
        document.map(|document| history::read(document, &mut SavedTensors::of(&self.file))).transpose()
    }

    /// The config of the saved run, as JSON; `None` for weights only.
    #[must_use]
    pub fn config(&self) -> Option<&Value> {
        self.document.run.as_ref().map(|run| &run.config)
    }

    /// Where the saved run stands; `None` for weights only.
    #[must_use]
    pub fn state(&self) -> Option<&ClrState> {
        self.document.run.as_ref().map(|run| &run.state)
    }

    /// The fields in which the config and the hyper-parameters of the saved run differ from those of `optimizer`.
    ///
    /// # Errors
    ///
    /// The file holds weights only.
    pub fn differences<O: SavedOptimizer, S: Schedule + Serialize>(
        &self,
        optimizer: &CyclicOptimizer<O, S>,
    ) -> Result<Vec<Difference>, CheckpointError> {
        let run = self.run()?;
        let mut found = Vec::new();
        compare("optimizer", Some(&run.optimizer.clone().into()), Some(&O::KIND.into()), &mut found);
        let scheduled = |name: &str| {
            let hyper = match name {
                "lr" => Hyper::LearningRate,
                "beta1" | "momentum" => Hyper::Momentum,
                "weight_decay" => Hyper::WeightDecay,
                "beta2" | "alpha" | "rho" => Hyper::Beta2,
                "eps" => Hyper::Eps,
                _ => return false,
            };
            optimizer.config().is_scheduled(hyper)
        };
        // Another value of a scheduled hyper-parameter is not a difference. But it is one if the hyper-parameter is
        // switched on or off, or if the weight decay is of another kind.
        let own = |mut all: Map<String, Value>| {
            for (name, value) in &mut all {
                match value {
                    _ if !scheduled(name) => {}
                    Value::Object(kinds) => kinds.values_mut().for_each(|value| *value = "scheduled".into()),
                    Value::Null => {}
                    _ => *value = "scheduled".into(),
                }
            }
            Value::from(all)
        };
        if found.is_empty() {
            let (saved, present) = (own(run.hyperparameters.clone()), own(optimizer.get_ref().hyperparameters()));
            compare("optimizer", Some(&saved), Some(&present), &mut found);
        }
        compare("config", Some(&run.config), Some(&config_of(optimizer)?), &mut found);
        Ok(found)
    }

    /// The saved contents of a part; `None` if it is not in the file.
    fn read_part<M: SavedModel<F> + Clone, F>(
        &self,
        name: &str,
        part: &dyn RunPart<M>,
        model: &M,
    ) -> Result<Option<(Vec<M>, PartCounts)>, CheckpointError> {
        let Some(saved) = self.run()?.parts.iter().find(|saved| saved.name == name) else { return Ok(None) };
        if saved.kind != part.kind() {
            return Err(CheckpointError::part(name, format!("was saved as {} and is {}", saved.kind, part.kind())));
        }
        part.check(saved.models, saved.counts).map_err(|problem| CheckpointError::part(name, problem))?;
        let mut models = Vec::new();
        for n in 0..saved.models {
            let mut read = model.clone();
            self.load(&part_prefix(name, n), &mut read)?;
            models.push(read);
        }
        Ok(Some((models, saved.counts)))
    }

    /// Loads the model under a prefix.
    fn load<M: SavedModel<F>, F>(&self, prefix: &str, model: &mut M) -> Result<(), CheckpointError> {
        let mut saved = SavedTensors::of(&self.file);
        model.check_tensors(prefix, &mut saved)?;
        saved.all_used(&[prefix])?;
        model.load_tensors(prefix, &mut saved);
        Ok(())
    }

    /// Checks that the saved run has the config, the hyper-parameters and the parts of the present one.
    fn check_same<O: SavedOptimizer, S: Schedule + Serialize>(
        &self,
        optimizer: &CyclicOptimizer<O, S>,
        parts: &[&str],
    ) -> Result<(), CheckpointError> {
        let differences = self.differences(optimizer)?;
        if !differences.is_empty() {
            return Err(CheckpointError::OtherConfig(differences));
        }
        let saved = &self.run()?.parts;
        if let Some(left) = saved.iter().find(|saved| !parts.contains(&saved.name.as_str())) {
            return Err(CheckpointError::part(&left.name, "is in the file and was not given: pass it to restore_with"));
        }
        match parts.iter().find(|name| saved.iter().all(|saved| saved.name != **name)) {
            Some(missing) => Err(CheckpointError::part(missing, "is not in the file")),
            None => Ok(()),
        }
    }

    fn run(&self) -> Result<&RunDocument, CheckpointError> {
        self.document.run.as_ref().ok_or(CheckpointError::WeightsOnly)
    }
}
