//! What the crate costs, as ratios of times that are taken alternately in one run. Such ratios are stable on noisy
//! machines and can be compared between machines.
//!
//! ```text
//! cargo bench --features full --bench ratios                    # everything; exit code 1 if a budget is broken
//! cargo bench --features full --bench ratios -- checkpoint      # only the lines that contain the word
//! cargo bench --features full --bench ratios -- --budgets 0.5   # every budget halved: shows that a broken one fails
//! ```
//!
//! Each line: the median time without and with, the ratio of the medians, the median of the ratios of neighbouring samples,
//! and the budget that the crate promises. A line that is over its budget is measured again, up to five times in all; only
//! if no measurement keeps the budget, the run fails.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers"
)]

mod support;

use std::cell::RefCell;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use cyclic_optim::adapters::dfdx::range_test;
use cyclic_optim::history::Recorder;
use cyclic_optim::range_test::RangeTest;
use cyclic_optim::training::{Accumulator, UpdateInPlace};
use cyclic_optim::{
    Adadelta, Adagrad, Adam, AdamW, Adamax, Applied, Clip, ClrConfig, Cyclic, CyclicOptimizer, Group, Groups, Guard,
    History, Hyper, Lion, Nadam, RMSprop, ScheduleExt, Sgd,
};
use dfdx::optim::{AdamConfig, Momentum, Optimizer, RMSpropConfig, SgdConfig};
use dfdx::prelude::{
    AsArray, Backward, Cpu, DeviceBuildExt, Linear, Module, Rank2, ReLU, SampleTensor, Tensor, Trace, ZeroGrads,
    mse_loss,
};
use dfdx::tensor::Gradients;
use support::{Parameters, Settle, model, schedules};

/// What was asked for on the command line, and the lines that broke their budgets.
struct Bench {
    /// The number of samples of each time. They are many and short, because the speed of a machine drifts within
    /// milliseconds.
    samples: u32,
    /// Only lines that contain this are measured.
    only: Option<String>,
    /// The factor on every budget.
    budgets: f64,
    /// Whether a broken budget fails the run.
    judges: bool,
    broken: RefCell<Vec<String>>,
}

/// The number of measurements that must all exceed a budget before the bench fails, because noise can only add time.
const TRIES: usize = 5;

/// The nanoseconds of one call, averaged over so many calls that the resolution of the clock does not matter.
fn time(run: &mut dyn FnMut(), calls: u32) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        run();
    }
    start.elapsed().as_nanos() as f64 / f64::from(calls)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

