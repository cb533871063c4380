//! Groups of parameters: rates and weight decays by name, frozen layers, and what is refused.

#![cfg(feature = "dfdx")]

mod support;

use cyclic_optim::training::{UpdateFailure, UpdateInPlace};
use cyclic_optim::{
    Adam, Clip, ClrConfig, ConfigError, Cyclic, CyclicOptimizer, Group, Groups, History, Hyper, Hyperparameters,
    NoGroups, RMSprop, Sgd, UpdateError,
};
use dfdx::optim::{AdamConfig, Momentum, RMSpropConfig, SgdConfig, WeightDecay};
use dfdx::prelude::*;

type Build = (builders::Linear<4, 8>, builders::ReLU, builders::Linear<8, 2>);
type Net<E> = (modules::Linear<4, 8, E, Cpu>, ReLU, modules::Linear<8, 2, E, Cpu>);

fn net(seed: u64) -> Net<f32> {
    Cpu::seed_from_u64(seed).build_module::<Build, f32>()
}

fn config() -> ClrConfig {
    ClrConfig::new(Cyclic::triangular2(0.01, 0.1, 4).unwrap()).with_momentum(0.8, 0.9).unwrap()
}

fn groups(all: &[(&str, f64, f64)]) -> Groups {
    let group = |&(prefix, rate, decay): &_| Group::new(prefix, rate).unwrap().with_weight_decay(decay).unwrap();
    Groups::new(all.iter().map(group).collect::<Vec<_>>()).unwrap()
}

fn bits(model: &Net<f32>) -> Vec<u32> {
    let (first, _, second) = model;
    let all = [first.weight.as_vec(), first.bias.as_vec(), second.weight.as_vec(), second.bias.as_vec()].concat();
    all.into_iter().map(f32::to_bits).collect()
}

/// Gradients that are a function of the update alone.
fn gradients(model: &Net<f32>, update: u64) -> Gradients<f32, Cpu> {
    let device = Cpu::seed_from_u64(1000 + update);
    let (x, y): (Tensor<Rank2<8, 4>, f32, _>, Tensor<Rank2<8, 2>, f32, _>) =
        (device.sample_normal(), device.sample_normal());
    mse_loss(model.forward(x.leaky_trace()), y).backward()
}

fn train<O>(model: &mut Net<f32>, optimizer: &mut CyclicOptimizer<O>, until: u64)
where
    O: Hyperparameters + UpdateInPlace<Net<f32>, Gradients<f32, Cpu>, Error = CpuError>,
{
    while optimizer.iterations() < until {
        let mut grads = gradients(model, optimizer.iterations());
        optimizer.apply(model, &mut grads, 1.0).unwrap();
    }
}

