//! How well the digits are recognised over ten seeds, against the bars that the crate promises.
//!
//! ```text
//! cargo bench --features full --bench accuracy
//! ```
//!
//! Exits with an error if a mean or a lowest accuracy is below its bar.

#![allow(clippy::cast_precision_loss, reason = "small numbers")]

#[path = "../examples/support/mod.rs"]
mod support;

use std::convert::Infallible;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use cyclic_optim::adapters::dfdx::range_test;
use cyclic_optim::range_test::RangeTest;
use cyclic_optim::{Adam, ClrConfig, Smoothing};
use dfdx::optim::AdamConfig;
use support::config_file::one_cycle;
use support::digits::{Data, Task, train_step};

const SEEDS: u64 = 10;
const EPOCHS: u32 = 20;

/// The config of a run, for its task and its number of updates.
type Choose = fn(&Task, u64) -> Result<ClrConfig, Box<dyn Error>>;

/// Name, lowest mean and lowest accuracy that are accepted, and how the schedule is chosen.
const ROWS: [(&str, f64, f64, Choose); 2] = [
    ("one cycle up to 0.02", 0.975, 0.96, |_, updates| Ok(one_cycle(updates)?)),
    ("the one cycle of a range test", 0.97, 0.95, of_a_range_test),
];

fn of_a_range_test(task: &Task, updates: u64) -> Result<ClrConfig, Box<dyn Error>> {
    let step = |model: &mut _, grads, batch| Ok::<_, Infallible>(train_step(model, grads, batch));
    let test = RangeTest::logarithmic(1e-5, 1.0, 200)?;
    let curve = range_test(&task.model(), &Adam::default(), &test, task.all_batches(), step, |_| Ok(None))?;
    Ok(ClrConfig::new(curve.smoothed(&Smoothing::exponential(0.8)?).smith_range()?.one_cycle(updates)?))
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all bars are reached.
fn run() -> Result<bool, Box<dyn Error>> {
    let data = Data::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/digits")))?;
    let updates = u64::from(EPOCHS) * data.batches_per_epoch();
    let mut all = true;
    for (name, mean_bar, lowest_bar, choose) in ROWS {
        let (mut accuracies, mut longest) = (Vec::new(), 0.0_f64);
        for seed in 0..SEEDS {
            let task = Task::new(&data, seed);
            let config = choose(&task, updates)?;
            let start = Instant::now();
            accuracies.push(task.fit(EPOCHS, AdamConfig::default(), config)?.accuracy());
            longest = longest.max(start.elapsed().as_secs_f64());
        }
        let mean = accuracies.iter().sum::<f64>() / SEEDS as f64;
        let lowest = accuracies.iter().copied().fold(1.0, f64::min);
        println!(
            "digits, {name}: {SEEDS} seeds: mean accuracy {mean:.4} (at least {mean_bar}), lowest {lowest:.4} \
             (at least {lowest_bar}), longest run {longest:.2} s"
        );
        all &= mean >= mean_bar && lowest >= lowest_bar;
    }
    Ok(all)
}