impl Bench {
    fn from_arguments() -> Self {
        let mut bench =
            Self { samples: 1001, only: None, budgets: 1.0, judges: true, broken: RefCell::new(Vec::new()) };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // A flag that cargo adds.
                "--bench" => {}
                // Too few samples to judge a budget.
                "--test" => (bench.samples, bench.judges) = (3, false),
                "--budgets" => {
                    let factor = arguments.next().and_then(|factor| factor.parse().ok());
                    bench.budgets = factor.expect("--budgets takes a factor");
                }
                word if !word.starts_with('-') => bench.only = Some(word.into()),
                other => panic!("unknown argument {other}"),
            }
        }
        bench
    }

    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|word| name.contains(word.as_str()))
    }

    /// Measures until `value_of` a measurement keeps the budget, and prints the last one as `line` says it.
    fn judge<T>(
        &self,
        name: &str,
        budget: Option<f64>,
        mut measure: impl FnMut() -> T,
        value_of: impl Fn(&T) -> f64,
        line: impl Fn(&T) -> String,
    ) {
        if !self.wants(name) {
            return;
        }
        let Some(budget) = budget.map(|budget| budget * self.budgets) else {
            println!("{name:<54} {}", line(&measure()));
            return;
        };
        for attempt in 1..=TRIES {
            let measured = measure();
            let kept = value_of(&measured) <= budget;
            let verdict = if kept { "" } else { "  OVER" };
            println!("{name:<54} {}  budget {budget:.3}{verdict}", line(&measured));
            if kept || !self.judges {
                return;
            }
            if attempt == TRIES {
                self.broken.borrow_mut().push(name.into());
            } else {
                // By then a short load on the machine may be over.
                std::thread::sleep(std::time::Duration::from_secs(1));
            }
        }
    }

    /// A time in nanoseconds against a budget.
    fn alone(&self, name: &str, budget: Option<f64>, mut measure: impl FnMut() -> f64) {
        let samples = self.samples;
        let median_of = || median((0..samples).map(|_| measure()).collect());
        self.judge(name, budget, median_of, |time| *time, |time| format!("{time:>12.2} ns"));
    }

    /// Times two things in turns.
    fn compare(&self, name: &str, budget: Option<f64>, mut without: impl FnMut(), mut with: impl FnMut()) {
        self.compare_on(name, budget, &mut (), |()| without(), |()| with());
    }

    /// Times two things alternately. Each call is timed separately, after an untimed call of `prepare`: for updates that
    /// need fresh gradients.
    fn compare_prepared<T>(
        &self,
        name: &str,
        budget: Option<f64>,
        on: &mut T,
        prepare: impl Fn(&mut T),
        mut without: impl FnMut(&mut T),
        mut with: impl FnMut(&mut T),
    ) {
        let measure = || {
            let (mut times, mut ratios) = ((Vec::new(), Vec::new()), Vec::new());
            for sample in 0..self.samples {
                let (mut a, mut b) = (0.0, 0.0);
                for turn in 0..2 {
                    prepare(on);
                    if (sample + turn) % 2 == 0 {
                        a = time(&mut || without(on), 1);
                    } else {
                        b = time(&mut || with(on), 1);
                    }
                }
                times.0.push(a);
                times.1.push(b);
                ratios.push(b / a);
            }
            (median(times.0), median(times.1), median(ratios))
        };
        self.judge_ratio(name, budget, measure);
    }

    /// Times two things alternately, both on the same memory: of two equal models of 10,000 parameters, one may be slower by
    /// a tenth because of its place in memory.
    fn compare_on<T>(
        &self,
        name: &str,
        budget: Option<f64>,
        on: &mut T,
        mut without: impl FnMut(&mut T),
        mut with: impl FnMut(&mut T),
    ) {
        if !self.wants(name) {
            return;
        }
        let once = time(&mut || without(on), 3);
        let calls = ((4e5 / once) as u32).clamp(1, 20_000);
        // Fewer samples are enough for what takes long, such as writing files.
        let samples = self.samples.min(((1e9 / (f64::from(calls) * once)) as u32).max(101));
        let measure = || {
            let (mut times, mut ratios) = ((Vec::new(), Vec::new()), Vec::new());
            for sample in 0..samples {
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
            (median(times.0), median(times.1), median(ratios))
        };
        self.judge_ratio(name, budget, measure);
    }

    /// Judges two times and the median of the ratios of neighbouring samples.
    fn judge_ratio(&self, name: &str, budget: Option<f64>, measure: impl FnMut() -> (f64, f64, f64)) {
        // Two estimates of the same ratio; the smaller one is less disturbed by noise.
        let ratio = |&(without, with, neighbours): &(f64, f64, f64)| (with / without).min(neighbours);
        self.judge(name, budget, measure, ratio, |(without, with, neighbours)| {
            let medians = with / without;
            format!("{without:>12.1} ns {with:>12.1} ns  medians {medians:.4}  neighbours {neighbours:.4}")
        });
    }
}

fn triangular() -> Cyclic {
    Cyclic::triangular(1e-6, 1e-5, 2000).unwrap()
}

/// One update, compiled separately: inlined into the loops of a bench, the same update takes 16 or 22 ns, depending on
/// the code around it.
#[inline(never)]
fn update<O: Optimizer<Parameters<N>, Cpu, f32>, const N: usize>(
    optimizer: &mut O,
    parameters: &mut Parameters<N>,
    gradients: &Gradients<f32, Cpu>,
) {
    optimizer.update(parameters, gradients).unwrap();
}

