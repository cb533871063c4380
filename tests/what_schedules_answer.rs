//! Questions to schedules and to the wrapper, on small cases worked out by hand.

mod support;

use cyclic_optim::{
    ClrConfig, ConfigError, Constant, Cyclic, CyclicOptimizer, IntoConfig, LinearDecay, LrRange, OneCycle, Part, Point,
    Policy, RateAndMomentum, ScaleMode, ScaledCyclic, Schedule, ScheduleExt, Sequence, WarmRestarts,
};
use support::unset;

/// Repeats 1, 2, 3, 2.
fn triangle() -> Cyclic {
    Cyclic::triangular(1.0, 3.0, 2).unwrap()
}

const OTHER: LrRange = LrRange { base_lr: 2.0, max_lr: 4.0 };

fn optimizer(config: impl IntoConfig<Policy>) -> CyclicOptimizer<RateAndMomentum> {
    CyclicOptimizer::new(unset(), config)
}

fn update(optimizer: &mut CyclicOptimizer<RateAndMomentum>, times: usize) {
    for _ in 0..times {
        optimizer.update_with(|_| Ok::<_, ()>(())).unwrap();
    }
}

#[test]
fn decay_of_the_base_goes_on_after_a_reset_and_over_a_set_range() {
    let decaying = || {
        let mut optimizer = optimizer(ClrConfig::new(triangle()).with_decay(0.25).unwrap());
        update(&mut optimizer, 4);
        optimizer
    };
    let mut reset = decaying();
    reset.reset_cycle();
    assert_eq!(reset.lr(), 1.0 / (1.0 + 0.25 * 4.0));
    let mut ranged = decaying();
    ranged.set_range(2.0, 4.0).unwrap();
    assert_eq!(ranged.lr(), 2.0 / (1.0 + 0.25 * 4.0));
}

#[test]
fn what_remains_counts_from_the_reset() {
    let mut optimizer = optimizer(triangle().with_cycles(1).unwrap());
    assert_eq!(optimizer.remaining(), Some(4));
    update(&mut optimizer, 3);
    assert_eq!((optimizer.remaining(), optimizer.is_finished()), (Some(1), false));
    update(&mut optimizer, 1);
    assert_eq!((optimizer.remaining(), optimizer.is_finished()), (Some(0), true));
    optimizer.reset_cycle();
    assert_eq!((optimizer.remaining(), optimizer.is_finished()), (Some(4), false));
}

#[test]
fn after_a_seek_no_cycle_has_just_ended() {
    let mut optimizer = optimizer(triangle());
    update(&mut optimizer, 4);
    assert!(optimizer.at_cycle_end());
    optimizer.seek(8);
    assert!(!optimizer.at_cycle_end());
}

#[test]
fn each_shape_over_another_range() {
    let one_cycle = OneCycle::new(1.0, 101).unwrap();
    // The range changes start and peak; the end stays.
    assert_eq!([0, 30, 100].map(|step| one_cycle.value_in(step, OTHER)), [2.0, 4.0, 1.0 / 25.0 / 1e4]);
    let restarts = WarmRestarts::new(0.0, 1.0, 4).unwrap().with_peak_factor(0.5).unwrap();
    assert_eq!([0, 2, 4].map(|step| restarts.value_in(step, OTHER)), [4.0, 3.0, 3.0]);
    let scaled = ScaledCyclic::new(triangle().with_cycles(2).unwrap(), ScaleMode::Cycle, |_| 0.5);
    assert_eq!((scaled.value_in(2, OTHER), scaled.horizon()), (3.0, Some(8)));
}

#[test]
fn the_number_of_cycles_outlasts_other_step_sizes() {
    assert_eq!(triangle().with_cycles(2).unwrap().with_step_sizes(1, 4).unwrap().horizon(), Some(10));
}

#[test]
fn there_is_no_cycle_past_the_last() {
    let twice = triangle().with_cycles(2).unwrap();
    assert_eq!((twice.cycle_start(1), twice.cycle_start(2)), (Some(4), None));
    let cut = Sequence::new([Part::new(Cyclic::triangular(1.0, 3.0, 5).unwrap(), 7)]).unwrap();
    assert!(cut.cycle_at(6).unwrap().is_last());
    assert_eq!((cut.cycle_at(7), cut.cycle_at(u64::MAX)), (None, None));
}

