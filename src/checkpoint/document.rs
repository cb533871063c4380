//! The JSON document of a checkpoint.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::{CheckpointError, FORMAT};
use super::part::PartCounts;
use super::saved::Steps;
use crate::optimizer::CyclicOptimizer;
use crate::range_test::PeakChoice;
use crate::schedule::Schedule;
use crate::state::ClrState;

/// The one metadata entry of the file.
pub(super) const ENTRY: &str = "cyclic_optim";

/// Everything that is not in tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    /// CRC-32C over the tensors and the rest of this document, as eight hexadecimal digits. It is the first field, so
    /// that its position in the text is fixed.
    checksum: String,
    pub(super) format: u64,
    pub(super) run: Option<RunDocument>,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunDocument {
    pub(super) optimizer: String,
    pub(super) hyperparameters: Map<String, Value>,
    pub(super) steps: Steps,
    /// Whether the optimizer has made an update.
    pub(super) updated: bool,
    pub(super) config: Value,
    pub(super) state: ClrState,
    pub(super) history: Option<HistoryDocument>,
    /// What was saved in addition to the model and the optimizer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) parts: Vec<PartDocument>,
}

/// A part of a run. Its models are tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PartDocument {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) models: usize,
    pub(super) counts: PartCounts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) peak_choice: Option<PeakChoice>,
}

/// The names of the series of a history. Their values are tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryDocument {
    pub(super) every: u64,
    pub(super) updates: Vec<String>,
    pub(super) epochs: Vec<String>,
}

const BEFORE: &str = "{\"checksum\":\"";
const DIGITS: usize = 8;

impl Document {
    pub(super) fn new(run: Option<RunDocument>) -> Self {
        Self { checksum: "0".repeat(DIGITS), format: FORMAT, run }
    }

    /// The document as text, with its checksum. `tensors` is the checksum of the tensors.
    pub(super) fn to_text(&self, tensors: u32) -> Result<String, CheckpointError> {
        let text = serde_json::to_string(self).map_err(|error| CheckpointError::Document(error.to_string()))?;
        let rest = &text[BEFORE.len() + DIGITS..];
        Ok(format!("{BEFORE}{:08x}{rest}", crc32c::crc32c_append(tensors, rest.as_bytes())))
    }

    pub(super) fn from_text(text: &str, tensors: u32) -> Result<Self, CheckpointError> {
        #[derive(Deserialize)]
        struct Version {
            format: u64,
        }

        let wrong = |error: serde_json::Error| CheckpointError::Document(error.to_string());
        // The version is checked first: another version may have its checksum elsewhere.
        let Version { format } = serde_json::from_str(text).map_err(wrong)?;
        if format != FORMAT {
            return Err(CheckpointError::Version { found: format });
        }
        let rest = text.strip_prefix(BEFORE).and_then(|text| text.split_at_checked(DIGITS));
        let sound = rest
            .is_some_and(|(digits, rest)| digits == format!("{:08x}", crc32c::crc32c_append(tensors, rest.as_bytes())));
        if !sound {
            return Err(CheckpointError::Damaged);
        }
        serde_json::from_str(text).map_err(wrong)
    }
}

pub(super) fn config_of<O, S: Schedule + Serialize>(
    optimizer: &CyclicOptimizer<O, S>,
) -> Result<Value, CheckpointError> {
    serde_json::to_value(optimizer.config()).map_err(|error| CheckpointError::Document(error.to_string()))
}
