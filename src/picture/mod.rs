//! Charts as SVG, drawn by plotters without system fonts.

mod axis;

use std::error::Error;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::{
    BLACK, ChartBuilder, Circle, Color, DrawingArea, IntoDrawingArea, LineSeries, PathElement, RGBColor, Rectangle,
    SVGBackend, SeriesLabelPosition, TRANSPARENT, WHITE,
};

use axis::Axis;

/// Why a picture could not be drawn.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlotError {
    /// The axes can show no point: its numbers must not exceed 1e300, and on a logarithmic axis they must be at least 1e-300.
    #[error("nothing to draw: no point is finite and, on a logarithmic axis, above 0")]
    Nothing,
    /// The drawing library failed.
    #[error("drawing failed: {0}")]
    Drawing(String),
}

/// Colours that colour-blind readers can distinguish (Okabe and Ito).
pub(crate) const COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
pub(crate) const PALE: RGBColor = RGBColor(190, 205, 220);
const SHADE: RGBColor = RGBColor(240, 245, 225);

pub(crate) type Points = Vec<(f64, f64)>;

/// A line of a chart.
pub(crate) struct Line {
    pub(crate) label: String,
    pub(crate) points: Points,
    pub(crate) color: RGBColor,
    pub(crate) width: u32,
}

impl Line {
    /// Lines in different colours.
    pub(crate) fn colored(lines: impl IntoIterator<Item = (String, Points)>) -> Vec<Self> {
        let lines = lines.into_iter().zip(COLORS.iter().cycle());
        lines.map(|((label, points), &color)| Self { label, points, color, width: 2 }).collect()
    }
}

/// A dot on a line.
pub(crate) struct Mark {
    pub(crate) label: String,
    pub(crate) at: (f64, f64),
    pub(crate) color: RGBColor,
}

/// A chart. The charts of a picture are drawn below each other and share the x axis.
#[derive(Default)]
pub(crate) struct Chart<'a> {
    pub(crate) y: &'a str,
    pub(crate) logarithmic: bool,
    pub(crate) lines: Vec<Line>,
    pub(crate) marks: Vec<Mark>,
    /// A shaded range of x, and its label.
    pub(crate) shade: Option<(String, Range<f64>)>,
}

/// The axis that all charts of a picture share.
#[derive(Clone, Copy)]
pub(crate) struct XAxis<'a> {
    pub(crate) name: &'a str,
    pub(crate) logarithmic: bool,
}

impl<'a> From<&'a str> for XAxis<'a> {
    fn from(name: &'a str) -> Self {
        Self { name, logarithmic: false }
    }
}

/// Draws charts. Points that the axes cannot show and charts without points are omitted.
pub(crate) fn draw<'a>(title: &str, x: impl Into<XAxis<'a>>, mut charts: Vec<Chart>) -> Result<String, PlotError> {
    let x = x.into();
    for chart in &mut charts {
        let logarithmic = chart.logarithmic;
        let drawable = |point: &(f64, f64)| axis::shows(point.0, x.logarithmic) && axis::shows(point.1, logarithmic);
        for line in &mut chart.lines {
            line.points.retain(drawable);
            line.points = thinned(&line.points);
        }
        chart.lines.retain(|line| !line.points.is_empty());
        chart.marks.retain(|mark| drawable(&mark.at));
        chart
            .shade
            .take_if(|(_, range)| !axis::shows(range.start, x.logarithmic) || !axis::shows(range.end, x.logarithmic));
    }
    charts.retain(|chart| !chart.lines.is_empty());
    let across = charts.iter().flat_map(Chart::places).map(|point| point.0);
    let (left, right) = bounds(across).ok_or(PlotError::Nothing)?;
    let across = if x.logarithmic { Axis::logarithmic(left, right, 10) } else { Axis::to_ticks(left, right, 10) };
    draw_on(title, &across, x.name, &charts).map_err(|error| PlotError::Drawing(error.to_string()))
}

