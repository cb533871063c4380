//! The wrapper around an inner optimizer. It alone counts updates.

mod changes;

use alloc::vec::Vec;
use core::mem;

use num_traits::ToPrimitive;

use crate::config::{ClrConfig, IntoConfig};
use crate::error::ConfigError;
use crate::feedback::{Observation, Stop};
use crate::groups::{Groups, NoGroups};
use crate::history::{History, LOSS};
use crate::hyper::{Hyper, Hyperparameters};
use crate::run::{Preview, Run};
use crate::schedule::{Cycle, Policy, Schedule};
use crate::state::{Applied, ClrState};

/// An optimizer with its learning-rate schedule inside. It counts its own updates, and each update uses the rate and the
/// momentum of the schedule.
///
/// # Order of one update
///
/// decay of the base -> cycle -> multipliers -> clamp to the bounds -> write into the inner optimizer -> inner update ->
/// both counters + 1. See [`ClrConfig`] for the formula and [`ClrState`] for the counters and multipliers.
///
/// Between updates the inner optimizer holds the rate and the momentum that the *next* update will use, unless they were
/// changed through [`get_mut`](Self::get_mut). [`lr`](Self::lr) and [`momentum`](Self::momentum) return them. What the
/// *last* update used is in [`last`](Self::last): log that.
///
/// # Errors and counters
///
/// The counters advance when the inner optimizer has made its update, and do not advance when it failed. dfdx returns
/// `UnusedParams` after it has updated all other parameters, so the counters advance in that case, too.
///
/// # Invalid rates
///
/// The schedules of this crate give a finite rate for every step. A scale or a range that would make a rate infinite is
/// refused. A custom schedule may give NaN, an infinity, a negative rate or a momentum outside [0, 1).
/// [`apply`](Self::apply) refuses such an update. dfdx's `update` and [`update_with`](Self::update_with) cannot return an
/// error for it. There the inner optimizer gets a rate of 0 and keeps its momentum; [`lr`](Self::lr), [`last`](Self::last)
/// and the history report the rate of 0.
///
/// # What is saved
///
/// [`config`](Self::config) and [`state`](Self::state) are plain data under serde and contain everything about the schedule.
/// The moments belong to the inner optimizer. To read the same bits back from JSON, `serde_json` needs its feature
/// `float_roundtrip`.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "dfdx")] {
/// use cyclic_optim::{Adam, Cyclic, CyclicOptimizer};
/// use dfdx::optim::Optimizer;
/// use dfdx::prelude::{Cpu, DeviceBuildExt, Linear, Module, SampleTensor, Tensor, Rank2, Trace, ZeroGrads, mse_loss};
/// use dfdx::tensor_ops::Backward;
///
/// let device = Cpu::default();
/// let mut model = device.build_module::<Linear<4, 1>, f32>();
/// let mut grads = model.alloc_grads();
/// let mut optimizer = CyclicOptimizer::new(Adam::default(), Cyclic::triangular(0.001, 0.006, 2000).unwrap());
/// let (x, y): (Tensor<Rank2<8, 4>, f32, _>, Tensor<Rank2<8, 1>, f32, _>) = (device.sample_normal(), device.sample_normal());
/// for _ in 0..3 {
///     grads = mse_loss(model.forward(x.trace(grads)), y.clone()).backward();
///     optimizer.update(&mut model, &grads).unwrap();
///     model.zero_grads(&mut grads);
/// }
/// assert_eq!(optimizer.last().unwrap().step, 2);
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct CyclicOptimizer<O, S = Policy> {
    inner: O,
    config: ClrConfig<S>,
    run: Run,
    /// Whether somebody had mutable access to the inner optimizer since the next rates were written, and may have
    /// overwritten them.
    touched: bool,
    /// Whether every parameter had a gradient in the last update of `apply`. Then the next one need not search for missing
    /// ones.
    pub(crate) all_present: bool,
    history: Option<History>,
}

impl<O: Hyperparameters, S: Schedule> CyclicOptimizer<O, S> {
    /// Wraps `inner`. `config` is a schedule or a [`ClrConfig`]; for a schedule of your own, use [`ClrConfig::custom`].
    ///
    /// # Panics
    ///
    /// If [`try_new`](Self::try_new) returns an error.
    #[expect(clippy::panic, reason = "documented; `try_new` does not panic")]
    pub fn new(inner: O, config: impl IntoConfig<S>) -> Self {
        match Self::try_new(inner, config) {
            Ok(optimizer) => optimizer,
            Err(error) => panic!("{error}"),
        }
    }

