//! How good is a schedule whose peak rate nobody has set? This compares the peak that a search on clones chooses with the
//! best peak of a tuned grid.
//!
//! ```text
//! cargo run --release --example no_rate_by_hand
//! cargo run --release --example no_rate_by_hand -- --data /usr/share/datasets/fashion-mnist --regression --batches 32,128,8
//! ```
//!
//! The grid has ten peaks, each 1.78 times the one before. It is tuned with the same schedule, on a fifth of the training
//! data that the network does not learn from. The best of these peaks and the peaks that the search chooses are then
//! compared: the network learns from all training data with the same seeds, and is scored on the test data. For images a
//! point is a hundredth of the accuracy, for the regression a hundredth of the explained variance.
//!
//! Look at the column `short by` and at the last lines. The grid costs ten runs for each seed, the search a part of one.

#![allow(clippy::cast_precision_loss, reason = "small numbers")]

mod support;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use cyclic_optim::adapters::dfdx::{InPlace, choose_peak};
use cyclic_optim::range_test::PeakSearch;
use cyclic_optim::{Adam, CyclicOptimizer, Hyperparameters, OneCycle, RMSprop, Sgd};
use dfdx::optim::{Momentum, SgdConfig};
use dfdx::prelude::{Cpu, ZeroGrads};
use support::digits::{BATCH, Data};
use support::output::say;
use support::parallel;
use support::problem::{Friedman, Problem};

/// Compare one-cycle with a chosen peak against the best of a tuned grid.
#[derive(Parser)]
struct Args {
    /// Folder with the four IDX files of MNIST, Fashion-MNIST or the like; may be given several times.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/digits"))]
    data: Vec<PathBuf>,
    /// Use only this number of training images of a folder.
    #[arg(long, default_value_t = 10_000)]
    images: usize,
    /// Also learn a function of ten inputs.
    #[arg(long)]
    regression: bool,
    /// Optimizers, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Inner::Adam, Inner::Sgd, Inner::Rmsprop])]
    optimizers: Vec<Inner>,
    /// Batch sizes, separated by commas.
    #[arg(long, value_delimiter = ',', default_values_t = [BATCH], value_parser = at_least_1)]
    batches: Vec<usize>,
    /// Updates of a run with batches of at least 32. Smaller batches get more updates, so that a run sees as many samples as
    /// with 32.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(36..))]
    updates: u64,
    /// Seeds of the final runs.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Seeds of the runs that tune the grid.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    tuning_seeds: u64,
}

fn at_least_1(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&size| size > 0).ok_or(format!("{text:?} is not a whole number of at least 1"))
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Inner {
    Adam,
    Sgd,
    Rmsprop,
}

impl std::fmt::Display for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Adam => "adam",
            Self::Sgd => "sgd",
            Self::Rmsprop => "rmsprop",
        })
    }
}

impl Inner {
    /// Ten peaks, each 10^(1/4) times the one before.
    fn grid(self) -> Vec<f64> {
        let lowest = match self {
            Self::Adam => -3.5,
            Self::Sgd => -2.25,
            Self::Rmsprop => -3.75,
        };
        (0..10).map(|n| 10_f64.powf(lowest + f64::from(n) / 4.0)).collect()
    }
}

/// What came of one optimizer on one problem with one batch size.
struct Row {
    batch: usize,
    /// Points that the chosen peak falls short of the tuned one.
    short: f64,
    /// Costs of the searches as shares of the run.
    costs: Vec<f64>,
    diverged: usize,
}

/// How a run ended.
struct Outcome {
    score: f64,
    diverged: bool,
}

fn mean(values: impl Iterator<Item = f64> + Clone) -> f64 {
    values.clone().sum::<f64>() / values.count() as f64
}

fn main() -> ExitCode {
    support::run(|args: Args| {
        say!("| data | optimizer | batch | updates | tuned peak | score | chosen peaks | score | short by | cost |")?;
        say!("|---|---|---|---|---|---|---|---|---|---|")?;
        let mut rows = Vec::new();
        for &batch in &args.batches {
            for folder in &args.data {
                let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned();
                all_optimizers(&args, &name, &Data::read(folder)?.first(args.images), batch, &mut rows)?;
            }
            if args.regression {
                all_optimizers(&args, "regression", &Friedman::new(), batch, &mut rows)?;
            }
        }
        for batch in &args.batches {
            let rows: Vec<&Row> = rows.iter().filter(|row| row.batch == *batch).collect();
            let shorts: Vec<f64> = rows.iter().map(|row| row.short).collect();
            let costs: Vec<f64> = rows.iter().flat_map(|row| &row.costs).copied().collect();
            let highest = |values: &[f64]| values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            say!(
                "batch {batch}: short by {:.2} points on average, {:.2} at worst; the search costs {:.1} % of a run on average, \
                 {:.1} % at most; {} of {} runs diverged",
                mean(shorts.iter().copied()),
                highest(&shorts),
                100.0 * mean(costs.iter().copied()),
                100.0 * highest(&costs),
                rows.iter().map(|row| row.diverged).sum::<usize>(),
                costs.len(),
            )?;
        }
        Ok(())
    })
}

