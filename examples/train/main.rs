//! A whole training program, with every feature of the crate on a flag.
//!
//! ```text
//! cargo run --release --features full --example train -- --help
//! cargo run --release --features full --example train -- --range-test --policy triangular2 --progress
//! cargo run --release --features full --example train -- --optimizer sgd --tensorboard target/board --plot target/plots \
//!     --checkpoint target/train.safetensors --early-stopping --early-stopping-restore-best-weights
//! ```
//!
//! Look at the loop in `Training::epoch`: there is no callback list in it, and no second `step()`.

mod args;
mod outputs;
#[path = "../support/mod.rs"]
mod support;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use args::{Arguments, Kind, Monitors};
use cyclic_optim::adapters::dfdx::{DeadRelus, InPlace, Saved, SnapshotEnsemble};
use cyclic_optim::checkpoint::RunPart;
use cyclic_optim::feedback::{Observation, Stop};
use cyclic_optim::history::Recorder;
use cyclic_optim::range_test::PeakChoice;
use cyclic_optim::training::BestWeights;
use cyclic_optim::{
    Adam, Checkpoint, CheckpointError, CyclicOptimizer, History, Hyperparameters, ModelCheckpoint, RMSprop, Sgd,
};
use dfdx::optim::{Momentum, RMSpropConfig, SgdConfig};
use dfdx::prelude::{Cpu, ZeroGrads};
use dfdx::tensor::Gradients;
use outputs::{Console, Metrics, Outputs, model_checkpoint};
use support::digits::{Data, Mlp, Task, careful_range, choose, sweep, train_step};
use support::output::say;
use support::{files, pictures, review};

fn main() -> ExitCode {
    support::run(|args: Arguments| {
        args.check()?;
        outputs::check(&args)?;
        let data = Data::read(&args.run.data)?;
        match args.optimizer {
            Kind::Adam => train(&args, &data, Adam::default()),
            Kind::Sgd => {
                let momentum = Some(Momentum::Classic(args.momentum()));
                train(&args, &data, Sgd::new(SgdConfig { momentum, ..Default::default() }))
            }
            Kind::Rmsprop => {
                let momentum = Some(args.momentum());
                train(&args, &data, RMSprop::new(RMSpropConfig { momentum, ..Default::default() }))
            }
        }
    })
}

fn train<O>(args: &Arguments, data: &Data, inner: O) -> Result<(), Box<dyn Error>>
where
    O: Saved<f32, Cpu> + InPlace<Mlp, Cpu, f32> + Hyperparameters,
{
    let split = data.hold_out(args.validation_split).map_err(|error| format!("--validation-split: {error}"))?;
    let mut training = Training::start(args, &split, inner)?;
    let mut grads = training.model.alloc_grads();
    for epoch in training.next_epoch()..training.epochs {
        if training.optimizer.stopped().is_some() {
            break;
        }
        grads = training.epoch(epoch, grads)?;
    }
    training.finish(&Task::new(data, args.run.seed))
}

/// A run, and all that stands beside it.
struct Training<'a, O> {
    args: &'a Arguments,
    /// What to learn from, and the validation images.
    task: Task<'a>,
    batches: u64,
    epochs: u64,
    model: Mlp,
    optimizer: CyclicOptimizer<O>,
    monitors: Monitors,
    best: BestWeights<Mlp>,
    ensemble: SnapshotEnsemble<Mlp>,
    choice: Option<PeakChoice>,
    console: Console,
    outputs: Outputs,
    keep: Option<ModelCheckpoint>,
}

