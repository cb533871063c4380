//! A rule of one's own: Signum, the sign of a velocity. It takes about twenty lines. It can then be scheduled, clipped and
//! saved like the rules of the crate, and its momentum can be cycled.
//!
//! ```text
//! cargo run --release --features checkpoint --example own_rule
//! ```
//!
//! J. Bernstein et al., *signSGD: Compressed Optimisation for Non-Convex Problems*, 2018, arXiv:1802.04434.

use std::error::Error;

use cyclic_optim::adapters::dfdx::{Elementwise, Real, Rule, SLOTS, Setting, Update};
use cyclic_optim::{Checkpoint, Clip, ClrConfig, Cyclic, CyclicOptimizer, Hyper, Hyperparameters, Unsupported};
use dfdx::prelude::{AsArray, Backward, Cpu, Rank1, SumTo, Tensor, TensorFrom, Trace, ZerosTensor};

#[derive(Debug, Clone, Default)]
struct Signum {
    lr: f64,
    momentum: f64,
}

impl Hyperparameters for Signum {
    fn get(&self, hyper: Hyper) -> Option<f64> {
        match hyper {
            Hyper::LearningRate => Some(self.lr),
            Hyper::Momentum => Some(self.momentum),
            _ => None,
        }
    }

    fn set(&mut self, hyper: Hyper, value: f64) -> Result<(), Unsupported> {
        match hyper {
            Hyper::LearningRate => self.lr = value,
            Hyper::Momentum => self.momentum = value,
            other => return Err(Unsupported(other)),
        }
        Ok(())
    }
}

impl Rule for Signum {
    const KIND: &'static str = "signum";
    const STATE: &'static [&'static str] = &["velocity"];
    type Constants<F: Real> = (F, F);

    fn constants<F: Real>(&self, _: Update) -> (F, F) {
        (F::of(self.lr), F::of(self.momentum))
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "only what is inlined is compiled for the processor")]
    fn step<F: Real>(&(lr, momentum): &(F, F), gradient: F, [velocity, ..]: [&mut F; SLOTS]) -> F {
        *velocity = momentum * *velocity + (F::one() - momentum) * gradient;
        lr * velocity.signum()
    }

    fn settings(&self) -> Vec<(&'static str, Setting)> {
        vec![("lr", self.lr.into()), ("momentum", self.momentum.into())]
    }
}

type Model = Tensor<Rank1<3>, f32, Cpu>;

fn train(
    model: &mut Model,
    optimizer: &mut CyclicOptimizer<Elementwise<Signum>>,
    updates: usize,
) -> Result<f32, Box<dyn Error>> {
    let target: Model = Cpu::default().tensor([1.0, -2.0, 0.5]);
    let mut value = 0.0;
    for _ in 0..updates {
        let loss = (model.leaky_trace() - target.clone()).square().sum();
        value = loss.array();
        optimizer.apply(model, &mut loss.backward(), value)?;
    }
    Ok(value)
}

fn main() -> Result<(), Box<dyn Error>> {
    let new = || -> Result<_, Box<dyn Error>> {
        let config = ClrConfig::new(Cyclic::triangular2(0.001, 0.05, 50)?)
            .with_momentum(0.5, 0.9)?
            .with_clip(Clip { norm: Some(1.0), value: None })?;
        Ok(CyclicOptimizer::new(Elementwise::default(), config))
    };
    let (mut model, mut optimizer): (Model, _) = (Cpu::default().zeros(), new()?);
    println!("loss after 300 updates: {:.2e}", train(&mut model, &mut optimizer, 300)?);

    let bytes = Checkpoint::to_bytes(&model, &optimizer)?;
    let (mut resumed, mut again): (Model, _) = (Cpu::default().zeros(), new()?);
    Checkpoint::from_bytes(bytes)?.restore(&mut resumed, &mut again)?;
    train(&mut model, &mut optimizer, 100)?;
    train(&mut resumed, &mut again, 100)?;
    let same = model.array() == resumed.array();
    println!("saved, resumed and trained for 100 more: {}", if same { "the same bits" } else { "NOT the same bits" });
    Ok(())
}
