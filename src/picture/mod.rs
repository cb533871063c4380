//! Charts as SVG, drawn by plotters without system fonts.
//!
//! All pictures have one style: axes begin and end with a tick, lines of equal standing differ in colour and in their dashes, a
//! legend lies where no line passes, and each picture says in words what it shows.

mod axis;
mod legend;
mod panel;
mod points;
mod text;

use std::error::Error;
use std::ops::Range;

use plotters::prelude::{Color, IntoDrawingArea, RGBColor, SVGBackend, ShapeStyle, Text, TextStyle, WHITE};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use axis::Axis;
use legend::{Entry, Symbol};
use panel::Panel;
#[cfg(feature = "report")]
pub(crate) use points::SHOWN;
pub(crate) use points::with_jumps;
#[cfg(feature = "report")]
pub(crate) use text::number;

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

/// Lengths of dashes and gaps, in units of the picture; the first line is solid. They are not as many as the colours, so 30 lines
/// differ.
const DASHES: [&str; 5] = ["", "80 40", "20 30", "110 30 20 30", "170 50"];

pub(crate) type Points = Vec<(f64, f64)>;

/// A line of a chart.
pub(crate) struct Line {
    pub(crate) label: String,
    pub(crate) points: Points,
    pub(crate) color: RGBColor,
    pub(crate) width: u32,
    /// An index into [`DASHES`].
    dash: usize,
}

impl Line {
    pub(crate) fn solid(label: impl Into<String>, points: Points, color: RGBColor, width: u32) -> Self {
        Self { label: label.into(), points, color, width, dash: 0 }
    }

    /// Lines of equal standing, in different colours and dashes: one that covers another lets it show through.
    pub(crate) fn colored(lines: impl IntoIterator<Item = (String, Points)>) -> Vec<Self> {
        let line = |(n, (label, points))| {
            let (color, dash): (RGBColor, usize) = (COLORS[n % COLORS.len()], n % DASHES.len());
            Self { dash, ..Self::solid(label, points, color, 2) }
        };
        lines.into_iter().enumerate().map(line).collect()
    }
}

/// A dot on a line.
pub(crate) struct Mark {
    pub(crate) label: String,
    pub(crate) at: (f64, f64),
    pub(crate) color: RGBColor,
    /// Whether the legend lists it. The description always does.
    pub(crate) listed: bool,
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
    /// The y axis need not go further up: lines leave the chart there.
    pub(crate) top: Option<f64>,
}

/// The axis that all charts of a picture share.
#[derive(Clone, Copy)]
pub(crate) struct XAxis<'a> {
    pub(crate) name: &'a str,
    pub(crate) logarithmic: bool,
    /// Whether only whole numbers have a meaning.
    pub(crate) whole: bool,
}

impl<'a> From<&'a str> for XAxis<'a> {
    fn from(name: &'a str) -> Self {
        Self { name, logarithmic: false, whole: false }
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
    let across = match x {
        XAxis { logarithmic: true, .. } => Axis::logarithmic(left, right, 10),
        XAxis { whole: true, .. } => Axis::to_whole_ticks(left, right, 10),
        XAxis { .. } => Axis::to_ticks(left, right, 10),
    };
    let words = Words { title, description: text::description(x.name, &charts) };
    for line in charts.iter_mut().flat_map(|chart| &mut chart.lines) {
        line.points = points::thinned(&line.points);
    }
    draw_on(&words, &across, x.name, &charts).map_err(|error| PlotError::Drawing(error.to_string()))
}

