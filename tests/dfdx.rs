//! The dfdx adapter on real models: the bits of dfdx's own optimizers, PyTorch's training runs, missing gradients, and
//! every optimizer under every kind of schedule.

#![allow(clippy::unreadable_literal, reason = "as the sources print them")]
#![cfg(feature = "dfdx")]

use cyclic_optim::training::{UpdateFailure, UpdateInPlace};
use cyclic_optim::{
    Adam, Amplitude, ClrConfig, ConfigError, Constant, CosineDecay, Curve, Cyclic, CyclicOptimizer, ExponentialDecay,
    Hyper, Hyperparameters, InverseSqrtDecay, InverseTimeDecay, LinearDecay, MultiStepDecay, OneCycle, Policy,
    PolynomialDecay, RMSprop, Schedule, Sequence, Sgd, StepDecay, UpdateError, WarmRestarts, adapters::dfdx::InPlace,
    from_fn,
};
use dfdx::nn::builders::{Linear, ReLU};
use dfdx::optim::{AdamConfig, Momentum, Optimizer, OptimizerUpdateError, RMSpropConfig, SgdConfig, WeightDecay};
use dfdx::prelude::{
    AsArray, Backward, Cpu, CpuError, DeviceBuildExt, MeanTo, Module, ModuleMut, PermuteTo, Rank0, Rank1, Rank2,
    SampleTensor, SumTo, Tensor, TensorFrom, TensorFromVec, Trace, TryMatMul, ZeroGrads, ZerosTensor, mse_loss,
};
use dfdx::tensor::Gradients;
use serde_json::Value;

type Net = ((Linear<6, 16>, ReLU), (Linear<16, 8>, ReLU), Linear<8, 2>);

/// Trains a small network on fixed data and returns all its outputs' bits: one differing parameter bit would show.
macro_rules! train {
    ($dtype:ty, $optimizer:expr, $updates:expr, $step:expr) => {{
        let device = Cpu::seed_from_u64(7);
        let mut model = device.build_module::<Net, $dtype>();
        let x: Tensor<Rank2<12, 6>, $dtype, _> = device.sample_normal();
        let y: Tensor<Rank2<12, 2>, $dtype, _> = device.sample_normal();
        let mut grads = model.alloc_grads();
        let mut optimizer = $optimizer(&model);
        #[allow(unused_mut, reason = "one of the steps counts")]
        let mut step = $step;
        for _ in 0..$updates {
            let loss = mse_loss(model.forward(x.trace(grads)), y.clone());
            grads = loss.backward();
            step(&mut optimizer, &mut model, &mut grads);
        }
        let (layer_1, layer_2, layer_3) = (&model.0.0, &model.1.0, &model.2);
        [
            layer_1.weight.as_vec(),
            layer_1.bias.as_vec(),
            layer_2.weight.as_vec(),
            layer_2.bias.as_vec(),
            layer_3.weight.as_vec(),
            layer_3.bias.as_vec(),
        ]
        .concat()
        .iter()
        .map(|value| value.to_bits())
        .collect::<Vec<_>>()
    }};
}

macro_rules! bare {
    () => {
        |optimizer: &mut _, model: &mut _, grads: &mut _| {
            Optimizer::update(optimizer, model, grads).unwrap();
            ZeroGrads::zero_grads(model, grads);
        }
    };
}

macro_rules! applied {
    () => {
        |optimizer: &mut CyclicOptimizer<_, _>, model: &mut _, grads: &mut _| {
            optimizer.apply(model, grads, 0.5).unwrap();
        }
    };
}

fn adam_configs() -> Vec<AdamConfig> {
    let decays = [None, Some(WeightDecay::L2(0.01)), Some(WeightDecay::Decoupled(0.02))];
    decays.map(|weight_decay| AdamConfig { lr: 0.01, weight_decay, ..Default::default() }).into()
}

fn sgd_configs() -> Vec<SgdConfig> {
    let momenta = [None, Some(Momentum::Classic(0.9)), Some(Momentum::Nesterov(0.8))];
    let decays = [None, Some(WeightDecay::L2(0.01)), Some(WeightDecay::Decoupled(0.02))];
    let configs = momenta.map(|momentum| decays.map(|weight_decay| SgdConfig { lr: 0.05, momentum, weight_decay }));
    configs.concat()
}

