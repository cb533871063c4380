//! A whole training program, with every feature of the crate on a flag.
//!
//! ```text
//! cargo run --release --features full --example train -- --help
//! cargo run --release --features full --example train -- --range-test --policy triangular2 --progress
//! cargo run --release --features full --example train -- --optimizer sgd --tensorboard target/board --plot target/plots \
//!     --checkpoint target/train.safetensors --early-stopping --early-stopping-restore-best-weights
//! ```
//!
//! Look at the loop in `fit`: there is no callback list in it, and no second `step()`.

mod args;
mod outputs;
#[path = "../support/mod.rs"]
mod support;

use std::error::Error;
use std::process::ExitCode;

use args::{Arguments, Kind};
use clap::Parser;
use cyclic_optim::adapters::dfdx::{BestWeights, Checkpoint, DeadRelus, InPlace, Saved, SnapshotEnsemble};
use cyclic_optim::history::TrainingBar;
use cyclic_optim::{Adam, CyclicOptimizer, History, Hyperparameters, RMSprop, Sgd};
use dfdx::optim::{Momentum, RMSpropConfig, SgdConfig};
use dfdx::prelude::{Cpu, ZeroGrads};
use outputs::{Outputs, model_checkpoint};
use support::digits::{Data, Mlp, Task, careful_range, sweep, train_step, with_pixels};
use support::{files, pictures};

fn main() -> ExitCode {
    support::exit_code(|| {
        let args = Arguments::parse();
        let data = Data::read(&args.run.data)?;
        with_pixels!(data, run(&args, &data))
    })
}

fn run<const PIXELS: usize>(args: &Arguments, data: &Data) -> Result<(), Box<dyn Error>> {
    let task = Task::<PIXELS>::new(data, args.run.seed);
    match args.optimizer {
        Kind::Adam => fit(args, &task, data, Adam::default()),
        Kind::Sgd => {
            let momentum = Some(Momentum::Classic(args.momentum));
            fit(args, &task, data, Sgd::new(SgdConfig { momentum, ..Default::default() }))
        }
        Kind::Rmsprop => {
            let momentum = Some(args.momentum);
            fit(args, &task, data, RMSprop::new(RMSpropConfig { momentum, ..Default::default() }))
        }
    }
}