impl Chart<'_> {
    /// All points, where the chart can show them.
    fn places(&self) -> impl Iterator<Item = (f64, f64)> {
        let points = self.lines.iter().flat_map(|line| &line.points).copied();
        let top = self.top.unwrap_or(f64::INFINITY);
        points.chain(self.marks.iter().map(|mark| mark.at)).map(move |point| (point.0, point.1.min(top)))
    }

    /// What the symbols mean; `styles` are those of the lines.
    fn entries(&self, styles: &[ShapeStyle]) -> Vec<Entry> {
        let shade = self.shade.iter().map(|(label, _)| (label, Symbol::Area(SHADE)));
        let lines = self.lines.iter().zip(styles).map(|(line, style)| (&line.label, Symbol::Line(*style)));
        let marks = self.marks.iter().filter(|mark| mark.listed).map(|mark| (&mark.label, Symbol::Dot(mark.color)));
        shade.chain(lines).chain(marks).map(|(label, symbol)| Entry { label: label.clone(), symbol }).collect()
    }
}

/// What a picture says to those who do not see it.
struct Words<'a> {
    title: &'a str,
    description: String,
}

type Drawn<T> = Result<T, Box<dyn Error>>;

/// The units in a pixel. The drawing library has integer coordinates, so one unit per pixel would make curves rough.
const PIXEL: i32 = 10;
const WIDTH: i32 = 800;
/// The height of the title, in pixels.
const TITLE: i32 = 44;

/// A width of `count` pixels in units.
fn pixels(count: u32) -> u32 {
    count * PIXEL.unsigned_abs()
}

fn font(size: i32) -> (&'static str, i32) {
    ("sans-serif", size * PIXEL)
}

/// Draws the charts below each other.
fn draw_on(words: &Words, x: &Axis, x_name: &str, charts: &[Chart]) -> Drawn<String> {
    // The height of each plotting area, and about how many ticks it has.
    let (height, ticks) = match charts.len() {
        1 => (380, 6),
        2 => (252, 5),
        _ => (180, 4),
    };
    let (mut dashes, mut panels) = (Dashes::default(), Vec::new());
    let mut top = TITLE * PIXEL;
    for (n, chart) in charts.iter().enumerate() {
        let name = if n + 1 == charts.len() { x_name } else { "" };
        let panel = Panel::new(chart, top..top + height * PIXEL, ticks, (x, name), &mut dashes)?;
        top = panel.bottom();
        panels.push(panel);
    }
    let (width, height) = (WIDTH.unsigned_abs(), (top / PIXEL).unsigned_abs());
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, (pixels(width), pixels(height))).into_drawing_area();
    root.fill(&WHITE)?;
    let title = TextStyle::from(font(22)).pos(Pos::new(HPos::Center, VPos::Top));
    root.draw(&Text::new(text::shortened(words.title, 72), (WIDTH / 2 * PIXEL, 10 * PIXEL), title))?;
    for panel in &panels {
        panel.draw(&root, x)?;
    }
    root.present()?;
    drop(root);
    Ok(finished(&dashes.put_into(svg), (width, height), words))
}

/// The picture with what the drawing library does not write: its size in pixels, while its view box stays in units; smooth
/// corners of lines; a title and a description for those who do not see it. What XML must not contain becomes spaces.
fn finished(svg: &str, (width, height): (u32, u32), words: &Words) -> String {
    let (opening, rest) = svg.split_once('\n').unwrap_or((svg, ""));
    let units = format!("width=\"{}\" height=\"{}\"", pixels(width), pixels(height));
    let attributes = format!("width=\"{width}\" height=\"{height}\" role=\"img\" stroke-linejoin=\"round\"");
    let opening = opening.replacen(&units, &attributes, 1);
    let (title, description) = (text::escaped(words.title), text::escaped(&words.description));
    let rest = rest.replace(|letter| !text::is_in_xml(letter), " ");
    format!("{opening}\n<title>{title}</title>\n<desc>{description}</desc>\n{rest}")
}