fn rmsprop_configs() -> Vec<RMSpropConfig> {
    let both = [(None, false), (Some(0.9), false), (Some(0.5), true)];
    both.map(|(momentum, centered)| RMSpropConfig { lr: 0.01, momentum, centered, ..Default::default() }).into()
}

/// For one kind of optimizer: constant schedule == bare optimizer, ours == dfdx's, in place == `update` + `zero_grads`.
macro_rules! same_bits {
    ($name:ident, $kind:ident, $configs:ident, $dtype:ty) => {
        #[test]
        fn $name() {
            for cfg in $configs() {
                let constant = ClrConfig::new(Constant::new(cfg.lr).unwrap());
                let bits = train!($dtype, |model: &_| dfdx::optim::$kind::new(model, cfg), 40, bare!());
                let theirs = |model: &_| CyclicOptimizer::new(dfdx::optim::$kind::new(model, cfg), constant.clone());
                assert_eq!(train!($dtype, theirs, 40, bare!()), bits, "dfdx's wrapped, {cfg:?}");
                assert_eq!(train!($dtype, theirs, 40, applied!()), bits, "dfdx's applied, {cfg:?}");
                assert_eq!(train!($dtype, |_: &_| $kind::new(cfg), 40, bare!()), bits, "ours bare, {cfg:?}");
                let ours = |_: &_| CyclicOptimizer::new($kind::new(cfg), constant.clone());
                assert_eq!(train!($dtype, ours, 40, bare!()), bits, "ours wrapped, {cfg:?}");
                assert_eq!(train!($dtype, ours, 40, applied!()), bits, "ours applied, {cfg:?}");

                // With a schedule: the test writes its rates into the bare optimizer.
                let mut config = ClrConfig::new(Cyclic::triangular2(0.001, 0.05, 7).unwrap());
                if cfg.get(Hyper::Momentum).is_some() {
                    config = config.with_momentum(0.7, 0.95).unwrap();
                }
                let mut rates = config.preview();
                let by_hand = train!($dtype, |model: &_| dfdx::optim::$kind::new(model, cfg), 40, {
                    |optimizer: &mut dfdx::optim::$kind<_, _, _>, model: &mut _, grads: &mut _| {
                        let used = rates.next().unwrap();
                        optimizer.cfg.set(Hyper::LearningRate, used.lr).unwrap();
                        if let Some(momentum) = used.momentum {
                            optimizer.cfg.set(Hyper::Momentum, momentum).unwrap();
                        }
                        bare!()(optimizer, model, grads);
                    }
                });
                assert_ne!(by_hand, bits);
                let ours = |_: &_| CyclicOptimizer::new($kind::new(cfg), config.clone());
                assert_eq!(train!($dtype, ours, 40, bare!()), by_hand, "ours scheduled, {cfg:?}");
                assert_eq!(train!($dtype, ours, 40, applied!()), by_hand, "ours scheduled and applied, {cfg:?}");
            }
        }
    };
}

same_bits!(adam_f32, Adam, adam_configs, f32);
same_bits!(adam_f64, Adam, adam_configs, f64);
same_bits!(sgd_f32, Sgd, sgd_configs, f32);
same_bits!(sgd_f64, Sgd, sgd_configs, f64);
same_bits!(rmsprop_f32, RMSprop, rmsprop_configs, f32);
same_bits!(rmsprop_f64, RMSprop, rmsprop_configs, f64);

/// Code that takes any dfdx optimizer.
fn step<O: Optimizer<M, Cpu, f32>, M>(optimizer: &mut O, model: &mut M, grads: &Gradients<f32, Cpu>) {
    optimizer.update(model, grads).unwrap();
}

