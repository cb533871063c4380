//! Does cycling the rate pay? Constant rates against cyclic ones, with Adam and with SGD, over many seeds.
//!
//! ```text
//! cargo run --release --features full --example convergence -- --out target/convergence
//! cargo run --release --features full --example convergence -- --data /usr/share/datasets/fashion-mnist --regression \
//!     --images 5000 --seeds 5 --tuning-seeds 2
//! ```
//!
//! Every schedule, called an arm, is tuned in the same way: with the same grid of peak rates and the same seeds, on a fifth
//! of the training data that it does not learn from. With the chosen rates it then learns from all training data, and is
//! scored on the test data. For images the score is the accuracy, for the regression the share of the variance that is
//! explained. The update at which a score is reached is taken from the *mean* over the seeds, because the first crossing of
//! single runs would reward jitter.
//!
//! Look at the column for 97 %, and at the last lines of each table.

#![allow(clippy::cast_precision_loss, reason = "small numbers")]

mod support;

use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;
use cyclic_optim::adapters::dfdx::InPlace;
use cyclic_optim::history::{Per, Table};
use cyclic_optim::range_test::Suggestion;
use cyclic_optim::{
    Adam, ClrConfig, ConfigError, Constant, Cyclic, CyclicOptimizer, Hyperparameters, OneCycle, PlotError, Sgd,
    WarmRestarts,
};
use dfdx::optim::{Momentum, SgdConfig};
use dfdx::prelude::{Cpu, ZeroGrads};
use indicatif::{ProgressBar, ProgressStyle};
use support::digits::{BATCH, Data, careful_range};
use support::files;
use support::output::say;
use support::problem::{Friedman, Problem, sweep};

/// Compare constant and cyclic learning rates.
#[derive(Parser)]
struct Args {
    /// Folder with the four IDX files of MNIST, Fashion-MNIST or the like, plain or compressed (.gz); may be given several
    /// times.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/digits"))]
    data: Vec<PathBuf>,
    /// Also learn a function of ten inputs.
    #[arg(long)]
    regression: bool,
    /// Folder for the table and the pictures; created if it does not exist.
    #[arg(long, default_value = "target/convergence")]
    out: PathBuf,
    /// Use only this number of training images of a folder, and a tenth of it as the number of test images.
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..))]
    images: Option<u64>,
    /// Seeds of the final runs.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Seeds of the runs that choose the rates.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    tuning_seeds: u64,
}

/// Updates of each run, and between two looks at the score.
const UPDATES: u64 = 900;
const LOOK: u64 = 10;
const STEP_SIZE: u64 = 90;
const TARGETS: [f64; 3] = [0.95, 0.96, 0.97];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Inner {
    Adam,
    Sgd,
}

impl Inner {
    fn name(self) -> &'static str {
        match self {
            Self::Adam => "Adam",
            Self::Sgd => "Sgd with momentum 0.9",
        }
    }

    /// The peak rates that every arm may choose from, each 1.5 times the one before.
    fn grid(self) -> Vec<f64> {
        let lowest = if self == Self::Adam { 8e-4 } else { 1e-2 };
        (0..10).map(|n| lowest * 1.5_f64.powi(n)).collect()
    }

    fn sgd() -> Sgd<f32, Cpu> {
        Sgd::new(SgdConfig { momentum: Some(Momentum::Classic(0.9)), ..Default::default() })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Arm {
    Constant,
    Triangular,
    Triangular2,
    ExpRange,
    OneCycle,
    WarmRestarts,
}

impl Arm {
    const ALL: [Self; 6] =
        [Self::Constant, Self::Triangular, Self::Triangular2, Self::ExpRange, Self::OneCycle, Self::WarmRestarts];

    fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Triangular => "triangular",
            Self::Triangular2 => "triangular2",
            Self::ExpRange => "exp_range",
            Self::OneCycle => "one-cycle",
            Self::WarmRestarts => "warm restarts",
        }
    }

    fn config(self, base_lr: f64, max_lr: f64) -> Result<ClrConfig, ConfigError> {
        Ok(match self {
            Self::Constant => Constant::new(max_lr)?.into(),
            Self::Triangular => Cyclic::triangular(base_lr, max_lr, STEP_SIZE)?.into(),
            Self::Triangular2 => Cyclic::triangular2(base_lr, max_lr, STEP_SIZE)?.into(),
            Self::ExpRange => Cyclic::exp_range(base_lr, max_lr, STEP_SIZE, 0.997)?.into(),
            Self::OneCycle => OneCycle::new(max_lr, UPDATES)?.into(),
            // Three cycles: 129, 258 and 516 updates.
            Self::WarmRestarts => WarmRestarts::new(base_lr, max_lr, UPDATES.div_ceil(7))?.with_t_mult(2)?.into(),
        })
    }

    /// Over a peak of the grid; the base is a twentieth of it.
    fn over(self, max_lr: f64) -> Result<ClrConfig, ConfigError> {
        self.config(max_lr / 20.0, max_lr)
    }
}

