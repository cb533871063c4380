//! Agreement with values from PyTorch and optax. See tests/data/README.md for how they are compared.

#![allow(clippy::cast_precision_loss, reason = "small numbers")]

use cyclic_optim::{
    Amplitude, ClrConfig, CosineDecay, Curve, Cyclic, ExponentialDecay, LinearDecay, MultiStepDecay, OneCycle, Policy,
    PolynomialDecay, Sequence, StepDecay, WarmRestarts,
};
use serde_json::Value;

/// The cases of a file, each with its source.
fn cases(file: &str) -> Vec<Value> {
    let path = format!("{}/tests/data/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let mut document: Value = serde_json::from_str(&text).unwrap();
    document["cases"].take().as_array().unwrap().clone()
}

fn number(case: &Value, field: &str) -> f64 {
    case[field].as_f64().unwrap_or_else(|| panic!("{field} of {case}"))
}

fn count(case: &Value, field: &str) -> u64 {
    case[field].as_u64().unwrap_or_else(|| panic!("{field} of {case}"))
}

/// Compares every point of a case. Returns the number of points.
fn compare(case: &Value, config: &ClrConfig, relative: f64, scale: f64) -> usize {
    let points = case["points"].as_array().unwrap();
    for point in points {
        let step = point[0].as_u64().unwrap();
        let used = config.preview().nth(usize::try_from(step).unwrap()).unwrap();
        let close = |value: f64, expected: f64, scale: f64| {
            let tolerance = relative * expected.abs() + 1e-15 * scale;
            assert!(
                (value - expected).abs() <= tolerance,
                "{} at {step}: {value:e}, expected {expected:e}",
                case["source"]
            );
        };
        close(used.lr, point[1].as_f64().unwrap(), scale);
        if let Some(momentum) = point.get(2).and_then(Value::as_f64) {
            close(used.momentum.unwrap(), momentum, 1.0);
        }
    }
    points.len()
}

#[test]
fn cyclic() {
    let mut compared = 0;
    for case in cases("cyclic.json") {
        let amplitude = match case["mode"].as_str().unwrap() {
            "triangular" => Amplitude::Constant,
            "triangular2" => Amplitude::Halving,
            _ => Amplitude::Gamma(number(&case, "gamma")),
        };
        let schedule = Cyclic::triangular(number(&case, "base_lr"), number(&case, "max_lr"), 1)
            .and_then(|cyclic| cyclic.with_step_sizes(count(&case, "step_size_up"), count(&case, "step_size_down")))
            .and_then(|cyclic| cyclic.with_amplitude(amplitude))
            .unwrap();
        // PyTorch scales the momentum with the amplitude, too.
        let config = ClrConfig::new(schedule)
            .with_scaled_momentum(number(&case, "base_momentum"), number(&case, "max_momentum"))
            .unwrap();
        compared += compare(&case, &config, 1e-12, number(&case, "max_lr"));
    }
    assert_eq!(compared, 9 * 60);
}

#[test]
fn one_cycle() {
    let mut compared = 0;
    for case in cases("one_cycle.json") {
        let rise = number(&case, "pct_start");
        let linear = case["anneal"] == "linear";
        let mut schedule = OneCycle::pytorch(number(&case, "max_lr"), count(&case, "total_steps"))
            .and_then(|schedule| schedule.with_rise_fraction(rise))
            .and_then(|schedule| {
                schedule.with_div_factors(number(&case, "div_factor"), number(&case, "final_div_factor"))
            })
            .unwrap()
            .with_curve(if linear { Curve::Linear } else { Curve::Cosine });
        if case["three_phase"] == true {
            schedule = schedule.with_three_phases(2.0 * rise).unwrap();
        }
        let config = ClrConfig::new(schedule)
            .with_momentum(number(&case, "base_momentum"), number(&case, "max_momentum"))
            .unwrap();
        // At two points PyTorch's one-sided linear form has errors of 1e-11 by cancellation.
        let relative = if linear { 2e-11 } else { 1e-12 };
        compared += compare(&case, &config, relative, number(&case, "max_lr"));
    }
    assert_eq!(compared, 10 * 60 + 50 + 57);
}

#[test]
fn warm_restarts() {
    let mut compared = 0;
    for case in cases("warm_restarts.json") {
        let schedule = WarmRestarts::new(number(&case, "eta_min"), number(&case, "max_lr"), count(&case, "T_0"))
            .and_then(|schedule| schedule.with_t_mult(count(&case, "T_mult")))
            .unwrap();
        compared += compare(&case, &schedule.into(), 1e-12, number(&case, "max_lr"));
    }
    assert_eq!(compared, 6 * 60);
}

#[test]
fn decays() {
    let mut compared = 0;
    for case in cases("decays.json") {
        let source = case["source"].as_str().unwrap();
        let scale = case.get("start").or(case.get("target")).or(case.get("peak")).unwrap().as_f64().unwrap();
        let start = || number(&case, "start");
        let policy: Policy = match source.split_whitespace().nth(1).unwrap() {
            "CosineAnnealingLR" => {
                CosineDecay::new(start(), number(&case, "end"), count(&case, "steps")).unwrap().into()
            }
            "StepLR" => StepDecay::new(start(), count(&case, "step_size"), number(&case, "gamma")).unwrap().into(),
            "MultiStepLR" => {
                let milestones: Vec<u64> =
                    case["milestones"].as_array().unwrap().iter().map(|step| step.as_u64().unwrap()).collect();
                MultiStepDecay::new(start(), milestones, number(&case, "gamma")).unwrap().into()
            }
            "ExponentialLR" => ExponentialDecay::new(start(), number(&case, "gamma")).unwrap().into(),
            "PolynomialLR" => {
                PolynomialDecay::new(start(), 0.0, count(&case, "steps"), number(&case, "power")).unwrap().into()
            }
            "LinearLR" => {
                let target = number(&case, "target");
                LinearDecay::new(target * number(&case, "start_factor"), target, count(&case, "steps")).unwrap().into()
            }
            "warmup_cosine_decay_schedule" => Sequence::warmup_cosine(
                number(&case, "init"),
                number(&case, "peak"),
                number(&case, "end"),
                count(&case, "warmup_steps"),
                count(&case, "decay_steps"),
            )
            .unwrap()
            .into(),
            other => panic!("{other} is new"),
        };
        // optax computes parts of this in f32.
        let relative = if source.starts_with("optax") { 1e-6 } else { 1e-12 };
        compared += compare(&case, &policy.into(), relative, scale);
    }
    assert_eq!(compared, 18 * 60 + 25 + 10 + 38);
}
