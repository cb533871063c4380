//! What the benches share: models of any number of parameters, and the schedules that are timed.

#![allow(dead_code, reason = "each bench uses its part")]

use cyclic_optim::{
    Constant, CosineDecay, Cyclic, ExponentialDecay, LinearDecay, OneCycle, Policy, PolynomialDecay, Sequence,
    StepDecay, WarmRestarts,
};
use dfdx::prelude::{Const, Cpu, Rank1, SampleTensor, Tensor, ZeroGrads};
use dfdx::tensor::Gradients;

pub type Parameters<const N: usize> = Tensor<Rank1<N>, f32, Cpu>;

/// A model of N parameters in one tensor, with gradients that are there.
pub fn model<const N: usize>() -> (Parameters<N>, Gradients<f32, Cpu>) {
    let device = Cpu::default();
    let parameters: Parameters<N> = device.sample_normal_like(&(Const::<N>,));
    let mut gradients = parameters.alloc_grads();
    refill(&device, &parameters, &mut gradients);
    (parameters, gradients)
}

/// Puts small numbers into the gradients, as a backward pass would.
pub fn refill<const N: usize>(device: &Cpu, parameters: &Parameters<N>, gradients: &mut Gradients<f32, Cpu>) {
    let _ = device;
    for (index, value) in gradients.get_or_alloc_mut(parameters).unwrap().iter_mut().enumerate() {
        *value = 1e-3 * (index % 7) as f32 - 2e-3;
    }
}

/// Each kind of schedule, endless or so long that a bench never sees its end.
pub fn schedules() -> Vec<(&'static str, Policy)> {
    let long = 1 << 40;
    vec![
        ("constant", Constant::new(0.1).unwrap().into()),
        ("linear", LinearDecay::new(0.1, 0.01, long).unwrap().into()),
        ("step", StepDecay::new(0.1, 1000, 0.999).unwrap().into()),
        ("exponential", ExponentialDecay::new(0.1, 0.999_999_9).unwrap().into()),
        ("polynomial", PolynomialDecay::new(0.1, 0.01, long, 2.0).unwrap().into()),
        ("cosine", CosineDecay::new(0.1, 0.01, long).unwrap().into()),
        ("triangular", Cyclic::triangular(0.01, 0.1, 2000).unwrap().into()),
        ("triangular2", Cyclic::triangular2(0.01, 0.1, 2_000_000).unwrap().into()),
        ("exp_range", Cyclic::exp_range(0.01, 0.1, 2000, 0.999_999).unwrap().into()),
        ("one_cycle", OneCycle::new(0.1, long).unwrap().into()),
        ("warm_restarts", WarmRestarts::new(0.01, 0.1, 2000).unwrap().into()),
        ("warmup_cosine", Sequence::warmup_cosine(0.0, 0.1, 0.0, 1000, long).unwrap().into()),
    ]
}
