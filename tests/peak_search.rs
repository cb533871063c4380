//! The search for a peak rate on real dfdx models. It changes no bit of the model, the optimizer or the training that follows.

#![cfg(feature = "dfdx")]

use std::convert::Infallible;

use cyclic_optim::adapters::dfdx::{InPlace, TrialError, choose_peak};
use cyclic_optim::range_test::{Candidate, LossCurve, PeakChoice, PeakSearch, PeakSearchError, StopReason, Trial};
use cyclic_optim::schedule::Schedule;
use cyclic_optim::{Adam, ConfigError, CyclicOptimizer, Hyperparameters, RMSprop, Sgd};
use dfdx::nn::builders::{Linear, ReLU};
use dfdx::nn::modules;
use dfdx::optim::{AdamConfig, Momentum, RMSpropConfig, SgdConfig, WeightDecay};
use dfdx::prelude::{
    AsArray, Backward, Cpu, DeviceBuildExt, Module, Rank2, SampleTensor, Tensor, Trace, ZeroGrads, mse_loss,
};
use dfdx::tensor::Gradients;

type Model = ((modules::Linear<6, 16, f32, Cpu>, modules::ReLU), modules::Linear<16, 2, f32, Cpu>);
type Batch = (Tensor<Rank2<8, 6>, f32, Cpu>, Tensor<Rank2<8, 2>, f32, Cpu>);

/// A model, batches of a function that it can learn, and their device.
fn start() -> (Cpu, Model, Vec<Batch>) {
    let device = Cpu::seed_from_u64(3);
    let model = device.build_module::<((Linear<6, 16>, ReLU), Linear<16, 2>), f32>();
    let teacher = device.build_module::<Linear<6, 2>, f32>();
    let batch = |_| {
        let x: Tensor<Rank2<8, 6>, f32, Cpu> = device.sample_normal();
        (x.clone(), teacher.forward(x))
    };
    let batches = (0..40).map(batch).collect();
    (device, model, batches)
}

fn step(model: &Model, grads: Gradients<f32, Cpu>, (x, y): Batch) -> (f32, Gradients<f32, Cpu>) {
    let loss = mse_loss(model.forward(x.trace(grads)), y);
    (loss.array(), loss.backward())
}

fn train(model: &mut Model, grads: Gradients<f32, Cpu>, batch: Batch) -> (f32, Gradients<f32, Cpu>) {
    step(model, grads, batch)
}

fn bits(model: &Model) -> Vec<u32> {
    let ((first, _), second) = model;
    let parameters = [first.weight.as_vec(), first.bias.as_vec(), second.weight.as_vec(), second.bias.as_vec()];
    parameters.concat().iter().map(|value| value.to_bits()).collect()
}

fn search() -> PeakSearch {
    PeakSearch::new(400).unwrap()
}

/// Trains, with or without a search in the middle; the `Debug` form of the optimizer shows everything, moments included. What the
/// device's generator gives next is part of the result.
fn run<O>(optimizer: O, searched: bool) -> (Vec<u32>, String, Vec<f32>)
where
    O: InPlace<Model, Cpu, f32> + Hyperparameters + Clone + std::fmt::Debug,
{
    let (device, mut model, batches) = start();
    let mut grads = model.alloc_grads();
    let mut optimizer = CyclicOptimizer::new(optimizer, cyclic_optim::Cyclic::triangular(0.001, 0.01, 4).unwrap());
    for update in 0..14 {
        if searched && update == 7 {
            let before = (bits(&model), format!("{optimizer:?}"));
            let choose =
                || choose_peak(&model, optimizer.get_ref(), &search(), batches.iter().cloned(), train).unwrap();
            let choice = choose();
            assert!(choice.candidates.len() >= 3 && choice.updates > 100, "{choice}");
            assert_eq!(choose(), choice, "the same bits each time");
            assert_eq!((bits(&model), format!("{optimizer:?}")), before);
        }
        let (loss, found) = step(&model, grads, batches[update].clone());
        grads = found;
        optimizer.apply(&mut model, &mut grads, loss).unwrap();
    }
    let next: Tensor<Rank2<1, 8>, f32, Cpu> = device.sample_normal();
    (bits(&model), format!("{:?}", optimizer.state()), next.as_vec())
}

macro_rules! unchanged {
    ($name:ident, $kind:ident, $config:expr) => {
        #[test]
        fn $name() {
            assert_eq!(run($kind::new($config), true), run($kind::new($config), false));
            let theirs = || dfdx::optim::$kind::new(&start().1, $config);
            assert_eq!(run(theirs(), true), run(theirs(), false));
        }
    };
}

unchanged!(adam, Adam, AdamConfig { weight_decay: Some(WeightDecay::Decoupled(0.01)), ..Default::default() });
unchanged!(sgd, Sgd, SgdConfig { momentum: Some(Momentum::Nesterov(0.9)), ..Default::default() });
unchanged!(rmsprop, RMSprop, RMSpropConfig { momentum: Some(0.5), ..Default::default() });

