//! Runs and schedules as pictures.

use crate::config::ClrConfig;
use crate::history::{History, LOSS, Table};
use crate::hyper::Hyper;
use crate::numeric;
use crate::picture::{COLORS, Chart, Line, PALE, PlotError, Points, draw};
use crate::schedule::Schedule;
use crate::smoothing::{Smoothing, winsorised};

/// How losses are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossPlot {
    /// The smoothing of a second, darker line. `None` draws the losses only.
    pub smoothing: Option<Smoothing>,
    /// Whether the axis of the losses is logarithmic. Losses of 0 and below are not drawn then.
    pub logarithmic: bool,
    /// Whether the losses are clipped to their 2.5 % and 97.5 % quantiles; see [`winsorised`].
    pub winsorised: bool,
}

impl Default for LossPlot {
    /// The losses and their exponential mean with a weight of 0.9, on a logarithmic axis.
    fn default() -> Self {
        Self { smoothing: Smoothing::exponential(0.9).ok(), logarithmic: true, winsorised: false }
    }
}

impl History {
    /// Draws the loss of each update and, darker, the smoothed loss as SVG.
    ///
    /// # Errors
    ///
    /// [`PlotError::Nothing`] if no loss is finite.
    pub fn losses_to_svg(&self, plot: &LossPlot) -> Result<String, PlotError> {
        let raw = self.updates().values(LOSS).unwrap_or_default();
        let losses = if plot.winsorised { winsorised(&raw) } else { raw };
        let points = |values: &[f64]| finite(self.updates(), values);
        let mut lines = vec![Line { label: "loss".into(), points: points(&losses), color: PALE, width: 1 }];
        if let Some(smoothing) = plot.smoothing {
            let points = points(&smoothing.apply(&losses));
            lines.push(Line { label: "smoothed".into(), points, color: COLORS[0], width: 2 });
        }
        draw("Loss", "update", vec![Chart { y: "loss", logarithmic: plot.logarithmic, lines, ..Chart::default() }])
    }

    /// Draws the learning rate of each update as SVG, and the momentum and other hyper-parameters that have a schedule.
    ///
    /// # Errors
    ///
    /// [`PlotError::Nothing`] if nothing was recorded.
    pub fn rates_to_svg(&self) -> Result<String, PlotError> {
        let groups = || self.updates().names().filter(|name| name.starts_with("learning_rate/"));
        hypers("update", |hyper| {
            let mut lines = vec![("this run".into(), points(self.updates(), hyper.name()))];
            if hyper == Hyper::LearningRate {
                lines.extend(groups().map(|name| (name.into(), points(self.updates(), name))));
            }
            lines
        })
    }

    /// Draws a metric of each epoch as SVG: the series `metric` and `val_metric`, and a line for each series `metric/<part>`, as
    /// statistics of the layers of a model have them.
    ///
    /// ```
    /// use cyclic_optim::History;
    /// use cyclic_optim::history::Recorder;
    ///
    /// let mut history = History::new();
    /// for epoch in 0..3 {
    ///     history.epoch(epoch, &[("activation_mean/0.1", 0.5), ("activation_mean/1.1", 0.25)])?;
    /// }
    /// let svg = history.epochs_to_svg("activation_mean")?;
    /// assert!(svg.contains("0.1") && svg.contains("1.1"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`PlotError::Nothing`] if none of them was recorded.
    pub fn epochs_to_svg(&self, metric: &str) -> Result<String, PlotError> {
        let epochs: &Table = self.epochs();
        let own = [("training", metric.to_owned()), ("validation", format!("val_{metric}"))];
        let own = own.map(|(label, name)| (label.to_owned(), points(epochs, &name)));
        let of_part = |name: &str| {
            let part = name.strip_prefix(metric)?.strip_prefix('/')?;
            Some((part.to_owned(), points(epochs, name)))
        };
        let lines = Line::colored(own.into_iter().chain(epochs.names().filter_map(of_part)));
        draw(metric, "epoch", vec![Chart { y: metric, lines, ..Chart::default() }])
    }
}

