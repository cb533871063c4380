//! Changes to a run between two updates: range, schedule, groups, scale, place, and a saved state.

use alloc::boxed::Box;

use super::CyclicOptimizer;
use crate::check;
use crate::error::ConfigError;
use crate::groups::Groups;
#[cfg(feature = "checkpoint")]
use crate::groups::NoGroups;
#[cfg(feature = "checkpoint")]
use crate::history::History;
use crate::hyper::Hyperparameters;
use crate::run::Run;
use crate::schedule::{Amplitude, Cyclic, IntoPolicy, LrRange, Place, Policy, Schedule};
use crate::state::ClrState;

impl<O: Hyperparameters, S: Schedule> CyclicOptimizer<O, S> {
    /// Changes the range of the cycles from the next update on. The place in the cycle stays. A separate end rate
    /// ([`Cyclic::with_end_lr`](crate::Cyclic::with_end_lr), the end of a one-cycle) also stays.
    ///
    /// # Errors
    ///
    /// A negative or non-finite rate, `base_lr` above `max_lr`, a range that the scale makes infinite, a schedule without
    /// base and peak. On an error nothing changes.
    pub fn set_range(&mut self, base_lr: f64, max_lr: f64) -> Result<(), ConfigError> {
        let range = Some(LrRange { base_lr, max_lr });
        self.restore(ClrState { range, ..self.state() })
    }

    /// Follows another schedule from the next update on; `place` says where in it. Moments, `iterations`, scale and feedback
    /// stay. A range that was set before is dropped, because the new schedule has its own.
    ///
    /// The new schedule is part of the [state](Self::state), so it is saved and restored with the run. The config does not
    /// change. To return to the schedule of the config, restore a state whose `schedule` is `None`.
    ///
    /// ```
    /// use cyclic_optim::{Constant, Cyclic, CyclicOptimizer, Place, RateAndMomentum};
    ///
    /// let mut optimizer = CyclicOptimizer::new(RateAndMomentum::default(), Cyclic::triangular(0.0, 1.0, 10)?);
    /// optimizer.seek(25);
    /// assert_eq!(optimizer.lr(), 0.5);
    /// // A quarter into the second cycle, which is 40 updates long now.
    /// optimizer.set_schedule(Cyclic::triangular(0.0, 4.0, 20)?, Place::Keep)?;
    /// assert_eq!((optimizer.lr(), optimizer.clr_iterations()), (2.0, 50));
    /// optimizer.set_schedule(Constant::new(0.1)?, Place::Start)?;
    /// assert_eq!((optimizer.lr(), optimizer.clr_iterations(), optimizer.iterations()), (0.1, 0, 25));
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The config has an option that this schedule does not support, or the scale makes its highest rate infinite. On an error
    /// nothing changes.
    pub fn set_schedule(&mut self, schedule: impl IntoPolicy, place: Place) -> Result<(), ConfigError> {
        self.follow(schedule.into_policy(), None, place)
    }

    /// Sets other groups of parameters from the next update on, for example to train layers that were frozen. They are part
    /// of the [state](Self::state), so they are saved and restored with the run.
    ///
    /// # Errors
    ///
    /// The inner optimizer has no groups. On an error nothing changes.
    pub fn set_groups(&mut self, groups: Groups) -> Result<(), ConfigError> {
        self.restore(ClrState { groups: Some(groups), ..self.state() })
    }

    /// Follows `schedule` over `range`.
    fn follow(&mut self, schedule: Policy, range: Option<LrRange>, place: Place) -> Result<(), ConfigError> {
        let state = self.state();
        let present = state.in_force(self.config.schedule());
        let clr_iterations = place.step_in(&schedule, &present, state.clr_iterations);
        self.restore(ClrState { schedule: Some(Box::new(schedule)), clr_iterations, range, ..self.state() })
    }

    /// Multiplies every rate by `scale` from the next update on, before the bounds are applied.
    ///
    /// # Errors
    ///
    /// A scale that is negative or not finite, or that makes the highest rate of the schedule infinite. On an error nothing
    /// changes.
    pub fn set_scale(&mut self, scale: f64) -> Result<(), ConfigError> {
        self.restore(ClrState { scale, ..self.state() })
    }

    /// Clears the reason to stop: reports are judged again, and the patience of early stopping starts again. The best
    /// metric stays.
    pub fn resume(&mut self) {
        self.run.change(&self.config, |state| (state.stop, state.early_stopping.wait) = (None, 0));
    }

    /// Multiplies every later rate by `factor`, as a recovery from divergence does.
    ///
    /// # Errors
    ///
    /// A factor outside (0, 1). On an error nothing changes.
    pub fn cut_envelope(&mut self, factor: f64) -> Result<(), ConfigError> {
        check::shrinking("factor", factor)?;
        self.run.change(&self.config, |state| state.envelope *= factor);
        self.write();
        Ok(())
    }

    /// Starts the schedule again: `clr_iterations` is 0, and the next update uses the schedule's first value.
    ///
    /// `iterations` continues, and so does the decay of the base. Range and scale stay.
    pub fn reset_cycle(&mut self) {
        self.run.change(&self.config, |state| state.clr_iterations = 0);
        self.write();
    }

