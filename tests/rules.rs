//! Every rule against PyTorch or optax: 200 updates under triangular2 with the momentum cycled, in f64.

#![cfg(feature = "dfdx")]
#![allow(clippy::cast_precision_loss, reason = "small numbers")]

use cyclic_optim::adapters::dfdx::{
    AdadeltaConfig, AdagradConfig, AdamWConfig, AdamaxConfig, Elementwise, LionConfig, NadamConfig, Rule,
    TorchRMSpropConfig,
};
use cyclic_optim::{
    Adadelta, Adagrad, ClrConfig, ConfigError, Cyclic, CyclicOptimizer, Hyper, Hyperparameters, TorchRMSprop,
    Unsupported,
};
use dfdx::optim::{AdamConfig, Momentum, SgdConfig, WeightDecay};
use dfdx::prelude::{AsArray, Cpu, Rank1, Tensor, TensorFrom, ZeroGrads};
use serde_json::Value;

/// The model, its data and its gradient as rules.py has them.
fn start() -> Tensor<Rank1<4>, f64, Cpu> {
    Cpu::default().tensor([0.5, -0.25, 1.0, -1.0])
}

fn gradient(w: [f64; 4]) -> [f64; 4] {
    let x: [[f64; 4]; 6] =
        core::array::from_fn(|i| core::array::from_fn(|j| (((3 * i + 5 * j) % 7) as f64 - 3.0) / 4.0));
    let residual: [f64; 6] =
        core::array::from_fn(|i| (0..4).map(|j| x[i][j] * w[j]).sum::<f64>() - ((i % 3) as f64 - 0.5));
    core::array::from_fn(|j| (0..6).map(|i| x[i][j] * residual[i]).sum::<f64>() * 2.0 / 6.0)
}

fn cases() -> Value {
    serde_json::from_str(include_str!("data/rules.json")).unwrap()
}

/// Trains like a case of the reference. Returns the largest relative difference of a number.
fn difference<R: Rule>(name: &str, rule: R) -> f64 {
    let cases = cases();
    let case = &cases["cases"][name];
    assert!(case.is_object(), "there is no case {name}");
    let rate = |n: usize| case["rates"][n].as_f64().unwrap();
    let mut config = ClrConfig::new(Cyclic::triangular2(rate(0), rate(1), 20).unwrap());
    if rule.get(Hyper::Momentum).is_some() {
        config = config.with_momentum(0.85, 0.95).unwrap();
    }
    let mut optimizer = CyclicOptimizer::new(Elementwise::new(rule), config);
    let mut model = start();
    let mut gradients = model.alloc_grads();
    let mut points = case["points"].as_array().unwrap().iter().peekable();
    let mut largest = 0.0_f64;
    for update in 1..=200 {
        gradients.get_or_alloc_mut(&model).unwrap().copy_from_slice(&gradient(model.array()));
        optimizer.apply(&mut model, &mut gradients, 1.0).unwrap();
        if let Some(point) = points.next_if(|point| point[0] == update) {
            for (n, weight) in model.array().into_iter().enumerate() {
                let expected = point[n + 1].as_f64().unwrap();
                largest = largest.max((weight - expected).abs() / expected.abs());
            }
        }
    }
    assert!(points.next().is_none());
    largest
}

/// All cases of a rule: without weight decay, with L2, and decoupled.
fn check<R: Rule>(name: &str, rule: impl Fn(Option<WeightDecay>) -> R) {
    let decays = [("none", None), ("l2", Some(WeightDecay::L2(0.1))), ("decoupled", Some(WeightDecay::Decoupled(0.1)))];
    for (decay, weight_decay) in decays {
        let difference = difference(&format!("{name}, {decay}"), rule(weight_decay));
        println!("{name}, {decay}: {difference:.1e}");
        assert!(difference <= 1e-12, "{name}, {decay}: {difference:e}");
    }
}