impl Table {
    /// Draws all series as lines of one SVG chart. `y` is the label of their axis.
    ///
    /// # Errors
    ///
    /// [`PlotError::Nothing`] if no series has a finite value.
    pub fn to_svg(&self, title: &str, y: &str) -> Result<String, PlotError> {
        let lines = Line::colored(self.names().map(|name| (name.into(), points(self, name))));
        draw(title, self.per().name(), vec![Chart { y, lines, ..Chart::default() }])
    }
}

impl<S: Schedule> ClrConfig<S> {
    /// Draws what the first `updates` updates of a run will use as SVG: the learning rate, and the momentum and other
    /// hyper-parameters that have a schedule.
    ///
    /// # Errors
    ///
    /// [`PlotError::Nothing`] if `updates` is 0.
    pub fn to_svg(&self, updates: usize) -> Result<String, PlotError> {
        schedules_to_svg(&[("this schedule", self)], updates)
    }

    /// Draws the same over epochs of `batches_per_epoch` updates.
    ///
    /// ```
    /// use cyclic_optim::{ClrConfig, OneCycle, PlotError};
    ///
    /// let config = ClrConfig::new(OneCycle::new(0.02, 900)?);
    /// assert!(config.to_svg_over_epochs(900, 45)?.contains("epoch"));
    /// assert_eq!(config.to_svg_over_epochs(900, 0), Err(PlotError::Nothing));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`PlotError::Nothing`] if `updates` or `batches_per_epoch` is 0.
    pub fn to_svg_over_epochs(&self, updates: usize, batches_per_epoch: u64) -> Result<String, PlotError> {
        let epochs = |update| numeric::fraction(update, batches_per_epoch);
        preview_to_svg(&[("this schedule", self)], updates, "epoch", epochs)
    }
}

/// Draws several schedules in one SVG picture, to compare them.
///
/// ```
/// use cyclic_optim::history::schedules_to_svg;
/// use cyclic_optim::{ClrConfig, Cyclic, OneCycle, Policy};
///
/// let triangular = ClrConfig::new(Cyclic::triangular(0.001, 0.02, 100)?);
/// let one_cycle = ClrConfig::new(OneCycle::new(0.02, 400)?);
/// let svg = schedules_to_svg::<Policy>(&[("triangular", &triangular), ("one-cycle", &one_cycle)], 400)?;
/// assert!(svg.contains("<svg") && svg.contains("one-cycle"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`PlotError::Nothing`] if there are no schedules, or if `updates` is 0.
pub fn schedules_to_svg<S: Schedule>(configs: &[(&str, &ClrConfig<S>)], updates: usize) -> Result<String, PlotError> {
    preview_to_svg(configs, updates, "update", numeric::float)
}

/// `time` is the place of an update on the x axis, which is called `x`.
fn preview_to_svg<S: Schedule>(
    configs: &[(&str, &ClrConfig<S>)],
    updates: usize,
    x: &str,
    time: impl Fn(u64) -> f64,
) -> Result<String, PlotError> {
    hypers(x, |hyper| {
        let line = |&(name, config): &(&str, &ClrConfig<S>)| {
            let used = config.preview().take(updates);
            let points = used.filter_map(|used| Some((time(used.iteration), used.get(hyper)?)));
            (name.to_owned(), points.collect())
        };
        configs.iter().map(line).collect()
    })
}

/// A chart of each hyper-parameter, one above the other. Those without points are left out.
fn hypers(x: &str, lines: impl Fn(Hyper) -> Vec<(String, Points)>) -> Result<String, PlotError> {
    let labels = Hyper::ALL.map(|hyper| (hyper, hyper.name().replace('_', " ")));
    let chart = |(hyper, y)| Chart { y, lines: Line::colored(lines(hyper)), ..Chart::default() };
    draw("Learning rate", x, labels.iter().map(|(hyper, label)| chart((*hyper, label.as_str()))).collect())
}

/// The finite values of a series.
fn points(table: &Table, name: &str) -> Points {
    finite(table, &table.values(name).unwrap_or_default())
}

fn finite(table: &Table, values: &[f64]) -> Points {
    let points = table.index().iter().zip(values).filter(|(_, value)| value.is_finite());
    points.map(|(&index, &value)| (numeric::float(index), value)).collect()
}