/// The user's own line, with everything inferred at the first update; and each form of config.
#[test]
fn the_constructor_infers() {
    let device = Cpu::default();
    let mut model = device.build_module::<Linear<3, 1>, f32>();
    let grads = model.alloc_grads();
    let clr_cfg = ClrConfig::new(Cyclic::triangular(0.001, 0.006, 10).unwrap());
    let mut optimizer = CyclicOptimizer::new(Adam::default(), clr_cfg);
    optimizer.update(&mut model, &grads).unwrap();
    let mut optimizer = CyclicOptimizer::new(Sgd::default(), Cyclic::triangular(0.001, 0.006, 10).unwrap());
    optimizer.update(&mut model, &grads).unwrap();
    let mut optimizer = CyclicOptimizer::new(RMSprop::default(), ClrConfig::custom(from_fn(|_| 0.1)));
    optimizer.update(&mut model, &grads).unwrap();
    assert_eq!(optimizer.last().unwrap().lr, 0.1);

    step(&mut optimizer, &mut model, &grads);
    let without_update = CyclicOptimizer::new(Adam::<f32, Cpu>::default(), OneCycle::new(0.1, 10).unwrap());
    assert_eq!(without_update.get_ref().cfg.lr, 0.1 / 25.0);
}

#[test]
fn ours_are_send() {
    fn is_send<T: Send>() {}
    is_send::<CyclicOptimizer<Adam<f32, Cpu>>>();
    is_send::<CyclicOptimizer<Sgd<f64, Cpu>>>();
    is_send::<CyclicOptimizer<RMSprop<f32, Cpu>>>();
}

#[test]
fn momentum_is_never_switched_on_silently() {
    let config = || ClrConfig::new(OneCycle::new(0.1, 100).unwrap()).with_momentum(0.85, 0.95).unwrap();
    let none = CyclicOptimizer::try_new(Sgd::<f32, Cpu>::default(), config());
    assert_eq!(none.unwrap_err(), ConfigError::NoMomentum);
    let none = CyclicOptimizer::try_new(RMSprop::<f32, Cpu>::default(), config());
    assert_eq!(none.unwrap_err(), ConfigError::NoMomentum);
    let nesterov = SgdConfig { momentum: Some(Momentum::Nesterov(0.5)), ..Default::default() };
    let some = CyclicOptimizer::try_new(Sgd::<f32, Cpu>::new(nesterov), config()).unwrap();
    assert!(matches!(some.get_ref().cfg.momentum, Some(Momentum::Nesterov(momentum)) if momentum == 0.95));
}

#[test]
#[should_panic(expected = "the inner optimizer has no momentum")]
fn new_panics_where_try_new_errs() {
    let config = ClrConfig::new(OneCycle::new(0.1, 100).unwrap()).with_momentum(0.85, 0.95).unwrap();
    let _ = CyclicOptimizer::new(Sgd::<f32, Cpu>::default(), config);
}

type Pair = (Tensor<Rank1<3>, f32, Cpu>, Tensor<Rank1<2>, f32, Cpu>);

/// A model of two tensors, of which a loss uses only the first.
fn half_used() -> (Pair, impl Fn(&Pair) -> Gradients<f32, Cpu>) {
    let device = Cpu::default();
    let model = (device.tensor([1.0, 2.0, 3.0]), device.tensor([4.0, 5.0]));
    // dfdx reports nothing in `alloc_grads` loops, so this one leaks.
    (model, |model: &Pair| model.0.leaky_trace().square().sum().backward())
}