/// The chosen peak trains well, one ten times as high or as low does worse, and the schedules of the choice have it.
#[test]
fn the_peak_trains_and_the_schedules_have_it() {
    let (_, model, batches) = start();
    let inner = || Sgd::<f32, Cpu>::new(SgdConfig { momentum: Some(Momentum::Classic(0.9)), ..Default::default() });
    let choice = choose_peak(&model, &inner(), &search(), batches.iter().cloned(), train).unwrap();
    let fit = |peak: f64| {
        let (mut model, mut grads) = (model.clone(), model.alloc_grads());
        let schedule = cyclic_optim::OneCycle::new(peak, 400).unwrap();
        let mut optimizer = CyclicOptimizer::new(inner(), schedule);
        let mut last = f64::INFINITY;
        for batch in batches.iter().cloned().cycle().take(400) {
            let (loss, found) = step(&model, grads, batch);
            grads = found;
            if optimizer.apply(&mut model, &mut grads, loss).is_err() {
                return f64::INFINITY;
            }
            last = loss.into();
        }
        last
    };
    let (low, chosen, high) = (fit(choice.peak / 30.0), fit(choice.peak), fit(choice.peak * 30.0));
    assert!(chosen < low && chosen < high && chosen < 1e-2, "{low} {chosen} {high}: {choice}");
    let one_cycle = choice.one_cycle().unwrap();
    assert_eq!((one_cycle.horizon(), Schedule::range(&one_cycle).unwrap().max_lr), (Some(400), choice.peak));
    let triangular2 = choice.triangular2().unwrap();
    let heights: Vec<f64> = (0..4).map(|cycle| triangular2.value_at(50 + 100 * cycle)).collect();
    assert_eq!(heights[0], choice.peak);
    assert!(heights.windows(2).all(|pair| pair[1] < pair[0]), "{heights:?}");
}

#[test]
fn the_cost_is_known_beforehand_and_kept() {
    let (_, model, batches) = start();
    let cost = search().cost();
    assert_eq!((search().batches(), cost.typical, cost.at_most), (36, 188, 433));
    assert!(cost.is_high() && !PeakSearch::new(1000).unwrap().cost().is_high());
    assert_eq!(cost.to_string(), "about 188 updates, 47 % of the run's 400; at most 433");
    let mut trained = 0;
    let counted = |model: &mut Model, grads, batch| {
        trained += 1;
        step(model, grads, batch)
    };
    let choice = choose_peak(&model, &Adam::default(), &search(), batches, counted).unwrap();
    assert_eq!(choice.updates, trained);
    assert!(choice.updates <= cost.at_most, "{choice}");
}

/// Every loss that gives no rate, too few batches, a closure that fails, too short a run: a typed error, and no change.
#[test]
fn bad_input() {
    let (_, model, batches) = start();
    let inner = Adam::<f32, Cpu>::default();
    let before = (bits(&model), format!("{inner:?}"));
    let with_loss = |loss: f32| {
        let give = move |model: &mut Model, grads, batch| (loss, step(model, grads, batch).1);
        choose_peak(&model, &inner, &search(), batches.iter().cloned(), give).unwrap_err()
    };
    assert!(matches!(with_loss(f32::NAN), PeakSearchError::NotFinite { batch: 0, .. }));
    assert_eq!(with_loss(f32::INFINITY).to_string(), "the loss of batch 0 is inf before any update");
    let constant = with_loss(0.5);
    assert!(matches!(constant, PeakSearchError::NeverFalls { start: 0.5, .. }), "{constant}");
    assert!(matches!(with_loss(0.0), PeakSearchError::NeverFalls { .. }));

    let few = choose_peak(&model, &inner, &search(), batches[..5].iter().cloned(), train).unwrap_err();
    assert!(matches!(few, PeakSearchError::TooFewBatches { needed: 36, found: 5 }));
    assert_eq!(few.to_string(), "the search needs 36 batches, and there are 5");

    let mut calls = 0;
    let fails = |model: &mut Model, grads, batch| {
        calls += 1;
        if calls == 30 { Err("the disk is gone") } else { Ok(step(model, grads, batch)) }
    };
    let failed = choose_peak(&model, &inner, &search(), batches.iter().cloned(), fails).unwrap_err();
    assert!(matches!(failed, PeakSearchError::Trial { error: TrialError::Closure("the disk is gone"), updates: 29 }));
    assert_eq!(failed.to_string(), "the trial failed after 29 updates: the disk is gone");
    assert_eq!((bits(&model), format!("{inner:?}")), before);

    assert_eq!(PeakSearch::new(35), Err(ConfigError::TooSmall { field: "total_updates", value: 35, minimum: 36 }));
}

/// A loss that is a function of the rates alone.
struct Scripted<F> {
    updates: u32,
    loss: F,
}

