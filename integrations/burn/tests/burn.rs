//! The scheduler in burn: rates, records, reports and momentum.

#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small numbers")]

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;

use burn::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::lr_scheduler::{LrScheduler, LrSchedulerRecord};
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{Adam, AdamConfig, GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::{Bytes, Device, Tensor, TensorData, activation::relu};
use cyclic_optim_burn::cyclic_optim::feedback::{EarlyStopping, Plateau, Stop};
use cyclic_optim_burn::cyclic_optim::{
    Clip, ClrConfig, ConfigError, Constant, Cyclic, CyclicOptimizer, Guard, OneCycle, RateAndMomentum, RunLength,
    from_fn,
};
use cyclic_optim_burn::{ClrScheduler, CycledMomentum, LoadError, SchedulerError};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Through the bytes of a file, as a checkpoint of burn does it.
fn written_and_read(record: LrSchedulerRecord) -> LrSchedulerRecord {
    let bytes = record.into_bytes().unwrap();
    LrSchedulerRecord::from_bytes(Bytes::from_bytes_vec(bytes.to_vec())).unwrap()
}

/// Of any config.
fn with_adam(config: ClrConfig) -> (ClrScheduler, CycledMomentum<impl Fn(Option<f64>) -> Adam>) {
    ClrScheduler::with_optimizer(config, |_| AdamConfig::new().build()).unwrap()
}

fn scheduler(config: ClrConfig) -> ClrScheduler {
    with_adam(config).0
}

#[test]
fn any_config_gives_the_rates_of_its_preview_through_a_record() {
    let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) });
    runner
        .run(&support::config(), |config| {
            let start = || with_adam(config.clone());
            let (mut running, mut adam) = start();
            for (update, expected) in config.preview().take(900).enumerate() {
                if update == 431 {
                    let record = written_and_read(running.to_record());
                    (running, adam) = start();
                    running.load_record(record);
                    prop_assert_eq!(running.handle().load_error(), None);
                }
                prop_assert_eq!(running.step().to_bits(), expected.lr.to_bits());
                prop_assert_eq!(adam.momentum(), expected.momentum);
                prop_assert_eq!(running.handle().last(), Some(expected));
            }
            Ok(())
        })
        .unwrap();
}

fn skip(scheduler: &mut ClrScheduler, updates: u32) {
    for _ in 0..updates {
        scheduler.step();
    }
}

#[derive(Module, Debug)]
struct Model {
    first: Linear,
    second: Linear,
}

/// Two layers over eight samples, with the same weights every time.
struct Job {
    model: Model,
    x: Tensor<2>,
    y: Tensor<2>,
}

fn waves<const D: usize>(dims: [usize; D], phase: f32, device: &Device) -> Tensor<D> {
    let values = (0..dims.iter().product::<usize>()).map(|n| (n as f32 * 0.7 + phase).sin() / 2.0).collect::<Vec<_>>();
    Tensor::from_data(TensorData::new(values, dims), device)
}

impl Job {
    fn new() -> Self {
        let device = Device::flex().autodiff();
        let layer = |inputs, outputs, phase| {
            let mut layer: Linear = LinearConfig::new(inputs, outputs).init(&device);
            layer.weight = layer.weight.map(|_| waves([inputs, outputs], phase, &device).require_grad());
            layer.bias = layer.bias.map(|bias| bias.map(|_| waves([outputs], phase + 5.0, &device).require_grad()));
            layer
        };
        let model = Model { first: layer(3, 5, 1.0), second: layer(5, 2, 2.0) };
        Self { model, x: waves([8, 3], 10.0, &device), y: waves([8, 2], 20.0, &device) }
    }

    fn loss(&self) -> Tensor<1> {
        let answer = self.model.second.forward(relu(self.model.first.forward(self.x.clone())));
        (answer - self.y.clone()).square().mean()
    }

    fn update(&mut self, optimizer: &mut ModuleOptimizer, lr: f64) {
        let gradients = GradientsParams::from_grads(self.loss().backward(), &self.model);
        self.model = optimizer.step(lr, self.model.clone(), gradients);
    }

