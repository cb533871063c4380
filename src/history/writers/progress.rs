//! A progress bar for a training run.

use indicatif::{ProgressBar, ProgressStyle};

use crate::history::{RecordError, Recorder};
use crate::schedule::{Policy, Schedule};
use crate::state::Applied;

const TEMPLATE: &str = "{msg} {wide_bar} {pos}/{len} {eta}";
/// The template with the metrics of the last epoch on a line above the bar.
const TEMPLATE_WITH_METRICS: &str = "{prefix}\n{msg} {wide_bar} {pos}/{len} {eta}";

/// A progress bar over the updates of a run. It shows the epoch, the metrics of the update, rate, momentum and the place in the
/// cycle, and above these the metrics of the last epoch, with rate and momentum of its last update:
///
/// ```text
/// epoch 2/20: loss 0.5012  val_loss 0.4377  val_accuracy 0.8611  lr 1.28e-2  momentum 0.8950
/// epoch 3/20  loss 0.4121  lr 1.62e-2  momentum 0.8707  cycle 1 87/180 ████░░░░░░░░ 132/900 2s
/// ```
///
/// The bar is drawn on stderr, a few times a second. If stderr is not a terminal, nothing is drawn
/// ([`is_hidden`](Self::is_hidden)). It counts epochs and cycles from 1, because people read them; files and records count from 0.
///
/// The place in the cycle is shown if the bar has the schedule of the run ([`with_schedule`](Self::with_schedule)).
///
/// As a [`Recorder`] it never fails; [`finish`](Recorder::finish) removes the bar.
///
/// # Examples
///
/// ```
/// use cyclic_optim::history::{Recorder, TrainingBar};
/// use cyclic_optim::{ClrConfig, Cyclic};
///
/// let config = ClrConfig::new(Cyclic::triangular(0.1, 0.3, 90)?);
/// let mut bar = TrainingBar::new(20, 45).with_schedule(config.schedule().clone());
/// for used in config.preview().take(45) {
///     bar.update(&used, &[("loss", 0.4121)])?;
/// }
/// bar.epoch(0, &[("loss", 0.5012), ("val_loss", 0.4377)])?;
/// bar.suspend(|| println!("a message that does not tear the bar"));
/// bar.finish()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct TrainingBar<S = Policy> {
    bar: ProgressBar,
    epochs: u64,
    updates_per_epoch: u64,
    schedule: Option<S>,
    /// What the last update used.
    last: Option<Applied>,
}

impl TrainingBar {
    /// A bar over `epochs` epochs of `updates_per_epoch` updates.
    #[must_use]
    pub fn new(epochs: u64, updates_per_epoch: u64) -> Self {
        let bar = ProgressBar::new(epochs.saturating_mul(updates_per_epoch));
        let bar = match ProgressStyle::with_template(TEMPLATE) {
            Ok(style) => bar.with_style(style),
            // The template is fixed, and a test checks it.
            Err(_) => bar,
        };
        Self { bar, epochs, updates_per_epoch, schedule: None, last: None }
    }
}

impl<S> TrainingBar<S> {
    /// Shows the place in the cycles of `schedule`: `optimizer.config().schedule().clone()`.
    #[must_use]
    pub fn with_schedule<T: Schedule>(self, schedule: T) -> TrainingBar<T> {
        let Self { bar, epochs, updates_per_epoch, last, .. } = self;
        TrainingBar { bar, epochs, updates_per_epoch, schedule: Some(schedule), last }
    }

    /// Whether stderr is not a terminal, so that the bar is not drawn. A program can then print a line for each epoch
    /// instead.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.bar.is_hidden()
    }

    /// Removes the bar from the screen while `print` prints.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }
}

impl<S: Schedule> TrainingBar<S> {
    fn message(&self, used: &Applied, metrics: &[(&str, f64)]) -> String {
        let epoch = used.iteration / self.updates_per_epoch.max(1) + 1;
        let cycle = self.schedule.as_ref().and_then(|schedule| schedule.cycle_at(used.step));
        let mut parts = vec![format!("epoch {epoch}/{}", self.epochs)];
        parts.extend(values(metrics));
        parts.extend(hypers(used));
        parts.extend(cycle.map(|cycle| format!("cycle {} {}/{}", cycle.index + 1, cycle.place + 1, cycle.length)));
        parts.join("  ")
    }
}

