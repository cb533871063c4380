//! A limit to the time that a run may take.

use std::time::{Duration, Instant};

use cyclic_optim::History;

/// The metric that has the time of an epoch.
const SECONDS: &str = "seconds";

/// A limit to the time that the epochs of a run may take. The time of each epoch is recorded in the history of the run, so that
/// what an interrupted run has spent counts.
pub(crate) struct TimeLimit {
    limit: Duration,
    epoch_began: Instant,
}

impl TimeLimit {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, epoch_began: Instant::now() }
    }

    /// The time since the last epoch, or since the start, as a metric.
    pub(crate) fn end_epoch(&mut self) -> (String, f64) {
        let now = Instant::now();
        let began = std::mem::replace(&mut self.epoch_began, now);
        (SECONDS.into(), now.duration_since(began).as_secs_f64())
    }

    /// Why a run with this history has to stop, if it has.
    pub(crate) fn stops(&self, history: &History) -> Option<String> {
        let epochs = history.epochs().values(SECONDS).unwrap_or_default();
        let spent: f64 = epochs.into_iter().filter(|seconds| seconds.is_finite()).sum();
        let limit = self.limit.as_secs_f64();
        (spent >= limit).then(|| format!("its time of {limit} s is over, the epochs have taken {spent:.1} s"))
    }
}

/// Reads `90s`, `5m` or `2h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number above 0 and its unit, as in 90s, 5m or 1.5h".to_owned();
    let unit = [("s", 1.0), ("m", 60.0), ("h", 3600.0)].into_iter().find(|(unit, _)| text.ends_with(unit));
    let (unit, seconds) = unit.ok_or_else(wrong)?;
    let number: f64 = text.strip_suffix(unit).and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
    let duration = Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
    if duration.is_zero() { Err(wrong()) } else { Ok(duration) }
}
