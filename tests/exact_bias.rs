//! Adam's exact bias correction, against a reference in plain f64.

#![cfg(feature = "dfdx")]

use cyclic_optim::{Adam, Applied, ClrConfig, Constant, Cyclic, CyclicOptimizer, OneCycle};
use dfdx::optim::{AdamConfig, WeightDecay};
use dfdx::prelude::*;

/// Adam on single numbers, written down from the paper, with `1 - P` in the place of `1 - beta1^t`; P is the running product.
struct Reference {
    m: [f64; 3],
    v: [f64; 3],
    product: f64,
    updates: i32,
    weight_decay: Option<WeightDecay>,
}

impl Reference {
    fn new(weight_decay: Option<WeightDecay>) -> Self {
        Self { m: [0.0; 3], v: [0.0; 3], product: 1.0, updates: 0, weight_decay }
    }

    fn update(&mut self, p: &mut [f64; 3], gradients: [f64; 3], lr: f64, beta1: f64) {
        let (beta2, eps) = (0.999_f64, 1e-8);
        self.product *= beta1;
        self.updates += 1;
        for (n, gradient) in gradients.into_iter().enumerate() {
            let (l2, decoupled) = match self.weight_decay {
                Some(WeightDecay::L2(strength)) => (strength, 0.0),
                Some(WeightDecay::Decoupled(strength)) => (0.0, strength),
                None => (0.0, 0.0),
            };
            let g = gradient + l2 * p[n];
            self.m[n] = beta1 * self.m[n] + (1.0 - beta1) * g;
            self.v[n] = beta2 * self.v[n] + (1.0 - beta2) * g * g;
            let m = self.m[n] / (1.0 - self.product);
            let v = self.v[n] / (1.0 - beta2.powi(self.updates));
            p[n] -= lr * m / (v.sqrt() + eps) + decoupled * lr * p[n];
        }
    }
}

fn config() -> ClrConfig {
    ClrConfig::new(Cyclic::triangular2(0.001, 0.02, 10).unwrap()).with_momentum(0.85, 0.95).unwrap()
}

/// Gradients that do not depend on the parameters, so that rounding does not grow.
fn gradients(step: i32) -> [f64; 3] {
    [0, 1, 2].map(|n| f64::from((step * 37 + n * 11) % 23) / 7.0 - 1.3)
}

/// Trains for 200 updates and returns the parameters after each, and what each used.
fn train(adam: Adam<f64, Cpu>, config: ClrConfig) -> Vec<([f64; 3], Applied)> {
    let device = Cpu::default();
    let mut w: Tensor<Rank1<3>, f64, _> = device.tensor([1.0, -2.0, 0.5]);
    let mut optimizer = CyclicOptimizer::new(adam, config);
    let update = |step| {
        let loss = (w.leaky_trace() * device.tensor(gradients(step))).sum::<Rank0, _>();
        let used = optimizer.apply(&mut w, &mut loss.backward(), 1.0).unwrap();
        (w.array(), used)
    };
    (0..200).map(update).collect()
}

fn cfg(weight_decay: Option<WeightDecay>) -> AdamConfig {
    AdamConfig { weight_decay, ..Default::default() }
}

#[test]
fn two_hundred_updates_are_the_references() {
    for weight_decay in [None, Some(WeightDecay::L2(0.1)), Some(WeightDecay::Decoupled(0.1))] {
        let exact = train(Adam::new(cfg(weight_decay)).with_exact_bias_correction(), config());
        let present = train(Adam::new(cfg(weight_decay)), config());
        let (mut reference, mut p) = (Reference::new(weight_decay), [1.0, -2.0, 0.5]);
        let (mut worst, mut other) = (0.0_f64, 0.0_f64);
        for (step, used) in config().preview().take(200).enumerate() {
            let before = p;
            reference.update(&mut p, gradients(i32::try_from(step).unwrap()), used.lr, used.momentum.unwrap());
            // Rate and momentum stay those of the schedule.
            assert_eq!((exact[step].1.lr, exact[step].1.momentum), (used.lr, used.momentum));
            for n in 0..3 {
                worst = worst.max(((exact[step].0[n] - p[n]) / p[n].abs().max(1.0)).abs());
                let from = if step == 0 { [1.0, -2.0, 0.5][n] } else { present[step - 1].0[n] };
                other = other.max(((present[step].0[n] - from) - (p[n] - before[n])).abs() / used.lr);
            }
        }
        println!("{weight_decay:?}: exact {worst:e} from the reference, the usual correction {other:e} of a step");
        assert!(worst <= 1e-14, "{weight_decay:?}: {worst:e}");
        assert!(other > 0.02, "the usual correction should be off: {other:e}");
    }
}

