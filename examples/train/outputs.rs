//! Where a run is written to while it goes on.

use std::error::Error;
use std::time::Duration;

use cyclic_optim::adapters::dfdx::{ModelCheckpoint, named_parameters};
use cyclic_optim::history::{CsvLog, Per, RemoteMonitor, TensorBoard};
use cyclic_optim::{Applied, ClrConfig, History};
use dfdx::prelude::{Cpu, TensorCollection};

use crate::args::{Arguments, ModelCheckpointArguments, improvement};

/// The metrics of an epoch.
pub(crate) type Metrics = [(&'static str, f64); 3];

pub(crate) struct Outputs {
    board: Option<TensorBoard>,
    histogram_freq: u64,
    csv: Option<CsvLog>,
    remote: Option<RemoteMonitor>,
}

impl Outputs {
    /// Opens what is asked for; a run that is continued from `update` in `epoch` goes on there.
    pub(crate) fn open(args: &Arguments, config: &ClrConfig, update: u64, epoch: u64) -> Result<Self, Box<dyn Error>> {
        let flags = &args.tensorboard;
        let mut board = None;
        if let Some(folder) = &flags.tensorboard {
            let opened = TensorBoard::open(folder, (update > 0).then_some((update, epoch)));
            let mut opened = opened?.with_update_frequency(flags.tensorboard_update_freq)?;
            if update == 0 {
                opened.text("config", 0, &format!("```json\n{}\n```", serde_json::to_string_pretty(config)?))?;
            }
            board = Some(opened);
        }
        let columns = ["loss", "val_loss", "val_accuracy"];
        let log = |path| CsvLog::open(path, Per::Epoch, &columns, (update > 0).then_some(epoch));
        Ok(Self {
            board,
            histogram_freq: flags.tensorboard_histogram_freq,
            csv: args.csv.as_ref().map(log).transpose()?,
            remote: args.remote.as_ref().map(|url| RemoteMonitor::new(url, Duration::from_secs(5))).transpose()?,
        })
    }

    pub(crate) fn update(&mut self, used: &Applied, loss: f64) -> Result<(), Box<dyn Error>> {
        if let Some(board) = &mut self.board {
            board.update(used, loss, &[])?;
        }
        Ok(())
    }

    pub(crate) fn epoch<M>(&mut self, epoch: u64, metrics: &Metrics, model: &M) -> Result<(), Box<dyn Error>>
    where
        M: TensorCollection<f32, Cpu>,
    {
        if let Some(board) = &mut self.board {
            if self.histogram_freq > 0 && epoch % self.histogram_freq == 0 {
                for (name, values) in named_parameters::<_, f32, Cpu>(model) {
                    board.histogram(&name, epoch, &values)?;
                }
            }
            board.epoch(epoch, metrics)?;
        }
        if let Some(csv) = &mut self.csv {
            csv.row(epoch, metrics)?;
        }
        if let Some(remote) = &mut self.remote {
            remote.publish(epoch, metrics);
        }
        Ok(())
    }

    /// Waits for the server, and says what it has not taken.
    pub(crate) fn finish(self) {
        if let Some(remote) = self.remote {
            let published = remote.finish(Duration::from_secs(10));
            println!(
                "published {} epochs, {} failed",
                published.sent,
                published.failed + published.dropped + published.waiting
            );
            if let Some(error) = published.last_error {
                println!("the last failure: {error}");
            }
        }
    }
}

/// What keeps models in files; a run that is continued has to beat the best in its history.
pub(crate) fn model_checkpoint(
    flags: &ModelCheckpointArguments,
    history: Option<&History>,
) -> Result<Option<ModelCheckpoint>, Box<dyn Error>> {
    let Some(template) = &flags.model_checkpoint else { return Ok(None) };
    let mut keep = ModelCheckpoint::new(template)?.every(flags.model_checkpoint_save_freq)?;
    if flags.model_checkpoint_save_best_only {
        let (monitor, better) = (&flags.model_checkpoint_monitor, improvement(flags.model_checkpoint_mode, 0.0)?);
        let past = history.and_then(|history| history.epochs().values(monitor)).unwrap_or_default();
        // Only those epochs at which a file was due.
        let due = past.into_iter().zip(1..).filter(|(_, epoch)| epoch % flags.model_checkpoint_save_freq == 0);
        let best = due.fold(None, |best, (value, _)| if better.is_better(value, best) { Some(value) } else { best });
        keep = keep.best_only(monitor, better);
        if let Some(best) = best {
            keep = keep.with_threshold(best)?;
        }
    }
    if flags.model_checkpoint_save_weights_only {
        keep = keep.weights_only();
    }
    Ok(Some(match flags.model_checkpoint_keep_last {
        Some(files) => keep.keep_last(files)?,
        None => keep,
    }))
}