fn wrapped_against_bare<const N: usize>(bench: &Bench, sgd_budget: Option<f64>, adam_budget: Option<f64>) {
    let (mut parameters, gradients) = model::<N>();
    // A normal number and a denormal one; see `Settle`. The slow case has no budget. In that case dfdx's kernel takes 45 ns
    // or more to convert the contents of each unset option. The conversion also stalls the processor, so that the 4 ns of
    // the wrapper, which usually overlap with the kernel, become up to 14. The compiler decides at each place of inlining
    // whether the kernel converts one number or two, so the ratio says nothing about the wrapper: it was 1.2 in one build
    // and 1.9 in another. Denormal numbers in the wrapper's own unset options change nothing.
    for (state, left_over, sgd_budget) in [("", 0.5, sgd_budget), (", slow None", 1e-310, None)] {
        let mut bare = dfdx::optim::Sgd::new(&parameters, SgdConfig::default());
        let mut wrapped = CyclicOptimizer::new(dfdx::optim::Sgd::new(&parameters, SgdConfig::default()), triangular());
        bare.cfg.settle(left_over);
        wrapped.get_mut().cfg.settle(left_over);
        bench.compare_on(
            &format!("dfdx Sgd, wrapped / bare, {N} parameters{state}"),
            sgd_budget,
            &mut parameters,
            |parameters| update(&mut bare, parameters, &gradients),
            |parameters| update(&mut wrapped, parameters, &gradients),
        );
    }
    // The ratio of two equal things: no other ratio can be known more exactly than this one.
    let mut twins = [(); 2].map(|()| dfdx::optim::Sgd::new(&parameters, SgdConfig::default()));
    for twin in &mut twins {
        twin.cfg.settle(0.5);
    }
    let [mut one, mut other] = twins;
    bench.compare_on(
        &format!("dfdx Sgd, bare / bare, {N} parameters"),
        None,
        &mut parameters,
        |parameters| update(&mut one, parameters, &gradients),
        |parameters| update(&mut other, parameters, &gradients),
    );
    let mut bare = dfdx::optim::Adam::new(&parameters, AdamConfig::default());
    let mut wrapped = CyclicOptimizer::new(dfdx::optim::Adam::new(&parameters, AdamConfig::default()), triangular());
    bench.compare_on(
        &format!("dfdx Adam, wrapped / bare, {N} parameters"),
        adam_budget,
        &mut parameters,
        |parameters| update(&mut bare, parameters, &gradients),
        |parameters| update(&mut wrapped, parameters, &gradients),
    );
}

/// Our optimizers compared with dfdx's own with the same options: `apply` with `update` and `zero_grads`, and `update` with
/// `update`.
fn ours_against_theirs<const N: usize>(bench: &Bench, [adam, sgd, rmsprop]: [Option<f64>; 3]) {
    let on = &mut model::<N>();
    macro_rules! against {
        ($rule:ident, $name:literal, $config:expr, $budget:expr) => {
            let mut bare = dfdx::optim::$rule::new(&on.0, $config);
            let mut ours = CyclicOptimizer::new($rule::new($config), triangular());
            bare.cfg.settle(0.5);
            bench.compare_on(
                &format!("{}, our apply / dfdx update + zero_grads, {N}", $name),
                $budget,
                on,
                |(parameters, gradients)| {
                    bare.update(parameters, gradients).unwrap();
                    parameters.zero_grads(gradients);
                },
                |(parameters, gradients)| {
                    ours.apply(parameters, gradients, 1.0).unwrap();
                },
            );
            bench.compare_on(
                &format!("{}, our update / dfdx update, {N}", $name),
                None,
                on,
                |(parameters, gradients)| bare.update(parameters, gradients).unwrap(),
                |(parameters, gradients)| ours.update(parameters, gradients).unwrap(),
            );
        };
    }
    let momentum = SgdConfig { momentum: Some(Momentum::Classic(0.9)), ..SgdConfig::default() };
    against!(Adam, "Adam", AdamConfig::default(), adam);
    against!(Sgd, "Sgd with momentum", momentum, sgd);
    against!(RMSprop, "RMSprop", RMSpropConfig::default(), rmsprop);
}

