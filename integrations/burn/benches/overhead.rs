//! What the scheduler costs in burn, at the size of the digits: times with it and without, taken in turns.
//!
//! ```text
//! cargo bench --bench overhead                    # exit code 1 if a budget is broken
//! cargo bench --bench overhead -- --budgets 0.5   # shows that a broken one fails
//! ```

#![allow(clippy::cast_possible_truncation, reason = "momentum is f32 in burn")]

#[path = "../../../benches/support/overhead.rs"]
mod overhead;

use std::cell::RefCell;
use std::error::Error;
use std::process::ExitCode;

use burn::lr_scheduler::LrScheduler;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::{Device, Distribution, Tensor, activation::relu};
use cyclic_optim_burn::ClrScheduler;
use cyclic_optim_burn::cyclic_optim::{ClrConfig, OneCycle};
use overhead::keeps;

/// The network of the digits.
#[derive(Module, Debug)]
struct Model {
    layers: [Linear; 3],
}

impl Model {
    fn new(device: &Device) -> Self {
        Self { layers: [[64, 64], [64, 32], [32, 10]].map(|[from, to]| LinearConfig::new(from, to).init(device)) }
    }

    fn loss(&self, x: Tensor<2>) -> Tensor<1> {
        let hidden = relu(self.layers[0].forward(x));
        self.layers[2].forward(relu(self.layers[1].forward(hidden))).square().mean()
    }
}

/// A model, and its gradients as often as they are asked for.
struct Job {
    model: RefCell<Option<Model>>,
    gradients: GradientsParams,
    copies: Vec<Linear>,
}

impl Job {
    fn new(device: &Device) -> Self {
        let model = Model::new(device);
        let loss = model.loss(Tensor::random([32, 64], Distribution::Default, device));
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        Self { copies: model.layers.to_vec(), model: RefCell::new(Some(model)), gradients }
    }

    fn gradients(&self) -> GradientsParams {
        let mut copy = GradientsParams::new();
        for layer in &self.copies {
            copy.register(layer.weight.id, self.gradients.get::<2>(layer.weight.id).expect("a gradient"));
            let bias = layer.bias.as_ref().expect("a bias").id;
            copy.register(bias, self.gradients.get::<1>(bias).expect("a gradient"));
        }
        copy
    }

    fn update(&self, optimizer: &mut ModuleOptimizer, lr: f64) {
        let model = self.model.take().expect("a model");
        self.model.replace(Some(optimizer.step(lr, model, self.gradients())));
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let device = Device::flex().autodiff();
    // Long, so that no bench sees its end; small, so that the weights stay what they are.
    let config = || OneCycle::new(1e-6, 1 << 40).and_then(|cycle| ClrConfig::new(cycle).with_momentum(0.85, 0.95));
    let sgd = |momentum| SgdConfig::new().with_momentum(Some(MomentumConfig::new().with_momentum(momentum)));
    let mut all_kept = true;

    let (bare, wrapped) = (Job::new(&device), Job::new(&device));
    let (mut constant, mut alone) = (1e-7, AdamConfig::new().init());
    let (mut scheduler, adam) = ClrScheduler::with_optimizer(config()?, |beta1: Option<f64>| {
        AdamConfig::new().with_beta_1(beta1.unwrap_or(0.9) as f32).build()
    })?;
    let mut cycled = ModuleOptimizer::from(adam);
    all_kept &= keeps(
        "Adam: update",
        1.02,
        || bare.update(&mut alone, LrScheduler::step(&mut constant)),
        || wrapped.update(&mut cycled, scheduler.step()),
    );

    let (bare, wrapped) = (Job::new(&device), Job::new(&device));
    let mut alone = sgd(0.9).init();
    let (mut scheduler, inner) =
        ClrScheduler::with_optimizer(config()?, move |momentum: Option<f64>| sgd(momentum.unwrap_or(0.9)).build())?;
    let mut cycled = ModuleOptimizer::from(inner);
    all_kept &= keeps(
        "Sgd: update",
        1.02,
        || bare.update(&mut alone, LrScheduler::step(&mut constant)),
        || wrapped.update(&mut cycled, scheduler.step()),
    );
    Ok(if all_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
