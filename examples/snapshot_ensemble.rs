//! One training run, several models: a snapshot at the end of each cycle, their ensemble, and the average of their weights.
//!
//! ```text
//! cargo run --release --features full --example snapshot_ensemble -- --seeds 10
//! cargo run --release --features full --example snapshot_ensemble -- --out target/snapshots
//! ```
//!
//! Look at the last lines: the ensemble does better than its members, the average of weights need not.

mod support;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use cyclic_optim::adapters::dfdx::{SnapshotEnsemble, WeightAverage};
use cyclic_optim::checkpoint::RunPart;
use cyclic_optim::{Adam, Checkpoint, CyclicOptimizer};
use dfdx::prelude::{Cpu, ZeroGrads};
use support::digits::{Data, Mlp, Runs, Task, train_step};
use support::output::say;

/// Train a snapshot ensemble on the digits.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    runs: Runs,
    /// Number of cycles, and of snapshots.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    snapshots: u64,
    /// The rate that each cycle begins with.
    #[arg(long, default_value_t = 0.02)]
    max_lr: f64,
    /// Folder for the snapshots, as `snapshot-1.safetensors` and so on; created if it does not exist.
    #[arg(long)]
    out: Option<PathBuf>,
    /// File that the run is saved in after each cycle, and continued from if it exists; only for a single seed.
    #[arg(long, value_name = "FILE", conflicts_with = "seeds")]
    checkpoint: Option<PathBuf>,
}

fn main() -> ExitCode {
    support::run(|args: Args| {
        let data = Data::read(&args.runs.run.data)?;
        if let Some(folder) = &args.out {
            support::files::make_folder(folder)?;
            support::files::check_writable(folder)?;
        }
        let mut rows: Vec<Vec<(String, f64)>> = Vec::new();
        for seed in args.runs.seeds() {
            rows.push(run(&args, &data, seed)?);
        }
        match rows.len() {
            1 => say!("test accuracy:")?,
            seeds => say!("test accuracy, mean of {seeds} seeds:")?,
        }
        for (column, (name, _)) in rows[0].iter().enumerate() {
            let accuracy = mean(rows.iter().map(|row| row[column].1));
            say!("{name:<24} {accuracy:.4}")?;
        }
        Ok(())
    })
}

fn run(args: &Args, data: &Data, seed: u64) -> Result<Vec<(String, f64)>, Box<dyn Error>> {
    let updates = u64::from(args.runs.run.epochs) * data.batches_per_epoch();
    let schedule = support::flags::snapshots(args.max_lr, updates, args.snapshots)?;
    let task = Task::new(data, seed);
    let mut model = task.model();
    let mut grads = model.alloc_grads();
    let mut optimizer = CyclicOptimizer::try_new(Adam::default(), schedule)?;
    let (mut ensemble, mut average) = (SnapshotEnsemble::new(), WeightAverage::<_, f32, Cpu>::new());
    if let Some(file) = &args.checkpoint {
        let mut parts: [(&str, &mut dyn RunPart<Mlp>); 2] = [("ensemble", &mut ensemble), ("average", &mut average)];
        if let Some(update) = Checkpoint::resume_or_start(file, &mut model, &mut optimizer, &mut parts)? {
            say!("continuing after update {update} of {updates}")?;
        }
    }
    let (made, updates) = (usize::try_from(optimizer.iterations())?, usize::try_from(updates)?);
    for batch in task.all_batches().take(updates).skip(made) {
        let loss;
        (loss, grads) = train_step(&mut model, grads, batch);
        optimizer.apply(&mut model, &mut grads, loss)?;
        average.after_update(&optimizer, &model).map_err(|error| format!("{error:?}"))?;
        let Some(number) = ensemble.after_update(&optimizer, &model) else { continue };
        if let Some(folder) = &args.out {
            let path = folder.join(format!("snapshot-{}.safetensors", number + 1));
            Checkpoint::write_weights(path, &model)?;
        }
        if let Some(file) = &args.checkpoint {
            let parts: [(&str, &dyn RunPart<Mlp>); 2] = [("ensemble", &ensemble), ("average", &average)];
            Checkpoint::write_with(file, &model, &optimizer, &parts)?;
        }
    }
    let singles: Vec<f64> = ensemble.snapshots().iter().map(|snapshot| task.test(snapshot).accuracy()).collect();
    let mut row: Vec<(String, f64)> =
        singles.iter().enumerate().map(|(n, &accuracy)| (format!("snapshot {}", n + 1), accuracy)).collect();
    row.push(("mean of the snapshots".into(), mean(singles.iter().copied())));
    let all = ensemble.snapshots().len();
    row.push(("ensemble".into(), task.score(&ensemble.predict(all, &task.test_images())?).accuracy()));
    let verdict = average.verdict(ensemble.snapshots(), |model| task.test(model).loss)?;
    if let Some(model) = average.model() {
        row.push(("average of the weights".into(), task.test(model).accuracy()));
    }
    if verdict.hurts() {
        say!("seed {seed}: averaging the weights hurts: loss {:.3}, parts {:.3?}", verdict.average, verdict.parts)?;
    }
    Ok(row)
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}