/// The rules that dfdx does not have against our Adam.
fn rules<const N: usize>(bench: &Bench) {
    let on = &mut model::<N>();
    macro_rules! against_adam {
        ($($rule:ident),+) => {$(
            let mut adam = CyclicOptimizer::new(Adam::default(), triangular());
            let mut other = CyclicOptimizer::new($rule::default(), triangular());
            bench.compare_on(
                &format!("{}, apply / Adam, {N}", stringify!($rule)),
                Some(1.4),
                on,
                |(parameters, gradients)| {
                    adam.apply(parameters, gradients, 1.0).unwrap();
                },
                |(parameters, gradients)| {
                    other.apply(parameters, gradients, 1.0).unwrap();
                },
            );
        )+};
    }
    against_adam!(Adagrad, Adadelta, Adamax, AdamW, Lion, Nadam);
}

/// Fifty small tensors, for which the cost per tensor matters.
fn many_tensors(bench: &Bench) {
    fn five<T>(one: impl Fn() -> T) -> (T, T, T, T, T) {
        (one(), one(), one(), one(), one())
    }
    let device = Cpu::default();
    let five_times_five = || five(|| five(|| -> Parameters<64> { device.sample_normal() }));
    let parameters = (five_times_five(), five_times_five());
    let gradients = parameters.alloc_grads();
    let mut bare = dfdx::optim::Adam::new(&parameters, AdamConfig::default());
    let mut ours = CyclicOptimizer::new(Adam::default(), triangular());
    bench.compare_on(
        "Adam, our apply / dfdx update + zero_grads, 50 x 64",
        Some(1.0),
        &mut (parameters, gradients),
        |(parameters, gradients)| {
            bare.update(parameters, gradients).unwrap();
            parameters.zero_grads(gradients);
        },
        |(parameters, gradients)| {
            ours.apply(parameters, gradients, 1.0).unwrap();
        },
    );
}

/// Six tensors of 10,000 parameters together, all in groups, and half of the groups with other rates.
fn grouped(bench: &Bench) {
    let device = Cpu::default();
    let one = || -> Parameters<1_667> { device.sample_normal() };
    let parameters = (one(), one(), one(), one(), one(), one());
    let gradients = parameters.alloc_grads();
    let group = |n: u32| Group::new(n.to_string(), if n % 2 == 0 { 1.0 } else { 0.5 }).unwrap();
    let groups = Groups::new((0..6).map(group).collect::<Vec<_>>()).unwrap();
    let config = ClrConfig::new(triangular());
    let mut plain = CyclicOptimizer::new(Adam::default(), config.clone());
    let mut grouped = CyclicOptimizer::new(Adam::default(), config.with_groups(groups).unwrap());
    bench.compare_on(
        "Adam, apply with six groups / without, 6 x 1667",
        Some(1.1),
        &mut (parameters, gradients),
        |(parameters, gradients)| {
            plain.apply(parameters, gradients, 1.0).unwrap();
        },
        |(parameters, gradients)| {
            grouped.apply(parameters, gradients, 1.0).unwrap();
        },
    );
}

/// Other hyper-parameters on schedules of their own, and the exact bias correction.
fn scheduled<const N: usize>(bench: &Bench) {
    let on = &mut model::<N>();
    let config = ClrConfig::new(triangular());
    let with_beta2 = config.clone().with_hyper(Hyper::Beta2, Cyclic::triangular(0.99, 0.999, 100).unwrap()).unwrap();
    let mut plain = CyclicOptimizer::new(Adam::default(), config.clone());
    let mut scheduled = CyclicOptimizer::new(Adam::default(), with_beta2);
    bench.compare_on(
        &format!("Adam, apply with beta2 scheduled / without, {N}"),
        None,
        on,
        |(parameters, gradients)| {
            plain.apply(parameters, gradients, 1.0).unwrap();
        },
        |(parameters, gradients)| {
            scheduled.apply(parameters, gradients, 1.0).unwrap();
        },
    );
    let mut exact = CyclicOptimizer::new(Adam::default().with_exact_bias_correction(), config);
    bench.compare_on(
        &format!("Adam, apply with exact bias correction / without, {N}"),
        None,
        on,
        |(parameters, gradients)| {
            plain.apply(parameters, gradients, 1.0).unwrap();
        },
        |(parameters, gradients)| {
            exact.apply(parameters, gradients, 1.0).unwrap();
        },
    );
}

