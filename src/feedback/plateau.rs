//! A smaller rate when the metric stops improving.

use alloc::vec::Vec;

use super::{Direction, Improvement, MinDelta, trend};
use crate::check::{self, serde_checked};
use crate::error::ConfigError;

serde_checked! {
    /// Multiplies the rate, or the peak of the cycles, by a factor when a metric stops improving.
    ///
    /// # Formula
    ///
    /// ```text
    /// envelope <- max(envelope factor, floor / reference)
    /// ```
    ///
    /// The reference rate is the schedule's [`peak`](crate::Schedule::peak), or the `max_lr` of a range that was set. The
    /// envelope multiplies the whole rate, or with [`Scope::Peak`] `max_lr` alone. `max_lr` never falls below `base_lr`, and a
    /// separate end rate of the schedule stays. Other multipliers apply on top; see [`ClrState`](crate::ClrState). To limit the
    /// applied rate, use [`ClrConfig::with_bounds`](crate::ClrConfig::with_bounds).
    ///
    /// For each judged report, [`Counting::Keras`] does:
    ///
    /// ```text
    /// cooldown > 0: cooldown - 1, wait = 0
    /// better: best = value, wait = 0
    /// otherwise, with cooldown now 0: wait + 1; if wait >= patience: reduce, restart cooldown, wait = 0
    /// ```
    ///
    /// and [`Counting::Pytorch`]:
    ///
    /// ```text
    /// better: best = value, bad = 0; otherwise bad + 1
    /// cooldown > 0: cooldown - 1, bad = 0
    /// bad > patience: reduce (if the reference rate falls by more than eps), restart cooldown, bad = 0
    /// ```
    ///
    /// If a metric never improves, Keras reduces after `patience` further reports, and PyTorch after `patience + 1`. After
    /// that, Keras reduces every `patience` reports (every `cooldown - 1 + patience` with a cooldown), and PyTorch every
    /// `patience + 1 + cooldown`. In Keras' counting a patience of 0 is the same as 1, and a cooldown of 1 is the same as 0.
    /// Metrics are compared as the library does; see [`Improvement`].
    ///
    /// Both libraries compare with the best of all reports so far. [`with_trend_window`](Self::with_trend_window)
    /// judges the trend of the last reports instead; [`feedback`](super) says when that helps.
    ///
    /// | option | default | purpose | range |
    /// |---|---|---|---|
    /// | `factor` | required | factor of one reduction | (0, 1) |
    /// | `patience` | required | reports to wait | >= 0 |
    /// | [`with_improvement`](Self::with_improvement) | smaller by 1e-4 (Keras), by a share of 1e-4 (PyTorch) | what counts as better | |
    /// | [`with_trend_window`](Self::with_trend_window) | none: compares with the best report | number of reports whose trend is judged | >= 4 |
    /// | [`with_cooldown`](Self::with_cooldown) | 0 | reports to pause after a reduction | |
    /// | [`with_floor`](Self::with_floor) | 0 | lowest value of the reference rate | finite, 0 <= floor <= reference rate |
    /// | [`with_scope`](Self::with_scope) | whole rate | what is reduced | |
    /// | [`with_eps`](Self::with_eps) | 1e-8 (PyTorch) | reductions of the reference rate by this or less are skipped | [0, inf), PyTorch only |
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] for anything outside these ranges.
    ///
    /// # Examples
    ///
    /// ```
    /// use cyclic_optim::feedback::Plateau;
    /// use cyclic_optim::{ClrConfig, Constant};
    ///
    /// let config = ClrConfig::new(Constant::new(0.1)?).with_plateau(Plateau::keras(0.5, 2)?)?;
    /// # let _ = config;
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    ///
    /// # References
    ///
    /// Keras' and PyTorch's `ReduceLROnPlateau`, except that negative metrics with a relative threshold are judged correctly;
    /// `auto_decay` of nupam/keras-callbacks.
    #[derive(Debug, Clone, Copy, PartialEq)]
    pub struct Plateau {
        factor: f64,
        pub(crate) patience: u64,
        #[cfg_attr(feature = "serde", serde(default))]
        counting: Counting,
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        improvement: Option<Improvement>,
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        trend_window: Option<u64>,
        #[cfg_attr(feature = "serde", serde(default))]
        cooldown: u64,
        #[cfg_attr(feature = "serde", serde(default))]
        pub(crate) floor: f64,
        #[cfg_attr(feature = "serde", serde(default))]
        pub(crate) scope: Scope,
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        eps: Option<f64>,
    }
}