    fn values(&self) -> Vec<f32> {
        let layers = [&self.model.first, &self.model.second];
        let tensors = layers
            .into_iter()
            .flat_map(|layer| [layer.weight.val().to_data(), layer.bias.as_ref().unwrap().val().to_data()]);
        tensors.flat_map(|data| data.try_to_vec::<f32>().unwrap()).collect()
    }
}

#[test]
fn a_constant_rate_gives_the_bits_of_burn_alone() {
    let sgd = || SgdConfig::new().with_momentum(Some(MomentumConfig::new())).init();
    let optimizers: [&dyn Fn() -> ModuleOptimizer; 2] = [&|| AdamConfig::new().init(), &sgd];
    for optimizer in optimizers {
        let (mut bare, mut wrapped) = (Job::new(), Job::new());
        let before = bare.values();
        let (mut alone, mut scheduled) = (optimizer(), optimizer());
        let (mut constant, mut ours) = (0.01, ClrScheduler::new(Constant::new(0.01).unwrap()).unwrap());
        for _ in 0..40 {
            bare.update(&mut alone, LrScheduler::step(&mut constant));
            wrapped.update(&mut scheduled, ours.step());
        }
        assert_eq!(bare.values(), wrapped.values());
        assert_ne!(bare.values(), before);
    }
}

/// The momentum of each update is the one that the schedule says: the same bits as an optimizer of burn that is made with it.
#[test]
fn momentum_is_cycled() {
    let config = ClrConfig::new(OneCycle::new(0.05, 40).unwrap()).with_momentum(0.8, 0.95).unwrap();
    let adam = |momentum: Option<f64>| AdamConfig::new().with_beta_1(momentum.unwrap() as f32).build();
    let sgd = |momentum: Option<f64>| {
        let momentum = MomentumConfig::new().with_momentum(momentum.unwrap()).with_dampening(0.0).with_nesterov(true);
        SgdConfig::new().with_momentum(Some(momentum)).build()
    };
    macro_rules! same_as_by_hand {
        ($build:expr) => {{
            let (mut scheduler, cycled) = ClrScheduler::with_optimizer(config.clone(), $build).unwrap();
            assert_eq!(format!("{cycled:?}"), "CycledMomentum { momentum: Some(0.95), .. }");
            let mut optimizer = ModuleOptimizer::from(cycled);
            let (mut job, mut by_hand) = (Job::new(), Job::new());
            let mut record = None;
            for expected in config.preview().take(40) {
                job.update(&mut optimizer, scheduler.step());
                // The records of the two optimizers are alike, so the moments can move into a new one.
                let mut anew = ModuleOptimizer::from($build(expected.momentum));
                if let Some(record) = record.take() {
                    anew = anew.load_record(record);
                }
                by_hand.update(&mut anew, expected.lr);
                record = Some(anew.to_record());
            }
            assert_eq!(job.values(), by_hand.values());
            // A run with the first momentum throughout ends elsewhere.
            let mut constant = Job::new();
            let mut optimizer = ModuleOptimizer::from($build(Some(0.95)));
            config.preview().take(40).for_each(|used| constant.update(&mut optimizer, used.lr));
            assert_ne!(job.values(), constant.values());
        }};
    }
    same_as_by_hand!(adam);
    same_as_by_hand!(sgd);
}

#[test]
fn config_files_written_for_dfdx_run_unchanged() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/configs");
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let run = RunLength::new(10, 20).unwrap(); // for lengths in epochs
        let config: ClrConfig = match path.extension().unwrap().to_str().unwrap() {
            "json" => ClrConfig::deserialize_for(&run, &mut serde_json::Deserializer::from_str(&text)).unwrap(),
            _ => ClrConfig::deserialize_for(&run, toml::Deserializer::parse(&text).unwrap()).unwrap(),
        };
        let (mut scheduler, adam) = ClrScheduler::with_optimizer(config.clone(), |beta1| {
            AdamConfig::new().with_beta_1(beta1.unwrap_or(0.9) as f32).build()
        })
        .unwrap();
        let (mut job, mut optimizer) = (Job::new(), ModuleOptimizer::from(adam));
        let first = job.loss().into_scalar::<f32>();
        for expected in config.preview().take(120) {
            let lr = scheduler.step();
            job.update(&mut optimizer, lr);
            assert_eq!((lr, scheduler.handle().last()), (expected.lr, Some(expected)));
        }
        assert!(job.loss().into_scalar::<f32>() < 0.5 * first, "{}", path.display());
        files += 1;
    }
    assert!(files >= 3);
}

