//! Whether a metric improves over a window of reports: the test of Mann and Kendall, and the medians of both halves.

use alloc::vec::Vec;
use core::cmp::Ordering;

use super::{Counting, Direction, Improvement};
use crate::numeric;

/// The smallest window in which a steady fall shows a trend at 5 %.
pub(super) const SMALLEST_WINDOW: u64 = 4;

/// The standard normal quantile of 95 %, squared.
const QUANTILE_SQUARED: f64 = 1.644_853_626_951_472_2 * 1.644_853_626_951_472_2;

/// Whether the reports of a full window improve: by more than noise explains, and by enough for the rule.
pub(super) fn improves(window: &[f64], improvement: Improvement, counting: Counting) -> bool {
    let half = window.len() / 2;
    let (older, newer) = (median(&window[..half]), median(&window[window.len() - half..]));
    improvement.is_better_to(counting, newer, Some(older)) && is_significant(window, improvement.direction)
}

/// The one-sided test of Mann and Kendall with its continuity correction, at 5 %.
fn is_significant(window: &[f64], direction: Direction) -> bool {
    let improving = if direction == Direction::Min { Ordering::Less } else { Ordering::Greater };
    let (mut better, mut worse) = (0_u64, 0_u64);
    for (n, later) in window.iter().enumerate() {
        for earlier in &window[..n] {
            match later.partial_cmp(earlier) {
                None | Some(Ordering::Equal) => {}
                Some(order) if order == improving => better += 1,
                Some(_) => worse += 1,
            }
        }
    }
    // |S| - 1 for an S that improves.
    let Some(excess) = better.checked_sub(worse.saturating_add(1)) else { return false };
    let (excess, n) = (numeric::float(excess), numeric::float(window.len() as u64));
    excess * excess * 18.0 > QUANTILE_SQUARED * n * (n - 1.0) * (2.0 * n + 5.0)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = Vec::from(values);
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    // Halved before the sum, because the sum of two large numbers may be infinite.
    if sorted.len() % 2 == 1 { sorted[middle] } else { sorted[middle - 1] / 2.0 + sorted[middle] / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feedback::MinDelta;

    fn improves_by(direction: Direction, min_delta: MinDelta, window: &[f64]) -> bool {
        improves(window, Improvement::new(direction, min_delta).unwrap(), Counting::Keras)
    }

    /// Windows on both sides of 5 %. The p-values are half of those of `original_test` of pymannkendall 1.4.3, which is
    /// two-sided.
    #[test]
    fn significance_agrees_with_pymannkendall() {
        let cases: &[(&[f64], f64)] = &[
            (&[1.1, 1.15, 0.9, 0.31, 0.87, 0.63], 0.066_43),
            (&[0.98, 0.62, 0.77, 0.73, 0.61, 0.35], 0.030_14),
            (&[1.08, 0.59, 1.13, 0.64, 0.44, 0.43, 0.52, 1.07, 0.17, 0.51], 0.053_7),
            (&[1.19, 1.34, 1.03, 0.87, 0.48, 1.56, 0.9, 0.24, 0.29, 0.49], 0.036_82),
            (
                &[
                    0.61, 0.86, 0.58, 1.04, 1.24, 0.94, 0.64, 0.68, 0.82, 0.29, 0.74, 0.73, 0.47, 0.48, 0.63, 0.3,
                    0.27, 0.72, 0.52, 0.93,
                ],
                0.055_94,
            ),
            (
                &[
                    0.76, 1.09, 0.97, 0.65, 1.2, 1.12, 0.9, 1.1, 1.34, 0.42, 0.59, 0.29, 0.44, 0.56, 0.53, 0.61, 1.06,
                    0.79, 0.37, 0.63,
                ],
                0.049,
            ),
            (&[4.0, 3.0, 2.0, 1.0], 0.044_71),
            (&[4.0, 3.0, 1.0, 2.0], 0.154),
        ];
        for (window, p_value) in cases {
            assert_eq!(is_significant(window, Direction::Min), *p_value < 0.05, "{window:?}");
            let rising: Vec<f64> = window.iter().map(|value| -value).collect();
            assert_eq!(is_significant(&rising, Direction::Max), *p_value < 0.05, "{rising:?}");
            assert!(!is_significant(window, Direction::Max) && !is_significant(&rising, Direction::Min));
        }
    }

    #[test]
    fn no_trend_without_a_change() {
        for window in [[1.0; 8], [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0]] {
            assert!(!improves_by(Direction::Min, MinDelta::default(), &window));
            assert!(!improves_by(Direction::Max, MinDelta::default(), &window));
        }
    }

    /// The steady fall is 0.03 from the median of the older half to that of the newer one.
    #[test]
    fn a_small_fall_is_not_enough() {
        let window: Vec<f64> = (0..6).map(|n| 1.0 - 0.01 * f64::from(n)).collect();
        for (min_delta, enough) in [(0.029, true), (0.031, false)] {
            assert_eq!(improves_by(Direction::Min, MinDelta::Absolute(min_delta), &window), enough);
            assert_eq!(improves_by(Direction::Min, MinDelta::Relative(min_delta), &window), enough);
        }
        // An odd window is compared without the report in the middle.
        assert!(improves_by(Direction::Min, MinDelta::Absolute(0.029), &window[..5]));
    }

    #[test]
    fn huge_metrics_are_compared() {
        let window = [f64::MAX, f64::MAX / 2.0, 0.0, -f64::MAX / 2.0, f64::MIN];
        assert!(improves_by(Direction::Min, MinDelta::default(), &window));
        assert!(!improves_by(Direction::Max, MinDelta::default(), &window));
    }
}
