//! A table of named series of numbers.

use alloc::borrow::ToOwned;
#[cfg(feature = "serde")]
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::check::serde_checked;

/// What the rows of a [`Table`] stand for. Both are counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Per {
    /// Updates of the run.
    Update,
    /// Epochs.
    Epoch,
}

impl Per {
    /// The name of the index: `update` or `epoch`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::Epoch => "epoch",
        }
    }
}

serde_checked! {
    /// Named series with a common index: one row for each recorded update or epoch.
    ///
    /// All series are as long as the index. A series holds `None` for a row without a value; NaN and infinities are values. Rows
    /// stay in the order in which they were recorded.
    ///
    /// ```
    /// use cyclic_optim::history::{Per, Table};
    ///
    /// let mut epochs = Table::new(Per::Epoch);
    /// epochs.push(0, &[("loss", 0.9)]);
    /// epochs.push(1, &[("loss", 0.5), ("val_loss", 0.7)]);
    /// assert_eq!(epochs.get("val_loss"), Some(&[None, Some(0.7)][..]));
    /// ```
    #[derive(Debug, Clone, PartialEq)]
    pub struct Table {
        per: Per,
        index: Vec<u64>,
        series: Vec<Series>,
    }
}

/// A named series, as long as the index.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub(crate) struct Series {
    pub(crate) name: String,
    #[cfg_attr(feature = "serde", serde(with = "numbers"))]
    pub(crate) values: Vec<Option<f64>>,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(per: Per) -> Self {
        Self { per, index: Vec::new(), series: Vec::new() }
    }

    /// A table from its parts.
    #[cfg(feature = "checkpoint")]
    pub(crate) fn from_parts(per: Per, index: Vec<u64>, series: Vec<Series>) -> Result<Self, &'static str> {
        Self { per, index, series }.check()
    }

    /// The series must be as long as the index, and their names must differ.
    #[cfg(feature = "serde")]
    fn check(self) -> Result<Self, &'static str> {
        if self.series.iter().any(|series| series.values.len() != self.index.len()) {
            return Err("the series of a table must be as long as its index");
        }
        let names: BTreeSet<&str> = self.series.iter().map(|series| series.name.as_str()).collect();
        if names.len() < self.series.len() {
            return Err("the names of a table's series must differ");
        }
        Ok(self)
    }

    /// What the rows stand for.
    #[must_use]
    pub fn per(&self) -> Per {
        self.per
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The update or epoch of each row.
    #[must_use]
    pub fn index(&self) -> &[u64] {
        &self.index
    }

    /// The names of the series, in the order of their first values.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.series.iter().map(|series| series.name.as_str())
    }

    /// The series with this name, if there is one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[Option<f64>]> {
        self.series.iter().find(|series| series.name == name).map(|series| series.values.as_slice())
    }

    /// The series with this name as plain numbers, with NaN for missing values; `None` if there is no such series.
    /// [`Smoothing`](crate::Smoothing) and [`winsorised`](crate::winsorised) take this form.
    ///
    /// ```
    /// use cyclic_optim::Smoothing;
    /// use cyclic_optim::history::{Per, Table};
    ///
    /// let mut updates = Table::new(Per::Update);
    /// for (update, loss) in [1.0, 2.0, 4.0].into_iter().enumerate() {
    ///     updates.push(update as u64, &[("loss", loss)]);
    /// }
    /// let smoothed = Smoothing::exponential_from_first(0.5)?.apply(&updates.values("loss").unwrap());
    /// assert_eq!(smoothed, [1.0, 1.5, 2.75]);
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    #[must_use]
    pub fn values(&self, name: &str) -> Option<Vec<f64>> {
        Some(self.get(name)?.iter().map(|value| value.unwrap_or(f64::NAN)).collect())
    }

    /// The rows: the update or epoch of each, and the metrics that have a value there, in the order of the names.
    ///
    /// ```
    /// use cyclic_optim::history::{Per, Table};
    ///
    /// let mut epochs = Table::new(Per::Epoch);
    /// epochs.push(0, &[("loss", 0.9)]);
    /// epochs.push(1, &[("loss", 0.5), ("val_loss", 0.7)]);
    /// let rows: Vec<_> = epochs.rows().collect();
    /// assert_eq!(rows, [(0, vec![("loss", 0.9)]), (1, vec![("loss", 0.5), ("val_loss", 0.7)])]);
    /// ```
    pub fn rows(&self) -> impl Iterator<Item = (u64, Vec<(&str, f64)>)> {
        self.index.iter().enumerate().map(|(row, &index)| {
            let values = self.series.iter().filter_map(|series| Some((series.name.as_str(), series.values[row]?)));
            (index, values.collect())
        })
    }

    /// The values of one row, in the order of the names.
    #[cfg(feature = "csv")]
    pub(super) fn row(&self, row: usize) -> impl Iterator<Item = Option<f64>> + '_ {
        self.series.iter().map(move |series| series.values[row])
    }

    /// Adds a row. Series that are not among the metrics have no value in this row, and new series have none in the
    /// earlier rows.
    pub fn push(&mut self, index: u64, metrics: &[(&str, f64)]) {
        self.index.push(index);
        for &(name, value) in metrics {
            self.set_last(name, value);
        }
        let rows = self.index.len();
        for series in &mut self.series {
            if series.values.len() < rows {
                series.values.push(None);
            }
        }
    }

    /// Sets the value of the series `name` in the last row. Does nothing if there is no row.
    pub fn set_last(&mut self, name: &str, value: f64) {
        let Some(before) = self.index.len().checked_sub(1) else { return };
        let series = self.named(name, before);
        series.values.truncate(before);
        series.values.push(Some(value));
    }

    /// The series `name`. If it is new, it has no value in the first `rows` rows.
    pub(super) fn named(&mut self, name: &str, rows: usize) -> &mut Series {
        let at = self.series.iter().position(|series| series.name == name).unwrap_or_else(|| {
            self.series.push(Series { name: name.to_owned(), values: vec![None; rows] });
            self.series.len() - 1
        });
        &mut self.series[at]
    }

    /// Removes the first row whose index is at least `index`, and all rows after it. A run that continues from `index` will
    /// record them again.
    pub fn truncate(&mut self, index: u64) {
        let rows = self.index.iter().position(|&row| row >= index).unwrap_or(self.index.len());
        self.index.truncate(rows);
        for series in &mut self.series {
            series.values.truncate(rows);
        }
    }

    /// Adds the rows of `other`, with `shift` added to their index. The rows of a table that lacks a series have no value in
    /// that series.
    pub fn append(&mut self, other: &Self, shift: u64) {
        let before = self.index.len();
        self.index.extend(other.index.iter().map(|index| index.saturating_add(shift)));
        for theirs in &other.series {
            let ours = self.named(&theirs.name, before);
            ours.values.extend_from_slice(&theirs.values);
        }
        let rows = self.index.len();
        for series in &mut self.series {
            series.values.resize(rows, None);
        }
    }
}

