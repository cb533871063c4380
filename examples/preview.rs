//! Prints what a schedule config will do, without training anything.
//!
//! ```text
//! cargo run --release --example preview -- examples/configs/one_cycle.toml --steps 10
//! cargo run --release --features plot --example preview -- examples/configs/one_cycle.toml --steps 900 --svg one_cycle.svg
//! ```
//!
//! Look at the three columns: the update, its learning rate, its momentum (empty where it is not cycled).

mod support;

use std::io::{BufWriter, Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use support::output::OutputError;

/// Print the learning rate and the momentum of each update as CSV.
#[derive(Parser)]
struct Args {
    /// Schedule config, JSON or TOML.
    config: PathBuf,
    /// Number of updates.
    #[arg(long, default_value_t = 100)]
    steps: usize,
    /// Draw them into this file instead.
    #[cfg(feature = "plot")]
    #[arg(long)]
    svg: Option<PathBuf>,
}

fn main() -> ExitCode {
    support::run(|args: Args| {
        let config = support::config_file::read(&args.config)?;
        #[cfg(feature = "plot")]
        if let Some(file) = &args.svg {
            let svg = config.to_svg(args.steps)?;
            return Ok(support::files::write(file, svg)?);
        }
        let mut out = BufWriter::new(stdout().lock());
        let mut write = || -> std::io::Result<()> {
            writeln!(out, "step,learning_rate,momentum")?;
            for applied in config.preview().take(args.steps) {
                let momentum = applied.momentum.map_or(String::new(), |momentum| momentum.to_string());
                writeln!(out, "{},{},{momentum}", applied.step, applied.lr)?;
            }
            out.flush()
        };
        Ok(write().map_err(OutputError::from)?)
    })
}
