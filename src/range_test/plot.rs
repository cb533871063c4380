//! Loss curves as pictures: SVG, no system fonts needed to make them.

use std::error::Error;
use std::ops::Range;

use plotters::prelude::{
    ChartBuilder, Circle, Color, IntoDrawingArea, IntoLogRange, LineSeries, PathElement, RGBColor, Rectangle,
    SVGBackend, SeriesLabelPosition, TRANSPARENT, WHITE,
};

use super::{LossCurve, Suggested, Suggestion, WeightDecayGrid};
use crate::Smoothing;
use crate::picture::{COLORS, Line, PALE, PlotError, tick};

impl LossCurve {
    /// The curve as an SVG picture: the losses and, darker, the smoothed ones over a logarithmic axis of rates, each suggestion
    /// marked, and the range by Smith's rule shaded. Suggestions are read off the smoothed curve; one that there is none of is
    /// left out.
    ///
    /// Points without a finite loss or with a rate of 0 are not drawn; losses above what the curve began with are cut off at
    /// the upper edge, so that a blow-up does not flatten the rest.
    ///
    /// # Errors
    ///
    /// [`PlotError`].
    pub fn to_svg(&self, smoothing: &Smoothing) -> Result<String, PlotError> {
        let smoothed = self.smoothed(smoothing);
        let mut lines = vec![Line { label: "loss".into(), points: drawable(self), color: PALE, width: 1 }];
        lines.push(Line { label: "smoothed".into(), points: drawable(&smoothed), color: COLORS[0], width: 2 });
        let marks: Vec<Mark> = Suggestion::ALL
            .iter()
            .filter_map(|rule| Some(Mark::new(&smoothed, &rule.to_string(), smoothed.suggest(*rule).ok()?)))
            .collect();
        let range = smoothed.smith_range().ok().map(|range| (range.base_lr.lr, range.max_lr.lr));
        draw("Learning-rate range test", &lines, &marks, range)
    }
}

impl WeightDecayGrid {
    /// The smoothed curves as an SVG picture, one line for each weight decay, with the best pair of a rule marked.
    ///
    /// # Errors
    ///
    /// [`PlotError`].
    pub fn to_svg(&self, smoothing: &Smoothing, suggestion: Suggestion) -> Result<String, PlotError> {
        let smoothed = self.smoothed(smoothing);
        let lines = smoothed
            .entries()
            .iter()
            .map(|entry| (format!("weight decay {}", entry.weight_decay), drawable(&entry.curve)));
        let best = smoothed.best(suggestion).ok().map(|best| {
            Mark::new(&smoothed.entries()[best.entry].curve, &format!("best, {suggestion}"), best.suggested)
        });
        let marks: Vec<Mark> = best.into_iter().collect();
        draw("Learning-rate range test by weight decay", &Line::colored(lines), &marks, None)
    }
}

const SHADE: RGBColor = RGBColor(240, 245, 225);

struct Mark {
    label: String,
    at: (f64, f64),
}

impl Mark {
    /// On the point that a suggestion comes from.
    fn new(curve: &LossCurve, rule: &str, suggested: Suggested) -> Self {
        let point = curve.points()[suggested.index];
        Self { label: format!("{rule}: {:.2e}", suggested.lr), at: (point.lr, point.judged()) }
    }
}

fn drawable(curve: &LossCurve) -> Vec<(f64, f64)> {
    let points = curve.finite().into_iter().map(|(_, lr, loss)| (lr, loss));
    points.filter(|(lr, loss)| *lr >= 1e-100 && lr.max(loss.abs()) <= 1e100).collect()
}

fn draw(title: &str, lines: &[Line], marks: &[Mark], range: Option<(f64, f64)>) -> Result<String, PlotError> {
    let all = || lines.iter().flat_map(|line| &line.points).chain(marks.iter().map(|mark| &mark.at));
    let first =
        lines.iter().filter_map(|line| line.points.first()).map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    let lowest = all().map(|point| point.1).fold(f64::INFINITY, f64::min);
    if !first.is_finite() {
        return Err(PlotError::Nothing);
    }
    let (left, right) =
        all().fold((f64::INFINITY, 0.0_f64), |(left, right), point| (left.min(point.0), right.max(point.0)));
    // A single point, or an even curve, still gets a picture around it.
    let (left, right) = if left < right { (left, right) } else { (left / 10.0, right * 10.0) };
    let height = if first > lowest { first - lowest } else { lowest.abs().max(1.0) };
    let losses = (lowest - 0.08 * height)..(first + 0.25 * height);
    let mut svg = String::new();
    draw_on(&mut svg, title, (lines, marks, range), left..right, losses)
        .map_err(|error| PlotError::Drawing(error.to_string()))?;
    Ok(svg)
}

