//! The scheduler: a schedule with its options as a burn `LrScheduler`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn_optim::LearningRate;
use burn_optim::lr_scheduler::{LrScheduler, LrSchedulerRecord};
use cyclic_optim::feedback::{Observation, Stop};
use cyclic_optim::{
    Applied, Clip, ClrConfig, ClrState, ConfigError, CyclicOptimizer, History, IntoConfig, Policy, RateAndMomentum,
    Schedule,
};
use thiserror::Error;

use crate::momentum::{CycledMomentum, MomentumCell};
use crate::record::{self, LoadError};

/// Why a scheduler could not be made from a config.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum SchedulerError {
    /// The config is invalid here. [`ConfigError::NoMomentum`] means that it cycles momentum, which needs
    /// [`with_optimizer`](ClrScheduler::with_optimizer).
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The config asks for something that needs the gradients, which a scheduler of burn never sees.
    #[error("{0} needs the gradients, which a scheduler of burn never sees")]
    NeedsGradients(&'static str),
}

/// A schedule as a learning-rate scheduler of burn, for its `Learner` and for loops by hand.
///
/// Takes a schedule of cyclic-optim, or a [`ClrConfig`] with decay, bounds, plateau, early stopping and, by
/// [`with_optimizer`](Self::with_optimizer), cycled momentum. [`step`](LrScheduler::step) returns the rate of the coming
/// update and counts it.
///
/// # What it cannot do
///
/// A scheduler sees neither losses nor gradients. So a config that clips or guards gradients is refused (burn's optimizers
/// have a clipping of their own), and a loss that is NaN is not noticed. Losses and metrics come through the
/// [`handle`](Self::handle). `set_range` and the like are reached through [`change`](Self::change) before the `Learner` takes
/// the scheduler.
///
/// If a schedule of your own gives a rate that is NaN, infinite or negative, the update has a rate of 0.
///
/// # Clones
///
/// A clone continues from the same place independently, and gets its reports from the same [`RunHandle`]. burn's `Learner`
/// clones its scheduler when it loads a checkpoint, and once for each device.
///
/// # Records
///
/// A record holds the whole [`ClrState`]: position, range, scale, plateau and early stopping, all bit for bit. `load_record`
/// cannot fail. A record of another schedule, of another version or with parts missing changes nothing: the run goes on where
/// it is, as with burn's own schedulers, and [`RunHandle::load_error`] says why. [`try_load_record`](Self::try_load_record)
/// returns the reason.
///
/// # Examples
///
/// ```
/// use burn_optim::lr_scheduler::LrScheduler;
/// use cyclic_optim_burn::ClrScheduler;
/// use cyclic_optim_burn::cyclic_optim::Cyclic;
///
/// let mut scheduler = ClrScheduler::new(Cyclic::triangular(0.25, 1.0, 2)?)?;
/// let rates: Vec<f64> = (0..5).map(|_| scheduler.step()).collect();
/// assert_eq!(rates, [0.25, 0.625, 1.0, 0.625, 0.25]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ClrScheduler<S = Policy> {
    run: CyclicOptimizer<RateAndMomentum, S>,
    shared: Arc<Mutex<Shared<S>>>,
    momentum: MomentumCell,
    /// The number of reports that the run has taken.
    taken: usize,
}

/// What schedulers and handles of one run share.
#[derive(Debug)]
struct Shared<S> {
    /// The run as the handles see it. Reports are judged on it.
    judge: CyclicOptimizer<RateAndMomentum, S>,
    /// Where the run stands, if the judge has not been brought there: few updates are followed by a question.
    ahead: Option<ClrState>,
    /// All reports, for schedulers that have not taken them yet.
    reports: Vec<Report>,
    load_error: Option<LoadError>,
}

impl<S: Schedule> Shared<S> {
    /// The judge, where the run stands.
    fn judge(&mut self) -> &mut CyclicOptimizer<RateAndMomentum, S> {
        if let Some(state) = self.ahead.take() {
            // The state is one of a run with the same config, so it is valid.
            let _ = self.judge.restore(state);
        }
        &mut self.judge
    }
}

/// A metric for the plateau and one for early stopping.
type Report = (f64, f64);

