//! The files of the models.

use std::error::Error;

use cyclic_optim::{History, ModelCheckpoint};

use crate::args::{ModelCheckpointArguments, improvement};

/// The checkpoints of the model. A continued run has to beat the best metric in its history.
pub(crate) fn model_checkpoint(
    flags: &ModelCheckpointArguments,
    history: Option<&History>,
) -> Result<Option<ModelCheckpoint>, Box<dyn Error>> {
    let Some(template) = &flags.model_checkpoint else { return Ok(None) };
    let mut keep = ModelCheckpoint::new(template)?.every(flags.model_checkpoint_save_freq)?;
    if flags.model_checkpoint_save_best_only {
        let monitor = &flags.model_checkpoint_monitor;
        let better = improvement("--model-checkpoint-", flags.model_checkpoint_mode, monitor, 0.0)?;
        let past = history.and_then(|history| history.epochs().values(monitor)).unwrap_or_default();
        // Only the epochs at which a file was written.
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
