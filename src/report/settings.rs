//! A config as a table.

use serde_json::Value;

/// The settings of a config in its order, each with the path to it: `schedule.cyclic.base_lr`.
pub(super) fn settings(config: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect("", config, &mut found);
    found
}

fn collect(path: &str, value: &Value, found: &mut Vec<(String, String)>) {
    let within = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                collect(&within(name), value, found);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (n, value) in items.iter().enumerate() {
                collect(&format!("{path}[{n}]"), value, found);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let items: Vec<String> = items.iter().map(text).collect();
            found.push((path.into(), items.join(", ")));
        }
        value => found.push((path.into(), text(value))),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".into(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_setting_has_a_row() {
        let config = json!({
            "schedule": {"sequence": {"parts": [{"steps": 10}, {"steps": 20}]}},
            "boundaries": [40, 150],
            "clip": null,
            "guard": {},
            "mode": "cyclic",
        });
        let rows: Vec<String> =
            settings(&config).into_iter().map(|(path, value)| format!("{path} = {value}")).collect();
        let expected = [
            "boundaries = 40, 150",
            "clip = none",
            "guard = {}",
            "mode = cyclic",
            "schedule.sequence.parts[0].steps = 10",
            "schedule.sequence.parts[1].steps = 20",
        ];
        let mut sorted = rows.clone();
        sorted.sort();
        assert_eq!(sorted, expected, "{rows:?}");
        assert_eq!(settings(&json!(3)), [(String::new(), "3".to_owned())]);
    }
}
