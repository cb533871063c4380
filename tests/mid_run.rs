//! A schedule, a step size or an amplitude that is changed in the middle of a run, and what is refused.

mod support;

use cyclic_optim::feedback::{Plateau, Watch};
use cyclic_optim::{
    Amplitude, ClrConfig, ConfigError, Constant, CosineDecay, Cyclic, CyclicOptimizer, Place, RateAndMomentum,
    Schedule, WarmRestarts, from_fn,
};
use support::unset;

fn triangle() -> Cyclic {
    Cyclic::triangular(0.1, 0.5, 10).unwrap()
}

fn started(config: impl Into<ClrConfig>) -> CyclicOptimizer<RateAndMomentum> {
    CyclicOptimizer::new(unset(), config.into())
}

fn run(optimizer: &mut CyclicOptimizer<RateAndMomentum>, updates: u64) -> Vec<f64> {
    (0..updates).map(|_| optimizer.update_with(|inner| Ok::<_, ()>(inner.lr)).unwrap()).collect()
}

/// The `_reset(new_step_size)` of the Keras callbacks: the cycles start again, and the run continues.
#[test]
fn a_new_step_size_from_the_start() {
    let mut optimizer = started(triangle());
    run(&mut optimizer, 13);
    optimizer.set_step_size(4, Place::Start).unwrap();
    assert_eq!((optimizer.iterations(), optimizer.clr_iterations()), (13, 0));
    assert_eq!(run(&mut optimizer, 5), [0.1, 0.2, 0.3, 0.4, 0.5].map(|lr: f64| (lr * 10.0).round() / 10.0));
    assert_eq!(optimizer.last().unwrap().iteration, 17);
}

#[test]
fn a_new_step_size_at_the_same_place() {
    let mut optimizer = started(triangle());
    optimizer.set_range(1.0, 3.0).unwrap();
    run(&mut optimizer, 25);
    assert_eq!(optimizer.lr(), 2.0);
    optimizer.set_step_size(1000, Place::Keep).unwrap();
    // A quarter into the second cycle; the range that was set stays.
    assert_eq!((optimizer.clr_iterations(), optimizer.lr()), (2500, 2.0));
    assert_eq!(optimizer.cycle().map(|cycle| (cycle.index, cycle.length)), Some((1, 2000)));
}

#[test]
fn a_new_gamma_keeps_the_step() {
    let mut optimizer = started(Cyclic::exp_range(0.1, 0.5, 10, 0.99).unwrap());
    run(&mut optimizer, 27);
    optimizer.set_amplitude(Amplitude::Gamma(0.9)).unwrap();
    assert_eq!(optimizer.clr_iterations(), 27);
    let expected = Cyclic::exp_range(0.1, 0.5, 10, 0.9).unwrap();
    assert_eq!(run(&mut optimizer, 5), [27, 28, 29, 30, 31].map(|step| expected.value_at(step)));
    // One change after the other.
    optimizer.set_step_size(20, Place::Start).unwrap();
    assert_eq!(optimizer.lr(), 0.1);
    let both = Cyclic::exp_range(0.1, 0.5, 20, 0.9).unwrap();
    assert_eq!(run(&mut optimizer, 30)[29], both.value_at(29));
}

#[test]
fn a_schedule_brings_its_own_range() {
    let mut optimizer = started(triangle());
    optimizer.set_range(1.0, 3.0).unwrap();
    optimizer.set_schedule(WarmRestarts::new(0.0, 0.2, 5).unwrap(), Place::Start).unwrap();
    assert_eq!((optimizer.lr(), optimizer.state().range), (0.2, None));
    optimizer.set_range(0.0, 0.4).unwrap();
    assert_eq!(optimizer.lr(), 0.4);
    // Back to the schedule of the config.
    let state = cyclic_optim::ClrState { schedule: None, range: None, ..optimizer.state() };
    optimizer.restore(state).unwrap();
    assert_eq!(optimizer.lr(), 0.1);
}

/// For any schedule, including one of a user.
#[test]
fn a_schedule_of_a_users_own_is_replaced() {
    let config = ClrConfig::custom(from_fn(|_| 0.25));
    let mut optimizer = CyclicOptimizer::new(RateAndMomentum::default(), config);
    optimizer.seek(7);
    optimizer.set_schedule(CosineDecay::new(1.0, 0.0, 14).unwrap(), Place::Keep).unwrap();
    assert_eq!((optimizer.lr(), optimizer.remaining()), (0.5, Some(7)));
}