/// The library whose rules count patience and cooldown, and compare a metric with the best so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Counting {
    /// `keras.callbacks.ReduceLROnPlateau`.
    #[default]
    Keras,
    /// `torch.optim.lr_scheduler.ReduceLROnPlateau`.
    Pytorch,
}

/// What a plateau reduces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Scope {
    /// The whole rate.
    #[default]
    Rate,
    /// The peak of the cycles: `max_lr` shrinks, `base_lr` stays, and the cycle continues.
    Peak,
}

/// The state of a [`Plateau`].
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct PlateauState {
    /// The best metric so far.
    pub best: Option<f64>,
    /// The number of consecutive bad reports.
    pub wait: u64,
    /// The number of reports left to pause.
    pub cooldown: u64,
    /// The product of all reductions; 1 at first.
    pub envelope: f64,
    /// With a trend window: the last finite metrics since the last reduction, oldest first. Otherwise empty.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
    pub recent: Vec<f64>,
}

impl Default for PlateauState {
    fn default() -> Self {
        Self { best: None, wait: 0, cooldown: 0, envelope: 1.0, recent: Vec::new() }
    }
}

impl Plateau {
    /// Keras' counting and defaults: smaller is better, by more than 1e-4.
    ///
    /// # Errors
    ///
    /// A factor outside (0, 1).
    pub fn keras(factor: f64, patience: u64) -> Result<Self, ConfigError> {
        Self {
            factor,
            patience,
            counting: Counting::Keras,
            improvement: None,
            trend_window: None,
            cooldown: 0,
            floor: 0.0,
            scope: Scope::Rate,
            eps: None,
        }
        .check()
    }

    /// PyTorch's counting and defaults: smaller is better, by more than a share of 1e-4.
    ///
    /// # Errors
    ///
    /// A factor outside (0, 1).
    pub fn pytorch(factor: f64, patience: u64) -> Result<Self, ConfigError> {
        Self { counting: Counting::Pytorch, ..Self::keras(factor, patience)? }.check()
    }

    /// The auto-decay of nupam/keras-callbacks: Keras' counting on the peak. Use it with
    /// [`Watch::CycleEnds`](super::Watch::CycleEnds), so that `patience` counts cycles.
    ///
    /// # Errors
    ///
    /// A decay outside (0, 1).
    pub fn auto_decay(decay: f64, patience: u64) -> Result<Self, ConfigError> {
        Ok(Self::keras(decay, patience)?.with_scope(Scope::Peak))
    }

    /// Sets what counts as an improvement.
    ///
    /// # Errors
    ///
    /// A negative or non-finite `min_delta`.
    pub fn with_improvement(mut self, improvement: Improvement) -> Result<Self, ConfigError> {
        self.improvement = Some(improvement);
        self.check()
    }