#[test]
fn cycles_are_numbered_through_a_nested_sequence_that_ends_without_one() {
    let inner = Sequence::new([Part::new(triangle(), 8), Part::new(Constant::new(1.0).unwrap(), 2)]).unwrap();
    let outer = Sequence::new([Part::new(inner, 10), Part::endless(triangle())]).unwrap();
    assert_eq!((outer.cycle_at(10).unwrap().index, outer.cycle_start(2)), (2, Some(10)));
}

#[test]
fn a_sequence_has_the_heights_of_its_parts_and_has_to_fit() {
    let cycled = Sequence::new([Part::new(Constant::new(1.0).unwrap(), 3), Part::endless(triangle())]).unwrap();
    assert_eq!((cycled.height_at(0), cycled.height_at(4)), (Some(0.0), triangle().height_at(1)));
    assert!(ClrConfig::new(cycled).with_momentum(0.8, 0.9).is_ok());
    let sequence = Sequence::new([Part::endless(Constant::new(1.0).unwrap())]).unwrap();
    assert!(matches!(ClrConfig::new(sequence).with_momentum(0.8, 0.9), Err(ConfigError::NoHeight)));
    let last = LinearDecay::new(1.0, 0.0, u64::MAX).unwrap();
    let too_long = Sequence::new([Part::new(triangle(), 1), Part::endless(last)]);
    assert!(matches!(too_long, Err(ConfigError::HorizonOverflow { field: "parts", .. })));
}

#[test]
fn behind_a_pointer_a_schedule_answers_the_same() {
    let parts = [Part::new(Constant::new(1.0).unwrap(), 3), Part::new(triangle(), 8)];
    let policy = Policy::from(Sequence::new(parts).unwrap());
    let boxed: Box<dyn Schedule> = Box::new(policy.clone());
    assert_eq!((boxed.cycle_start(0), boxed.cycle_start(1)), (Some(3), Some(7)));
    let borrowed: Box<dyn Schedule + '_> = Box::new(&policy);
    assert_eq!((borrowed.cycle_start(1), boxed.horizon()), (Some(7), Some(11)));
    let boxed: Box<dyn Schedule> = Box::new(triangle());
    assert_eq!((boxed.range(), boxed.value_in(2, OTHER)), (triangle().range(), 4.0));
}

#[test]
fn a_height_outside_of_0_to_1_gives_no_momentum() {
    struct TooHigh;
    impl Schedule for TooHigh {
        fn value_at(&self, _: u64) -> f64 {
            0.1
        }
        fn point_at(&self, _: u64, _: Option<LrRange>) -> Point {
            Point { value: 0.1, height: Some(20.0), amplitude: 1.0 }
        }
    }
    let config = ClrConfig::custom(TooHigh).with_momentum(0.8, 0.9).unwrap();
    let refused = CyclicOptimizer::try_new(unset(), config);
    assert!(matches!(refused, Err(ConfigError::OutOfRange { field: "the scheduled momentum", .. })));
}

#[test]
fn the_last_epoch_that_is_asked_for_counts() {
    let schedule = Cyclic::triangular(0.0, 1.0, 90).unwrap();
    assert_eq!((schedule.first_epoch_on_cycle_end(45, 4), schedule.first_epoch_on_cycle_end(45, 3)), (Some(4), None));
}

#[test]
fn a_divisor_of_one_is_one() {
    let schedule = OneCycle::new(1.0, 10).unwrap();
    assert!(schedule.clone().with_div_factors(1.0, 1.0).is_ok());
    assert!(matches!(schedule.with_div_factors(0.5, 1.0), Err(ConfigError::OutOfRange { field: "div_factor", .. })));
}

#[cfg(feature = "serde")]
#[test]
fn in_a_file_half_of_a_fitted_cycle_rises() {
    let file = r#"{"base_lr": 0, "max_lr": 1, "total_steps": 8, "cycles": 1}"#;
    assert_eq!(serde_json::from_str::<Cyclic>(file).unwrap().value_at(4), 1.0);
}