impl Chart<'_> {
    /// All points that must lie within the axes.
    fn places(&self) -> impl Iterator<Item = (f64, f64)> {
        let points = self.lines.iter().flat_map(|line| &line.points).copied();
        points.chain(self.marks.iter().map(|mark| mark.at))
    }
}

/// The units in a pixel. The drawing library has integer coordinates, so one unit per pixel would make curves rough.
const PIXEL: i32 = 10;
const WIDTH: i32 = 800;

/// A width of `count` pixels in units.
fn pixels(count: u32) -> u32 {
    count * PIXEL.unsigned_abs()
}

fn font(size: i32) -> (&'static str, i32) {
    ("sans-serif", size * PIXEL)
}

fn draw_on(title: &str, x: &Axis, x_name: &str, charts: &[Chart]) -> Result<String, Box<dyn Error>> {
    let height = if charts.len() > 1 { 640 } else { 480 };
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, (pixels(WIDTH.unsigned_abs()), pixels(height))).into_drawing_area();
    root.fill(&WHITE)?;
    let areas = root.margin(4 * PIXEL, 0, 0, 0).titled(title, font(22))?.split_evenly((charts.len(), 1));
    for (n, (chart, area)) in charts.iter().zip(&areas).enumerate() {
        let name = if n + 1 == charts.len() { x_name } else { "" };
        let (low, high) = bounds(chart.places().map(|point| point.1)).ok_or(PlotError::Nothing)?;
        let y = if chart.logarithmic { Axis::logarithmic(low, high, 7) } else { Axis::with_margin(low, high, 7) };
        draw_chart(area, chart, (x.clone(), name), y)?;
    }
    root.present()?;
    drop(areas);
    drop(root);
    // The size of the picture is in pixels; its view box stays in units.
    let units = format!("width=\"{}\" height=\"{}\"", pixels(WIDTH.unsigned_abs()), pixels(height));
    Ok(svg.replacen(&units, &format!("width=\"{WIDTH}\" height=\"{height}\""), 1))
}

fn draw_chart(
    area: &DrawingArea<SVGBackend, Shift>,
    chart: &Chart,
    (x, x_name): (Axis, &str),
    y: Axis,
) -> Result<(), Box<dyn Error>> {
    let (bottom, top) = y.limits();
    let mut context = ChartBuilder::on(area)
        .margin(12 * PIXEL)
        .margin_right(24 * PIXEL)
        .x_label_area_size((if x_name.is_empty() { 24 } else { 44 }) * PIXEL)
        .y_label_area_size(76 * PIXEL)
        .build_cartesian_2d(x, y)?;
    if let Some((label, range)) = &chart.shade {
        context
            .draw_series([Rectangle::new([(range.start, bottom), (range.end, top)], SHADE.filled())])?
            .label(label)
            .legend(|(x, y)| Rectangle::new([(x, y - 5 * PIXEL), (x + 20 * PIXEL, y + 5 * PIXEL)], SHADE.filled()));
    }
    let mut mesh = context.configure_mesh();
    // An empty name would leave a blank line, which ends an SVG inside of a documentation page.
    if !x_name.is_empty() {
        mesh.x_desc(x_name);
    }
    mesh.y_desc(chart.y)
        .axis_desc_style(font(16))
        .label_style(font(14))
        .axis_style(BLACK.stroke_width(pixels(1)))
        .bold_line_style(BLACK.mix(0.2).stroke_width(pixels(1)))
        .light_line_style(TRANSPARENT)
        .set_all_tick_mark_size(5 * PIXEL)
        .draw()?;
    for line in &chart.lines {
        let style = line.color.stroke_width(pixels(line.width));
        // A line with one point would be invisible.
        let single = line.points.first().filter(|_| line.points.len() == 1);
        let points = line.points.iter().chain(single).copied();
        context
            .draw_series(LineSeries::new(points, style).point_size(if single.is_some() { pixels(4) } else { 0 }))?
            .label(&line.label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20 * PIXEL, y)], style));
    }
    for mark in &chart.marks {
        let dot = mark.color.filled();
        // The dot has the colour of its line, so an edge makes it stand out.
        let edge = BLACK.stroke_width(pixels(1));
        context
            .draw_series([Circle::new(mark.at, pixels(6), dot), Circle::new(mark.at, pixels(6), edge)])?
            .label(&mark.label)
            .legend(move |(x, y)| Circle::new((x + 10 * PIXEL, y), pixels(5), dot));
    }
    if chart.lines.len() + chart.marks.len() > 1 {
        let places: Vec<_> = chart.places().map(|point| context.backend_coord(&point)).collect();
        let corner = emptiest_corner(&places, context.plotting_area().get_pixel_range());
        context
            .configure_series_labels()
            .position(corner)
            .margin(10 * PIXEL)
            .legend_area_size(30 * PIXEL)
            .background_style(WHITE.mix(0.85))
            .label_font(font(14))
            .draw()?;
    }
    Ok(())
}