/// One training run: on which data, with which optimizer, config and seed.
struct Job<'a, P> {
    problem: &'a P,
    inner: Inner,
    config: ClrConfig,
    seed: u64,
}

/// The score after every `LOOK` updates.
type Curve = Vec<f64>;

fn main() -> ExitCode {
    support::run(|args: Args| {
        files::make_folder(&args.out)?;
        files::check_writable(&args.out)?;
        let mut csv = String::from("data,optimizer,arm,rates,max_lr,to_95,to_96,to_97,final_mean,final_sd\n");
        for folder in &args.data {
            let data = Data::read(folder)?;
            let data = match args.images {
                Some(images) => data.first(usize::try_from(images)?).first_tests(usize::try_from(images / 10)?),
                None => data,
            };
            let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
            compare_all(&args, &name, &data, &mut csv)?;
        }
        if args.regression {
            compare_all(&args, "regression", &Friedman::new(), &mut csv)?;
        }
        files::write(&args.out.join("convergence.csv"), csv)?;
        Ok(say!("written: {}", args.out.display())?)
    })
}

fn compare_all<P: Problem>(args: &Args, name: &str, problem: &P, csv: &mut String) -> Result<(), Box<dyn Error>> {
    let split = problem.hold_out(0.2)?;
    for inner in [Inner::Adam, Inner::Sgd] {
        compare(args, name, inner, (problem, &split), csv)?;
    }
    Ok(())
}

