//! A bar that moves while a run trains.

use std::fmt::Write;

use indicatif::{ProgressBar, ProgressStyle};

use crate::schedule::Schedule;
use crate::{CyclicOptimizer, Hyperparameters};

const TEMPLATE: &str = "{msg} {wide_bar} {pos}/{len} {eta}";

/// A progress bar over the updates of a run, with epoch, loss, rate, momentum and the place in the cycle:
///
/// ```text
/// epoch 3/20  loss 0.4121  lr 1.62e-2  momentum 0.8707  cycle 1 87/180 ████░░░░░░░░ 132/900 2s
/// ```
///
/// It is drawn on stderr, some times a second, and not at all if that is no terminal. Epochs and cycles are counted from 1
/// here, for it is people who read it.
///
/// # Examples
///
/// ```
/// use cyclic_optim::history::TrainingBar;
///
/// let bar = TrainingBar::new(20, 45);
/// // In the loop, after each update: bar.update(&optimizer, loss);
/// bar.finish();
/// ```
#[derive(Debug, Clone)]
pub struct TrainingBar {
    bar: ProgressBar,
    epochs: u64,
    updates_per_epoch: u64,
}

impl TrainingBar {
    /// A bar over `epochs` epochs of `updates_per_epoch` updates.
    #[must_use]
    pub fn new(epochs: u64, updates_per_epoch: u64) -> Self {
        let bar = ProgressBar::new(epochs.saturating_mul(updates_per_epoch));
        let bar = match ProgressStyle::with_template(TEMPLATE) {
            Ok(style) => bar.with_style(style),
            // The template is fixed, and the tests know that it is good.
            Err(_) => bar,
        };
        Self { bar, epochs, updates_per_epoch }
    }

    /// Shows the update just made.
    pub fn update<O: Hyperparameters, S: Schedule>(&self, optimizer: &CyclicOptimizer<O, S>, loss: f64) {
        // To put the words together takes longer than an update of a small model, and nobody would read them.
        if !self.bar.is_hidden() {
            self.bar.set_message(self.message(optimizer, loss));
        }
        self.bar.set_position(optimizer.iterations());
    }

    fn message<O: Hyperparameters, S: Schedule>(&self, optimizer: &CyclicOptimizer<O, S>, loss: f64) -> String {
        let Some(used) = optimizer.last() else { return String::new() };
        let epoch = used.iteration / self.updates_per_epoch.max(1) + 1;
        let mut message = format!("epoch {epoch}/{}  loss {loss:.4}  lr {:.2e}", self.epochs, used.lr);
        // Writing into a string does not fail.
        if let Some(momentum) = used.momentum {
            let _ = write!(message, "  momentum {momentum:.4}");
        }
        if let Some(cycle) = optimizer.config().schedule().cycle_at(used.step) {
            let _ = write!(message, "  cycle {} {}/{}", cycle.index + 1, cycle.place + 1, cycle.length);
        }
        message
    }

    /// Takes the bar off the screen while `print` prints.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClrConfig, Cyclic, Hyper, Unsupported};

    #[derive(Debug)]
    struct Fake;

    impl Hyperparameters for Fake {
        fn get(&self, _: Hyper) -> Option<f64> {
            Some(0.5)
        }
        fn set(&mut self, _: Hyper, _: f64) -> Result<(), Unsupported> {
            Ok(())
        }
    }

    #[test]
    fn the_message_speaks_of_the_update_just_made() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
        let config = ClrConfig::new(Cyclic::triangular(0.1, 0.3, 2).unwrap()).with_momentum(0.8, 0.9).unwrap();
        let mut optimizer = CyclicOptimizer::new(Fake, config);
        let bar = TrainingBar::new(3, 4);
        assert_eq!(bar.message(&optimizer, 1.0), "");
        for _ in 0..7 {
            optimizer.update_with(|_| Ok::<(), ()>(())).unwrap();
        }
        let message = bar.message(&optimizer, 0.25);
        assert_eq!(message, "epoch 2/3  loss 0.2500  lr 3.00e-1  momentum 0.8000  cycle 2 3/4");
        bar.update(&optimizer, 0.25);
        assert_eq!((bar.bar.position(), bar.bar.length()), (7, Some(12)));
    }
}