fn lock<S>(shared: &Mutex<Shared<S>>) -> MutexGuard<'_, Shared<S>> {
    // Whoever panicked held numbers only.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: Schedule + Clone> ClrScheduler<S> {
    /// A scheduler of the rate alone. Takes a schedule, or a config.
    ///
    /// # Errors
    ///
    /// The config cycles momentum, or clips or guards gradients; a schedule of your own whose first rate is invalid.
    pub fn new(config: impl IntoConfig<S>) -> Result<Self, SchedulerError> {
        Self::checked(config.into_config(), None)
    }

    /// A scheduler of rate and momentum, and the optimizer whose momentum it cycles.
    ///
    /// `build` makes an optimizer of burn with the given momentum, or with a momentum of its own if the config cycles none. It
    /// is called for each parameter at each update. The moments are kept by burn and saved in its records.
    ///
    /// # Errors
    ///
    /// The config clips or guards gradients; a schedule of your own whose first rate is invalid.
    ///
    /// # Examples
    ///
    /// ```
    /// use burn_optim::momentum::MomentumConfig;
    /// use burn_optim::{AdamConfig, ModuleOptimizer, SgdConfig};
    /// use cyclic_optim_burn::ClrScheduler;
    /// use cyclic_optim_burn::cyclic_optim::{ClrConfig, OneCycle};
    ///
    /// let config = ClrConfig::new(OneCycle::new(0.02, 900)?).with_momentum(0.85, 0.95)?;
    /// let (scheduler, adam) = ClrScheduler::with_optimizer(config.clone(), |beta1| match beta1 {
    ///     Some(beta1) => AdamConfig::new().with_beta_1(beta1 as f32).build(),
    ///     None => AdamConfig::new().build(),
    /// })?;
    /// let optimizer = ModuleOptimizer::from(adam); // for a `Learner`, or for `optimizer.step(scheduler.step(), ..)`
    ///
    /// let (scheduler, sgd) = ClrScheduler::with_optimizer(config, |momentum| {
    ///     let momentum = MomentumConfig::new().with_momentum(momentum.unwrap_or(0.9)).with_dampening(0.0);
    ///     SgdConfig::new().with_momentum(Some(momentum)).build()
    /// })?;
    /// assert_eq!(sgd.momentum(), Some(0.95));
    /// # let _ = (scheduler, optimizer);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_optimizer<F, O>(
        config: impl IntoConfig<S>,
        build: F,
    ) -> Result<(Self, CycledMomentum<F>), SchedulerError>
    where
        F: Fn(Option<f64>) -> O,
    {
        let config = config.into_config();
        let scheduler = Self::checked(config, Some(0.0))?;
        let optimizer = CycledMomentum::new(build, scheduler.momentum.clone());
        Ok((scheduler, optimizer))
    }

    fn checked(config: ClrConfig<S>, momentum: Option<f64>) -> Result<Self, SchedulerError> {
        if config.clip() != Clip::default() {
            return Err(SchedulerError::NeedsGradients("clipping"));
        }
        if config.guard().gradients {
            return Err(SchedulerError::NeedsGradients("a guard of the gradients"));
        }
        let run = CyclicOptimizer::try_new(RateAndMomentum { lr: 0.0, momentum }, config)?;
        let cell = MomentumCell::default();
        cell.set(run.momentum());
        let shared = Shared { judge: run.clone(), ahead: None, reports: Vec::new(), load_error: None };
        Ok(Self { run, shared: Arc::new(Mutex::new(shared)), momentum: cell, taken: 0 })
    }

    /// Keeps a history of the run. An update is recorded when [`RunHandle::record`] gets its loss.
    #[must_use]
    pub fn with_history(self, history: History) -> Self {
        let mut shared = lock(&self.shared);
        shared.judge = shared.judge().clone().with_history(history);
        drop(shared);
        self
    }

    /// A handle that stays with the loop when a `Learner` owns the scheduler.
    #[must_use]
    pub fn handle(&self) -> RunHandle<S> {
        RunHandle(Arc::clone(&self.shared))
    }

    /// The run behind the scheduler: config, state, counters, preview.
    #[must_use]
    pub fn run(&self) -> &CyclicOptimizer<RateAndMomentum, S> {
        &self.run
    }

    /// The state of the run, with all reports so far.
    #[must_use]
    pub fn state(&self) -> ClrState {
        let mut copy = self.clone();
        copy.take_reports();
        copy.run.state()
    }

    /// Changes the run from the next update on: `seek`, `reset_cycle`, `set_range`, `set_scale`, `restore`.
    ///
    /// ```
    /// use burn_optim::lr_scheduler::LrScheduler;
    /// use cyclic_optim_burn::ClrScheduler;
    /// use cyclic_optim_burn::cyclic_optim::Cyclic;
    ///
    /// let mut scheduler = ClrScheduler::new(Cyclic::triangular(0.25, 1.0, 2)?)?;
    /// scheduler.change(|run| run.set_range(0.5, 2.0))?;
    /// assert_eq!([scheduler.step(), scheduler.step(), scheduler.step()], [0.5, 1.25, 2.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn change<T>(&mut self, change: impl FnOnce(&mut CyclicOptimizer<RateAndMomentum, S>) -> T) -> T {
        self.take_reports();
        let result = change(&mut self.run);
        self.publish();
        result
    }

    /// Continues from a record.
    ///
    /// # Errors
    ///
    /// A record of another schedule or another version, or one with parts missing. Then nothing changes.
    pub fn try_load_record(&mut self, record: &LrSchedulerRecord) -> Result<(), LoadError> {
        let state = record::read(record, self.run.config())?;
        self.run.restore(state)?;
        let mut shared = lock(&self.shared);
        // What was reported before belongs to the run that the record replaces.
        self.taken = shared.reports.len();
        shared.load_error = None;
        drop(shared);
        self.publish();
        Ok(())
    }

    fn take_reports(&mut self) {
        let shared = lock(&self.shared);
        for &(plateau, early_stopping) in &shared.reports[self.taken..] {
            let _ = self.run.observe_separately(plateau, early_stopping);
        }
        self.taken = shared.reports.len();
    }

    /// Shows the handles where the run stands.
    fn publish(&self) {
        lock(&self.shared).ahead = Some(self.run.state());
    }
}