impl<S: Schedule> Recorder for TrainingBar<S> {
    fn update(&mut self, used: &Applied, metrics: &[(&str, f64)]) -> Result<(), RecordError> {
        // A hidden bar needs no message, and writing one takes longer than an update of a small model.
        if !self.bar.is_hidden() {
            self.bar.set_message(self.message(used, metrics));
        }
        self.bar.set_position(used.iteration.saturating_add(1));
        self.last = Some(*used);
        Ok(())
    }

    /// Shows the metrics above the bar until the next call, with what the last update used.
    fn epoch(&mut self, epoch: u64, metrics: &[(&str, f64)]) -> Result<(), RecordError> {
        if self.bar.is_hidden() {
            return Ok(());
        }
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE_WITH_METRICS) {
            self.bar.set_style(style);
        }
        let epoch = epoch.saturating_add(1);
        let mut parts = values(metrics);
        parts.extend(self.last.iter().flat_map(hypers));
        self.bar.set_prefix(format!("epoch {epoch}/{}: {}", self.epochs, parts.join("  ")));
        Ok(())
    }

    /// Removes the bar.
    fn finish(&mut self) -> Result<(), RecordError> {
        self.bar.finish_and_clear();
        Ok(())
    }
}

/// The rate that an update used, and the hyper-parameters that have a schedule.
fn hypers(used: &Applied) -> Vec<String> {
    let mut parts = vec![format!("lr {:.2e}", used.lr)];
    parts.extend(used.momentum.map(|momentum| format!("momentum {momentum:.4}")));
    let others = [("weight decay", used.weight_decay), ("beta2", used.beta2), ("eps", used.eps)];
    parts.extend(others.into_iter().filter_map(|(name, value)| Some(format!("{name} {:.2e}", value?))));
    parts
}

fn values(metrics: &[(&str, f64)]) -> Vec<String> {
    metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::{ProgressDrawTarget, TermLike};

    use super::*;
    use crate::config::ClrConfig;
    use crate::schedule::Cyclic;

    #[test]
    fn the_message_speaks_of_the_update_just_made() {
        for template in [TEMPLATE, TEMPLATE_WITH_METRICS] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
        let config = ClrConfig::new(Cyclic::triangular(0.1, 0.3, 2).unwrap()).with_momentum(0.8, 0.9).unwrap();
        let used = config.preview().nth(6).unwrap();
        let bar = TrainingBar::new(3, 4);
        let message = bar.message(&used, &[("loss", 0.25)]);
        assert_eq!(message, "epoch 2/3  loss 0.2500  lr 3.00e-1  momentum 0.8000");
        let mut bar = bar.with_schedule(config.schedule().clone());
        let message = bar.message(&used, &[("loss", 0.25), ("accuracy", 0.5)]);
        assert_eq!(message, "epoch 2/3  loss 0.2500  accuracy 0.5000  lr 3.00e-1  momentum 0.8000  cycle 2 3/4");
        bar.update(&used, &[("loss", 0.25)]).unwrap();
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
        let (mut bar, terminal) = (TrainingBar::new(3, 4), Terminal::default());
        bar.bar.set_draw_target(ProgressDrawTarget::hidden());
        bar.epoch(0, &[("loss", 1.0)]).unwrap();
        assert!(bar.is_hidden() && bar.bar.prefix().is_empty());
        bar.bar.set_draw_target(ProgressDrawTarget::term_like(Box::new(terminal.clone())));
        assert!(!bar.is_hidden());
        bar.epoch(1, &[("loss", 0.5), ("val_accuracy", 0.93751)]).unwrap();
        bar.bar.tick();
        let drawn = terminal.0.lock().unwrap().clone();
        // indicatif fills a line that is not the last one with spaces.
        let line: String = drawn.chars().take(100).collect();
        assert_eq!(line.trim_end(), "epoch 2/3: loss 0.5000  val_accuracy 0.9375", "{drawn:?}");
        let config = ClrConfig::new(Cyclic::triangular(0.1, 0.3, 2).unwrap()).with_momentum(0.8, 0.9).unwrap();
        bar.update(&config.preview().nth(11).unwrap(), &[("loss", 0.25)]).unwrap();
        bar.epoch(2, &[("loss", 0.25), ("val_loss", 0.5)]).unwrap();
        assert_eq!(bar.bar.prefix(), "epoch 3/3: loss 0.2500  val_loss 0.5000  lr 2.00e-1  momentum 0.8500");
    }
}