fn all_optimizers<P: Problem>(
    args: &Args,
    name: &str,
    problem: &P,
    batch: usize,
    rows: &mut Vec<Row>,
) -> Result<(), Box<dyn Error>> {
    for &inner in &args.optimizers {
        rows.push(match inner {
            Inner::Adam => compare(args, (name, problem), batch, inner, &Adam::default())?,
            Inner::Sgd => {
                let momentum = Some(Momentum::Classic(0.9));
                compare(args, (name, problem), batch, inner, &Sgd::new(SgdConfig { momentum, ..Default::default() }))?
            }
            Inner::Rmsprop => compare(args, (name, problem), batch, inner, &RMSprop::default())?,
        });
    }
    Ok(())
}

fn compare<P, O>(
    args: &Args,
    (name, problem): (&str, &P),
    batch: usize,
    kind: Inner,
    inner: &O,
) -> Result<Row, Box<dyn Error>>
where
    P: Problem,
    O: InPlace<P::Model, Cpu, f32> + Hyperparameters + Clone + Sync,
{
    let updates = args.updates.saturating_mul((BATCH as u64).div_ceil(batch as u64));
    let run = |problem: &P, seed: u64, peak: f64| -> Result<Outcome, String> {
        let mut model = problem.model(seed);
        let mut grads = model.alloc_grads();
        let schedule = OneCycle::new(peak, updates).map_err(|error| error.to_string())?;
        let mut optimizer = CyclicOptimizer::try_new(inner.clone(), schedule).map_err(|error| error.to_string())?;
        for batch in problem.batches(seed, batch).take(usize::try_from(updates).unwrap_or(usize::MAX)) {
            let loss;
            (loss, grads) = P::step(&mut model, grads, batch);
            if optimizer.apply(&mut model, &mut grads, loss).is_err() {
                return Ok(Outcome { score: 0.0, diverged: true });
            }
        }
        let score = problem.score(&model);
        // Hardly better than chance: the run has diverged although its loss is finite.
        Ok(Outcome { score: score.max(0.0), diverged: score.is_nan() || score < 0.15 })
    };

    let grid = kind.grid();
    let split = problem.hold_out(0.2)?;
    let jobs: Vec<(f64, u64)> =
        grid.iter().flat_map(|&peak| (0..args.tuning_seeds).map(move |seed| (peak, 1000 + seed))).collect();
    let tuned = parallel::map(&jobs, |&(peak, seed)| run(&split, seed, peak))?;
    let sums: Vec<f64> =
        tuned.chunks(usize::try_from(args.tuning_seeds)?).map(|runs| runs.iter().map(|run| run.score).sum()).collect();
    let best = (0..grid.len()).max_by(|&a, &b| sums[a].total_cmp(&sums[b])).unwrap_or_default();

    let seeds: Vec<u64> = (0..args.seeds).collect();
    let search = PeakSearch::new(updates)?;
    let finals = parallel::map(&seeds, |&seed| {
        let batches = problem.batches(seed, batch);
        let choice = choose_peak(&problem.model(seed), inner, &search, batches, |model, grads, batch| {
            P::step(model, grads, batch)
        })
        .map_err(|error| error.to_string())?;
        Ok((run(problem, seed, grid[best])?, run(problem, seed, choice.peak)?, choice))
    })?;
    let reference = 100.0 * mean(finals.iter().map(|run| run.0.score));
    let chosen = 100.0 * mean(finals.iter().map(|run| run.1.score));
    let peaks = || finals.iter().map(|run| run.2.peak);
    let costs: Vec<f64> = finals.iter().map(|run| run.2.updates as f64 / updates as f64).collect();
    say!(
        "| {name} | {kind} | {batch} | {updates} | {:.2e} | {reference:.2} | {:.2e} to {:.2e} | {chosen:.2} | {:.2} | {:.1} % |",
        grid[best],
        peaks().fold(f64::INFINITY, f64::min),
        peaks().fold(0.0, f64::max),
        reference - chosen,
        100.0 * mean(costs.iter().copied()),
    )?;
    Ok(Row { batch, short: reference - chosen, costs, diverged: finals.iter().filter(|run| run.1.diverged).count() })
}