fn compare<P: Problem>(
    args: &Args,
    name: &str,
    inner: Inner,
    (problem, split): (&P, &P),
    csv: &mut String,
) -> Result<(), Box<dyn Error>> {
    let grid = inner.grid();
    let seeds = |problem, config: &ClrConfig, number| {
        (0..number).map(|seed| Job { problem, inner, config: config.clone(), seed }).collect::<Vec<_>>()
    };

    // Choose the rates, every arm with the same number of runs. (Other seeds than those of the final runs.)
    let mut jobs = Vec::new();
    for arm in Arm::ALL {
        for &max_lr in &grid {
            let config = arm.over(max_lr)?;
            jobs.extend(
                seeds(split, &config, args.tuning_seeds).into_iter().map(|job| Job { seed: job.seed + 1000, ..job }),
            );
        }
    }
    let tuned = run_all(&format!("{name}, {}: tuning", inner.name()), &jobs, usize::try_from(args.tuning_seeds)?)?;
    let (base_lr, max_lr, valley) = suggested_range(inner, split)?;

    // Where 97 % is out of reach, arms race to what the best constant rate comes to.
    let constant = tuned[..grid.len()].iter().map(|result| last(&result.mean)).fold(0.0, f64::max);
    let mark = constant.min(0.97);

    // Every arm with the range of the range test, the fastest and the best of the grid; and every constant rate.
    let mut rows: Vec<(Arm, &str, f64, ClrConfig)> = Vec::new();
    for (n, arm) in Arm::ALL.into_iter().enumerate() {
        let tuned = &tuned[n * grid.len()..(n + 1) * grid.len()];
        let (peak, config) = match arm {
            Arm::Constant => (valley, Arm::Constant.over(valley)?),
            arm => (max_lr, arm.config(base_lr, max_lr)?),
        };
        rows.push((arm, "range test", peak, config));
        // Those that do not get there come last, the best of them first.
        let speed = |curve: &Curve| (crossing(curve, mark).unwrap_or(u64::MAX), -last(curve));
        let fastest = (0..grid.len()).min_by(|&a, &b| {
            let (a, b) = (speed(&tuned[a].mean), speed(&tuned[b].mean));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        });
        let best = (0..grid.len()).max_by(|&a, &b| last(&tuned[a].mean).total_cmp(&last(&tuned[b].mean)));
        for (chosen, name) in [(fastest, "grid, fastest"), (best, "grid, best at the end")] {
            let max_lr = grid[chosen.unwrap_or_default()];
            rows.push((arm, name, max_lr, arm.over(max_lr)?));
        }
    }
    for &lr in grid.iter().chain([&max_lr]) {
        rows.push((Arm::Constant, "every rate", lr, Arm::Constant.over(lr)?));
    }
    let jobs: Vec<Job<P>> = rows.iter().flat_map(|row| seeds(problem, &row.3, args.seeds)).collect();
    let finals = run_all(&format!("{name}, {}: final", inner.name()), &jobs, usize::try_from(args.seeds)?)?;

    say!(
        "\n{name}, {}, {} seeds, {UPDATES} updates of {BATCH} samples; updates until the mean test score reaches",
        inner.name(),
        args.seeds
    )?;
    say!(
        "\n| arm | rates from | max_lr | 95 % | 96 % | 97 % | after {UPDATES} updates |\n|---|---|---|---|---|---|---|"
    )?;
    for ((arm, from, max_lr, _), result) in rows.iter().zip(&finals) {
        let reached =
            TARGETS.map(|target| crossing(&result.mean, target).map_or("-".into(), |update| update.to_string()));
        let (mean, sd) = (last(&result.mean), result.sd);
        say!("| {} | {from} | {max_lr:.4} | {} | {mean:.4} ± {sd:.4} |", arm.name(), reached.join(" | "))?;
        let names = (inner.name(), arm.name());
        writeln!(csv, "{name},{},{},\"{from}\",{max_lr},{},{mean},{sd}", names.0, names.1, reached.join(","))?;
    }

    let end = |arm: Arm| {
        let of = rows.iter().zip(&finals).filter(|(row, _)| row.0 == arm);
        of.map(|(_, result)| last(&result.mean)).fold(0.0, f64::max)
    };
    let fastest_to = |target: f64, cyclic: bool| {
        let of = rows.iter().zip(&finals).filter(|(row, _)| (row.0 != Arm::Constant) == cyclic);
        of.filter_map(|(row, result)| Some((crossing(&result.mean, target)?, row, result))).min_by_key(|found| found.0)
    };
    // Where 97 % is out of reach, what the best constant rate comes to at the end is the mark.
    for target in [0.97, end(Arm::Constant)] {
        // At most two decimals.
        let percent = (1e4 * target).round() / 100.0;
        match (fastest_to(target, true), fastest_to(target, false)) {
            (Some((cyclic, arm, _)), Some((constant, lr, _))) => say!(
                "\n{percent} %: {} to {:.4} after {cyclic} updates, the best constant rate {:.4} after {constant}: ratio {:.2}",
                arm.0.name(),
                arm.2,
                lr.2,
                cyclic as f64 / constant as f64,
            )?,
            (cyclic, constant) => {
                let (cyclic, constant) = (cyclic.is_some(), constant.is_some());
                say!("\n{percent} %: reached by a cyclic arm: {cyclic}, by a constant rate: {constant}")?;
            }
        }
    }
    let chosen =
        rows.iter().position(|row| row.0 == Arm::OneCycle && row.1 == "grid, best at the end").unwrap_or_default();
    say!(
        "after {UPDATES} updates: one-cycle {:.4}, the best of all constant rates {:.4}",
        last(&finals[chosen].mean),
        end(Arm::Constant),
    )?;
    let file = args.out.join(format!("{name}_{}.svg", if inner == Inner::Adam { "adam" } else { "sgd" }));
    let tuned = rows.iter().zip(&finals).filter(|(row, _)| row.1 == "grid, fastest" && row.0 != Arm::Constant);
    let constant = fastest_to(mark, false).map(|(_, _, result)| ("constant, the best", &result.mean));
    let curves: Vec<_> = constant.into_iter().chain(tuned.map(|(row, result)| (row.0.name(), &result.mean))).collect();
    files::write(&file, draw(&format!("{name}, {}: mean of {} seeds", inner.name(), args.seeds), &curves)?)?;
    Ok(())
}

fn draw(title: &str, curves: &[(&str, &Curve)]) -> Result<String, PlotError> {
    // Where all the lines are still low, there is nothing to compare.
    let low = curves.iter().map(|(_, curve)| last(curve) - 0.1).fold(0.0, f64::max).min(0.85);
    let mut table = Table::new(Per::Update);
    for point in 0..curves.first().map_or(0, |(_, curve)| curve.len()) {
        let values = curves.iter().map(|&(name, curve)| (name, curve[point])).filter(|value| value.1 > low);
        table.push((point as u64 + 1) * LOOK, &values.collect::<Vec<_>>());
    }
    table.to_svg(title, "test score")
}

