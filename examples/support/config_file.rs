//! The config of an example: from a JSON or TOML file, or the default.

use std::error::Error;
use std::fs;
use std::path::Path;

use cyclic_optim::{ClrConfig, ConfigError, OneCycle, RunLength};
use serde::Deserializer;
use serde_path_to_error::Track;

/// Reads a config for a run; the file's extension says which format it has. Errors name the file and the field.
pub(crate) fn read(path: &Path, run: &RunLength) -> Result<ClrConfig, Box<dyn Error>> {
    let file = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("{file}: {error}"))?;
    let config = match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => {
            let mut json = serde_json::Deserializer::from_str(&text);
            named(run, &mut json).and_then(|config| json.end().map(|()| config).map_err(|error| error.to_string()))
        }
        // In two steps: the parser says where the text breaks, the second step names the field.
        Some("toml") => toml::from_str::<toml::Table>(&text)
            .map_err(|error| error.to_string())
            .and_then(|table| named(run, toml::Value::Table(table))),
        _ => Err("a config file must end in .json or .toml".into()),
    };
    config.map_err(|error| format!("{file}: {error}").into())
}

/// Reads a config; an error begins with the path of the field.
fn named<'de, D: Deserializer<'de>>(run: &RunLength, deserializer: D) -> Result<ClrConfig, String> {
    let mut track = Track::new();
    let config = ClrConfig::deserialize_for(run, serde_path_to_error::Deserializer::new(deserializer, &mut track));
    config.map_err(|error| serde_path_to_error::Error::new(track.path(), error).to_string())
}

/// The default of the examples: one cycle up to 0.02 over so many updates, momentum running the other way.
pub(crate) fn one_cycle(updates: u64) -> Result<ClrConfig, ConfigError> {
    ClrConfig::new(OneCycle::new(0.02, updates)?).with_momentum(0.85, 0.95)
}