#[test]
fn what_a_scheduler_cannot_do_is_refused() {
    let momentum = ClrConfig::new(OneCycle::new(0.1, 10).unwrap()).with_momentum(0.8, 0.9).unwrap();
    assert_eq!(ClrScheduler::new(momentum).unwrap_err(), SchedulerError::Config(ConfigError::NoMomentum));
    let constant = || ClrConfig::new(Constant::new(0.1).unwrap());
    let clips = constant().with_clip(Clip { norm: Some(1.0), value: None }).unwrap();
    assert_eq!(ClrScheduler::new(clips.clone()).unwrap_err(), SchedulerError::NeedsGradients("clipping"));
    let error = ClrScheduler::with_optimizer(clips, |_| AdamConfig::new().build()).unwrap_err();
    assert_eq!(error.to_string(), "clipping needs the gradients, which a scheduler of burn never sees");
    let guards = constant().with_guard(Guard { gradients: true, max_refusals: None }).unwrap();
    assert!(matches!(ClrScheduler::new(guards), Err(SchedulerError::NeedsGradients(_))));
    let nan = ClrScheduler::new(ClrConfig::custom(from_fn(|_| f64::NAN)));
    assert!(matches!(nan, Err(SchedulerError::Config(ConfigError::Rate { .. }))));
}

#[test]
fn an_invalid_rate_of_a_schedule_of_your_own_becomes_0() {
    let schedule = from_fn(|step| [0.5, f64::NAN, -1.0, f64::INFINITY, 0.25][step.min(4) as usize]);
    let mut scheduler = ClrScheduler::new(ClrConfig::custom(schedule)).unwrap();
    let rates: Vec<f64> = (0..5).map(|_| scheduler.step()).collect();
    assert_eq!(rates, [0.5, 0.0, 0.0, 0.0, 0.25]);
}

/// With plateau, early stopping and reports as numbers without a short decimal form.
fn with_feedback() -> ClrConfig {
    ClrConfig::new(Cyclic::triangular(0.001, 0.3, 7).unwrap())
        .with_plateau(Plateau::keras(0.7, 2).unwrap())
        .unwrap()
        .with_early_stopping(EarlyStopping::new(4).unwrap())
        .unwrap()
}

#[test]
fn reports_work_as_they_do_elsewhere() {
    let inner = RateAndMomentum::default();
    let mut reference = CyclicOptimizer::new(inner, with_feedback());
    let ours = ClrScheduler::new(with_feedback()).unwrap();
    let handle = ours.handle();
    let mut boxed: Box<dyn LrScheduler> = Box::new(ours);
    let mut another = boxed.clone();
    for update in 0..60_u32 {
        let Ok(lr) = reference.update_with(|inner| Ok::<_, core::convert::Infallible>(inner.lr));
        assert_eq!((boxed.step(), another.step()), (lr, lr), "update {update}");
        if update % 5 == 4 {
            let metric = 1.0 / 3.0 + f64::from(update.max(20)).sin() / 7.0;
            let expected = reference.observe_separately(metric, 2.0 * metric);
            assert_eq!(handle.report_separately(metric, 2.0 * metric), expected);
            // Where a `Learner` loads a record, a clone takes over.
            let record = written_and_read(boxed.to_record());
            boxed = boxed.clone();
            boxed.load_record(record);
            assert_eq!(handle.load_error(), None);
        }
        assert_eq!((handle.stopped(), handle.last()), (reference.stopped(), reference.last()));
        assert_eq!(handle.iterations(), u64::from(update) + 1);
    }
    assert!(reference.state().plateau.envelope < 0.6);
    assert_eq!(handle.stopped(), Some(Stop::NoImprovement));
}

