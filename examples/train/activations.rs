//! What the ReLU layers do.

use cyclic_optim::adapters::dfdx::{ActivationStatistics, DeadRelus, named_activations};

use crate::args::Arguments;
use crate::metrics::Metrics;
use crate::support::digits::{Mlp, Task};

/// Adds the statistics that were asked for to the metrics of an epoch.
pub(crate) fn add(args: &Arguments, task: &Task, model: &Mlp, metrics: &mut Metrics) -> Result<(), String> {
    if args.activation_stats {
        let mut statistics = ActivationStatistics::new();
        for (images, _) in task.batches(0) {
            statistics.watch(model, images).map_err(|error| format!("{error:?}"))?;
        }
        metrics.extend(statistics.metrics());
    }
    if args.dead_relu && args.has_records() {
        metrics.extend(dead_units(task, model)?.metrics());
    }
    Ok(())
}

/// The activations of each layer for all validation images.
pub(crate) fn of_validation_images(task: &Task, model: &Mlp) -> Result<Vec<(String, Vec<f64>)>, String> {
    named_activations(model, task.test_images()).map_err(|error| format!("{error:?}"))
}

/// The units that fire for none of the training images.
pub(crate) fn dead_units(task: &Task, model: &Mlp) -> Result<DeadRelus, String> {
    let mut relus = DeadRelus::new();
    for (images, _) in task.batches(0) {
        relus.watch(model, images).map_err(|error| format!("{error:?}"))?;
    }
    Ok(relus)
}
