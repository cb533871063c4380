//! Draws loss curves as SVG.

use super::{LossCurve, Suggested, Suggestion, WeightDecayGrid};
use crate::picture::{COLORS, Chart, Line, Mark, PALE, PlotError, Points, XAxis, draw};
use crate::smoothing::Smoothing;

impl LossCurve {
    /// Draws the curve as SVG: the losses and, darker, the smoothed losses over a logarithmic axis of rates. Each rule's suggestion
    /// for the smoothed curve is marked on it, and the range by Smith's rule is shaded. Rules without a suggestion are omitted.
    ///
    /// Points without a finite loss or with a rate of 0 are not drawn. Where the loss rises far above the first one, its line leaves
    /// the chart, so that a divergence does not flatten the rest.
    ///
    /// # Errors
    ///
    /// [`PlotError::Nothing`] if there is no point to draw.
    pub fn to_svg(&self, smoothing: &Smoothing) -> Result<String, PlotError> {
        let smoothed = self.smoothed(smoothing);
        let lines =
            vec![Line::solid("loss", points(self), PALE, 1), Line::solid("smoothed", points(&smoothed), COLORS[0], 2)];
        let suggested = Suggestion::ALL.iter().filter_map(|rule| Some((rule, smoothed.suggest(*rule).ok()?)));
        let marks = suggested.zip(COLORS[1..].iter().cycle()).map(|((rule, suggested), &color)| Mark {
            label: format!("{rule}: {:.2e}", suggested.lr),
            at: place(&smoothed, suggested),
            color,
            listed: true,
        });
        let shade = smoothed.smith_range().ok().map(|range| {
            let (low, high) = (range.base_lr.lr, range.max_lr.lr);
            (format!("Smith's range: {low:.2e} to {high:.2e}"), low..high)
        });
        let chart = Chart { y: "loss", lines, marks: marks.collect(), shade, ..Chart::default() };
        draw_cut("Learning-rate range test", chart)
    }
}

impl WeightDecayGrid {
    /// Draws the smoothed curves as SVG, one line for each weight decay, and marks the best pair of a rule.
    ///
    /// # Errors
    ///
    /// [`PlotError::Nothing`] if there is no point to draw.
    pub fn to_svg(&self, smoothing: &Smoothing, suggestion: Suggestion) -> Result<String, PlotError> {
        let smoothed = self.smoothed(smoothing);
        let entries = smoothed.entries();
        let lines = Line::colored(
            entries.iter().map(|entry| (format!("weight decay {}", entry.weight_decay), points(&entry.curve))),
        );
        let best = smoothed.best(suggestion).ok().map(|best| {
            let entry = &entries[best.entry];
            Mark {
                label: format!(
                    "best, {suggestion}: {:.2e} with weight decay {}",
                    best.suggested.lr, entry.weight_decay
                ),
                at: place(&entry.curve, best.suggested),
                color: lines[best.entry].color,
                listed: true,
            }
        });
        let chart = Chart { y: "loss", lines, marks: best.into_iter().collect(), ..Chart::default() };
        draw_cut("Learning-rate range test by weight decay", chart)
    }
}

pub(super) fn points(curve: &LossCurve) -> Points {
    curve.finite().into_iter().map(|(_, lr, loss)| (lr, loss)).collect()
}

/// The position of a suggestion on the curve. Its rate may lie between two points, or below that of the first.
pub(super) fn place(curve: &LossCurve, suggested: Suggested) -> (f64, f64) {
    let points = points(curve);
    let lr = suggested.lr;
    let loss = match points.iter().position(|point| point.0 >= lr) {
        Some(0) => points[0].1,
        Some(right) => {
            let (left, right) = (points[right - 1], points[right]);
            // Linear on the logarithmic axis, as the line is drawn.
            let share = (lr / left.0).ln() / (right.0 / left.0).ln();
            left.1 + (right.1 - left.1) * share
        }
        None => curve.points()[suggested.index].judged(),
    };
    (lr, loss)
}