    /// Judges the trend of the last `window` reports, instead of comparing with the best one.
    ///
    /// # Formula
    ///
    /// A report is bad if the metric does not improve over the window that it ends. The metric improves if both hold:
    ///
    /// ```text
    /// S   = sum of sign(y_j - y_i) over all pairs i < j of the window; its sign is turned round for Direction::Max
    /// S falls more than noise:  S < 0 and (|S| - 1)^2 > 1.645^2 n (n - 1) (2 n + 5) / 18           n = window
    /// it falls enough:          median of the newer half is better than the median of the older half (for an odd
    ///                           window without the report in the middle), by the rule of with_improvement
    /// ```
    ///
    /// The first condition is the one-sided test of Mann and Kendall for a trend, at 5 %: about one in twenty windows without
    /// a trend seems to improve. The test looks only at which of two reports is larger, so the size of a spike does not
    /// matter. The [`Counting`] still determines patience, cooldown and reduction.
    ///
    /// - No report is bad until the window is full. After a reduction the window is emptied and fills with reports under the
    ///   new rate. So a metric that never improves leads to a first reduction after `window - 1 + patience` reports in
    ///   Keras' counting, and `window + patience` in PyTorch's.
    /// - A jump to another level, however large, makes fewer than `window` reports bad if the metric improves before and after
    ///   it. So with a patience of at least `window`, a jump alone never reduces the rate.
    /// - A metric that is not finite is bad, and does not enter the window.
    /// - [`Observation::improved`](super::Observation::improved) still compares with the best of all reports, so the best weights
    ///   stay the best.
    /// - With [`Watch::CycleEnds`](super::Watch::CycleEnds) the window holds one report for each cycle.
    ///
    /// A window of 1 to 2 times the patience works well. A longer one tolerates more noise and notices a plateau later.
    /// `tests/feedback.rs` compares 300 runs with a patience of 10 and noise of five times the fall per report. With a window
    /// of 20 the rate was never reduced while the loss fell, and the plateau was noticed after 21 reports. Without a window,
    /// the rate was reduced too early in 30 % of the runs, and the plateau was noticed after 14 reports.
    ///
    /// ```
    /// use cyclic_optim::feedback::Plateau;
    /// use cyclic_optim::{ClrConfig, Constant, CyclicOptimizer, RateAndMomentum};
    ///
    /// // The loss falls from 1.0 to 0.5, jumps to 3.0, and falls again.
    /// let losses = (0..10).map(|n| 1.0 - 0.05 * f64::from(n)).chain((0..20).map(|n| 3.0 - 0.05 * f64::from(n)));
    /// let run = |plateau: Plateau| {
    ///     let config = ClrConfig::new(Constant::new(0.1)?).with_plateau(plateau)?;
    ///     let mut optimizer = CyclicOptimizer::new(RateAndMomentum::default(), config);
    ///     losses.clone().for_each(|loss| _ = optimizer.observe(loss));
    ///     Ok::<_, cyclic_optim::ConfigError>(optimizer.lr())
    /// };
    /// assert_eq!(run(Plateau::keras(0.5, 6)?)?, 0.1 * 0.125);
    /// assert_eq!(run(Plateau::keras(0.5, 6)?.with_trend_window(6)?)?, 0.1);
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    ///
    /// # References
    ///
    /// H. B. Mann, *Nonparametric tests against trend*, 1945; M. G. Kendall, *Rank Correlation Methods*, 1975. D. King's learning
    /// rate scheduling in dlib also judges a trend, by the slope of a line.
    ///
    /// # Errors
    ///
    /// A window below 4: fewer reports cannot show a trend at 5 %.
    pub fn with_trend_window(mut self, window: u64) -> Result<Self, ConfigError> {
        self.trend_window = Some(window);
        self.check()
    }

    /// Pauses for `cooldown` reports after a reduction.
    #[must_use]
    pub fn with_cooldown(mut self, cooldown: u64) -> Self {
        self.cooldown = cooldown;
        self
    }

    /// Does not reduce the reference rate below `floor`.
    ///
    /// # Errors
    ///
    /// A negative or non-finite rate. The config refuses a floor above the reference rate.
    pub fn with_floor(mut self, floor: f64) -> Result<Self, ConfigError> {
        self.floor = floor;
        self.check()
    }

    /// Sets what is reduced: the whole rate or the peak.
    #[must_use]
    pub fn with_scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Skips a reduction of the reference rate by `eps` or less. Patience and cooldown still start again. Only PyTorch's
    /// counting has this option; its default is 1e-8.
    ///
    /// ```
    /// use cyclic_optim::feedback::Plateau;
    /// use cyclic_optim::{ClrConfig, Constant, CyclicOptimizer, RateAndMomentum};
    ///
    /// let plateau = Plateau::pytorch(0.5, 0)?.with_eps(0.1)?;
    /// let config = ClrConfig::new(Constant::new(0.4)?).with_plateau(plateau)?;
    /// let mut optimizer = CyclicOptimizer::new(RateAndMomentum::default(), config);
    /// let scaled: Vec<_> = [1.0, 1.0, 1.0].map(|loss| optimizer.observe(loss).scaled).into();
    /// assert_eq!(scaled, [None, Some(0.5), None]); // 0.4 to 0.2 is more than 0.1, 0.2 to 0.1 is not
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A negative or non-finite `eps`; any `eps` with Keras' counting.
    pub fn with_eps(mut self, eps: f64) -> Result<Self, ConfigError> {
        self.eps = Some(eps);
        self.check()
    }

