//! What is saved in addition to the model and the optimizer.

use serde::{Deserialize, Serialize};

use crate::range_test::PeakChoice;
use crate::training::BestWeights;

/// A part of a run that holds copies of the model and is saved with it: [`BestWeights`], or dfdx's `SnapshotEnsemble` and
/// `WeightAverage`.
///
/// [`Checkpoint::write_with`](super::Checkpoint::write_with) saves parts under names of your choice, and
/// [`Checkpoint::restore_with`](super::Checkpoint::restore_with) restores them bit for bit. To save a type of your own that
/// keeps models, implement this trait.
pub trait RunPart<M> {
    /// The name of the kind of part in the file. A part is restored only from one of the same kind.
    fn kind(&self) -> &'static str;

    /// The models to save, in order.
    fn models(&self) -> Vec<&M>;

    /// The numbers to save with the models.
    fn counts(&self) -> PartCounts {
        PartCounts::default()
    }

    /// The choice of a peak rate to save. Only [`PeakChoice`] has one; [`Checkpoint::peak_choice`](super::Checkpoint::peak_choice)
    /// reads it back, before anything is restored.
    fn peak_choice(&self) -> Option<&PeakChoice> {
        None
    }

    /// Checks saved contents before anything is changed. The default accepts all.
    ///
    /// # Errors
    ///
    /// The problem, in words.
    fn check(&self, models: usize, counts: PartCounts) -> Result<(), String> {
        let _ = (models, counts);
        Ok(())
    }

    /// Restores the saved contents, which [`check`](Self::check) has accepted.
    fn restore(&mut self, models: Vec<M>, counts: PartCounts);
}

/// The numbers that a [`RunPart`] saves with its models.
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

pub(crate) fn at_most_one(models: usize) -> Result<(), String> {
    if models <= 1 { Ok(()) } else { Err(format!("holds {models} models, where at most one is possible")) }
}

/// Restoring does nothing here: the schedule is made from the choice before the run is restored.
impl<M> RunPart<M> for PeakChoice {
    fn kind(&self) -> &'static str {
        "peak_choice"
    }

    fn models(&self) -> Vec<&M> {
        Vec::new()
    }

    fn peak_choice(&self) -> Option<&PeakChoice> {
        Some(self)
    }

    fn check(&self, models: usize, _: PartCounts) -> Result<(), String> {
        if models == 0 { Ok(()) } else { Err(format!("holds {models} models, where none is possible")) }
    }

    fn restore(&mut self, _: Vec<M>, _: PartCounts) {}
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