/// For each optimizer: groups with factors of 1 give the same bits as no groups, and other groups the same as separate
/// optimizers for the layers.
macro_rules! group_laws {
    ($name:ident, $kind:ident, $cfg:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn factors_of_one_change_no_bit() {
                let new = |config| CyclicOptimizer::new($kind::<f32, Cpu>::new($cfg), config);
                let (mut plain, mut grouped) = (net(1), net(1));
                train(&mut plain, &mut new(config()), 30);
                let ones = groups(&[("0", 1.0, 1.0), ("2.bias", 1.0, 1.0)]);
                train(&mut grouped, &mut new(config().with_groups(ones).unwrap()), 30);
                assert_eq!(bits(&plain), bits(&grouped));
            }

            #[test]
            fn groups_are_separate_optimizers() {
                let mut grouped = net(1);
                let own = groups(&[("0", 0.3, 0.5), ("2", 0.7, 0.0)]);
                let mut optimizer =
                    CyclicOptimizer::new($kind::<f32, Cpu>::new($cfg), config().with_groups(own).unwrap());
                let mut separate = net(1);
                let part = |rate: f64, decay: f64| {
                    let mut inner = $kind::<f32, Cpu>::new($cfg);
                    let strength = inner.get(Hyper::WeightDecay).unwrap();
                    inner.set(Hyper::WeightDecay, strength * decay).unwrap();
                    let mut optimizer = CyclicOptimizer::new(inner, config());
                    optimizer.set_scale(rate).unwrap();
                    optimizer
                };
                let (mut first, mut second) = (part(0.3, 0.5), part(0.7, 0.0));
                for update in 0..30 {
                    let mut grads = gradients(&grouped, update);
                    optimizer.apply(&mut grouped, &mut grads, 1.0).unwrap();
                    let mut grads = gradients(&separate, update);
                    first.apply(&mut separate.0, &mut grads.clone(), 1.0).unwrap();
                    second.apply(&mut separate.2, &mut grads, 1.0).unwrap();
                }
                assert_eq!(bits(&grouped), bits(&separate));
                // Each layer alone would not do.
                let mut plain = net(1);
                train(&mut plain, &mut CyclicOptimizer::new($kind::<f32, Cpu>::new($cfg), config()), 30);
                assert_ne!(bits(&grouped), bits(&plain));
            }

            /// A run that is killed and resumed ends with the same file, also if layers are unfrozen on the way.
            #[cfg(feature = "checkpoint")]
            #[test]
            fn a_run_resumes_to_the_same_bits() {
                use cyclic_optim::Checkpoint;

                let frozen = || config().with_groups(groups(&[("0", 0.0, 1.0), ("0.bias", 0.5, 0.0)])).unwrap();
                let new = || CyclicOptimizer::new($kind::<f32, Cpu>::new($cfg), frozen()).with_history(History::new());
                let run = |model: &mut Net<f32>, optimizer: &mut CyclicOptimizer<$kind<f32, Cpu>>, until: u64| {
                    if until > 9 && optimizer.iterations() <= 9 {
                        train(model, optimizer, 9);
                        optimizer.set_groups(groups(&[("0", 0.1, 1.0)])).unwrap();
                    }
                    train(model, optimizer, until);
                };
                let (mut whole, mut through) = (net(1), new());
                run(&mut whole, &mut through, 20);
                let expected = Checkpoint::to_bytes(&whole, &through).unwrap();
                for stop in 0..20 {
                    let (mut first, mut before) = (net(1), new());
                    run(&mut first, &mut before, stop);
                    let saved = Checkpoint::from_bytes(Checkpoint::to_bytes(&first, &before).unwrap()).unwrap();
                    let (mut resumed, mut after) = (net(2), new());
                    saved.restore(&mut resumed, &mut after).unwrap();
                    assert_eq!(after.groups(), before.groups());
                    run(&mut resumed, &mut after, 20);
                    assert!(Checkpoint::to_bytes(&resumed, &after).unwrap() == expected, "resumed at {stop}");
                }
                // Other groups are a difference of the checkpoint.
                let mut other = CyclicOptimizer::new($kind::<f32, Cpu>::new($cfg), config());
                let saved = Checkpoint::from_bytes(expected).unwrap();
                let error = saved.restore(&mut net(3), &mut other).unwrap_err().to_string();
                assert!(error.contains("config.groups"), "{error}");
            }
        }
    };
}

group_laws!(adamw, Adam, AdamConfig { weight_decay: Some(WeightDecay::Decoupled(0.1)), ..Default::default() });
group_laws!(
    sgd,
    Sgd,
    SgdConfig {
        momentum: Some(Momentum::Nesterov(0.9)),
        weight_decay: Some(WeightDecay::L2(0.1)),
        ..Default::default()
    }
);
group_laws!(
    rmsprop,
    RMSprop,
    RMSpropConfig { momentum: Some(0.9), weight_decay: Some(WeightDecay::Decoupled(0.1)), ..Default::default() }
);

