//! Numbers as pictures show them, and what a picture shows in words.

use super::{Chart, Points};

/// A number as an axis shows it.
pub(super) fn tick(value: f64) -> String {
    if value == 0.0 || (1e-3..1e5).contains(&value.abs()) {
        let digits = format!("{value:.6}");
        digits.trim_end_matches('0').trim_end_matches('.').into()
    } else {
        let digits = format!("{value:.6e}");
        let (mantissa, exponent) = digits.split_once('e').unwrap_or((&digits, "0"));
        format!("{}e{exponent}", mantissa.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// A number for readers, with four significant digits: `0.01234`, `1.5`, `3e-5`. Whole numbers below a million are exact.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if value.trunc() == value && size < 1e6 {
        // Not -0.
        return format!("{:.0}", value + 0.0);
    }
    if !value.is_finite() {
        return format!("{value}");
    }
    let digits = format!("{value:.3e}");
    let (mantissa, exponent) = digits.split_once('e').unwrap_or((&digits, "0"));
    let without_zeros = |text: &str| text.trim_end_matches('0').trim_end_matches('.').to_owned();
    match exponent.parse::<i32>() {
        Ok(exponent @ -3..=5) => {
            without_zeros(&format!("{value:.*}", usize::try_from(3 - exponent).unwrap_or(1).max(1)))
        }
        _ => format!("{}e{exponent}", without_zeros(mantissa)),
    }
}

/// The first letters of a text that is longer.
pub(super) fn shortened(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some(_) => text.chars().take(longest - 1).chain(['…']).collect(),
        None => text.into(),
    }
}

/// What the charts of a picture show, in numbers.
pub(super) fn description(x: &str, charts: &[Chart]) -> String {
    let mut words = Vec::new();
    for chart in charts {
        words.push(format!("{} over {x}.", chart.y));
        words.extend(chart.lines.iter().filter_map(|line| summary(&line.label, &line.points)));
        words.extend(chart.marks.iter().map(|mark| format!("Marked: {}.", mark.label)));
        words.extend(chart.shade.iter().map(|(label, _)| format!("Shaded: {label}.")));
    }
    words.join(" ")
}

fn summary(label: &str, points: &Points) -> Option<String> {
    let by_height = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
    let (first, last) = (points.first()?, points.last()?);
    // The first of several that are equally high.
    let (lowest, highest) = (points.iter().min_by(by_height)?, points.iter().rev().max_by(by_height)?);
    let at = |point: &(f64, f64)| format!("{} at {}", number(point.1), number(point.0));
    // The corner of a jump is above or below a point, and is no point of its own.
    let corners = points.windows(2).filter(|pair| pair[0].0 == pair[1].0).count();
    Some(match points.len() - corners {
        1 => format!("{label}: {}.", at(first)),
        count => format!(
            "{label}: {count} points, first {}, lowest {}, highest {}, last {}.",
            at(first),
            at(lowest),
            at(highest),
            at(last)
        ),
    })
}

/// A text inside of an element or an attribute, on one line.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&apos;"),
            letter if letter.is_control() || !is_in_xml(letter) => safe.push(' '),
            letter => safe.push(letter),
        }
    }
    safe
}

/// Whether an XML document may contain a letter. Readers refuse one with any other.
pub(super) fn is_in_xml(letter: char) -> bool {
    matches!(letter, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
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
            (1_000_300.0, "1.0003e6"),
        ] {
            assert_eq!(tick(value), expected);
        }
    }

    #[test]
    fn numbers_have_four_digits() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (899.0, "899"),
            (999_999.0, "999999"),
            (1e6, "1e6"),
            (12345.678, "12345.7"),
            (0.98765, "0.9877"),
            (0.001_234_56, "0.001235"),
            (0.000_123_456, "1.235e-4"),
            (-2.5, "-2.5"),
            (99999.96, "100000"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(number(value), expected, "{value:?}");
        }
    }

    #[test]
    fn corners_are_not_counted() {
        let points = vec![(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (2.0, 0.5), (3.0, 0.5)];
        let said = "rate: 4 points, first 1 at 0, lowest 0.5 at 2, highest 1 at 0, last 0.5 at 3.";
        assert_eq!(summary("rate", &points).as_deref(), Some(said));
    }

    #[test]
    fn long_texts_are_cut_between_letters() {
        assert_eq!(shortened("abc", 3), "abc");
        assert_eq!(shortened("äöüß", 3), "äö…");
    }
}
