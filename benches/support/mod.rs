//! What the benches share: models of any number of parameters, and the schedules that are timed.

#![allow(clippy::cast_precision_loss, reason = "small numbers")]
#![allow(dead_code, reason = "each bench uses its part")]

use std::hint::black_box;

use cyclic_optim::{
    Constant, CosineDecay, Curve, Cyclic, ExponentialDecay, InverseSqrtDecay, InverseTimeDecay, LinearDecay,
    MultiStepDecay, OneCycle, Policy, PolynomialDecay, Sequence, StepDecay, WarmRestarts,
};
use dfdx::optim::{AdamConfig, Momentum, RMSpropConfig, SgdConfig, WeightDecay};
use dfdx::prelude::{Const, Cpu, Rank1, SampleTensor, Tensor, ZeroGrads};
use dfdx::tensor::Gradients;

pub(crate) type Parameters<const N: usize> = Tensor<Rank1<N>, f32, Cpu>;

/// A model of N parameters in one tensor, with allocated gradients.
pub(crate) fn model<const N: usize>() -> (Parameters<N>, Gradients<f32, Cpu>) {
    let device = Cpu::default();
    let parameters: Parameters<N> = device.sample_normal_like(&(Const::<N>,));
    let mut gradients = parameters.alloc_grads();
    // Small numbers, as a backward pass would leave.
    for (index, value) in gradients.get_or_alloc_mut(&parameters).unwrap().iter_mut().enumerate() {
        *value = 1e-3 * (index % 7) as f32 - 2e-3;
    }
    (parameters, gradients)
}

/// The options of a config that are `None` are set to a number and then to `None` again.
///
/// dfdx's kernels convert the momentum and the weight decay to f32 before they check whether they are set. If they are
/// not, their memory holds whatever was on the stack. A denormal number there makes the conversion take 45 ns instead of 1,
/// which is three times a whole update of one parameter by SGD. So both sides of a comparison need the same number there.
pub(crate) trait Settle {
    fn settle(&mut self, number: f64);
}

fn over<T: Copy>(option: &mut Option<T>, value: T) {
    if option.is_none() {
        *option = black_box(Some(value));
        black_box(&mut *option);
        *option = None;
    }
}

impl Settle for SgdConfig {
    fn settle(&mut self, number: f64) {
        over(&mut self.momentum, Momentum::Classic(number));
        over(&mut self.weight_decay, WeightDecay::L2(number));
        black_box(self);
    }
}

impl Settle for AdamConfig {
    fn settle(&mut self, number: f64) {
        over(&mut self.weight_decay, WeightDecay::L2(number));
        black_box(self);
    }
}

impl Settle for RMSpropConfig {
    fn settle(&mut self, number: f64) {
        over(&mut self.momentum, number);
        over(&mut self.weight_decay, WeightDecay::L2(number));
        black_box(self);
    }
}

/// Each kind of schedule, endless or so long that no bench reaches its end.
pub(crate) fn schedules() -> Vec<(&'static str, Policy)> {
    let long = 1 << 40;
    vec![
        ("constant", Constant::new(0.1).unwrap().into()),
        ("linear", LinearDecay::new(0.1, 0.01, long).unwrap().into()),
        ("step", StepDecay::new(0.1, 1000, 0.999).unwrap().into()),
        ("multi_step", MultiStepDecay::new(0.1, [1000, 10_000, 100_000], 0.1).unwrap().into()),
        ("inverse_time", InverseTimeDecay::new(0.1, 1e-6).unwrap().into()),
        ("inverse_sqrt", InverseSqrtDecay::new(0.1, 1000).unwrap().into()),
        ("exponential", ExponentialDecay::new(0.1, 0.999_999_9).unwrap().into()),
        ("polynomial", PolynomialDecay::new(0.1, 0.01, long, 2.0).unwrap().into()),
        ("cosine", CosineDecay::new(0.1, 0.01, long).unwrap().into()),
        ("triangular", Cyclic::triangular(0.01, 0.1, 2000).unwrap().into()),
        ("triangular2", Cyclic::triangular2(0.01, 0.1, 2_000_000).unwrap().into()),
        ("exp_range", Cyclic::exp_range(0.01, 0.1, 2000, 0.999_999).unwrap().into()),
        (
            "cosine_cycles",
            Cyclic::over_total(0.01, 0.1, long, 1 << 20, 0.3).unwrap().with_curves(Curve::Cosine, Curve::Cosine).into(),
        ),
        ("snapshots", WarmRestarts::snapshots(0.1, long, 1 << 20).unwrap().into()),
        ("one_cycle", OneCycle::new(0.1, long).unwrap().into()),
        ("warm_restarts", WarmRestarts::new(0.01, 0.1, 2000).unwrap().into()),
        ("warmup_cosine", Sequence::warmup_cosine(0.0, 0.1, 0.0, 1000, long).unwrap().into()),
    ]
}
