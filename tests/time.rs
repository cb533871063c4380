//! Time in epochs and shares of the run, in config files and in checkpoints.

#![cfg(feature = "serde")]

mod support;

use cyclic_optim::{ClrConfig, ConfigError, Constant, Cyclic, MultiStepDecay, OneCycle, RunLength, Schedule, Sequence};
use proptest::prelude::*;
use serde_json::Value;

/// 45 batches in an epoch, 20 epochs.
fn digits() -> RunLength {
    RunLength::new(45, 20).unwrap()
}

/// Reads JSON as the examples do: an error begins with the path of the field.
fn read(run: &RunLength, json: &str) -> Result<ClrConfig, String> {
    let mut track = serde_path_to_error::Track::new();
    let mut json = serde_json::Deserializer::from_str(json);
    ClrConfig::deserialize_for(run, serde_path_to_error::Deserializer::new(&mut json, &mut track))
        .map_err(|error| serde_path_to_error::Error::new(track.path(), error).to_string())
}

fn cyclic(fields: &str) -> String {
    format!(r#"{{"schedule": {{"cyclic": {{"base_lr": 0.001, "max_lr": 0.02, {fields}}}}}}}"#)
}

#[test]
fn every_length_of_a_file_can_be_a_time() -> Result<(), Box<dyn std::error::Error>> {
    let triangle = |up, down| Cyclic::triangular(0.001, 0.02, 1)?.with_step_sizes(up, down);
    for (json, schedule) in [
        (cyclic(r#""step_size": "2 epochs""#), ClrConfig::new(triangle(90, 90)?)),
        (cyclic(r#""step_size_up": "10 %", "step_size_down": "500 updates""#), ClrConfig::new(triangle(90, 500)?)),
        (
            cyclic(r#""total_steps": "100 %", "cycles": 5"#),
            ClrConfig::new(Cyclic::over_total(0.001, 0.02, 900, 5, 0.5)?),
        ),
        (
            r#"{"schedule": {"one_cycle": {"max_lr": 0.02, "total_steps": "20 epochs"}}}"#.into(),
            ClrConfig::new(OneCycle::new(0.02, 900)?),
        ),
        (
            r#"{"schedule": {"multi_step_decay": {"start_lr": 0.1, "milestones": ["50 %", 600, "15 epochs"], "gamma": 0.1}}}"#
                .into(),
            ClrConfig::new(MultiStepDecay::new(0.1, vec![450, 600, 675], 0.1)?),
        ),
        (
            r#"{"schedule": {"sequence": {"parts": [
                {"schedule": {"linear_decay": {"start_lr": 0, "end_lr": 0.1, "steps": "1 epoch"}}, "steps": "1 epoch"},
                {"schedule": {"cosine_decay": {"start_lr": 0.1, "end_lr": 0.01, "steps": 855}}, "steps": "95 %"}]}}}"#
                .into(),
            ClrConfig::new(Sequence::warmup_cosine(0.0, 0.1, 0.01, 45, 900)?),
        ),
    ] {
        assert_eq!(read(&digits(), &json)?, schedule.with_batches_per_epoch(45)?, "{json}");
    }
    let toml = "[schedule.cyclic]\nbase_lr = 0.001\nmax_lr = 0.02\nstep_size = \"1.37 epochs\"";
    let config: ClrConfig = ClrConfig::deserialize_for(&digits(), toml::Deserializer::parse(toml)?)?;
    // 61.65 updates, rounded to the nearest.
    assert_eq!(config, ClrConfig::new(triangle(62, 62)?).with_batches_per_epoch(45)?);
    Ok(())
}

/// A file with only integers is read as before, and a config that does not depend on the run has no batches per epoch.
#[test]
fn integers_stay_updates() {
    for json in [cyclic(r#""step_size": 90"#), cyclic(r#""step_size": "90 updates""#)] {
        for run in [digits(), RunLength::default()] {
            let config = read(&run, &json).unwrap();
            assert_eq!(config, ClrConfig::new(Cyclic::triangular(0.001, 0.02, 90).unwrap()));
            assert_eq!(config.batches_per_epoch(), None);
        }
    }
    // Read without a run, a text is of the wrong type, as before.
    let error = serde_json::from_str::<ClrConfig>(&cyclic(r#""step_size": "2 epochs""#)).unwrap_err().to_string();
    assert!(error.contains("invalid type: string \"2 epochs\", expected u64"), "{error}");
}

#[test]
fn a_time_that_does_not_come_out_names_its_field() {
    let batches = || RunLength::default().with_batches_per_epoch(45).unwrap();
    for (run, fields, expected) in [
        (
            RunLength::default(),
            r#""step_size": "2 epochs""#,
            "schedule.cyclic.step_size: step_size: 2 epochs cannot be turned into updates: the number of batches in an epoch is not known",
        ),
        (
            batches(),
            r#""step_size": "10 %""#,
            "step_size: 10 % cannot be turned into updates: the number of updates of the run is not known",
        ),
        (digits(), r#""step_size": "150 %""#, "step_size: 150 % is more than the whole run: it must lie in [0, 100]"),
        (
            digits(),
            r#""step_size_up": "-1 epochs", "step_size_down": 3"#,
            "step_size_up: -1 epochs is not a length of time",
        ),
        (digits(), r#""step_size": "0.01 epochs""#, "step_size: 0.01 epochs is 0.45 updates, which rounds to 0"),
        (digits(), r#""step_size": "2 epoks""#, "step_size: \"2 epoks\" is not a time"),
        (digits(), r#""step_size": "1e30 epochs""#, "step_size: \"1e30 epochs\" is not a time"),
        (digits(), r#""step_size": "99999999999999999999 epochs""#, "more updates than can be counted"),
        (
            digits(),
            r#""step_size": 2.5"#,
            "schedule.cyclic.step_size: invalid type: floating point `2.5`, expected a number of updates, or a text",
        ),
        (digits(), r#""step_size": -5"#, "schedule.cyclic.step_size: invalid value: integer `-5`"),
        (digits(), r#""step_size": true"#, "expected a number of updates, or a text such as \"2 epochs\""),
        (digits(), r#""step_size": "0 epochs""#, "schedule.cyclic: step_size must be at least 1, got 0"),
        (digits(), r#""step_size": "2 epochs", "gama": 1"#, "unknown field `gama`"),
        // Counts of cycles and reports are not times.
        (digits(), r#""step_size": "2 epochs", "cycles": "2 epochs""#, "schedule.cyclic.cycles: invalid type: string"),
    ] {
        let error = read(&run, &cyclic(fields)).unwrap_err();
        assert!(error.contains(expected), "{fields}: {error}");
    }
    let milestones = r#"{"schedule": {"multi_step_decay": {"start_lr": 1, "milestones": [1, "200 %"], "gamma": 0.1}}}"#;
    let error = read(&digits(), milestones).unwrap_err();
    assert!(error.starts_with("schedule.multi_step_decay.milestones[1]: milestones: 200 % is more"), "{error}");
    let patience = r#"{"schedule": {"constant": {"lr": 1}}, "plateau": {"factor": 0.5, "patience": "2 epochs"}}"#;
    assert!(read(&digits(), patience).unwrap_err().starts_with("plateau.patience: invalid type: string"));
    let config = ClrConfig::new(Constant::new(0.1).unwrap()).with_batches_per_epoch(0);
    assert!(matches!(config, Err(ConfigError::TooSmall { field: "batches_per_epoch", .. })));
}

/// Writes the lengths of a schedule as texts, and counts the numbers that are neither a length nor a known count.
fn with_texts(value: &mut Value, name: &str, unknown: &mut Vec<String>) {
    const LENGTHS: [&str; 8] =
        ["step_size", "step_size_up", "step_size_down", "total_steps", "steps", "t_0", "timescale", "milestones"];
    const COUNTS: [&str; 4] = ["cycles", "t_mult", "step_divisor", "cosine"];
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| with_texts(value, name, unknown)),
        Value::Array(values) => values.iter_mut().for_each(|value| with_texts(value, name, unknown)),
        Value::Number(number) if number.is_u64() => {
            if LENGTHS.contains(&name) {
                *value = format!("{number} updates").into();
            } else if !COUNTS.contains(&name) {
                unknown.push(name.into());
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a config contains: with texts for its lengths it is read as the same config, from JSON and from TOML. A new
    /// length that cannot be a text, or a new count, fails here.
    #[test]
    fn lengths_as_texts_mean_the_same(config in support::config()) {
        let mut document = serde_json::to_value(&config).unwrap();
        let mut unknown = Vec::new();
        with_texts(document.get_mut("schedule").unwrap(), "", &mut unknown);
        prop_assert_eq!(unknown, Vec::<String>::new());
        let read = ClrConfig::deserialize_for(&digits(), document.clone());
        prop_assert_eq!(read.unwrap(), config.clone());
        let toml = toml::to_string(&document).unwrap();
        let read: Result<ClrConfig, _> = ClrConfig::deserialize_for(&digits(), toml::Deserializer::parse(&toml).unwrap());
        prop_assert_eq!(read.unwrap(), config);
    }
}

#[test]
fn what_was_read_is_written_in_updates() {
    let config = read(&digits(), &cyclic(r#""step_size": "2 epochs""#)).unwrap();
    let written = serde_json::to_value(&config).unwrap();
    assert_eq!(written["schedule"]["cyclic"]["step_size"], 90);
    assert_eq!(written["batches_per_epoch"], 45);
    assert_eq!(serde_json::from_value::<ClrConfig>(written).unwrap(), config);
    // Without batches there is no such field, so the files of earlier versions and of later ones are the same.
    let plain = serde_json::to_value(ClrConfig::new(Constant::new(0.1).unwrap())).unwrap();
    assert_eq!(plain.get("batches_per_epoch"), None);
    assert_eq!(config.schedule().value_at(90), 0.02);
}

#[cfg(all(feature = "checkpoint", feature = "dfdx"))]
#[test]
fn another_number_of_batches_is_refused_with_the_reason() {
    use cyclic_optim::{Adam, Checkpoint, CyclicOptimizer};
    use dfdx::prelude::{Cpu, DeviceBuildExt, Linear};

    let mut model = Cpu::default().build_module::<Linear<2, 1>, f32>();
    let file = cyclic(r#""step_size": "180 updates", "total_steps": null"#);
    let timed = cyclic(r#""step_size": "4 epochs""#);
    let run = |batches, json: &str| {
        let config = read(&RunLength::new(batches, 20).unwrap(), json).unwrap();
        CyclicOptimizer::new(Adam::default(), config)
    };
    let saved = Checkpoint::from_bytes(Checkpoint::to_bytes(&model, &run(45, &timed)).unwrap()).unwrap();
    assert!(saved.restore(&mut model, &mut run(45, &timed)).is_ok());
    let error = saved.restore(&mut model, &mut run(41, &timed)).unwrap_err().to_string();
    assert!(error.contains("config.batches_per_epoch was 45 and is 41"), "{error}");
    assert!(error.contains("config.schedule.cyclic.step_size was 180 and is 164"), "{error}");
    // `restore_as` accepts it, like any other difference.
    assert!(saved.restore_as(&mut model, &mut run(41, &timed)).is_ok());
    // A file in updates does not depend on the batches.
    let saved = Checkpoint::from_bytes(Checkpoint::to_bytes(&model, &run(45, &file)).unwrap()).unwrap();
    assert!(saved.restore(&mut model, &mut run(41, &file)).is_ok());
}
