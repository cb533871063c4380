//! Ensembles and averages as parts of a run.

use crate::adapters::dfdx::{SnapshotEnsemble, WeightAverage};
use crate::checkpoint::{PartCounts, RunPart, at_most_one};

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
        if self.is_exponential() { "exponential_weight_average" } else { "weight_average" }
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