#[test]
fn a_constant_momentum_has_the_same_bits() {
    for config in [
        ClrConfig::new(Cyclic::triangular2(0.001, 0.02, 10).unwrap()),
        ClrConfig::new(Constant::new(0.01).unwrap()),
        ClrConfig::new(OneCycle::new(0.01, 100).unwrap()).with_momentum(0.9, 0.9).unwrap(),
    ] {
        let decoupled = cfg(Some(WeightDecay::Decoupled(0.1)));
        let exact = train(Adam::new(decoupled).with_exact_bias_correction(), config.clone());
        assert_eq!(exact, train(Adam::new(decoupled), config));
    }
}

/// The first step of a run has the length of the rate, whatever the momentum; later ones do not shrink when beta1 falls.
#[test]
fn steps_do_not_shrink_while_the_momentum_falls() {
    // Gradient 1 throughout: each step of an unbiased Adam has the length of the rate.
    let device = Cpu::default();
    let mut w: Tensor<Rank1<3>, f64, _> = device.tensor([0.0; 3]);
    let config = ClrConfig::new(OneCycle::new(0.01, 60).unwrap()).with_momentum(0.85, 0.95).unwrap();
    let mut optimizer = CyclicOptimizer::new(Adam::<f64, Cpu>::default().with_exact_bias_correction(), config);
    for _ in 0..60 {
        let before = w.array()[0];
        let loss = w.leaky_trace().sum::<Rank0, _>();
        let used = optimizer.apply(&mut w, &mut loss.backward(), 1.0).unwrap();
        let length = before - w.array()[0];
        assert!((length / used.lr - 1.0).abs() < 1e-7, "{length} at a rate of {}", used.lr);
    }
}

#[cfg(feature = "checkpoint")]
#[test]
fn it_resumes_to_the_same_bits() {
    use cyclic_optim::Checkpoint;

    let device = Cpu::default();
    let start = || -> Tensor<Rank1<3>, f64, Cpu> { device.tensor([1.0, -2.0, 0.5]) };
    let new = || CyclicOptimizer::new(Adam::<f64, Cpu>::default().with_exact_bias_correction(), config());
    let train = |w: &mut Tensor<Rank1<3>, f64, Cpu>, optimizer: &mut CyclicOptimizer<Adam<f64, Cpu>>, until: u64| {
        while optimizer.iterations() < until {
            let step = i32::try_from(optimizer.iterations()).unwrap();
            let loss = (w.leaky_trace() * device.tensor(gradients(step))).sum::<Rank0, _>();
            optimizer.apply(w, &mut loss.backward(), 1.0).unwrap();
        }
    };
    let (mut whole, mut through) = (start(), new());
    train(&mut whole, &mut through, 30);
    let expected = Checkpoint::to_bytes(&whole, &through).unwrap();
    for stop in 0..30 {
        let (mut first, mut before) = (start(), new());
        train(&mut first, &mut before, stop);
        let saved = Checkpoint::from_bytes(Checkpoint::to_bytes(&first, &before).unwrap()).unwrap();
        let (mut resumed, mut after) = (start(), new());
        saved.restore(&mut resumed, &mut after).unwrap();
        train(&mut resumed, &mut after, 30);
        assert!(Checkpoint::to_bytes(&resumed, &after).unwrap() == expected, "resumed at {stop}");
    }
    // A changed option is a difference of the checkpoint.
    let mut without = CyclicOptimizer::new(Adam::<f64, Cpu>::default(), config());
    let error = Checkpoint::from_bytes(expected).unwrap().restore(&mut start(), &mut without).unwrap_err().to_string();
    assert!(error.contains("exact_bias_correction"), "{error}");
}
