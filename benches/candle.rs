//! What the wrapper costs in candle, on the network of the digits: times with and without it, taken alternately.
//!
//! ```text
//! cargo bench --no-default-features --features candle --bench candle                    # exit code 1 if a budget is broken
//! cargo bench --no-default-features --features candle --bench candle -- --budgets 0.5   # shows that a broken one fails
//! ```

#[path = "support/overhead.rs"]
mod overhead;

use std::process::ExitCode;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{AdamW, Module, Optimizer, SGD, Sequential, VarBuilder, VarMap, linear, loss::mse, seq};
use cyclic_optim::{ClrConfig, CyclicOptimizer, OneCycle};
use overhead::keeps;

/// The network of the digits and a batch of 32.
struct Job {
    variables: VarMap,
    model: Sequential,
    x: Tensor,
    y: Tensor,
}

impl Job {
    fn new() -> Result<Self> {
        let variables = VarMap::new();
        let build = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
        let model = seq()
            .add(linear(64, 64, build.pp("0"))?)
            .add_fn(Tensor::relu)
            .add(linear(64, 32, build.pp("1"))?)
            .add_fn(Tensor::relu)
            .add(linear(32, 10, build.pp("2"))?);
        let x = Tensor::rand(0_f32, 1.0, (32, 64), &Device::Cpu)?;
        Ok(Self { variables, model, x, y: Tensor::rand(0_f32, 1.0, (32, 10), &Device::Cpu)? })
    }

    fn loss(&self) -> Result<Tensor> {
        mse(&self.model.forward(&self.x)?, &self.y)
    }

    fn vars(&self) -> Vec<Var> {
        self.variables.all_vars()
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let job = Job::new()?;
    let gradients = job.loss()?.backward()?;
    // So long that no bench reaches its end, and with rates so small that the weights hardly change.
    let schedule = || OneCycle::new(1e-6, 1 << 40);
    let invalid = candle_core::Error::wrap;
    let config = || ClrConfig::new(schedule().expect("a valid schedule")).with_momentum(0.85, 0.95);
    let mut all_kept = true;

    let mut bare = AdamW::new_lr(job.vars(), 1e-7)?;
    let inner = AdamW::new_lr(job.vars(), 1e-7)?;
    let mut wrapped = CyclicOptimizer::try_new(inner, config().map_err(invalid)?).map_err(invalid)?;
    all_kept &= keeps(
        "AdamW: step",
        1.02,
        || bare.step(&gradients).expect("a step"),
        || wrapped.step(&gradients).expect("a step"),
    );
    all_kept &= keeps(
        "AdamW: forward, backward_step",
        1.02,
        || bare.backward_step(&job.loss().expect("a loss")).expect("a step"),
        || wrapped.backward_step(&job.loss().expect("a loss")).expect("a step"),
    );

    let mut bare = SGD::new(job.vars(), 1e-7)?;
    let mut wrapped = CyclicOptimizer::new(SGD::new(job.vars(), 1e-7)?, schedule().map_err(invalid)?);
    all_kept &= keeps(
        "SGD: step",
        1.02,
        || bare.step(&gradients).expect("a step"),
        || wrapped.step(&gradients).expect("a step"),
    );
    Ok(all_kept)
}
