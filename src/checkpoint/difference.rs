//! The differences between a saved config and the present one.

use core::fmt;

use serde_json::Value;

/// A field whose saved value is not its present value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The field's path, for instance `config.schedule.cyclic.max_lr`.
    pub field: String,
    /// The saved value as text; `nothing` if there was none.
    pub saved: String,
    /// The present value as text.
    pub present: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} was {} and is {}", self.field, self.saved, self.present)
    }
}

/// A value as text for people.
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

/// Adds the fields in which two values differ.
pub(super) fn compare(field: &str, saved: Option<&Value>, present: Option<&Value>, found: &mut Vec<Difference>) {
    match (saved, present) {
        // Objects without a common field, for instance two kinds of schedule, are reported as one difference.
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
