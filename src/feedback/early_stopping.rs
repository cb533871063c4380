//! Stopping when the metric no longer improves, or when it is good enough.

use super::{Improvement, Stop};
use crate::check::{self, serde_checked};
use crate::error::ConfigError;

serde_checked! {
    /// Reports when to stop: after `patience` consecutive judged reports without an improvement, or at a metric that is good
    /// enough.
    ///
    /// # Formula
    ///
    /// For each judged report after the first `start_from`:
    ///
    /// ```text
    /// better: best = value; wait = 0, if there is no baseline or the value beats it, otherwise wait + 1
    /// otherwise: wait + 1; if wait >= patience: stop
    /// in any case: if there is a threshold and value <= threshold (max: value >= threshold): stop
    /// ```
    ///
    /// # Where the Keras generations differ
    ///
    /// - Up to 2.3 the baseline was the initial best, so improvements that did not reach it were not remembered. Here, as from
    ///   TensorFlow 2.5 to Keras 3, best and baseline are separate: such an improvement becomes the best, but does not reset the
    ///   wait. Once `patience` reports have not beaten the baseline, the first report without an improvement stops the run. (In
    ///   2026 Keras began to reset the wait at any improvement, which leaves the baseline without effect.)
    /// - In all generations a patience of 0 is the same as 1, because the wait is counted before it is compared.
    /// - Keras 3 can take a first NaN for the best and then stop. Here, as in Keras 2, NaN is a bad report.
    ///
    /// [`BestWeights`](crate::training::BestWeights) keeps the best weights. Nothing stops by itself:
    /// [`Observation::stop`](super::Observation::stop) reports that the run should.
    ///
    /// | option | default | purpose | range |
    /// |---|---|---|---|
    /// | `patience` | required (0 in Keras) | consecutive bad reports after which the run should stop | >= 0; 0 is the same as 1 |
    /// | [`with_improvement`](Self::with_improvement) | any smaller value | what counts as better | |
    /// | [`with_baseline`](Self::with_baseline) | none | the metric that has to be beaten | finite |
    /// | [`with_threshold`](Self::with_threshold) | none | the metric that is good enough | finite |
    /// | [`with_start_from`](Self::with_start_from) | 0 | reports to skip at the start | |
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] for anything outside these ranges.
    ///
    /// # Examples
    ///
    /// ```
    /// use cyclic_optim::feedback::{EarlyStopping, Stop};
    /// use cyclic_optim::{ClrConfig, Constant, CyclicOptimizer};
    /// # use cyclic_optim::{Hyper, Hyperparameters, Unsupported};
    /// # struct Nothing;
    /// # impl Hyperparameters for Nothing {
    /// #     fn get(&self, _: Hyper) -> Option<f64> { Some(0.0) }
    /// #     fn set(&mut self, _: Hyper, _: f64) -> Result<(), Unsupported> { Ok(()) }
    /// # }
    /// # let inner = Nothing;
    ///
    /// let config = ClrConfig::new(Constant::new(0.1)?).with_early_stopping(EarlyStopping::new(2)?)?;
    /// let mut optimizer = CyclicOptimizer::new(inner, config);
    /// let stops: Vec<_> = [3.0, 2.0, 2.5, 2.1].map(|loss| optimizer.observe(loss).stop).into();
    /// assert_eq!(stops, [None, None, None, Some(Stop::NoImprovement)]);
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    ///
    /// # References
    ///
    /// Keras' `EarlyStopping`. The threshold is the `stopping_threshold` of Lightning's `EarlyStopping`. Lightning stops
    /// only beyond it; here it is enough to reach it, so the threshold can be an accuracy of 1.
    #[derive(Debug, Clone, Copy, PartialEq)]
    pub struct EarlyStopping {
        patience: u64,
        #[cfg_attr(feature = "serde", serde(default))]
        pub(crate) improvement: Improvement,
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        baseline: Option<f64>,
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        threshold: Option<f64>,
        #[cfg_attr(feature = "serde", serde(default))]
        start_from: u64,
    }
}

/// The state of [`EarlyStopping`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct EarlyStoppingState {
    /// The best metric so far.
    pub best: Option<f64>,
    /// The number of consecutive bad reports so far.
    pub wait: u64,
    /// The number of judged reports.
    pub reports: u64,
}

impl EarlyStopping {
    /// Stops after `patience` consecutive judged reports without a smaller metric. Keras' default of 0 is the same as 1.
    ///
    /// # Errors
    ///
    /// None at present.
    pub fn new(patience: u64) -> Result<Self, ConfigError> {
        Self { patience, improvement: Improvement::default(), baseline: None, threshold: None, start_from: 0 }.check()
    }

    /// Sets what counts as an improvement.
    ///
    /// # Errors
    ///
    /// A negative or non-finite `min_delta`.
    pub fn with_improvement(mut self, improvement: Improvement) -> Result<Self, ConfigError> {
        self.improvement = improvement;
        self.check()
    }

