//! Trains on the digits and records the run with every writer: CSV files, pictures, event files for `TensorBoard`.
//!
//! ```text
//! cargo run --release --features full --example record -- --out target/record
//! cargo run --release --features full --example record -- --out target/record2 --remote http://localhost:9000/publish/epoch/end/
//! tensorboard --logdir target/record/tensorboard
//! ```
//!
//! Compare `losses.svg` with `rates.svg`: the loss falls while the rate rises, and settles while the rate falls.

mod support;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use cyclic_optim::adapters::dfdx::{DeadRelus, named_parameters};
use cyclic_optim::history::{CsvLog, Per, Recorder, RemoteMonitor, TensorBoard, TrainingBar, schedules_to_svg};
use cyclic_optim::{Adam, ClrConfig, Cyclic, CyclicOptimizer, History, OneCycle, Policy, RunLength, WarmRestarts};
use dfdx::prelude::{Cpu, ZeroGrads};
use support::digits::{Data, Run, Task, train_step};
use support::output::say;
use support::{files, pictures};

/// Train on the digits and record the run with every writer.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    run: Run,
    /// Folder for all files; created if it does not exist, an error if it already holds a run.
    #[arg(long)]
    out: PathBuf,
    /// Folder for the pictures [default: that of --out].
    #[arg(long)]
    pictures: Option<PathBuf>,
    /// Schedule config, JSON or TOML [default: one cycle up to 0.02, momentum 0.95 to 0.85, over the whole run].
    #[arg(long)]
    config: Option<PathBuf>,
    /// Address that the metrics of each epoch are sent to.
    #[arg(long)]
    remote: Option<String>,
}

fn main() -> ExitCode {
    support::run(|args: Args| {
        let data = Data::read(&args.run.data)?;
        run(&args, &data)
    })
}

/// The number of epochs between two histograms of the parameters.
const HISTOGRAMS: u64 = 5;

fn run(args: &Args, data: &Data) -> Result<(), Box<dyn Error>> {
    let (epochs, batches) = (u64::from(args.run.epochs), data.batches_per_epoch());
    let updates = epochs * batches;
    let config = match &args.config {
        Some(file) => support::config_file::read(file, &RunLength::new(batches, epochs)?)?,
        None => support::config_file::one_cycle(updates)?,
    };
    let folder = args.pictures.as_ref().unwrap_or(&args.out);
    for folder in [&args.out, folder] {
        files::make_folder(folder)?;
    }
    // This example writes no checkpoints, so every run is a new one.
    let log = |name: &str, per, columns: &[&str]| CsvLog::open(args.out.join(name), per, columns, None);
    let mut update_log = log("updates.csv", Per::Update, &["learning_rate", "momentum", "loss"])?;
    let mut epoch_log = log("epochs.csv", Per::Epoch, &["loss", "val_loss", "val_accuracy"])?;
    let mut board = TensorBoard::open(args.out.join("tensorboard"), None)?;
    board.text("config", 0, &format!("```json\n{}\n```", serde_json::to_string_pretty(&config)?))?;
    let mut monitor = args.remote.as_ref().map(|url| RemoteMonitor::new(url, Duration::from_secs(5))).transpose()?;

    let seed = args.run.seed;
    let task = Task::new(data, seed);
    let (mut model, mut relus) = (task.model(), DeadRelus::new());
    let mut grads = model.alloc_grads();
    let mut optimizer = CyclicOptimizer::try_new(Adam::default(), config.clone())?.with_history(History::new());
    let mut bar = TrainingBar::new(epochs, batches).with_schedule(config.schedule().clone());
    for epoch in 0..epochs {
        let (mut sum, mut count) = (0.0, 0.0);
        for batch in task.batches(epoch) {
            let loss;
            (loss, grads) = train_step(&mut model, grads, batch);
            let used = optimizer.apply(&mut model, &mut grads, loss)?;
            let recorders: [&mut dyn Recorder; 3] = [&mut update_log, &mut board, &mut bar];
            for recorder in recorders {
                recorder.update(&used, &[("loss", loss.into())])?;
            }
            (sum, count) = (sum + f64::from(loss), count + 1.0);
        }
        let test = task.test(&model);
        let metrics = [("loss", sum / count), ("val_loss", test.loss), ("val_accuracy", test.accuracy())];
        let recorders: [&mut dyn Recorder; 4] = [&mut epoch_log, &mut board, &mut bar, &mut monitor];
        for recorder in recorders {
            recorder.epoch(epoch, &metrics)?;
        }
        if let Some(history) = optimizer.history_mut() {
            history.epoch(epoch, &metrics)?;
        }
        if epoch % HISTOGRAMS == 0 {
            for (name, values) in named_parameters::<_, f32, Cpu>(&model) {
                board.histogram(&name, epoch, &values)?;
            }
        }
    }
    bar.finish()?;
    board.finish()?;
    for (images, _) in task.batches(epochs) {
        relus.watch(&model, images).map_err(|error| format!("{error:?}"))?;
    }
    for layer in relus.report() {
        say!("{layer}")?;
    }
    if let Some(monitor) = monitor {
        let published = monitor.wait(Duration::from_secs(10));
        say!("published {} epochs, {} failed", published.sent, published.failed + published.dropped)?;
        if let Some(error) = published.last_error {
            say!("the last failure: {error}")?;
        }
    }
    if let Some(history) = optimizer.history() {
        pictures::draw(history, folder)?;
    }
    draw_schedules(&config, folder, updates)?;
    say!("written: {} and {}", args.out.display(), folder.display())?;
    Ok(())
}

/// Draws the schedule of the run, and three schedules to compare.
fn draw_schedules(config: &ClrConfig, folder: &Path, updates: u64) -> Result<(), Box<dyn Error>> {
    let families = [
        ("triangular2", ClrConfig::from(Cyclic::triangular2(0.001, 0.02, updates.div_ceil(10))?)),
        ("one-cycle", OneCycle::new(0.02, updates)?.into()),
        ("warm restarts", WarmRestarts::new(0.0, 0.02, updates.div_ceil(7))?.with_t_mult(2)?.into()),
    ];
    let families = families.each_ref().map(|(name, config)| (*name, config));
    let updates = usize::try_from(updates)?;
    files::write(&folder.join("schedule.svg"), config.to_svg(updates)?)?;
    files::write(&folder.join("schedules.svg"), schedules_to_svg::<Policy>(&families, updates)?)?;
    Ok(())
}
