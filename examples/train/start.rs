//! How a run begins, or goes on where it was interrupted.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Instant;

use cyclic_optim::adapters::dfdx::{InPlace, Saved, named_parameters};
use cyclic_optim::checkpoint::RunPart;
use cyclic_optim::range_test::{LossCurve, PeakChoice};
use cyclic_optim::{Checkpoint, CheckpointError, ClrConfig, CyclicOptimizer, History, Hyperparameters, Smoothing};
use dfdx::prelude::Cpu;

use crate::args::{Arguments, Monitors};
use crate::console::Console;
use crate::models::{self, model_checkpoints};
use crate::outputs::Outputs;
use crate::parts::{Parts, saved_choice};
use crate::run::Run;
use crate::support::digits::{Data, Mlp, Task, careful_range, choose};
use crate::support::output::say;
use crate::support::problem::sweep;
use crate::support::review;
use crate::time_limit::TimeLimit;

impl<'a, O> Run<'a, O>
where
    O: Saved<f32, Cpu> + InPlace<Mlp, Cpu, f32> + Hyperparameters,
{
    /// Begins a run, or continues the one in the checkpoint.
    pub(crate) fn start(
        args: &'a Arguments,
        task: &'a Task<'a>,
        batches: u64,
        inner: O,
    ) -> Result<Self, Box<dyn Error>> {
        let (started, epochs) = (Instant::now(), u64::from(args.run.epochs));
        let mut model = task.model();
        let (config, monitors, found) = config(args, task, batches, &model, &inner)?;
        let (choice, sweep) = match found {
            Found::Nothing => (None, None),
            Found::Sweep(curve, smoothing) => (None, Some((curve, smoothing))),
            Found::Peak(choice) => (Some(choice), None),
        };
        let names: Vec<String> = named_parameters::<_, f32, Cpu>(&model).into_iter().map(|(name, _)| name).collect();
        config.groups().check_names(&names)?;
        review::print(args.review(epochs * batches, batches)?, &config);
        let mut optimizer = CyclicOptimizer::try_new(inner, config.clone())?.with_history(History::new());
        let mut parts = Parts::new(args.ema, choice)?;
        let mut continued_from = None;
        if let Some(file) = &args.checkpoint {
            let with_changes = args.continue_with_changes;
            let update = continue_or_start(file, with_changes, &mut model, &mut optimizer, &mut parts.all_mut())?;
            if let Some(update) = update {
                let recorded = optimizer.history().map_or(0, |history| history.epochs().len() as u64);
                check_epochs(file, recorded, update, batches)?;
                say!("continuing after update {update} (epoch {} of {epochs})", update / batches)?;
            }
            continued_from = update.map(|update| (update, update / batches));
        }
        let outputs = Outputs::open(args, &config, continued_from).inspect_err(|_| {
            // Otherwise the next start would continue this run, and cut the logs of another one that were refused.
            let file = args.checkpoint.as_ref().filter(|_| continued_from.is_none());
            file.map(fs::remove_file);
        })?;
        let mut models = model_checkpoints(&args.model_checkpoint)?;
        if let Some(history) = optimizer.history() {
            models::replay(&mut models, history, batches)?;
        }
        let console = Console::new(args.progress, &config, epochs, batches);
        let time_limit = args.max_time.map(TimeLimit::new);
        Ok(Self {
            args,
            task,
            batches,
            epochs,
            model,
            optimizer,
            monitors,
            parts,
            console,
            outputs,
            models,
            time_limit,
            sweep,
            started,
            continued: continued_from.is_some_and(|(update, _)| update > 0),
        })
    }
}

/// What the rates were chosen by.
enum Found {
    Nothing,
    /// The losses of a range test, and their smoothing.
    Sweep(LossCurve, Smoothing),
    Peak(PeakChoice),
}

/// The config of the run, with the rates that a range test or trials have found, if one was asked for.
fn config<O>(
    args: &Arguments,
    task: &Task,
    batches: u64,
    model: &Mlp,
    inner: &O,
) -> Result<(ClrConfig, Monitors, Found), Box<dyn Error>>
where
    O: Clone + InPlace<Mlp, Cpu, f32> + Hyperparameters,
{
    // What is wrong with the options comes out before the range test, too.
    let (config, monitors) = args.config(batches, None)?;
    if args.range_test {
        let (curve, smoothing) = sweep::<Data, _>(model, task.all_batches(), inner)?;
        let (base_lr, max_lr) = careful_range(&curve.smoothed(&smoothing))?;
        let base_lr = base_lr.min(max_lr / 4.0);
        say!("range test: base_lr {base_lr:.2e}, max_lr {max_lr:.2e}")?;
        let config = args.config(batches, Some((base_lr, max_lr)))?.0;
        return Ok((config, monitors, Found::Sweep(curve, smoothing)));
    }
    if args.auto {
        let choice = match saved_choice(args)? {
            Some(saved) => saved,
            None => choose(task, model, inner, u64::from(args.run.epochs) * batches, args.progress)?,
        };
        let found = (choice.peak / 20.0, choice.peak);
        return Ok((args.config(batches, Some(found))?.0, monitors, Found::Peak(choice)));
    }
    Ok((config, monitors, Found::Nothing))
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
        if with_changes && same_optimizer {
            // Parts may differ, too: an average of the weights, and the choice of a peak.
            saved.restore_as_with(model, optimizer, parts).map_err(in_file)?;
            if !differences.is_empty() {
                // Early stopping has judged the run with the old options.
                optimizer.resume();
            }
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

/// Refuses a run that was made from other data: its epochs have another number of updates.
fn check_epochs(file: &Path, recorded: u64, update: u64, batches: u64) -> Result<(), String> {
    if recorded * batches == update {
        return Ok(());
    }
    let problem = format!("{recorded} epochs have {update} updates there, and one epoch has {batches} here");
    Err(format!("{}: saved with other --data or --validation-split: {problem}", file.display()))
}