    /// Wraps `inner`, and writes the first rate and momentum into it.
    ///
    /// # Errors
    ///
    /// The config cycles the momentum, schedules another hyper-parameter or has groups, and `inner` does not support
    /// that. `inner` has no learning rate. The first rate or momentum of a custom schedule is invalid.
    pub fn try_new(mut inner: O, config: impl IntoConfig<S>) -> Result<Self, ConfigError> {
        let config = config.into_config();
        inner.get(Hyper::LearningRate).ok_or(ConfigError::NoLearningRate)?;
        if config.momentum().is_some() {
            inner.get(Hyper::Momentum).ok_or(ConfigError::NoMomentum)?;
        }
        for (hyper, _) in config.hyper().iter() {
            inner.get(hyper).ok_or(ConfigError::NoHyper { hyper: hyper.name() })?;
        }
        if !config.groups().is_empty() {
            inner.set_groups(config.groups()).map_err(|NoGroups| ConfigError::NoGroups)?;
        }
        let run = Run::new(&config, ClrState::default());
        run.scheduled().check()?;
        let mut optimizer = Self { inner, config, run, touched: false, all_present: false, history: None };
        optimizer.write();
        Ok(optimizer)
    }

    /// Gives the optimizer a history, which records each update from now on.
    ///
    /// [`apply`](Self::apply) knows the loss and records it. After a plain `update`, call [`record`](Self::record).
    #[must_use]
    pub fn with_history(mut self, history: History) -> Self {
        self.history = Some(history);
        self
    }

    /// Records the last update with its loss in the history. Does nothing without a history, before the first update, or for
    /// an update that the history does not keep. A second call for the same update replaces the loss.
    ///
    /// ```
    /// use cyclic_optim::{Constant, CyclicOptimizer, History, RateAndMomentum};
    ///
    /// let mut optimizer = CyclicOptimizer::new(RateAndMomentum::default(), Constant::new(0.5)?).with_history(History::new());
    /// for loss in [0.9, 0.8] {
    ///     optimizer.update_with(|_| Ok::<(), ()>(())).unwrap();
    ///     optimizer.record(loss);
    /// }
    /// let updates = optimizer.history().unwrap().updates();
    /// assert_eq!(updates.values("learning_rate").unwrap(), [0.5, 0.5]);
    /// assert_eq!(updates.values("loss").unwrap(), [0.9, 0.8]);
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    #[expect(clippy::needless_pass_by_value, reason = "a number")]
    pub fn record(&mut self, loss: impl ToPrimitive) {
        let loss = loss.to_f64().unwrap_or(f64::NAN);
        let (Some(used), Some(history)) = (self.run.last(), &self.history) else { return };
        // The same update, or the same iteration again after `restore` or `seek`.
        let again = history.updates().index().last() == Some(&used.iteration);
        self.keep_record(used, loss, if again { History::replace_last } else { History::record });
    }

    /// Records an update in the history, if there is one.
    fn keep_record(&mut self, used: Applied, loss: f64, keep: fn(&mut History, &Applied, &[(&str, f64)])) {
        let Some(mut history) = self.history.take() else { return };
        if self.groups().is_empty() {
            keep(&mut history, &used, &[(LOSS, loss)]);
        } else {
            let rates: Vec<_> = self.groups().rates(used.lr).collect();
            let mut metrics: Vec<_> = rates.iter().map(|(name, rate)| (name.as_str(), *rate)).collect();
            metrics.push((LOSS, loss));
            keep(&mut history, &used, &metrics);
        }
        self.history = Some(history);
    }

    /// Makes one update: `step` gets the inner optimizer, which already has the scheduled rate and momentum, and makes
    /// its update.
    ///
    /// The counters advance if `step` returns `Ok`. This works with any optimizer; the framework adapters are built on
    /// it.
    ///
    /// # Errors
    ///
    /// The errors of `step`.
    #[inline]
    pub fn update_with<T, E>(&mut self, step: impl FnOnce(&mut O) -> Result<T, E>) -> Result<T, E> {
        let result = self.step(step);
        if result.is_ok() {
            self.finish();
        } else {
            // The failed step may have changed the rates.
            self.write();
        }
        result
    }

    /// Runs `step` on the inner optimizer, which holds the rates of the update to be made. If `step` panics, the rates are
    /// written again before the next update.
    #[inline]
    pub(crate) fn step<T>(&mut self, step: impl FnOnce(&mut O) -> T) -> T {
        // Only a panic drops this value, so it costs an update nothing.
        struct Touched<'a>(&'a mut bool);

