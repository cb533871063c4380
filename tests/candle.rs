//! candle: the wrapper can be used wherever candle takes an optimizer, and `apply` makes whole updates of candle
//! models.
//!
//! ```text
//! cargo test --no-default-features --features candle,serde --test candle
//! ```

#![allow(clippy::cast_precision_loss, reason = "small numbers")]

mod support;

use std::fs;
use std::path::Path;

use candle_core::backprop::GradStore;
use candle_core::{D, DType, Device, Error, Result, Tensor, Var};
use candle_nn::{AdamW, Linear, Module, Optimizer, ParamsAdamW, SGD, VarBuilder, VarMap, linear, loss};
use cyclic_optim::adapters::candle::{
    RangeTestError, SavedVariables, Variables, broadcast, config_error, range_test, update_error,
};
use cyclic_optim::feedback::{Plateau, Stop};
use cyclic_optim::range_test::{RangeTest, StopReason};
use cyclic_optim::training::{Accumulator, GradientsOf, Ranks, Threads, clip_gradients};
use cyclic_optim::{
    Clip, ClrConfig, ClrState, ConfigError, Constant, Cyclic, CyclicOptimizer, Guard, History, Hyper, Hyperparameters,
    OneCycle, RunLength, Schedule, Unsupported, UpdateError, from_fn,
};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

const CPU: &Device = &Device::Cpu;

/// Two layers over eight samples, with the same weights every time.
struct Job {
    variables: VarMap,
    layers: [Linear; 2],
    x: Tensor,
    y: Tensor,
}

impl Job {
    fn new(dtype: DType) -> Self {
        let variables = VarMap::new();
        let build = VarBuilder::from_varmap(&variables, dtype, CPU);
        let layers = [linear(3, 5, build.pp("first")).unwrap(), linear(5, 2, build.pp("second")).unwrap()];
        let mut phase = 0.0;
        variables
            .for_each(&mut |_, variable| {
                phase += 1.0;
                variable.set(&waves(variable.dims(), phase, dtype))
            })
            .unwrap();
        Self { variables, layers, x: waves(&[8, 3], 10.0, dtype), y: waves(&[8, 2], 20.0, dtype) }
    }

    fn loss(&self) -> Tensor {
        let hidden = self.layers[0].forward(&self.x).unwrap().relu().unwrap();
        loss::mse(&self.layers[1].forward(&hidden).unwrap(), &self.y).unwrap()
    }

    fn adamw(&self) -> AdamW {
        AdamW::new(self.variables.all_vars(), ParamsAdamW { lr: 0.01, ..ParamsAdamW::default() }).unwrap()
    }

    fn sgd(&self) -> SGD {
        SGD::new(self.variables.all_vars(), 0.01).unwrap()
    }

    /// The values of all variables, by name.
    fn values(&self) -> Vec<Vec<f64>> {
        let mut all = Vec::new();
        self.variables
            .for_each(&mut |_, variable| {
                all.push(numbers(variable));
                Ok(())
            })
            .unwrap();
        all
    }
}

