//! Trains a classifier on real handwritten digits with candle and a cyclic AdamW.
//!
//! ```text
//! cargo run --release --no-default-features --features candle,serde --example candle_digits
//! cargo run --release --no-default-features --features candle,serde --example candle_digits -- --seeds 5
//! cargo run --release --no-default-features --features candle,serde --example candle_digits -- --config examples/configs/triangular2.toml
//! ```

#![allow(clippy::cast_precision_loss, reason = "small numbers")]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::{Activation, AdamW, Linear, Module, Optimizer, ParamsAdamW, loss::cross_entropy, seq};
use clap::Parser;
use cyclic_optim::{ClrConfig, CyclicOptimizer, OneCycle, RunLength};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng, seq::SliceRandom};

const EPOCHS: usize = 20;
const BATCH: usize = 32;

/// Train a classifier on handwritten digits with candle.
#[derive(Parser)]
struct Args {
    /// Number of runs, with seeds from 0.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Schedule config, JSON or TOML [default: one cycle up to 0.02, momentum 0.95 to 0.85, over the whole run].
    #[arg(long)]
    config: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let mut accuracies = Vec::new();
    for seed in 0..args.seeds {
        accuracies.push(run(seed, args.config.as_deref())?);
        println!("seed {seed}: test accuracy {:.4}", accuracies[accuracies.len() - 1]);
    }
    let mean = accuracies.iter().sum::<f64>() / args.seeds as f64;
    let lowest = accuracies.iter().copied().fold(1.0, f64::min);
    println!("{} seeds: mean accuracy {mean:.4}, lowest {lowest:.4}", args.seeds);
    Ok(())
}

/// Trains one model and returns its accuracy on the test images.
fn run(seed: u64, file: Option<&Path>) -> Result<f64, Box<dyn Error>> {
    let mut random = StdRng::seed_from_u64(seed);
    let (images, labels) = read("train")?;
    let batches = labels.dim(0)?.div_ceil(BATCH);

    let mut variables = Vec::new();
    let model = seq()
        .add(layer(64, 64, &mut random, &mut variables)?)
        .add(Activation::Relu)
        .add(layer(64, 32, &mut random, &mut variables)?)
        .add(Activation::Relu)
        .add(layer(32, 10, &mut random, &mut variables)?);

    let config = match file {
        Some(file) => read_config(file, &RunLength::new(batches as u64, EPOCHS as u64)?)?,
        None => ClrConfig::new(OneCycle::new(0.02, (EPOCHS * batches) as u64)?).with_momentum(0.85, 0.95)?,
    };
    let adamw = AdamW::new(variables, ParamsAdamW { weight_decay: 0.0, ..ParamsAdamW::default() })?;
    let mut optimizer = CyclicOptimizer::try_new(adamw, config)?;

    let mut order: Vec<u32> = (0..).take(labels.dim(0)?).collect();
    for epoch in 1..=EPOCHS {
        order.shuffle(&mut random);
        for batch in order.chunks(BATCH) {
            let batch = Tensor::new(batch, &Device::Cpu)?;
            let (x, y) = (images.index_select(&batch, 0)?, labels.index_select(&batch, 0)?);
            let loss = cross_entropy(&model.forward(&x)?, &y)?;
            optimizer.backward_step(&loss)?;
        }
        if let Some(used) = optimizer.last().filter(|_| epoch % 5 == 0) {
            println!("epoch {epoch:>2}/{EPOCHS}  lr {:.2e}  momentum {:.4}", used.lr, used.momentum.unwrap_or(0.9));
        }
    }

    let (images, labels) = read("t10k")?;
    let answers = model.forward(&images)?.argmax(D::Minus1)?;
    Ok(answers.eq(&labels)?.to_dtype(DType::F64)?.mean_all()?.to_scalar()?)
}

/// A layer with small random weights. candle cannot seed its own generator on the CPU.
fn layer(inputs: usize, outputs: usize, random: &mut StdRng, variables: &mut Vec<Var>) -> candle_core::Result<Linear> {
    let bound = 1.0 / (inputs as f32).sqrt();
    let mut variable = |dims: &[usize]| {
        let values = (0..dims.iter().product()).map(|_| random.gen_range(-bound..bound)).collect();
        Var::from_vec(values, dims, &Device::Cpu)
    };
    let (weight, bias) = (variable(&[outputs, inputs])?, variable(&[outputs])?);
    variables.extend([weight.clone(), bias.clone()]);
    Ok(Linear::new(weight.into_inner(), Some(bias.into_inner())))
}

/// The images of a part, in one row each, and their labels.
fn read(part: &str) -> Result<(Tensor, Tensor), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/digits");
    // The headers of the files have 16 and 8 bytes; the brightest pixel is 16.
    let pixels = fs::read(folder.join(format!("{part}-images-idx3-ubyte")))?;
    let pixels: Vec<f32> = pixels[16..].iter().map(|&pixel| f32::from(pixel) / 16.0).collect();
    let labels: Vec<u8> = fs::read(folder.join(format!("{part}-labels-idx1-ubyte")))?.split_off(8);
    let labels: Vec<u32> = labels.into_iter().map(u32::from).collect();
    Ok((Tensor::from_vec(pixels, (labels.len(), 64), &Device::Cpu)?, Tensor::new(labels, &Device::Cpu)?))
}

/// Reads a config; its lengths may be in epochs.
fn read_config(file: &Path, run: &RunLength) -> Result<ClrConfig, Box<dyn Error>> {
    let text = fs::read_to_string(file)?;
    if file.extension().is_some_and(|extension| extension == "json") {
        return Ok(ClrConfig::deserialize_for(run, &mut serde_json::Deserializer::from_str(&text))?);
    }
    Ok(ClrConfig::deserialize_for(run, toml::Deserializer::parse(&text)?)?)
}