/// For each optimizer: a missing gradient is reported as dfdx reports it, all others have moved, and the update counts.
#[test]
fn missing_gradients() {
    macro_rules! check {
        ($kind:ident) => {{
            let (mut theirs, grads_of) = half_used();
            let mut optimizer = dfdx::optim::$kind::new(&theirs, Default::default());
            let (mut ours, _) = half_used();
            let cyclic = || Constant::new(optimizer.cfg.lr).unwrap();
            let mut wrapped = CyclicOptimizer::new($kind::default(), cyclic());
            let mut wrapped_theirs =
                CyclicOptimizer::new(dfdx::optim::$kind::new(&theirs, Default::default()), cyclic());
            let (mut through_theirs, _) = half_used();
            for update in 1..=3 {
                let grads = grads_of(&theirs);
                let expected = optimizer.update(&mut theirs, &grads);
                let Err(OptimizerUpdateError::UnusedParams(expected)) = expected else { panic!("dfdx reports it") };
                assert_eq!(expected.ids.len(), 1);

                let grads = grads_of(&ours);
                let Err(OptimizerUpdateError::UnusedParams(found)) = wrapped.update(&mut ours, &grads) else {
                    panic!("so do ours")
                };
                assert_eq!(found.ids.len(), 1);
                assert_eq!((ours.0.array(), ours.1.array()), (theirs.0.array(), theirs.1.array()));
                assert_eq!(wrapped.iterations(), update);

                let grads = grads_of(&through_theirs);
                assert!(wrapped_theirs.update(&mut through_theirs, &grads).is_err());
                assert_eq!(wrapped_theirs.iterations(), update);
            }
            assert_ne!(ours.0.array(), [1.0, 2.0, 3.0]);
            assert_eq!(ours.1.array(), [4.0, 5.0]);

            // A gradient of zeros, or of NaN, is a gradient.
            let device = Cpu::default();
            let factor: Tensor<Rank1<2>, f32, _> = device.tensor([0.0, f32::NAN]);
            let grads = (ours.0.leaky_trace().square().sum() + (ours.1.leaky_trace() * factor).sum()).backward();
            wrapped.update(&mut ours, &grads).unwrap();
        }};
    }
    check!(Adam);
    check!(Sgd);
    check!(RMSprop);
}

/// The first `apply` reports the missing gradient. After that the gradient exists, as in dfdx after `zero_grads`.
#[test]
fn missing_gradients_in_place() {
    macro_rules! check {
        ($kind:ident) => {{
            let (mut theirs, grads_of) = half_used();
            let (mut ours, _) = half_used();
            let mut optimizer = dfdx::optim::$kind::new(&theirs, Default::default());
            let mut wrapped = CyclicOptimizer::new($kind::default(), Constant::new(optimizer.cfg.lr).unwrap());
            let mut grads = grads_of(&theirs);
            let mut our_grads = grads_of(&ours);
            for update in 0..3 {
                let expected = optimizer.update_in_place(&mut theirs, &mut grads);
                let found = wrapped.apply(&mut ours, &mut our_grads, 1.0);
                let named = |names: &[String]| names == ["1"];
                assert_eq!(matches!(expected, Err(UpdateFailure::MissingGradients(names)) if named(&names)), update == 0);
                assert_eq!(matches!(found, Err(UpdateError::MissingGradients(names)) if named(&names)), update == 0);
                assert_eq!((ours.0.array(), ours.1.array()), (theirs.0.array(), theirs.1.array()));
                assert_eq!(our_grads.get(&ours.0).array(), [0.0; 3]);
                assert_eq!(our_grads.get(&ours.1).array(), [0.0; 2]);
                grads = (theirs.0.trace(grads).square().sum()).backward();
                our_grads = (ours.0.trace(our_grads).square().sum()).backward();
            }
            assert_eq!(wrapped.iterations(), 3);
        }};
    }
    check!(Adam);
    check!(Sgd);
    check!(RMSprop);
}

/// An invalid rate of a custom schedule is refused, as an invalid loss is.
#[test]
fn what_is_no_rate_is_refused() {
    let (mut model, grads_of) = half_used();
    let mut grads = grads_of(&model);
    let nan_later = from_fn(|t| if t == 1 { f64::NAN } else { 0.1 });
    let mut custom = CyclicOptimizer::new(Sgd::default(), ClrConfig::custom(nan_later));
    let _ = custom.apply(&mut model, &mut grads, 1.0);
    let refused = custom.apply(&mut model, &mut grads, 1.0).unwrap_err();
    assert!(matches!(refused, UpdateError::Schedule { iteration: 1, .. }), "{refused}");
}

