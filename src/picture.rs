//! What all pictures share: SVG by plotters, which needs no system fonts to make them.

use std::error::Error;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::{
    ChartBuilder, Color, DrawingArea, IntoDrawingArea, IntoLogRange, LineSeries, PathElement, RGBColor, SVGBackend,
    SeriesLabelPosition, TRANSPARENT, WHITE,
};

/// A picture that cannot be drawn.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlotError {
    /// No point that the axes can show: of at most 1e100, and on a logarithmic axis of at least 1e-100.
    #[error("nothing to draw: no point is finite and, on a logarithmic axis, above 0")]
    Nothing,
    /// The drawing library failed.
    #[error("drawing failed: {0}")]
    Drawing(String),
}

/// Colours that colour-blind readers can tell apart (Okabe and Ito).
pub(crate) const COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
pub(crate) const PALE: RGBColor = RGBColor(190, 205, 220);

pub(crate) type Points = Vec<(f64, f64)>;

/// A line of a picture; only what its axes can show is in its points.
pub(crate) struct Line {
    pub(crate) label: String,
    pub(crate) points: Points,
    pub(crate) color: RGBColor,
    pub(crate) width: u32,
}

impl Line {
    /// Lines of their own colours, in the order given.
    pub(crate) fn colored(lines: impl IntoIterator<Item = (String, Points)>) -> Vec<Self> {
        let lines = lines.into_iter().zip(COLORS.iter().cycle());
        lines.map(|((label, points), &color)| Self { label, points, color, width: 2 }).collect()
    }
}

/// One of the charts of a picture, which stand one above the other over the same axis.
pub(crate) struct Chart<'a> {
    pub(crate) y: &'a str,
    pub(crate) logarithmic: bool,
    pub(crate) lines: Vec<Line>,
}