/// Draws a chart over a logarithmic axis of rates. Its y axis ends a little above the first losses.
pub(super) fn draw_cut(title: &str, mut chart: Chart) -> Result<String, PlotError> {
    let firsts = chart.lines.iter().filter_map(|line| line.points.first()).map(|point| point.1);
    let first = firsts.fold(f64::NEG_INFINITY, f64::max);
    let all = chart.lines.iter().flat_map(|line| &line.points);
    let lowest = all.map(|point| point.1).fold(f64::INFINITY, f64::min);
    chart.top = Some(first + 0.25 * (first - lowest).max(0.0));
    draw(title, XAxis { logarithmic: true, ..XAxis::from("learning rate") }, vec![chart])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::read;
    use crate::range_test::{LossPoint, RangeTest, StopReason};

    fn smoothing() -> Smoothing {
        Smoothing::exponential(0.5).unwrap()
    }

    #[test]
    fn the_picture_is_complete() {
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
        let grid = WeightDecayGrid::run(&[0.0, 1e-3], |_| Ok::<_, ()>(curve.clone())).unwrap();
        let svg = grid.to_svg(&smoothing(), Suggestion::Valley).unwrap();
        for text in ["weight decay 0\n", "weight decay 0.001\n", "best, valley"] {
            assert!(svg.contains(text), "{text} is missing");
        }
    }

    /// Falls from 2 to 0.2 at a rate of 0.1, then rises.
    fn falling(depth: f64) -> LossCurve {
        let test = RangeTest::logarithmic(1e-4, 1.0, 41).unwrap();
        test.run(|lr| Ok::<_, ()>(Some(0.2 + depth * (lr.log10() + 1.0).powi(2) / 5.0))).unwrap()
    }

    #[test]
    fn the_best_dot_belongs_to_its_line() {
        for best in 0..3 {
            let depths = [0, 1, 2].map(|entry| if entry == best { 1.0 } else { 0.8 });
            let mut curves = depths.into_iter().map(falling);
            let grid = WeightDecayGrid::run(&[0.0, 1e-3, 0.01], |_| Ok::<_, ()>(curves.next().unwrap()));
            let grid = grid.unwrap();
            let rule = Suggestion::Steepest;
            let chosen = grid.best(rule).unwrap();
            let svg = grid.to_svg(&Smoothing::trailing_mean(1).unwrap(), rule).unwrap();
            let dots = read::tags(&svg, "circle").into_iter().filter(|tag| read::attribute(tag, "fill") != "none");
            let fills: Vec<&str> = dots.map(|tag| read::attribute(tag, "fill")).collect();
            let color = ["#0072B2", "#D55E00", "#009E73"][chosen.entry];
            assert_eq!(fills, [color; 2], "the dot and its symbol in the legend");
            let texts = read::texts(&svg);
            for decay in ["0", "0.001", "0.01"] {
                let line = format!("weight decay {decay}");
                assert!(texts.iter().any(|(_, text)| *text == line), "{line} is not in the legend");
            }
            let label = format!("with weight decay {}", ["0", "0.001", "0.01"][chosen.entry]);
            assert!(texts.iter().any(|(_, text)| text.starts_with("best, ") && text.ends_with(&label)), "{label}");
        }
    }

    #[test]
    fn every_suggestion_lies_on_the_curve_at_its_rate() {
        let curve = falling(1.0);
        let smoothing = Smoothing::trailing_mean(1).unwrap();
        let svg = curve.to_svg(&smoothing).unwrap();
        let line = &read::lines(&svg, "#0072B2")[0];
        let labels = read::x_labels(&svg);
        let ((left, first), (right, last)) = (labels[0], labels[labels.len() - 1]);
        assert_eq!((first, last), ("1e-4", "1"));
        for (rule, color) in Suggestion::ALL.iter().zip(["#D55E00", "#009E73", "#CC79A7", "#E69F00"]) {
            let lr = curve.suggest(*rule).unwrap().lr;
            let dots = read::tags(&svg, "circle").into_iter().find(|tag| read::attribute(tag, "fill") == color);
            let (x, y) = (read::number(dots.unwrap(), "cx"), read::number(dots.unwrap(), "cy"));
            let expected = left + (right - left) * (lr.log10() + 4.0) / 4.0;
            assert!((x - expected).abs() <= 2.0, "{rule} is drawn at {x}, its rate {lr} is at {expected}");
            let between = line.windows(2).find(|pair| pair[0].0 - 1.0 <= x && x <= pair[1].0).unwrap();
            let share = (x - between[0].0) / (between[1].0 - between[0].0);
            let on_line = between[0].1 + (between[1].1 - between[0].1) * share;
            assert!((y - on_line).abs() <= 3.0, "{rule} is drawn at height {y}, the line is at {on_line}");
        }
        assert_eq!(curve.suggest(Suggestion::MinimumOverTen).unwrap().lr, 0.1 / 10.0);
    }

    #[test]
    fn very_many_decades_are_drawn() {
        let point = |n: i32| LossPoint { lr: 10_f64.powi(n), loss: 2.0 - f64::from(n) / 300.0, validation: None };
        let curve = LossCurve::new((-250..=250).map(point).collect(), StopReason::EndOfRange);
        let svg = curve.to_svg(&smoothing()).unwrap();
        let labels: Vec<&str> = read::x_labels(&svg).into_iter().map(|label| label.1).collect();
        assert!(labels.len() <= 12 && labels[0] == "1e-250" && labels[labels.len() - 1] == "1e250", "{labels:?}");
    }

    #[test]
    fn suggestions_are_those_of_the_smoothed_curve() {
        // An outlier is the minimum of the raw curve.
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
    fn few_and_unusual_points_are_drawn_or_an_error() {
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
