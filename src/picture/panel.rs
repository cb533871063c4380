//! A chart at its place in a picture.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::Ranged;
use plotters::prelude::{
    BLACK, ChartBuilder, Circle, Color, DrawingArea, LineSeries, RGBColor, Rectangle, SVGBackend, ShapeStyle,
    TRANSPARENT,
};

use super::axis::Axis;
use super::legend::{Frame, Legend};
use super::{Chart, Dashes, Drawn, Line, PIXEL, PlotError, Points, SHADE, WIDTH, bounds, font, pixels, points};

/// Where the plotting areas begin and end, in pixels.
const LEFT: i32 = 88;
const RIGHT: i32 = WIDTH - 24;
/// The height of the numbers of an x axis, of these and its name, and of the space between two charts.
const NUMBERS: i32 = 24;
const NUMBERS_AND_NAME: i32 = 44;
const SPACE: i32 = 12;

/// A chart at its place.
pub(super) struct Panel<'a> {
    chart: &'a Chart<'a>,
    y: Axis,
    frame: Frame,
    x_name: &'a str,
    /// The height of the numbers of the x axis, and of its name.
    numbers: i32,
    /// The lines, each in as many parts as lie below the upper edge, and their styles.
    lines: Vec<Vec<Points>>,
    styles: Vec<ShapeStyle>,
    /// The dots. What lies higher is drawn at the upper edge.
    dots: Vec<((f64, f64), RGBColor)>,
    legend: Option<Legend>,
}

impl<'a> Panel<'a> {
    /// Lays a chart out. `y` is where its plotting area lies, and `ticks` about how many ticks its y axis has. The x axis of an
    /// upper chart has no name.
    pub(super) fn new(
        chart: &'a Chart<'a>,
        y: Range<i32>,
        ticks: u32,
        (x, x_name): (&Axis, &'a str),
        dashes: &mut Dashes,
    ) -> Drawn<Self> {
        let frame = Frame { x: LEFT * PIXEL..RIGHT * PIXEL, y };
        let (low, high) = bounds(chart.places().map(|point| point.1)).ok_or(PlotError::Nothing)?;
        let y = if chart.logarithmic { Axis::logarithmic(low, high, 7) } else { Axis::around(low, high, ticks) };
        // Lines leave a chart whose top was set; the others fit, but for rounding.
        let (lower, upper) = y.limits();
        let upper = if chart.top.is_some() { upper + 1e-6 * (upper - lower) } else { f64::INFINITY };
        let parts = |line: &Line| points::up_to(&line.points, upper, x.is_logarithmic());
        let lines: Vec<Vec<Points>> = chart.lines.iter().map(parts).collect();
        let dots = chart.marks.iter().map(|mark| ((mark.at.0, mark.at.1.min(upper)), mark.color));
        let dots: Vec<((f64, f64), RGBColor)> = dots.collect();
        let styles: Vec<ShapeStyle> = chart.lines.iter().map(|line| dashes.style(line)).collect();
        let numbers = PIXEL * if x_name.is_empty() { NUMBERS } else { NUMBERS_AND_NAME };
        let legend = {
            let place = |point: &(f64, f64)| {
                let x = x.map(&point.0, (frame.x.start, frame.x.end - 1));
                (x, y.map(&point.1, (frame.y.end - 1, frame.y.start)))
            };
            let drawn = lines.iter().flatten().map(|part| part.iter().map(place).collect::<Vec<_>>());
            let drawn: Vec<Vec<(i32, i32)>> = drawn.chain(dots.iter().map(|(at, _)| vec![place(at)])).collect();
            Legend::new(chart.entries(&styles), &frame, &drawn, frame.y.end + numbers)
        };
        Ok(Self { chart, y, frame, x_name, numbers, lines, styles, dots, legend })
    }

    /// Where the next chart can begin.
    pub(super) fn bottom(&self) -> i32 {
        self.frame.y.end + self.numbers + self.legend.as_ref().map_or(0, Legend::height_below) + SPACE * PIXEL
    }

    pub(super) fn draw(&self, root: &DrawingArea<SVGBackend, Shift>, x: &Axis) -> Drawn<()> {
        let (frame, (bottom, top)) = (&self.frame, self.y.limits());
        let name = 12 * PIXEL;
        let size = (frame.x.end - name, frame.y.end - frame.y.start + self.numbers);
        let area = root.clone().shrink((name, frame.y.start), size);
        let mut context = ChartBuilder::on(&area)
            .x_label_area_size(self.numbers)
            .y_label_area_size(frame.x.start - name)
            .build_cartesian_2d(x.clone(), self.y.clone())?;
        if let Some((_, range)) = &self.chart.shade {
            context.draw_series([Rectangle::new([(range.start, bottom), (range.end, top)], SHADE.filled())])?;
        }
        let mut mesh = context.configure_mesh();
        // An empty name would leave a blank line, which ends an SVG inside of a documentation page.
        if !self.x_name.is_empty() {
            mesh.x_desc(self.x_name);
        }
        mesh.y_desc(self.chart.y)
            .axis_desc_style(font(16))
            .label_style(font(14))
            .axis_style(BLACK.stroke_width(pixels(1)))
            .bold_line_style(BLACK.mix(0.15).stroke_width(pixels(1)))
            .light_line_style(TRANSPARENT)
            .set_all_tick_mark_size(5 * PIXEL)
            .draw()?;
        for (parts, style) in self.lines.iter().zip(&self.styles) {
            for part in parts {
                // A line with one point would be invisible.
                let single = part.first().filter(|_| part.len() == 1);
                let points = part.iter().chain(single).copied();
                let size = if single.is_some() { pixels(4) } else { 0 };
                context.draw_series(LineSeries::new(points, *style).point_size(size))?;
            }
        }
        for (at, color) in &self.dots {
            // The dot has the colour of its line, so an edge makes it stand out.
            let (dot, edge) = (color.filled(), BLACK.stroke_width(pixels(1)));
            context.draw_series([Circle::new(*at, pixels(6), dot), Circle::new(*at, pixels(6), edge)])?;
        }
        self.legend.iter().try_for_each(|legend| legend.draw(root))
    }
}
