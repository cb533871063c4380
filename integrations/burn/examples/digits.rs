//! Trains a classifier on real handwritten digits with burn, a one-cycle schedule and cycled momentum.
//!
//! ```text
//! cargo run --release --example digits -- --seeds 5
//! cargo run --release --example digits -- --config ../../examples/configs/triangular2.toml
//! ```

#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small numbers")]

use std::{error::Error, fs, path::Path, path::PathBuf};

use burn::nn::{Linear, LinearConfig, loss::CrossEntropyLossConfig};
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Int, Tensor, TensorData, activation::relu};
use burn::{lr_scheduler::LrScheduler, module::Module};
use clap::Parser;
use cyclic_optim_burn::ClrScheduler;
use cyclic_optim_burn::cyclic_optim::{ClrConfig, OneCycle, RunLength};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};

const EPOCHS: usize = 20;
const BATCH: usize = 32;

/// Train a classifier on handwritten digits with burn.
#[derive(Parser)]
struct Args {
    /// Number of runs, with seeds from 0.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Schedule config, JSON or TOML [default: one cycle up to 0.02, momentum 0.95 to 0.85].
    #[arg(long)]
    config: Option<PathBuf>,
}

#[derive(Module, Debug)]
struct Model {
    layers: [Linear; 3],
}

impl Model {
    fn new(device: &Device) -> Self {
        Self { layers: [[64, 64], [64, 32], [32, 10]].map(|[from, to]| LinearConfig::new(from, to).init(device)) }
    }

    fn forward(&self, images: Tensor<2>) -> Tensor<2> {
        let hidden = relu(self.layers[0].forward(images));
        self.layers[2].forward(relu(self.layers[1].forward(hidden)))
    }
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
    let device = Device::flex().autodiff();
    device.seed(seed);
    let mut random = StdRng::seed_from_u64(seed);
    let (images, labels) = read("train", &device)?;
    let count = labels.dims()[0];

    let batches = count.div_ceil(BATCH);
    let config = match file {
        Some(file) => read_config(file, &RunLength::new(batches as u64, EPOCHS as u64)?)?,
        None => ClrConfig::new(OneCycle::new(0.02, (EPOCHS * batches) as u64)?).with_momentum(0.85, 0.95)?,
    };
    let (mut scheduler, adam) = ClrScheduler::with_optimizer(config, |beta1| {
        AdamConfig::new().with_epsilon(1e-8).with_beta_1(beta1.unwrap_or(0.9) as f32).build()
    })?;
    let (mut model, mut optimizer) = (Model::new(&device), ModuleOptimizer::from(adam));

    let mut order: Vec<i32> = (0..).take(count).collect();
    for epoch in 1..=EPOCHS {
        order.shuffle(&mut random);
        for batch in order.chunks(BATCH) {
            let batch = Tensor::<1, Int>::from_data(batch, &device);
            let (x, y) = (images.clone().select(0, batch.clone()), labels.clone().select(0, batch));
            let loss = CrossEntropyLossConfig::new().init(&device).forward(model.forward(x), y);
            let gradients = GradientsParams::from_grads(loss.backward(), &model);
            model = optimizer.step(scheduler.step(), model, gradients);
        }
        if let Some(used) = scheduler.run().last().filter(|_| epoch % 5 == 0) {
            println!("epoch {epoch:>2}/{EPOCHS}  lr {:.2e}  momentum {:.4}", used.lr, used.momentum.unwrap_or(0.9));
        }
    }

    let (images, labels) = read("t10k", &device)?;
    let right = model.forward(images).argmax(1).squeeze::<1>().equal(labels).float().mean();
    Ok(f64::from(right.into_scalar::<f32>()))
}

/// The images of a part, in one row each, and their labels.
fn read(part: &str, device: &Device) -> Result<(Tensor<2>, Tensor<1, Int>), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/data/digits");
    // The headers of the files have 16 and 8 bytes; the brightest pixel is 16.
    let pixels = fs::read(folder.join(format!("{part}-images-idx3-ubyte")))?;
    let pixels: Vec<f32> = pixels[16..].iter().map(|&pixel| f32::from(pixel) / 16.0).collect();
    let labels = fs::read(folder.join(format!("{part}-labels-idx1-ubyte")))?.split_off(8);
    let labels: Vec<i32> = labels.into_iter().map(i32::from).collect();
    let images = Tensor::from_data(TensorData::new(pixels, [labels.len(), 64]), device);
    Ok((images, Tensor::from_data(labels.as_slice(), device)))
}

fn read_config(file: &Path, run: &RunLength) -> Result<ClrConfig, Box<dyn Error>> {
    let text = fs::read_to_string(file)?;
    if file.extension().is_some_and(|extension| extension == "json") {
        return Ok(ClrConfig::deserialize_for(run, &mut serde_json::Deserializer::from_str(&text))?);
    }
    Ok(ClrConfig::deserialize_for(run, toml::Deserializer::parse(&text)?)?)
}