impl<'a, O> Training<'a, O>
where
    O: Saved<f32, Cpu> + InPlace<Mlp, Cpu, f32> + Hyperparameters,
{
    /// Begins a run, or continues the one in the checkpoint.
    fn start(args: &'a Arguments, split: &'a Data, inner: O) -> Result<Self, Box<dyn Error>> {
        let task = Task::new(split, args.run.seed);
        let (epochs, batches) = (u64::from(args.run.epochs), split.batches_per_epoch());
        let mut model = task.model();
        // What is wrong with the options comes out before the range test, too.
        let (mut config, monitors) = args.config(batches, None)?;
        if args.range_test {
            config = args.config(batches, Some(find_range(&task, &model, &inner)?))?.0;
        }
        let mut choice = None;
        if args.auto {
            let found = match saved_choice(args)? {
                Some(saved) => saved,
                None => choose(&task, &model, &inner, epochs * batches, args.progress)?,
            };
            config = args.config(batches, Some((found.peak / 20.0, found.peak)))?.0;
            choice = Some(found);
        }
        review::print(args.review(epochs * batches, batches)?, &config);
        let mut optimizer = CyclicOptimizer::try_new(inner, config.clone())?.with_history(History::new());
        let (mut best, mut ensemble) = (BestWeights::new(), SnapshotEnsemble::new());
        let mut continued_from = None;
        if let Some(file) = &args.checkpoint {
            let mut parts: Vec<(&str, &mut dyn RunPart<Mlp>)> = vec![("best", &mut best), ("ensemble", &mut ensemble)];
            parts.extend(choice.as_mut().map(|choice| ("choice", choice as &mut dyn RunPart<Mlp>)));
            let update = continue_or_start(file, args.continue_with_changes, &mut model, &mut optimizer, &mut parts)?;
            continued_from = update.map(|update| (update, update / batches));
        }
        if let Some((update, epoch)) = continued_from {
            let recorded = optimizer.history().map_or(0, |history| history.epochs().len() as u64);
            if (recorded, epoch * batches) != (epoch, update) {
                let problem =
                    format!("{recorded} epochs have {update} updates there, and one epoch has {batches} here");
                let file = args.checkpoint.as_deref().unwrap_or(Path::new("")).display();
                return Err(format!("{file}: saved with other --data or --validation-split: {problem}").into());
            }
            say!("continuing after update {update} (epoch {epoch} of {epochs})")?;
        }
        let outputs = Outputs::open(args, &config, continued_from)?;
        let keep = model_checkpoint(&args.model_checkpoint, optimizer.history())?;
        let console = Console::new(args.progress, &config, epochs, batches);
        Ok(Self {
            args,
            task,
            batches,
            epochs,
            model,
            optimizer,
            monitors,
            best,
            ensemble,
            choice,
            console,
            outputs,
            keep,
        })
    }

    /// Epochs that have been made.
    fn next_epoch(&self) -> u64 {
        self.optimizer.iterations() / self.batches
    }

    /// One epoch of training, and what follows from it.
    fn epoch(&mut self, epoch: u64, mut grads: Gradients<f32, Cpu>) -> Result<Gradients<f32, Cpu>, Box<dyn Error>> {
        let (mut sum, mut count) = (0.0, 0.0);
        for batch in self.task.batches(epoch) {
            let loss;
            (loss, grads) = train_step(&mut self.model, grads, batch);
            let used = self.optimizer.apply(&mut self.model, &mut grads, loss)?;
            self.outputs.update(&used, loss.into())?;
            self.ensemble.after_update(&self.optimizer, &self.model);
            self.console.update(&used, loss.into())?;
            (sum, count) = (sum + f64::from(loss), count + 1.0);
        }
        let validation = self.task.test(&self.model);
        let metrics = [("loss", sum / count), ("val_loss", validation.loss), ("val_accuracy", validation.accuracy())];
        self.outputs.epoch(epoch, &metrics, &self.model)?;
        if let Some(history) = self.optimizer.history_mut() {
            history.epoch(epoch, &metrics)?;
        }
        let observation = self.observe(&metrics);
        if let Some(observation) = &observation {
            self.best.keep(observation, &self.model);
        }
        self.save(epoch, &metrics)?;
        let lr = self.optimizer.last().map_or(f64::NAN, |used| used.lr);
        self.console.epoch(epoch, lr, &metrics)?;
        if let (Some(factor), Some(metric)) = (observation.and_then(|o| o.scaled), &self.monitors.plateau) {
            let (epoch, lr) = (epoch + 1, self.optimizer.lr());
            let text = format!("epoch {epoch}: {metric} no longer improves: rate times {factor}, next {lr:.2e}");
            self.console.say(&text)?;
        }
        Ok(grads)
    }

    fn save(&mut self, epoch: u64, metrics: &Metrics) -> Result<(), Box<dyn Error>> {
        if let Some(keep) = &mut self.keep {
            keep.save(epoch, metrics, &self.model, &self.optimizer)?;
        }
        if let Some(file) = &self.args.checkpoint {
            let mut parts: Vec<(&str, &dyn RunPart<Mlp>)> = vec![("best", &self.best), ("ensemble", &self.ensemble)];
            parts.extend(self.choice.as_ref().map(|choice| ("choice", choice as &dyn RunPart<Mlp>)));
            Checkpoint::write_with(file, &self.model, &self.optimizer, &parts)?;
        }
        Ok(())
    }

    /// Tells plateau and early stopping of the epoch.
    fn observe(&mut self, metrics: &Metrics) -> Option<Observation> {
        let value = |metric: &Option<String>| {
            let metric = metric.as_ref()?;
            metrics.iter().find(|(name, _)| name == metric).map(|(_, value)| *value)
        };
        match (value(&self.monitors.plateau), value(&self.monitors.early_stopping)) {
            (None, None) => None,
            (Some(metric), None) | (None, Some(metric)) => Some(self.optimizer.observe(metric)),
            (Some(plateau), Some(early_stopping)) => Some(self.optimizer.observe_separately(plateau, early_stopping)),
        }
    }

    /// What is left to do and to say when the last epoch is over.
    fn finish(mut self, test: &Task) -> Result<(), Box<dyn Error>> {
        self.console.finish()?;
        self.say_why_it_stopped()?;
        if self.args.early_stopping.early_stopping_restore_best_weights {
            if let Some(best) = self.best.get() {
                self.model = best.clone();
                say!("restored the weights of the best epoch{}", self.best_epoch())?;
            }
        }
        if self.args.dead_relu {
            let mut relus = DeadRelus::new();
            for (images, _) in self.task.batches(0) {
                relus.watch(&self.model, images).map_err(|error| format!("{error:?}"))?;
            }
            for layer in relus.report() {
                say!("{layer}")?;
            }
        }
        if let (Some(folder), Some(history)) = (&self.args.plot, self.optimizer.history()) {
            pictures::draw(history, folder)?;
            if let Some(choice) = &self.choice {
                files::write(&folder.join("choice.svg"), choice.to_svg()?)?;
            }
        }
        if self.args.snapshots.is_some() {
            say_ensemble(test, &self.ensemble)?;
        }
        let updates = self.optimizer.iterations();
        let score = test.test(&self.model);
        self.outputs.finish()?;
        let (accuracy, correct, of) = (score.accuracy(), score.correct, score.of);
        Ok(say!("test accuracy {accuracy:.4} ({correct} of {of}) after {updates} updates")?)
    }

    fn say_why_it_stopped(&self) -> Result<(), Box<dyn Error>> {
        let (epoch, update) = (self.next_epoch(), self.optimizer.iterations());
        let metric = self.monitors.early_stopping.as_deref().unwrap_or("the metric");
        match self.optimizer.stopped() {
            None => {}
            Some(Stop::NoImprovement) => {
                let wait = self.optimizer.state().early_stopping.wait;
                let epochs = if wait == 1 { "epoch" } else { "epochs" };
                say!(
                    "stopped early after epoch {epoch} (update {update}): no improvement of {metric} in {wait} {epochs}"
                )?;
            }
            Some(reason) => say!("stopped after epoch {epoch} (update {update}): {reason:?}")?,
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
}

/// Continues the run in a checkpoint, or saves a new one there; says at which update it goes on.
fn continue_or_start<O>(
    file: &Path,
    with_changes: bool,
    model: &mut Mlp,
    optimizer: &mut CyclicOptimizer<O>,
    parts: &mut [(&str, &mut dyn RunPart<Mlp>)],
) -> Result<Option<u64>, Box<dyn Error>>
where
    O: Saved<f32, Cpu> + Hyperparameters,
{
    if file.exists() {
        let saved = Checkpoint::read(file)?;
        let in_file = |error| format!("{}: {error}", file.display());
        let differences = saved.differences(optimizer).map_err(in_file)?;
        // Another optimizer has other moments, which no flag makes fit.
        let same_optimizer = differences.iter().all(|difference| difference.field != "optimizer");
        if with_changes && same_optimizer && !differences.is_empty() {
            saved.restore_as_with(model, optimizer, parts).map_err(in_file)?;
            // Early stopping has judged the run with the old options.
            optimizer.resume();
            return Ok(Some(optimizer.iterations()));
        }
        if !differences.is_empty() {
            let how =
                if same_optimizer { "; to continue with the present options add --continue-with-changes" } else { "" };
            return Err((in_file(CheckpointError::OtherConfig(differences)) + how).into());
        }
    }
    Ok(Checkpoint::resume_or_start(file, model, optimizer, parts)?)
}

/// The choice of the run in the checkpoint, if there is one to continue.
fn saved_choice(args: &Arguments) -> Result<Option<PeakChoice>, Box<dyn Error>> {
    let Some(file) = args.checkpoint.as_ref().filter(|file| file.exists()) else { return Ok(None) };
    match Checkpoint::read(file)?.peak_choice() {
        Some(choice) => Ok(Some(choice.clone())),
        None => Err(format!("{}: saved without --auto", file.display()).into()),
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

/// Rates between which the network learns.
fn find_range<O>(task: &Task, model: &Mlp, inner: &O) -> Result<(f64, f64), Box<dyn Error>>
where
    O: Clone + InPlace<Mlp, Cpu, f32> + Hyperparameters,
{
    let (base_lr, max_lr) = careful_range(&sweep(task, model, inner)?)?;
    let base_lr = base_lr.min(max_lr / 4.0);
    say!("range test: base_lr {base_lr:.2e}, max_lr {max_lr:.2e}")?;
    Ok((base_lr, max_lr))
}
