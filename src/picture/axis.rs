//! Axes of charts: their limits and their ticks.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;

use super::text::tick;

/// The largest number that an axis shows. The sum of a few such numbers is still finite.
const LARGEST: f64 = 1e300;

/// Whether an axis can show a number.
pub(super) fn shows(value: f64, logarithmic: bool) -> bool {
    value.abs() <= LARGEST && (!logarithmic || value >= 1.0 / LARGEST)
}

/// An axis with its limits and its ticks.
///
/// The axes of plotters are not used: their last tick may lie far from the end, and the search for ticks on its logarithmic axis
/// does not end for very many decades.
#[derive(Clone)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
    ticks: Vec<f64>,
}

impl Axis {
    /// A linear axis with about `count` ticks that begins and ends with one. A single value lies in its middle.
    pub(super) fn around(low: f64, high: f64, count: u32) -> Self {
        let margin = if low < high { 0.0 } else { low.abs().max(1.0) / 2.0 };
        let (low, high) = (low - margin, high + margin);
        Self::over(multiples(low, high, count), false).unwrap_or(Self { low, high, logarithmic: false, ticks: vec![] })
    }

    /// A linear axis with about `count` ticks that begins and ends with one.
    pub(super) fn to_ticks(low: f64, high: f64, count: u32) -> Self {
        let high = if low < high { high } else { low + low.abs().max(1.0) };
        let ticks = multiples(low, high, count);
        // Long numbers need more room.
        let long = ticks.iter().any(|value| tick(*value).len() > 6);
        let ticks = if long { multiples(low, high, count.div_ceil(2)) } else { ticks };
        Self::over(ticks, false).unwrap_or(Self { low, high, logarithmic: false, ticks: vec![] })
    }

    /// The same, with ticks at whole numbers only.
    pub(super) fn to_whole_ticks(low: f64, high: f64, count: u32) -> Self {
        let fewer = (1..count).find(|fewer| high - low <= f64::from(*fewer));
        Self::to_ticks(low, high, fewer.unwrap_or(count))
    }

    /// A logarithmic axis with about `count` ticks that begins and ends with one, less than half a decade beyond the values.
    pub(super) fn logarithmic(low: f64, high: f64, count: u32) -> Self {
        let (low, high) = if low < high { (low, high) } else { (low / 1.5, high * 1.5) };
        let ticks = if high < 3.0 * low { multiples(low, high, count) } else { powers(low, high, count) };
        Self::over(ticks, true).unwrap_or(Self { low, high, logarithmic: true, ticks: vec![] })
    }

    fn over(ticks: Vec<f64>, logarithmic: bool) -> Option<Self> {
        let (&low, &high) = (ticks.first()?, ticks.last()?);
        (low < high).then_some(Self { low, high, logarithmic, ticks })
    }

    pub(super) fn limits(&self) -> (f64, f64) {
        (self.low, self.high)
    }

    pub(super) fn is_logarithmic(&self) -> bool {
        self.logarithmic
    }

