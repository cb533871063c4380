//! Compares every equivalent in the tables of the guide with numbers of the library that it names.
//! `tests/data/moving_over.py` has produced the numbers.

#![cfg(all(feature = "dfdx", feature = "serde"))]
#![allow(clippy::cast_precision_loss, reason = "small numbers")]

use std::collections::BTreeSet;

use cyclic_optim::feedback::{EarlyStopping, Plateau, Stop};
use cyclic_optim::range_test::{RangeTest, Suggestion};
use cyclic_optim::training::clip_gradients;
use cyclic_optim::{
    Adam, Amplitude, Clip, ClrConfig, ConfigError, Constant, CosineDecay, Curve, Cyclic, CyclicOptimizer,
    ExponentialDecay, Guard, InverseSqrtDecay, InverseTimeDecay, LinearDecay, MultiStepDecay, OneCycle, Part,
    PolynomialDecay, RMSprop, ScaleMode, ScaledCyclic, Schedule, Sequence, Sgd, StepDecay, TorchRMSprop, UpdateError,
    WarmRestarts, from_fn,
};
use dfdx::optim::{Optimizer, RMSpropConfig};
use dfdx::prelude::{AsArray, Backward, Cpu, Rank1, SumTo, Tensor, TensorFrom, Trace, ZeroGrads};
use serde_json::Value;

const GUIDE: &str = concat!(include_str!("../src/guide/schedules.md"), include_str!("../src/guide/moving_over.md"));

/// How far a number may be off: a share of itself, and a share of the largest one in its case.
#[derive(Clone, Copy)]
struct Tolerance(f64, f64);

/// Libraries that calculate in f64. The second share is for numbers that are differences of larger ones.
const EXACT: Tolerance = Tolerance(1e-12, 1e-15);
/// PyTorch's chained forms and Keras' alpha make the smallest rates of a cosine from larger ones.
const CHAINED: Tolerance = Tolerance(1e-12, 1e-14);
/// fastai finds its place in combined schedules in f32, which has 6e-8, and the steepest cosine here triples that.
const FASTAI: Tolerance = Tolerance(0.0, 3e-7);
/// Keras 2 keeps the learning rate in f32.
const KERAS_2: Tolerance = Tolerance(1e-7, 0.0);

fn case(name: &str) -> Value {
    let mut document: Value = serde_json::from_str(include_str!("data/moving_over.json")).unwrap();
    let case = document["cases"][name].take();
    assert!(case.is_object(), "no case {name}");
    case
}

/// The points of a case: an index, and the values at it.
fn points(case: &Value) -> Vec<(usize, Vec<f64>)> {
    let numbers =
        |point: &Value| -> Vec<f64> { point.as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect() };
    let index = |point: &Value| usize::try_from(point[0].as_u64().unwrap()).unwrap();
    case["points"].as_array().unwrap().iter().map(|point| (index(point), numbers(point)[1..].to_vec())).collect()
}

fn metrics(case: &Value) -> Vec<f64> {
    case["metrics"].as_array().unwrap().iter().map(|metric| metric.as_f64().unwrap()).collect()
}

/// Compares rates, and momenta where the library cycles them.
fn agree<S: Schedule>(name: &str, tolerance: Tolerance, config: impl Into<ClrConfig<S>>) {
    let config = config.into();
    let points = points(&case(name));
    let used: Vec<_> = config.preview().take(points[points.len() - 1].0 + 1).collect();
    let largest = points.iter().map(|point| point.1[0]).fold(0.0, f64::max);
    for (step, expected) in &points {
        let close = |value: f64, expected: f64, largest: f64| {
            let allowed = tolerance.0 * expected.abs() + tolerance.1 * largest;
            assert!((value - expected).abs() <= allowed, "{name} at {step}: {value:e}, there {expected:e}");
        };
        close(used[*step].lr, expected[0], largest);
        match (expected.get(1), used[*step].momentum) {
            (Some(expected), Some(momentum)) => close(momentum, *expected, 1.0),
            (expected, momentum) => assert_eq!(expected.copied(), momentum, "{name}: momentum"),
        }
    }
}

type Check = fn() -> Result<(), ConfigError>;