/// What several seeds of one config have come to.
struct Summary {
    mean: Curve,
    /// Standard deviation of the last accuracy.
    sd: f64,
}

fn last(curve: &Curve) -> f64 {
    curve.last().copied().unwrap_or_default()
}

/// The update at which a curve first reaches a score.
fn crossing(curve: &Curve, target: f64) -> Option<u64> {
    curve.iter().position(|&accuracy| accuracy >= target).map(|point| (point as u64 + 1) * LOOK)
}

/// Runs all jobs on all cores, and sums them up in groups of `seeds`.
fn run_all<P: Problem>(name: &str, jobs: &[Job<P>], seeds: usize) -> Result<Vec<Summary>, Box<dyn Error>> {
    let bar = ProgressBar::new(jobs.len() as u64);
    bar.set_style(ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}")?);
    bar.set_message(name.to_owned());
    let (next, curves) = (AtomicUsize::new(0), Mutex::new(vec![Ok(Curve::new()); jobs.len()]));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, Into::into) {
            scope.spawn(|| {
                while let Some((n, job)) = {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    jobs.get(n).map(|job| (n, job))
                } {
                    let curve = run(job).map_err(|error| error.to_string());
                    if let Ok(mut curves) = curves.lock() {
                        curves[n] = curve;
                    }
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let curves = curves.into_inner()?.into_iter().collect::<Result<Vec<Curve>, String>>()?;
    Ok(curves.chunks(seeds).map(summed_up).collect())
}

fn summed_up(curves: &[Curve]) -> Summary {
    let n = curves.len() as f64;
    let mean: Curve =
        (0..curves[0].len()).map(|point| curves.iter().map(|curve| curve[point]).sum::<f64>() / n).collect();
    let variance = curves.iter().map(|curve| (last(curve) - last(&mean)).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    Summary { mean, sd: variance.sqrt() }
}

fn run<P: Problem>(job: &Job<P>) -> Result<Curve, Box<dyn Error>> {
    match job.inner {
        Inner::Adam => fit(job, Adam::default()),
        Inner::Sgd => fit(job, Inner::sgd()),
    }
}

fn fit<P, O>(job: &Job<P>, inner: O) -> Result<Curve, Box<dyn Error>>
where
    P: Problem,
    O: InPlace<P::Model, Cpu, f32> + Hyperparameters,
{
    let mut model = job.problem.model(job.seed);
    let mut grads = model.alloc_grads();
    let mut optimizer = CyclicOptimizer::try_new(inner, job.config.clone())?;
    let mut curve = Curve::new();
    for batch in job.problem.batches(job.seed, BATCH).take(usize::try_from(UPDATES)?) {
        let loss;
        (loss, grads) = P::step(&mut model, grads, batch);
        // A rate that ruins the run ends it: the score stays where it was.
        if optimizer.apply(&mut model, &mut grads, loss).is_err() {
            break;
        }
        if optimizer.iterations() % LOOK == 0 {
            curve.push(job.problem.score(&model));
        }
    }
    curve.resize(usize::try_from(UPDATES / LOOK)?, last(&curve));
    Ok(curve)
}

/// Base, peak and valley, each the median over some seeds.
fn suggested_range<P: Problem>(inner: Inner, problem: &P) -> Result<(f64, f64, f64), Box<dyn Error>> {
    let mut found = Vec::new();
    for seed in 2000..2005 {
        let (model, batches) = (problem.model(seed), problem.batches(seed, BATCH));
        let (curve, smoothing) = match inner {
            Inner::Adam => sweep::<P, _>(&model, batches, &Adam::default())?,
            Inner::Sgd => sweep::<P, _>(&model, batches, &Inner::sgd())?,
        };
        let curve = curve.smoothed(&smoothing);
        let (base_lr, max_lr) = careful_range(&curve)?;
        found.push([base_lr, max_lr, curve.suggest(Suggestion::Valley)?.lr]);
    }
    let median = |value: usize| {
        let mut values: Vec<f64> = found.iter().map(|found| found[value]).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (base_lr, max_lr, valley) = (median(0), median(1), median(2));
    Ok((base_lr.min(max_lr / 4.0), max_lr, valley))
}
