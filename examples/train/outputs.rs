//! The files that a run is written to, and the server that it is reported to.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cyclic_optim::adapters::dfdx::named_parameters;
use cyclic_optim::history::{CsvLog, Per, RecordError, Recorder, RemoteMonitor, TensorBoard};
use cyclic_optim::{Applied, ClrConfig};
use dfdx::prelude::Cpu;

use crate::activations;
use crate::args::{Arguments, METRICS};
use crate::metrics::Metrics;
use crate::models::model_checkpoints;
use crate::support::digits::{Mlp, Task};
use crate::support::files::{check_regular, check_writable, folder_of, make_folder, same};
use crate::support::output::say;
use crate::weight_image;

/// The files that a run is written to, and the server.
pub(crate) struct Outputs {
    board: Option<TensorBoard>,
    histogram_freq: u64,
    image_freq: u64,
    csv: Option<CsvLog>,
    remote: Option<RemoteMonitor>,
}

/// Checks before the training that all files can be written, and that none of them is another one, too.
pub(crate) fn check(args: &Arguments) -> Result<(), Box<dyn Error>> {
    let written = [("--csv", &args.csv), ("--checkpoint", &args.checkpoint), ("--report", &args.report)];
    let written: Vec<(&str, &Path)> =
        written.iter().filter_map(|(flag, file)| Some((*flag, file.as_deref()?))).collect();
    let mut files: Vec<(&str, PathBuf)> =
        args.config_file().map(|file| ("--config", file.into())).into_iter().collect();
    for (flag, file) in written {
        check_file(flag, file, &files)?;
        let folder = folder_of(file);
        if !folder.is_dir() {
            return Err(format!("{}: there is no folder {}", file.display(), folder.display()).into());
        }
        check_writable(folder)?;
        files.push((flag, file.into()));
    }
    for folder in [&args.plot, &args.snapshots_dir].into_iter().flatten() {
        make_folder(folder)?;
    }
    for folder in [&args.tensorboard.tensorboard, &args.plot, &args.snapshots_dir].into_iter().flatten() {
        check_writable(folder)?;
    }
    for keep in model_checkpoints(&args.model_checkpoint)? {
        let file = keep.path(0, 0, &METRICS.map(|name| (name, 0.0)))?;
        check_file("--model-checkpoint", &file, &files)?;
        check_writable(folder_of(&file))?;
    }
    remote(args).map(drop)
}

/// Checks that a file is none of the others, and that it is a regular one if it is there.
fn check_file(flag: &str, file: &Path, others: &[(&str, PathBuf)]) -> Result<(), String> {
    if let Some((other, _)) = others.iter().find(|(_, other)| same(other, file)) {
        return Err(format!("{}: {other} and {flag} cannot be the same file", file.display()));
    }
    check_regular(flag, file)
}

fn remote(args: &Arguments) -> Result<Option<RemoteMonitor>, Box<dyn Error>> {
    Ok(args.remote.as_ref().map(|url| RemoteMonitor::new(url, Duration::from_secs(5))).transpose()?)
}

impl Outputs {
    /// Opens the outputs that were asked for. `continued_from` is the update and the epoch at which a continued run begins.
    pub(crate) fn open(
        args: &Arguments,
        config: &ClrConfig,
        continued_from: Option<(u64, u64)>,
    ) -> Result<Self, Box<dyn Error>> {
        let flags = &args.tensorboard;
        let mut board = None;
        if let Some(folder) = &flags.tensorboard {
            let mut opened =
                TensorBoard::open(folder, continued_from)?.with_update_frequency(flags.tensorboard_update_freq)?;
            if continued_from.is_none_or(|(update, _)| update == 0) {
                opened.text("config", 0, &format!("```json\n{}\n```", serde_json::to_string_pretty(config)?))?;
            }
            board = Some(opened);
        }
        let log = |path| CsvLog::open(path, Per::Epoch, &METRICS, continued_from.map(|(_, epoch)| epoch));
        Ok(Self {
            board,
            histogram_freq: flags.tensorboard_histogram_freq,
            image_freq: flags.tensorboard_image_freq,
            csv: args.csv.as_ref().map(log).transpose()?,
            remote: remote(args)?,
        })
    }

    pub(crate) fn update(&mut self, used: &Applied, loss: f64) -> Result<(), RecordError> {
        self.board.update(used, &[("loss", loss)])
    }

    /// Writes an epoch; `task` has the validation images.
    pub(crate) fn epoch(
        &mut self,
        epoch: u64,
        metrics: &Metrics,
        model: &Mlp,
        task: &Task,
    ) -> Result<(), Box<dyn Error>> {
        let due = |every: u64| every > 0 && epoch % every == 0;
        if let Some(board) = &mut self.board {
            if due(self.histogram_freq) {
                for (name, values) in named_parameters::<_, f32, Cpu>(model) {
                    board.histogram(&name, epoch, &values)?;
                }
                for (name, values) in activations::of_validation_images(task, model)? {
                    board.histogram(&format!("activations/{name}"), epoch, &values)?;
                }
            }
            if due(self.image_freq) {
                let (size, weights) = weight_image::of_first_layer(model);
                board.image("weights of the first layer", epoch, size, &weights)?;
            }
        }
        let recorders: [&mut dyn Recorder; 3] = [&mut self.board, &mut self.csv, &mut self.remote];
        for recorder in recorders {
            recorder.epoch(epoch, &metrics.pairs())?;
        }
        Ok(())
    }

    /// Waits for the server, and prints how many epochs it did not accept.
    pub(crate) fn finish(mut self) -> Result<(), Box<dyn Error>> {
        self.board.finish()?;
        let Some(remote) = self.remote else { return Ok(()) };
        let published = remote.wait(Duration::from_secs(10));
        let failed = published.failed + published.dropped + published.waiting;
        say!("published {} epochs, {failed} failed", published.sent)?;
        if let Some(error) = published.last_error {
            say!("the last failure: {error}")?;
        }
        Ok(())
    }
}
