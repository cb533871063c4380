//! The crate's errors name the fields of a config; here they name the flags that stand for them.

use std::fmt::Display;

use cyclic_optim::WarmRestarts;

/// The text of an error, with the flag for each field. `prefix` is what the names of the flags begin with.
pub(crate) fn named<E: Display>(prefix: &str) -> impl Fn(E) -> String {
    let prefix = prefix.to_owned();
    move |error| {
        let flag = |word: &str| match word {
            "base_lr" | "max_lr" | "step_size" | "gamma" | "base_momentum" | "max_momentum" | "patience" | "factor"
            | "min_delta" | "updates" | "batches_per_epoch" | "rate_limit" | "trend_window" | "baseline"
            | "snapshots" | "weight_decays" => {
                format!("{prefix}{}", word.replace('_', "-"))
            }
            "lr" => format!("{prefix}max-lr"),
            "t_0" => format!("{prefix}step-size"),
            "max_loss_factor" => format!("{prefix}max-loss-factor"),
            "alpha" => format!("{prefix}smoothing"),
            "total" => format!("{prefix}updates"),
            "floor" => format!("{prefix}min-lr"),
            word => word.into(),
        };
        let message = error.to_string();
        let words = message.split_inclusive([' ', ',']).map(|word| {
            let (word, end) = word.split_at(word.trim_end_matches([' ', ',']).len());
            flag(word) + end
        });
        words.collect()
    }
}

/// The schedule of a snapshot ensemble from `--max-lr` and `--snapshots`.
pub(crate) fn snapshots(max_lr: f64, updates: u64, snapshots: u64) -> Result<WarmRestarts, String> {
    if snapshots > updates {
        return Err(format!("--snapshots must be at most the number of updates, {updates}, got {snapshots}"));
    }
    WarmRestarts::snapshots(max_lr, updates, snapshots).map_err(named("--"))
}