/// Numbers between -1/2 and 1/2.
fn waves(dims: &[usize], phase: f64, dtype: DType) -> Tensor {
    let count: usize = dims.iter().product();
    let values: Vec<f64> = (0..count).map(|n| (n as f64 * 0.7 + phase).sin() / 2.0).collect();
    Tensor::from_vec(values, dims, CPU).unwrap().to_dtype(dtype).unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn constant() -> Constant {
    Constant::new(0.01).unwrap()
}

/// A function that knows nothing of schedules.
fn train(optimizer: &mut impl Optimizer, job: &Job, updates: usize) -> Result<()> {
    (0..updates).try_for_each(|_| optimizer.backward_step(&job.loss()))
}

#[test]
fn a_constant_rate_gives_the_bits_of_candle_alone() {
    for dtype in [DType::F32, DType::F64] {
        let bare = Job::new(dtype);
        train(&mut bare.adamw(), &bare, 40).unwrap();
        let wrapped = Job::new(dtype);
        train(&mut CyclicOptimizer::new(wrapped.adamw(), constant()), &wrapped, 40).unwrap();
        assert_eq!(bare.values(), wrapped.values());
        let stepped = Job::new(dtype);
        let mut optimizer = CyclicOptimizer::new(stepped.adamw(), constant());
        (0..40).for_each(|_| optimizer.step(&stepped.loss().backward().unwrap()).unwrap());
        assert_eq!(bare.values(), stepped.values());
        let mut applied = Job::new(dtype);
        let mut optimizer = CyclicOptimizer::new(applied.adamw(), constant());
        for _ in 0..40 {
            let mut gradients = applied.loss().backward().unwrap();
            optimizer.apply(&mut applied.variables, &mut gradients, 0.0).unwrap();
        }
        assert_eq!(bare.values(), applied.values());

        let (bare, wrapped) = (Job::new(dtype), Job::new(dtype));
        assert_ne!(bare.values(), applied.values());
        train(&mut bare.sgd(), &bare, 40).unwrap();
        train(&mut CyclicOptimizer::new(wrapped.sgd(), constant()), &wrapped, 40).unwrap();
        assert_eq!(bare.values(), wrapped.values());
    }
}

/// For any config, the inner optimizer has the rates of `preview` at each of 900 updates, also if the run is saved as JSON
/// and continued in another optimizer.
#[test]
fn any_config_gives_the_rates_of_its_preview_through_save_and_load() {
    let weight = Var::new(1.0, CPU).unwrap();
    let gradients = GradStore::default();
    let optimizer = |config: ClrConfig| {
        CyclicOptimizer::try_new(AdamW::new_lr(vec![weight.clone()], 0.0).unwrap(), config).unwrap()
    };
    let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) });
    runner
        .run(&support::config(), |config| {
            let mut running = optimizer(config.clone());
            for (update, expected) in config.preview().take(900).enumerate() {
                if update == 431 {
                    let saved = serde_json::to_string(&(running.config(), running.state())).unwrap();
                    let (config, state): (ClrConfig, ClrState) = serde_json::from_str(&saved).unwrap();
                    running = optimizer(config);
                    running.restore(state).unwrap();
                }
                let params = running.get_ref().params();
                let momentum = expected.momentum.unwrap_or(params.beta1);
                prop_assert_eq!((params.lr.to_bits(), params.beta1), (expected.lr.to_bits(), momentum));
                running.step(&gradients).unwrap();
                prop_assert_eq!(running.last(), Some(expected));
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn config_files_written_for_dfdx_run_unchanged() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/configs");
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let run = RunLength::new(10, 20).unwrap(); // for lengths in epochs
        let config: ClrConfig = match path.extension().unwrap().to_str().unwrap() {
            "json" => ClrConfig::deserialize_for(&run, &mut serde_json::Deserializer::from_str(&text)).unwrap(),
            _ => ClrConfig::deserialize_for(&run, toml::Deserializer::parse(&text).unwrap()).unwrap(),
        };
        let job = Job::new(DType::F32);
        let first = job.loss().to_scalar::<f32>().unwrap();
        let mut optimizer = CyclicOptimizer::try_new(job.adamw(), config.clone()).unwrap();
        for expected in config.preview().take(120) {
            optimizer.backward_step(&job.loss()).unwrap();
            assert_eq!(optimizer.last(), Some(expected));
        }
        assert!(job.loss().to_scalar::<f32>().unwrap() < 0.5 * first, "{}", path.display());
        files += 1;
    }
    assert!(files >= 3);
}

#[test]
fn hyper_parameters_mean_what_they_say() {
    let job = Job::new(DType::F32);
    let mut adamw = job.adamw();
    for (hyper, value) in [(Hyper::LearningRate, 0.5), (Hyper::Momentum, 0.7), (Hyper::WeightDecay, 0.25)] {
        adamw.set(hyper, value).unwrap();
        assert_eq!(adamw.get(hyper), Some(value));
    }
    let ParamsAdamW { lr, beta1, beta2, eps, weight_decay } = *adamw.params();
    assert_eq!((lr, beta1, beta2, eps, weight_decay), (0.5, 0.7, 0.999, 1e-8, 0.25));
    let mut sgd = job.sgd();
    sgd.set(Hyper::LearningRate, 0.5).unwrap();
    assert_eq!(sgd.learning_rate(), 0.5);
    for hyper in [Hyper::Momentum, Hyper::WeightDecay] {
        assert_eq!((sgd.get(hyper), sgd.set(hyper, 0.5)), (None, Err(Unsupported(hyper))));
    }
}

#[test]
fn momentum_over_sgd_is_refused() {
    let job = Job::new(DType::F32);
    let config = ClrConfig::new(OneCycle::new(0.1, 10).unwrap()).with_momentum(0.85, 0.95).unwrap();
    assert_eq!(CyclicOptimizer::try_new(job.sgd(), config.clone()).unwrap_err(), ConfigError::NoMomentum);
    let error = <CyclicOptimizer<SGD> as Optimizer>::new(Vec::new(), (0.0, config.clone())).unwrap_err();
    assert_eq!(config_error(&error), Some(&ConfigError::NoMomentum));
    assert!(error.to_string().contains("fit"), "{error}");
    assert!(config_error(&Error::Msg("other".into())).is_none());
    let adamw: CyclicOptimizer<AdamW> =
        Optimizer::new(job.variables.all_vars(), (ParamsAdamW::default(), config)).unwrap();
    assert_eq!((adamw.learning_rate(), adamw.get_ref().params().beta1), (adamw.lr(), 0.95));
}

#[test]
fn a_variable_without_a_gradient_is_named_and_all_others_move() {
    let mut job = Job::new(DType::F32);
    let before = job.values();
    // Not a number that is trained.
    let steps = Var::new(&[1_u32], CPU).unwrap();
    job.variables.data().lock().unwrap().insert("steps".into(), steps);
    let mut optimizer = CyclicOptimizer::new(job.adamw(), constant());
    let mut gradients = job.layers[0].forward(&job.x).unwrap().sqr().unwrap().sum_all().unwrap().backward().unwrap();
    let result = optimizer.apply(&mut job.variables, &mut gradients, 1.0);
    let Err(UpdateError::MissingGradients(names)) = result else { panic!("{result:?}") };
    assert_eq!(names, ["second.bias", "second.weight"]);
    assert_eq!(optimizer.iterations(), 1);
    assert!(job.variables.all_vars().iter().all(|variable| gradients.get(variable).is_none()));
    // The names are first.bias, first.weight, second.bias, second.weight, steps.
    let after = job.values();
    assert!(before[0] != after[0] && before[1] != after[1] && before[2..] == after[2..4]);
    // Variables in a list have numbers.
    let mut list = vec![Var::zeros((2, 3), DType::F32, CPU).unwrap()];
    let mut optimizer = CyclicOptimizer::new(SGD::new(list.clone(), 0.1).unwrap(), constant());
    let error = optimizer.apply(&mut list, &mut GradStore::default(), 1.0).unwrap_err();
    assert_eq!(error.to_string(), "these parameters have no gradient: variable 0 of shape [2, 3]");
    // candle's own idiom does not know the variables, so it cannot report missing gradients.
    optimizer.step(&GradStore::default()).unwrap();
    assert_eq!(optimizer.iterations(), 2);
}

#[test]
fn a_bad_update_is_refused() {
    let mut job = Job::new(DType::F32);
    let guard = Guard { gradients: true, max_refusals: Some(3) };
    let config = ClrConfig::new(Cyclic::triangular(0.1, 0.2, 5).unwrap()).with_guard(guard).unwrap();
    let mut optimizer = CyclicOptimizer::new(job.adamw(), config).with_history(History::new());
    let before = job.values();
    let nan = (job.loss() * f64::NAN).unwrap();
    let error = optimizer.backward_step(&nan).unwrap_err();
    assert!(matches!(update_error(&error), Some(UpdateError::NonFiniteLoss { loss, iteration: 0 }) if loss.is_nan()));
    assert!(error.to_string().contains("update 0 was refused: its loss is NaN"), "{error}");
    // A loss that is finite, with gradients that are not: the root has no slope at 0.
    let weight = job.layers[0].weight();
    let zero = (weight - weight).unwrap().sqrt().unwrap().sum_all().unwrap();
    let bad = (job.loss() + zero).unwrap();
    let mut gradients = bad.backward().unwrap();
    let error = optimizer.apply(&mut job.variables, &mut gradients, 1.0).unwrap_err();
    assert!(matches!(error, UpdateError::NonFiniteGradient { iteration: 0, .. }), "{error}");
    assert!(job.variables.all_vars().iter().all(|variable| gradients.get(variable).is_some()), "the gradients stay");
    let error = optimizer.backward_step(&nan).unwrap_err();
    assert!(matches!(update_error(&error), Some(UpdateError::GaveUp { refusals: 3, iteration: 0 })), "{error}");
    assert_eq!((job.values(), optimizer.iterations(), optimizer.stopped()), (before, 0, Some(Stop::TooManyRefusals)));
    optimizer.backward_step(&job.loss()).unwrap();
    assert_eq!((optimizer.iterations(), optimizer.history().unwrap().updates().len()), (1, 1));
}

#[test]
fn gradients_are_clipped() {
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-6), (DType::BF16, 1e-2)] {
        let clip = Clip { norm: Some(0.1), value: Some(0.04) };
        let config = || ClrConfig::new(constant()).with_clip(clip).unwrap();
        let job = Job::new(dtype);
        let mut all = Vec::new();
        let mut gradients = job.loss().backward().unwrap();
        let collect = |gradients: &mut GradStore, all: &mut Vec<Vec<f64>>| {
            all.clear();
            GradientsOf::for_each(gradients, &job.variables, false, |values| {
                all.push(values.to_vec());
                false
            })
            .unwrap();
        };
        collect(&mut gradients, &mut all);
        let norm = all.iter().flatten().map(|value| value * value).sum::<f64>().sqrt();
        assert!(norm > 0.1 && all.len() == 4);
        let expected: Vec<f64> =
            all.iter().flatten().map(|value| (value * 0.1 / (norm + 1e-6)).clamp(-0.04, 0.04)).collect();
        assert!(expected.iter().any(|value| value.abs() == 0.04));
        let found = clip_gradients(&job.variables, &mut gradients, clip).unwrap();
        assert!((found - norm).abs() <= 1e-12 * norm);
        collect(&mut gradients, &mut all);
        for (value, expected) in all.iter().flatten().zip(&expected) {
            assert!((value - expected).abs() <= tolerance * expected.abs(), "{dtype:?}: {value}, {expected}");
        }
        // Each gradient keeps its shape and type, and the update uses the clipped ones.
        let mut bare = job.sgd();
        bare.step(&gradients).unwrap();
        let by_hand = job.values();
        let mut applied = Job::new(dtype);
        let mut optimizer = CyclicOptimizer::new(applied.sgd(), config());
        let mut gradients = applied.loss().backward().unwrap();
        let used = optimizer.apply(&mut applied.variables, &mut gradients, 1.0).unwrap();
        assert_eq!((used.grad_norm, applied.values()), (Some(found), by_hand.clone()));
        // `backward_step` does the same.
        let stepped = Job::new(dtype);
        let mut optimizer = CyclicOptimizer::new(stepped.sgd(), config());
        optimizer.backward_step(&stepped.loss()).unwrap();
        let found = optimizer.last().unwrap().grad_norm.unwrap();
        assert!((found - norm).abs() <= 1e-12 * norm);
        assert_eq!(stepped.values(), by_hand);
    }
}