#[test]
fn the_whole_state_is_in_the_record() {
    let mut ours = ClrScheduler::new(with_feedback()).unwrap();
    ours.change(|run| {
        run.set_range(0.1 / 3.0, 0.2).unwrap();
        run.set_scale(1.0 / 3.0).unwrap();
    });
    let handle = ours.handle();
    for report in [1.0 / 3.0, 0.7, 0.7, 0.7] {
        skip(&mut ours, 5);
        let _ = handle.report(report);
    }
    ours.change(CyclicOptimizer::reset_cycle);
    // A report that no step has seen is part of it, too.
    let _ = handle.report(0.1 / 7.0);
    let state = ours.state();
    assert_eq!(state.plateau.best, Some(0.1 / 7.0));
    assert!(state.range.is_some() && state.scale == 1.0 / 3.0 && state.plateau.envelope == 0.7);
    let mut loaded = ClrScheduler::new(with_feedback()).unwrap();
    loaded.try_load_record(&written_and_read(ours.to_record())).unwrap();
    assert_eq!(loaded.state(), state);
    assert_eq!(loaded.run().iterations(), 20);
    for _ in 0..50 {
        assert_eq!(loaded.step().to_bits(), ours.step().to_bits());
    }
}

#[test]
fn a_record_that_does_not_fit_changes_nothing() {
    let config = || ClrConfig::new(Cyclic::triangular(0.001, 0.3, 7).unwrap()).with_bounds(0.0, 0.2).unwrap();
    let mut running = scheduler(config());
    skip(&mut running, 10);
    let state = running.state();
    let good = running.to_record();
    let mut old = LrSchedulerRecord::new();
    for key in ["schedule", "iterations", "bytes"] {
        old = old.with_scalar(key, good.scalar::<u64>(key).unwrap());
    }
    let expected = |found| LoadError::Version { found };
    for (record, reason) in [
        (LrSchedulerRecord::new(), expected(None)),
        (0.1_f64.to_record(), expected(None)),
        (old.clone(), expected(None)),
        (old.clone().with_scalar("version", 2_u64), expected(Some(2))),
        (scheduler(Cyclic::triangular(0.001, 0.3, 8).unwrap().into()).to_record(), LoadError::OtherSchedule),
        (scheduler(config().with_bounds(0.0, 0.1).unwrap()).to_record(), LoadError::OtherSchedule),
        (scheduler(config().with_momentum(0.8, 0.9).unwrap()).to_record(), LoadError::OtherSchedule),
        (old.with_scalar("version", 1_u64), LoadError::Damaged),
        (good.clone().with_scalar("3", 0_u64), LoadError::Damaged),
        (good.clone().with_scalar("bytes", u64::MAX), LoadError::Damaged),
        (good.clone().with_scalar("bytes", 5_u64), LoadError::Damaged),
    ] {
        assert_eq!(running.try_load_record(&record), Err(reason.clone()));
        running.load_record(record);
        assert_eq!((running.state(), running.handle().load_error()), (state.clone(), Some(reason)));
    }
    // A later record that fits ends it.
    running.step();
    running.load_record(good);
    assert_eq!((running.state(), running.handle().load_error()), (state, None));
    assert_eq!(expected(Some(2)).to_string(), "the record has version Some(2), and 1 is expected");
}

/// What a `Learner` does with its scheduler: it keeps it as the base of a module's schedulers, writes their records together,
/// and loads them into a clone.
#[test]
fn a_learner_can_keep_it() {
    let ours = ClrScheduler::new(with_feedback()).unwrap();
    let handle = ours.handle();
    let mut kept = ModuleLrScheduler::from(ours).with_group(burn::module::ParamGroup::from_predicate("second"), 0.5);
    let preview: Vec<f64> = with_feedback().preview().take(20).map(|used| used.lr).collect();
    for &rate in &preview[..10] {
        assert_eq!(kept.step().base(), rate);
    }
    let record = written_and_read(kept.to_record());
    (0..5).for_each(|_| drop(kept.step()));
    kept = kept.clone().load_record(record);
    assert_eq!(handle.iterations(), 10);
    for &rate in &preview[10..] {
        assert_eq!(kept.step().base(), rate);
    }
    assert_eq!(handle.last().unwrap().lr, preview[19]);
}
