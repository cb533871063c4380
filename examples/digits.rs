//! Trains a classifier on real handwritten digits with a cyclic Adam.
//!
//! ```text
//! cargo run --release --example digits
//! cargo run --release --example digits -- --config examples/configs/triangular2.toml --epochs 8
//! cargo run --release --example digits -- --auto
//! ```
//!
//! Look at the loop in `train`: nothing in it steps a schedule. In the output the learning rate rises and falls while the momentum
//! does the opposite; the accuracy is at the end.

mod support;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use cyclic_optim::{Adam, ClrConfig, CyclicOptimizer, RunLength};
use dfdx::prelude::{AsArray, Backward, Module, Trace, ZeroGrads, cross_entropy_with_logits_loss};
use support::config_file;
use support::digits::{Data, Run, Task, choose};
use support::output::say;

/// Train a classifier on handwritten digits with a learning-rate schedule inside the optimizer.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    run: Run,
    /// Schedule config, JSON or TOML [default: one cycle up to 0.02, momentum 0.95 to 0.85, over the whole run].
    #[arg(long)]
    config: Option<PathBuf>,
    /// Choose the peak of the one cycle by short runs on clones; no rate is set by hand.
    #[arg(long, conflicts_with = "config")]
    auto: bool,
}

fn main() -> ExitCode {
    support::run(|args: Args| {
        let data = Data::read(&args.run.data)?;
        train(&args, &data)
    })
}

fn train(args: &Args, data: &Data) -> Result<(), Box<dyn Error>> {
    let (epochs, seed) = (args.run.epochs, args.run.seed);
    let updates = u64::from(epochs) * data.batches_per_epoch();
    let task = Task::new(data, seed);
    let mut model = task.model();
    let mut grads = model.alloc_grads();
    let config: ClrConfig = match &args.config {
        Some(file) => config_file::read(file, &RunLength::new(data.batches_per_epoch(), epochs.into())?)?,
        None if args.auto => choose(&task, &model, &Adam::default(), updates, false)?.one_cycle()?.into(),
        None => config_file::one_cycle(updates)?,
    };
    let mut optimizer = CyclicOptimizer::try_new(Adam::default(), config)?;

    let start = Instant::now();
    for epoch in 0..epochs {
        let mut last = f32::NAN;
        for (images, labels) in task.batches(epoch.into()) {
            let loss = cross_entropy_with_logits_loss(model.forward(images.traced(grads)), labels);
            last = loss.array();
            grads = loss.backward();
            optimizer.apply(&mut model, &mut grads, last)?;
        }
        if let Some(used) = optimizer.last() {
            let momentum = used.momentum.map_or(String::new(), |momentum| format!("  momentum {momentum:.4}"));
            say!("epoch {:>3}/{epochs}  loss {last:.4}  lr {:.2e}{momentum}", epoch + 1, used.lr)?;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let score = task.test(&model);
    let (accuracy, correct, of) = (score.accuracy(), score.correct, score.of);
    Ok(say!("seed {seed}: test accuracy {accuracy:.4} ({correct} of {of}) after {updates} updates in {seconds:.2} s")?)
}
