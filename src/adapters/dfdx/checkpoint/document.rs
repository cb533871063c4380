//! The JSON document of a checkpoint, and what tells two configs apart.

use core::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::CheckpointError;
use super::file::Listed;
use super::optimizer::Steps;
use super::part::PartCounts;
use crate::ClrState;

/// The version of the format that is written, and the only one that is read.
pub(super) const FORMAT: u64 = 1;
/// The one metadata entry of the file.
pub(super) const ENTRY: &str = "cyclic_optim";

/// Everything but the numbers of the tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    /// CRC-32C over the text of the document from here on and over all tensors, as eight hexadecimal digits. It comes
    /// first, so that it stands at a fixed place.
    checksum: String,
    pub(super) format: u64,
    pub(super) run: Option<RunDocument>,
}

/// The run that a model is from.
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
    /// What was saved beside the optimizer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) parts: Vec<PartDocument>,
}

/// A part of a run; its models are tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PartDocument {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) models: usize,
    pub(super) counts: PartCounts,
}

/// The names of a history's series; their numbers are tensors.
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

    /// The text, with the checksum over it and the tensors.
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
        // First, for another version may have its checksum elsewhere.
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

/// The checksum over names, types, shapes and numbers of tensors, in the order of their names.
pub(super) fn checksum<'a>(tensors: impl Iterator<Item = Listed<'a>>) -> u32 {
    let mut tensors: Vec<_> = tensors.collect();
    tensors.sort_unstable_by_key(|tensor| tensor.0);
    tensors.into_iter().fold(0, |sum, (name, dtype, shape, data)| {
        let head = format!("{name}\n{dtype:?}{shape:?}\n");
        crc32c::crc32c_append(crc32c::crc32c_append(sum, head.as_bytes()), data)
    })
}

/// A number as JSON, spelled out if JSON has none such.
pub(super) fn exact(value: f64) -> Value {
    if value.is_finite() { value.into() } else { format!("{value}").into() }
}

/// A field in which a saved config and the present one differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The field's path, for instance `config.schedule.cyclic.max_lr`.
    pub field: String,
    /// What was saved, as text for people; `nothing` if it was not there.
    pub saved: String,
    /// What is there now.
    pub present: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} was {} and is {}", self.field, self.saved, self.present)
    }
}

/// A value for people to read: no JSON.
fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "nothing".into(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(values)) => values.iter().map(|value| text(Some(value))).collect::<Vec<_>>().join(", "),
        Some(Value::Object(fields)) => {
            let fields = fields.iter().map(|(name, value)| match value {
                Value::Object(_) | Value::Array(_) => format!("{name} ({})", text(Some(value))),
                value => format!("{name} {}", text(Some(value))),
            });
            fields.collect::<Vec<_>>().join(", ")
        }
        Some(value) => value.to_string(),
    }
}

/// Adds the fields in which two documents differ.
pub(super) fn compare(field: &str, saved: Option<&Value>, present: Option<&Value>, found: &mut Vec<Difference>) {
    match (saved, present) {
        // Two that have no field in common, two kinds of schedule for instance, are compared as a whole.
        (Some(Value::Object(saved)), Some(Value::Object(present)))
            if saved.is_empty() || present.is_empty() || saved.keys().any(|name| present.contains_key(name)) =>
        {
            let names = saved.keys().chain(present.keys().filter(|name| !saved.contains_key(*name)));
            for name in names {
                compare(&format!("{field}.{name}"), saved.get(name), present.get(name), found);
            }
        }
        (Some(Value::Array(saved)), Some(Value::Array(present))) => {
            for n in 0..saved.len().max(present.len()) {
                compare(&format!("{field}[{n}]"), saved.get(n), present.get(n), found);
            }
        }
        (saved, present) if saved == present => {}
        (saved, present) => {
            found.push(Difference { field: field.into(), saved: text(saved), present: text(present) });
        }
    }
}