/// A schedule of each kind, all of which lead a small convex problem near its minimum within 400 updates.
fn policies() -> Vec<Policy> {
    let (low, high) = (0.01, 0.1);
    vec![
        Constant::new(0.05).unwrap().into(),
        LinearDecay::new(high, low, 300).unwrap().into(),
        StepDecay::new(high, 100, 0.5).unwrap().into(),
        MultiStepDecay::new(high, [150, 300], 0.3).unwrap().into(),
        ExponentialDecay::new(high, 0.995).unwrap().into(),
        PolynomialDecay::new(high, low, 300, 2.0).unwrap().into(),
        CosineDecay::new(high, low, 300).unwrap().into(),
        InverseTimeDecay::new(high, 0.01).unwrap().into(),
        InverseSqrtDecay::new(high, 50).unwrap().into(),
        Cyclic::triangular(low, high, 25).unwrap().into(),
        Cyclic::triangular2(low, high, 25).unwrap().into(),
        Cyclic::exp_range(low, high, 25, 0.995).unwrap().into(),
        Cyclic::over_total(low, high, 400, 4, 0.3)
            .unwrap()
            .with_curves(Curve::Cosine, Curve::Cosine)
            .with_amplitude(Amplitude::Factor(0.7))
            .unwrap()
            .into(),
        OneCycle::new(high, 400).unwrap().into(),
        WarmRestarts::new(low, high, 50).unwrap().with_t_mult(2).unwrap().into(),
        Sequence::warmup_cosine(0.0, high, low, 40, 400).unwrap().into(),
    ]
}

/// Every optimizer on toy functions, as in the notebook of bckenstler/CLR, here under every kind of schedule.
#[test]
fn every_optimizer_under_every_policy_minimises_toy_functions() {
    macro_rules! minimise {
        ($optimizer:expr) => {
            for policy in policies() {
                let device = Cpu::default();
                let target: Tensor<Rank1<3>, f64, _> = device.tensor([1.0, -2.0, 0.5]);
                let curvature: Tensor<Rank1<3>, f64, _> = device.tensor([1.0, 0.3, 2.0]);
                let mut w: Tensor<Rank1<3>, f64, _> = device.zeros();
                let mut grads = w.alloc_grads();
                let mut optimizer = CyclicOptimizer::new($optimizer, policy.clone());
                let mut first = None;
                for _ in 0..400 {
                    let bowl = ((w.trace(grads) - target.clone()).square() * curvature.clone()).sum();
                    let loss = bowl.array();
                    first.get_or_insert(loss);
                    grads = bowl.backward();
                    optimizer.apply(&mut w, &mut grads, loss).unwrap();
                }
                let left = ((w.clone() - target).square() * curvature).sum::<Rank0, _>().array();
                assert!(left < 0.02 * first.unwrap(), "{policy:?} left {left} with {:?}", stringify!($optimizer));
            }
        };
    }
    minimise!(Adam::default());
    minimise!(Sgd::default());
    minimise!(Sgd::new(SgdConfig { momentum: Some(Momentum::Classic(0.5)), ..Default::default() }));
    minimise!(RMSprop::default());
    let cpu: Tensor<Rank1<3>, f64, Cpu> = Cpu::default().zeros();
    minimise!(dfdx::optim::Adam::new(&cpu, AdamConfig::default()));
    minimise!(dfdx::optim::Sgd::new(&cpu, SgdConfig::default()));
    minimise!(dfdx::optim::RMSprop::new(&cpu, RMSpropConfig::default()));
}