    /// Sets both counters to `step`: rates and momenta continue as after `step` updates, bit for bit.
    ///
    /// The inner optimizer's own step count is not touched. [`last`](Self::last) stays, and
    /// [`at_cycle_end`](Self::at_cycle_end) is false, because it describes an update that was made.
    pub fn seek(&mut self, step: u64) {
        self.run.change(&self.config, |state| {
            (state.iterations, state.clr_iterations) = (step, step);
            (state.at_cycle_end, state.unjudged_cycle_end) = (false, false);
        });
        self.write();
    }

    /// Continues a run from `state`.
    ///
    /// # Errors
    ///
    /// An invalid number, such as a scale or a range; a range for a schedule without base and peak; a scale that makes the
    /// highest rate infinite; a step at which a custom schedule gives an invalid rate. On an error nothing changes.
    pub fn restore(&mut self, state: ClrState) -> Result<(), ConfigError> {
        let run = self.located(state)?;
        let before = core::mem::replace(&mut self.run, run);
        if self.run.settled().groups != before.settled().groups {
            if let Err(error) = self.write_groups() {
                self.run = before;
                return Err(error);
            }
        }
        self.write();
        Ok(())
    }

    /// The run that continues from `state`, checked.
    fn located(&self, state: ClrState) -> Result<Run, ConfigError> {
        self.config.check_state(&state)?;
        let run = Run::new(&self.config, state);
        run.scheduled().check()?;
        Ok(run)
    }

    /// What `load` makes of the inner optimizer with the groups of a saved run. To set them afterwards would be a change.
    #[cfg(feature = "checkpoint")]
    pub(crate) fn with_groups_of<T>(&mut self, state: &ClrState, load: impl FnOnce(&O) -> T) -> Result<T, ConfigError> {
        let groups = state.groups.as_ref().unwrap_or(self.config.groups());
        if groups == self.groups() {
            return Ok(load(&self.inner));
        }
        self.inner.set_groups(groups).map_err(|NoGroups| ConfigError::NoGroups)?;
        let loaded = load(&self.inner);
        self.write_groups()?;
        Ok(loaded)
    }

    /// Continues a saved run. If no history was saved, the present one stays.
    #[cfg(feature = "checkpoint")]
    pub(crate) fn continue_from(
        &mut self,
        mut inner: O,
        state: ClrState,
        history: Option<History>,
    ) -> Result<(), ConfigError> {
        let run = self.located(state)?;
        let groups = run.settled().groups.as_ref().unwrap_or(self.config.groups());
        inner.set_groups(groups).map_err(|NoGroups| ConfigError::NoGroups)?;
        (self.run, self.inner) = (run, inner);
        self.history = history.or(self.history.take());
        self.write();
        Ok(())
    }

    /// Makes the next update use `lr` instead of the scheduled rate. [`check_next`](Self::check_next) refuses an
    /// invalid one.
    #[cfg(feature = "candle")]
    pub(crate) fn set_next_lr(&mut self, lr: f64) {
        self.run.set_next_lr(&self.config, lr);
        self.write();
    }
}

impl<O: Hyperparameters> CyclicOptimizer<O> {
    /// Changes the step size, which is half a cycle, from the next update on; `place` says where in the new cycles. A
    /// range that was set stays.
    ///
    /// With [`Place::Start`] this is `_reset(new_step_size=..)` of the Keras callbacks, except that the very next update uses the
    /// first rate of the cycle.
    ///
    /// ```
    /// use cyclic_optim::{Cyclic, CyclicOptimizer, Place, RateAndMomentum};
    ///
    /// let mut optimizer = CyclicOptimizer::new(RateAndMomentum::default(), Cyclic::triangular(0.0, 1.0, 10)?);
    /// optimizer.seek(15);
    /// optimizer.set_step_size(100, Place::Keep)?;
    /// assert_eq!((optimizer.lr(), optimizer.clr_iterations()), (0.5, 150));
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The schedule is not a [`Cyclic`](crate::Cyclic), its length is fixed by `total_steps` or divided by a `step_divisor`, or
    /// `step_size` is 0 or too large. On an error nothing changes.
    pub fn set_step_size(&mut self, step_size: u64, place: Place) -> Result<(), ConfigError> {
        self.change_cyclic("step_size", place, |cyclic| cyclic.with_step_sizes(step_size, step_size))
    }

    /// Changes how the peaks shrink or grow from the next update on; for another gamma pass `Amplitude::Gamma(gamma)`. The
    /// place in the cycle and a range that was set stay.
    ///
    /// # Errors
    ///
    /// The schedule is not a [`Cyclic`](crate::Cyclic), or the amplitude is out of range. On an error nothing changes.
    pub fn set_amplitude(&mut self, amplitude: Amplitude) -> Result<(), ConfigError> {
        self.change_cyclic("amplitude", Place::Keep, |cyclic| cyclic.with_amplitude(amplitude))
    }

    /// Replaces the present schedule, which must be a [`Cyclic`], by what `change` returns for it.
    fn change_cyclic(
        &mut self,
        field: &'static str,
        place: Place,
        change: impl FnOnce(Cyclic) -> Result<Cyclic, ConfigError>,
    ) -> Result<(), ConfigError> {
        let state = self.state();
        let Policy::Cyclic(cyclic) = state.schedule.as_deref().unwrap_or(self.config.schedule()) else {
            let problem = "can only be changed in a cyclic schedule; set a whole schedule instead";
            return Err(ConfigError::Conflict { field, problem });
        };
        self.follow(change(cyclic.clone())?.into(), state.range, place)
    }
}
