//! The range test on real dfdx models. It changes no bit of the model, the optimizer or the training that follows.

#![cfg(feature = "dfdx")]

use std::cell::Cell;

use cyclic_optim::adapters::dfdx::{InPlace, RangeTestError, range_test, weight_decay_grid};
use cyclic_optim::range_test::{LossCurve, RangeTest, StopReason, Suggestion};
use cyclic_optim::training::UpdateInPlace;
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

/// The bits of the parameters.
fn bits(model: &Model) -> Vec<u32> {
    let ((first, _), second) = model;
    let parameters = [first.weight.as_vec(), first.bias.as_vec(), second.weight.as_vec(), second.bias.as_vec()];
    parameters.concat().iter().map(|value| value.to_bits()).collect()
}

/// Trains, with or without a range test in the middle. The `Debug` form of the optimizer shows everything, moments included.
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
    // Not the `Debug` form: dfdx names tensors in it by a counter of the process.
    (bits(&model), format!("{:?}", optimizer.state()))
}

/// Our optimizer and that of dfdx.
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

/// On the sweeps of 27 real trainings, with weak and strong smoothing, the recommended rate is never beyond the minimum of the
/// smoothed curve. If the curve is not refused as noisy, the rate is within the fall.
#[test]
fn the_recommendation_lies_before_the_minimum_of_real_curves() {
    use cyclic_optim::Smoothing;
    use cyclic_optim::range_test::{LossPoint, NoSuggestion};

    let (mut curves, mut found) = (0, 0);
    for line in include_str!("data/loss_curves.txt").lines().filter(|line| !line.starts_with('#')) {
        let losses = line.rsplit(',').next().unwrap().split(' ').map(|loss| loss.parse().unwrap());
        let point =
            |(n, loss): (i32, f64)| LossPoint { lr: 1e-6 * 10_f64.powf(f64::from(n) / 20.0), loss, validation: None };
        let curve = LossCurve::new((0..).zip(losses).map(point).collect(), StopReason::Diverged);
        for alpha in [0.0, 0.5, 0.8, 0.9, 0.98] {
            curves += 1;
            let smoothing = Smoothing::exponential(alpha).unwrap();
            match curve.recommended(&smoothing) {
                Ok(recommended) => {
                    found += 1;
                    let smoothed = curve.smoothed(&smoothing);
                    let finite = smoothed.points().iter().filter(|point| point.loss.is_finite());
                    let minimum = finite.min_by(|a, b| a.loss.total_cmp(&b.loss)).unwrap();
                    assert!(recommended.lr <= minimum.lr, "{line}: {recommended}");
                    assert!(recommended.lr > 1e-5 && recommended.lr < 1.0, "{line}: {recommended}");
                }
                Err(NoSuggestion::TooNoisy { .. } | NoSuggestion::NeverFalls) => {}
                Err(other) => panic!("{line}: {other}"),
            }
        }
    }
    println!("{found} of {curves} curves have a recommendation");
    assert!(curves == 135 && found >= 90, "{found} of {curves}");
}

/// The test does the same as a training loop at these rates.
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

/// Weight decay has an effect, L2 and decoupled differ, 0 is none, and all sweeps start from the same moments.
#[test]
fn the_grid_decays_weights() {
    let (mut model, batches) = model_and_batches();
    let test = RangeTest::linear(0.01, 0.3, 30).unwrap();
    let all = || batches.iter().cloned().cycle();
    let momentum = Some(Momentum::Classic(0.9));
    // An optimizer with moments.
    let mut warmed_up = |weight_decay| {
        let mut inner: Sgd<f32, Cpu> = Sgd::new(SgdConfig { lr: 0.0, momentum, weight_decay });
        let mut grads = step(&model, model.alloc_grads(), batches[0].clone()).1;
        inner.update_in_place(&mut model, &mut grads).unwrap();
        inner
    };
    let inners = [Some(WeightDecay::L2(0.5)), Some(WeightDecay::Decoupled(0.5)), None].map(&mut warmed_up);
    let [l2, decoupled] = [&inners[0], &inners[1]].map(|inner| {
        let grid = weight_decay_grid(&model, inner, &test, &[0.1, 0.0, 0.1, 1.0], all, train, no_validation).unwrap();
        assert!(grid.best(Suggestion::MinimumOverTen).is_ok());
        assert_eq!(grid.suggest(Suggestion::Valley).count(), 4);
        let losses: Vec<Vec<f64>> = grid.entries().iter().map(|entry| entry.curve.losses()).collect();
        assert!(losses.iter().all(|losses| losses[0] == losses_at_start(&model, &batches)));
        assert_eq!(losses[0], losses[2], "the sweeps are independent");
        assert!(losses[0] != losses[1] && losses[1] != losses[3]);
        losses
    });
    assert_ne!(l2[0], decoupled[0]);
    // The L2 optimizer has other moments than one without weight decay, so compare 0 with none from the start.
    let fresh = |weight_decay| Sgd::<f32, Cpu>::new(SgdConfig { lr: 0.0, momentum, weight_decay });
    let none = range_test(&model, &fresh(None), &test, all(), train, no_validation).unwrap();
    let zero = fresh(Some(WeightDecay::L2(0.5)));
    let zero = weight_decay_grid(&model, &zero, &test, &[0.0], all, train, no_validation).unwrap();
    assert_eq!(zero.entries()[0].curve.losses(), none.losses());
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

/// An empty source, a short one, a failing closure, a loss of NaN, an unsupported weight decay: a typed error or a curve with the
/// reason for its end, and no change of the model.
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

/// Dropout draws from the device of the batches. With batches on a separate device, the range test does not change the training
/// that follows.
#[test]
fn dropout_masks_stay_with_batches_on_a_separate_device() {
    use dfdx::prelude::ModuleMut;

    type Dropping = (Linear<6, 16>, dfdx::nn::builders::DropoutOneIn<2>, Linear<16, 2>);
    let run = |tested: bool, own: bool| {
        let device = Cpu::seed_from_u64(3);
        let mut model = device.build_module::<Dropping, f32>();
        let batch: Batch = (device.sample_normal(), device.sample_normal());
        let inner: Sgd<f32, Cpu> = Sgd::default();
        if tested {
            let device = if own { Cpu::seed_from_u64(1) } else { device.clone() };
            let step = |model: &mut _, grads, (x, y): Batch| {
                let model: &mut <Dropping as dfdx::nn::BuildOnDevice<Cpu, f32>>::Built = model;
                let loss = mse_loss(model.forward_mut(x.to_device(&device).trace(grads)), y);
                Ok::<_, String>((loss.array(), loss.backward()))
            };
            range_test(&model, &inner, &test(), std::iter::repeat_n(batch.clone(), 5), step, |_| Ok(None)).unwrap();
        }
        let grads = model.alloc_grads();
        mse_loss(model.forward_mut(batch.0.trace(grads)), batch.1.clone()).array()
    };
    let untested = run(false, false);
    assert_eq!(run(true, true), untested);
    assert_ne!(run(true, false), untested, "as the documentation warns");
}
