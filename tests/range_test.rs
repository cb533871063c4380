//! The range test on real dfdx models: afterwards everything is as it was, bit for bit, and so is the training that follows.

#![cfg(feature = "dfdx")]

use std::cell::Cell;

use cyclic_optim::adapters::dfdx::{InPlace, RangeTestError, range_test, weight_decay_grid};
use cyclic_optim::range_test::{LossCurve, RangeTest, StopReason, Suggestion};
use cyclic_optim::{Adam, ConfigError, Cyclic, CyclicOptimizer, Hyper, Hyperparameters, RMSprop, Sgd};
use dfdx::nn::builders::{Linear, ReLU};
use dfdx::nn::modules;
use dfdx::optim::{AdamConfig, Momentum, RMSpropConfig, SgdConfig, WeightDecay};
use dfdx::prelude::{
    AsArray, Backward, Cpu, DeviceBuildExt, Module, Rank2, SampleTensor, Tensor, Trace, ZeroGrads, mse_loss,
};
use dfdx::tensor::Gradients;

type Model = ((modules::Linear<6, 16, f32, Cpu>, modules::ReLU), modules::Linear<16, 2, f32, Cpu>);
type Batch = (Tensor<Rank2<8, 6>, f32, Cpu>, Tensor<Rank2<8, 2>, f32, Cpu>);

fn model_and_batches() -> (Model, Vec<Batch>) {
    let device = Cpu::seed_from_u64(3);
    let model = device.build_module::<((Linear<6, 16>, ReLU), Linear<16, 2>), f32>();
    (model, (0..10).map(|_| (device.sample_normal(), device.sample_normal())).collect())
}

type Step = (f32, Gradients<f32, Cpu>);

fn step(model: &Model, grads: Gradients<f32, Cpu>, (x, y): Batch) -> Step {
    let loss = mse_loss(model.forward(x.trace(grads)), y);
    (loss.array(), loss.backward())
}

#[expect(clippy::unnecessary_wraps, reason = "the range test's closures may fail")]
fn train(model: &mut Model, grads: Gradients<f32, Cpu>, batch: Batch) -> Result<Step, String> {
    Ok(step(model, grads, batch))
}

#[expect(clippy::unnecessary_wraps, reason = "the range test's closures may fail")]
fn no_validation(_: &Model) -> Result<Option<f64>, String> {
    Ok(None)
}

fn test() -> RangeTest {
    RangeTest::logarithmic(1e-4, 10.0, 60).unwrap()
}

/// Parameters, bit for bit.
fn bits(model: &Model) -> Vec<u32> {
    let ((first, _), second) = model;
    let parameters = [first.weight.as_vec(), first.bias.as_vec(), second.weight.as_vec(), second.bias.as_vec()];
    parameters.concat().iter().map(|value| value.to_bits()).collect()
}

/// Trains, tests the range or not, goes on training. Everything that can be seen of the optimizer is in its `Debug` form,
/// moments included.
fn run<O>(optimizer: O, tested: bool) -> (Vec<u32>, String)
where
    O: InPlace<Model, Cpu, f32> + Hyperparameters + Clone + std::fmt::Debug,
{
    let (mut model, batches) = model_and_batches();
    let mut grads = model.alloc_grads();
    let mut optimizer = CyclicOptimizer::new(optimizer, Cyclic::triangular(0.001, 0.01, 4).unwrap());
    for update in 0..14 {
        if tested && update == 7 {
            let before = (bits(&model), format!("{optimizer:?}"));
            let curve =
                range_test(&model, optimizer.get_ref(), &test(), batches.iter().cloned().cycle(), train, no_validation);
            let curve = curve.unwrap();
            assert!(curve.points().len() > 20, "{curve:?}");
            assert!(curve.smith_range().is_ok(), "{curve:?}");
            let decays = if optimizer.get_ref().get(Hyper::WeightDecay).is_some() { &[0.0, 0.1][..] } else { &[0.0] };
            let all = || batches.iter().cloned().cycle();
            let grid = weight_decay_grid(&model, optimizer.get_ref(), &test(), decays, all, train, no_validation);
            assert_eq!(grid.unwrap().entries().len(), decays.len());
            assert_eq!((bits(&model), format!("{optimizer:?}")), before);
        }
        let (loss, found) = step(&model, grads, batches[update % 10].clone());
        grads = found;
        optimizer.apply(&mut model, &mut grads, loss).unwrap();
    }
    // dfdx's Debug form names tensors by a process-wide counter.
    (bits(&model), format!("{:?}", optimizer.state()))
}

/// Ours and dfdx's, for each kind.
macro_rules! unchanged {
    ($name:ident, $kind:ident, $config:expr) => {
        #[test]
        fn $name() {
            assert_eq!(run($kind::new($config), true), run($kind::new($config), false));
            let theirs = || dfdx::optim::$kind::new(&model_and_batches().0, $config);
            assert_eq!(run(theirs(), true), run(theirs(), false));
        }
    };
}

unchanged!(adam, Adam, AdamConfig { weight_decay: Some(WeightDecay::Decoupled(0.01)), ..Default::default() });
unchanged!(
    sgd_with_momentum,
    Sgd,
    SgdConfig { momentum: Some(Momentum::Nesterov(0.9)), weight_decay: Some(WeightDecay::L2(0.01)), lr: 0.1 }
);
unchanged!(rmsprop, RMSprop, RMSpropConfig { momentum: Some(0.5), ..Default::default() });

