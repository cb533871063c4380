//! What stands beside the optimizer and is saved with the run.

use serde::{Deserialize, Serialize};

use crate::adapters::dfdx::{SnapshotEnsemble, WeightAverage};
use crate::training::BestWeights;

/// A part of a run that stands beside the optimizer and holds copies of the model: [`BestWeights`], [`SnapshotEnsemble`],
/// [`WeightAverage`].
///
/// [`Checkpoint::write_with`](super::Checkpoint::write_with) saves parts under names of the caller's choice, and
/// [`Checkpoint::restore_with`](super::Checkpoint::restore_with) puts them back, bit for bit. Implement it for a type of your
/// own that keeps models, and it is saved in the same way.
pub trait RunPart<M> {
    /// The kind of the part, as the file names it. A part is only restored from one of its own kind.
    fn kind(&self) -> &'static str;

    /// The models that are saved, in order.
    fn models(&self) -> Vec<&M>;

    /// What is saved beside the models.
    fn counts(&self) -> PartCounts {
        PartCounts::default()
    }

    /// Says what is wrong with saved contents of this kind, before anything is changed. By default, nothing is.
    ///
    /// # Errors
    ///
    /// The problem, in words.
    fn check(&self, models: usize, counts: PartCounts) -> Result<(), String> {
        let _ = (models, counts);
        Ok(())
    }

    /// Takes over saved contents, which [`check`](Self::check) has accepted.
    fn restore(&mut self, models: Vec<M>, counts: PartCounts);
}

/// The numbers that a [`RunPart`] saves beside its models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartCounts {
    /// The number of models that were averaged into the saved one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub averaged: Option<u64>,
    /// The number of updates that had been made when a model was last taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<u64>,
}

fn at_most_one(models: usize) -> Result<(), String> {
    if models <= 1 { Ok(()) } else { Err(format!("holds {models} models where one is possible")) }
}

impl<M> RunPart<M> for BestWeights<M> {
    fn kind(&self) -> &'static str {
        "best_weights"
    }

    fn models(&self) -> Vec<&M> {
        self.0.iter().collect()
    }

    fn check(&self, models: usize, _: PartCounts) -> Result<(), String> {
        at_most_one(models)
    }

    fn restore(&mut self, models: Vec<M>, _: PartCounts) {
        self.0 = models.into_iter().next();
    }
}

impl<M> RunPart<M> for SnapshotEnsemble<M> {
    fn kind(&self) -> &'static str {
        "snapshot_ensemble"
    }

    fn models(&self) -> Vec<&M> {
        self.snapshots.iter().collect()
    }

    fn counts(&self) -> PartCounts {
        PartCounts { taken_at: self.taken_at, averaged: None }
    }

    fn restore(&mut self, models: Vec<M>, counts: PartCounts) {
        (self.snapshots, self.taken_at) = (models, counts.taken_at);
    }
}

impl<M, E, D> RunPart<M> for WeightAverage<M, E, D> {
    fn kind(&self) -> &'static str {
        "weight_average"
    }

    fn models(&self) -> Vec<&M> {
        self.average.iter().collect()
    }

    fn counts(&self) -> PartCounts {
        PartCounts { averaged: Some(self.models as u64), taken_at: self.taken_at }
    }

    fn check(&self, models: usize, counts: PartCounts) -> Result<(), String> {
        at_most_one(models)?;
        match counts.averaged {
            Some(averaged) if (averaged == 0) == (models == 0) => Ok(()),
            Some(averaged) => Err(format!("holds {models} models as the mean of {averaged}")),
            None => Err("does not say how many models were averaged".into()),
        }
    }

    fn restore(&mut self, models: Vec<M>, counts: PartCounts) {
        self.average = models.into_iter().next();
        self.models = counts.averaged.and_then(|averaged| usize::try_from(averaged).ok()).unwrap_or(0);
        self.taken_at = counts.taken_at;
    }
}
