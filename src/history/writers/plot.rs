//! Runs and schedules as pictures.

use crate::config::ClrConfig;
use crate::history::{History, LOSS, Per, Table};
use crate::hyper::Hyper;
use crate::numeric;
use crate::picture::{COLORS, Chart, Line, PALE, PlotError, Points, XAxis, draw, with_jumps};
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
        let mut lines = vec![Line::solid("loss", points(&losses), PALE, 1)];
        if let Some(smoothing) = plot.smoothing {
            lines.push(Line::solid("smoothed", points(&smoothing.apply(&losses)), COLORS[0], 2));
        }
        draw(
            "Loss by update",
            Per::Update.axis(),
            vec![Chart { y: "loss", logarithmic: plot.logarithmic, lines, ..Chart::default() }],
        )
    }

    /// Draws the learning rate of each update as SVG, and the momentum and other hyper-parameters that have a schedule.
    ///
    /// # Errors
    ///
    /// [`PlotError::Nothing`] if nothing was recorded.
    pub fn rates_to_svg(&self) -> Result<String, PlotError> {
        let groups = || self.updates().names().filter(|name| name.starts_with("learning_rate/"));
        hypers(Per::Update.axis(), |hyper| {
            let mut lines = vec![("this run".into(), points(self.updates(), hyper.name()))];
            if hyper == Hyper::LearningRate {
                lines.extend(groups().map(|name| (name.into(), points(self.updates(), name))));
            }
            lines
        })
    }

    /// Draws a metric of each epoch as SVG: the series `metric` and `val_metric`, and a line for each series `metric/<part>` and
    /// `val_metric/<part>`. The statistics of the layers of a model have such parts.
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
        self.epochs().metric_to_svg(metric)
    }
}

impl Table {
    /// Draws all series as lines of one SVG chart. `y` is the label of their axis.
    ///
    /// # Errors
    ///
    /// [`PlotError::Nothing`] if no series has a finite value.
    pub fn to_svg(&self, title: &str, y: &str) -> Result<String, PlotError> {
        let series: Vec<(String, &str)> = self.names().map(|name| (name.into(), name)).collect();
        self.series_to_svg(title, y, &series)
    }

    /// Draws the series `metric` and `val_metric`, and a line for each series `metric/<part>` and `val_metric/<part>`.
    pub(crate) fn metric_to_svg(&self, metric: &str) -> Result<String, PlotError> {
        let validation = format!("val_{metric}");
        let drawn = |name: &str| !points(self, name).is_empty();
        let mut series: Vec<(String, &str)> = Vec::new();
        if drawn(metric) || drawn(&validation) {
            series.extend([("training".into(), metric), ("validation".into(), &validation)]);
        }
        let part = |of: &str, name: &str| Some(name.strip_prefix(of)?.strip_prefix('/')?.to_owned());
        series.extend(self.names().filter_map(|name| Some((part(metric, name)?, name))));
        let validated = |name: &str| Some(format!("validation {}", part(&validation, name)?));
        series.extend(self.names().filter_map(|name| Some((validated(name)?, name))));
        let name = metric.replace('_', " ");
        let title = format!("{} by {}", capitalised(&name), self.per().name());
        // A single line has no legend.
        let only_validation = series.len() == 2 && drawn(&validation) && !drawn(metric);
        let y = if only_validation { format!("validation {name}") } else { name };
        self.series_to_svg(&title, &y, &series)
    }

    /// Draws some series, each with the label of its line and its name.
    pub(crate) fn series_to_svg(&self, title: &str, y: &str, series: &[(String, &str)]) -> Result<String, PlotError> {
        let lines = Line::colored(series.iter().map(|(label, name)| (label.clone(), points(self, name))));
        draw(title, self.per().axis(), vec![Chart { y, lines, ..Chart::default() }])
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
        preview_to_svg(&[("this schedule", self)], updates, "time (epochs)", epochs)
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
    preview_to_svg(configs, updates, Per::Update.axis(), numeric::float)
}

/// `time` is the place of an update on the x axis, which is called `x`.
fn preview_to_svg<'a, S: Schedule>(
    configs: &[(&str, &ClrConfig<S>)],
    updates: usize,
    x: impl Into<XAxis<'a>>,
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
fn hypers<'a>(x: impl Into<XAxis<'a>>, lines: impl Fn(Hyper) -> Vec<(String, Points)>) -> Result<String, PlotError> {
    let lines = Hyper::ALL.map(|hyper| {
        let lines = lines(hyper).into_iter().map(|(label, points)| (label, with_jumps(&points)));
        (hyper.name().replace('_', " "), Line::colored(lines))
    });
    let shown = lines.into_iter().filter(|(_, lines)| lines.iter().any(|line| !line.points.is_empty()));
    let (names, lines): (Vec<String>, Vec<Vec<Line>>) = shown.unzip();
    let charts = names.iter().zip(lines).map(|(y, lines)| Chart { y, lines, ..Chart::default() });
    let title = match &names[..] {
        [before @ .., last] if !before.is_empty() => format!("{} and {last}", before.join(", ")),
        names => names.concat(),
    };
    draw(&capitalised(&title), x, charts.collect())
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

impl Per {
    /// The axis of this index.
    fn axis(self) -> XAxis<'static> {
        let name = match self {
            Self::Update => "update number",
            Self::Epoch => "epoch number",
        };
        XAxis { whole: true, ..XAxis::from(name) }
    }
}

/// The finite values of a series.
fn points(table: &Table, name: &str) -> Points {
    finite(table, &table.values(name).unwrap_or_default())
}

fn finite(table: &Table, values: &[f64]) -> Points {
    let points = table.index().iter().zip(values).filter(|(_, value)| value.is_finite());
    points.map(|(&index, &value)| (numeric::float(index), value)).collect()
}
