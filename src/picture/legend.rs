//! Legends, and where they lie: where no line passes, or else below the chart.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::{
    BLACK, Circle, Color, DrawingArea, PathElement, RGBColor, Rectangle, SVGBackend, ShapeStyle, Text, TextStyle, WHITE,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::text::shortened;
use super::{Drawn, PIXEL, font, pixels};

/// The plotting area of a chart, in units of the picture.
pub(super) struct Frame {
    pub(super) x: Range<i32>,
    pub(super) y: Range<i32>,
}

/// What stands before a label.
pub(super) enum Symbol {
    Line(ShapeStyle),
    Dot(RGBColor),
    Area(RGBColor),
}

/// What a symbol of a chart means.
pub(super) struct Entry {
    pub(super) label: String,
    pub(super) symbol: Symbol,
}

/// A legend at its place.
pub(super) struct Legend {
    entries: Vec<Entry>,
    /// The upper left corner.
    corner: (i32, i32),
    columns: usize,
    /// The width of a column.
    width: i32,
    inside: bool,
}

const FONT: i32 = 14;
/// The height of an entry.
const ENTRY: i32 = 18 * PIXEL;
/// The width of a symbol, and of the space behind it.
const SYMBOL: i32 = 26 * PIXEL;
const SPACE: i32 = 8 * PIXEL;
const PADDING: i32 = 8 * PIXEL;
/// A little more than the mean width of a letter. The real one depends on the fonts of the reader.
const LETTER: i32 = 65;
/// Longer labels are shortened: they would leave the picture.
const LONGEST: usize = 90;

impl Legend {
    /// The legend of a chart; `None` for a single entry, which needs none. `lines` are the lines and the dots of the chart,
    /// `below` is the height from which on there is room below it.
    pub(super) fn new(mut entries: Vec<Entry>, frame: &Frame, lines: &[Vec<(i32, i32)>], below: i32) -> Option<Self> {
        if entries.len() < 2 {
            return None;
        }
        for entry in &mut entries {
            entry.label = shortened(&entry.label, LONGEST);
        }
        let longest = entries.iter().map(|entry| entry.label.chars().count()).max().unwrap_or_default();
        let width = SYMBOL + SPACE + length(longest) * LETTER + 2 * PADDING;
        let height = length(entries.len()) * ENTRY + 2 * PADDING;
        if let Some(corner) = free_place((width, height), frame, lines) {
            return Some(Self { entries, corner, columns: 1, width, inside: true });
        }
        let columns = usize::try_from((frame.x.end - frame.x.start) / width).unwrap_or_default();
        // Rows that are equally long.
        let rows = entries.len().div_ceil(columns.max(1));
        let columns = entries.len().div_ceil(rows);
        Some(Self { entries, corner: (frame.x.start - PADDING, below), columns, width, inside: false })
    }

    fn height(&self) -> i32 {
        length(self.entries.len().div_ceil(self.columns)) * ENTRY + 2 * PADDING
    }

    /// The height that it takes below its chart.
    pub(super) fn height_below(&self) -> i32 {
        if self.inside { 0 } else { self.height() }
    }

    pub(super) fn draw(&self, root: &DrawingArea<SVGBackend, Shift>) -> Drawn<()> {
        let (left, top) = self.corner;
        if self.inside {
            let corners = [(left, top), (left + self.width, top + self.height())];
            root.draw(&Rectangle::new(corners, WHITE.mix(0.85).filled()))?;
            let edge = PathElement::new(outline(corners), BLACK.mix(0.15).stroke_width(pixels(1)));
            root.draw(&edge)?;
        }
        let text = TextStyle::from(font(FONT)).pos(Pos::new(HPos::Left, VPos::Center));
        for (n, entry) in self.entries.iter().enumerate() {
            let start = left + PADDING + length(n % self.columns) * self.width;
            let (end, y) = (start + SYMBOL, top + PADDING + length(n / self.columns) * ENTRY + ENTRY / 2);
            match entry.symbol {
                Symbol::Line(style) => root.draw(&PathElement::new([(start, y), (end, y)], style))?,
                Symbol::Dot(color) => root.draw(&Circle::new((start + SYMBOL / 2, y), pixels(5), color.filled()))?,
                Symbol::Area(color) => {
                    root.draw(&Rectangle::new([(start, y - 5 * PIXEL), (end, y + 5 * PIXEL)], color.filled()))?;
                }
            }
            root.draw(&Text::new(entry.label.as_str(), (end + SPACE, y), text.clone()))?;
        }
        Ok(())
    }
}