/// A frozen layer keeps its bits and its moments, needs no gradient, and is not reported as missing.
#[test]
fn frozen_parameters_are_not_missing_ones() {
    let mut model = net(1);
    let before = bits(&model);
    let frozen = config().with_groups(groups(&[("0", 0.0, 1.0)])).unwrap();
    let mut optimizer = CyclicOptimizer::new(Adam::<f32, Cpu>::default(), frozen);
    // Only the second layer has gradients.
    let x: Tensor<Rank2<8, 8>, f32, _> = Cpu::seed_from_u64(5).sample_normal();
    let half = |model: &Net<f32>| model.2.forward(x.leaky_trace()).square().mean().backward();
    for _ in 0..5 {
        let mut grads = half(&model);
        optimizer.apply(&mut model, &mut grads, 1.0).unwrap();
    }
    let after = bits(&model);
    assert_eq!(after[..40], before[..40]);
    assert_ne!(after[40..], before[40..]);
    // Once unfrozen, it is reported as missing, and changes when it has gradients.
    optimizer.set_groups(Groups::default()).unwrap();
    let mut grads = half(&model);
    let missing = optimizer.apply(&mut model, &mut grads, 1.0).unwrap_err();
    assert_eq!(missing.to_string(), "these parameters have no gradient: 0.weight, 0.bias");
    let mut grads = gradients(&model, 0);
    optimizer.apply(&mut model, &mut grads, 1.0).unwrap();
    assert_ne!(bits(&model)[..40], before[..40]);
}

#[test]
fn an_unknown_prefix_is_refused() {
    let mut model = net(1);
    let before = bits(&model);
    let config = config().with_groups(groups(&[("0", 0.5, 1.0), ("decoder", 0.5, 1.0)])).unwrap();
    let cfg = SgdConfig { momentum: Some(Momentum::Classic(0.9)), ..Default::default() };
    let mut optimizer = CyclicOptimizer::new(Sgd::<f32, Cpu>::new(cfg), config);
    for _ in 0..2 {
        let mut grads = gradients(&model, 0);
        let error = optimizer.apply(&mut model, &mut grads, 1.0).unwrap_err();
        assert!(matches!(&error, UpdateError::UnknownPrefix(unknown) if unknown.prefix == "decoder"));
        assert_eq!(
            error.to_string(),
            "no parameter has a name that begins with \"decoder\", the prefix of a group; the names are 0.weight, 0.bias, \
             2.weight, 2.bias"
        );
    }
    assert_eq!((bits(&model), optimizer.iterations()), (before, 0));
    let mut inner = optimizer.into_inner();
    let failure = inner.update_in_place(&mut model, &mut gradients(&net(1), 0));
    assert!(matches!(failure, Err(UpdateFailure::UnknownPrefix(unknown)) if unknown.prefix == "decoder"));
}

#[test]
fn an_optimizer_without_groups_is_refused() {
    let model = net(1);
    let config_without_groups = config();
    let config = || config().with_groups(groups(&[("0", 0.5, 1.0)])).unwrap();
    let theirs = dfdx::optim::Adam::<_, f32, Cpu>::new(&model, AdamConfig::default());
    assert!(matches!(CyclicOptimizer::try_new(theirs, config()), Err(ConfigError::NoGroups)));
    let mut plain = support::unset();
    assert_eq!(plain.set_groups(&groups(&[("0", 0.5, 1.0)])), Err(NoGroups));
    let mut optimizer = CyclicOptimizer::new(plain, config_without_groups);
    let before = optimizer.state();
    assert_eq!(optimizer.set_groups(groups(&[("0", 0.5, 1.0)])), Err(ConfigError::NoGroups));
    assert_eq!(optimizer.state(), before);
}