/// Runs a golden training run through the wrapper; returns the parameters after each update.
fn train_golden<O>(case: &Value, inner: O, schedule: Cyclic) -> Vec<[f64; 4]>
where
    O: InPlace<Tensor<Rank1<4>, f64, Cpu>, Cpu, f64> + Hyperparameters,
{
    let flat = |field: &str| -> Vec<f64> {
        let rows = case[field].as_array().unwrap().iter();
        rows.flat_map(|row| row.as_array().cloned().unwrap_or_else(|| vec![row.clone()]))
            .map(|value| value.as_f64().unwrap())
            .collect()
    };
    let device = Cpu::default();
    let a: Tensor<Rank2<12, 4>, f64, _> = device.tensor_from_vec(flat("A"), Default::default());
    let y: Tensor<Rank1<12>, f64, _> = device.tensor_from_vec(flat("y"), Default::default());
    let mut w: Tensor<Rank1<4>, f64, _> = device.tensor_from_vec(flat("w0"), Default::default());
    let momentum = |field: &str| case["schedule"].get(field).and_then(Value::as_f64);
    let mut config = ClrConfig::new(schedule);
    if let (Some(base), Some(max)) = (momentum("base_momentum"), momentum("max_momentum")) {
        config = config.with_scaled_momentum(base, max).unwrap();
    }
    let mut optimizer = CyclicOptimizer::new(inner, config);
    let mut grads = w.alloc_grads();
    let transposed = a.permute::<Rank2<4, 12>, dfdx::shapes::Axes2<1, 0>>();
    let mut run = Vec::new();
    for _ in 0..case["steps"].as_u64().unwrap() {
        let loss = (w.trace(grads).matmul(transposed.clone()) - y.clone()).square().mean();
        let value = loss.array();
        grads = loss.backward();
        optimizer.apply(&mut w, &mut grads, value).unwrap();
        run.push(w.array());
    }
    run
}

