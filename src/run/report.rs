//! How a run reacts to a report.

use crate::config::ClrConfig;
use crate::feedback::{Observation, Scope, Watch};
use crate::schedule::Schedule;
use crate::state::ClrState;

impl<S: Schedule> ClrConfig<S> {
    /// Judges a report and updates `state`: one metric is for the plateau and one for early stopping.
    pub(crate) fn observe(&self, state: &mut ClrState, for_plateau: f64, for_early_stopping: f64) -> Observation {
        let metric = if self.early_stopping().is_some() { for_early_stopping } else { for_plateau };
        let ignored = Observation { metric, judged: false, improved: false, scaled: None, stop: state.stop };
        let judged = match self.watch() {
            Watch::EveryReport => true,
            Watch::CycleEnds => state.unjudged_cycle_end,
        };
        if state.stop.is_some() || !judged {
            return ignored;
        }
        state.unjudged_cycle_end = false;
        let mut observation = Observation { judged, ..ignored };
        if let Some(plateau) = self.plateau() {
            let schedule = state.in_force(self.schedule());
            let reference = state.range.map_or_else(|| schedule.peak(), |range| range.max_lr);
            // The peak must not fall below the base.
            let base = state.range.or_else(|| schedule.range()).map_or(0.0, |range| range.base_lr);
            let lowest = if plateau.scope == Scope::Peak { base } else { 0.0 };
            (observation.improved, observation.scaled) =
                plateau.judge(&mut state.plateau, for_plateau, reference, lowest);
        }
        if let Some(early_stopping) = self.early_stopping() {
            (observation.improved, state.stop) = early_stopping.judge(&mut state.early_stopping, for_early_stopping);
            observation.stop = state.stop;
        }
        observation
    }
}