    fn scaled(&self, value: f64) -> f64 {
        if self.logarithmic { value.log10() } else { value }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        RangedCoordf64::from(self.scaled(self.low)..self.scaled(self.high)).map(&self.scaled(*value), limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(value: &f64) -> String {
        tick(*value)
    }
}

/// The share of an axis that a number takes.
const CLOSE: f64 = 0.055;

/// The relative rounding error that a tick may have.
const SLACK: f64 = 1e-9;

/// About `count` multiples of 1, 2 or 5 times a power of ten that enclose a range.
fn multiples(low: f64, high: f64, count: u32) -> Vec<f64> {
    let ideal = (high - low) / f64::from(count);
    let power = 10_f64.powf(ideal.log10().floor());
    // The one with the smallest ratio to the ideal step.
    let digit = [1.0, 2.0, 5.0].into_iter().zip([2.0_f64, 10.0, 50.0]).find(|(_, limit)| ideal / power < limit.sqrt());
    let step = power * digit.map_or(10.0, |(digit, _)| digit);
    let (first, last) = ((low / step + SLACK).floor(), (high / step - SLACK).ceil());
    (0..=2 * count + 2).map(|n| first + f64::from(n)).take_while(|n| *n <= last).map(|n| n * step).collect()
}

/// 1, 2 and 5 times powers of ten that enclose a range of positive numbers. For many decades: only every n-th power of ten.
fn powers(low: f64, high: f64, count: u32) -> Vec<f64> {
    let (low, high) = (low * (1.0 + SLACK), high * (1.0 - SLACK));
    let first = low.log10().floor();
    let decades = high.log10().ceil() - first;
    let all = std::iter::successors(Some(first), |n| Some(n + 1.0)).take_while(|n| *n <= first + decades);
    let all: Vec<f64> = all.flat_map(|n| [1.0, 2.0, 5.0].map(|m| m * 10_f64.powf(n))).collect();
    let start = all.iter().rposition(|tick| *tick <= low).unwrap_or(0);
    let end = all.iter().position(|tick| *tick >= high).unwrap_or(all.len() - 1);
    let near = &all[start..=end];
    if near.len() <= 12 {
        return near.into();
    }
    // The ends are always ticks. No other tick is so close to them that their numbers would touch.
    let (left, right) = (all[start].log10(), all[end].log10());
    let (stride, close) = (((right - left) / f64::from(count)).ceil(), CLOSE * (right - left));
    let inner = std::iter::successors(Some((left / stride).ceil() * stride), |n| Some(n + stride));
    let inner = inner.skip_while(|n| *n < left + close).take_while(|n| *n <= right - close);
    let inner = inner.map(|n| 10_f64.powf(n));
    [all[start]].into_iter().chain(inner).chain([all[end]]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks.iter().map(|value| tick(*value)).collect()
    }

    #[test]
    fn an_axis_begins_and_ends_with_a_tick() {
        for (low, high, expected) in [
            (0.0, 899.0, "0 100 200 300 400 500 600 700 800 900"),
            (0.0, 239.0, "0 20 40 60 80 100 120 140 160 180 200 220 240"),
            (10.0, 900.0, "0 100 200 300 400 500 600 700 800 900"),
            (0.0, 0.0, "0 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9 1"),
            (1e6, 1_000_300.0, "1e6 1.00005e6 1.0001e6 1.00015e6 1.0002e6 1.00025e6 1.0003e6"),
        ] {
            assert_eq!(labels(&Axis::to_ticks(low, high, 10)).join(" "), expected);
        }
        for (low, high, expected) in [
            (0.0, 0.0, "0 1"),
            (0.0, 1.0, "0 1"),
            (0.0, 4.0, "0 1 2 3 4"),
            (3.0, 10.0, "3 4 5 6 7 8 9 10"),
            (0.0, 19.0, "0 2 4 6 8 10 12 14 16 18 20"),
        ] {
            assert_eq!(labels(&Axis::to_whole_ticks(low, high, 10)).join(" "), expected);
        }
        for (low, high, expected) in [
            (0.0, 0.02, "0 0.002 0.004 0.006 0.008 0.01 0.012 0.014 0.016 0.018 0.02"),
            (0.85, 0.957, "0.84 0.86 0.88 0.9 0.92 0.94 0.96"),
            (-3.2, 4.0, "-4 -3 -2 -1 0 1 2 3 4"),
            (1.0, 1.0, "0.4 0.6 0.8 1 1.2 1.4 1.6"),
            (0.0, 0.0, "-0.6 -0.4 -0.2 0 0.2 0.4 0.6"),
        ] {
            assert_eq!(labels(&Axis::around(low, high, 7)).join(" "), expected);
        }
        for (low, high, expected) in [
            (1e-5, 1.0, "1e-5 1e-4 0.001 0.01 0.1 1"),
            (1e-5, 0.73, "1e-5 1e-4 0.001 0.01 0.1 1"),
            (2.5e-5, 30.0, "2e-5 1e-4 0.001 0.01 0.1 1 10 50"),
            (0.002, 2.3, "0.002 0.005 0.01 0.02 0.05 0.1 0.2 0.5 1 2 5"),
            (0.9, 1.1, "0.9 0.92 0.94 0.96 0.98 1 1.02 1.04 1.06 1.08 1.1"),
            (0.1, 0.1, "0.06 0.07 0.08 0.09 0.1 0.11 0.12 0.13 0.14 0.15"),
        ] {
            assert_eq!(labels(&Axis::logarithmic(low, high, 10)).join(" "), expected);
        }
    }

    #[test]
    fn a_logarithmic_axis_wastes_little_and_ends() {
        for exponent in -2900_i32..2900 {
            let low = 10_f64.powf(f64::from(exponent) / 10.0);
            for factor in [1.0, 1.0 + 1e-6, 1.5, 2.9, 3.1, 40.0, 1e5, 1e7] {
                let axis = Axis::logarithmic(low, low * factor, 7);
                let waste = (axis.high / axis.low).log10() - factor.log10();
                let fair = (0.0..if factor > 1.0 { 0.81 } else { 0.99 }).contains(&(waste + SLACK));
                assert!(fair, "{low:e} times {factor}: {:e} to {:e}", axis.low, axis.high);
                assert!((3..=16).contains(&axis.ticks.len()), "{low:e} times {factor}: {:?}", axis.ticks);
            }
        }
        let axis = Axis::logarithmic(1e-300, 1e300, 10);
        assert_eq!((axis.limits(), axis.ticks.len()), ((1e-300, 1e300), 11));
        let axis = Axis::around(-LARGEST, LARGEST, 7);
        assert!(axis.low.is_finite() && axis.high.is_finite() && axis.ticks.len() > 3);
    }
}
