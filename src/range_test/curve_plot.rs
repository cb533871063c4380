//! Draws loss curves with the options of older finders.

use plotters::prelude::RGBColor;

use super::plot::place;
use super::{LossCurve, LossPoint, Suggestion};
use crate::picture::{COLORS, Chart, Line, Mark, PALE, PlotError, Points, XAxis, draw};
use crate::smoothing::{Smoothing, winsorised, winsorising_bounds};

/// The colours of losses that are drawn under a smoothed line. The line has the colour of the same index in [`COLORS`].
const PALES: [RGBColor; 2] = [PALE, RGBColor(240, 210, 190)];

/// Which losses of a range test are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Losses {
    /// The loss that counts at each point: the validation loss if there is one, otherwise the training loss.
    #[default]
    Judged,
    /// The training losses.
    Training,
    /// The validation losses.
    Validation,
    /// Both, as two lines.
    Both,
}

/// How a [`LossCurve`] is drawn by [`to_svg_with`](LossCurve::to_svg_with).
///
/// | option | default | in older finders |
/// |---|---|---|
/// | `losses` | [`Losses::Judged`] | `set` of `psklight/keras_one_cycle_clr`: `train` or `valid` |
/// | `smoothing` | exponential, weight 0.8 | `alpha` of nupam/keras-callbacks is [`Smoothing::exponential_from_first`]; `ma` and `window` are [`Smoothing::trailing_mean`] |
/// | `logarithmic_rate` | yes | `x_scale`; fastai and nupam are logarithmic |
/// | `logarithmic_loss` | no | `logloss`, `y_scale` |
/// | `winsorised` | no | `clip_loss` |
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePlot {
    /// Which losses are drawn.
    pub losses: Losses,
    /// The smoothing of the darker lines. `None` draws the losses only.
    pub smoothing: Option<Smoothing>,
    /// Whether the axis of the rates is logarithmic. A rate of 0 is not drawn then.
    pub logarithmic_rate: bool,
    /// Whether the axis of the losses is logarithmic. Losses of 0 and below are not drawn then.
    pub logarithmic_loss: bool,
    /// Whether each line is clipped to its 2.5 % and 97.5 % quantiles; see [`winsorised`].
    pub winsorised: bool,
}

impl Default for CurvePlot {
    fn default() -> Self {
        Self {
            losses: Losses::Judged,
            smoothing: Smoothing::exponential(0.8).ok(),
            logarithmic_rate: true,
            logarithmic_loss: false,
            winsorised: false,
        }
    }
}

impl LossCurve {
    /// Draws the curve as SVG with the given options: the losses and, darker, the smoothed losses. The suggestion of each rule
    /// is marked on the smoothed line. If training and validation losses are both drawn, it is marked on the line of the
    /// validation losses.
    ///
    /// Large losses are not cut off, so a divergence may flatten the rest of the curve. [`CurvePlot::logarithmic_loss`] and
    /// [`CurvePlot::winsorised`] help against that, and [`to_svg`](Self::to_svg) does cut them off.
    ///
    /// ```
    /// use cyclic_optim::range_test::{CurvePlot, RangeTest};
    ///
    /// let mut loss = 1.0;
    /// let curve = RangeTest::logarithmic(1e-3, 1.0, 60)?.run(|lr| {
    ///     loss *= if lr > 0.3 { 3.0 } else { 1.0 - lr.min(0.2) };
    ///     Some(loss)
    /// })?;
    /// let svg = curve.to_svg_with(&CurvePlot { logarithmic_loss: true, ..CurvePlot::default() })?;
    /// assert!(svg.contains("<svg") && svg.contains("smoothed"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`PlotError::Nothing`] if there is no point to draw, for instance for [`Losses::Validation`] without a
    /// validation loss.
    pub fn to_svg_with(&self, plot: &CurvePlot) -> Result<String, PlotError> {
        let (training, validation) = (self.only(|point| Some(point.loss)), self.only(|point| point.validation));
        let shown = match plot.losses {
            Losses::Judged => vec![("loss", self.only(|point| Some(point.judged())))],
            Losses::Training => vec![("training loss", training)],
            Losses::Validation => vec![("validation loss", validation)],
            Losses::Both => vec![("training loss", training), ("validation loss", validation)],
        };
        let mut chart = Chart { y: "loss", logarithmic: plot.logarithmic_loss, ..Chart::default() };
        for ((name, curve), (&color, pale)) in shown.into_iter().zip(COLORS.iter().zip(PALES)) {
            let Some(smoothing) = &plot.smoothing else {
                chart.lines.push(Line::solid(name, plot.points(&curve), color, 2));
                chart.marks = plot.marks(&curve);
                continue;
            };
            let smoothed = curve.smoothed(smoothing);
            let label = |text: &str| if name == "loss" { text.into() } else { format!("{name}, {text}") };
            let raw = if name == "loss" { name.into() } else { label("each step") };
            chart.lines.push(Line::solid(raw, plot.points(&curve), pale, 1));
            chart.lines.push(Line::solid(label("smoothed"), plot.points(&smoothed), color, 2));
            chart.marks = plot.marks(&smoothed);
        }
        // The pale lines are drawn first, so that the others lie on top.
        chart.lines.sort_by_key(|line| line.width);
        let rates = XAxis { logarithmic: plot.logarithmic_rate, ..XAxis::from("learning rate") };
        draw("Learning-rate range test", rates, vec![chart])
    }