        impl Drop for Touched<'_> {
            fn drop(&mut self) {
                *self.0 = true;
            }
        }

        self.put_right();
        let touched = Touched(&mut self.touched);
        let result = step(&mut self.inner);
        mem::forget(touched);
        result
    }

    /// Writes the next rates again if they may have been overwritten.
    #[inline]
    pub(crate) fn put_right(&mut self) {
        if self.touched {
            self.touched = false;
            self.write();
            if !self.groups().is_empty() {
                // The inner optimizer has accepted these groups before, so this cannot fail.
                let _ = self.write_groups();
            }
        }
    }

    /// Counts the update, and writes the rates of the next one.
    #[inline]
    pub(crate) fn finish(&mut self) {
        self.run.count(&self.config);
        self.write();
    }

    /// Like [`finish`](Self::finish), for an update by `apply`: also records it.
    pub(crate) fn finish_applied(&mut self, used: Applied, loss: f64) {
        self.finish();
        self.keep_record(used, loss, History::record);
        if used.grad_norm.is_some() {
            self.run.change(&self.config, |state| state.last = Some(used));
        }
    }

    /// Counts a refused update. If the guard's limit is reached, returns the number of consecutive refusals.
    pub(crate) fn refuse(&mut self) -> Option<u64> {
        let max_refusals = self.config.guard().max_refusals;
        self.run.change(&self.config, |state| {
            state.refusals = state.refusals.saturating_add(1);
            max_refusals.is_some_and(|max_refusals| state.refusals >= max_refusals).then(|| {
                state.stop = Some(Stop::TooManyRefusals);
                state.refusals
            })
        })
    }

    /// Takes a report: a loss or another metric of an epoch, or of any other period. The plateau and early stopping react
    /// to it; see [`feedback`](crate::feedback). Both judge the same metric, so a config with both should give them the
    /// same [`Direction`](crate::feedback::Direction).
    ///
    /// Once a report has returned a reason to stop, further reports return the same reason and change nothing, until
    /// [`resume`](Self::resume).
    ///
    /// ```
    /// use cyclic_optim::feedback::Plateau;
    /// use cyclic_optim::{ClrConfig, Constant, CyclicOptimizer, RateAndMomentum};
    ///
    /// let config = ClrConfig::new(Constant::new(0.5)?).with_plateau(Plateau::keras(0.5, 1)?)?;
    /// let mut optimizer = CyclicOptimizer::new(RateAndMomentum::default(), config);
    /// assert!(optimizer.observe(1.0).improved);
    /// assert_eq!(optimizer.observe(1.0).scaled, Some(0.5));
    /// assert_eq!(optimizer.lr(), 0.25);
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    #[expect(clippy::needless_pass_by_value, reason = "a number")]
    pub fn observe(&mut self, metric: impl ToPrimitive) -> Observation {
        let metric = metric.to_f64().unwrap_or(f64::NAN);
        self.observe_separately(metric, metric)
    }

    /// Takes a report of two metrics, one for the plateau and one for early stopping. Each has its own rule of improvement, so
    /// the directions may differ. [`observe`](Self::observe) does the same with one metric for both.
    ///
    /// ```
    /// use cyclic_optim::feedback::{Direction, EarlyStopping, Improvement, MinDelta, Plateau, Stop};
    /// use cyclic_optim::{ClrConfig, Constant, CyclicOptimizer, RateAndMomentum};
    ///
    /// let accuracy = Improvement::new(Direction::Max, MinDelta::Absolute(0.0))?;
    /// let config = ClrConfig::new(Constant::new(0.5)?)
    ///     .with_plateau(Plateau::keras(0.5, 1)?)?
    ///     .with_early_stopping(EarlyStopping::new(1)?.with_improvement(accuracy)?)?;
    /// let mut optimizer = CyclicOptimizer::new(RateAndMomentum::default(), config);
    /// let _ = optimizer.observe_separately(0.9, 0.6);
    /// // The loss has not come down, the accuracy has risen.
    /// let report = optimizer.observe_separately(0.9, 0.7);
    /// assert_eq!((report.scaled, report.improved, report.stop), (Some(0.5), true, None));
    /// // The loss has come down, the accuracy has not risen.
    /// let report = optimizer.observe_separately(0.8, 0.7);
    /// assert_eq!((report.scaled, report.improved, report.stop), (None, false, Some(Stop::NoImprovement)));
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    #[expect(clippy::needless_pass_by_value, reason = "numbers")]
    pub fn observe_separately(
        &mut self,
        plateau_metric: impl ToPrimitive,
        early_stopping_metric: impl ToPrimitive,
    ) -> Observation {
        let number = |metric: Option<f64>| metric.unwrap_or(f64::NAN);
        let (plateau, early_stopping) = (number(plateau_metric.to_f64()), number(early_stopping_metric.to_f64()));
        let config = &self.config;
        let observation = self.run.change(config, |state| config.observe(state, plateau, early_stopping));
        self.write();
        observation
    }

    /// Writes the groups in force into the inner optimizer.
    fn write_groups(&mut self) -> Result<(), ConfigError> {
        // Not through `self.groups()`, which would borrow the whole optimizer.
        let groups = self.run.settled().groups.as_ref().unwrap_or(self.config.groups());
        self.inner.set_groups(groups).map_err(|NoGroups| ConfigError::NoGroups)
    }

    #[inline]
    fn write(&mut self) {
        // `try_new` has checked that the inner optimizer supports these. If the user has switched momentum off since
        // then, it stays off, and no momentum is reported.
        let next = self.run.next();
        let _ = self.inner.set(Hyper::LearningRate, next.lr);
        if let Some(momentum) = next.momentum {
            if self.inner.set(Hyper::Momentum, momentum).is_err() {
                self.run.without_momentum();
            }
        }
        if let Some(hypers) = self.run.next_hypers() {
            self.write_hypers(hypers);
        }
    }

    /// Cold, to keep it out of the path of runs without such schedules.
    #[cold]
    #[inline(never)]
    fn write_hypers(&mut self, hypers: impl Iterator<Item = (Hyper, f64)>) {
        for (hyper, value) in hypers {
            if self.inner.set(hyper, value).is_err() {
                self.run.without_hyper(hyper);
            }
        }
    }

    /// Mutable access to the inner optimizer. The scheduled rate and momentum are written again before the next update;
    /// all other changes stay.
    pub fn get_mut(&mut self) -> &mut O {
        self.touched = true;
        &mut self.inner
    }
}