/// The test does what a training loop would do at these rates.
#[test]
fn the_curve_is_that_of_a_plain_loop() {
    let (model, batches) = model_and_batches();
    let inner = Sgd::new(SgdConfig { momentum: Some(Momentum::Classic(0.9)), ..Default::default() });
    let curve = range_test(&model, &inner, &test(), batches.iter().cloned().cycle(), train, no_validation).unwrap();
    let (mut model, mut inner, mut grads) = (model.clone(), inner.clone(), model.alloc_grads());
    for (point, batch) in curve.points().iter().zip(batches.iter().cloned().cycle()) {
        let (loss, found) = step(&model, grads, batch);
        grads = found;
        assert_eq!(point.loss, f64::from(loss));
        if loss.is_finite() {
            inner.set(Hyper::LearningRate, point.lr).unwrap();
            inner.update_in_place(&mut model, &mut grads).unwrap();
        }
    }
    assert!(matches!(curve.stop_reason(), StopReason::Diverged | StopReason::NotFinite), "{:?}", curve.stop_reason());
}

/// Weight decay is real: with much of it the parameters shrink and the loss is another one. All sweeps start the same.
#[test]
fn the_grid_decays_weights() {
    let (model, batches) = model_and_batches();
    for weight_decay in [WeightDecay::L2(0.5), WeightDecay::Decoupled(0.5)] {
        let inner: Sgd<f32, Cpu> = Sgd::new(SgdConfig { weight_decay: Some(weight_decay), lr: 0.1, momentum: None });
        let none: Sgd<f32, Cpu> = Sgd::new(SgdConfig { lr: 0.1, ..Default::default() });
        let test = RangeTest::linear(0.01, 0.3, 30).unwrap();
        let all = || batches.iter().cloned().cycle();
        let grid = weight_decay_grid(&model, &inner, &test, &[0.0, 0.1, 1.0], all, train, no_validation).unwrap();
        let losses: Vec<Vec<f64>> = grid.entries().iter().map(|entry| entry.curve.losses()).collect();
        assert!(losses.iter().all(|losses| losses[0] == losses_at_start(&model, &batches)));
        assert!(losses[0] != losses[1] && losses[1] != losses[2]);
        // 0 is none.
        let plain = range_test(&model, &none, &test, all(), train, no_validation).unwrap();
        assert_eq!(losses[0], plain.losses());
        assert!(grid.best(Suggestion::MinimumOverTen).is_ok());
        assert_eq!(grid.suggest(Suggestion::Valley).count(), 3);
    }
}

fn losses_at_start(model: &Model, batches: &[Batch]) -> f64 {
    step(model, model.alloc_grads(), batches[0].clone()).0.into()
}

#[test]
fn validation_sees_the_trained_clone() {
    let (model, batches) = model_and_batches();
    let validated = Cell::new(0);
    let test = RangeTest::logarithmic(1e-3, 0.1, 10).unwrap().with_batches_per_step(3).unwrap();
    let validate = |model: &Model| {
        validated.set(validated.get() + 1);
        Ok::<_, String>(Some(losses_at_start(model, &batches)))
    };
    let curve = range_test(&model, &Adam::default(), &test, batches.iter().cloned().cycle(), train, validate).unwrap();
    assert_eq!((curve.points().len(), validated.get()), (10, 10));
    assert!(curve.points()[9].validation.unwrap() < losses_at_start(&model, &batches));
    assert_eq!(curve.losses()[9], curve.points()[9].validation.unwrap());
}

/// An empty source, a short one, a failing closure, a loss of NaN, a weight decay that is not there: typed errors or a curve
/// with its reason, and never a changed model.
#[test]
fn bad_input() {
    let (model, batches) = model_and_batches();
    let inner: Adam<f32, Cpu> = Adam::default();
    let before = (bits(&model), format!("{inner:?}"));

    let empty = range_test(&model, &inner, &test(), [], train, no_validation);
    assert!(matches!(empty, Err(RangeTestError::NoBatches)));
    assert_eq!(empty.unwrap_err().to_string(), "the batch source is empty");

    let short: LossCurve = range_test(&model, &inner, &test(), batches.clone(), train, no_validation).unwrap();
    assert_eq!((short.points().len(), short.stop_reason()), (10, StopReason::NoMoreBatches));

    let mut calls = 0;
    let fails = |model: &mut Model, grads, batch| {
        calls += 1;
        if calls == 4 { Err("the disk is gone".to_string()) } else { Ok(step(model, grads, batch)) }
    };
    match range_test(&model, &inner, &test(), batches.clone(), fails, no_validation) {
        Err(RangeTestError::Closure { error, curve }) => {
            assert_eq!((error.as_str(), curve.points().len()), ("the disk is gone", 3));
        }
        other => panic!("{other:?}"),
    }
    let unvalidated = range_test(&model, &inner, &test(), batches.clone(), train, |_| Err("no set".to_string()));
    assert_eq!(unvalidated.unwrap_err().to_string(), "the range test was interrupted after 0 steps: no set");

    let nan = |_: &mut Model, grads, _| Ok::<_, String>((f32::NAN, grads));
    let curve = range_test(&model, &inner, &test(), batches.clone(), nan, no_validation).unwrap();
    assert_eq!((curve.points().len(), curve.stop_reason()), (1, StopReason::NotFinite));
    assert!(curve.suggest(Suggestion::Valley).is_err());

    let all = || batches.clone();
    let none = weight_decay_grid(&model, &inner, &test(), &[0.1], all, train, no_validation);
    assert!(matches!(none, Err(RangeTestError::Unsupported(_))));
    for bad in [&[][..], &[-1.0], &[f64::NAN]] {
        let bad = weight_decay_grid(&model, &inner, &test(), bad, all, train, no_validation);
        assert!(matches!(bad, Err(RangeTestError::Config(ConfigError::Empty { .. } | ConfigError::OutOfRange { .. }))));
    }
    assert_eq!((bits(&model), format!("{inner:?}")), before);
}
