//! A bar that moves while a run trains.

use std::fmt::Write;

use indicatif::{ProgressBar, ProgressStyle};

use crate::schedule::Schedule;
use crate::{CyclicOptimizer, Hyperparameters};

const TEMPLATE: &str = "{msg} {wide_bar} {pos}/{len} {eta}";
/// With the metrics of the last epoch on a line of their own above the bar.
const TEMPLATE_WITH_METRICS: &str = "{prefix}\n{msg} {wide_bar} {pos}/{len} {eta}";

/// A progress bar over the updates of a run, with epoch, loss, rate, momentum and the place in the cycle, and above it the
/// metrics of the last epoch:
///
/// ```text
/// epoch 2/20: loss 0.5012  val_loss 0.4377  val_accuracy 0.8611
/// epoch 3/20  loss 0.4121  lr 1.62e-2  momentum 0.8707  cycle 1 87/180 ████░░░░░░░░ 132/900 2s
/// ```
///
/// The bar is drawn on stderr, a few times a second. If stderr is not a terminal, nothing is drawn
/// ([`is_hidden`](Self::is_hidden)). Epochs and cycles are counted from 1 here, because people read them; files and records
/// count from 0.
///
/// # Examples
///
/// ```
/// use cyclic_optim::history::TrainingBar;
///
/// let bar = TrainingBar::new(20, 45);
/// // In the loop, after each update: bar.update(&optimizer, loss);
/// bar.epoch(0, &[("loss", 0.5012), ("val_loss", 0.4377)]);
/// bar.suspend(|| println!("a message that does not tear the bar"));
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

    /// Shows the metrics of the epoch just made, counted from 0, above the bar until the next call.
    pub fn epoch(&self, epoch: u64, metrics: &[(&str, f64)]) {
        if self.bar.is_hidden() {
            return;
        }
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE_WITH_METRICS) {
            self.bar.set_style(style);
        }
        self.bar.set_prefix(self.metrics(epoch, metrics));
    }

    fn metrics(&self, epoch: u64, metrics: &[(&str, f64)]) -> String {
        let values: Vec<String> = metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
        format!("epoch {}/{}: {}", epoch.saturating_add(1), self.epochs, values.join("  "))
    }

    /// Whether the bar is not drawn because stderr is not a terminal. A program can then print a line for each epoch instead.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.bar.is_hidden()
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
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::{ProgressDrawTarget, TermLike};

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
        for template in [TEMPLATE, TEMPLATE_WITH_METRICS] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
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
    /// A terminal of 100 columns that keeps the lines written to it.
    #[derive(Debug, Clone, Default)]
    struct Terminal(Arc<Mutex<String>>);

    impl TermLike for Terminal {
        fn width(&self) -> u16 {
            100
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(&format!("{text}\n"))
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            self.write_str("\n")
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_metrics_of_an_epoch_stand_above_the_bar() {
        let (bar, terminal) = (TrainingBar::new(3, 4), Terminal::default());
        bar.bar.set_draw_target(ProgressDrawTarget::hidden());
        bar.epoch(0, &[("loss", 1.0)]);
        assert!(bar.is_hidden() && bar.bar.prefix().is_empty());
        bar.bar.set_draw_target(ProgressDrawTarget::term_like(Box::new(terminal.clone())));
        assert!(!bar.is_hidden());
        bar.epoch(1, &[("loss", 0.5), ("val_accuracy", 0.93751)]);
        bar.bar.tick();
        let drawn = terminal.0.lock().unwrap().clone();
        // indicatif fills a line that is not the last one with spaces.
        let line: String = drawn.chars().take(100).collect();
        assert_eq!(line.trim_end(), "epoch 2/3: loss 0.5000  val_accuracy 0.9375", "{drawn:?}");
    }
}