#[test]
fn the_history_holds_each_update_with_its_loss() {
    let job = Job::new(DType::F32);
    let cycle = Cyclic::triangular(0.001, 0.02, 3).unwrap();
    let mut optimizer = CyclicOptimizer::new(job.adamw(), cycle.clone()).with_history(History::new());
    let mut losses = Vec::new();
    for _ in 0..7 {
        losses.push(f64::from(job.loss().to_scalar::<f32>().unwrap()));
        optimizer.backward_step(&job.loss()).unwrap();
    }
    let updates = optimizer.history().unwrap().updates();
    assert_eq!(updates.values("loss").unwrap(), losses);
    let rates: Vec<f64> = (0..7).map(|step| cycle.value_at(step)).collect();
    assert_eq!(updates.values("learning_rate").unwrap(), rates);
}

#[test]
fn a_rate_that_is_set_is_used_once_and_then_the_schedule_goes_on() {
    let weight = Var::new(0.0, CPU).unwrap();
    let config = ClrConfig::new(Cyclic::triangular(0.25, 1.0, 4).unwrap())
        .with_plateau(Plateau::keras(0.5, 1).unwrap())
        .unwrap();
    let mut optimizer = CyclicOptimizer::new(SGD::new(vec![weight.clone()], 0.0).unwrap(), config);
    let rate = |optimizer: &mut CyclicOptimizer<SGD>| {
        let before = weight.to_scalar::<f64>().unwrap();
        // The slope of the loss is 1.
        optimizer.backward_step(weight.as_tensor()).unwrap();
        let moved = before - weight.to_scalar::<f64>().unwrap();
        assert!((moved - optimizer.last().unwrap().lr).abs() < 1e-15);
        optimizer.last().unwrap().lr
    };
    assert_eq!(rate(&mut optimizer), 0.25);
    optimizer.set_learning_rate(0.125);
    assert_eq!((optimizer.learning_rate(), optimizer.lr(), optimizer.get_ref().learning_rate()), (0.125, 0.125, 0.125));
    // Neither a report nor a refused update ends it.
    let _ = optimizer.observe(1.0);
    optimizer.backward_step(&(weight.as_tensor() * f64::NAN).unwrap()).unwrap_err();
    optimizer.get_mut();
    assert_eq!(rate(&mut optimizer), 0.125);
    assert_eq!(rate(&mut optimizer), 0.625);
    for bad in [f64::NAN, f64::INFINITY, -0.5] {
        optimizer.set_learning_rate(bad);
        let (before, iterations) = (weight.to_scalar::<f64>().unwrap(), optimizer.iterations());
        for _ in 0..2 {
            let gradients = weight.backward().unwrap();
            let step = optimizer.step(&gradients).unwrap_err();
            let backward_step = optimizer.backward_step(weight.as_tensor()).unwrap_err();
            for error in [step, backward_step] {
                let Some(UpdateError::Schedule { error, iteration }) = update_error(&error) else { panic!("{error}") };
                assert_eq!(*iteration, iterations);
                assert!(matches!(error, ConfigError::Rate { value, .. } if value.to_bits() == bad.to_bits()));
            }
        }
        assert_eq!((weight.to_scalar::<f64>().unwrap(), optimizer.iterations()), (before, iterations));
    }
    // The run continues with another rate, or with the rate of the schedule after a state was restored.
    optimizer.set_learning_rate(0.5);
    assert_eq!(rate(&mut optimizer), 0.5);
    optimizer.set_learning_rate(f64::NAN);
    optimizer.restore(optimizer.state()).unwrap();
    assert_eq!(rate(&mut optimizer), 1.0);
}