/// The corner of a chart with the fewest points, where the legend hides least.
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

/// The number of points above which a line is thinned. More points than pixels make the file large but not clearer.
const SHOWN: usize = 2000;

/// The points or, if they are too many, the lowest and the highest of each stretch, so that no spike gets lost.
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
pub(crate) mod read {
    //! Reads pictures, for tests.

    /// The value of an attribute of a tag.
    pub(crate) fn attribute<'a>(tag: &'a str, name: &str) -> &'a str {
        let (_, value) = tag.split_once(&format!(" {name}=\"")).unwrap_or_else(|| panic!("{name} of {tag}"));
        value.split_once('"').unwrap().0
    }

    pub(crate) fn number(tag: &str, name: &str) -> f64 {
        attribute(tag, name).parse().unwrap()
    }

    pub(crate) fn tags<'a>(svg: &'a str, name: &str) -> Vec<&'a str> {
        let start = format!("<{name} ");
        svg.lines().filter(|line| line.starts_with(&start)).collect()
    }

    /// The texts of a picture, each with its tag.
    pub(crate) fn texts(svg: &str) -> Vec<(&str, &str)> {
        let lines: Vec<&str> = svg.lines().collect();
        lines.windows(2).filter(|pair| pair[0].starts_with("<text ")).map(|pair| (pair[0], pair[1])).collect()
    }

    /// The labels of the x axis, each with its position.
    pub(crate) fn x_labels(svg: &str) -> Vec<(f64, &str)> {
        let below = texts(svg).into_iter().filter(|(tag, _)| {
            attribute(tag, "text-anchor") == "middle" && attribute(tag, "dy") == "0.76em" && !tag.contains("rotate")
        });
        // The first such text is the title.
        below.skip(1).map(|(tag, text)| (number(tag, "x"), text)).collect()
    }

    /// The points of a line.
    pub(crate) fn points(polyline: &str) -> Vec<(f64, f64)> {
        let pairs = attribute(polyline, "points").split_whitespace();
        pairs.map(|pair| pair.split_once(',').map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap())).unwrap()).collect()
    }

    /// The lines of a picture in this colour, without the one in the legend.
    pub(crate) fn lines(svg: &str, color: &str) -> Vec<Vec<(f64, f64)>> {
        let tags = tags(svg, "polyline").into_iter().filter(|tag| attribute(tag, "stroke") == color);
        tags.map(points).filter(|points| points.len() > 2).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spike_gets_lost() {
        let mut points: Points = (0..1_000_000).map(|n| (f64::from(n), 0.0)).collect();
        points[777_777].1 = 9.0;
        points[123_456].1 = -9.0;
        let thin = thinned(&points);
        assert!(thin.len() <= SHOWN + 2 && thin.is_sorted_by(|a, b| a.0 < b.0), "{}", thin.len());
        assert_eq!(bounds(thin.iter().map(|point| point.1)), Some((-9.0, 9.0)));
        assert_eq!(thinned(&points[..SHOWN]), points[..SHOWN]);
    }

    #[test]
    fn unusual_lines_are_drawn_or_an_error() {
        let draw_one = |points: &[(f64, f64)], logarithmic| {
            let lines = Line::colored([("one".into(), points.to_vec())]);
            draw("title", "x", vec![Chart { y: "y", logarithmic, lines, ..Chart::default() }])
        };
        assert_eq!(draw_one(&[], false), Err(PlotError::Nothing));
        assert_eq!(draw_one(&[(0.0, 0.0), (1.0, -1.0)], true), Err(PlotError::Nothing));
        for points in [&[(3.0, 0.5)][..], &[(0.0, 0.0), (1.0, 0.0)], &[(0.0, -1e300), (1.0, 1e300), (2.0, f64::MAX)]] {
            assert!(draw_one(points, false).unwrap().contains("<svg"));
        }
        for points in [&[(3.0, 0.5)][..], &[(0.0, 1e-300), (1.0, 1e300)]] {
            assert!(draw_one(points, true).unwrap().contains("<svg"));
        }
    }

    #[test]
    fn curves_are_finer_than_a_pixel() {
        let curve: Points = (0..900).map(|n| (f64::from(n), (f64::from(n) / 300.0).sin())).collect();
        let lines = Line::colored([("one".into(), curve.clone())]);
        let svg = draw("title", "update", vec![Chart { y: "y", lines, ..Chart::default() }]).unwrap();
        let picture = read::tags(&svg, "svg")[0];
        assert_eq!((read::attribute(picture, "width"), read::attribute(picture, "height")), ("800", "480"));
        let view = read::attribute(picture, "viewBox").split(' ').map(|n| n.parse::<f64>().unwrap());
        let unit = 800.0 / view.collect::<Vec<_>>()[2];
        assert_eq!(unit, 0.1);
        // Each point is drawn within half a unit, a twentieth of a pixel, of its exact position.
        let drawn = &read::lines(&svg, "#0072B2")[0];
        let labels = read::x_labels(&svg);
        assert_eq!((labels[0].1, labels[labels.len() - 1].1), ("0", "900"));
        let (left, right) = (labels[0].0, labels[labels.len() - 1].0);
        let axes = read::tags(&svg, "polyline").into_iter().filter(|tag| read::attribute(tag, "stroke") == "#000000");
        let edges = bounds(axes.flat_map(read::points).map(|point| point.0).filter(|x| *x > left - 20.0)).unwrap();
        assert!((edges.1 - right).abs() <= 20.0, "the axis ends at {}, its last tick is at {right}", edges.1);
        let (top, bottom) = bounds(drawn.iter().map(|point| point.1)).unwrap();
        let (low, high) = bounds(curve.iter().map(|point| point.1)).unwrap();
        for (point, value) in drawn.iter().zip(&curve) {
            let x = left + (right - left) * value.0 / 900.0;
            let y = bottom + (top - bottom) * (value.1 - low) / (high - low);
            assert!((point.0 - x).abs() <= 1.0 && (point.1 - y).abs() <= 1.5, "{point:?}: {x}, {y}");
        }
        assert!(svg.len() < 25_000, "{} bytes", svg.len());
    }

    #[test]
    fn a_logarithmic_axis_fits_its_line() {
        // Plotters' own axis would show 1 to 1000, or 0.1 to 10 for a range within one decade.
        for (low, high) in [(1.01, 101.0), (0.9, 1.1), (0.04, 2.1)] {
            let lines = Line::colored([("one".into(), vec![(0.0, low), (1.0, high)])]);
            let chart = Chart { y: "y", logarithmic: true, lines, ..Chart::default() };
            let svg = draw("title", "x", vec![chart]).unwrap();
            let points = read::tags(&svg, "polyline").into_iter().map(read::points);
            let heights = points.flatten().map(|point| point.1);
            let (top, bottom) = bounds(heights).unwrap();
            let drawn = read::tags(&svg, "polyline").into_iter().find(|tag| tag.contains("#0072B2")).unwrap();
            let (first, last) = (read::points(drawn)[0].1, read::points(drawn)[1].1);
            let decade = (first - last) / (high / low).log10();
            assert!(bottom - top - (first - last) < decade, "{low} to {high}");
        }
    }
}
