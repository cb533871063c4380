//! A run, and what follows from each update and from each epoch.

use std::error::Error;
use std::time::Instant;

use cyclic_optim::adapters::dfdx::Saved;
use cyclic_optim::feedback::{EarlyStopping, Observation};
use cyclic_optim::history::Recorder;
use cyclic_optim::range_test::LossCurve;
use cyclic_optim::{Applied, Checkpoint, CyclicOptimizer, Hyperparameters, ModelCheckpoint, Smoothing};
use dfdx::prelude::Cpu;

use crate::activations;
use crate::args::{Arguments, Monitors};
use crate::console::Console;
use crate::metrics::Metrics;
use crate::outputs::Outputs;
use crate::parts::Parts;
use crate::support::digits::{Mlp, Task};
use crate::time_limit::TimeLimit;

/// A run, and all that stands beside it.
pub(crate) struct Run<'a, O> {
    pub(crate) args: &'a Arguments,
    /// What to learn from, and the validation images.
    pub(crate) task: &'a Task<'a>,
    /// Updates of an epoch.
    pub(crate) batches: u64,
    pub(crate) epochs: u64,
    pub(crate) model: Mlp,
    pub(crate) optimizer: CyclicOptimizer<O>,
    pub(crate) monitors: Monitors,
    pub(crate) parts: Parts,
    pub(crate) console: Console,
    pub(crate) outputs: Outputs,
    pub(crate) models: Vec<ModelCheckpoint>,
    pub(crate) time_limit: Option<TimeLimit>,
    /// The losses of the range test, if there was one, and their smoothing.
    pub(crate) sweep: Option<(LossCurve, Smoothing)>,
    pub(crate) started: Instant,
    /// Whether the run was interrupted before.
    pub(crate) continued: bool,
}

impl<O> Run<'_, O>
where
    O: Saved<f32, Cpu> + Hyperparameters,
{
    /// Epochs that have been made.
    pub(crate) fn next_epoch(&self) -> u64 {
        self.optimizer.iterations() / self.batches
    }

    /// Whether the run has ended before its last epoch.
    pub(crate) fn is_over(&self) -> bool {
        self.optimizer.stopped().is_some() || self.hopeless().is_some() || self.time_is_up().is_some()
    }

    /// The metric beside that of the optimizer's early stopping which no longer improves. The history knows, also that of a run
    /// that was interrupted.
    pub(crate) fn hopeless(&self) -> Option<&str> {
        let epochs = self.optimizer.history()?.epochs();
        let stops = |(metric, rule): &&(String, EarlyStopping)| {
            epochs.values(metric).is_some_and(|values| rule.stops_at(values).is_some())
        };
        self.monitors.others.iter().find(stops).map(|(metric, _)| metric.as_str())
    }

    /// The sentence about the time limit, if it was reached.
    pub(crate) fn time_is_up(&self) -> Option<String> {
        self.time_limit.as_ref()?.stops(self.optimizer.history()?)
    }

    /// What follows from an update. Returns its loss, which the history knows also if the update was made from several parts.
    pub(crate) fn after_update(&mut self, used: &Applied) -> Result<f64, Box<dyn Error>> {
        let losses = self.optimizer.history().and_then(|history| history.updates().get("loss"));
        let loss = losses.and_then(|losses| *losses.last()?).unwrap_or(f64::NAN);
        self.outputs.update(used, loss)?;
        let snapshot = self.parts.ensemble.after_update(&self.optimizer, &self.model);
        if let (Some(folder), Some(n)) = (&self.args.snapshots_dir, snapshot) {
            Checkpoint::write_weights(folder.join(format!("snapshot-{}.safetensors", n + 1)), &self.model)?;
        }
        if let Some(average) = &mut self.parts.average {
            average.add(&self.model).map_err(|error| format!("{error:?}"))?;
        }
        self.console.update(used, loss)?;
        Ok(loss)
    }

    /// What follows from an epoch: metrics are recorded, judged and shown, and the run is saved.
    pub(crate) fn after_epoch(&mut self, epoch: u64, loss: f64) -> Result<(), Box<dyn Error>> {
        let validation = self.task.test(&self.model);
        let mut metrics = Metrics::new([loss, validation.loss, validation.accuracy()]);
        if let Some(average) = self.parts.average.as_ref().and_then(|average| average.model()) {
            let score = self.task.test(average);
            metrics.extend([("val_ema_loss".into(), score.loss), ("val_ema_accuracy".into(), score.accuracy())]);
        }
        activations::add(self.args, self.task, &self.model, &mut metrics)?;
        metrics.extend(self.time_limit.as_mut().map(TimeLimit::end_epoch));
        self.outputs.epoch(epoch, &metrics, &self.model, self.task)?;
        if let Some(history) = self.optimizer.history_mut() {
            history.epoch(epoch, &metrics.pairs())?;
        }
        let observation = self.observe(&metrics);
        if let Some(observation) = &observation {
            self.parts.best.keep(observation, &self.model);
        }
        self.save(epoch, &metrics)?;
        if let Some(used) = self.optimizer.last() {
            self.console.epoch(epoch, &used, &metrics)?;
        }
        self.say_what_was_reduced(epoch, observation)
    }

    /// Tells plateau and early stopping of the epoch.
    fn observe(&mut self, metrics: &Metrics) -> Option<Observation> {
        let value = |metric: &Option<String>| metrics.get(metric.as_deref()?);
        match (value(&self.monitors.plateau), value(&self.monitors.early_stopping)) {
            (None, None) => None,
            (Some(metric), None) | (None, Some(metric)) => Some(self.optimizer.observe(metric)),
            (Some(plateau), Some(early_stopping)) => Some(self.optimizer.observe_separately(plateau, early_stopping)),
        }
    }

    fn save(&mut self, epoch: u64, metrics: &Metrics) -> Result<(), Box<dyn Error>> {
        for models in &mut self.models {
            models.save(epoch, &metrics.pairs(), &self.model, &self.optimizer)?;
        }
        if let Some(file) = &self.args.checkpoint {
            Checkpoint::write_with(file, &self.model, &self.optimizer, &self.parts.all())?;
        }
        Ok(())
    }

    fn say_what_was_reduced(&self, epoch: u64, observation: Option<Observation>) -> Result<(), Box<dyn Error>> {
        let factor = observation.and_then(|observation| observation.scaled);
        if let (Some(factor), Some(metric)) = (factor, &self.monitors.plateau) {
            let (epoch, lr) = (epoch + 1, self.optimizer.lr());
            let text = format!("epoch {epoch}: {metric} no longer improves: rate times {factor}, next {lr:.2e}");
            self.console.say(&text)?;
        }
        Ok(())
    }
}
