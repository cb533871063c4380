//! A model learns to answer as another model does, under a cyclic learning rate.
//!
//! `cargo run --release --example quickstart`

use cyclic_optim::{Adam, ClrConfig, Cyclic, CyclicOptimizer};
use dfdx::prelude::{
    AsArray, Backward, Cpu, DeviceBuildExt, Module, Rank2, SampleTensor, Tensor, Trace, ZeroGrads, builders::Linear,
    mse_loss,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Cpu::seed_from_u64(0);
    let mut model = device.build_module::<Linear<4, 1>, f32>();
    let mut grads = model.alloc_grads();
    let x: Tensor<Rank2<64, 4>, f32, _> = device.sample_normal();
    let teacher = device.build_module::<Linear<4, 1>, f32>();
    let y = teacher.forward(x.clone());

    // The rate climbs from 0.01 to 0.1 in 25 updates and falls again in 25. Each peak is half as high as the one before.
    // Adam's beta1 runs the other way, from 0.95 down to 0.85 and up again.
    let clr_cfg = ClrConfig::new(Cyclic::triangular2(0.01, 0.1, 25)?).with_momentum(0.85, 0.95)?;
    let mut optimizer = CyclicOptimizer::new(Adam::default(), clr_cfg);

    for _ in 0..200 {
        let loss = mse_loss(model.forward(x.trace(grads)), y.clone());
        let value = loss.array();
        grads = loss.backward();
        // Updates the model, zeroes the gradients, and says what the update has used.
        let used = optimizer.apply(&mut model, &mut grads, value)?;
        if used.step % 25 == 0 {
            println!("update {:3}: rate {:.4}, loss {value:.1e}", used.step, used.lr);
        }
    }
    Ok(())
}
