//! Trains a classifier on real handwritten digits with a cyclic Adam.
//!
//! ```text
//! cargo run --release --example digits
//! cargo run --release --example digits -- --config examples/configs/triangular2.toml --epochs 8
//! cargo run --release --example digits -- --seeds 10
//! ```
//!
//! Look at how the learning rate rises and falls while the momentum does the opposite, and at the accuracy at the end.

#![allow(clippy::cast_precision_loss, reason = "counts of images")]

mod support;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use cyclic_optim::{Adam, ClrConfig, CyclicOptimizer, OneCycle};
use dfdx::nn::builders::{Linear, ReLU};
use dfdx::prelude::{
    AsArray, Backward, BuildOnDevice, Const, Cpu, DeviceBuildExt, Module, ModuleMut, OwnedTape, Tensor, TensorFromVec,
    Trace, ZeroGrads, cross_entropy_with_logits_loss,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use support::idx::Images;

const BATCH: usize = 32;

/// Train a classifier on handwritten digits with a learning-rate schedule inside the optimizer.
#[derive(Parser)]
struct Args {
    /// Folder with the four IDX files; the real MNIST works too.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/digits"))]
    data: PathBuf,
    /// Schedule config, JSON or TOML [default: one cycle up to 0.02, momentum 0.95 to 0.85, over the whole run].
    #[arg(long)]
    config: Option<PathBuf>,
    /// Passes over the training images.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,
    /// Seed of the initial weights and of the order of the images.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Train with so many seeds, one after the other, and sum up.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,
}

type Mlp<const PIXELS: usize> = ((Linear<PIXELS, 64>, ReLU), (Linear<64, 32>, ReLU), Linear<32, 10>);
type Rows<const COLUMNS: usize, T = dfdx::prelude::NoneTape> = Tensor<(usize, Const<COLUMNS>), f32, Cpu, T>;

fn main() -> ExitCode {
    support::exit_code(|| {
        let args = Args::parse();
        let train = Images::read(&args.data, "train")?;
        let test = Images::read(&args.data, "t10k")?;
        if train.pixels != test.pixels {
            return Err(format!("training images have {} pixels, test images {}", train.pixels, test.pixels).into());
        }
        match train.pixels {
            64 => run::<64>(&args, &train, &test),
            784 => run::<784>(&args, &train, &test),
            other => Err(format!("images of 8 x 8 or 28 x 28 pixels are needed, these have {other}").into()),
        }
    })
}

fn run<const PIXELS: usize>(args: &Args, train: &Images, test: &Images) -> Result<(), Box<dyn Error>> {
    let updates = u64::from(args.epochs) * train.labels.len().div_ceil(BATCH) as u64;
    let config = match &args.config {
        Some(file) => support::config_file::read(file)?,
        None => ClrConfig::new(OneCycle::new(0.02, updates)?).with_momentum(0.85, 0.95)?,
    };
    let mut runs = Vec::new();
    for seed in (0..u64::from(args.seeds)).map(|n| args.seed.wrapping_add(n)) {
        let (correct, time) = fit::<PIXELS>(args.epochs, seed, config.clone(), train, test)?;
        let accuracy = correct as f64 / test.labels.len() as f64;
        println!(
            "seed {seed}: test accuracy {accuracy:.4} ({correct} of {}) after {updates} updates in {:.2} s",
            test.labels.len(),
            time.as_secs_f64(),
        );
        runs.push((accuracy, time));
    }
    if runs.len() > 1 {
        let mean = runs.iter().map(|run| run.0).sum::<f64>() / runs.len() as f64;
        let lowest = runs.iter().map(|run| run.0).fold(1.0, f64::min);
        let longest = runs.iter().map(|run| run.1).max().unwrap_or_default();
        println!(
            "{} seeds: mean accuracy {mean:.4}, lowest {lowest:.4}, longest training {:.2} s",
            runs.len(),
            longest.as_secs_f64(),
        );
    }
    Ok(())
}

/// Trains once; returns how many test images are recognised, and the time of the training alone.
fn fit<const PIXELS: usize>(
    epochs: u32,
    seed: u64,
    config: ClrConfig,
    train: &Images,
    test: &Images,
) -> Result<(usize, Duration), Box<dyn Error>>
where
    Mlp<PIXELS>: BuildOnDevice<Cpu, f32>,
    <Mlp<PIXELS> as BuildOnDevice<Cpu, f32>>::Built: ZeroGrads<f32, Cpu>
        + Module<Rows<PIXELS>, Output = Rows<10>>
        + ModuleMut<Rows<PIXELS, OwnedTape<f32, Cpu>>, Output = Rows<10, OwnedTape<f32, Cpu>>>,
{
    let device = Cpu::seed_from_u64(seed);
    let brightest = train.values.iter().copied().max().unwrap_or(1).max(1);
    let rows = |images: &Images, indices: &[usize]| -> Rows<PIXELS> {
        let pixels = indices.iter().flat_map(|&index| &images.values[index * PIXELS..(index + 1) * PIXELS]);
        let scaled = pixels.map(|&value| f32::from(value) / f32::from(brightest)).collect();
        device.tensor_from_vec(scaled, (indices.len(), Const))
    };

    let mut model = device.build_module::<Mlp<PIXELS>, f32>();
    let mut grads = model.alloc_grads();
    let mut optimizer = CyclicOptimizer::try_new(Adam::default(), config)?;

    let start = Instant::now();
    for epoch in 0..epochs {
        // The order is a function of seed and epoch alone, so that any epoch can be repeated.
        let mut order: Vec<usize> = (0..train.labels.len()).collect();
        order.shuffle(&mut StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(epoch.into())));

        let mut last = (f32::NAN, optimizer.last());
        for batch in order.chunks(BATCH) {
            let mut one_hot = vec![0.0; batch.len() * 10];
            for (row, &index) in batch.iter().enumerate() {
                one_hot[row * 10 + usize::from(train.labels[index])] = 1.0;
            }
            let targets: Rows<10> = device.tensor_from_vec(one_hot, (batch.len(), Const));

            let logits = model.forward_mut(rows(train, batch).traced(grads));
            let loss = cross_entropy_with_logits_loss(logits, targets);
            let value = loss.array();
            grads = loss.backward();
            last = (value, Some(optimizer.apply(&mut model, &mut grads, value)?));
        }
        if let (loss, Some(used)) = last {
            let momentum = used.momentum.map_or(String::new(), |momentum| format!("  momentum {momentum:.4}"));
            println!("epoch {:>3}/{epochs}  loss {loss:.4}  lr {:.2e}{momentum}", epoch + 1, used.lr);
        }
    }
    let time = start.elapsed();

    let all: Vec<usize> = (0..test.labels.len()).collect();
    let logits = model.forward(rows(test, &all)).as_vec();
    let correct = logits.chunks_exact(10).zip(&test.labels).filter(|(logits, label)| {
        let best = (0..10).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
        best == Some(usize::from(**label))
    });
    Ok((correct.count(), time))
}
