//! What is left to do and to say when the last epoch is over.

use std::error::Error;

use cyclic_optim::Hyperparameters;
use cyclic_optim::adapters::dfdx::{Saved, SnapshotEnsemble};
use cyclic_optim::feedback::Stop;
use dfdx::prelude::Cpu;

use crate::activations::dead_units;
use crate::run::Run;
use crate::support::digits::{Mlp, Task};
use crate::support::output::say;
use crate::support::{files, pictures};

impl<O> Run<'_, O>
where
    O: Saved<f32, Cpu> + Hyperparameters,
{
    /// Says why the run has ended, writes what is written once, and tests the model; `test` has the test images.
    pub(crate) fn finish(mut self, test: &Task) -> Result<(), Box<dyn Error>> {
        self.console.finish()?;
        if let Some(why) = self.why_it_stopped() {
            let (epoch, update) = (self.next_epoch(), self.optimizer.iterations());
            say!("stopped early after epoch {epoch} (update {update}): {why}")?;
        }
        self.restore_best_weights()?;
        self.say_dead_units()?;
        self.draw()?;
        if self.args.snapshots.is_some() {
            say_ensemble(test, &self.parts.ensemble)?;
        }
        if let Some(average) = self.parts.average.as_ref().and_then(|average| average.model()) {
            say!("test accuracy of the averaged weights {:.4}", test.test(average).accuracy())?;
        }
        let updates = self.optimizer.iterations();
        let score = test.test(&self.model);
        self.report(score.accuracy())?;
        self.outputs.finish()?;
        let (accuracy, correct, of) = (score.accuracy(), score.correct, score.of);
        Ok(say!("test accuracy {accuracy:.4} ({correct} of {of}) after {updates} updates")?)
    }

    /// Why the run has ended before its last epoch, if it has.
    pub(crate) fn why_it_stopped(&self) -> Option<String> {
        let metric = self.monitors.early_stopping.as_deref().unwrap_or("the metric");
        let no_improvement = |metric: &str, wait: u64| {
            let epochs = if wait == 1 { "epoch" } else { "epochs" };
            format!("no improvement of {metric} in {wait} {epochs}")
        };
        Some(match self.optimizer.stopped() {
            None => match (self.hopeless(), self.time_is_up()) {
                (Some(metric), _) => no_improvement(metric, self.args.early_stopping.patience()),
                (None, Some(sentence)) if self.next_epoch() < self.epochs => sentence,
                (None, _) => return None,
            },
            Some(Stop::NoImprovement) => no_improvement(metric, self.optimizer.state().early_stopping.wait),
            Some(Stop::ThresholdReached) => {
                let reached = self.optimizer.config().early_stopping().and_then(|rule| rule.threshold());
                let values = self.optimizer.history().and_then(|history| history.epochs().values(metric));
                let last = values.and_then(|values| values.last().copied());
                format!("{metric} reached {}, with {:.4}", reached.unwrap_or(f64::NAN), last.unwrap_or(f64::NAN))
            }
            Some(reason) => format!("{reason:?}"),
        })
    }

    fn restore_best_weights(&mut self) -> Result<(), Box<dyn Error>> {
        if self.args.early_stopping.early_stopping_restore_best_weights {
            if let Some(best) = self.parts.best.get() {
                self.model = best.clone();
                say!("restored the weights of the best epoch{}", self.best_epoch())?;
            }
        }
        Ok(())
    }

    /// The epoch with the best metric, and the metric.
    fn best_epoch(&self) -> String {
        let found = || {
            let metric = self.monitors.early_stopping.as_deref()?;
            let best = self.optimizer.state().early_stopping.best?;
            let values = self.optimizer.history()?.epochs().values(metric)?;
            let epoch = values.iter().position(|value| value.to_bits() == best.to_bits())? + 1;
            Some(format!(", {epoch} ({metric} {best:.4})"))
        };
        found().unwrap_or_default()
    }

    fn say_dead_units(&self) -> Result<(), Box<dyn Error>> {
        if self.args.dead_relu {
            for layer in dead_units(self.task, &self.model)?.report() {
                say!("{layer}")?;
            }
        }
        Ok(())
    }

    fn draw(&self) -> Result<(), Box<dyn Error>> {
        if let (Some(folder), Some(history)) = (&self.args.plot, self.optimizer.history()) {
            pictures::draw(history, folder)?;
            for statistic in ["activation_mean", "activation_std", "activation_zeros", "dead_share"] {
                let of_layer = |name: &str| name.strip_prefix(statistic).is_some_and(|rest| rest.starts_with('/'));
                if history.epochs().names().any(of_layer) {
                    files::write(&folder.join(format!("{statistic}.svg")), history.epochs_to_svg(statistic)?)?;
                }
            }
            if let Some(choice) = &self.parts.choice {
                files::write(&folder.join("choice.svg"), choice.to_svg()?)?;
            }
        }
        Ok(())
    }
}

fn say_ensemble(test: &Task, ensemble: &SnapshotEnsemble<Mlp>) -> Result<(), Box<dyn Error>> {
    for (n, snapshot) in ensemble.snapshots().iter().enumerate() {
        say!("snapshot {}: test accuracy {:.4}", n + 1, test.test(snapshot).accuracy())?;
    }
    let all = ensemble.snapshots().len();
    if all == 0 {
        return Ok(say!("no cycle has ended: there are no snapshots")?);
    }
    let probabilities = ensemble.predict(all, &test.test_images())?;
    Ok(say!("ensemble of {all}: test accuracy {:.4}", test.score(&probabilities).accuracy())?)
}