/// A number as an axis shows it.
pub(crate) fn tick(value: f64) -> String {
    if value == 0.0 || (1e-3..1e5).contains(&value.abs()) {
        let digits = format!("{value:.6}");
        digits.trim_end_matches('0').trim_end_matches('.').into()
    } else {
        let digits = format!("{value:.3e}");
        let (mantissa, exponent) = digits.split_once('e').unwrap_or((&digits, "0"));
        format!("{}e{exponent}", mantissa.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// Draws charts that have points; one that has none is left out.
pub(crate) fn draw(title: &str, x: &str, mut charts: Vec<Chart>) -> Result<String, PlotError> {
    for chart in &mut charts {
        for line in &mut chart.lines {
            // Beyond that the drawing library looks for ticks for ever.
            let lowest = if chart.logarithmic { 1e-100 } else { -1e100 };
            line.points.retain(|point| (lowest..=1e100).contains(&point.1));
            line.points = thinned(&line.points);
        }
        chart.lines.retain(|line| !line.points.is_empty());
    }
    charts.retain(|chart| !chart.lines.is_empty());
    let points = charts.iter().flat_map(|chart| &chart.lines).flat_map(|line| &line.points);
    let (left, right) = bounds(points.map(|point| point.0)).ok_or(PlotError::Nothing)?;
    let right = if left < right { right } else { left + 1.0 };
    let mut svg = String::new();
    draw_on(&mut svg, title, &(left..right), x, &charts).map_err(|error| PlotError::Drawing(error.to_string()))?;
    Ok(svg)
}

fn draw_on(
    svg: &mut String,
    title: &str,
    x: &Range<f64>,
    x_name: &str,
    charts: &[Chart],
) -> Result<(), Box<dyn Error>> {
    let height = if charts.len() > 1 { 640 } else { 480 };
    let root = SVGBackend::with_string(svg, (800, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let areas = root.titled(title, ("sans-serif", 22))?.split_evenly((charts.len(), 1));
    for (n, (chart, area)) in charts.iter().zip(&areas).enumerate() {
        let x = (x.clone(), if n + 1 == charts.len() { x_name } else { "" });
        let lines = chart.lines.iter().flat_map(|line| &line.points).map(|point| point.1);
        // A single point, or an even line, still gets a picture around it.
        let (low, high) = bounds(lines).ok_or(PlotError::Nothing)?;
        if chart.logarithmic {
            // A short range may have no power of ten in it, and so no number on its axis.
            let (low, high) = if high > 100.0 * low {
                (low / 1.1, high * 1.1)
            } else {
                (10_f64.powf(low.log10().floor()), 10_f64.powf((high * 1.001).log10().ceil()))
            };
            draw_chart(area, chart, x, (low..high).log_scale())?;
        } else {
            let margin = if low < high { (high - low) / 20.0 } else { low.abs().max(1.0) / 2.0 };
            draw_chart(area, chart, x, low - margin..high + margin)?;
        }
    }
    root.present()?;
    Ok(())
}

fn draw_chart<Y>(
    area: &DrawingArea<SVGBackend, Shift>,
    chart: &Chart,
    (x, x_name): (Range<f64>, &str),
    y: Y,
) -> Result<(), Box<dyn Error>>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let mut context = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(if x_name.is_empty() { 24 } else { 44 })
        .y_label_area_size(76)
        .build_cartesian_2d(x, y)?;
    context
        .configure_mesh()
        .x_desc(x_name)
        .y_desc(chart.y)
        .axis_desc_style(("sans-serif", 16))
        .label_style(("sans-serif", 14))
        .x_labels(10)
        .y_labels(7)
        .x_label_formatter(&|value| tick(*value))
        .y_label_formatter(&|value| tick(*value))
        .light_line_style(TRANSPARENT)
        .draw()?;
    for line in &chart.lines {
        let style = line.color.stroke_width(line.width);
        // A line of one point would not be seen.
        let single = line.points.first().filter(|_| line.points.len() == 1);
        let points = line.points.iter().chain(single).copied();
        context
            .draw_series(LineSeries::new(points, style).point_size(if single.is_some() { 4 } else { 0 }))?
            .label(&line.label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
    }
    if chart.lines.len() > 1 {
        let points = chart.lines.iter().flat_map(|line| &line.points);
        let places: Vec<_> = points.map(|point| context.backend_coord(point)).collect();
        let corner = emptiest_corner(&places, area.get_pixel_range());
        context
            .configure_series_labels()
            .position(corner)
            .background_style(WHITE.mix(0.85))
            .label_font(("sans-serif", 14))
            .draw()?;
    }
    Ok(())
}

/// The corner of a chart in which the fewest points lie: there the legend hides least.
fn emptiest_corner(points: &[(i32, i32)], (x, y): (Range<i32>, Range<i32>)) -> SeriesLabelPosition {
    let (left, right) = (x.start + (x.end - x.start) * 2 / 5, x.start + (x.end - x.start) * 3 / 4);
    let (upper, lower) = (y.start + (y.end - y.start) * 2 / 5, y.start + (y.end - y.start) * 3 / 5);
    let count = |at_right: bool, at_bottom: bool| {
        let within_x = move |x: i32| if at_right { x > right } else { x < left };
        let within_y = move |y: i32| if at_bottom { y > lower } else { y < upper };
        points.iter().filter(|(x, y)| within_x(*x) && within_y(*y)).count()
    };
    let corners = [
        (count(true, false), SeriesLabelPosition::UpperRight),
        (count(true, true), SeriesLabelPosition::LowerRight),
        (count(false, false), SeriesLabelPosition::UpperLeft),
        (count(false, true), SeriesLabelPosition::LowerLeft),
    ];
    let emptiest = corners.into_iter().min_by_key(|corner| corner.0);
    emptiest.map_or(SeriesLabelPosition::UpperRight, |(_, corner)| corner)
}

fn bounds(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    (low <= high).then_some((low, high))
}

/// More points than a picture is wide make it large and not clearer.
const SHOWN: usize = 2000;

/// The points, or of each stretch of very many the lowest and the highest, so that no spike goes missing.
fn thinned(points: &[(f64, f64)]) -> Points {
    if points.len() <= SHOWN {
        return points.into();
    }
    let mut kept = Points::with_capacity(SHOWN + 2);
    for stretch in points.chunks(points.len().div_ceil(SHOWN / 2)) {
        let by_height = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let ends = stretch.iter().min_by(by_height).into_iter().chain(stretch.iter().max_by(by_height));
        let at = kept.len();
        kept.extend(ends.copied());
        kept[at..].sort_by(|a, b| a.0.total_cmp(&b.0));
        kept.dedup();
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_short() {
        for (value, expected) in [
            (0.0, "0"),
            (0.05, "0.05"),
            (-2.5, "-2.5"),
            (900.0, "900"),
            (3e-4, "3e-4"),
            (2.5e7, "2.5e7"),
            (102_000.0, "1.02e5"),
        ] {
            assert_eq!(tick(value), expected);
        }
    }

    #[test]
    fn no_spike_goes_missing() {
        let mut points: Points = (0..1_000_000).map(|n| (f64::from(n), 0.0)).collect();
        points[777_777].1 = 9.0;
        points[123_456].1 = -9.0;
        let thin = thinned(&points);
        assert!(thin.len() <= SHOWN + 2 && thin.is_sorted_by(|a, b| a.0 < b.0), "{}", thin.len());
        assert_eq!(bounds(thin.iter().map(|point| point.1)), Some((-9.0, 9.0)));
        assert_eq!(thinned(&points[..SHOWN]), points[..SHOWN]);
    }

    #[test]
    fn odd_lines_are_drawn_or_refused() {
        let draw_one = |points: &[(f64, f64)], logarithmic| {
            let lines = Line::colored([("one".into(), points.to_vec())]);
            draw("title", "x", vec![Chart { y: "y", logarithmic, lines }])
        };
        assert_eq!(draw_one(&[], false), Err(PlotError::Nothing));
        assert_eq!(draw_one(&[(0.0, 0.0), (1.0, -1.0)], true), Err(PlotError::Nothing));
        for points in [&[(3.0, 0.5)][..], &[(0.0, 0.0), (1.0, 0.0)], &[(0.0, -1e100), (1.0, 1e100), (2.0, f64::MAX)]] {
            assert!(draw_one(points, false).unwrap().contains("<svg"));
        }
        for points in [&[(3.0, 0.5)][..], &[(0.0, 1e-100), (1.0, 1e100)]] {
            assert!(draw_one(points, true).unwrap().contains("<svg"));
        }
    }
}