#[test]
fn a_schedule_that_gives_nan_is_refused_by_every_way_to_step() {
    let mut job = Job::new(DType::F32);
    let schedule = from_fn(|step| if step < 1 { 0.1 } else { f64::NAN });
    let mut optimizer = CyclicOptimizer::new(job.sgd(), ClrConfig::custom(schedule));
    optimizer.backward_step(&job.loss()).unwrap();
    let before = job.values();
    let error = optimizer.step(&job.loss().backward().unwrap()).unwrap_err();
    assert!(matches!(update_error(&error), Some(UpdateError::Schedule { iteration: 1, .. })));
    let error = optimizer.backward_step(&job.loss()).unwrap_err();
    assert!(matches!(update_error(&error), Some(UpdateError::Schedule { iteration: 1, .. })));
    let mut gradients = job.loss().backward().unwrap();
    let error = optimizer.apply(&mut job.variables, &mut gradients, 1.0).unwrap_err();
    assert!(matches!(error, UpdateError::Schedule { iteration: 1, .. }));
    assert_eq!(job.values(), before);
}

#[test]
fn gradients_of_parts_of_a_batch_add_up() {
    let mut whole = Job::new(DType::F64);
    let mut optimizer = CyclicOptimizer::new(whole.sgd(), constant());
    let mut gradients = whole.loss().backward().unwrap();
    optimizer.apply(&mut whole.variables, &mut gradients, 1.0).unwrap();
    let mut parts = Job::new(DType::F64);
    let mut optimizer = CyclicOptimizer::new(parts.sgd(), constant());
    let mut gradients = GradStore::default();
    let (x, y) = (parts.x.clone(), parts.y.clone());
    for (start, length) in [(0, 2), (2, 6)] {
        (parts.x, parts.y) = (x.narrow(0, start, length).unwrap(), y.narrow(0, start, length).unwrap());
        gradients.extend((parts.loss() * (length as f64 / 8.0)).unwrap().backward().unwrap()).unwrap();
    }
    optimizer.apply(&mut parts.variables, &mut gradients, 1.0).unwrap();
    for (whole, parts) in whole.values().iter().flatten().zip(parts.values().iter().flatten()) {
        assert!((whole - parts).abs() < 1e-15);
    }
}