#[test]
fn rules_of_pytorch_and_optax() {
    let sgd =
        |momentum| move |weight_decay| SgdConfig { momentum: Some(momentum), weight_decay, ..SgdConfig::default() };
    check("Sgd", sgd(Momentum::Classic(0.9)));
    check("Sgd nesterov", sgd(Momentum::Nesterov(0.9)));
    check("Adam", |weight_decay| AdamConfig { weight_decay, ..AdamConfig::default() });
    check("Adagrad", |weight_decay| AdagradConfig { weight_decay, ..AdagradConfig::default() });
    check("Adagrad from 0.1", |weight_decay| AdagradConfig {
        initial_accumulator: 0.1,
        weight_decay,
        ..AdagradConfig::default()
    });
    check("Adadelta", |weight_decay| AdadeltaConfig { weight_decay, ..AdadeltaConfig::default() });
    check("Adamax", |weight_decay| AdamaxConfig { weight_decay, ..AdamaxConfig::default() });
    check("Nadam", |weight_decay| NadamConfig { weight_decay, ..NadamConfig::default() });
    check("Lion", |weight_decay| LionConfig { weight_decay, ..LionConfig::default() });
    for (name, centered, momentum) in [
        ("TorchRMSprop", false, None),
        ("TorchRMSprop centered", true, None),
        ("TorchRMSprop momentum", false, Some(0.9)),
        ("TorchRMSprop centered momentum", true, Some(0.9)),
    ] {
        check(name, |weight_decay| TorchRMSpropConfig {
            centered,
            momentum,
            weight_decay,
            ..TorchRMSpropConfig::default()
        });
    }
    for (name, weight_decay) in [("AdamW, 0.01", 1e-2), ("AdamW, 0.1", 0.1)] {
        let difference = difference(name, AdamWConfig { weight_decay, ..AdamWConfig::default() });
        assert!(difference <= 1e-12, "{name}: {difference:e}");
    }
}

#[test]
fn a_momentum_that_the_rule_lacks_is_an_error() {
    let config = || ClrConfig::new(Cyclic::triangular2(0.1, 0.2, 20).unwrap()).with_momentum(0.85, 0.95).unwrap();
    let lacking = [
        CyclicOptimizer::try_new(Adagrad::<f64>::default(), config()).err(),
        CyclicOptimizer::try_new(Adadelta::<f64>::default(), config()).err(),
        CyclicOptimizer::try_new(TorchRMSprop::<f64>::default(), config()).err(),
    ];
    assert_eq!(lacking, [const { Some(ConfigError::NoMomentum) }; 3]);
    let mut lion = LionConfig::default();
    assert_eq!(lion.set(Hyper::WeightDecay, 0.1), Err(Unsupported(Hyper::WeightDecay)));
    assert_eq!((lion.get(Hyper::WeightDecay), lion.get(Hyper::Momentum)), (None, Some(0.9)));
}

/// Half precision is calculated in f32 and rounded when it is stored.
#[cfg(feature = "f16")]
#[test]
fn half_precision_follows_single() {
    use cyclic_optim::training::GradientsOf;
    use dfdx::dtypes::{AMP, f16};

    fn trained<E: dfdx::dtypes::Dtype, R: Rule>(rule: R) -> Vec<f64>
    where
        Cpu: dfdx::tensor_ops::Device<E>,
    {
        let number = |value: f64| E::from_f64(value).unwrap();
        let mut model: Tensor<Rank1<4>, E, Cpu> = Cpu::default().tensor([0.5, -0.25, 1.0, -1.0].map(number));
        let mut gradients = model.alloc_grads();
        let config = Cyclic::triangular(0.01, 0.05, 5).unwrap();
        let mut optimizer = CyclicOptimizer::new(Elementwise::<R, E, Cpu>::new(rule), config);
        for _ in 0..20 {
            let values: Vec<f64> = model.as_vec().iter().map(|value| value.to_f64().unwrap()).collect();
            let next = gradient([values[0], values[1], values[2], values[3]]);
            gradients
                .for_each(&model, true, |gradient| {
                    gradient.iter_mut().zip(next).for_each(|(gradient, next)| *gradient = number(next));
                    true
                })
                .unwrap();
            optimizer.apply(&mut model, &mut gradients, 1.0).unwrap();
        }
        model.as_vec().iter().map(|value| value.to_f64().unwrap()).collect()
    }

    fn follows<R: Rule + Default>() {
        let exact = trained::<f32, _>(R::default());
        for half in [trained::<f16, _>(R::default()), trained::<AMP<f16>, _>(R::default())] {
            for (half, exact) in half.iter().zip(&exact) {
                assert!((half - exact).abs() < 0.02, "{}: {half} for {exact}", R::KIND);
            }
            assert_ne!(half, exact);
        }
    }

    follows::<AdamConfig>();
    follows::<AdamWConfig>();
    follows::<AdagradConfig>();
    follows::<AdamaxConfig>();
    follows::<NadamConfig>();
    follows::<LionConfig>();
    follows::<TorchRMSpropConfig>();
}
