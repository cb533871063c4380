//! The scheduled hyper-parameters of one update other than the rate and a cycled momentum.

use crate::config::HyperSchedules;
use crate::hyper::Hyper;
use crate::schedule::Schedule;
use crate::state::Applied;

/// The scheduled hyper-parameters of one update, in the order of [`Hyper::ALL`]. Few runs have any, so their schedules have no
/// cursor and are evaluated at each update.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hypers([Option<f64>; Hyper::ALL.len()]);

impl Hypers {
    /// What the schedules say at a step.
    pub(super) fn at(schedules: &HyperSchedules, step: u64) -> Self {
        Self(Hyper::ALL.map(|hyper| schedules.get(hyper).map(|schedule| schedule.value_at(step))))
    }

    /// The values.
    pub(super) fn values(self) -> impl Iterator<Item = (Hyper, f64)> {
        Hyper::ALL.into_iter().zip(self.0).filter_map(|(hyper, value)| Some((hyper, value?)))
    }

    /// Reports no value of a hyper-parameter.
    pub(super) fn without(&mut self, hyper: Hyper) {
        self.0[hyper as usize] = None;
    }

    /// `applied` with these values.
    pub(super) fn within(self, applied: Applied) -> Applied {
        let [_, momentum, weight_decay, beta2, eps] = self.0;
        Applied { momentum: momentum.or(applied.momentum), weight_decay, beta2, eps, ..applied }
    }
}
