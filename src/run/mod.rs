//! A run: the state, and what makes an update cheap.
//!
//! A scheduled update takes about 4 ns. It must not look up a cycle (an integer division alone takes 3 ns) or copy the
//! whole [`ClrState`]. So a run keeps everything that stays the same for many updates, and looks it up again only when
//! it becomes invalid:
//!
//! - A **ramp** (`schedule/ramp.rs`) is one rise, fall or hold of a schedule: a curve between two ends, from one update to
//!   another. A triangle has two ramps in each cycle. Within a ramp a value is one division, one curve and one
//!   interpolation. Only schedules of this crate have ramps ([`Schedule::ramp_at`]); others are asked for a
//!   [`point_at`](Schedule::point_at) at each update.
//! - A **cursor** (beside the ramp) keeps the ramp and the cycle of one step, and knows for how many updates both hold.
//! - [`Rates`] are the rate and momentum of one update: the point of the cursor, with decay, momentum, multiplier and bounds.
//! - [`Run`] keeps the state at the last look-up, the cursor, and the number of updates since. An update adds 1 to that
//!   number and computes the next rates. The full [`ClrState`] is put together when somebody asks for it, and when the
//!   cursor has to be renewed.
//!
//! Ramps and cursor belong to the module `schedule`, because schedules make ramps and
//! [`Values`](crate::schedule::Values) iterates over them.

mod hypers;
mod preview;
mod rates;
mod report;

use alloc::boxed::Box;

use hypers::Hypers;
pub use preview::Preview;
pub(crate) use rates::Rates;

use crate::config::ClrConfig;
use crate::feedback::Stop;
use crate::hyper::Hyper;
use crate::schedule::{Cursor, Cycle, Schedule};
use crate::state::{Applied, ClrState};

/// The state of a run in a form that is cheap to advance; see the documentation of this module.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// The state when the cursor was looked up.
    state: ClrState,
    cursor: Cursor,
    /// The number of updates made since then.
    made: u64,
    /// The number of updates until the cursor has to be renewed; 1 if the next update also has to clear refusals or a
    /// rate that was set.
    serves_for: u64,
    /// The factor on every rate.
    multiplier: f64,
    /// What the last update used, if any was made since the cursor was looked up.
    used: Rates,
    /// What the next update will use.
    next: Rates,
    /// The rate that was set for the next update alone.
    set_lr: Option<f64>,
    /// `used` and `next` of the other hyper-parameters, if any has a schedule.
    hypers: Option<Box<(Hypers, Hypers)>>,
}

impl Run {
    /// A run that continues from `state`.
    pub(crate) fn new<S: Schedule>(config: &ClrConfig<S>, state: ClrState) -> Self {
        let cursor = Cursor::new(&state.in_force(config.schedule()), state.clr_iterations, config.range(&state));
        let multiplier = config.multiplier(&state);
        let next = config.rates(&state, &cursor, 0, multiplier);
        let serves_for = if state.refusals > 0 { 1 } else { cursor.serves_for() };
        let hypers = (!config.hyper().is_empty()).then(|| {
            let next = Hypers::at(config.hyper(), state.clr_iterations);
            Box::new((next, next))
        });
        Self { state, cursor, made: 0, serves_for, multiplier, used: next, next, hypers, set_lr: None }
    }

    /// Counts an update that used the next rates.
    #[inline]
    pub(crate) fn count<S: Schedule>(&mut self, config: &ClrConfig<S>) {
        self.used = self.next;
        self.made += 1;
        if self.hypers.is_some() {
            self.count_hypers(config);
        }
        if self.made >= self.serves_for {
            self.renew(config);
        }
        self.next = config.rates(&self.state, &self.cursor, self.made, self.multiplier);
    }

    /// Cold, to keep it out of the path of runs without such schedules.
    #[cold]
    #[inline(never)]
    fn count_hypers<S: Schedule>(&mut self, config: &ClrConfig<S>) {
        let step = self.clr_iterations();
        if let Some(hypers) = &mut self.hypers {
            let (used, next) = &mut **hypers;
            *used = core::mem::replace(next, Hypers::at(config.hyper(), step));
        }
    }

