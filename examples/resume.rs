//! Trains on the digits. The program can be killed at any moment, and then continues from its last checkpoint: the model at
//! the end has the same bytes as without the interruption.
//!
//! ```text
//! cargo run --release --features full --example resume -- --checkpoint target/run.safetensors --stop-after 400
//! cargo run --release --features full --example resume -- --checkpoint target/run.safetensors
//! ```
//!
//! Look at the update that the second command begins with.

mod support;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use cyclic_optim::{Adam, Checkpoint, CyclicOptimizer, History};
use dfdx::prelude::ZeroGrads;
use support::digits::{Data, Run, Task, train_step};
use support::files;
use support::output::say;

/// Train on the digits, save checkpoints, and continue from the last one.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    run: Run,
    /// File that the run is saved in, and continued from if it exists.
    #[arg(long)]
    checkpoint: PathBuf,
    /// Updates between two checkpoints.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    save_every: u64,
    /// Save and stop after this number of updates of the whole run.
    #[arg(long)]
    stop_after: Option<u64>,
    /// Where the trained weights go [default: beside the checkpoint, as `<name>.model.safetensors`].
    #[arg(long)]
    model: Option<PathBuf>,
}

fn main() -> ExitCode {
    support::run(|args: Args| {
        let data = Data::read(&args.run.data)?;
        run(&args, &data)
    })
}

fn run(args: &Args, data: &Data) -> Result<(), Box<dyn Error>> {
    let path = args.model.clone().unwrap_or_else(|| args.checkpoint.with_extension("model.safetensors"));
    if args.model.is_some() && files::same(&path, &args.checkpoint) {
        return Err(format!("{}: --model and --checkpoint cannot be the same file", path.display()).into());
    }
    let batches = data.batches_per_epoch();
    let updates = u64::from(args.run.epochs) * batches;
    let config = support::config_file::one_cycle(updates)?;
    let task = Task::new(data, args.run.seed);
    let mut model = task.model();
    let mut optimizer = CyclicOptimizer::try_new(Adam::default(), config)?.with_history(History::new());
    if let Some(update) = Checkpoint::resume_or_start(&args.checkpoint, &mut model, &mut optimizer, &mut [])? {
        say!("continuing after update {update} of {updates}")?;
    }
    let mut grads = model.alloc_grads();
    let end = args.stop_after.map_or(updates, |stop| stop.min(updates));
    while optimizer.iterations() < end {
        let (epoch, place) = (optimizer.iterations() / batches, optimizer.iterations() % batches);
        for batch in task.batches(epoch).skip(usize::try_from(place)?) {
            let loss;
            (loss, grads) = train_step(&mut model, grads, batch);
            optimizer.apply(&mut model, &mut grads, loss)?;
            let iterations = optimizer.iterations();
            if iterations % args.save_every == 0 || iterations == end {
                Checkpoint::write(&args.checkpoint, &model, &optimizer)?;
            }
            if iterations == end {
                break;
            }
        }
    }
    if end < updates {
        say!("stopped after update {} of {updates}", optimizer.iterations())?;
        return Ok(());
    }
    Checkpoint::write_weights(&path, &model)?;
    let test = task.test(&model);
    say!("test accuracy {:.4} ({} of {}); written: {}", test.accuracy(), test.correct, test.of, path.display())?;
    Ok(())
}
