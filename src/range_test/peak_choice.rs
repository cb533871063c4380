//! What a search for a peak rate has found.

use alloc::vec::Vec;
use core::fmt;

use super::LossCurve;
use crate::error::ConfigError;
use crate::schedule::{Amplitude, Cyclic, OneCycle};

/// The peak rate that a [`PeakSearch`](super::PeakSearch) has chosen, and the losses from which it was chosen. Displays
/// as one line.
///
/// With the feature `serde` it is plain data. Save it with the run, so that a resumed run need not search again.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct PeakChoice {
    /// The number of updates of the run that the peak is for.
    pub total_updates: u64,
    /// The peak for a one-cycle schedule.
    pub peak: f64,
    /// The rate at which the model learns fastest in a short run.
    pub rate: f64,
    /// The rates that were tried, in ascending order.
    pub candidates: Vec<Candidate>,
    /// The sweep that gave the first guess. A loss that is not finite is left out.
    pub curve: LossCurve,
    /// The number of updates that the search made.
    pub updates: u64,
}

/// A rate that was tried.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Candidate {
    /// The rate.
    pub lr: f64,
    /// The mean training loss of the second half of the short run; `None` if it diverged and was given up.
    pub loss: Option<f64>,
}

impl PeakChoice {
    /// The one-cycle schedule of the run.
    ///
    /// # Errors
    ///
    /// The errors of [`OneCycle::new`]. They are possible only for a choice that was read from a modified file.
    pub fn one_cycle(&self) -> Result<OneCycle, ConfigError> {
        OneCycle::new(self.peak, self.total_updates)
    }

    /// The `triangular2` schedule of the run. It has four cycles (fewer in a run of fewer than four updates), each with half
    /// the height of the one before. The base is a twentieth of the peak.
    ///
    /// # Errors
    ///
    /// The errors of [`Cyclic::over_total`]. They are possible only for a choice that was read from a modified file.
    pub fn triangular2(&self) -> Result<Cyclic, ConfigError> {
        let cycles = self.total_updates.min(4);
        Cyclic::over_total(self.peak / 20.0, self.peak, self.total_updates, cycles, 0.5)?
            .with_amplitude(Amplitude::Halving)
    }
}

impl fmt::Display for PeakChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peak {:.2e} after {} updates; tried", self.peak, self.updates)?;
        for (n, Candidate { lr, loss }) in self.candidates.iter().enumerate() {
            write!(f, "{} {lr:.1e}: ", if n == 0 { "" } else { "," })?;
            match loss {
                Some(loss) => write!(f, "loss {loss:.3}")?,
                None => f.write_str("diverged")?,
            }
        }
        Ok(())
    }
}
