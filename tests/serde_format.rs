//! The format of config files and saved states: old files stay readable, and errors name the wrong field.

#![cfg(feature = "serde")]

mod support;

use cyclic_optim::feedback::{EarlyStopping, Improvement, Plateau};
use cyclic_optim::{
    ClrConfig, ClrState, Constant, CyclicOptimizer, ExponentialDecay, Group, Hyper, OneCycle, Part, Policy,
    RateAndMomentum, Schedule, Sequence,
};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use support::unset;

/// A config and its value at step 3, for each form of a file.
const GOOD: [(&str, f64); 29] = [
    (r#"{"schedule": {"constant": {"lr": 0.1}}}"#, 0.1),
    (r#"{"schedule": {"linear_decay": {"start_lr": 0.0, "end_lr": 1.0, "steps": 4}}}"#, 0.75),
    (r#"{"schedule": {"step_decay": {"start_lr": 1.0, "step_size": 2, "gamma": 0.5}}}"#, 0.5),
    (r#"{"schedule": {"multi_step_decay": {"start_lr": 1.0, "milestones": [1, 3], "gamma": 0.5}}}"#, 0.25),
    (r#"{"schedule": {"exponential_decay": {"start_lr": 1.0, "gamma": 0.5}}}"#, 0.125),
    (r#"{"schedule": {"polynomial_decay": {"start_lr": 1.0, "end_lr": 0.0, "steps": 4, "power": 2}}}"#, 0.0625),
    (r#"{"schedule": {"cosine_decay": {"start_lr": 1.0, "end_lr": 0.0, "steps": 6}}}"#, 0.5),
    (r#"{"schedule": {"inverse_time_decay": {"start_lr": 1.0, "rate": 1.0}}}"#, 0.25),
    (r#"{"schedule": {"inverse_sqrt_decay": {"start_lr": 1.0, "timescale": 1}}}"#, 0.5),
    (r#"{"schedule": {"cyclic": {"base_lr": 0, "max_lr": 1, "step_size": 4}}}"#, 0.75),
    (r#"{"schedule": {"cyclic": {"base_lr": 0, "max_lr": 1, "step_size": 1, "amplitude": "halving"}}}"#, 0.5),
    (r#"{"schedule": {"cyclic": {"base_lr": 0, "max_lr": 1, "step_size": 3, "amplitude": {"gamma": 0.5}}}}"#, 0.125),
    (r#"{"schedule": {"cyclic": {"base_lr": 0, "max_lr": 1, "step_size": 1, "amplitude": {"factor": 0.25}}}}"#, 0.25),
    (
        r#"{"schedule": {"cyclic": {"base_lr": 0, "max_lr": 1, "step_size_up": 1, "step_size_down": 4, "cycles": 3}}}"#,
        0.5,
    ),
    (
        r#"{"schedule": {"cyclic": {"base_lr": 0.5, "max_lr": 1, "end_lr": 0, "total_steps": 8, "cycles": 2,
            "up_fraction": 0.5, "rise": "cosine", "fall": "linear"}}}"#,
        0.5,
    ),
    (
        r#"{"schedule": {"cyclic": {"base_lr": 1, "max_lr": 2, "step_size_up": 4611686018427387904, "step_size_down": 1}}}"#,
        1.0,
    ),
    (r#"{"schedule": {"one_cycle": {"max_lr": 25, "total_steps": 10, "dialect": "optax"}}}"#, 25.0),
    (
        r#"{"schedule": {"one_cycle": {"max_lr": 25, "total_steps": 10, "rise_fraction": 0.4, "final_fraction": 0.8,
            "div_factor": 25, "final_div_factor": 4, "curve": "linear", "dialect": "pytorch"}}}"#,
        25.0,
    ),
    (r#"{"schedule": {"warm_restarts": {"max_lr": 1, "t_0": 1, "t_mult": 2, "peak_factor": 0.5}}}"#, 0.25),
    (
        r#"{"schedule": {"warm_restarts": {"max_lr": 1, "total_steps": 8, "cycles": 2, "inclusive_end": true}},
            "momentum": {"base_momentum": 0.8, "max_momentum": 0.9}, "decay": 0.1, "bounds": {"floor": 0, "ceiling": 2}}"#,
        0.0,
    ),
    (
        r#"{"schedule": {"cyclic": {"base_lr": 0, "max_lr": 1, "step_size": 4}}, "watch": "cycle_ends",
            "plateau": {"factor": 0.5, "patience": 2, "counting": "pytorch", "cooldown": 1, "floor": 0.1, "scope": "peak", "eps": 1e-6,
                "trend_window": 4, "improvement": {"direction": "max", "min_delta": {"relative": 0.01}}},
            "early_stopping": {"patience": 5, "baseline": 0.5, "threshold": 0.9, "start_from": 2, "improvement": {"direction": "max"}},
            "guard": {"gradients": true, "max_refusals": 10}, "clip": {"norm": 1.0, "value": 0.5}}"#,
        0.75,
    ),
    (
        r#"{"schedule": {"sequence": {"parts": [{"schedule": {"constant": {"lr": 0.5}}, "steps": 2},
            {"schedule": {"constant": {"lr": 0.25}}}]}}}"#,
        0.25,
    ),
    (
        r#"{"schedule": {"sequence": {"parts": [{"schedule": {"linear_decay": {"start_lr": 0, "end_lr": 1, "steps": 2}},
            "steps": 2}, {"schedule": {"cyclic": {"base_lr": 1, "max_lr": 2, "step_size": 4}}}]}},
            "momentum": {"base_momentum": 0.85, "max_momentum": 0.95}}"#,
        1.25,
    ),
    (
        r#"{"schedule": {"product": {"factors": [{"cyclic": {"base_lr": 0, "max_lr": 1, "step_size": 4}},
            {"exponential_decay": {"start_lr": 1, "gamma": 0.5}}]}}}"#,
        0.75 / 8.0,
    ),
    (r#"{"schedule": {"cyclic": {"base_lr": 0, "max_lr": 1, "step_size": 1, "amplitude": {"cosine": 4}}}}"#, 0.5),
    (
        r#"{"schedule": {"cyclic": {"base_lr": 0, "max_lr": 1, "step_size": 1, "amplitude": {"inverse_time": 3}}}}"#,
        0.25,
    ),
    (
        r#"{"schedule": {"cyclic": {"base_lr": 0, "max_lr": 1, "step_size": 1, "cycles": 3, "amplitude": {"factor": 1.5}}}}"#,
        1.5,
    ),
    (r#"{"schedule": {"cyclic": {"base_lr": 0, "max_lr": 1, "step_size": 5, "step_divisor": 2}}}"#, 0.8),
    (r#"{"schedule": {"warm_restarts": {"max_lr": 1, "t_0": 3, "cycles": 2, "peak_factor": 2.0}}}"#, 2.0),
];

/// The guide documents the format with complete files.
#[test]
fn the_files_of_the_guide_are_read() {
    let blocks = include_str!("../src/guide/config_files.md")
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    let files: Vec<ClrConfig> =
        blocks.filter(|block| block.contains("[schedule")).map(|block| toml::from_str(block).unwrap()).collect();
    assert_eq!(files.len(), 3);
    assert_eq!(files[0].bounds().unwrap().ceiling, 0.1);
    assert_eq!(files[0].momentum().unwrap().base_momentum, 0.85);
    assert_eq!(files[0].schedule().horizon(), Some(8 * 4000));
    assert!(files[1].plateau().is_some() && files[1].early_stopping().is_some());
    assert_eq!(files[1].clip().norm, Some(1.0));
    assert!(files[2].hyper().get(Hyper::WeightDecay).is_some());
    assert_eq!(files[2].groups().iter().map(Group::weight_decay).collect::<Vec<_>>(), [1.0, 0.0]);
}

/// Every field of a config is in a file of the guide, and so is every field of plateau, early stopping,
/// guard and clip.
#[test]
fn the_files_of_the_guide_have_every_field() {
    let page = include_str!("../src/guide/config_files.md");
    let lines: Vec<&str> = page
        .split("```toml\n")
        .skip(1)
        .flat_map(|rest| rest.split("```").next().unwrap().lines())
        .map(|line| line.trim_start_matches(['#', ' ', '[']))
        .collect();
    for table in ["", r#""plateau": "#, r#""early_stopping": "#, r#""guard": "#, r#""clip": "#] {
        let unknown = if table.is_empty() { r#"{"x": 0}"#.into() } else { format!(r#"{{{table}{{"x": 0}}}}"#) };
        let error = read(&unknown).unwrap_err();
        let fields: Vec<&str> = error.split_once("expected ").unwrap().1.split('`').skip(1).step_by(2).collect();
        assert!(fields.len() > 1, "{error}");
        // That one is not written by hand: `deserialize_for` sets it.
        for field in fields.into_iter().filter(|&field| field != "batches_per_epoch") {
            let ends = |rest: &str| rest.starts_with([' ', '.', ']']);
            let names =
                |line: &str| line.strip_prefix(field).is_some_and(ends) || line.ends_with(&format!(".{field}]"));
            assert!(lines.iter().any(|line| names(line)), "{table}{field}");
        }
    }
}

fn read(json: &str) -> Result<ClrConfig, String> {
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(json)).map_err(|error| error.to_string())
}

#[test]
fn every_form_is_read_and_written() {
    for (json, expected) in GOOD {
        let config = read(json).unwrap_or_else(|error| panic!("{json}: {error}"));
        assert_eq!(config.schedule().value_at(3), expected, "{json}");
        let written = serde_json::to_string(&config).unwrap();
        assert_eq!(read(&written).unwrap(), config, "{json} -> {written}");
        let written = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<ClrConfig>(&written).unwrap(), config, "{json} -> {written}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let cyclic = |fields: &str| format!(r#"{{"schedule": {{"cyclic": {{{fields}}}}}}}"#);
    let feedback =
        |more: &str| format!(r#"{{"schedule": {{"cyclic": {{"base_lr": 0, "max_lr": 1, "step_size": 5}}}}, {more}}}"#);
    let triangle = |more: &str| cyclic(&format!(r#""base_lr": 0.1, "max_lr": 0.2, "step_size": 5{more}"#));
    for (json, expected) in [
        (triangle(r#", "gama": 0.9"#), "unknown field `gama`"),
        (triangle(r#", "step_size_up": 4"#), "step_size must be given in one way"),
        (triangle(r#", "up_fraction": 0.4"#), "up_fraction needs total_steps"),
        (triangle(r#", "amplitude": {"gamma": 1.5}"#), "schedule.cyclic: gamma must lie in (0, 1], got 1.5"),
        (triangle(r#", "amplitude": "halfing""#), "schedule.cyclic.amplitude: unknown variant `halfing`"),
        (triangle(r#", "cycles": 0"#), "schedule.cyclic: cycles must be at least 1, got 0"),
        (cyclic(r#""base_lr": 0.1, "max_lr": 0.2"#), "step_size must be given in one way"),
        (
            cyclic(r#""base_lr": 0.1, "max_lr": 0.2, "step_size_up": 0, "step_size_down": 1"#),
            "schedule.cyclic: step_size_up must be at least 1, got 0",
        ),
        (cyclic(r#""base_lr": 0.1, "max_lr": 0.2, "total_steps": 9"#), "total_steps needs cycles"),
        (cyclic(r#""base_lr": 0.3, "max_lr": 0.2, "step_size": 5"#), "got base_lr = 0.3, max_lr = 0.2"),
        (
            cyclic(r#""base_lr": -1, "max_lr": 0.2, "step_size": 5"#),
            "base_lr must be a finite rate of at least 0, got -1",
        ),
        (cyclic(r#""base_lr": "fast", "max_lr": 0.2"#), "schedule.cyclic.base_lr: invalid type: string \"fast\""),
        (cyclic(r#""base_lr": 0.1, "max_lr": 0.2, "step_size": 2.5"#), "schedule.cyclic.step_size: invalid type"),
        (cyclic(r#""base_lr": 0.1, "max_lr": 0.2, "step_size": -5"#), "schedule.cyclic.step_size: invalid value"),
        (r#"{"schedule": {"cyclical": {}}}"#.into(), "schedule: unknown variant `cyclical`"),
        (r#"{"schedule": {"constant": {"lr": 0.1}}, "decai": 1}"#.into(), "unknown field `decai`"),
        (r#"{"schedule": {"constant": {"lr": 0.1}}, "decay": 1}"#.into(), "decay needs a schedule that runs between"),
        (
            r#"{"schedule": {"constant": {"lr": 0.1}}, "momentum": {"base_momentum": 0.8, "max_momentum": 0.9}}"#
                .into(),
            "momentum can only be cycled",
        ),
        (
            r#"{"schedule": {"one_cycle": {"max_lr": 0.1, "total_steps": 9}},
                "momentum": {"base_momentum": 0.8, "max_momentum": 1.9}}"#
                .into(),
            "max_momentum must lie in [0, 1), got 1.9",
        ),
        (
            r#"{"schedule": {"one_cycle": {"max_lr": 0.1, "total_steps": 9}}, "bounds": {"floor": 2, "ceiling": 1}}"#
                .into(),
            "got floor = 2, ceiling = 1",
        ),
        (r#"{"schedule": {"sequence": {"parts": []}}}"#.into(), "schedule.sequence: parts must not be empty"),
        (feedback(r#""plateau": {"factor": 1.0, "patience": 1}"#), "plateau: factor must lie in (0, 1), got 1"),
        (
            feedback(r#""plateau": {"factor": 0.5, "patience": 0, "eps": 1e-9}"#),
            "plateau: eps is an option of PyTorch's counting",
        ),
        (
            feedback(r#""plateau": {"factor": 0.5, "patience": 0, "counting": "pytorch", "eps": -1}"#),
            "plateau: eps must lie in [0, inf), got -1",
        ),
        (
            feedback(r#""plateau": {"factor": 0.5, "patience": 1, "floor": 2}"#),
            "floor must not be above the reference rate, got floor = 2, the reference rate = 1",
        ),
        (
            feedback(r#""plateau": {"factor": 0.5, "patience": 1, "trend_window": 3}"#),
            "plateau: trend_window must be at least 4, got 3",
        ),
        (
            feedback(r#""plateau": {"factor": 0.5, "patience": 1, "scope": "all"}"#),
            "plateau.scope: unknown variant `all`",
        ),
        (
            feedback(r#""early_stopping": {"patience": 1, "improvement": {"min_delta": {"absolute": -1}}}"#),
            "min_delta must lie in",
        ),
        (feedback(r#""early_stopping": {"patience": 1, "threshold": true}"#), "early_stopping.threshold: invalid type"),
        (feedback(r#""early_stopping": {"patience": 1, "improvement": {"mode": "min"}}"#), "unknown field `mode`"),
        (feedback(r#""watch": "cycles""#), "watch: unknown variant `cycles`"),
        (feedback(r#""guard": {"max_refusals": 0}"#), "max_refusals must be at least 1, got 0"),
        (feedback(r#""clip": {"norm": 0}"#), "clip.norm must lie in (0, inf), got 0"),
        (
            r#"{"schedule": {"sequence": {"parts": [{"schedule": {"constant": {"lr": -3}}, "steps": 2}]}}}"#.into(),
            "schedule.sequence.parts[0].schedule.constant: lr must be a finite rate of at least 0, got -3",
        ),
        (
            r#"{"schedule": {"multi_step_decay": {"start_lr": 1.0, "milestones": [3, 2], "gamma": 0.5}}}"#.into(),
            "milestones must be strictly increasing, got 2 after 3",
        ),
        (
            r#"{"schedule": {"warm_restarts": {"max_lr": 1.0, "t_0": 9, "t_mult": 2, "cycles": 64}}}"#.into(),
            "cycles must keep the horizon within u64, got 64",
        ),
        (r#"{"schedule": {"warm_restarts": {"max_lr": 1.0}}}"#.into(), "t_0 must be given"),
        (r#"{"momentum": null}"#.into(), "missing field `schedule`"),
        ("[".into(), "EOF"),
    ] {
        let error = read(&json).unwrap_err();
        assert!(error.contains(expected), "{json}\n     said: {error}\n expected: {expected}");
    }
    // JSON has no NaN; TOML has.
    let error = toml::from_str::<ClrConfig>("[schedule.constant]\nlr = nan").unwrap_err().to_string();
    assert!(error.contains("lr must be a finite rate of at least 0, got NaN"), "{error}");
}

#[test]
fn what_is_wrong_with_amplitudes_and_products_is_named() {
    let cyclic = |fields: &str| format!(r#"{{"schedule": {{"cyclic": {{{fields}}}}}}}"#);
    let triangle = |more: &str| cyclic(&format!(r#""base_lr": 0.1, "max_lr": 0.2, "step_size": 5{more}"#));
    for (json, expected) in [
        (triangle(r#", "step_divisor": 6"#), "schedule.cyclic: step_size must be at least 6, got 5"),
        (triangle(r#", "step_divisor": 0"#), "schedule.cyclic: step_divisor must be at least 1, got 0"),
        (
            cyclic(r#""base_lr": 0.1, "max_lr": 0.2, "total_steps": 9, "cycles": 3, "step_divisor": 2"#),
            "step_divisor cannot be given together with total_steps",
        ),
        (
            triangle(r#", "amplitude": {"factor": 1.5}"#),
            "schedule.cyclic: factor above 1 needs a limited number of cycles",
        ),
        (triangle(r#", "amplitude": {"factor": -1}"#), "schedule.cyclic: factor must lie in (0, inf), got -1"),
        (
            triangle(r#", "cycles": 9, "amplitude": {"factor": 1e100}"#),
            "schedule.cyclic: the last peak must be a finite rate of at least 0, got inf",
        ),
        (triangle(r#", "amplitude": {"cosine": 0}"#), "schedule.cyclic: cosine must be at least 1, got 0"),
        (
            triangle(r#", "amplitude": {"inverse_time": -1}"#),
            "schedule.cyclic: inverse_time must lie in [0, inf), got -1",
        ),
        (
            r#"{"schedule": {"warm_restarts": {"max_lr": 1, "t_0": 3, "peak_factor": 2.0}}}"#.into(),
            "schedule.warm_restarts: peak_factor above 1 needs a limited number of cycles",
        ),
        (
            r#"{"schedule": {"product": {"factors": [{"cyclic": {"base_lr": 0, "max_lr": 1, "step_size": 4}},
                {"one_cycle": {"max_lr": 1, "total_steps": 9}}]}}}"#
                .into(),
            "schedule.product: factors[1] holds its value from update 9 on, but factors[0] is endless",
        ),
        (
            r#"{"schedule": {"product": {"factors": [{"constant": {"lr": 0.1}}]}}}"#.into(),
            "schedule.product: factors must be at least 2, got 1",
        ),
    ] {
        let error = read(&json).unwrap_err();
        assert!(error.contains(expected), "{json}\n     said: {error}\n expected: {expected}");
    }
}

/// Sequences of the largest depth are read back, also within a larger document. One level more is an error.
#[test]
fn nested_sequences_are_read_back() {
    let mut schedule = Policy::from(Constant::new(0.5).unwrap());
    for _ in 0..16 {
        let first = Part::new(Constant::new(0.1).unwrap(), 1);
        schedule = Sequence::new([first, Part::endless(schedule)]).unwrap().into();
    }
    let config = ClrConfig::new(schedule);
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(read(&json).unwrap(), config);
    let outer: Vec<std::collections::BTreeMap<String, ClrConfig>> =
        serde_json::from_str(&format!(r#"[{{"run": {json}}}]"#)).unwrap();
    assert_eq!(outer[0]["run"], config);
    assert_eq!(toml::from_str::<ClrConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
    let deeper = json.replacen(r#"{"schedule":"#, r#"{"schedule":{"sequence":{"parts":[{"schedule":"#, 1);
    let deeper = deeper.replacen(r#","decay""#, r#"}]}},"decay""#, 1);
    let error = read(&deeper).unwrap_err();
    assert!(error.contains("schedule.sequence: sequences must be nested at most 16 deep, got 17"), "{error}");
}

/// `Type::deserialize` must be the trait's method. An inherent function of that name would hide it, without the checks.
#[test]
fn there_is_no_way_around_the_check() {
    let json = |text| serde_json::from_str::<Value>(text).unwrap();
    assert!(Constant::deserialize(json(r#"{"lr": -1.0}"#)).is_err());
    assert!(ExponentialDecay::deserialize(json(r#"{"start_lr": 1.0, "gamma": 2.0}"#)).is_err());
    assert!(OneCycle::deserialize(json(r#"{"max_lr": 0.1, "total_steps": 0}"#)).is_err());
    assert!(Plateau::deserialize(json(r#"{"factor": 7.0, "patience": 1}"#)).is_err());
    assert!(
        EarlyStopping::deserialize(json(r#"{"patience": 0, "improvement": {"min_delta": {"absolute": -1.0}}}"#))
            .is_err()
    );
    assert!(Improvement::deserialize(json(r#"{"min_delta": {"absolute": -1.0}}"#)).is_err());
    assert!(Sequence::deserialize(json(r#"{"parts": []}"#)).is_err());
    assert!(Improvement::deserialize(json("{}")).is_ok());
}

#[test]
fn a_saved_state_still_loads() {
    let state: ClrState = serde_json::from_str(
        r#"{"iterations": 12, "clr_iterations": 2, "range": {"base_lr": 0.1, "max_lr": 0.3}, "scale": 0.5,
            "at_cycle_end": false, "last": {"iteration": 11, "step": 1, "lr": 0.15, "momentum": null}}"#,
    )
    .unwrap();
    let schedule = cyclic_optim::Cyclic::triangular(0.0, 1.0, 4).unwrap();
    let mut optimizer = CyclicOptimizer::new(RateAndMomentum::default(), schedule);
    optimizer.restore(state.clone()).unwrap();
    assert_eq!((optimizer.lr(), optimizer.last().unwrap().lr), (0.1, 0.15));

    let constant = cyclic_optim::Constant::new(0.1).unwrap();
    let mut optimizer = CyclicOptimizer::new(RateAndMomentum::default(), constant);
    let refused = optimizer.restore(state.clone()).unwrap_err();
    assert!(refused.to_string().starts_with("set_range needs a schedule"), "{refused}");
    for scale in [f64::NAN, -1.0] {
        assert!(optimizer.restore(ClrState { scale, range: None, ..state.clone() }).is_err());
        assert!(optimizer.set_scale(scale).is_err());
    }
    assert_eq!((optimizer.lr(), optimizer.state()), (0.1, ClrState::default()));
}

proptest! {
    #[test]
    fn any_config_and_state_survive(config in support::config(), updates in 0..30_u64) {
        let json = serde_json::to_string(&config).unwrap();
        prop_assert_eq!(&read(&json).unwrap(), &config);
        let mut optimizer = CyclicOptimizer::new(unset(), config);
        for _ in 0..updates {
            optimizer.update_with(|_| Ok::<_, ()>(())).unwrap();
        }
        let json = serde_json::to_string(&optimizer.state()).unwrap();
        prop_assert_eq!(serde_json::from_str::<ClrState>(&json).unwrap(), optimizer.state());
    }

    #[test]
    fn no_text_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), cut in 0..400_usize, at in 0..20_usize) {
        let mut text = GOOD[at].0.as_bytes().to_vec();
        let cut = cut.min(text.len());
        text.splice(cut..cut, bytes);
        if let Ok(policy) = serde_json::from_slice::<ClrConfig<Policy>>(&text) {
            let _ = policy.preview().nth(10);
        }
    }
}
