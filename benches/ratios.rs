//! What the wrapper costs, as ratios of times taken in turns in one run: such ratios hold on noisy machines and travel.
//!
//! ```text
//! cargo bench --bench ratios
//! ```
//!
//! Each line: the median time of an update without and with, the median of the ratios of neighbouring samples, and the
//! budget that the crate promises for it.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers"
)]

mod support;

use std::hint::black_box;
use std::time::Instant;

use cyclic_optim::adapters::dfdx::{InPlace, range_test};
use cyclic_optim::range_test::RangeTest;
use cyclic_optim::{Adam, Cyclic, CyclicOptimizer, History, Schedule, Sgd};
use dfdx::optim::{AdamConfig, Optimizer, SgdConfig};
use dfdx::prelude::{
    AsArray, Backward, Cpu, DeviceBuildExt, Linear, Module, Rank2, ReLU, SampleTensor, Tensor, Trace, ZeroGrads,
    mse_loss,
};
use support::{model, schedules, settle};

/// Nanoseconds of one call, over so many calls that the clock does not matter.
fn time(run: &mut dyn FnMut(), calls: u32) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        run();
    }
    start.elapsed().as_nanos() as f64 / f64::from(calls)
}

/// Samples of each time: short and many, for a machine's speed drifts within milliseconds.
fn samples() -> u32 {
    if std::env::args().any(|argument| argument == "--test") { 3 } else { 1001 }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Times two things in turns.
fn compare(name: &str, budget: Option<f64>, mut without: impl FnMut(), mut with: impl FnMut()) {
    compare_on(name, budget, &mut (), |()| without(), |()| with());
}

/// Times two things in turns, both on the same memory: of two models of 10,000 parameters, either may be the slower by a
/// tenth for where it lies.
fn compare_on<T>(
    name: &str,
    budget: Option<f64>,
    on: &mut T,
    mut without: impl FnMut(&mut T),
    mut with: impl FnMut(&mut T),
) {
    let calls = ((4e5 / time(&mut || without(on), 3)) as u32).clamp(1, 20_000);
    let (mut times, mut ratios) = ((Vec::new(), Vec::new()), Vec::new());
    for sample in 0..samples() {
        // Which goes first changes, so that neither always finds the caches warm.
        let (a, b);
        if sample % 2 == 0 {
            a = time(&mut || without(on), calls);
            b = time(&mut || with(on), calls);
        } else {
            b = time(&mut || with(on), calls);
            a = time(&mut || without(on), calls);
        }
        times.0.push(a);
        times.1.push(b);
        ratios.push(b / a);
    }
    let (without, with) = (median(times.0), median(times.1));
    let budget = budget.map_or(String::new(), |budget| format!("  budget {budget:.2}"));
    println!(
        "{name:<47} {without:>12.1} ns {with:>12.1} ns  medians {:.4}  neighbours {:.4}{budget}",
        with / without,
        median(ratios),
    );
}

fn triangular() -> Cyclic {
    Cyclic::triangular(1e-6, 1e-5, 2000).unwrap()
}

fn wrapped_against_bare<const N: usize>(sgd_budget: Option<f64>, adam_budget: Option<f64>) {
    let (mut parameters, gradients) = model::<N>();
    // See `settle`: a number, and a denormal one.
    for (state, left_over) in [("", 0.5), (", slow None", 1e-310)] {
        let mut bare = dfdx::optim::Sgd::new(&parameters, SgdConfig::default());
        let mut wrapped = CyclicOptimizer::new(dfdx::optim::Sgd::new(&parameters, SgdConfig::default()), triangular());
        settle(&mut bare.cfg, left_over);
        settle(&mut wrapped.get_mut().cfg, left_over);
        compare_on(
            &format!("dfdx Sgd, wrapped / bare, {N} parameters{state}"),
            sgd_budget,
            &mut parameters,
            |parameters| bare.update(parameters, &gradients).unwrap(),
            |parameters| wrapped.update(parameters, &gradients).unwrap(),
        );
    }
    // What the machine makes of two things that are the same: the others cannot be known better than this.
    let mut twins = [(); 2].map(|()| dfdx::optim::Sgd::new(&parameters, SgdConfig::default()));
    for twin in &mut twins {
        settle(&mut twin.cfg, 0.5);
    }
    let [mut one, mut other] = twins;
    compare_on(
        &format!("dfdx Sgd, bare / bare, {N} parameters"),
        None,
        &mut parameters,
        |parameters| one.update(parameters, &gradients).unwrap(),
        |parameters| other.update(parameters, &gradients).unwrap(),
    );
    let mut bare = dfdx::optim::Adam::new(&parameters, AdamConfig::default());
    let mut wrapped = CyclicOptimizer::new(dfdx::optim::Adam::new(&parameters, AdamConfig::default()), triangular());
    compare_on(
        &format!("dfdx Adam, wrapped / bare, {N} parameters"),
        adam_budget,
        &mut parameters,
        |parameters| bare.update(parameters, &gradients).unwrap(),
        |parameters| wrapped.update(parameters, &gradients).unwrap(),
    );
}

fn ours_against_theirs<const N: usize>(budget: Option<f64>) {
    let (mut parameters, mut gradients) = model::<N>();
    let (mut others, mut other_gradients) = model::<N>();
    let mut bare = dfdx::optim::Adam::new(&parameters, AdamConfig::default());
    let mut ours = CyclicOptimizer::new(Adam::default(), triangular());
    compare(
        &format!("Adam, our apply / dfdx update + zero_grads, {N}"),
        budget,
        || {
            bare.update(&mut parameters, &gradients).unwrap();
            parameters.zero_grads(&mut gradients);
        },
        || {
            ours.apply(&mut others, &mut other_gradients, 1.0).unwrap();
        },
    );
    let mut bare = dfdx::optim::Adam::new(&parameters, AdamConfig::default());
    let mut ours = CyclicOptimizer::new(Adam::default(), triangular());
    compare(
        &format!("Adam, our update / dfdx update, {N}"),
        None,
        || bare.update(&mut parameters, &gradients).unwrap(),
        || ours.update(&mut others, &other_gradients).unwrap(),
    );
    let mut bare = dfdx::optim::Sgd::new(&parameters, SgdConfig::default());
    let mut ours = CyclicOptimizer::new(Sgd::default(), triangular());
    settle(&mut bare.cfg, 0.5);
    settle(&mut ours.get_mut().cfg, 0.5);
    compare(
        &format!("Sgd, our apply / dfdx update + zero_grads, {N}"),
        None,
        || {
            bare.update(&mut parameters, &gradients).unwrap();
            parameters.zero_grads(&mut gradients);
        },
        || {
            ours.apply(&mut others, &mut other_gradients, 1.0).unwrap();
        },
    );
}

/// One step of each running schedule, beside an empty loop of the same form.
fn steps() {
    let budgets =
        [("triangular", 5.0), ("triangular2", 5.0), ("cosine", 20.0), ("one_cycle", 20.0), ("exp_range", 25.0)];
    for (name, policy) in schedules() {
        let mut preview = policy.preview(0);
        let mut step = || {
            black_box(preview.next());
        };
        let times = (0..samples()).map(|_| time(&mut step, 30_000)).collect();
        let budget = budgets.iter().find(|budget| budget.0 == name);
        let budget = budget.map_or(String::new(), |budget| format!("  budget {:.0} ns", budget.1));
        println!("one step of {name:<35} {:>12.2} ns{budget}", median(times));
    }
}

/// A range test against a plain training loop over the same batches, for the network of the digits example.
fn range_tests() {
    type Images = Tensor<Rank2<32, 64>, f32, Cpu>;
    type Labels = Tensor<Rank2<32, 10>, f32, Cpu>;
    let device = Cpu::default();
    let model = device.build_module::<((Linear<64, 64>, ReLU), (Linear<64, 32>, ReLU), Linear<32, 10>), f32>();
    let batch: (Images, Labels) = (device.sample_normal(), device.sample_normal());
    // So low that no step stops the sweep.
    let test = RangeTest::logarithmic(1e-7, 1e-6, 100).unwrap();
    let inner: Adam<f32, Cpu> = Adam::default();
    compare(
        "range test / plain loop, 100 updates of an MLP",
        Some(1.05),
        || {
            let (mut model, mut optimizer, mut grads) = (model.clone(), inner.clone(), model.alloc_grads());
            for _ in 0..100 {
                let loss = mse_loss(model.forward(batch.0.trace(grads)), batch.1.clone());
                black_box(loss.array());
                grads = loss.backward();
                optimizer.update_in_place(&mut model, &mut grads).unwrap();
            }
            black_box(model);
        },
        || {
            let curve = range_test(
                &model,
                &inner,
                &test,
                std::iter::repeat(&batch),
                |model, grads, batch| {
                    let loss = mse_loss(model.forward(batch.0.trace(grads)), batch.1.clone());
                    Ok::<_, ()>((loss.array(), loss.backward()))
                },
                |_| Ok(None),
            );
            assert_eq!(black_box(curve).unwrap().points().len(), 100);
        },
    );
}

/// The guard of `apply` against the same update without it.
fn guarded<const N: usize>() {
    let (mut parameters, mut gradients) = model::<N>();
    let (mut others, mut other_gradients) = model::<N>();
    let mut unguarded = CyclicOptimizer::new(Adam::default(), triangular());
    let mut guarded = CyclicOptimizer::new(Adam::default(), triangular());
    compare(
        &format!("Adam, apply with guard / without, {N}"),
        Some(1.01),
        || {
            unguarded.update_with(|inner| inner.update_in_place(&mut parameters, &mut gradients)).unwrap();
        },
        || {
            guarded.apply(&mut others, &mut other_gradients, black_box(1.0)).unwrap();
        },
    );
}

/// An optimizer that records against the same without a history.
fn recorded<const N: usize>() {
    let (mut parameters, mut gradients) = model::<N>();
    let mut unrecorded = CyclicOptimizer::new(Adam::default(), triangular());
    let mut recorded = CyclicOptimizer::new(Adam::default(), triangular()).with_history(History::new());
    compare_on(
        &format!("Adam, apply with history / without, {N}"),
        Some(1.01),
        &mut (&mut parameters, &mut gradients),
        |(parameters, gradients)| {
            unrecorded.apply(*parameters, *gradients, black_box(1.0)).unwrap();
        },
        |(parameters, gradients)| {
            recorded.apply(*parameters, *gradients, black_box(1.0)).unwrap();
        },
    );
    let used = recorded.last().unwrap();
    let times = (0..samples()).map(|_| {
        let mut history = History::new();
        time(&mut || history.record(black_box(&used), black_box(1.0), &[]), 30_000)
    });
    println!("recording an update {:>40.1} ns  budget 50 ns", median(times.collect()));
}

/// A checkpoint of a model with Adam's state against the same bytes by hand: written, synced and renamed, and read.
#[cfg(feature = "checkpoint")]
fn checkpoints<const N: usize>() {
    use std::fs::{self, File};
    use std::io::Write;

    use cyclic_optim::adapters::dfdx::Checkpoint;

    let folder = std::env::temp_dir().join(format!("cyclic-optim-bench-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (path, beside) = (folder.join("run.safetensors"), folder.join("beside"));
    let (mut parameters, mut gradients) = model::<N>();
    let mut optimizer = CyclicOptimizer::new(Adam::default(), triangular());
    optimizer.apply(&mut parameters, &mut gradients, 1.0).unwrap();
    let bytes = Checkpoint::to_bytes(&parameters, &optimizer).unwrap();
    compare(
        &format!("checkpoint written / its bytes, {N}"),
        Some(2.0),
        || {
            let mut file = File::create(&beside).unwrap();
            file.write_all(&bytes).unwrap();
            file.sync_all().unwrap();
            fs::rename(&beside, &path).unwrap();
            File::open(&folder).unwrap().sync_all().unwrap();
        },
        || Checkpoint::write(&path, &parameters, &optimizer).unwrap(),
    );
    let mut other = CyclicOptimizer::new(Adam::default(), triangular());
    compare(
        &format!("checkpoint loaded / its bytes, {N}"),
        Some(4.0),
        || {
            black_box(fs::read(&path).unwrap());
        },
        || Checkpoint::read(&path).unwrap().restore(&mut parameters, &mut other).unwrap(),
    );
    fs::remove_dir_all(folder).unwrap();
}

fn main() {
    // The updates of a bench drive moments into the denormal numbers, whose slowness would hide everything else.
    dfdx::flush_denormals_to_zero();
    steps();
    range_tests();
    guarded::<10_000>();
    recorded::<10_000>();
    #[cfg(feature = "checkpoint")]
    checkpoints::<1_000_000>();
    wrapped_against_bare::<1>(Some(1.25), Some(1.10));
    wrapped_against_bare::<100>(None, None);
    wrapped_against_bare::<10_000>(Some(1.01), Some(1.01));
    wrapped_against_bare::<1_000_000>(None, None);
    ours_against_theirs::<1>(None);
    ours_against_theirs::<100>(None);
    ours_against_theirs::<10_000>(None);
    ours_against_theirs::<1_000_000>(Some(1.02));
}
