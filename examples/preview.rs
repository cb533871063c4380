//! Prints what a schedule config will do, without training anything.
//!
//! ```text
//! cargo run --release --example preview -- examples/configs/one_cycle.toml --steps 10
//! cargo run --release --features plot --example preview -- examples/configs/one_cycle.toml --steps 900 --svg one_cycle.svg
//! cargo run --release --example preview -- examples/configs/triangular2.toml --updates 1000 --batches-per-epoch 45
//! ```
//!
//! Look at the columns: the update, its learning rate, its momentum (empty where it is not cycled), and any other
//! hyper-parameter that the config gives a schedule. Lines that begin with `review:` say what may be a mistake in the config
//! for this run.

mod support;

use std::io::{BufWriter, Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use cyclic_optim::review::Review;
use cyclic_optim::{ConfigError, Hyper, RunLength, Schedule};
use support::flags::named;
use support::output::OutputError;

/// Print the learning rate, the momentum and other scheduled hyper-parameters of each update as CSV.
#[derive(Parser)]
struct Args {
    /// Schedule config, JSON or TOML.
    config: PathBuf,
    /// Number of updates to show.
    #[arg(long, default_value_t = 100)]
    steps: usize,
    /// Updates of the run, for the review and for lengths in % [default for the review: the updates of the schedule].
    #[arg(long)]
    updates: Option<u64>,
    /// Updates of an epoch, for the review and for lengths in epochs; adds the column `epoch`, and draws over epochs.
    #[arg(long)]
    batches_per_epoch: Option<u64>,
    /// The highest usable rate that a range test has found, for the review.
    #[arg(long)]
    rate_limit: Option<f64>,
    /// Snapshots wanted, for the review.
    #[arg(long, default_value_t = 0)]
    snapshots: u64,
    /// Draw the values into this file instead of printing them.
    #[cfg(feature = "plot")]
    #[arg(long)]
    svg: Option<PathBuf>,
}

impl Args {
    fn run(&self) -> Result<RunLength, ConfigError> {
        let mut run = RunLength::default();
        if let Some(batches) = self.batches_per_epoch {
            run = run.with_batches_per_epoch(batches)?;
        }
        match self.updates {
            Some(updates) => run.with_total(updates),
            None => Ok(run),
        }
    }

    fn review(&self, updates: u64) -> Result<Review, ConfigError> {
        let mut review = Review::new(updates)?.with_snapshots(self.snapshots);
        if let Some(batches) = self.batches_per_epoch {
            review = review.with_batches_per_epoch(batches)?;
        }
        match self.rate_limit {
            Some(limit) => review.with_rate_limit(limit),
            None => Ok(review),
        }
    }
}

fn main() -> ExitCode {
    support::run(|args: Args| {
        let run = args.run().map_err(named("--"))?;
        let config = support::config_file::read(&args.config, &run)?;
        if let Some(updates) = args.updates.or_else(|| config.schedule().horizon()) {
            support::review::print(args.review(updates).map_err(named("--"))?, &config);
        }
        #[cfg(feature = "plot")]
        if let Some(file) = &args.svg {
            if support::files::same(file, &args.config) {
                return Err(format!("{}: --svg would replace the config", file.display()).into());
            }
            let svg = match args.batches_per_epoch {
                Some(batches) => config.to_svg_over_epochs(args.steps, batches)?,
                None => config.to_svg(args.steps)?,
            };
            return Ok(support::files::write(file, svg)?);
        }
        let mut out = BufWriter::new(stdout().lock());
        let mut write = || -> std::io::Result<()> {
            let own = |hyper: &Hyper| config.hyper().get(*hyper).is_some();
            let others: Vec<Hyper> = [Hyper::WeightDecay, Hyper::Beta2, Hyper::Eps].into_iter().filter(own).collect();
            write!(out, "step,learning_rate,momentum")?;
            for hyper in &others {
                write!(out, ",{}", hyper.name())?;
            }
            if run.batches_per_epoch().is_some() {
                write!(out, ",epoch")?;
            }
            for applied in config.preview().take(args.steps) {
                let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
                write!(out, "\n{},{},{}", applied.step, applied.lr, number(applied.momentum))?;
                for &hyper in &others {
                    write!(out, ",{}", number(applied.get(hyper)))?;
                }
                if let Some(epoch) = run.epochs_after(applied.step) {
                    write!(out, ",{epoch}")?;
                }
            }
            writeln!(out)?;
            out.flush()
        };
        Ok(write().map_err(OutputError::from)?)
    })
}