/// What is drawn: lines, marks, and the range of rates that is shaded.
type Content<'a> = (&'a [Line], &'a [Mark], Option<(f64, f64)>);

fn draw_on(
    svg: &mut String,
    title: &str,
    (lines, marks, range): Content,
    rates: Range<f64>,
    losses: Range<f64>,
) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::with_string(svg, (800, 480)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 22))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(rates.log_scale(), losses.clone())?;
    if let Some((low, high)) = range {
        chart
            .draw_series([Rectangle::new([(low, losses.start), (high, losses.end)], SHADE.filled())])?
            .label(format!("Smith's range: {low:.2e} to {high:.2e}"))
            .legend(|(x, y)| Rectangle::new([(x, y - 5), (x + 20, y + 5)], SHADE.filled()));
    }
    chart
        .configure_mesh()
        .x_desc("learning rate")
        .y_desc("loss")
        .y_label_formatter(&|loss| tick(*loss))
        .axis_desc_style(("sans-serif", 16))
        .label_style(("sans-serif", 14))
        .x_label_formatter(&|rate| format!("{rate:e}"))
        .light_line_style(TRANSPARENT)
        .draw()?;
    for line in lines {
        let style = line.color.stroke_width(line.width);
        let points = line.points.iter().map(|&(rate, loss)| (rate, loss.min(losses.end)));
        chart
            .draw_series(LineSeries::new(points, style))?
            .label(&line.label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
    }
    for (mark, &color) in marks.iter().zip(COLORS[1..].iter().cycle()) {
        let at = (mark.at.0, mark.at.1.min(losses.end));
        chart
            .draw_series([Circle::new(at, 6, color.filled())])?
            .label(&mark.label)
            .legend(move |(x, y)| Circle::new((x + 10, y), 5, color.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .background_style(WHITE.mix(0.85))
        .label_font(("sans-serif", 14))
        .draw()?;
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range_test::{LossPoint, RangeTest, StopReason};

    fn smoothing() -> Smoothing {
        Smoothing::exponential(0.5).unwrap()
    }

    #[test]
    fn everything_is_in_the_picture() {
        let mut loss = 2.0;
        let curve = RangeTest::logarithmic(1e-4, 1.0, 60)
            .unwrap()
            .run(|lr| {
                loss *= if lr > 0.3 { 3.0 } else { 1.0 - lr.min(0.2) };
                Ok::<_, ()>(Some(loss))
            })
            .unwrap();
        let svg = curve.to_svg(&smoothing()).unwrap();
        for text in
            ["<svg", "learning rate", "steepest", "valley", "slide", "minimum / 10", "Smith&apos;s range", "smoothed"]
        {
            assert!(svg.contains(text), "{text} is missing");
        }
        let grid = WeightDecayGrid::run(&[0.0, 1e-3], |_| Ok::<_, ()>(curve.clone())).unwrap().unwrap();
        let svg = grid.to_svg(&smoothing(), Suggestion::Valley).unwrap();
        for text in ["weight decay 0\n", "weight decay 0.001", "best, valley"] {
            assert!(svg.contains(text), "{text} is missing");
        }
    }

    #[test]
    fn suggestions_are_read_off_the_smoothed_curve() {
        // One odd point is the minimum of the raw curve.
        let losses = [3.0, 2.0, 0.1, 1.5, 1.0, 0.9, 0.9, 2.0];
        let curve = RangeTest::logarithmic(1.0, 1e7, 8).unwrap();
        let mut batches = losses.into_iter();
        let curve = curve.run(|_| Ok::<_, ()>(batches.next())).unwrap();
        let smoothing = Smoothing::trailing_mean(3).unwrap();
        let raw = curve.suggest(Suggestion::MinimumOverTen).unwrap().lr;
        let smooth = curve.smoothed(&smoothing).suggest(Suggestion::MinimumOverTen).unwrap().lr;
        assert_ne!(raw, smooth);
        assert!(curve.to_svg(&smoothing).unwrap().contains(&format!("minimum / 10: {smooth:.2e}")));
    }

    #[test]
    fn few_and_odd_points_are_drawn_or_refused() {
        let curve = |points: &[(f64, f64)]| {
            let point = |&(lr, loss)| LossPoint { lr, loss, validation: None };
            LossCurve::new(points.iter().map(point).collect(), StopReason::EndOfRange)
        };
        for nothing in [&[][..], &[(0.1, f64::NAN)], &[(0.0, 1.0)]] {
            assert_eq!(curve(nothing).to_svg(&smoothing()), Err(PlotError::Nothing));
        }
        for something in
            [&[(0.1, 1.0)][..], &[(0.1, 0.0), (0.2, 0.0)], &[(0.1, -3.0), (0.2, f64::INFINITY), (0.3, 1e300)]]
        {
            let svg = curve(something).to_svg(&smoothing()).unwrap();
            assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN"), "{something:?}");
        }
    }
}