    /// The curve of one kind of loss.
    fn only(&self, loss: impl Fn(&LossPoint) -> Option<f64>) -> Self {
        let points = self.points().iter();
        let points = points.filter_map(|point| Some(LossPoint { loss: loss(point)?, validation: None, ..*point }));
        Self::new(points.collect(), self.stop_reason())
    }
}

impl CurvePlot {
    /// Rates and losses of a curve of one kind of loss.
    fn points(&self, curve: &LossCurve) -> Points {
        let losses = curve.losses();
        let losses = if self.winsorised { winsorised(&losses) } else { losses };
        let points = curve.points().iter().map(|point| point.lr).zip(losses);
        points.filter(|(_, loss)| loss.is_finite()).collect()
    }

    /// The suggestions for a line, on it.
    fn marks(&self, curve: &LossCurve) -> Vec<Mark> {
        let bounds = if self.winsorised { winsorising_bounds(&curve.losses()) } else { None };
        let suggested = Suggestion::ALL.iter().filter_map(|rule| Some((rule, curve.suggest(*rule).ok()?)));
        let marks = suggested.zip(COLORS[2..].iter().cycle()).map(|((rule, suggested), &color)| {
            let (lr, loss) = place(curve, suggested);
            let loss = bounds.map_or(loss, |(low, high)| loss.clamp(low, high));
            Mark { label: format!("{rule}: {lr:.2e}"), at: (lr, loss), color, listed: true }
        });
        marks.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::read;
    use crate::range_test::StopReason;

    const BLUE: &str = "#0072B2";
    const ORANGE: &str = "#D55E00";

    fn plain() -> CurvePlot {
        CurvePlot { smoothing: None, ..CurvePlot::default() }
    }

    /// 41 rates from 1e-4 to 1. Training: 2 - n / 40, and one loss of 1000. Validation: 3 - n / 40 at every second rate.
    fn curve() -> LossCurve {
        let point = |n: u32| {
            let x = f64::from(n) / 40.0;
            let loss = if n == 20 { 1000.0 } else { 2.0 - x };
            LossPoint { lr: 10_f64.powf(4.0 * x - 4.0), loss, validation: (n % 2 == 0).then_some(3.0 - x) }
        };
        LossCurve::new((0..=40).map(point).collect(), StopReason::EndOfRange)
    }

    #[test]
    fn training_validation_or_both() {
        let counts = |losses| {
            let svg = curve().to_svg_with(&CurvePlot { losses, ..plain() }).unwrap();
            [BLUE, ORANGE].map(|color| read::lines(&svg, color).first().map_or(0, Vec::len))
        };
        assert_eq!(counts(Losses::Judged), [41, 0]);
        assert_eq!(counts(Losses::Training), [41, 0]);
        assert_eq!(counts(Losses::Validation), [21, 0]);
        assert_eq!(counts(Losses::Both), [41, 21]);
        let svg = curve().to_svg_with(&CurvePlot { losses: Losses::Both, ..CurvePlot::default() }).unwrap();
        for label in ["training loss, each step", "training loss, smoothed", "validation loss, smoothed"] {
            assert!(read::texts(&svg).iter().any(|(_, text)| *text == label), "{label}");
        }
        let trained = curve().only(|point| Some(point.loss));
        let nothing = trained.to_svg_with(&CurvePlot { losses: Losses::Validation, ..plain() });
        assert_eq!(nothing, Err(PlotError::Nothing));
    }

    #[test]
    fn the_axes_are_linear_or_logarithmic() {
        let x_labels = |logarithmic_rate| {
            let svg = curve().to_svg_with(&CurvePlot { logarithmic_rate, ..plain() }).unwrap();
            read::x_labels(&svg).into_iter().map(|(_, label)| label.to_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(x_labels(true), "1e-4 0.001 0.01 0.1 1");
        assert_eq!(x_labels(false), "0 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9 1");
        // The share of the height that lies between the lowest loss, 1, and the first, 2: the spike is at 1000.
        let share = |logarithmic_loss| {
            let plot = CurvePlot { logarithmic_loss, losses: Losses::Training, ..plain() };
            let line = &read::lines(&curve().to_svg_with(&plot).unwrap(), BLUE)[0];
            (line[40].1 - line[0].1) / (line[40].1 - line[20].1)
        };
        assert!((share(true) - 2_f64.log10() / 3.0).abs() < 2e-3, "{}", share(true));
        assert!((share(false) - 1.0 / 999.0).abs() < 2e-3, "{}", share(false));
    }

    #[test]
    fn percentiles_clip_a_spike() {
        let highest = |winsorised| {
            let plot = CurvePlot { winsorised, losses: Losses::Training, ..plain() };
            let svg = curve().to_svg_with(&plot).unwrap();
            let labels = read::texts(&svg).into_iter().filter(|(tag, _)| read::attribute(tag, "text-anchor") == "end");
            labels.filter_map(|(_, text)| text.parse::<f64>().ok()).fold(0.0, f64::max)
        };
        assert_eq!((highest(false), highest(true)), (1000.0, 2.0));
        // A mark lies on the clipped line.
        let plot = CurvePlot { winsorised: true, losses: Losses::Training, ..plain() };
        let svg = curve().to_svg_with(&plot).unwrap();
        let top = read::lines(&svg, BLUE)[0].iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
        let dots = read::tags(&svg, "circle");
        assert!(!dots.is_empty() && dots.iter().all(|dot| read::number(dot, "cy") >= top), "{dots:?}");
    }

    #[test]
    fn the_smoothing_is_the_one_asked_for() {
        // A weight of 0.9 from the first loss on, as nupam/keras-callbacks smooths.
        let smoothing = Smoothing::exponential_from_first(0.9).unwrap();
        let plot = CurvePlot { smoothing: Some(smoothing), losses: Losses::Validation, ..CurvePlot::default() };
        let svg = curve().to_svg_with(&plot).unwrap();
        let (raw, smooth) = (&read::lines(&svg, "#BECDDC")[0], &read::lines(&svg, BLUE)[0]);
        let expected = smoothing.apply(&curve().only(|point| point.validation).losses());
        let unit = (raw[20].1 - raw[0].1) / (3.0 - 2.0);
        for (point, expected) in smooth.iter().zip(expected) {
            assert!((point.1 - (raw[0].1 + (3.0 - expected) * unit)).abs() <= 2.0, "{point:?}, {expected}");
        }
    }

    #[test]
    fn a_loss_that_is_not_finite_is_not_drawn() {
        let mut points = curve().points().to_vec();
        points[40].loss = f64::NAN;
        points[39].loss = f64::INFINITY;
        let broken = LossCurve::new(points, StopReason::NotFinite);
        for winsorised in [false, true] {
            let plot = CurvePlot { winsorised, losses: Losses::Training, ..CurvePlot::default() };
            let svg = broken.to_svg_with(&plot).unwrap();
            assert!(!svg.contains("NaN") && read::lines(&svg, BLUE)[0].len() == 39);
        }
    }
}
