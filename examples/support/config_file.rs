//! The config of an example: from a JSON or TOML file, or the default.

use std::error::Error;
use std::fs;
use std::path::Path;

use cyclic_optim::{ClrConfig, ConfigError, OneCycle};

/// Reads a config; the file's extension says which format it has. Errors name the file and the field.
pub(crate) fn read(path: &Path) -> Result<ClrConfig, Box<dyn Error>> {
    let file = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("{file}: {error}"))?;
    let config = match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => {
            let mut json = serde_json::Deserializer::from_str(&text);
            serde_path_to_error::deserialize(&mut json)
                .map_err(|error| error.to_string())
                .and_then(|config| json.end().map(|()| config).map_err(|error| error.to_string()))
        }
        // In two steps: the parser says where the text breaks, the second step names the field.
        Some("toml") => toml::from_str::<toml::Table>(&text)
            .map_err(|error| error.to_string())
            .and_then(|table| serde_path_to_error::deserialize(toml::Value::Table(table)).map_err(|e| e.to_string())),
        _ => Err("a config file must end in .json or .toml".into()),
    };
    config.map_err(|error| format!("{file}: {error}").into())
}

/// The default of the examples: one cycle up to 0.02 over so many updates, momentum running the other way.
pub(crate) fn one_cycle(updates: u64) -> Result<ClrConfig, ConfigError> {
    ClrConfig::new(OneCycle::new(0.02, updates)?).with_momentum(0.85, 0.95)
}