/// SGD, momentum, Nesterov with L2, Adam and AdamW under PyTorch's CyclicLR: the parameters after chosen updates.
#[test]
fn golden_training_runs() {
    let path = format!("{}/tests/data/training_runs.json", env!("CARGO_MANIFEST_DIR"));
    let document: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut compared = 0;
    for case in document["cases"].as_array().unwrap() {
        let number = |field: &str| case["schedule"][field].as_f64().unwrap();
        let (base, max) = (number("base_lr"), number("max_lr"));
        let size = case["schedule"]["step_size_up"].as_u64().unwrap();
        let schedule = match case["schedule"]["mode"].as_str().unwrap() {
            "triangular" => Cyclic::triangular(base, max, size),
            "triangular2" => Cyclic::triangular2(base, max, size),
            _ => Cyclic::exp_range(base, max, size, number("gamma")),
        }
        .unwrap();
        let adam = |weight_decay| AdamConfig { weight_decay, ..Default::default() };
        let momentum = case["momentum"].as_f64().map(|momentum| {
            let kind = if case["nesterov"] == true { Momentum::Nesterov } else { Momentum::Classic };
            kind(momentum)
        });
        let sgd = SgdConfig { lr: 0.0, momentum, weight_decay: case["l2"].as_f64().map(WeightDecay::L2) };
        let decoupled = case["decoupled"].as_f64().map(WeightDecay::Decoupled);
        let run = match case["optimizer"].as_str().unwrap() {
            "sgd" => train_golden(case, Sgd::new(sgd), schedule),
            "adam" => train_golden(case, Adam::new(adam(None)), schedule),
            _ => train_golden(case, Adam::new(adam(decoupled)), schedule),
        };
        for point in case["parameters_after_update"].as_array().unwrap() {
            let update = usize::try_from(point[0].as_u64().unwrap()).unwrap();
            for (value, expected) in run[update].iter().zip(point[1].as_array().unwrap()) {
                let expected = expected.as_f64().unwrap();
                assert!((value - expected).abs() <= 1e-9, "{} after {update}: {value}, {expected}", case["source"]);
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 15 * 10 * 4);
}

/// Resetting in mid-training: the very next update uses the schedule's first value, in the new range.
#[test]
fn cycles_are_reset_mid_training() {
    let device = Cpu::default();
    let mut w: Tensor<Rank0, f32, _> = device.tensor(1.0);
    let mut grads = w.alloc_grads();
    let mut optimizer = CyclicOptimizer::new(Adam::default(), Cyclic::triangular(0.125, 0.25, 4).unwrap());
    let mut used = Vec::new();
    for update in 0..8 {
        if update == 3 {
            optimizer.reset_cycle();
            optimizer.set_range(0.0625, 0.125).unwrap();
            assert_eq!(optimizer.get_ref().cfg.lr, 0.0625);
        }
        grads = w.trace(grads).square().backward();
        used.push(optimizer.apply(&mut w, &mut grads, 0.0).unwrap().lr);
    }
    assert_eq!(used, [0.125, 0.15625, 0.1875, 0.0625, 0.078125, 0.09375, 0.109375, 0.125]);
    assert_eq!((optimizer.iterations(), optimizer.clr_iterations()), (8, 5));
    assert!(!optimizer.at_cycle_end());
    for _ in 0..3 {
        grads = w.trace(grads).square().backward();
        optimizer.apply(&mut w, &mut grads, 0.0).unwrap();
    }
    assert!(optimizer.at_cycle_end() && !optimizer.is_finished() && optimizer.remaining().is_none());
    // A rate that is set by hand does not outlast the schedule.
    optimizer.get_mut().cfg.lr = 100.0;
    grads = w.trace(grads).square().backward();
    optimizer.apply(&mut w, &mut grads, 0.0).unwrap();
    assert_eq!(optimizer.last().unwrap().lr, 0.0625);
    assert!(optimizer.config().schedule().range().is_some());
}

/// A gradient of ones is a gradient, and gradients may exist for only a part of the model.
#[test]
fn missing_is_told_from_ones_and_from_the_rest_of_the_model() {
    let (mut model, _) = half_used();
    let ones = (model.0.leaky_trace().sum() + model.1.leaky_trace().sum()).backward();
    Sgd::default().update(&mut model, &ones).unwrap();
    assert_eq!(model.0.array(), [0.99, 1.99, 2.99]);

    let part = model.0.trace(model.0.alloc_grads()).square().sum().backward();
    let result = Sgd::default().update(&mut model, &part);
    assert!(matches!(result, Err(OptimizerUpdateError::UnusedParams(unused)) if unused.ids.len() == 1));
}

/// After an update in which all gradients existed, a missing one counts as zeros; the documentation of the adapter says
/// why.
#[test]
fn a_gradient_that_goes_missing_later_counts_as_zeros() {
    let (mut model, grads_of) = half_used();
    let mut optimizer = Sgd::default();
    let all = (model.0.leaky_trace().square().sum() + model.1.leaky_trace().square().sum()).backward();
    optimizer.update(&mut model, &all).unwrap();
    let before = model.1.array();
    let half = grads_of(&model);
    optimizer.update(&mut model, &half).unwrap();
    assert_eq!(model.1.array(), before);
}

/// An update in place leaves the gradients as `zero_grads` does: temporaries are dropped, and nothing grows from update
/// to update.
#[test]
fn nothing_piles_up() {
    let (mut model, _) = half_used();
    let mut optimizer = Sgd::default();
    let mut grads = (model.0.leaky_trace().square().sum() + model.1.leaky_trace().square().sum()).backward();
    optimizer.update_in_place(&mut model, &mut grads).unwrap();
    let entries = |grads: &Gradients<f32, Cpu>| format!("{grads:?}").matches("UniqueId").count();
    assert_eq!(entries(&grads), entries(&model.alloc_grads()));
    let size = format!("{optimizer:?}").len();
    optimizer.update_in_place(&mut model, &mut grads).unwrap();
    assert_eq!(format!("{optimizer:?}").len(), size);
}

/// Tensors that are not parameters, such as running statistics, are not updated and not reported as missing.
#[test]
fn buffers_are_left_alone() {
    let device = Cpu::seed_from_u64(1);
    let mut model = device.build_module::<dfdx::nn::builders::BatchNorm1D<3>, f32>();
    let x: Tensor<Rank2<5, 3>, f32, _> = device.sample_normal();
    let grads = model.forward_mut(x.trace(model.alloc_grads())).square().sum().backward();
    let buffers = (model.running_mean.array(), model.running_var.array());
    let config = SgdConfig { weight_decay: Some(WeightDecay::L2(0.5)), ..Default::default() };
    Sgd::new(config).update(&mut model, &grads).unwrap();
    assert_eq!((model.running_mean.array(), model.running_var.array()), buffers);
    assert_ne!(model.scale.array(), [1.0; 3]);
}

/// A refusal names the update of the run, not of the cycle.
#[test]
fn a_refusal_counts_from_the_beginning_of_the_run() {
    let (mut model, _) = half_used();
    let mut grads = model.alloc_grads();
    let mut optimizer = CyclicOptimizer::new(Sgd::default(), Cyclic::triangular(0.1, 0.2, 4).unwrap());
    optimizer.apply(&mut model, &mut grads, 1.0).unwrap();
    optimizer.reset_cycle();
    let refused = optimizer.apply(&mut model, &mut grads, f32::NAN);
    assert!(matches!(refused, Err(UpdateError::NonFiniteLoss { iteration: 1, .. })));
}

/// An optimizer whose device is out of memory.
struct Broken;

impl Hyperparameters for Broken {
    fn get(&self, _: Hyper) -> Option<f64> {
        Some(0.0)
    }

    fn set(&mut self, _: Hyper, _: f64) -> Result<(), cyclic_optim::Unsupported> {
        Ok(())
    }
}

impl Optimizer<Pair, Cpu, f32> for Broken {
    fn update(&mut self, _: &mut Pair, _: &Gradients<f32, Cpu>) -> Result<(), OptimizerUpdateError<CpuError>> {
        Err(OptimizerUpdateError::DeviceError(CpuError::OutOfMemory))
    }
}

impl UpdateInPlace<Pair, Gradients<f32, Cpu>> for Broken {
    type Error = CpuError;

    fn update_in_place(&mut self, _: &mut Pair, _: &mut Gradients<f32, Cpu>) -> Result<(), UpdateFailure<CpuError>> {
        Err(UpdateFailure::Failed(CpuError::OutOfMemory))
    }
}

#[test]
fn an_update_that_the_device_failed_does_not_count() {
    let (mut model, _) = half_used();
    let mut grads = model.alloc_grads();
    let mut optimizer = CyclicOptimizer::new(Broken, Cyclic::triangular(0.1, 0.2, 4).unwrap());
    assert!(optimizer.update(&mut model, &grads).is_err());
    assert!(matches!(optimizer.apply(&mut model, &mut grads, 1.0), Err(UpdateError::Device(CpuError::OutOfMemory))));
    assert_eq!((optimizer.iterations(), optimizer.clr_iterations(), optimizer.last()), (0, 0, None));
}

/// Momentum that is switched off by hand is not reported by `apply` either.
#[test]
fn what_apply_does_not_use_it_does_not_report() {
    let (mut model, _) = half_used();
    let mut grads = model.alloc_grads();
    let inner = Sgd::new(SgdConfig { momentum: Some(Momentum::Classic(0.9)), ..Default::default() });
    let config = ClrConfig::new(OneCycle::new(0.1, 10).unwrap()).with_momentum(0.8, 0.9).unwrap();
    let mut optimizer = CyclicOptimizer::new(inner, config);
    assert_eq!(optimizer.apply(&mut model, &mut grads, 1.0).unwrap().momentum, Some(0.9));
    optimizer.get_mut().cfg.momentum = None;
    let used = optimizer.apply(&mut model, &mut grads, 1.0).unwrap();
    assert_eq!((used.momentum, optimizer.last()), (None, Some(used)));
}

/// Two optimizers on two sub-modules cannot share one set of gradients: the first update drops the second's.
#[test]
fn an_update_drops_the_gradients_of_other_models() {
    let device = Cpu::default();
    let (mut first, mut second): (Tensor<Rank0, f32, _>, Tensor<Rank0, f32, _>) =
        (device.tensor(1.0), device.tensor(2.0));
    let optimizer = || CyclicOptimizer::new(Sgd::default(), Constant::new(0.1).unwrap());
    let gradients = || (first.leaky_trace() * second.clone()).backward();
    let mut shared = gradients();
    let mut own = gradients();
    optimizer().apply(&mut first, &mut shared, 2.0).unwrap();
    assert!(matches!(optimizer().apply(&mut second, &mut shared, 2.0), Err(UpdateError::MissingGradients(_))));
    optimizer().apply(&mut second, &mut own, 2.0).unwrap();
    assert!((second.array() - 1.9).abs() < 1e-6);
}