/// An entry of the table of schedules: its row, its column, its name, and the proof.
type Entry = (&'static str, &'static str, &'static str, Check);

const ENTRIES: &[Entry] = &[
    ("Cyclic::triangular", "PyTorch", "CyclicLR", || {
        // It cycles the momentum, too, and scales its swing with the amplitude.
        let cycled = |cyclic| ClrConfig::new(cyclic).with_scaled_momentum(0.8, 0.9);
        agree("torch CyclicLR triangular", EXACT, cycled(Cyclic::triangular(1e-3, 6e-3, 2000)?)?);
        agree("torch CyclicLR triangular2", EXACT, cycled(Cyclic::triangular2(1e-3, 6e-3, 2000)?)?);
        agree("torch CyclicLR exp_range", EXACT, cycled(Cyclic::exp_range(1e-3, 6e-3, 2000, 0.9999)?)?);
        Ok(())
    }),
    ("Cyclic::triangular", "Keras", "CyclicLR", || {
        for source in ["bckenstler/CLR", "keras-contrib"] {
            let name = |mode| format!("{source} CyclicLR {mode}");
            agree(&name("triangular"), EXACT, Cyclic::triangular(1e-3, 6e-3, 2000)?);
            agree(&name("triangular2"), EXACT, Cyclic::triangular2(1e-3, 6e-3, 2000)?);
            agree(&name("exp_range"), EXACT, Cyclic::exp_range(1e-3, 6e-3, 2000, 0.9999)?);
        }
        Ok(())
    }),
    ("Cyclic::over_total", "Keras", "OneCycle", || {
        let cyclic = Cyclic::over_total(0.01, 0.1, 900, 1, 0.3)?.with_curves(Curve::Cosine, Curve::Cosine);
        let config = ClrConfig::new(cyclic.with_end_lr(0.0)?).with_momentum(0.85, 0.95)?;
        agree("keras_one_cycle_clr OneCycle", CHAINED, config);
        Ok(())
    }),
    ("Cyclic::over_total", "Keras", "CyclicLRCallback", || {
        // It adds an epsilon of 1e-7 to the peak.
        let cyclic = Cyclic::over_total(0.0, 0.01 + 1e-7, 200, 2, 0.3)?.with_curves(Curve::Linear, Curve::Cosine);
        let config = ClrConfig::new(cyclic.with_amplitude(Amplitude::Factor(0.5))?).with_momentum(0.85, 0.95)?;
        agree("keras-callbacks CyclicLRCallback", CHAINED, config);
        Ok(())
    }),
    ("Cyclic::over_total", "fastai", "combined_cos", || {
        let cyclic = Cyclic::over_total(0.01, 0.1, 900, 1, 0.25)?.with_curves(Curve::Cosine, Curve::Cosine);
        agree("fastai combined_cos", FASTAI, cyclic.with_end_lr(0.001)?);
        Ok(())
    }),
    ("ScaledCyclic", "PyTorch", "CyclicLR(scale_fn=)", || {
        let cyclic = Cyclic::triangular(1e-3, 6e-3, 2000)?;
        let cycled = |schedule| ClrConfig::custom(schedule).with_scaled_momentum(0.8, 0.9);
        let by_cycle: fn(u64) -> f64 = |cycle| 1.0 / (cycle + 1) as f64;
        let by_update: fn(u64) -> f64 = |t| 1.0 / (1.0 + t as f64 / 500.0);
        let schedule = ScaledCyclic::new(cyclic.clone(), ScaleMode::Cycle, by_cycle);
        agree("torch CyclicLR scale_fn cycle", EXACT, cycled(schedule)?);
        let schedule = ScaledCyclic::new(cyclic, ScaleMode::Iteration, by_update);
        agree("torch CyclicLR scale_fn iterations", EXACT, cycled(schedule)?);
        Ok(())
    }),
    ("ScaledCyclic", "Keras", "CyclicLR(scale_fn=)", || {
        let cyclic = Cyclic::triangular(1e-3, 6e-3, 2000)?;
        for source in ["bckenstler/CLR", "keras-contrib"] {
            let scaled = ScaledCyclic::new(cyclic.clone(), ScaleMode::Cycle, |cycle| 1.0 / (cycle + 1) as f64);
            agree(&format!("{source} CyclicLR scale_fn cycle"), EXACT, ClrConfig::custom(scaled));
            let scaled = ScaledCyclic::new(cyclic.clone(), ScaleMode::Iteration, |t| 1.0 / (1.0 + t as f64 / 500.0));
            agree(&format!("{source} CyclicLR scale_fn iterations"), EXACT, ClrConfig::custom(scaled));
        }
        Ok(())
    }),
    ("OneCycle::new", "PyTorch", "OneCycleLR", || {
        let config = ClrConfig::new(OneCycle::pytorch(0.02, 900)?).with_momentum(0.85, 0.95)?;
        agree("torch OneCycleLR", EXACT, config);
        Ok(())
    }),
    ("OneCycle::new", "fastai", "fit_one_cycle", || {
        let config = ClrConfig::new(OneCycle::fastai(0.02, 900)?).with_momentum(0.85, 0.95)?;
        agree("fastai fit_one_cycle", FASTAI, config);
        Ok(())
    }),
    ("OneCycle::new", "optax", "cosine_onecycle_schedule", || {
        agree("optax cosine_onecycle_schedule", CHAINED, OneCycle::optax(0.02, 900)?);
        Ok(())
    }),
    ("OneCycle::new", "optax", "linear_onecycle_schedule", || {
        let schedule = OneCycle::optax(0.02, 900)?.with_curve(Curve::Linear).with_three_phases(0.85)?;
        agree("optax linear_onecycle_schedule", CHAINED, schedule);
        Ok(())
    }),
    ("WarmRestarts::new", "PyTorch", "CosineAnnealingWarmRestarts", || {
        agree("torch CosineAnnealingWarmRestarts", EXACT, WarmRestarts::new(0.001, 0.1, 10)?.with_t_mult(2)?);
        Ok(())
    }),
    ("WarmRestarts::new", "Keras", "CosineDecayRestarts", || {
        agree("keras CosineDecayRestarts", CHAINED, WarmRestarts::new(0.0, 0.1, 10)?.with_t_mult(2)?);
        // alpha is a share of the start.
        let schedule = WarmRestarts::new(0.01 * 0.1, 0.1, 10)?.with_peak_factor(0.8)?;
        agree("keras CosineDecayRestarts m_mul alpha", CHAINED, schedule);
        Ok(())
    }),
    ("WarmRestarts::new", "Keras", "SnapshotCallbackBuilder", || {
        agree("keras-contrib SnapshotCallbackBuilder", EXACT, WarmRestarts::snapshots(0.1, 200, 5)?);
        Ok(())
    }),
    ("WarmRestarts::new", "fastai", "fit_sgdr", || {
        let schedule = WarmRestarts::new(0.0, 0.02, 45)?.with_t_mult(2)?.with_cycles(3)?;
        // fastai computes the starts of its cycles by a sum in f32, so its third cycle begins one update late here.
        let late = 135;
        assert_eq!(schedule.value_at(late), 0.02);
        let with_its_rounding = from_fn(move |t| if t == late { 0.0 } else { schedule.value_at(t) });
        agree("fastai fit_sgdr", FASTAI, ClrConfig::custom(with_its_rounding));
        Ok(())
    }),
    ("WarmRestarts::new", "optax", "sgdr_schedule", || {
        let schedule = WarmRestarts::new(0.001, 0.1, 10)?.with_t_mult(2)?.with_cycles(3)?;
        agree("optax sgdr_schedule", CHAINED, schedule);
        Ok(())
    }),
    ("Constant", "fastai", "SchedNo", || {
        agree("fastai SchedNo", EXACT, Constant::new(0.1)?);
        Ok(())
    }),
    ("Constant", "optax", "constant_schedule", || {
        agree("optax constant_schedule", EXACT, Constant::new(0.1)?);
        Ok(())
    }),
    ("LinearDecay", "PyTorch", "LinearLR", || {
        let lr = 0.1;
        agree("torch LinearLR", EXACT, LinearDecay::new(lr / 3.0, lr, 5)?);
        Ok(())
    }),
    ("LinearDecay", "fastai", "SchedLin", || {
        agree("fastai SchedLin", EXACT, LinearDecay::new(0.1, 0.001, 50)?);
        Ok(())
    }),
    ("LinearDecay", "optax", "linear_schedule", || {
        agree("optax linear_schedule", EXACT, LinearDecay::new(0.1, 0.001, 50)?);
        Ok(())
    }),
    ("StepDecay", "PyTorch", "StepLR", || {
        agree("torch StepLR", EXACT, StepDecay::new(0.1, 30, 0.1)?);
        Ok(())
    }),
    ("StepDecay", "Keras", "ExponentialDecay(staircase=True)", || {
        agree("keras ExponentialDecay staircase", EXACT, StepDecay::new(0.1, 100, 0.5)?);
        Ok(())
    }),
    ("StepDecay", "optax", "exponential_decay(staircase=True)", || {
        agree("optax exponential_decay staircase", EXACT, StepDecay::new(0.1, 100, 0.5)?);
        Ok(())
    }),
    ("MultiStepDecay", "PyTorch", "MultiStepLR", || {
        agree("torch MultiStepLR", EXACT, MultiStepDecay::new(0.1, [30, 80], 0.1)?);
        Ok(())
    }),
    ("MultiStepDecay", "Keras", "PiecewiseConstantDecay", || {
        agree("keras PiecewiseConstantDecay", EXACT, MultiStepDecay::new(0.1, [30 + 1, 80 + 1], 0.5)?);
        Ok(())
    }),
    ("MultiStepDecay", "optax", "piecewise_constant_schedule", || {
        agree("optax piecewise_constant_schedule", EXACT, MultiStepDecay::new(0.1, [30, 80], 0.1)?);
        Ok(())
    }),
    ("ExponentialDecay", "PyTorch", "ExponentialLR", || {
        agree("torch ExponentialLR", EXACT, ExponentialDecay::new(0.1, 0.99)?);
        Ok(())
    }),
    ("ExponentialDecay", "Keras", "ExponentialDecay", || {
        agree("keras ExponentialDecay", EXACT, ExponentialDecay::new(0.1, 0.5_f64.powf(1.0 / 100.0))?);
        Ok(())
    }),
    ("ExponentialDecay", "fastai", "SchedExp", || {
        agree("fastai SchedExp", EXACT, ExponentialDecay::new(0.1, (0.001_f64 / 0.1).powf(1.0 / 50.0))?);
        Ok(())
    }),
    ("ExponentialDecay", "optax", "exponential_decay", || {
        agree("optax exponential_decay", EXACT, ExponentialDecay::new(0.1, 0.5_f64.powf(1.0 / 100.0))?);
        Ok(())
    }),
    ("PolynomialDecay", "PyTorch", "PolynomialLR", || {
        agree("torch PolynomialLR", EXACT, PolynomialDecay::new(0.1, 0.0, 50, 2.0)?);
        Ok(())
    }),
    ("PolynomialDecay", "Keras", "PolynomialDecay", || {
        agree("keras PolynomialDecay", EXACT, PolynomialDecay::new(0.1, 0.001, 50, 2.0)?);
        Ok(())
    }),
    ("PolynomialDecay", "optax", "polynomial_schedule", || {
        agree("optax polynomial_schedule", EXACT, PolynomialDecay::new(0.1, 0.001, 50, 2.0)?);
        Ok(())
    }),
    ("CosineDecay", "PyTorch", "CosineAnnealingLR", || {
        agree("torch CosineAnnealingLR", CHAINED, CosineDecay::new(0.1, 0.001, 50)?);
        Ok(())
    }),
    ("CosineDecay", "Keras", "CosineDecay", || {
        agree("keras CosineDecay", CHAINED, CosineDecay::new(0.1, 0.01 * 0.1, 50)?);
        Ok(())
    }),
    ("CosineDecay", "fastai", "SchedCos", || {
        agree("fastai SchedCos", CHAINED, CosineDecay::new(0.1, 0.001, 50)?);
        Ok(())
    }),
    ("CosineDecay", "optax", "cosine_decay_schedule", || {
        agree("optax cosine_decay_schedule", CHAINED, CosineDecay::new(0.1, 0.01 * 0.1, 50)?);
        Ok(())
    }),
    ("InverseTimeDecay", "Keras", "InverseTimeDecay", || {
        agree("keras InverseTimeDecay", EXACT, InverseTimeDecay::new(0.1, 0.5 / 100.0)?);
        Ok(())
    }),
    ("InverseTimeDecay", "Keras", "decay=", || {
        agree("keras 2 decay", KERAS_2, InverseTimeDecay::new(0.1, 1e-3)?);
        Ok(())
    }),
    ("InverseSqrtDecay", "paper", "Noam", || {
        // The formula of the paper, section 5.3, with its own d_model and warm-up; its first step is 1.
        let (model, warmup) = (512.0_f64, 4000.0_f64);
        let peak = (model * warmup).powf(-0.5);
        let schedule = Sequence::warmup_inverse_sqrt(peak, 4000)?;
        for step in [1_u64, 2, 2000, 3999, 4000, 4001, 16_000, 100_000] {
            let t = step as f64;
            let expected = model.powf(-0.5) * t.powf(-0.5).min(t * warmup.powf(-1.5));
            assert!((schedule.value_at(step) / expected - 1.0).abs() < 1e-12, "{step}");
        }
        let after = InverseSqrtDecay::new(peak, 4000)?;
        assert_eq!(after.value_at(1000), schedule.value_at(5000));
        Ok(())
    }),
    ("Sequence", "PyTorch", "SequentialLR", || {
        let schedule = Sequence::new([
            Part::new(LinearDecay::new(0.1 / 3.0, 0.1, 5)?, 5),
            Part::endless(CosineDecay::new(0.1, 0.001, 40)?),
        ])?;
        agree("torch SequentialLR", CHAINED, schedule);
        Ok(())
    }),
    ("Sequence", "PyTorch", "ConstantLR", || {
        let lr = 0.1;
        let parts = [Part::new(Constant::new(lr / 3.0)?, 5), Part::endless(Constant::new(lr)?)];
        agree("torch ConstantLR", EXACT, Sequence::new(parts)?);
        Ok(())
    }),
    ("Sequence", "Keras", "CosineDecay(warmup_target=)", || {
        let schedule = Sequence::warmup_cosine(0.0, 0.1, 0.01 * 0.1, 10, 60)?;
        agree("keras CosineDecay warmup", CHAINED, schedule);
        Ok(())
    }),
    ("Sequence", "Keras", "PiecewiseConstantDecay", || {
        let schedule = Sequence::new([
            Part::new(Constant::new(0.1)?, 31),
            Part::new(Constant::new(0.07)?, 50),
            Part::endless(Constant::new(0.2)?),
        ])?;
        agree("keras PiecewiseConstantDecay any", EXACT, schedule);
        Ok(())
    }),
    ("Sequence", "fastai", "combine_scheds", || {
        let schedule = Sequence::new([
            Part::new(LinearDecay::new(0.01, 0.1, 25)?, 25),
            Part::endless(CosineDecay::new(0.1, 0.001, 75)?),
        ])?;
        agree("fastai combine_scheds", FASTAI, schedule);
        Ok(())
    }),
    ("Sequence", "optax", "join_schedules", || {
        let schedule =
            Sequence::new([Part::new(Constant::new(0.02)?, 10), Part::endless(CosineDecay::new(0.1, 0.0, 50)?)])?;
        agree("optax join_schedules", CHAINED, schedule);
        Ok(())
    }),
    ("Sequence", "optax", "warmup_cosine_decay_schedule", || {
        agree("optax warmup_cosine_decay_schedule", CHAINED, Sequence::warmup_cosine(0.0, 0.1, 0.001, 10, 60)?);
        Ok(())
    }),
    ("from_fn", "PyTorch", "LambdaLR", || {
        agree("torch LambdaLR", EXACT, ClrConfig::custom(from_fn(|t| 0.1 * (1.0 / ((1 + t) as f64).sqrt()))));
        Ok(())
    }),
    ("from_fn", "Keras", "LearningRateScheduler", || {
        let batches = 10;
        agree(
            "keras LearningRateScheduler",
            EXACT,
            ClrConfig::custom(from_fn(move |t| 0.1 / (1 + t / batches) as f64)),
        );
        Ok(())
    }),
    ("from_fn", "fastai", "SchedPoly", || {
        let (start, end, steps, power) = (0.1, 0.001, 50, 2.0);
        let mirrored = move |t: u64| start + (end - start) * (t.min(steps) as f64 / steps as f64).powf(power);
        agree("fastai SchedPoly", EXACT, ClrConfig::custom(from_fn(mirrored)));
        Ok(())
    }),
];

/// The rows of a table of the guide, cell by cell, without its head.
fn table(head: &str) -> Vec<Vec<&'static str>> {
    let (_, rest) = GUIDE.split_once(head).unwrap_or_else(|| panic!("no table that begins with {head}"));
    let rows = rest.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// The texts between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn every_schedule_is_the_librarys() {
    let wrong = |(_, _, _, check): &&Entry| std::panic::catch_unwind(|| check().unwrap()).is_err();
    let wrong: Vec<_> = ENTRIES.iter().filter(wrong).map(|(row, library, name, _)| (row, library, name)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn the_table_of_schedules_has_no_other_entries() {
    let mut named = BTreeSet::new();
    for row in table("| schedule | formula | paper |") {
        let schedule = quoted(row[0]).next().unwrap();
        for (library, cell) in ["PyTorch", "Keras", "fastai", "optax"].into_iter().zip(&row[3..]) {
            named.extend(quoted(cell).map(|name| (schedule, library, name)));
        }
        if row[1].contains("Noam") {
            named.insert((schedule, "paper", "Noam"));
        }
    }
    let proved: BTreeSet<_> = ENTRIES.iter().map(|(row, library, name, _)| (*row, *library, *name)).collect();
    assert_eq!(named.difference(&proved).collect::<Vec<_>>(), Vec::<&(&str, &str, &str)>::new(), "without a proof");
    assert_eq!(proved.difference(&named).collect::<Vec<_>>(), Vec::<&(&str, &str, &str)>::new(), "not in the guide");
}

/// A row of the table of libraries: its columns `there` and `here`, and the test that proves it.
struct Row {
    there: &'static str,
    here: &'static str,
    check: Check,
}

/// A row whose text is the code that the test runs.
macro_rules! row {
    ($there:expr, $here:expr, $check:expr) => {
        Row {
            there: $there,
            here: stringify!($here),
            check: || {
                let check: fn(_) = $check;
                check($here);
                Ok(())
            },
        }
    };
}

/// As [`row`], for methods of a config.
macro_rules! option {
    ($there:expr, $config:expr, $(.$option:ident($($argument:tt)*)?)+, $check:expr) => {
        Row {
            there: $there,
            here: stringify!($(.$option($($argument)*)?)+),
            check: || {
                let check: fn(ClrConfig) = $check;
                check(ClrConfig::new($config)$(.$option($($argument)*)?)+);
                Ok(())
            },
        }
    };
}

type Weights = Tensor<Rank1<3>, f64, Cpu>;

fn weights() -> Weights {
    Cpu::default().tensor([0.0; 3])
}

/// Chosen gradients: d(w . g)/dw = g.
fn gradients(weights: &Weights, values: [f64; 3]) -> dfdx::tensor::Gradients<f64, Cpu> {
    (weights.trace(weights.alloc_grads()) * Cpu::default().tensor(values)).sum().backward()
}

/// The rate after each metric.
fn plateau(name: &str, config: ClrConfig) {
    let case = case(name);
    let mut optimizer = CyclicOptimizer::new(Sgd::<f32, Cpu>::default(), config);
    let mut rates = Vec::new();
    for metric in metrics(&case) {
        let _ = optimizer.observe(metric);
        rates.push(optimizer.lr());
    }
    for (epoch, expected) in points(&case) {
        assert!((rates[epoch] / expected[0] - 1.0).abs() < 1e-12, "{name} after {epoch}: {rates:?}");
    }
}

/// `updates` of a row of the guide.
#[expect(non_upper_case_globals, reason = "as the guide has it")]
const updates: u64 = 900;

const ROWS: &[Row] = &[
    row!(
        "CyclicLR(opt, 1e-3, 6e-3, step_size_up=2000)",
        ClrConfig::new(Cyclic::triangular(1e-3, 6e-3, 2000)?).with_scaled_momentum(0.8, 0.9)?,
        |config: ClrConfig| agree("torch CyclicLR triangular", EXACT, config)
    ),
    row!("cycle_momentum=False", Cyclic::triangular(1e-3, 6e-3, 2000)?, |cyclic: Cyclic| {
        // The rates of the default, without its momentum.
        let rates = points(&case("torch CyclicLR triangular"));
        for (step, expected) in rates {
            assert!((cyclic.value_at(step as u64) / expected[0] - 1.0).abs() < 1e-12, "{step}");
        }
    }),
    row!(
        "OneCycleLR(opt, 0.02, total_steps=900)",
        ClrConfig::new(OneCycle::pytorch(0.02, 900)?).with_momentum(0.85, 0.95)?,
        |config: ClrConfig| agree("torch OneCycleLR", EXACT, config)
    ),
    option!(
        "ReduceLROnPlateau(opt, factor=0.5, patience=3)",
        Constant::new(0.1)?,
        .with_plateau(Plateau::pytorch(0.5, 3)?)?,
        |config| plateau("torch ReduceLROnPlateau", config)
    ),
    option!(
        "clip_grad_norm_(params, 1.0)",
        Constant::new(0.1)?,
        .with_clip(Clip { norm: Some(1.0), ..Clip::default() })?,
        |config| {
            let case = case("torch clip_grad_norm_");
            let lists = case["gradients"].as_array().unwrap().iter();
            let lists = lists.map(|list| [0, 1, 2].map(|n: usize| list[n].as_f64().unwrap()));
            for (list, (_, expected)) in lists.zip(points(&case)) {
                let mut model = weights();
                let mut grads = gradients(&model, list);
                let norm = clip_gradients(&model, &mut grads, config.clip()).unwrap();
                assert!((norm - expected[0]).abs() <= 1e-12 * expected[0], "{list:?}");
                // What `apply` uses: a plain Sgd moves by the clipped gradient.
                let mut grads = gradients(&model, list);
                let mut optimizer = CyclicOptimizer::new(Sgd::default(), config.clone());
                optimizer.get_mut().cfg.momentum = None;
                optimizer.apply(&mut model, &mut grads, 1.0).unwrap();
                for (moved, expected) in model.array().iter().zip(&expected[1..]) {
                    assert!((moved + 0.1 * expected).abs() <= 1e-12 * expected.abs(), "{list:?}");
                }
            }
        }
    ),
    option!(
        "GradScaler",
        Constant::new(0.1)?,
        .with_guard(Guard { gradients: true, max_refusals: None })?,
        |config| {
            // What PyTorch documents: with infs or NaNs the step is skipped and the parameters stay.
            for bad in [f64::NAN, f64::INFINITY] {
                let mut model = weights();
                let mut optimizer = CyclicOptimizer::new(Sgd::default(), config.clone());
                let mut grads = gradients(&model, [1.0, bad, 1.0]);
                let refused = optimizer.apply(&mut model, &mut grads, 1.0);
                assert!(matches!(refused, Err(UpdateError::NonFiniteGradient { .. })), "{refused:?}");
                assert_eq!((model.array(), optimizer.iterations()), ([0.0; 3], 0));
            }
        }
    ),
    Row {
        there: "RMSprop(params)",
        here: "TorchRMSprop::default()",
        check: || {
            rmsprop();
            Ok(())
        },
    },
    row!(
        "CyclicLR(base_lr=1e-3, max_lr=6e-3, step_size=2000)",
        Cyclic::triangular(1e-3, 6e-3, 2000)?,
        |cyclic: Cyclic| {
            agree("bckenstler/CLR CyclicLR triangular", EXACT, cyclic.clone());
            agree("keras-contrib CyclicLR triangular", EXACT, cyclic);
        }
    ),
    Row { there: "Adam(decay=1e-3)", here: "a function", check: keras_2_decay },
    option!("Adam(decay=1e-4, clr=..)", Cyclic::triangular(0.01, 0.06, 2000)?, .with_decay(1e-4)?, |config| {
        // clr_optimizers.py of bckenstler/CLR at fc342e3, calculated in f64: the base decays, the peak stays.
        for (step, expected) in [(0, 0.01), (1000, 0.034_545_454_545_45), (2000, 0.06), (3000, 0.033_846_153_846_15)] {
            let lr = config.preview().nth(step).unwrap().lr;
            assert!((lr - expected).abs() < 1e-14, "{step}: {lr}");
        }
    }),
    option!(
        "ReduceLROnPlateau(factor=0.5, patience=3)",
        Constant::new(0.1)?,
        .with_plateau(Plateau::keras(0.5, 3)?)?,
        |config| plateau("keras ReduceLROnPlateau", config)
    ),
    option!(
        "EarlyStopping(patience=3)",
        Constant::new(0.1)?,
        .with_early_stopping(EarlyStopping::new(3)?)?,
        |config| {
            let case = case("keras EarlyStopping");
            for (patience, epoch) in points(&case) {
                let config = match patience {
                    3 => config.clone(),
                    _ => config.clone().with_early_stopping(EarlyStopping::new(patience as u64).unwrap()).unwrap(),
                };
                let mut optimizer = CyclicOptimizer::new(Sgd::<f32, Cpu>::default(), config);
                let stop = |metric| optimizer.observe(metric).stop == Some(Stop::NoImprovement);
                let stopped = metrics(&case).into_iter().position(stop);
                assert_eq!(stopped.map(|epoch| epoch as f64), Some(epoch[0]), "patience {patience}");
            }
        }
    ),
    // Only names; the compiler checks below that they exist.
    Row { there: "CSVLogger", here: "CsvLog", check: || Ok(()) },
    row!("learn.lr_find()", RangeTest::logarithmic(1e-7, 10.0, 101)?.with_max_steps(100)?, |test: RangeTest| {
        let mut rates = Vec::new();
        let mut losses = (0..200).map(|n| 2.0 - f64::from(n) / 100.0);
        let curve = test.run(|lr| {
            rates.push(lr);
            Ok::<_, ()>(losses.next())
        });
        assert_eq!((curve.unwrap().points().len(), rates.len()), (100, 100));
        for (step, expected) in points(&case("fastai lr_find")) {
            assert!((rates[step] / expected[0] - 1.0).abs() < 1e-12, "{step}: {}", rates[step]);
        }
        assert_eq!(Suggestion::Valley.to_string(), "valley");
    }),
    row!(
        "learn.fit_one_cycle(20, 0.02)",
        ClrConfig::new(OneCycle::fastai(0.02, updates)?).with_momentum(0.85, 0.95)?,
        |config: ClrConfig| agree("fastai fit_one_cycle", FASTAI, config)
    ),
    row!(
        "adam(cosine_onecycle_schedule(900, 0.02))",
        CyclicOptimizer::new(Adam::default(), OneCycle::optax(0.02, 900)?),
        |optimizer: CyclicOptimizer<Adam<f32, Cpu>>| {
            agree("optax cosine_onecycle_schedule", CHAINED, optimizer.config().clone());
            // optax.adam: b1 0.9, b2 0.999, eps 1e-8 outside of the root.
            let cfg = optimizer.get_ref().cfg;
            assert_eq!((cfg.betas, cfg.eps, cfg.weight_decay.is_none()), ([0.9, 0.999], 1e-8, true));
        }
    ),
];

#[cfg(all(feature = "csv", feature = "tensorboard", feature = "checkpoint", feature = "remote"))]
#[expect(unused_imports, reason = "the names that a row of the guide promises")]
use cyclic_optim::{
    ModelCheckpoint,
    history::{CsvLog, RemoteMonitor, TensorBoard},
};

/// Keras 2 divides the whole rate; the guide has exactly this line.
fn keras_2_decay() -> Result<(), ConfigError> {
    let (cycle, decay) = (Cyclic::triangular(1e-3, 6e-3, 200)?, 1e-3);
    let config = ClrConfig::custom(from_fn(move |t| cycle.value_at(t) / (1.0 + decay * t as f64)));
    agree("keras 2 decay around a cycle", KERAS_2, config);
    for line in [
        "let (cycle, decay) = (Cyclic::triangular(1e-3, 6e-3, 200)?, 1e-3);",
        "let config = ClrConfig::custom(from_fn(move |t| cycle.value_at(t) / (1.0 + decay * t as f64)));",
    ] {
        assert!(GUIDE.contains(line), "{line}");
    }
    // `with_decay` is something else: at the peaks it does nothing.
    let base_alone = ClrConfig::new(Cyclic::triangular(1e-3, 6e-3, 200)?).with_decay(1e-3)?;
    assert_eq!(base_alone.preview().nth(200).unwrap().lr, 6e-3);
    Ok(())
}

/// How far dfdx's RMSprop and PyTorch's move in 200 updates with one gradient, as the page of `RMSprop` has it. `TorchRMSprop` moves
/// as far as PyTorch's.
fn rmsprop() {
    let case = case("torch RMSprop");
    let page = include_str!("../src/adapters/dfdx/optimizers/rmsprop.rs");
    for (n, there) in points(&case) {
        let gradient = case["gradients"][n].as_f64().unwrap();
        let (mut model, mut like_pytorch) = (weights(), weights());
        let mut rmsprop =
            RMSprop::new(RMSpropConfig { lr: 0.01, alpha: 0.9, eps: 1e-8, momentum: None, ..Default::default() });
        let mut torch_rmsprop = TorchRMSprop::default();
        // As in PyTorch, apart from alpha.
        torch_rmsprop.cfg.alpha = 0.9;
        for _ in 0..200 {
            let grads = gradients(&model, [gradient; 3]);
            rmsprop.update(&mut model, &grads).unwrap();
            let grads = gradients(&like_pytorch, [gradient; 3]);
            torch_rmsprop.update(&mut like_pytorch, &grads).unwrap();
        }
        let moved = like_pytorch.array()[0];
        assert!((moved / there[0] - 1.0).abs() < 1e-12, "{gradient}: {moved}, there {}", there[0]);
        let row = format!("/// | {gradient} | {:.3} | {:.3} |", -model.array()[0], -there[0]);
        assert!(page.contains(&row), "the page of RMSprop lacks {row}");
    }
}

#[test]
fn every_library_is_left_as_the_table_says() {
    let wrong = |row: &&Row| std::panic::catch_unwind(|| (row.check)().unwrap()).is_err();
    let wrong: Vec<_> = ROWS.iter().filter(wrong).map(|row| row.there).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn the_table_of_libraries_has_no_other_rows() {
    let plain = |text: &str| text.replace([' ', '\n', '`'], "").replace(",)", ")");
    let table = table("| from | there | here |");
    assert_eq!(table.len(), ROWS.len());
    for (cells, row) in table.iter().zip(ROWS) {
        assert!(plain(cells[1]).contains(&plain(row.there)), "{}, proved is {}", cells[1], row.there);
        assert!(plain(cells[2]).contains(&plain(row.here)), "{}, proved is {}", cells[2], row.here);
    }
}