impl<O, S: Schedule> CyclicOptimizer<O, S> {
    /// Checks the rate and the momentum of the next update.
    #[inline]
    pub(crate) fn check_next(&self) -> Result<(), ConfigError> {
        self.run.scheduled().check()
    }

    /// What the next update will use.
    pub(crate) fn upcoming(&self) -> Applied {
        self.run.upcoming()
    }

    /// The learning rate that the next update will use.
    pub fn lr(&self) -> f64 {
        self.run.next().lr
    }

    /// The momentum that the next update will use, if momentum is cycled or has a schedule.
    pub fn momentum(&self) -> Option<f64> {
        self.hyper(Hyper::Momentum)
    }

    /// The value of a hyper-parameter that the next update will use; `None` for one that has no schedule.
    pub fn hyper(&self, hyper: Hyper) -> Option<f64> {
        self.upcoming().get(hyper)
    }

    /// The groups of parameters in force. `groups().rates(used.lr)` are the rates of the groups in an update.
    pub fn groups(&self) -> &Groups {
        self.run.settled().groups.as_ref().unwrap_or(self.config.groups())
    }

    /// What the last update used; `None` before the first one.
    pub fn last(&self) -> Option<Applied> {
        self.run.last()
    }

    /// Why the run should stop, if a report or the guard has found a reason.
    pub fn stopped(&self) -> Option<Stop> {
        self.run.settled().stop
    }

    /// The number of updates made so far in the run: the iteration of the next update.
    pub fn iterations(&self) -> u64 {
        self.run.iterations()
    }

    /// The number of updates since the last reset: the step of the next update.
    pub fn clr_iterations(&self) -> u64 {
        self.run.clr_iterations()
    }

    /// The cycle that the next update lies in; `None` outside of all cycles.
    pub fn cycle(&self) -> Option<Cycle> {
        self.run.cycle()
    }

    /// Whether the last update was the last one of its cycle: the moment for a snapshot.
    pub fn at_cycle_end(&self) -> bool {
        self.run.at_cycle_end()
    }

    /// Whether the schedule has reached its horizon. From there on its value is constant.
    pub fn is_finished(&self) -> bool {
        self.remaining() == Some(0)
    }

    /// The number of updates until the schedule reaches its horizon; `None` for an endless schedule.
    pub fn remaining(&self) -> Option<u64> {
        let state = self.run.settled();
        state.in_force(self.config.schedule()).horizon().map(|horizon| horizon.saturating_sub(self.clr_iterations()))
    }

    /// What the next `n` updates will use if no report, reset or new range comes in between.
    pub fn preview(&self, n: usize) -> core::iter::Take<Preview<'_, S>> {
        self.config.preview_from(self.state()).take(n)
    }

    /// The config. A schedule that was set during the run is in the state instead.
    pub fn config(&self) -> &ClrConfig<S> {
        &self.config
    }

    /// The state of the run.
    pub fn state(&self) -> ClrState {
        self.run.state()
    }

    /// The history, if the optimizer owns one.
    pub fn history(&self) -> Option<&History> {
        self.history.as_ref()
    }

    /// The history, to record epochs and further metrics.
    pub fn history_mut(&mut self) -> Option<&mut History> {
        self.history.as_mut()
    }

    /// The inner optimizer.
    pub fn get_ref(&self) -> &O {
        &self.inner
    }

    /// Unwraps the inner optimizer. It has the rate and momentum of the next update, unless they were changed through
    /// [`get_mut`](Self::get_mut).
    pub fn into_inner(self) -> O {
        self.inner
    }
}