/// Two ranks with unequal shards, in micro-batches, end with the same bits, and close to a single process with the
/// whole batch.
#[test]
fn ranks_and_micro_batches_train_as_one() {
    let mut whole = Job::new(DType::F64);
    let config = || ClrConfig::new(constant()).with_clip(Clip { norm: Some(0.1), value: None }).unwrap();
    let mut optimizer = CyclicOptimizer::new(whole.adamw(), config());
    for _ in 0..30 {
        let mut gradients = whole.loss().backward().unwrap();
        optimizer.apply(&mut whole.variables, &mut gradients, 1.0).unwrap();
    }
    let ranks = Threads::run(2, |ranks| {
        let mut job = Job::new(DType::F64);
        if !ranks.is_first() {
            job.variables.all_vars().iter().try_for_each(|variable| variable.set(&variable.zeros_like()?)).unwrap();
        }
        broadcast(ranks, &job.variables).unwrap();
        let mut optimizer = CyclicOptimizer::new(job.adamw(), config()).with_history(History::new());
        let mut sum = Accumulator::on(ranks);
        let (x, y) = (job.x.clone(), job.y.clone());
        // Of eight samples, rank 0 has two micro-batches of 2 and 3, and rank 1 has the others.
        let parts: &[_] = if ranks.is_first() { &[(0, 2), (2, 3)] } else { &[(5, 3)] };
        for _ in 0..30 {
            for &(start, length) in parts {
                (job.x, job.y) = (x.narrow(0, start, length).unwrap(), y.narrow(0, start, length).unwrap());
                let loss = job.loss();
                let value = loss.to_scalar::<f64>().unwrap();
                sum.add(&job.variables, &mut loss.backward().unwrap(), value, length).unwrap();
            }
            optimizer.apply(&mut job.variables, &mut GradStore::default(), &mut sum)?;
        }
        let losses = optimizer.history().unwrap().updates().values("loss").unwrap();
        Ok::<_, UpdateError<Error>>((job.values(), losses))
    })
    .unwrap();
    assert_eq!(ranks[0], ranks[1]);
    for (one, many) in whole.values().iter().flatten().zip(ranks[0].0.iter().flatten()) {
        assert!((one - many).abs() < 1e-12, "{one} {many}");
    }
    // Two losses of all samples: at the start, and where it ends.
    assert!((ranks[0].1[0] - Job::new(DType::F64).loss().to_scalar::<f64>().unwrap()).abs() < 1e-15);
}