    pub(crate) fn check(self) -> Result<Self, ConfigError> {
        check::shrinking("factor", self.factor)?;
        self.improvement().check()?;
        check::rate("floor", self.floor)?;
        self.trend_window.map_or(Ok(()), |window| check::at_least("trend_window", window, trend::SMALLEST_WINDOW))?;
        if let Some(eps) = self.eps {
            check::non_negative("eps", eps)?;
            if self.counting == Counting::Keras {
                let problem = "is an option of PyTorch's counting: remove it, or set counting to pytorch";
                return Err(ConfigError::Conflict { field: "eps", problem });
            }
        }
        Ok(self)
    }

    /// What counts as better: what was set, or the default of the library.
    pub(crate) fn improvement(&self) -> Improvement {
        let min_delta = match self.counting {
            Counting::Keras => MinDelta::Absolute(1e-4),
            Counting::Pytorch => MinDelta::Relative(1e-4),
        };
        self.improvement.unwrap_or(Improvement { direction: Direction::Min, min_delta })
    }

    /// Whether a report is bad, which means that it counts towards the patience.
    fn is_bad(&self, recent: &mut Vec<f64>, metric: f64, is_best: bool) -> bool {
        let Some(window) = self.trend_window else { return !is_best };
        if !metric.is_finite() {
            return true;
        }
        recent.push(metric);
        let Ok(window) = usize::try_from(window) else { return false };
        // There may be several too many, if the run was resumed with a smaller window.
        recent.drain(..recent.len().saturating_sub(window));
        recent.len() == window && !trend::improves(recent, self.improvement(), self.counting)
    }