/// One step of each running schedule, and an empty loop of the same form.
fn steps(bench: &Bench) {
    let budgets =
        [("triangular", 5.0), ("triangular2", 5.0), ("cosine", 20.0), ("one_cycle", 20.0), ("exp_range", 25.0)];
    for (name, policy) in schedules() {
        let mut preview = policy.values_from(0);
        let mut step = || {
            black_box(preview.next());
        };
        let budget = budgets.iter().find(|budget| budget.0 == name).map(|budget| budget.1);
        bench.alone(&format!("one step of {name}, ns"), budget, || time(&mut step, 30_000));
    }
}

/// A range test against a plain training loop over the same batches, for the network of the digits example.
fn range_tests(bench: &Bench) {
    type Images = Tensor<Rank2<32, 64>, f32, Cpu>;
    type Labels = Tensor<Rank2<32, 10>, f32, Cpu>;
    let device = Cpu::default();
    let model = device.build_module::<((Linear<64, 64>, ReLU), (Linear<64, 32>, ReLU), Linear<32, 10>), f32>();
    let batch: (Images, Labels) = (device.sample_normal(), device.sample_normal());
    // Rates so low that no step stops the sweep.
    let test = RangeTest::logarithmic(1e-7, 1e-6, 100).unwrap();
    let inner: Adam<f32, Cpu> = Adam::default();
    bench.compare(
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
fn guarded<const N: usize>(bench: &Bench) {
    let (mut parameters, mut gradients) = model::<N>();
    let (mut others, mut other_gradients) = model::<N>();
    let mut unguarded = CyclicOptimizer::new(Adam::default(), triangular());
    let mut guarded = CyclicOptimizer::new(Adam::default(), triangular());
    bench.compare(
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

/// What guard and clipping add to an update, with gradients that are large enough to be clipped.
fn clipped<const N: usize>(bench: &Bench) {
    let (parameters, gradients) = model::<N>();
    let on = &mut (parameters, gradients.clone());
    let fill = |on: &mut (_, Gradients<f32, Cpu>)| {
        let (parameters, gradients): &mut (Parameters<N>, _) = on;
        let values = gradients.get_or_alloc_mut(parameters).unwrap();
        values.iter_mut().enumerate().for_each(|(index, value)| *value = 1e-3 * (index % 7) as f32 - 2e-3);
    };
    let optimizer = |guard, clip| {
        let config = ClrConfig::new(triangular()).with_guard(guard).unwrap().with_clip(clip).unwrap();
        CyclicOptimizer::new(Adam::default(), config)
    };
    let (unguarded, unclipped) = (Guard::default(), Clip::default());
    for (name, budget, guard, clip) in [
        ("clip by norm", 1.35, unguarded, Clip { norm: Some(1e-3), value: None }),
        ("clip by value", 1.35, unguarded, Clip { norm: None, value: Some(1e-3) }),
        ("clip by both", 1.35, unguarded, Clip { norm: Some(1e-3), value: Some(1e-4) }),
        ("gradient guard", 1.2, Guard { gradients: true, max_refusals: None }, unclipped),
    ] {
        let (mut plain, mut special) = (optimizer(unguarded, unclipped), optimizer(guard, clip));
        bench.compare_prepared(
            &format!("Adam, apply with {name} / plain, {N}"),
            Some(budget),
            on,
            fill,
            |(parameters, gradients)| {
                plain.apply(parameters, gradients, 1.0).unwrap();
            },
            |(parameters, gradients)| {
                special.apply(parameters, gradients, 1.0).unwrap();
            },
        );
    }
}

/// An optimizer that records against the same without a history.
fn recorded<const N: usize>(bench: &Bench) {
    let (mut parameters, mut gradients) = model::<N>();
    let mut unrecorded = CyclicOptimizer::new(Adam::default(), triangular());
    let mut recorded = CyclicOptimizer::new(Adam::default(), triangular()).with_history(History::new());
    bench.compare_on(
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
    let used = Applied { lr: 0.1, ..Applied::default() };
    bench.alone("recording an update, ns", Some(50.0), || {
        let mut history = History::new();
        time(&mut || history.update(black_box(&used), &[("loss", black_box(1.0))]).unwrap(), 30_000)
    });
}

/// A checkpoint of a model with Adam's state, compared with the same bytes as a plain file: written, synced and
/// renamed, and read.
#[cfg(feature = "checkpoint")]
fn checkpoints<const N: usize>(bench: &Bench) {
    use std::fs::{self, File};
    use std::io::Write;

    use cyclic_optim::Checkpoint;

    let folder = std::env::temp_dir().join(format!("cyclic-optim-bench-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (path, beside) = (folder.join("run.safetensors"), folder.join("beside"));
    let (mut parameters, mut gradients) = model::<N>();
    let mut optimizer = CyclicOptimizer::new(Adam::default(), triangular());
    optimizer.apply(&mut parameters, &mut gradients, 1.0).unwrap();
    let bytes = Checkpoint::to_bytes(&parameters, &optimizer).unwrap();
    fs::write(&path, &bytes).unwrap();
    bench.compare(
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
    bench.compare(
        &format!("checkpoint loaded / its bytes, {N}"),
        Some(4.0),
        || {
            black_box(fs::read(&path).unwrap());
        },
        || Checkpoint::read(&path).unwrap().restore(&mut parameters, &mut other).unwrap(),
    );
    fs::remove_dir_all(folder).unwrap();
}

/// What an accumulator adds to the update of a run of one process, with one micro-batch and with four.
fn accumulated<const N: usize>(bench: &Bench) {
    let (parameters, gradients) = model::<N>();
    let optimizer = CyclicOptimizer::new(Adam::default(), triangular());
    let on = &mut (parameters, gradients, optimizer);
    let mut sum = Accumulator::new();
    bench.compare_on(
        &format!("accumulator, run of one, with / without, {N}"),
        Some(1.01),
        on,
        |(parameters, gradients, optimizer)| {
            optimizer.apply(parameters, gradients, 1.0).unwrap();
        },
        |(parameters, gradients, optimizer)| {
            optimizer.apply(parameters, gradients, sum.with(1.0, 32)).unwrap();
        },
    );
    let mut sum = Accumulator::new();
    bench.compare_on(
        &format!("accumulator, 4 micro-batches with / without, {N}"),
        None,
        on,
        |(parameters, gradients, optimizer)| {
            optimizer.apply(parameters, gradients, 1.0).unwrap();
        },
        |(parameters, gradients, optimizer)| {
            for _ in 0..3 {
                sum.add(parameters, gradients, 1.0, 8).unwrap();
            }
            optimizer.apply(parameters, gradients, sum.with(1.0, 8)).unwrap();
        },
    );
}

fn main() -> ExitCode {
    let bench = &Bench::from_arguments();
    // The updates of a bench make moments denormal, and the slowness of such numbers would hide everything else.
    dfdx::flush_denormals_to_zero();
    steps(bench);
    range_tests(bench);
    guarded::<10_000>(bench);
    clipped::<10_000>(bench);
    clipped::<1_000_000>(bench);
    recorded::<10_000>(bench);
    accumulated::<10_000>(bench);
    grouped(bench);
    scheduled::<10_000>(bench);
    #[cfg(feature = "checkpoint")]
    checkpoints::<1_000_000>(bench);
    wrapped_against_bare::<1>(bench, Some(1.25), Some(1.10));
    wrapped_against_bare::<100>(bench, None, None);
    wrapped_against_bare::<10_000>(bench, Some(1.01), Some(1.01));
    wrapped_against_bare::<1_000_000>(bench, None, None);
    ours_against_theirs::<1>(bench, [None; 3]);
    ours_against_theirs::<100>(bench, [Some(1.05); 3]);
    many_tensors(bench);
    // The time of Adam and RMSprop is that of one division and one square root for each number, which wide instructions
    // hardly speed up.
    ours_against_theirs::<10_000>(bench, [Some(1.10), Some(0.45), Some(1.05)]);
    ours_against_theirs::<1_000_000>(bench, [Some(1.05), Some(0.65), Some(1.05)]);
    ours_against_theirs::<10_000_000>(bench, [Some(1.05), Some(1.02), Some(1.05)]);
    rules::<10_000>(bench);
    rules::<1_000_000>(bench);
    let broken = bench.broken.borrow();
    if broken.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("over budget in {TRIES} measurements of {TRIES}: {}", broken.join("; "));
    ExitCode::FAILURE
}
