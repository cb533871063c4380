//! The state of a run as a record of burn, which holds numbers only.

use burn_optim::lr_scheduler::LrSchedulerRecord;
use cyclic_optim::{ClrConfig, ClrState, ConfigError, Schedule};
use thiserror::Error;

/// Why a record was not loaded. The run goes on where it was.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The record is not one of this crate, or of a version that it cannot read.
    #[error("the record has version {found:?}, and {VERSION} is expected")]
    Version {
        /// The version in the record, if there is one.
        found: Option<u64>,
    },
    /// The record belongs to a run whose schedule gives other rates.
    #[error("the record belongs to another schedule")]
    OtherSchedule,
    /// Parts of the record are missing or cannot be read.
    #[error("the record is damaged")]
    Damaged,
    /// The state does not fit the config.
    #[error(transparent)]
    State(#[from] ConfigError),
}

const VERSION: u64 = 1;

/// The state is written as JSON, eight bytes in a number: a record cannot hold text, and cannot say which names it has.
pub(crate) fn write<S: Schedule>(config: &ClrConfig<S>, state: &ClrState) -> LrSchedulerRecord {
    // A state without its text is read as damaged. A state is plain data, so its text can always be written.
    let json = serde_json::to_vec(state).unwrap_or_default();
    let record = LrSchedulerRecord::new()
        .with_scalar("version", VERSION)
        .with_scalar("schedule", fingerprint(config))
        .with_scalar("iterations", state.iterations)
        .with_scalar("bytes", json.len() as u64);
    (0_u64..).zip(json.chunks(8)).fold(record, |record, (n, chunk)| {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        record.with_scalar(&n.to_string(), u64::from_le_bytes(bytes))
    })
}

pub(crate) fn read<S: Schedule>(record: &LrSchedulerRecord, config: &ClrConfig<S>) -> Result<ClrState, LoadError> {
    let number = |key: &str| record.scalar::<u64>(key);
    let found = number("version");
    if found != Some(VERSION) {
        return Err(LoadError::Version { found });
    }
    if number("schedule") != Some(fingerprint(config)) {
        return Err(LoadError::OtherSchedule);
    }
    let length = number("bytes").and_then(|length| usize::try_from(length).ok()).ok_or(LoadError::Damaged)?;
    let chunks = (0..length.div_ceil(8)).map(|n| number(&n.to_string()).map(u64::to_le_bytes));
    let mut json = chunks.collect::<Option<Vec<_>>>().ok_or(LoadError::Damaged)?.concat();
    json.truncate(length);
    serde_json::from_slice(&json).map_err(|_| LoadError::Damaged)
}

/// What the first updates use, and some later ones: a number that differs between schedules with different rates.
fn fingerprint<S: Schedule>(config: &ClrConfig<S>) -> u64 {
    let first = config.preview().take(64).flat_map(|used| [used.lr, used.momentum.unwrap_or(-1.0)]);
    let later = (6..40).map(|power| config.schedule().value_at(1 << power));
    // FNV-1a, eight bytes at a time.
    first
        .chain(later)
        .fold(0xcbf2_9ce4_8422_2325, |hash, value| (hash ^ value.to_bits()).wrapping_mul(0x0100_0000_01b3))
}
