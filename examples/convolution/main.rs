//! A convolutional network with batch normalisation and dropout learns the digits in one cycle.
//!
//! ```text
//! cargo run --release --example convolution
//! cargo run --release --example convolution -- --data /usr/share/datasets/fashion-mnist --images 10000 --epochs 3
//! ```
//!
//! Look at `train`: batch normalisation and dropout change nothing in the loop. dfdx's `forward_mut` trains with them, `forward`
//! is for inference.

mod conv;
#[path = "../support/mod.rs"]
mod support;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use conv::{Conv, Images, MeanOverPixels};
use cyclic_optim::{Adam, ClrConfig, CyclicOptimizer, OneCycle};
use dfdx::prelude::modules::{BatchNorm1D, DropoutOneIn, Linear, ReLU};
use dfdx::prelude::{
    AsArray, Backward, BuildModule, Const, Cpu, HasShape, Module, ModuleMut, ReshapeTo, Tape, Trace, ZeroGrads,
    cross_entropy_with_logits_loss,
};
use support::digits::{Data, Rows, Run, Score, Task};
use support::flags::named;
use support::output::say;

/// Train a convolutional network with a learning-rate schedule inside the optimizer.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    run: Run,
    /// Use only this number of training images.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    images: Option<u64>,
    /// The highest rate of the cycle.
    #[arg(long, default_value_t = 0.02)]
    max_lr: f64,
}

type Block<const IN: usize, const OUT: usize, const STRIDE: usize> =
    (Conv<IN, OUT, STRIDE, f32, Cpu>, BatchNorm1D<OUT, f32, Cpu>, ReLU);
type Network =
    (Block<1, 16, 1>, Block<16, 32, 1>, Block<32, 32, 2>, MeanOverPixels, DropoutOneIn<8>, Linear<32, 10, f32, Cpu>);

fn main() -> ExitCode {
    support::run(|args: Args| {
        let data = Data::read(&args.run.data)?;
        let data = match args.images {
            Some(images) => data.first(usize::try_from(images)?),
            None => data,
        };
        train(&args, &data)
    })
}

fn train(args: &Args, data: &Data) -> Result<(), Box<dyn Error>> {
    let task = Task::new(data, args.run.seed);
    let mut model = Network::build(&task.device());
    let mut grads = model.alloc_grads();
    let updates = u64::from(args.run.epochs) * data.batches_per_epoch();
    let config = ClrConfig::new(OneCycle::new(args.max_lr, updates).map_err(named("--"))?).with_momentum(0.85, 0.95)?;
    let mut optimizer = CyclicOptimizer::new(Adam::default(), config);
    for epoch in 0..args.run.epochs {
        let mut last = f32::NAN;
        for (images, labels) in task.batches(epoch.into()) {
            let logits = model.forward_mut(as_images(images)?.traced(grads));
            let loss = cross_entropy_with_logits_loss(logits, labels);
            last = loss.array();
            grads = loss.backward();
            optimizer.apply(&mut model, &mut grads, last)?;
        }
        let Score { loss, correct, of } = test(&task, &model)?;
        let (epoch, epochs, lr) = (epoch + 1, args.run.epochs, optimizer.last().map_or(f64::NAN, |used| used.lr));
        say!("epoch {epoch:>3}/{epochs}  lr {lr:.2e}  loss {last:.4}  test loss {loss:.4}  {correct} of {of}")?;
    }
    let score = test(&task, &model)?;
    Ok(say!("test accuracy {:.4} ({} of {}) after {updates} updates", score.accuracy(), score.correct, score.of)?)
}

/// How well the test images are recognised; some at a time, for the outputs of convolutions are large.
fn test(task: &Task, model: &Network) -> Result<Score, Box<dyn Error>> {
    let mut logits = Vec::new();
    for images in task.test_batches(500) {
        logits.extend(model.forward(as_images(images)?).as_vec());
    }
    Ok(task.score(&task.classes(logits)))
}

/// Rows of pixels as square images.
fn as_images<T: Tape<f32, Cpu>>(rows: Rows<T>) -> Result<Images<1, T>, Box<dyn Error>> {
    let (images, pixels) = *rows.shape();
    let side = pixels.0.isqrt();
    if side * side != pixels.0 || side < 7 {
        return Err(
            format!("the images are not squares of at least 7 by 7 pixels: they have {} pixels", pixels.0).into()
        );
    }
    Ok(rows.reshape_like(&(images, Const, pixels.0)))
}
