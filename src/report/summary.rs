//! The numbers of a run that matter most.

use crate::feedback::Direction;
use crate::history::Table;

/// A value of a series, and the update or epoch that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct At {
    pub(super) index: u64,
    pub(super) value: f64,
}

/// What stands out in a series. Values that are not finite do not count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Summary {
    pub(super) first: At,
    pub(super) lowest: At,
    pub(super) highest: At,
    pub(super) last: At,
}

impl Summary {
    /// Of several equal values the first one counts.
    pub(super) fn of(table: &Table, name: &str) -> Option<Self> {
        let values = table.get(name)?.iter().zip(table.index());
        let mut found = values.filter_map(|(value, &index)| Some(At { index, value: (*value)? }));
        let first = found.by_ref().find(|at| at.value.is_finite())?;
        let start = Self { first, lowest: first, highest: first, last: first };
        Some(found.filter(|at| at.value.is_finite()).fold(start, |so_far, at| Self {
            lowest: if at.value < so_far.lowest.value { at } else { so_far.lowest },
            highest: if at.value > so_far.highest.value { at } else { so_far.highest },
            last: at,
            ..so_far
        }))
    }

    /// The best value of a metric; `None` if its name does not say whether it should fall or rise.
    pub(super) fn best(&self, metric: &str) -> Option<At> {
        Some(match Direction::of_metric(metric)? {
            Direction::Min => self.lowest,
            Direction::Max => self.highest,
        })
    }
}

/// The names of the metrics, without `val_` and without `/<part>`, in the order of their first appearance.
pub(super) fn metrics(epochs: &Table) -> Vec<&str> {
    let mut metrics = Vec::new();
    for name in epochs.names() {
        let name = name.strip_prefix("val_").unwrap_or(name);
        let name = name.split_once('/').map_or(name, |(metric, _)| metric);
        if !metrics.contains(&name) {
            metrics.push(name);
        }
    }
    metrics
}

/// A count with commas: `1,000,000`.
pub(super) fn count(count: impl TryInto<u64>) -> String {
    let digits = count.try_into().unwrap_or(u64::MAX).to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Per;

    #[test]
    fn the_first_of_equal_values_counts() {
        let mut table = Table::new(Per::Epoch);
        for (epoch, loss) in [f64::NAN, 3.0, 1.0, 5.0, 1.0, 5.0, 2.0, f64::INFINITY].into_iter().enumerate() {
            table.push(10 + epoch as u64, &[("val_loss", loss)]);
        }
        let at = |index, value| At { index, value };
        let expected = Summary { first: at(11, 3.0), lowest: at(12, 1.0), highest: at(13, 5.0), last: at(16, 2.0) };
        let summary = Summary::of(&table, "val_loss").unwrap();
        assert_eq!(summary, expected);
        assert_eq!(summary.best("val_loss"), Some(at(12, 1.0)));
        assert_eq!(summary.best("val_accuracy"), Some(at(13, 5.0)));
        assert_eq!(summary.best("temperature"), None);
        assert_eq!(Summary::of(&table, "loss"), None);
        table.push(30, &[("nothing", f64::NAN)]);
        assert_eq!(Summary::of(&table, "nothing"), None);
    }

    #[test]
    fn metrics_and_counts() {
        let mut table = Table::new(Per::Epoch);
        table.push(0, &[("loss", 1.0), ("val_accuracy", 1.0), ("val_loss", 1.0), ("accuracy", 1.0), ("mean/0.1", 0.0)]);
        table.push(1, &[("mean/1.1", 0.0)]);
        assert_eq!(metrics(&table), ["loss", "accuracy", "mean"]);
        for (number, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), expected);
        }
    }
}