    /// Counts every report that does not beat `baseline` as bad, even an improvement.
    ///
    /// # Errors
    ///
    /// A baseline that is not finite.
    pub fn with_baseline(mut self, baseline: f64) -> Result<Self, ConfigError> {
        self.baseline = Some(baseline);
        self.check()
    }

    /// Stops as soon as the metric reaches `threshold` in the direction of the [improvement](Self::with_improvement),
    /// whatever the patience; `min_delta` has no effect on it. A report that [`with_start_from`](Self::with_start_from)
    /// skips does not stop the run.
    ///
    /// ```
    /// use cyclic_optim::feedback::{Direction, EarlyStopping, Improvement, MinDelta, Stop};
    /// use cyclic_optim::{ClrConfig, Constant, CyclicOptimizer, RateAndMomentum};
    ///
    /// let accuracy = Improvement::new(Direction::Max, MinDelta::default())?;
    /// let rule = EarlyStopping::new(5)?.with_improvement(accuracy)?.with_threshold(0.98)?;
    /// let config = ClrConfig::new(Constant::new(0.1)?).with_early_stopping(rule)?;
    /// let mut optimizer = CyclicOptimizer::new(RateAndMomentum::default(), config);
    /// let stops: Vec<_> = [0.9, 0.97, 0.98].map(|accuracy| optimizer.observe(accuracy).stop).into();
    /// assert_eq!(stops, [None, None, Some(Stop::ThresholdReached)]);
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A threshold that is not finite.
    pub fn with_threshold(mut self, threshold: f64) -> Result<Self, ConfigError> {
        self.threshold = Some(threshold);
        self.check()
    }

    /// Skips the first `start_from` judged reports.
    #[must_use]
    pub fn with_start_from(mut self, start_from: u64) -> Self {
        self.start_from = start_from;
        self
    }

    pub(crate) fn check(self) -> Result<Self, ConfigError> {
        self.improvement.check()?;
        self.baseline.map_or(Ok(()), |baseline| check::finite("baseline", baseline))?;
        self.threshold.map_or(Ok(()), |threshold| check::finite("threshold", threshold))?;
        Ok(self)
    }

    /// The metric that is good enough, if there is one.
    #[must_use]
    pub fn threshold(&self) -> Option<f64> {
        self.threshold
    }

    /// Finds the report at which a run with these metrics stops, counted from 0, and the reason; `None` if it does not stop.
    /// All reports are judged.
    ///
    /// It needs no optimizer. Use it for a second metric that should also stop the run, or to see where another patience
    /// would have stopped a finished run.
    ///
    /// ```
    /// use cyclic_optim::feedback::{EarlyStopping, Stop};
    ///
    /// let losses = [3.0, 2.0, 2.5, 2.1, 1.0, 1.5, 1.4, 1.3];
    /// assert_eq!(EarlyStopping::new(2)?.stops_at(losses), Some((3, Stop::NoImprovement)));
    /// assert_eq!(EarlyStopping::new(3)?.stops_at(losses), Some((7, Stop::NoImprovement)));
    /// assert_eq!(EarlyStopping::new(4)?.stops_at(losses), None);
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    #[must_use]
    pub fn stops_at(&self, metrics: impl IntoIterator<Item = f64>) -> Option<(usize, Stop)> {
        let mut state = EarlyStoppingState::default();
        let judged = metrics.into_iter().enumerate();
        judged.map(|(n, metric)| (n, self.judge(&mut state, metric).1)).find_map(|(n, stop)| Some((n, stop?)))
    }

    /// Judges a metric. Returns whether it is better, and why to stop.
    pub(crate) fn judge(&self, state: &mut EarlyStoppingState, metric: f64) -> (bool, Option<Stop>) {
        let report = state.reports;
        state.reports = report.saturating_add(1);
        if report < self.start_from {
            return (false, None);
        }
        let better = self.improvement.is_better(metric, state.best);
        // As in Keras, min_delta applies to the baseline, too.
        let counts = better && self.baseline.is_none_or(|baseline| self.improvement.is_better(metric, Some(baseline)));
        if better {
            state.best = Some(metric);
        }
        state.wait = if counts { 0 } else { state.wait.saturating_add(1) };
        if self.is_reached(metric) {
            return (better, Some(Stop::ThresholdReached));
        }
        // The first report has nothing to compare with.
        let hopeless = !better && state.wait >= self.patience && report > 0;
        (better, hopeless.then_some(Stop::NoImprovement))
    }

