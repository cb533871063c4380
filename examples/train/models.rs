//! The files of the models.

use std::collections::BTreeSet;
use std::error::Error;

use cyclic_optim::{History, ModelCheckpoint};

use crate::args::{ModelCheckpointArguments, improvement};

/// The checkpoints of the model, one for each template.
pub(crate) fn model_checkpoints(flags: &ModelCheckpointArguments) -> Result<Vec<ModelCheckpoint>, Box<dyn Error>> {
    let (templates, monitors) = (&flags.model_checkpoint, &flags.model_checkpoint_monitor);
    if !monitors.is_empty() && monitors.len() != templates.len() {
        let (templates, monitors) = (templates.len(), monitors.len());
        return Err(format!(
            "--model-checkpoint-monitor must be given once for each --model-checkpoint: {monitors} for {templates}"
        )
        .into());
    }
    if BTreeSet::from_iter(templates).len() < templates.len() {
        return Err("--model-checkpoint was given twice with the same template".into());
    }
    let metric = |n: usize| monitors.get(n).map_or("val_loss", String::as_str);
    templates.iter().enumerate().map(|(n, template)| model_checkpoint(flags, template, metric(n))).collect()
}

fn model_checkpoint(
    flags: &ModelCheckpointArguments,
    template: &str,
    metric: &str,
) -> Result<ModelCheckpoint, Box<dyn Error>> {
    let mut keep = ModelCheckpoint::new(template)?.every(flags.model_checkpoint_save_freq)?;
    let better = || improvement("--model-checkpoint-", flags.model_checkpoint_mode, metric, 0.0);
    if flags.model_checkpoint_save_best_only {
        keep = keep.best_only(metric, better()?);
    }
    if let Some(files) = flags.model_checkpoint_save_top_k {
        keep = keep.keep_best(files, metric, better()?)?;
    }
    if flags.model_checkpoint_save_weights_only {
        keep = keep.weights_only();
    }
    Ok(match flags.model_checkpoint_keep_last {
        Some(files) => keep.keep_last(files)?,
        None => keep,
    })
}

/// Tells the checkpoints of the epochs that a continued run has made.
pub(crate) fn replay(all: &mut [ModelCheckpoint], history: &History, batches: u64) -> Result<(), Box<dyn Error>> {
    for (epoch, metrics) in history.epochs().rows() {
        for keep in &mut *all {
            keep.replay(epoch, (epoch + 1) * batches, &metrics)?;
        }
    }
    Ok(())
}
