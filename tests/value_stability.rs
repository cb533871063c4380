//! The bits of each schedule's values do not change: not with features, not between platforms, not between versions.
//!
//! A change here changes users' training runs. It needs a **Value-breaking** line in CHANGELOG.md. Then
//! `UPDATE_VALUES=1 cargo test --test value_stability` writes the file again (and fails, so that it does not stay set).

use std::fmt::Write;

use cyclic_optim::{
    Amplitude, Constant, CosineDecay, Curve, Cyclic, ExponentialDecay, InverseSqrtDecay, InverseTimeDecay, LinearDecay,
    MultiStepDecay, OneCycle, Part, Policy, PolynomialDecay, Product, Schedule, Sequence, StepDecay, WarmRestarts,
};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/value_stability.txt");

fn policies() -> Vec<(&'static str, Policy)> {
    let cosine = |cyclic: Cyclic| cyclic.with_curves(Curve::Cosine, Curve::Cosine);
    let triangular = Cyclic::triangular(1e-4, 0.3, 7).unwrap();
    let limited = || Cyclic::triangular(1e-4, 0.3, 7).unwrap().with_cycles(9).unwrap();
    vec![
        ("constant", Constant::new(0.1).unwrap().into()),
        ("linear_decay", LinearDecay::new(0.3, 0.01, 70).unwrap().into()),
        ("step_decay", StepDecay::new(0.3, 7, 0.7).unwrap().into()),
        ("multi_step_decay", MultiStepDecay::new(0.3, [3, 17, 60], 0.3).unwrap().into()),
        ("exponential_decay", ExponentialDecay::new(0.3, 0.99).unwrap().into()),
        ("polynomial_decay", PolynomialDecay::new(0.3, 0.01, 70, 1.7).unwrap().into()),
        ("cosine_decay", CosineDecay::new(0.3, 0.01, 70).unwrap().into()),
        ("inverse_time_decay", InverseTimeDecay::new(0.3, 0.03).unwrap().into()),
        ("inverse_sqrt_decay", InverseSqrtDecay::new(0.3, 7).unwrap().into()),
        ("triangular", triangular.clone().into()),
        ("triangular2", Cyclic::triangular2(1e-4, 0.3, 7).unwrap().into()),
        ("exp_range", Cyclic::exp_range(1e-4, 0.3, 7, 0.99).unwrap().into()),
        ("cyclic asymmetric", triangular.clone().with_step_sizes(3, 10).unwrap().into()),
        ("cyclic cosine factor", cosine(triangular).with_amplitude(Amplitude::Factor(0.7)).unwrap().into()),
        (
            "cyclic over total",
            cosine(Cyclic::over_total(1e-4, 0.3, 100, 7, 0.3).unwrap()).with_end_lr(0.0).unwrap().into(),
        ),
        ("one_cycle", OneCycle::new(0.3, 70).unwrap().into()),
        ("one_cycle pytorch", OneCycle::pytorch(0.3, 71).unwrap().with_three_phases(0.6).unwrap().into()),
        ("one_cycle fastai", OneCycle::fastai(0.3, 71).unwrap().into()),
        ("one_cycle optax", OneCycle::optax(0.3, 71).unwrap().with_curve(Curve::Linear).into()),
        ("one_cycle paper", OneCycle::paper(0.3, 71).unwrap().into()),
        (
            "warm_restarts",
            WarmRestarts::new(1e-4, 0.3, 7).unwrap().with_t_mult(2).unwrap().with_peak_factor(0.7).unwrap().into(),
        ),
        ("snapshots", WarmRestarts::snapshots(0.3, 71, 5).unwrap().with_inclusive_end().into()),
        (
            "sequence",
            Sequence::new([
                Part::new(LinearDecay::new(0.0, 0.3, 5).unwrap(), 5),
                Part::endless(WarmRestarts::new(0.0, 0.3, 9).unwrap()),
            ])
            .unwrap()
            .into(),
        ),
        ("cyclic divided", Cyclic::triangular(1e-4, 0.3, 7).unwrap().with_step_divisor(3).unwrap().into()),
        ("cyclic growing", limited().with_amplitude(Amplitude::Factor(1.3)).unwrap().into()),
        ("cyclic cosine amplitude", limited().with_amplitude(Amplitude::Cosine(5)).unwrap().into()),
        ("cyclic inverse time", limited().with_amplitude(Amplitude::InverseTime(0.7)).unwrap().into()),
        (
            "product",
            Product::new(Cyclic::triangular(1e-4, 0.3, 7).unwrap(), ExponentialDecay::new(1.0, 0.99).unwrap())
                .and_then(|product| product.times(InverseTimeDecay::new(1.0, 0.03)?))
                .unwrap()
                .into(),
        ),
    ]
}

#[test]
fn every_schedule_returns_the_promised_bits() {
    let mut found = String::new();
    for (name, policy) in policies() {
        writeln!(found, "{name}").unwrap();
        for step in [0, 1, 2, 3, 5, 6, 7, 8, 13, 14, 21, 34, 55, 69, 70, 71, 89, 1000, 1 << 24, 1 << 40, u64::MAX] {
            let value = policy.value_at(step);
            writeln!(found, "  {step:>20}  {:016x}  {value:e}", value.to_bits()).unwrap();
        }
    }
    if std::env::var_os("UPDATE_VALUES").is_some() {
        std::fs::write(FILE, &found).unwrap();
        panic!("written anew: {FILE}");
    }
    let promised = std::fs::read_to_string(FILE).unwrap();
    let mut name = "";
    for (found, promised) in found.lines().zip(promised.lines()) {
        if !promised.starts_with(' ') {
            name = promised;
        }
        assert_eq!(found, promised, "{name}");
    }
    assert_eq!(found.lines().count(), promised.lines().count());
}