/// The lines that are not solid. The drawing library writes no dashes, so such a line is drawn in a colour that stands for its own
/// colour and dashes.
#[derive(Default)]
struct Dashes(Vec<(RGBColor, &'static str)>);

impl Dashes {
    fn style(&mut self, line: &Line) -> ShapeStyle {
        let color = match u8::try_from(self.0.len()) {
            Ok(n) if line.dash > 0 => {
                self.0.push((line.color, DASHES[line.dash]));
                RGBColor(1, 2, n)
            }
            _ => line.color,
        };
        color.stroke_width(pixels(line.width))
    }

    fn put_into(&self, svg: String) -> String {
        let stroke = |RGBColor(red, green, blue)| format!("stroke=\"#{red:02X}{green:02X}{blue:02X}\"");
        self.0.iter().zip(0..=u8::MAX).fold(svg, |svg, ((color, dashes), n)| {
            svg.replace(&stroke(RGBColor(1, 2, n)), &format!("{} stroke-dasharray=\"{dashes}\"", stroke(*color)))
        })
    }
}

fn bounds(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    (low <= high).then_some((low, high))
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
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::{Strategy, any, proptest};

    use super::*;

    /// The plotting area of a picture with one chart.
    const FRAME: Area = Area { left: 880.0, top: 440.0, right: 7759.0, bottom: 4239.0 };

    #[derive(Debug, Clone, Copy)]
    struct Area {
        left: f64,
        top: f64,
        right: f64,
        bottom: f64,
    }

    impl Area {
        /// Whether a line between two points, or a dot, passes the area: what is left of it after cutting at all four edges.
        fn is_passed_by(&self, a: (f64, f64), b: (f64, f64)) -> bool {
            let (mut from, mut to) = (0.0_f64, 1.0_f64);
            for (start, step, low, high) in
                [(a.0, b.0 - a.0, self.left, self.right), (a.1, b.1 - a.1, self.top, self.bottom)]
            {
                if step == 0.0 {
                    if !(low..=high).contains(&start) {
                        return false;
                    }
                } else {
                    let (enters, leaves) = ((low - start) / step, (high - start) / step);
                    from = from.max(enters.min(leaves));
                    to = to.min(enters.max(leaves));
                }
            }
            from <= to
        }
    }

    /// The area of the legend within the chart, if it lies there.
    fn legend(svg: &str) -> Option<Area> {
        let tag = read::tags(svg, "rect").into_iter().find(|tag| read::attribute(tag, "opacity") == "0.85")?;
        let [left, top, width, height] = ["x", "y", "width", "height"].map(|name| read::number(tag, name));
        Some(Area { left, top, right: left + width, bottom: top + height })
    }

    /// The legend hides no line and no dot; or it lies below the chart, within the picture. Returns whether it lies inside.
    fn assert_legend_hides_nothing(svg: &str) -> bool {
        let Some(legend) = legend(svg) else {
            let picture = read::tags(svg, "svg")[0];
            let size = read::attribute(picture, "viewBox").rsplit(' ').next().unwrap().parse::<f64>().unwrap();
            for (tag, _) in read::texts(svg).iter().filter(|(tag, _)| read::attribute(tag, "text-anchor") == "start") {
                let y = read::number(tag, "y");
                assert!(FRAME.bottom + 440.0 < y && y < size - 100.0, "{tag} of a picture {size} high");
            }
            return false;
        };
        assert!(FRAME.left < legend.left && legend.right < FRAME.right, "{legend:?}");
        assert!(FRAME.top < legend.top && legend.bottom < FRAME.bottom, "{legend:?}");
        for color in ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"] {
            for line in read::lines(svg, color) {
                for pair in line.windows(2) {
                    assert!(!legend.is_passed_by(pair[0], pair[1]), "{pair:?} passes {legend:?}");
                }
            }
        }
        for dot in read::tags(svg, "circle").into_iter().filter(|tag| read::attribute(tag, "stroke") == "#000000") {
            let (x, y) = (read::number(dot, "cx"), read::number(dot, "cy"));
            let beside = x + 60.0 < legend.left || x - 60.0 > legend.right;
            assert!(beside || y + 60.0 < legend.top || y - 60.0 > legend.bottom, "{dot} in {legend:?}");
        }
        true
    }

    /// A line of 3 to 60 points: smooth or noise, over a part of the x axis or all of it.
    fn a_line() -> impl Strategy<Value = Points> {
        (3..60_u32, 0.0..900.0, 1.0..900.0, -2.0..2.0, 0.0..3.0, 0.0..1.0, any::<u64>()).prop_map(
            |(count, start, length, low, height, noise, mut seed)| {
                let place = |n: u32| f64::from(n) / f64::from(count - 1);
                let mut random = || {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    f64::from(u32::try_from(seed >> 32).unwrap()) / f64::from(u32::MAX)
                };
                let y = |n| low + height * ((1.0 - noise) * (-4.0 * place(n)).exp() + noise * random());
                (0..count).map(|n| start + length * place(n)).zip((0..count).map(y).collect::<Vec<_>>()).collect()
            },
        )
    }

    proptest! {
        #[test]
        fn a_legend_hides_no_line(lines in vec(a_line(), 1..12), marks in vec((0.0..900.0, -2.0..2.0), 0..4)) {
            let lines = lines.into_iter().enumerate().map(|(n, points)| (format!("line number {n}"), points));
            let marks = marks.into_iter().map(|at| Mark { label: "dot".into(), at, color: COLORS[0], listed: true });
            let chart = Chart { y: "y", lines: Line::colored(lines), marks: marks.collect(), ..Chart::default() };
            let svg = draw("title", "x", vec![chart]).unwrap();
            assert_legend_hides_nothing(&svg);
            assert_ticks_at_the_ends(&svg);
        }
    }

    /// The first and the last number of each axis stand at its ends.
    fn assert_ticks_at_the_ends(svg: &str) {
        let across: Vec<f64> = read::x_labels(svg).into_iter().map(|label| label.0).collect();
        assert_eq!(bounds(across.iter().copied()), Some((FRAME.left, FRAME.right)), "{across:?}");
        let texts = read::texts(svg).into_iter().filter(|(tag, _)| read::attribute(tag, "text-anchor") == "end");
        let up: Vec<f64> = texts.map(|(tag, _)| read::number(tag, "y")).collect();
        assert_eq!(bounds(up.iter().copied()), Some((FRAME.top, FRAME.bottom)), "{up:?}");
    }

    #[test]
    fn names_with_letters_that_xml_does_not_have() {
        for letter in ['\0', '\u{7}', '\u{1b}', '\u{fffe}', '\u{ffff}'] {
            let name = format!("a{letter}b");
            let lines = Line::colored([(name.clone(), vec![(0.0, 1.0), (1.0, 2.0)]), ("c".into(), vec![(0.0, 2.0)])]);
            let svg = draw(&name, name.as_str(), vec![Chart { y: &name, lines, ..Chart::default() }]).unwrap();
            assert!(!svg.contains(letter), "{letter:?}");
            assert_eq!(read::texts(&svg).iter().filter(|(_, text)| *text == "a b").count(), 4, "{letter:?}");
        }
    }

    #[test]
    fn a_legend_lies_in_a_free_corner_or_below() {
        let picture = |lines: &[fn(f64) -> f64]| {
            let points =
                |line: &fn(f64) -> f64| (0..=300).map(|n| (f64::from(n), line(f64::from(n) / 300.0))).collect();
            let lines = Line::colored(lines.iter().map(|line| ("a line".into(), points(line))));
            draw("title", "x", vec![Chart { y: "y", lines, ..Chart::default() }]).unwrap()
        };
        let corner = |svg: &str| {
            let found = legend(svg).unwrap();
            assert!(assert_legend_hides_nothing(svg));
            (found.left + found.right > FRAME.left + FRAME.right, found.top + found.bottom > FRAME.top + FRAME.bottom)
        };
        assert_eq!(corner(&picture(&[|x| -x, |x| -2.0 * x])), (true, false), "falling lines: at the upper right");
        assert_eq!(corner(&picture(&[|x| x, |x| 2.0 * x])), (true, true), "rising lines: at the lower right");
        // No point lies in the middle, but a line passes it.
        let svg = picture(&[|x| if x < 0.5 { 0.0 } else { 1.0 }, |x| (90.0 * x).sin(), |x| (80.0 * x).cos()]);
        assert!(!assert_legend_hides_nothing(&svg), "waves over all of the chart: below it");
        let size = read::attribute(read::tags(&svg, "svg")[0], "height").parse::<u32>().unwrap();
        assert!(size > 480, "the chart does not get smaller: {size}");
    }

    #[test]
    fn thirty_lines_differ() {
        let lines = Line::colored((0..30).map(|n| (n.to_string(), vec![(0.0, 0.0), (1.0, f64::from(n)), (2.0, 0.0)])));
        let svg = draw("title", "x", vec![Chart { y: "y", lines, ..Chart::default() }]).unwrap();
        let drawn = read::tags(&svg, "polyline").into_iter().filter(|tag| read::points(tag).len() == 3);
        let looks: BTreeSet<(&str, &str)> = drawn
            .map(|tag| {
                let dashes = tag.contains("dasharray").then(|| read::attribute(tag, "stroke-dasharray"));
                (read::attribute(tag, "stroke"), dashes.unwrap_or_default())
            })
            .collect();
        assert_eq!(looks.len(), 30, "{looks:?}");
        assert!(!svg.contains("#0102"), "a colour that stands for dashes is left");
    }

    #[test]
    fn a_picture_says_what_it_shows() {
        let lines = Line::colored([
            ("a & b".into(), vec![(0.0, 2.5), (1.0, 0.25), (2.0, 4.0), (3.0, 0.25)]),
            ("one".into(), vec![(2.0, 1.0)]),
            ("none".into(), vec![(2.0, f64::NAN)]),
        ]);
        let marks = vec![Mark { label: "best: 1".into(), at: (1.0, 1.0), color: COLORS[0], listed: false }];
        let shade = Some(("the middle".into(), 1.0..2.0));
        let chart = Chart { y: "loss", lines, marks, shade, ..Chart::default() };
        let svg = draw("Losses <of> \"me\"", "update", vec![chart]).unwrap();
        let mut lines = svg.lines();
        assert!(lines.next().unwrap().contains(" role=\"img\""));
        assert_eq!(lines.next(), Some("<title>Losses &lt;of&gt; &quot;me&quot;</title>"));
        let said = "loss over update. a &amp; b: 4 points, first 2.5 at 0, lowest 0.25 at 1, highest 4 at 2, last 0.25 at 3. \
            one: 1 at 2. Marked: best: 1. Shaded: the middle.";
        assert_eq!(lines.next(), Some(format!("<desc>{said}</desc>").as_str()));
        assert!(!read::texts(&svg).iter().any(|(_, text)| *text == "best: 1"), "only in the description");
        assert!(svg.lines().all(|line| !line.trim().is_empty()), "a blank line ends an SVG inside of Markdown");
    }

    #[test]
    fn a_line_leaves_the_chart_above_its_top() {
        let points: Points =
            (0..=10).map(|n| (f64::from(n), if n == 5 { 100.0 } else { 1.0 + f64::from(n) / 10.0 })).collect();
        let lines = Line::colored([("spike".into(), points)]);
        let svg = draw("title", "x", vec![Chart { y: "y", lines, top: Some(2.0), ..Chart::default() }]).unwrap();
        assert_ticks_at_the_ends(&svg);
        let parts = read::lines(&svg, "#0072B2");
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [6, 6]);
        assert_eq!((parts[0][5].1, parts[1][0].1), (FRAME.top, FRAME.top));
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