fn fit<O, const PIXELS: usize>(
    args: &Arguments,
    task: &Task<PIXELS>,
    data: &Data,
    inner: O,
) -> Result<(), Box<dyn Error>>
where
    O: Saved<f32, Cpu> + InPlace<Mlp<PIXELS>, Cpu, f32> + Hyperparameters,
{
    let (epochs, batches) = (u64::from(args.run.epochs), data.batches_per_epoch());
    let mut model = task.model();
    let found = if args.range_test { Some(find_range(task, &model, &inner)?) } else { None };
    let config = args.config(batches, found)?;
    let mut optimizer = CyclicOptimizer::try_new(inner, config.clone())?.with_history(History::new());
    if let Some(file) = args.checkpoint.as_ref().filter(|file| file.exists()) {
        Checkpoint::read(file)?.restore(&mut model, &mut optimizer)?;
        println!("continuing from update {}", optimizer.iterations());
    }
    let first = optimizer.iterations() / batches;
    let mut outputs = Outputs::open(args, &config, optimizer.iterations(), first)?;
    let mut keep = model_checkpoint(&args.model_checkpoint, optimizer.history())?;
    let (mut best, mut ensemble, mut relus) = (BestWeights::new(), SnapshotEnsemble::new(), DeadRelus::new());
    let bar = args.progress.then(|| TrainingBar::new(epochs, batches));
    if let Some(folder) = &args.plot {
        files::make_folder(folder)?;
    }

    let mut grads = model.alloc_grads();
    for epoch in first..epochs {
        if optimizer.stopped().is_some() {
            break;
        }
        let (mut sum, mut count) = (0.0, 0.0);
        for batch in task.batches(epoch) {
            let loss;
            (loss, grads) = train_step(&mut model, grads, batch);
            let used = optimizer.apply(&mut model, &mut grads, loss)?;
            outputs.update(&used, loss.into())?;
            ensemble.after_update(&optimizer, &model);
            if let Some(bar) = &bar {
                bar.update(&optimizer, loss.into());
            }
            (sum, count) = (sum + f64::from(loss), count + 1.0);
        }
        let test = task.test(&model);
        let metrics = [("loss", sum / count), ("val_loss", test.loss), ("val_accuracy", test.accuracy())];
        outputs.epoch(epoch, &metrics, &model)?;
        if let Some(history) = optimizer.history_mut() {
            history.record_epoch(epoch, &metrics);
        }
        if let Some(monitor) = args.monitor() {
            let known = metrics.iter().find(|(name, _)| *name == monitor);
            let (_, value) = known.ok_or_else(|| format!("there is no metric {monitor:?} to monitor"))?;
            let observation = optimizer.observe(*value);
            best.keep(&observation, &model);
            if let Some(scale) = observation.scaled {
                println!("epoch {}: the rate is scaled by {scale}", epoch + 1);
            }
        }
        if let Some(keep) = &mut keep {
            keep.save(epoch, &metrics, &model, &optimizer)?;
        }
        if let Some(file) = &args.checkpoint {
            Checkpoint::write(file, &model, &optimizer)?;
        }
        if bar.is_none() {
            let [(_, loss), (_, val_loss), (_, accuracy)] = metrics;
            println!(
                "epoch {:>3}/{epochs}  loss {loss:.4}  val_loss {val_loss:.4}  val_accuracy {accuracy:.4}",
                epoch + 1
            );
        }
    }
    if let Some(bar) = bar {
        bar.finish();
    }
    outputs.finish();

    if let Some(stop) = optimizer.stopped() {
        println!("stopped after update {}: {stop:?}", optimizer.iterations());
    }
    if args.early_stopping.early_stopping_restore_best_weights {
        match best.into_inner() {
            Some(best) => model = best,
            None => println!("no epoch of this session was the best so far: the last weights stay"),
        }
    }
    if args.dead_relu {
        for (images, _) in task.batches(0) {
            relus.watch(&model, images).map_err(|error| format!("{error:?}"))?;
        }
        relus.report().iter().for_each(|layer| println!("{layer}"));
    }
    if let (Some(folder), Some(history)) = (&args.plot, optimizer.history()) {
        pictures::draw(history, folder)?;
    }
    if args.snapshots.is_some() {
        print_ensemble(task, &ensemble, first > 0)?;
    }
    let test = task.test(&model);
    println!(
        "test accuracy {:.4} ({} of {}) after {} updates",
        test.accuracy(),
        test.correct,
        test.of,
        optimizer.iterations()
    );
    Ok(())
}

fn print_ensemble<const PIXELS: usize>(
    task: &Task<PIXELS>,
    ensemble: &SnapshotEnsemble<Mlp<PIXELS>>,
    continued: bool,
) -> Result<(), Box<dyn Error>> {
    for (n, snapshot) in ensemble.snapshots().iter().enumerate() {
        println!("snapshot {}: test accuracy {:.4}", n + 1, task.test(snapshot).accuracy());
    }
    let all = ensemble.snapshots().len();
    if all == 0 {
        println!("no cycle has ended in this session: there are no snapshots");
        return Ok(());
    }
    let probabilities = ensemble.predict(all, &task.test_images())?;
    println!("ensemble of {all}: test accuracy {:.4}", task.score(&probabilities).accuracy());
    if continued {
        println!("(snapshots taken before the run was continued are not in it)");
    }
    Ok(())
}

/// Rates between which the network learns.
fn find_range<O, const PIXELS: usize>(
    task: &Task<PIXELS>,
    model: &Mlp<PIXELS>,
    inner: &O,
) -> Result<(f64, f64), Box<dyn Error>>
where
    O: Clone + InPlace<Mlp<PIXELS>, Cpu, f32> + Hyperparameters,
{
    let (base_lr, max_lr) = careful_range(&sweep(task, model, inner)?)?;
    let base_lr = base_lr.min(max_lr / 4.0);
    println!("range test: base_lr {base_lr:.2e}, max_lr {max_lr:.2e}");
    Ok((base_lr, max_lr))
}