    /// Whether a metric is good enough. NaN and infinities never are.
    fn is_reached(&self, metric: f64) -> bool {
        let direction = self.improvement.direction;
        metric.is_finite() && self.threshold.is_some_and(|threshold| !direction.is_better(threshold, metric))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::feedback::{Direction, MinDelta};

    /// The number of the report that stops, counted from 0.
    fn stop_at(rule: &EarlyStopping, metrics: &[f64]) -> Option<usize> {
        rule.stops_at(metrics.iter().copied()).map(|(report, _)| report)
    }

    /// Keras' own results, by patience.
    #[test]
    fn table_i() {
        let new = |patience| EarlyStopping::new(patience).unwrap();
        let valley = [10.0, 9.0, 8.0, 9.0, 8.9, 8.8, 8.7, 8.6, 8.5];
        for (patience, expected) in [(0, 3), (1, 3), (2, 4), (3, 5), (4, 6)] {
            assert_eq!(stop_at(&new(patience), &valley), Some(expected), "patience {patience}");
        }
        for (patience, expected) in [(0, 1), (1, 1), (2, 2), (3, 3)] {
            assert_eq!(stop_at(&new(patience), &[1.0; 9]), Some(expected), "constant, patience {patience}");
        }
        assert_eq!(stop_at(&new(3).with_start_from(2), &[1.0; 9]), Some(5));
        let by_a_tenth = Improvement::new(Direction::Min, MinDelta::Absolute(0.1)).unwrap();
        let rule = new(2).with_improvement(by_a_tenth).unwrap();
        assert_eq!(stop_at(&rule, &[1.0, 0.95, 0.91, 0.89, 0.88]), Some(2));
        let nan = f64::NAN;
        assert_eq!(stop_at(&new(2), &[1.0, nan, nan, nan]), Some(2));
        // A first NaN is a bad report, not the best, and the first report never stops.
        assert_eq!(stop_at(&new(0), &[nan, 1.0, 0.5, 0.25]), None);
        assert_eq!(stop_at(&new(1), &[nan, nan]), Some(1));
        assert_eq!(stop_at(&new(2), &[nan, 1.0, 0.5, 0.25]), None);
    }

    #[test]
    fn a_baseline_has_to_be_beaten_within_the_patience() {
        // Keras 3 before 2026: stops at e = 4 with the best at 2.
        let rule = EarlyStopping::new(5).unwrap().with_baseline(0.5).unwrap();
        let mut state = EarlyStoppingState::default();
        let verdicts = [0.9, 0.8, 0.7, 0.71, 0.72, 0.73].map(|metric| rule.judge(&mut state, metric).1.is_some());
        assert_eq!(verdicts, [false, false, false, false, true, true]);
        assert_eq!(state.best, Some(0.7));
        assert_eq!(stop_at(&rule, &[0.9, 0.4, 0.5, 0.5, 0.5, 0.5]), None);
        // A metric that still improves does not stop the run.
        let impatient = EarlyStopping::new(2).unwrap().with_baseline(0.1).unwrap();
        assert_eq!(stop_at(&impatient, &[0.9, 0.8, 0.7, 0.6, 0.5, 0.5]), Some(5));
    }

    #[test]
    fn a_threshold_stops_at_once() {
        let judge = |rule: &EarlyStopping, metrics: &[f64]| {
            let mut state = EarlyStoppingState::default();
            let stops: Vec<_> = metrics.iter().map(|&metric| rule.judge(&mut state, metric).1).collect();
            stops
        };
        let (none, reached) = (None, Some(Stop::ThresholdReached));
        let loss = EarlyStopping::new(2).unwrap().with_threshold(0.5).unwrap();
        assert_eq!(judge(&loss, &[0.6, f64::NEG_INFINITY, 0.55, 0.5]), [none, none, none, reached]);
        // Already the first report, and a metric that is no record, too.
        assert_eq!(judge(&loss, &[0.4, 0.45]), [reached, reached]);
        assert_eq!(judge(&loss, &[0.6, f64::NAN, 0.7]), [none, none, Some(Stop::NoImprovement)]);
        // min_delta decides what is better, not what is enough.
        let wide = Improvement::new(Direction::Max, MinDelta::Absolute(0.5)).unwrap();
        let accuracy = EarlyStopping::new(9).unwrap().with_improvement(wide).unwrap().with_threshold(0.98).unwrap();
        assert_eq!(judge(&accuracy, &[0.9, f64::INFINITY, 0.97, 0.98]), [none, none, none, reached]);
        assert_eq!(judge(&accuracy.with_start_from(1), &[0.99, 0.97]), [none, none]);
    }

    #[test]
    fn every_precondition() {
        for bad in [f64::NAN, f64::INFINITY] {
            let rule = EarlyStopping::new(1).unwrap().with_threshold(bad);
            assert!(matches!(rule, Err(ConfigError::OutOfRange { field: "threshold", .. })));
            let rule = EarlyStopping::new(1).unwrap().with_baseline(bad);
            assert!(matches!(rule, Err(ConfigError::OutOfRange { field: "baseline", .. })));
        }
    }
}
