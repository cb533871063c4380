//! Trains a classifier on real handwritten digits with a cyclic Adam.
//!
//! ```text
//! cargo run --release --example digits
//! cargo run --release --example digits -- --config examples/configs/triangular2.toml --epochs 8
//! cargo run --release --example digits -- --seeds 10
//! cargo run --release --example digits -- --auto
//! ```
//!
//! Look at how the learning rate rises and falls while the momentum does the opposite, and at the accuracy at the end.

mod support;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use cyclic_optim::{Adam, RunLength};
use dfdx::optim::AdamConfig;
use support::digits::{Data, Runs, Task, choose, summary};
use support::output::say;

/// Train a classifier on handwritten digits with a learning-rate schedule inside the optimizer.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    runs: Runs,
    /// Schedule config, JSON or TOML [default: one cycle up to 0.02, momentum 0.95 to 0.85, over the whole run].
    #[arg(long)]
    config: Option<PathBuf>,
    /// Choose the peak of the one cycle by short runs on clones; no rate is set by hand.
    #[arg(long, conflicts_with = "config")]
    auto: bool,
}

fn main() -> ExitCode {
    support::run(|args: Args| {
        let data = Data::read(&args.runs.run.data)?;
        run(&args, &data)
    })
}

fn run(args: &Args, data: &Data) -> Result<(), Box<dyn Error>> {
    let epochs = args.runs.run.epochs;
    let updates = u64::from(epochs) * data.batches_per_epoch();
    let given = match &args.config {
        Some(file) => support::config_file::read(file, &RunLength::new(data.batches_per_epoch(), epochs.into())?)?,
        None => support::config_file::one_cycle(updates)?,
    };
    let mut runs = Vec::new();
    for seed in args.runs.seeds() {
        let task = Task::new(data, seed);
        let config = if args.auto {
            choose(&task, &task.model(), &Adam::default(), updates, false)?.one_cycle()?.into()
        } else {
            given.clone()
        };
        let run = task.fit(epochs, AdamConfig::default(), config, |epoch, loss, used| {
            let momentum = used.momentum.map_or(String::new(), |momentum| format!("  momentum {momentum:.4}"));
            Ok(say!("epoch {:>3}/{epochs}  loss {loss:.4}  lr {:.2e}{momentum}", epoch + 1, used.lr)?)
        })?;
        say!(
            "seed {seed}: test accuracy {:.4} ({} of {}) after {updates} updates in {:.2} s",
            run.test.accuracy(),
            run.test.correct,
            run.test.of,
            run.time.as_secs_f64(),
        )?;
        runs.push(run);
    }
    if runs.len() > 1 {
        say!("{}", summary(&runs))?;
    }
    Ok(())
}