#[test]
fn what_does_not_fit_is_refused() {
    let constant = || Constant::new(0.1).unwrap();
    let refused = |config: ClrConfig| {
        let mut optimizer = started(config);
        run(&mut optimizer, 3);
        let before = (optimizer.state(), optimizer.lr());
        let error = optimizer.set_schedule(constant(), Place::Keep).unwrap_err();
        assert_eq!((optimizer.state(), optimizer.lr()), before);
        error
    };
    let config = || ClrConfig::new(triangle());
    assert_eq!(refused(config().with_momentum(0.8, 0.9).unwrap()), ConfigError::NoHeight);
    assert_eq!(refused(config().with_decay(0.1).unwrap()), ConfigError::NoRange { asked: "decay" });
    assert_eq!(refused(config().with_watch(Watch::CycleEnds).unwrap()), ConfigError::NoCycles);
    let plateau = Plateau::auto_decay(0.5, 1).unwrap();
    let peak = config().with_watch(Watch::EveryReport).unwrap().with_plateau(plateau).unwrap();
    assert_eq!(refused(peak), ConfigError::NoRange { asked: "a plateau on the peak" });

    let mut optimizer = started(triangle());
    assert!(matches!(
        optimizer.set_step_size(0, Place::Keep),
        Err(ConfigError::TooSmall { field: "step_size_up", .. })
    ));
    let gamma = optimizer.set_amplitude(Amplitude::Gamma(1.5)).unwrap_err();
    assert_eq!(gamma, ConfigError::OutOfRange { field: "gamma", value: 1.5, range: "(0, 1]" });
    assert_eq!(optimizer.state().schedule, None);
    let mut optimizer = started(constant());
    assert!(matches!(optimizer.set_step_size(4, Place::Keep), Err(ConfigError::Conflict { field: "step_size", .. })));
    assert!(matches!(
        optimizer.set_amplitude(Amplitude::Halving),
        Err(ConfigError::Conflict { field: "amplitude", .. })
    ));
    // Also from a file.
    let state = cyclic_optim::ClrState { schedule: Some(Box::new(constant().into())), ..optimizer.state() };
    let mut cycled = started(config().with_momentum(0.8, 0.9).unwrap());
    assert_eq!(cycled.restore(state), Err(ConfigError::NoHeight));
}

#[cfg(feature = "serde")]
#[test]
fn it_is_saved_and_resumed() {
    let config = || ClrConfig::new(triangle()).with_momentum(0.8, 0.9).unwrap();
    let mut optimizer = started(config());
    run(&mut optimizer, 12);
    assert!(!serde_json::to_string(&optimizer.state()).unwrap().contains("schedule"));
    optimizer.set_step_size(30, Place::Keep).unwrap();
    run(&mut optimizer, 5);
    let json = serde_json::to_string(&optimizer.state()).unwrap();
    let mut resumed = started(config());
    resumed.restore(serde_json::from_str(&json).unwrap()).unwrap();
    assert_eq!(run(&mut resumed, 100), run(&mut optimizer, 100));
    assert_eq!(resumed.state(), optimizer.state());
    let wrong = json.replace("\"step_size\":30", "\"step_size\":0");
    assert_ne!(wrong, json);
    let error = serde_json::from_str::<cyclic_optim::ClrState>(&wrong).unwrap_err().to_string();
    assert!(error.contains("step_size must be at least 1, got 0"), "{error}");
}

#[cfg(all(feature = "dfdx", feature = "checkpoint"))]
#[test]
fn a_checkpoint_holds_it() {
    use cyclic_optim::{Checkpoint, Sgd};
    use dfdx::prelude::*;

    type Model = modules::Linear<3, 2, f32, Cpu>;
    let build = |seed| Cpu::seed_from_u64(seed).build_module::<builders::Linear<3, 2>, f32>();
    let x: Tensor<Rank2<5, 3>, f32, _> = Cpu::seed_from_u64(9).sample_normal();
    let new = || CyclicOptimizer::new(Sgd::<f32, Cpu>::default(), triangle());
    let train = |model: &mut Model, optimizer: &mut CyclicOptimizer<Sgd<f32, Cpu>>, until| {
        while optimizer.iterations() < until {
            match optimizer.iterations() {
                5 => optimizer.set_step_size(3, Place::Keep).unwrap(),
                12 => optimizer.set_schedule(CosineDecay::new(0.3, 0.0, 9).unwrap(), Place::Start).unwrap(),
                _ => {}
            }
            let loss = model.forward(x.leaky_trace()).square().mean();
            let value = loss.array();
            optimizer.apply(model, &mut loss.backward(), value).unwrap();
        }
    };
    let (mut whole, mut through) = (build(1), new());
    train(&mut whole, &mut through, 20);
    let expected = Checkpoint::to_bytes(&whole, &through).unwrap();
    for stop in 0..20 {
        let (mut first, mut before) = (build(1), new());
        train(&mut first, &mut before, stop);
        let saved = Checkpoint::from_bytes(Checkpoint::to_bytes(&first, &before).unwrap()).unwrap();
        let (mut resumed, mut after) = (build(2), new());
        saved.restore(&mut resumed, &mut after).unwrap();
        train(&mut resumed, &mut after, 20);
        assert!(Checkpoint::to_bytes(&resumed, &after).unwrap() == expected, "resumed at {stop}");
    }
}
