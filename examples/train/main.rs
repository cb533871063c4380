//! A whole training program, with flags for most features of the crate.
//!
//! ```text
//! cargo run --release --features full --example train -- --help
//! cargo run --release --features full --example train -- --range-test --policy triangular2 --progress
//! cargo run --release --features full --example train -- --optimizer sgd --tensorboard target/board --plot target/plots \
//!     --checkpoint target/train.safetensors --early-stopping --early-stopping-restore-best-weights
//! ```
//!
//! Look at the loop in `train`: there is no callback list in it, and no second `step()`.

mod activations;
mod args;
mod console;
mod end;
mod metrics;
mod models;
mod outputs;
mod parts;
mod report;
mod run;
mod start;
#[path = "../support/mod.rs"]
mod support;
mod time_limit;
mod weight_image;

use std::error::Error;
use std::process::ExitCode;

use args::{Arguments, Kind};
use cyclic_optim::adapters::dfdx::{InPlace, Saved};
use cyclic_optim::training::Accumulator;
use cyclic_optim::{Adam, Hyperparameters, RMSprop, Sgd};
use dfdx::optim::{Momentum, RMSpropConfig, SgdConfig};
use dfdx::prelude::{Cpu, HasShape, ZeroGrads};
use metrics::Mean;
use run::Run;
use support::digits::{BATCH, Data, Mlp, Task, train_step};

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
    let task = Task::new(&split, args.run.seed);
    let mut run = Run::start(args, &task, split.batches_per_epoch(), inner)?;
    // An update is made from one batch, or with --accumulate from its parts.
    let part = BATCH / args.accumulate;
    let parts = Task::new(&split, args.run.seed).with_batch(part);
    let parts_per_epoch = split.training_images().div_ceil(part);
    let mut sum = Accumulator::new();
    let mut grads = run.model.alloc_grads();
    for epoch in run.next_epoch()..run.epochs {
        if run.is_over() {
            break;
        }
        let mut mean = Mean::default();
        for (n, batch) in (1..).zip(parts.batches(epoch)) {
            let samples = batch.0.shape().0;
            let loss;
            (loss, grads) = train_step(&mut run.model, grads, batch);
            if n % args.accumulate == 0 || n == parts_per_epoch {
                let used = run.optimizer.apply(&mut run.model, &mut grads, sum.with(loss, samples))?;
                mean.add(run.after_update(&used)?);
            } else {
                sum.add(&run.model, &mut grads, loss, samples)?;
            }
        }
        run.after_epoch(epoch, mean.value())?;
    }
    run.finish(&Task::new(data, args.run.seed))
}