fn outline([(left, top), (right, bottom)]: [(i32, i32); 2]) -> [(i32, i32); 5] {
    [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
}

fn length(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX / ENTRY / 2)
}

/// The side of the squares that a plotting area is divided into, to see which of them are free.
const CELL: i32 = 6 * PIXEL;
/// A line or a dot takes this much on each side.
const REACH: i32 = 8 * PIXEL;

/// The upper left corner of a rectangle within the frame that no line touches: in a corner of the frame if possible, otherwise
/// at an edge of it.
fn free_place((width, height): (i32, i32), frame: &Frame, lines: &[Vec<(i32, i32)>]) -> Option<(i32, i32)> {
    let mut cells = Cells::new(frame);
    for line in lines {
        match line[..] {
            [dot] => cells.take(dot, dot),
            _ => line.windows(2).for_each(|pair| cells.take(pair[0], pair[1])),
        }
    }
    let (wide, high) = ((width + CELL - 1) / CELL, (height + CELL - 1) / CELL);
    let (right, bottom) = (cells.columns - wide, cells.rows - high);
    if right < 0 || bottom < 0 {
        return None;
    }
    let corners = [(right, 0), (right, bottom), (0, 0), (0, bottom)];
    let across = [0, bottom].into_iter().flat_map(|row| (0..=right).rev().map(move |column| (column, row)));
    let down = [right, 0].into_iter().flat_map(|column| (0..=bottom).map(move |row| (column, row)));
    let free = |&(column, row): &(i32, i32)| {
        (column..column + wide).all(|column| (row..row + high).all(|row| !cells.taken[cells.index(column, row)]))
    };
    let (column, row) = corners.into_iter().chain(across).chain(down).find(free)?;
    Some((cells.left + column * CELL, cells.top + row * CELL))
}

/// The squares of a plotting area, without a narrow strip at its edges, and whether a line comes near them.
struct Cells {
    left: i32,
    top: i32,
    columns: i32,
    rows: i32,
    taken: Vec<bool>,
}

impl Cells {
    fn new(frame: &Frame) -> Self {
        let count = |range: &Range<i32>| ((range.end - range.start) / CELL - 2).max(0);
        let (columns, rows) = (count(&frame.x), count(&frame.y));
        let taken = vec![false; usize::try_from(columns * rows).unwrap_or_default()];
        Self { left: frame.x.start + CELL, top: frame.y.start + CELL, columns, rows, taken }
    }

    fn index(&self, column: i32, row: i32) -> usize {
        usize::try_from(row * self.columns + column).unwrap_or_default()
    }

    /// Takes the squares that come near a line between two points.
    fn take(&mut self, a: (i32, i32), b: (i32, i32)) {
        let (a, b) = if a.0 <= b.0 { (a, b) } else { (b, a) };
        let y_at = |x: i32| {
            let (along, whole) = (i64::from(x - a.0), i64::from(b.0 - a.0).max(1));
            a.1 + i32::try_from(i64::from(b.1 - a.1) * along / whole).unwrap_or_default()
        };
        let within = |place: i32, start: i32, count: i32| (place - start).div_euclid(CELL).clamp(-1, count);
        let first = within(a.0 - REACH, self.left, self.columns).max(0);
        let last = within(b.0 + REACH, self.left, self.columns).min(self.columns - 1);
        for column in first..=last {
            let start = self.left + column * CELL;
            // The part of the line that is near the column. A vertical line is near it as a whole.
            let (from, to) = ((start - REACH).clamp(a.0, b.0), (start + CELL + REACH).clamp(a.0, b.0));
            let (y, other) = if a.0 == b.0 { (a.1, b.1) } else { (y_at(from), y_at(to)) };
            let upper = within(y.min(other) - REACH, self.top, self.rows).max(0);
            let lower = within(y.max(other) + REACH, self.top, self.rows).min(self.rows - 1);
            for row in upper..=lower {
                let index = self.index(column, row);
                self.taken[index] = true;
            }
        }
    }
}