#[test]
fn a_variable_that_a_micro_batch_does_not_use_counts_as_zeros() {
    let (used, unused) = (Var::new(0.0, CPU).unwrap(), Var::new(3.0, CPU).unwrap());
    let mut variables = vec![used.clone(), unused.clone()];
    let mut optimizer = CyclicOptimizer::new(SGD::new(variables.clone(), 0.0).unwrap(), Constant::new(1.0).unwrap());
    let mut sum = Accumulator::new();
    sum.add(&variables, &mut used.backward().unwrap(), 1.0, 1).unwrap();
    sum.add(&variables, &mut unused.backward().unwrap(), 1.0, 3).unwrap();
    optimizer.apply(&mut variables, &mut GradStore::default(), &mut sum).unwrap();
    assert_eq!((used.to_scalar::<f64>().unwrap(), unused.to_scalar::<f64>().unwrap()), (-0.25, 2.25));
}

#[test]
fn a_range_test_gives_the_variables_back() {
    let job = Job::new(DType::F32);
    let before = job.values();
    let test = RangeTest::logarithmic(1e-4, 1e3, 60).unwrap();
    let mut losses = Vec::new();
    let curve = range_test(
        &job.variables,
        job.sgd(),
        &test,
        0..1000,
        |_| {
            losses.push(f64::from(job.loss().to_scalar::<f32>()?));
            Ok(job.loss())
        },
        || Ok(None),
    )
    .unwrap();
    assert_eq!(job.values(), before);
    assert!(matches!(curve.stop_reason(), StopReason::Diverged | StopReason::NotFinite), "{:?}", curve.stop_reason());
    assert_eq!(curve.points().iter().map(|point| point.loss).collect::<Vec<_>>(), losses);
    assert!(losses.iter().copied().fold(f64::INFINITY, f64::min) < 0.9 * losses[0], "it has trained");
    // The second update used the second rate: the same loss by hand.
    let again = Job::new(DType::F32);
    let mut sgd = again.sgd();
    for (rate, &loss) in test.rates().zip(&losses) {
        assert_eq!(f64::from(again.loss().to_scalar::<f32>().unwrap()), loss);
        sgd.set_learning_rate(rate);
        sgd.backward_step(&again.loss()).unwrap();
    }

    let ok = |_| Ok(job.loss());
    let none = range_test(&job.variables, job.sgd(), &test, 0..0, ok, || Ok(None));
    assert!(matches!(none, Err(RangeTestError::NoBatches)));
    let fails = |batch| if batch < 5 { Ok(job.loss()) } else { Err(Error::Msg("no more".into())) };
    match range_test(&job.variables, job.adamw(), &test, 0.., fails, || Ok(Some(1.0))) {
        Err(RangeTestError::Candle { curve, error }) => {
            assert_eq!((curve.points().len(), error.to_string().as_str()), (5, "no more"));
            assert_eq!(curve.points()[0].validation, Some(1.0));
        }
        other => panic!("{other:?}"),
    }
    let half = |_| job.layers[0].forward(&job.x)?.sqr()?.sum(D::Minus1)?.mean_all();
    match range_test(&job.variables, job.adamw(), &test, 0.., half, || Ok(None)) {
        Err(RangeTestError::MissingGradients(names)) => assert_eq!(names, ["second.bias", "second.weight"]),
        other => panic!("{other:?}"),
    }
    assert_eq!(job.values(), before);
}

#[test]
fn a_snapshot_does_not_change_with_the_model() {
    let job = Job::new(DType::F32);
    let best = SavedVariables::of(&job.variables).unwrap();
    let before = job.values();
    let mut optimizer = CyclicOptimizer::new(job.adamw(), OneCycle::new(0.1, 20).unwrap());
    train(&mut optimizer, &job, 20).unwrap();
    assert_ne!(job.values(), before);
    best.clone().restore().unwrap();
    assert_eq!(job.values(), before);
}
