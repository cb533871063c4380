//! What the coming updates will use.

use super::Run;
use crate::config::ClrConfig;
use crate::schedule::Schedule;
use crate::state::{Applied, ClrState};

/// What the coming updates will use if no report, reset or new range comes in between. Endless, of constant size.
///
/// Made by [`ClrConfig::preview`] and [`CyclicOptimizer::preview`](crate::CyclicOptimizer::preview). The values of a bare
/// schedule come from [`values_from`](crate::ScheduleExt::values_from).
#[derive(Debug, Clone)]
pub struct Preview<'a, S> {
    config: &'a ClrConfig<S>,
    run: Run,
}

impl<S: Schedule> ClrConfig<S> {
    /// What the updates of a new run will use: an endless iterator of constant size.
    pub fn preview(&self) -> Preview<'_, S> {
        self.preview_from(ClrState::default())
    }

    pub(crate) fn preview_from(&self, state: ClrState) -> Preview<'_, S> {
        Preview { config: self, run: Run::new(self, state) }
    }
}

impl<S: Schedule> Iterator for Preview<'_, S> {
    type Item = Applied;

    #[inline]
    fn next(&mut self) -> Option<Applied> {
        let upcoming = self.run.upcoming();
        self.run.count(self.config);
        Some(upcoming)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, None)
    }
}