/// The history has the rate of each group. All groups have one norm.
#[test]
fn a_history_has_the_rates_of_the_groups() {
    let own = groups(&[("0", 0.5, 1.0), ("2.bias", 0.0, 1.0)]);
    let clipped = config().with_clip(Clip { norm: Some(0.1), value: None }).unwrap();
    let cfg = SgdConfig { momentum: Some(Momentum::Classic(0.9)), ..Default::default() };
    let mut plain = CyclicOptimizer::new(Sgd::<f32, Cpu>::new(cfg), clipped.clone());
    let config = clipped.with_groups(own).unwrap();
    let mut optimizer = CyclicOptimizer::new(Sgd::<f32, Cpu>::new(cfg), config).with_history(History::new());
    let mut model = net(1);
    train(&mut model, &mut optimizer, 6);
    let updates = optimizer.history().unwrap().updates();
    let rates = updates.values("learning_rate").unwrap();
    let half: Vec<f64> = rates.iter().map(|rate| rate * 0.5).collect();
    assert_eq!(updates.values("learning_rate/0").unwrap(), half);
    assert_eq!(updates.values("learning_rate/2.bias").unwrap(), [0.0; 6]);
    // The norm of all gradients together, as without groups.
    let mut other = net(1);
    let mut grads = gradients(&other, 0);
    let used = plain.apply(&mut other, &mut grads, 1.0).unwrap();
    assert_eq!(updates.values("grad_norm").unwrap()[0], used.grad_norm.unwrap());
    #[cfg(feature = "plot")]
    assert!(optimizer.history().unwrap().rates_to_svg().unwrap().contains("learning_rate/2.bias"));
}

/// Rates by layer in one call, from the last layer down.
#[test]
fn discriminative_rates() {
    let config = config().with_groups(Groups::discriminative(["0", "2"], 2.6).unwrap()).unwrap();
    let cfg = SgdConfig { lr: 1.0, ..Default::default() };
    let momentum = SgdConfig { momentum: Some(Momentum::Classic(0.9)), ..cfg };
    let mut optimizer = CyclicOptimizer::new(Sgd::<f32, Cpu>::new(momentum), config);
    let (mut model, start) = (net(1), net(1));
    let mut grads = gradients(&model, 0);
    optimizer.apply(&mut model, &mut grads, 1.0).unwrap();
    let grads = gradients(&start, 0);
    for (before, after, gradient, rate) in [
        (start.0.bias.as_vec(), model.0.bias.as_vec(), grads.get(&start.0.bias).as_vec(), 0.01 / 2.6),
        (start.2.bias.as_vec(), model.2.bias.as_vec(), grads.get(&start.2.bias).as_vec(), 0.01),
    ] {
        for ((before, after), gradient) in before.into_iter().zip(after).zip(gradient) {
            assert!((f64::from(before - after) - rate * f64::from(gradient)).abs() < 1e-7);
        }
    }
}

#[cfg(feature = "serde")]
#[test]
fn files_hold_them() {
    let file = |groups: &str| {
        format!(
            r#"{{"schedule": {{"cyclic": {{"base_lr": 0.01, "max_lr": 0.1, "step_size": 4}}}}, "groups": {groups}}}"#
        )
    };
    let read = |json: &str| -> Result<ClrConfig, String> {
        serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(json))
            .map_err(|error| error.to_string())
    };
    let config = read(&file(r#"[{"prefix": "0", "rate": 0.1}, {"prefix": "0.bias", "weight_decay": 0}]"#)).unwrap();
    assert_eq!(config.groups(), &groups(&[("0", 0.1, 1.0), ("0.bias", 1.0, 0.0)]));
    let written = serde_json::to_string(&config).unwrap();
    assert_eq!(read(&written).unwrap(), config);
    assert_eq!(toml::from_str::<ClrConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
    for (list, expected) in [
        (r#"[{"prefix": "0", "rate": -0.5}]"#, "groups[0]: groups.rate must lie in [0, inf), got -0.5"),
        (r#"[{"prefix": "0", "weight_decay": -1}]"#, "groups.weight_decay must lie in [0, inf), got -1"),
        (r#"[{"prefix": "0"}, {"prefix": "0"}]"#, "groups must have different prefixes, got \"0\" twice"),
        (r#"[{"rate": 0.5}]"#, "groups[0]: missing field `prefix`"),
        (r#"[{"prefix": "0", "lr": 0.5}]"#, "unknown field `lr`"),
    ] {
        let error = read(&file(list)).unwrap_err();
        assert!(error.contains(expected), "{list}\n     said: {error}\n expected: {expected}");
    }
}