    /// Judges a metric. The reference rate must not fall below the floor or `lowest`. Returns whether the metric is better than
    /// the best so far, and the factor if the envelope has shrunk.
    pub(crate) fn judge(
        &self,
        state: &mut PlateauState,
        metric: f64,
        reference: f64,
        lowest: f64,
    ) -> (bool, Option<f64>) {
        let better = self.improvement().is_better_to(self.counting, metric, state.best);
        if better {
            state.best = Some(metric);
        }
        let bad = self.is_bad(&mut state.recent, metric, better);
        let due = match self.counting {
            Counting::Keras => {
                if state.cooldown > 0 {
                    state.cooldown -= 1;
                    state.wait = 0;
                }
                if !bad {
                    state.wait = 0;
                } else if state.cooldown == 0 {
                    state.wait = state.wait.saturating_add(1);
                }
                bad && state.cooldown == 0 && state.wait >= self.patience
            }
            Counting::Pytorch => {
                state.wait = if bad { state.wait.saturating_add(1) } else { 0 };
                if state.cooldown > 0 {
                    state.cooldown -= 1;
                    state.wait = 0;
                }
                state.wait > self.patience
            }
        };
        if !due {
            return (better, None);
        }
        let lowest = if reference > 0.0 { self.floor.max(lowest) / reference } else { 0.0 };
        let shrunk = (state.envelope * self.factor).max(lowest).min(state.envelope);
        let changes = match self.counting {
            Counting::Keras => shrunk < state.envelope,
            Counting::Pytorch => state.envelope * reference - shrunk * reference > self.eps.unwrap_or(1e-8),
        };
        // If there is nothing left to reduce, Keras continues to count and PyTorch starts again.
        if changes || self.counting == Counting::Pytorch {
            (state.cooldown, state.wait) = (self.cooldown, 0);
            state.recent.clear();
        }
        if !changes {
            return (better, None);
        }
        let factor = shrunk / state.envelope;
        state.envelope = shrunk;
        (better, Some(factor))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn rates(plateau: &Plateau, start: f64, metrics: &[f64]) -> Vec<f64> {
        let mut state = PlateauState::default();
        metrics
            .iter()
            .map(|&metric| {
                let _ = plateau.judge(&mut state, metric, start, 0.0);
                start * state.envelope
            })
            .collect()
    }

    fn assert_close(values: &[f64], expected: &[f64]) {
        assert_eq!(values.len(), expected.len());
        for (value, expected) in values.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-12, "{values:?}, expected {expected:?}");
        }
    }

    /// Keras' and PyTorch's own results for a constant metric of 1.0 and factor 0.5, by patience and cooldown.
    #[test]
    fn table_h() {
        let keras = |patience, cooldown, expected: &[f64]| {
            let plateau = Plateau::keras(0.5, patience).unwrap().with_cooldown(cooldown);
            assert_close(&rates(&plateau, 1.0, &[1.0; 10][..expected.len()]), expected);
        };
        let pytorch = |patience, cooldown, expected: &[f64]| {
            let plateau = Plateau::pytorch(0.5, patience).unwrap().with_cooldown(cooldown);
            assert_close(&rates(&plateau, 1.0, &[1.0; 10][..expected.len()]), expected);
        };
        for cooldown in [0, 1] {
            for patience in [0, 1] {
                keras(patience, cooldown, &[1.0, 0.5, 0.25, 0.125, 0.0625]);
            }
            keras(2, cooldown, &[1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.125]);
        }
        keras(0, 2, &[1.0, 0.5, 0.5, 0.25, 0.25, 0.125]);
        keras(1, 2, &[1.0, 0.5, 0.5, 0.25, 0.25, 0.125]);
        keras(2, 2, &[1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]);
        keras(2, 3, &[1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25]);
        keras(3, 0, &[1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25]);
        pytorch(2, 0, &[1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25]);
        pytorch(2, 1, &[1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25]);

        let floored = Plateau::keras(0.1, 1).unwrap().with_floor(0.005).unwrap();
        assert_close(&rates(&floored, 0.1, &[1.0; 4]), &[0.1, 0.01, 0.005, 0.005]);
        let patient = Plateau::keras(0.5, 2).unwrap();
        let nan = f64::NAN;
        assert_close(&rates(&patient, 1.0, &[1.0, nan, nan, nan, nan, nan]), &[1.0, 1.0, 0.5, 0.5, 0.25, 0.25]);
        let slow: Vec<f64> = (0..8).map(|e| 1.0 - 5e-5 * f64::from(e)).collect();
        assert_close(&rates(&patient, 1.0, &slow), &[1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]);
    }

    /// `auto_decay` of nupam/keras-callbacks, one value for each cycle.
    #[test]
    fn table_e_auto_decay() {
        let peaks = rates(&Plateau::auto_decay(0.6, 1).unwrap(), 0.4, &[1.0, 0.9, 0.95, 0.94, 0.8, 0.85]);
        assert_close(&peaks, &[0.4, 0.4, 0.24, 0.144, 0.144, 0.0864]);
    }

    #[test]
    fn negative_metrics_get_worse_when_they_rise() {
        // PyTorch 2.15.0 takes each for an improvement and never decays.
        let improvement = Improvement::new(Direction::Min, MinDelta::Relative(0.1)).unwrap();
        let plateau = Plateau::pytorch(0.5, 1).unwrap().with_improvement(improvement).unwrap();
        assert_close(&rates(&plateau, 1.0, &[-1.0, -0.95, -0.90]), &[1.0, 1.0, 0.5]);
    }

    #[test]
    fn every_precondition() {
        for bad in [f64::NAN, 0.0, 1.0, -0.5, 1.5] {
            assert!(matches!(Plateau::keras(bad, 1), Err(ConfigError::OutOfRange { field: "factor", .. })));
            assert!(matches!(Plateau::pytorch(bad, 1), Err(ConfigError::OutOfRange { field: "factor", .. })));
        }
        for bad in [f64::NAN, f64::INFINITY, -1e-8] {
            let plateau = Plateau::pytorch(0.5, 0).unwrap().with_eps(bad);
            assert!(matches!(plateau, Err(ConfigError::OutOfRange { field: "eps", .. })));
        }
        let keras = Plateau::keras(0.5, 0).unwrap().with_eps(1e-8);
        assert!(matches!(keras, Err(ConfigError::Conflict { field: "eps", .. })));
        for bad in [f64::NAN, -0.1] {
            let floored = Plateau::keras(0.5, 1).unwrap().with_floor(bad);
            assert!(matches!(floored, Err(ConfigError::Rate { field: "floor", .. })));
        }
    }
}
