//! Makes a report, one HTML file, of a run that was saved: of a checkpoint, of a history as JSON, or of CSV files.
//!
//! ```text
//! cargo run --release --features full --example report -- target/train.safetensors --out target/report.html
//! cargo run --release --features full --example report -- target/record/updates.csv target/record/epochs.csv --out target/report.html
//! ```
//!
//! Open the file in a browser: it needs no network.

mod support;

use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use cyclic_optim::history::{Reindex, Table};
use cyclic_optim::report::Report;
use cyclic_optim::{Checkpoint, History};
use support::files;
use support::output::say;

/// Make a report, one HTML file, of a run that was saved.
#[derive(Parser)]
struct Args {
    /// A checkpoint, a history as JSON (.json), or CSV files (.csv) of the updates and of the epochs of one run.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// File for the report; an existing file is replaced.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The title [default: the name of the first file].
    #[arg(long)]
    title: Option<String>,
}

fn main() -> ExitCode {
    support::run(|args: Args| {
        if let Some(file) = args.files.iter().find(|file| files::same(file, &args.out)) {
            return Err(format!("{}: --out would replace the run", file.display()).into());
        }
        let saved = args.files.iter().map(|file| Saved::read(file)).collect::<Result<Vec<_>, _>>()?;
        let history = History::joined(saved.iter().map(|saved| &saved.history), Reindex::Keep);
        let name = |file: &Path| file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
        let title = args.title.clone().unwrap_or_else(|| name(&args.files[0]));
        let mut report = Report::new(title).with_history(&history);
        for checkpoint in saved.iter().filter_map(|saved| saved.checkpoint.as_ref()) {
            report = checkpoint.state().into_iter().fold(report, Report::with_state);
            report = checkpoint.peak_choice().into_iter().fold(report, Report::with_choice);
            if let Some(config) = checkpoint.config() {
                report = report.with_config(config)?;
            }
        }
        for file in &args.files {
            report = report.with_link(name(file), file);
        }
        report.write(&args.out)?;
        Ok(say!("written: {}", args.out.display())?)
    })
}

/// What a file holds.
struct Saved {
    history: History,
    checkpoint: Option<Checkpoint>,
}

impl Saved {
    fn read(file: &Path) -> Result<Self, Box<dyn Error>> {
        let wrong = |problem: &dyn std::fmt::Display| format!("{}: {problem}", file.display());
        let open = || File::open(file).map_err(|error| wrong(&error));
        let (history, checkpoint) = match file.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => (History::from_table(Table::read_csv(open()?).map_err(|error| wrong(&error))?), None),
            Some("json") => {
                let mut json = serde_json::Deserializer::from_reader(BufReader::new(open()?));
                (serde_path_to_error::deserialize(&mut json).map_err(|error| wrong(&error))?, None)
            }
            _ => {
                let checkpoint = Checkpoint::read(file)?;
                let history = checkpoint.history().map_err(|error| wrong(&error))?;
                let none =
                    if checkpoint.config().is_none() { "weights only, no run" } else { "a run without a history" };
                (history.ok_or_else(|| wrong(&none))?, Some(checkpoint))
            }
        };
        if history.updates().is_empty() && history.epochs().is_empty() {
            return Err(wrong(&"no update and no epoch was recorded").into());
        }
        Ok(Self { history, checkpoint })
    }
}
