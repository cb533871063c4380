//! A run: a state that is cheap to move on.

use crate::feedback::Stop;
use crate::schedule::{Cursor, Cycle, Schedule};
use crate::{Applied, ClrConfig, ClrState};

/// The rate and the momentum of an update whose number goes without saying.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rates {
    pub(crate) lr: f64,
    pub(crate) momentum: Option<f64>,
}

impl Rates {
    /// What an update uses that cannot be refused: these, or a rate of 0 and the momentum that is there already, if they are
    /// no rate and no momentum. Only a custom schedule gives such.
    #[inline]
    fn usable(self) -> Self {
        let is_momentum = self.momentum.is_none_or(|momentum| (0.0..1.0).contains(&momentum));
        if is_momentum && (0.0..f64::INFINITY).contains(&self.lr) { self } else { Self { lr: 0.0, momentum: None } }
    }
}

/// Where a run stands: the state when the schedule was last looked up, and how many updates have been made since.
///
/// That is all that an update has to change, so it costs next to nothing; the whole [`ClrState`] is put together when
/// somebody asks for it, and where a cycle or a ramp of the schedule ends.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// The state when the cursor was looked up, but for what was changed since.
    state: ClrState,
    cursor: Cursor,
    /// Updates made since.
    made: u64,
    /// The number of updates until the state has to be put together again: what the cursor serves for, or one if there is a
    /// row of refusals for it to end.
    serves_for: u64,
    /// The factor on every rate.
    factor: f64,
    /// What the update just made has used, if any were made since.
    used: Rates,
    /// What the next update will use.
    next: Rates,
}

impl Run {
    /// A run that stands at `state`.
    pub(crate) fn new<S: Schedule>(config: &ClrConfig<S>, state: ClrState) -> Self {
        let cursor = config.cursor(&state);
        let factor = state.scale * config.envelope(&state);
        let next = config.rates(&state, &cursor, 0, factor);
        let serves_for = if state.refusals > 0 { 1 } else { cursor.serves_for() };
        Self { state, cursor, made: 0, serves_for, factor, used: next, next }
    }

    /// Counts an update that has used what was next.
    #[inline]
    pub(crate) fn count<S: Schedule>(&mut self, config: &ClrConfig<S>) {
        self.used = self.next;
        self.made += 1;
        if self.made >= self.serves_for {
            self.look(config);
        }
        self.next = config.rates(&self.state, &self.cursor, self.made, self.factor);
    }

    /// Kept apart from the path that every update takes.
    #[cold]
    #[inline(never)]
    fn look<S: Schedule>(&mut self, config: &ClrConfig<S>) {
        self.settle();
        self.forgive();
        if self.cursor.look(config.schedule(), config.range(&self.state)) {
            (self.state.at_cycle_end, self.state.unjudged_cycle_end) = (true, true);
        }
        self.serves_for = self.cursor.serves_for();
    }

    /// An update that was made ends a row of refusals, also one that the guard has given up at.
    fn forgive(&mut self) {
        if self.state.refusals > 0 {
            self.state.refusals = 0;
            self.state.stop = self.state.stop.filter(|&stop| stop != Stop::TooManyRefusals);
        }
    }

    /// Puts the updates made into the state.
    fn settle(&mut self) {
        self.state = self.state();
        self.cursor.advance(self.made);
        self.made = 0;
    }

    /// The whole state.
    pub(crate) fn state(&self) -> ClrState {
        if self.made == 0 {
            return self.state.clone();
        }
        ClrState {
            iterations: self.iterations(),
            clr_iterations: self.clr_iterations(),
            last: self.last(),
            // Where a cycle ends the cursor is looked up, and nothing has been made since.
            at_cycle_end: false,
            ..self.state.clone()
        }
    }

    /// Changes the state, and the place in the schedule with it.
    pub(crate) fn change<S: Schedule, T>(
        &mut self,
        config: &ClrConfig<S>,
        change: impl FnOnce(&mut ClrState) -> T,
    ) -> T {
        let mut state = self.state();
        let result = change(&mut state);
        *self = Self::new(config, state);
        result
    }

    /// The state when the cursor was looked up: for what no update changes.
    pub(crate) fn settled(&self) -> &ClrState {
        &self.state
    }

    /// What the next update will use.
    #[inline]
    pub(crate) fn next(&self) -> Rates {
        self.next.usable()
    }

    /// What the config says about the next update, whether or not it can be used.
    #[inline]
    pub(crate) fn scheduled(&self) -> Rates {
        self.next
    }

    /// The next update will use no momentum.
    pub(crate) fn without_momentum(&mut self) {
        self.next.momentum = None;
    }

    /// What the next update will use, with its numbers.
    pub(crate) fn upcoming(&self) -> Applied {
        applied(self.next(), self.iterations(), self.clr_iterations())
    }

    /// What the update just made has used.
    pub(crate) fn last(&self) -> Option<Applied> {
        let Some(before) = self.made.checked_sub(1) else { return self.state.last };
        let (iterations, step) = (self.state.iterations, self.state.clr_iterations);
        Some(applied(self.used.usable(), iterations.saturating_add(before), step.saturating_add(before)))
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
    Applied { iteration, step, lr: rates.lr, momentum: rates.momentum, grad_norm: None }
}