impl<F: FnMut(u32, f64) -> f64> Trial for Scripted<F> {
    type Err = Infallible;

    fn restart(&mut self) -> Result<(), Infallible> {
        self.updates = 0;
        Ok(())
    }

    fn train(&mut self, _: u64, lr: f64, _: u32) -> Result<f64, Infallible> {
        self.updates += 1;
        Ok((self.loss)(self.updates, lr))
    }

    fn keep_optimizer(&mut self) {}
}

/// If the loss of a probe is lowest at a known rate, the search finds that rate, even after a first guess that is far
/// too high.
#[test]
fn the_fastest_rate_is_found() {
    for (best, optimistic) in [(3e-3, 1.0), (3e-3, 30.0), (0.2, 1.0), (0.2, 30.0)] {
        // Low rates do nothing, the best one lowers the loss to 1, higher ones do worse. The sweep sees it at rates that are
        // `optimistic` times as high: its rates change from update to update, those of a probe do not.
        let mut before = 0.0;
        let loss = |update, lr: f64| {
            let sweep = update > 6 && lr != before;
            before = lr;
            let distance = (lr / (best * if sweep { optimistic } else { 1.0 })).log10();
            2.0 - (-distance * distance).exp()
        };
        let choice = PeakSearch::new(1000).unwrap().run(&mut Scripted { updates: 0, loss }).unwrap();
        assert!((choice.rate / best).log10().abs() < 0.1, "{best} {optimistic}: {choice}");
        // n = 55: r / (1.05 (1000 / (18 * 55))^(1/4))
        assert!((choice.rate / choice.peak - 1.05 * (1000.0_f64 / 990.0).powf(0.25)).abs() < 1e-12);
    }
}

/// The best rate is found even if every higher rate diverges, and also if losses are negative.
#[test]
fn divergence_and_negative_losses() {
    let loss = |_, lr: f64| if lr > 0.05 { f64::NAN } else { -5.0 - (lr * 100.0).min(3.0) };
    let choice = PeakSearch::new(1000).unwrap().run(&mut Scripted { updates: 0, loss }).unwrap();
    assert!(choice.rate > 5e-3 && choice.rate < 0.05, "{choice}");
    assert!(choice.candidates.last().unwrap().loss.is_none(), "{choice}");
    assert_eq!(choice.curve.stop_reason(), StopReason::NotFinite);
    assert!(choice.to_string().ends_with("diverged"), "{choice}");
}

#[cfg(feature = "checkpoint")]
#[test]
fn a_choice_survives_json_to_the_bit() {
    let choice = PeakChoice {
        total_updates: 1000,
        peak: 0.1 + 0.2,
        rate: 1.0 / 3.0,
        candidates: vec![Candidate { lr: 0.1, loss: Some(0.3) }, Candidate { lr: 1.0, loss: None }],
        curve: LossCurve::new(vec![], StopReason::Diverged),
        updates: 240,
    };
    let text = serde_json::to_string(&choice).unwrap();
    assert_eq!(serde_json::from_str::<PeakChoice>(&text).unwrap(), choice);
    assert!(serde_json::from_str::<PeakChoice>(&text.replace("\"rate\"", "\"rat\"")).is_err());
    let changed = PeakChoice { peak: -1.0, ..choice };
    assert!(matches!(changed.one_cycle(), Err(ConfigError::Rate { field: "max_lr", .. })));
}

#[cfg(feature = "checkpoint")]
#[test]
fn a_checkpoint_holds_the_choice() {
    use cyclic_optim::Checkpoint;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let (_, mut model, batches) = start();
    let mut choice = choose_peak(&model, &Adam::default(), &search(), batches, train).unwrap();
    let expected = choice.clone();
    let mut optimizer = CyclicOptimizer::new(Adam::<f32, Cpu>::default(), choice.one_cycle().unwrap());
    Checkpoint::write_with(&path, &model, &optimizer, &[("choice", &choice)]).unwrap();
    let saved = Checkpoint::read(&path).unwrap();
    assert_eq!(saved.peak_choice(), Some(&expected));
    saved.restore_with(&mut model, &mut optimizer, &mut [("choice", &mut choice)]).unwrap();
    assert_eq!(choice, expected);
    Checkpoint::write(&path, &model, &optimizer).unwrap();
    assert_eq!(Checkpoint::read(&path).unwrap().peak_choice(), None);
}

#[cfg(feature = "plot")]
#[test]
fn the_picture_shows_the_candidates() {
    let (_, model, batches) = start();
    let choice = choose_peak(&model, &Adam::default(), &search(), batches, train).unwrap();
    let svg = choice.to_svg().unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("sweep") && svg.contains("short runs"));
    assert!(svg.contains(&format!("peak: {:.2e}", choice.peak)));
    for candidate in &choice.candidates {
        assert!(svg.contains(&format!("{:.2e}: ", candidate.lr)), "{candidate:?}");
    }
}