/// The values of a series. Numbers that JSON cannot represent are written as strings.
#[cfg(feature = "serde")]
mod numbers {
    use alloc::vec::Vec;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Number {
        Finite(f64),
        Other(NonFinite),
    }

    #[derive(Serialize, Deserialize)]
    enum NonFinite {
        #[serde(rename = "NaN")]
        NaN,
        #[serde(rename = "inf")]
        Infinity,
        #[serde(rename = "-inf")]
        NegativeInfinity,
    }

    pub(super) fn serialize<S: Serializer>(values: &[Option<f64>], serializer: S) -> Result<S::Ok, S::Error> {
        let number = |value: f64| match value {
            _ if value.is_finite() => Number::Finite(value),
            _ if value.is_nan() => Number::Other(NonFinite::NaN),
            _ if value > 0.0 => Number::Other(NonFinite::Infinity),
            _ => Number::Other(NonFinite::NegativeInfinity),
        };
        serializer.collect_seq(values.iter().map(|value| value.map(number)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Option<f64>>, D::Error> {
        let value = |number| match number {
            Number::Finite(value) => value,
            Number::Other(NonFinite::NaN) => f64::NAN,
            Number::Other(NonFinite::Infinity) => f64::INFINITY,
            Number::Other(NonFinite::NegativeInfinity) => f64::NEG_INFINITY,
        };
        Ok(Vec::deserialize(deserializer)?.into_iter().map(|number: Option<Number>| number.map(value)).collect())
    }
}
