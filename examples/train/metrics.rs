//! The metrics of an epoch.

use crate::args::METRICS;

/// The metrics of an epoch by name: [`METRICS`], and what options add to them.
pub(crate) struct Metrics(Vec<(String, f64)>);

impl Metrics {
    /// The values of [`METRICS`], in their order.
    pub(crate) fn new(values: [f64; METRICS.len()]) -> Self {
        Self(METRICS.into_iter().map(Into::into).zip(values).collect())
    }

    pub(crate) fn extend(&mut self, more: impl IntoIterator<Item = (String, f64)>) {
        self.0.extend(more);
    }

    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| *value)
    }

    /// The form that writers take.
    pub(crate) fn pairs(&self) -> Vec<(&str, f64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value)).collect()
    }

    /// Those that are shown to people.
    pub(crate) fn shown(&self) -> Vec<(&str, f64)> {
        let is_shown = |(name, _): &(&str, f64)| METRICS.contains(name) || name.starts_with("val_ema_");
        self.pairs().into_iter().filter(is_shown).collect()
    }
}

/// The mean of the losses of an epoch.
#[derive(Default)]
pub(crate) struct Mean {
    sum: f64,
    count: f64,
}

impl Mean {
    pub(crate) fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1.0;
    }

    pub(crate) fn value(&self) -> f64 {
        self.sum / self.count
    }
}
