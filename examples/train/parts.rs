//! What is saved with the run besides model and optimizer.

use std::error::Error;

use cyclic_optim::adapters::dfdx::{SnapshotEnsemble, WeightAverage};
use cyclic_optim::checkpoint::RunPart;
use cyclic_optim::range_test::PeakChoice;
use cyclic_optim::training::BestWeights;
use cyclic_optim::{Checkpoint, ConfigError};
use dfdx::prelude::Cpu;

use crate::args::Arguments;
use crate::support::digits::Mlp;

/// What is saved with the run besides model and optimizer.
pub(crate) struct Parts {
    pub(crate) best: BestWeights<Mlp>,
    pub(crate) ensemble: SnapshotEnsemble<Mlp>,
    /// The exponential average of the weights, if it was asked for.
    pub(crate) average: Option<WeightAverage<Mlp, f32, Cpu>>,
    pub(crate) choice: Option<PeakChoice>,
}

impl Parts {
    pub(crate) fn new(decay: Option<f64>, choice: Option<PeakChoice>) -> Result<Self, ConfigError> {
        // Otherwise a short run would remember its first weights for too long.
        let average = decay.map(WeightAverage::exponential).transpose()?.map(WeightAverage::with_warmup);
        Ok(Self { best: BestWeights::new(), ensemble: SnapshotEnsemble::new(), average, choice })
    }

    pub(crate) fn all(&self) -> Vec<(&str, &dyn RunPart<Mlp>)> {
        let mut parts: Vec<(&str, &dyn RunPart<Mlp>)> = vec![("best", &self.best), ("ensemble", &self.ensemble)];
        parts.extend(self.average.as_ref().map(|average| ("average", average as &dyn RunPart<Mlp>)));
        parts.extend(self.choice.as_ref().map(|choice| ("choice", choice as &dyn RunPart<Mlp>)));
        parts
    }

    pub(crate) fn all_mut(&mut self) -> Vec<(&str, &mut dyn RunPart<Mlp>)> {
        let mut parts: Vec<(&str, &mut dyn RunPart<Mlp>)> =
            vec![("best", &mut self.best), ("ensemble", &mut self.ensemble)];
        parts.extend(self.average.as_mut().map(|average| ("average", average as &mut dyn RunPart<Mlp>)));
        parts.extend(self.choice.as_mut().map(|choice| ("choice", choice as &mut dyn RunPart<Mlp>)));
        parts
    }
}

/// The choice of the run in the checkpoint, if there is one to continue.
pub(crate) fn saved_choice(args: &Arguments) -> Result<Option<PeakChoice>, Box<dyn Error>> {
    let Some(file) = args.checkpoint.as_ref().filter(|file| file.exists()) else { return Ok(None) };
    match Checkpoint::read(file)?.peak_choice() {
        Some(choice) => Ok(Some(choice.clone())),
        None => Err(format!("{}: saved without --auto", file.display()).into()),
    }
}