    /// Cold, to keep it out of the path of most updates.
    #[cold]
    #[inline(never)]
    fn renew<S: Schedule>(&mut self, config: &ClrConfig<S>) {
        self.state = self.state();
        // An update that was made resets the count of consecutive refusals, even if the guard has already given up.
        if self.state.refusals > 0 {
            self.state.refusals = 0;
            self.state.stop = self.state.stop.filter(|&stop| stop != Stop::TooManyRefusals);
        }
        let schedule = self.state.in_force(config.schedule());
        if self.cursor.renew(&schedule, self.made, config.range(&self.state)) {
            (self.state.at_cycle_end, self.state.unjudged_cycle_end) = (true, true);
        }
        self.made = 0;
        self.serves_for = self.cursor.serves_for();
        self.set_lr = None;
    }

    /// The full state.
    pub(crate) fn state(&self) -> ClrState {
        if self.made == 0 {
            return self.state.clone();
        }
        ClrState {
            iterations: self.iterations(),
            clr_iterations: self.clr_iterations(),
            last: self.last(),
            // Updates were made since the cursor was renewed, and the end of a cycle would have renewed it.
            at_cycle_end: false,
            ..self.state.clone()
        }
    }

    /// Changes the state, and looks the schedule up again.
    pub(crate) fn change<S: Schedule, T>(
        &mut self,
        config: &ClrConfig<S>,
        change: impl FnOnce(&mut ClrState) -> T,
    ) -> T {
        let mut state = self.state();
        let result = change(&mut state);
        let set_lr = self.set_lr;
        *self = Self::new(config, state);
        self.put_set_lr(set_lr);
        result
    }

    /// Makes the next update use `lr` instead of the scheduled rate.
    #[cfg(feature = "candle")]
    pub(crate) fn set_next_lr<S: Schedule>(&mut self, config: &ClrConfig<S>, lr: f64) {
        self.set_lr = Some(lr);
        self.change(config, |_| ());
    }

    fn put_set_lr(&mut self, set_lr: Option<f64>) {
        if let Some(lr) = set_lr {
            (self.next.lr, self.set_lr) = (lr, set_lr);
            // The next update ends it.
            self.serves_for = 1;
        }
    }

    /// The state when the cursor was looked up: for fields that updates do not change.
    pub(crate) fn settled(&self) -> &ClrState {
        &self.state
    }

    /// What the next update will use.
    #[inline]
    pub(crate) fn next(&self) -> Rates {
        self.next.usable()
    }

    /// The rates that the schedule gives for the next update, even if they are invalid.
    #[inline]
    pub(crate) fn scheduled(&self) -> Rates {
        self.next
    }

    /// Reports no momentum for the next update.
    pub(crate) fn without_momentum(&mut self) {
        self.next.momentum = None;
    }

    /// The further hyper-parameters that the next update will use.
    #[inline]
    pub(crate) fn next_hypers(&self) -> Option<impl Iterator<Item = (Hyper, f64)> + use<>> {
        self.hypers.as_ref().map(|hypers| hypers.1.values())
    }

    /// Reports no value of a further hyper-parameter for the next update.
    pub(crate) fn without_hyper(&mut self, hyper: Hyper) {
        if let Some(hypers) = &mut self.hypers {
            hypers.1.without(hyper);
        }
    }

    /// What the next update will use, with its iteration and step.
    pub(crate) fn upcoming(&self) -> Applied {
        let applied = applied(self.next(), self.iterations(), self.clr_iterations());
        self.hypers.as_ref().map_or(applied, |hypers| hypers.1.within(applied))
    }

    /// What the last update used.
    pub(crate) fn last(&self) -> Option<Applied> {
        let Some(before) = self.made.checked_sub(1) else { return self.state.last };
        let (iterations, step) = (self.state.iterations, self.state.clr_iterations);
        let applied = applied(self.used.usable(), iterations.saturating_add(before), step.saturating_add(before));
        Some(self.hypers.as_ref().map_or(applied, |hypers| hypers.0.within(applied)))
    }

    pub(crate) fn iterations(&self) -> u64 {
        self.state.iterations.saturating_add(self.made)
    }

    pub(crate) fn clr_iterations(&self) -> u64 {
        self.state.clr_iterations.saturating_add(self.made)
    }

    pub(crate) fn cycle(&self) -> Option<Cycle> {
        self.cursor.cycle(self.made)
    }

    pub(crate) fn at_cycle_end(&self) -> bool {
        self.made == 0 && self.state.at_cycle_end
    }
}

fn applied(rates: Rates, iteration: u64, step: u64) -> Applied {
    Applied { iteration, step, lr: rates.lr, momentum: rates.momentum, ..Applied::default() }
}