impl<S: Schedule + Clone + Send + Sync + 'static> LrScheduler for ClrScheduler<S> {
    fn step(&mut self) -> LearningRate {
        self.take_reports();
        let momentum = self.run.momentum();
        let Ok(lr) = self.run.update_with(|rates| Ok::<_, core::convert::Infallible>(rates.lr));
        self.momentum.set(momentum);
        self.publish();
        lr
    }

    fn to_record(&self) -> LrSchedulerRecord {
        record::write(self.run.config(), &self.state())
    }

    fn load_record(&mut self, record: LrSchedulerRecord) {
        if let Err(error) = self.try_load_record(&record) {
            lock(&self.shared).load_error = Some(error);
        }
    }
}

/// Reports metrics to a run whose scheduler a `Learner` owns, and asks where it stands.
///
/// A report changes the rate from the next update on, as it would through
/// [`CyclicOptimizer::observe`](cyclic_optim::CyclicOptimizer::observe).
///
/// ```
/// use burn_optim::lr_scheduler::LrScheduler;
/// use cyclic_optim_burn::ClrScheduler;
/// use cyclic_optim_burn::cyclic_optim::feedback::Plateau;
/// use cyclic_optim_burn::cyclic_optim::{ClrConfig, Constant};
///
/// let config = ClrConfig::new(Constant::new(0.5)?).with_plateau(Plateau::keras(0.5, 1)?)?;
/// let scheduler = ClrScheduler::new(config)?;
/// let handle = scheduler.handle();
/// let mut scheduler: Box<dyn LrScheduler> = Box::new(scheduler); // as a `Learner` keeps it
/// assert!(handle.report(1.0).improved);
/// assert_eq!(scheduler.step(), 0.5);
/// assert_eq!(handle.report(1.0).scaled, Some(0.5));
/// assert_eq!(scheduler.step(), 0.25);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RunHandle<S = Policy>(Arc<Mutex<Shared<S>>>);

impl<S> Clone for RunHandle<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Schedule> RunHandle<S> {
    /// Takes a report for the plateau and early stopping, and says what came of it.
    pub fn report(&self, metric: f64) -> Observation {
        self.report_separately(metric, metric)
    }

    /// Takes a report of two metrics, one for the plateau and one for early stopping.
    pub fn report_separately(&self, plateau_metric: f64, early_stopping_metric: f64) -> Observation {
        let mut shared = lock(&self.0);
        shared.reports.push((plateau_metric, early_stopping_metric));
        shared.judge().observe_separately(plateau_metric, early_stopping_metric)
    }

    /// Records the last update with its loss, if the scheduler was made [`with_history`](ClrScheduler::with_history).
    ///
    /// ```
    /// use burn_optim::lr_scheduler::LrScheduler;
    /// use cyclic_optim_burn::ClrScheduler;
    /// use cyclic_optim_burn::cyclic_optim::{Cyclic, History};
    ///
    /// let mut scheduler = ClrScheduler::new(Cyclic::triangular(0.25, 1.0, 2)?)?.with_history(History::new());
    /// let handle = scheduler.handle();
    /// for loss in [0.9, 0.8] {
    ///     scheduler.step();
    ///     handle.record(loss);
    /// }
    /// let history = handle.history().unwrap();
    /// assert_eq!(history.updates().values("learning_rate").unwrap(), [0.25, 0.625]);
    /// assert_eq!(history.updates().values("loss").unwrap(), [0.9, 0.8]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn record(&self, loss: f64) {
        lock(&self.0).judge().record(loss);
    }

    /// A copy of the history so far, if one is kept.
    #[must_use]
    pub fn history(&self) -> Option<History> {
        lock(&self.0).judge().history().cloned()
    }

    /// What the last update used; `None` before the first one.
    #[must_use]
    pub fn last(&self) -> Option<Applied> {
        lock(&self.0).judge().last()
    }

    /// Why the run should stop, if a report has said so.
    #[must_use]
    pub fn stopped(&self) -> Option<Stop> {
        lock(&self.0).judge().stopped()
    }

    /// The number of updates made.
    #[must_use]
    pub fn iterations(&self) -> u64 {
        lock(&self.0).judge().iterations()
    }

    /// Why the last record was not loaded; `None` if it was, or if there was none.
    #[must_use]
    pub fn load_error(&self) -> Option<LoadError> {
        lock(&self.0).load_error.clone()
    }
}
