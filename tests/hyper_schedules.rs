//! Hyper-parameters with schedules of their own: in the optimizers of dfdx and ours, in files, histories and pictures.

mod support;

use cyclic_optim::{
    Applied, ClrConfig, ConfigError, Constant, CosineDecay, Cyclic, CyclicOptimizer, Hyper, LinearDecay,
    RateAndMomentum, Schedule,
};
use support::RemembersAll;

fn triangle() -> Cyclic {
    Cyclic::triangular(0.001, 0.1, 7).unwrap()
}

fn fading() -> CosineDecay {
    CosineDecay::new(0.1, 0.0, 25).unwrap()
}

#[test]
fn two_schedules_for_one_are_refused() {
    let two = |hyper| Err(ConfigError::TwoSchedules { hyper });
    let config = ClrConfig::new(triangle());
    assert_eq!(config.clone().with_hyper(Hyper::LearningRate, fading()), two("learning_rate"));
    let decayed = config.clone().with_hyper(Hyper::WeightDecay, fading()).unwrap();
    assert_eq!(decayed.with_hyper(Hyper::WeightDecay, fading()), two("weight_decay"));
    let cycled = config.clone().with_momentum(0.8, 0.9).unwrap();
    assert_eq!(cycled.with_hyper(Hyper::Momentum, fading()), two("momentum"));
    let scheduled = config.with_hyper(Hyper::Momentum, fading()).unwrap();
    assert_eq!(scheduled.with_momentum(0.8, 0.9), two("momentum"));
}

#[test]
fn values_out_of_range_are_refused() {
    for (hyper, name) in [(Hyper::Momentum, "momentum"), (Hyper::Beta2, "beta2")] {
        let error = ClrConfig::new(triangle()).with_hyper(hyper, Constant::new(1.0).unwrap()).unwrap_err();
        assert_eq!(error, ConfigError::OutOfRange { field: name, value: 1.0, range: "[0, 1)" });
    }
}

/// `RateAndMomentum` has neither a weight decay nor, in this form, a momentum.
#[test]
fn what_the_optimizer_lacks_cannot_be_scheduled() {
    for hyper in [Hyper::WeightDecay, Hyper::Beta2, Hyper::Eps, Hyper::Momentum] {
        let config = ClrConfig::new(triangle()).with_hyper(hyper, Constant::new(0.5).unwrap()).unwrap();
        let refused = CyclicOptimizer::try_new(RateAndMomentum::default(), config).unwrap_err();
        assert_eq!(refused, ConfigError::NoHyper { hyper: hyper.name() });
        assert!(refused.to_string().starts_with(&format!("{} cannot be scheduled", hyper.name())));
    }
}

/// All schedules have the same step: it advances, is reset and is set for all of them together.
#[test]
fn one_clock_for_all() {
    let config = ClrConfig::new(triangle()).with_hyper(Hyper::WeightDecay, fading()).unwrap();
    let mut optimizer = CyclicOptimizer::new(RemembersAll::default(), config);
    optimizer.seek(9);
    assert_eq!(optimizer.hyper(Hyper::WeightDecay), Some(fading().value_at(9)));
    optimizer.set_scale(0.5).unwrap();
    assert_eq!(optimizer.hyper(Hyper::WeightDecay), Some(fading().value_at(9)), "a scale acts on the rate alone");
    optimizer.reset_cycle();
    assert_eq!((optimizer.hyper(Hyper::WeightDecay), optimizer.hyper(Hyper::Beta2)), (Some(0.1), None));
    assert_eq!(optimizer.get_ref().0["weight_decay"], 0.1);
}

/// A momentum with a schedule of its own, for any schedule of the rate.
#[test]
fn momentum_by_a_schedule_of_its_own() {
    let config = ClrConfig::new(fading()).with_hyper(Hyper::Momentum, LinearDecay::new(0.5, 0.9, 4).unwrap()).unwrap();
    let used: Vec<Option<f64>> = config.preview().take(5).map(|used| used.momentum).collect();
    assert_eq!(used, [0.5, 0.6, 0.7, 0.8, 0.9].map(Some));
}

#[test]
fn it_is_reported_under_its_name() {
    let used = Applied { lr: 0.1, weight_decay: Some(0.01), eps: Some(1e-8), ..Applied::default() };
    assert!(used.metrics().eq([("learning_rate", 0.1), ("weight_decay", 0.01), ("eps", 1e-8)]));
    assert_eq!((used.get(Hyper::WeightDecay), used.get(Hyper::Beta2)), (Some(0.01), None));
    let config = ClrConfig::new(triangle()).with_hyper(Hyper::WeightDecay, fading()).unwrap();
    let history = cyclic_optim::History::new();
    let mut optimizer = CyclicOptimizer::new(RemembersAll::default(), config.clone()).with_history(history);
    for _ in 0..3 {
        optimizer.update_with(|_| Ok::<_, ()>(())).unwrap();
        optimizer.record(1.0);
    }
    let expected: Vec<f64> = (0..3).map(|step| fading().value_at(step)).collect();
    assert_eq!(optimizer.history().unwrap().updates().values("weight_decay").unwrap(), expected);
    #[cfg(feature = "plot")]
    {
        assert!(config.to_svg(20).unwrap().contains("weight decay"));
        assert!(optimizer.history().unwrap().rates_to_svg().unwrap().contains("weight decay"));
    }
}

#[cfg(feature = "serde")]
mod files {
    use super::*;

    #[test]
    fn files_hold_them() {
        let json = r#"{"schedule": {"cyclic": {"base_lr": 0, "max_lr": 1, "step_size": 4}},
            "hyper": {"weight_decay": {"cosine_decay": {"start_lr": 0.1, "end_lr": 0, "steps": 25}},
                "beta2": {"constant": {"lr": 0.99}}}}"#;
        let config: ClrConfig = serde_json::from_str(json).unwrap();
        assert_eq!(config.preview().nth(9).unwrap().weight_decay, Some(fading().value_at(9)));
        let written = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<ClrConfig>(&written).unwrap(), config);
        assert_eq!(toml::from_str::<ClrConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
        // A config without them is written as before.
        assert!(!serde_json::to_string(&ClrConfig::new(triangle())).unwrap().contains("hyper"));
    }

    #[test]
    fn wrong_files_are_named() {
        let file = |hyper: &str| {
            format!(
                r#"{{"schedule": {{"cyclic": {{"base_lr": 0, "max_lr": 1, "step_size": 4}}}}, "hyper": {{{hyper}}}}}"#
            )
        };
        let constant = |name: &str, value: &str| format!(r#""{name}": {{"constant": {{"lr": {value}}}}}"#);
        for (json, expected) in [
            (file(&constant("learning_rate", "0.1")), "hyper.learning_rate: unknown field `learning_rate`".to_owned()),
            (file(&constant("rho", "0.1")), "unknown field `rho`".to_owned()),
            (file(&constant("beta2", "1.5")), "hyper: beta2 must lie in [0, 1), got 1.5".to_owned()),
            (file(&constant("weight_decay", "-0.1")), "lr must be a finite rate of at least 0, got -0.1".to_owned()),
            (
                file(&format!("{}, {}", constant("eps", "0.1"), constant("eps", "0.2"))),
                "hyper: duplicate field `eps`".to_owned(),
            ),
            (
                file(&constant("momentum", "0.5"))
                    .replace(r#""hyper""#, r#""momentum": {"base_momentum": 0.8, "max_momentum": 0.9}, "hyper""#),
                "momentum has two schedules".to_owned(),
            ),
        ] {
            let error =
                serde_path_to_error::deserialize::<_, ClrConfig>(&mut serde_json::Deserializer::from_str(&json))
                    .unwrap_err()
                    .to_string();
            assert!(error.contains(&expected), "{json}\n     said: {error}\n expected: {expected}");
        }
    }

    /// The state of version 0.1.0, and a state with an invalid value.
    #[test]
    fn old_states_are_read_and_wrong_ones_refused() {
        let config = ClrConfig::new(triangle()).with_hyper(Hyper::WeightDecay, fading()).unwrap();
        let mut optimizer = CyclicOptimizer::new(RemembersAll::default(), config);
        let old = r#"{"iterations": 3, "clr_iterations": 3, "scale": 1.0, "at_cycle_end": false,
            "last": {"iteration": 2, "step": 2, "lr": 0.1, "momentum": null}}"#;
        let mut state: cyclic_optim::ClrState = serde_json::from_str(old).unwrap();
        optimizer.restore(state.clone()).unwrap();
        state.last = state.last.map(|last| Applied { weight_decay: Some(-1.0), ..last });
        assert!(matches!(optimizer.restore(state), Err(ConfigError::OutOfRange { field: "weight_decay", .. })));
    }
}

#[cfg(feature = "dfdx")]
mod in_dfdx {
    use dfdx::nn::builders::{Linear, ReLU};
    use dfdx::optim::{AdamConfig, Momentum, Optimizer, RMSpropConfig, SgdConfig, WeightDecay};
    use dfdx::prelude::*;

    use super::*;
    use cyclic_optim::{Adam, Hyperparameters, RMSprop, Sgd};
    use cyclic_optim::{OneCycle, Part, Sequence};

    type Net = (Linear<4, 8>, ReLU, Linear<8, 2>);

    /// Trains and returns the bits of the outputs.
    macro_rules! train {
        ($optimizer:expr, $step:expr) => {{
            let device = Cpu::seed_from_u64(3);
            let mut model = device.build_module::<Net, f64>();
            let x: Tensor<Rank2<12, 4>, f64, _> = device.sample_normal();
            let y: Tensor<Rank2<12, 2>, f64, _> = device.sample_normal();
            let mut grads = model.alloc_grads();
            let mut optimizer = $optimizer(&model);
            for step in 0..40_u64 {
                let loss = mse_loss(model.forward(x.trace(grads)), y.clone());
                let value = loss.array();
                grads = loss.backward();
                $step(&mut optimizer, &mut model, &mut grads, value, step);
            }
            model.forward(x).array().map(|row| row.map(f64::to_bits))
        }};
    }

    /// Scheduled weight decay, beta2 and eps give the same bits as numbers that the test sets, for our optimizer and
    /// dfdx's own.
    macro_rules! as_by_hand {
        ($name:ident, $kind:ident, $cfg:expr, $hypers:expr) => {
            #[test]
            fn $name() {
                let cfg = $cfg;
                let schedules = [
                    (Hyper::WeightDecay, cyclic_optim::Policy::from(fading())),
                    (Hyper::Beta2, Cyclic::triangular(0.85, 0.95, 5).unwrap().into()),
                    (Hyper::Eps, LinearDecay::new(1e-4, 1e-8, 30).unwrap().into()),
                ];
                let schedules = &schedules[..$hypers];
                let config = schedules.iter().cloned().fold(ClrConfig::new(triangle()), |config, (hyper, schedule)| {
                    config.with_hyper(hyper, schedule).unwrap()
                });
                let by_hand = train!(
                    |model: &_| dfdx::optim::$kind::new(model, cfg),
                    |optimizer: &mut dfdx::optim::$kind<_, f64, Cpu>,
                     model: &mut _,
                     grads: &mut Gradients<f64, Cpu>,
                     _,
                     step| {
                        optimizer.set(Hyper::LearningRate, triangle().value_at(step)).unwrap();
                        for (hyper, schedule) in schedules {
                            optimizer.set(*hyper, schedule.value_at(step)).unwrap();
                        }
                        optimizer.update(model, &*grads).unwrap();
                        ZeroGrads::zero_grads(model, grads);
                    }
                );
                let constant = train!(
                    |_: &_| CyclicOptimizer::new($kind::new(cfg), triangle()),
                    |optimizer: &mut CyclicOptimizer<$kind<f64, Cpu>>, model: &mut _, grads: &mut _, loss, _| {
                        optimizer.apply(model, grads, loss).unwrap();
                    }
                );
                assert_ne!(constant, by_hand);
                let ours = train!(
                    |_: &_| CyclicOptimizer::new($kind::new(cfg), config.clone()),
                    |optimizer: &mut CyclicOptimizer<$kind<f64, Cpu>>, model: &mut _, grads: &mut _, loss, _| {
                        optimizer.apply(model, grads, loss).unwrap();
                    }
                );
                assert_eq!(ours, by_hand, "ours");
                let theirs = train!(
                    |model: &_| CyclicOptimizer::new(dfdx::optim::$kind::new(model, cfg), config.clone()),
                    |optimizer: &mut CyclicOptimizer<dfdx::optim::$kind<_, f64, Cpu>>,
                     model: &mut _,
                     grads: &mut _,
                     loss,
                     _| {
                        optimizer.apply(model, grads, loss).unwrap();
                    }
                );
                assert_eq!(theirs, by_hand, "dfdx's own");
            }
        };
    }

    as_by_hand!(adamw, Adam, AdamConfig { weight_decay: Some(WeightDecay::Decoupled(0.3)), ..Default::default() }, 3);
    as_by_hand!(
        sgd_with_l2,
        Sgd,
        SgdConfig {
            weight_decay: Some(WeightDecay::L2(0.3)),
            momentum: Some(Momentum::Classic(0.9)),
            ..Default::default()
        },
        1
    );
    as_by_hand!(rmsprop, RMSprop, RMSpropConfig { weight_decay: Some(WeightDecay::L2(0.3)), ..Default::default() }, 3);

    /// RMSprop's alpha falls while the rate rises, as a cycled momentum does.
    #[test]
    fn rho_runs_against_the_rate() {
        let down = LinearDecay::new(0.95, 0.85, 7).unwrap();
        let against =
            Sequence::new([Part::new(down, 7), Part::endless(Cyclic::triangular(0.85, 0.95, 7).unwrap())]).unwrap();
        let config = ClrConfig::new(triangle()).with_hyper(Hyper::Beta2, against).unwrap();
        let mut optimizer = CyclicOptimizer::new(RMSprop::<f32, Cpu>::default(), config);
        let momenta = ClrConfig::new(triangle()).with_momentum(0.85, 0.95).unwrap();
        for used in momenta.preview().take(60) {
            assert!((optimizer.get_ref().cfg.alpha - used.momentum.unwrap()).abs() < 1e-15);
            optimizer.update_with(|_| Ok::<_, ()>(())).unwrap();
        }
    }

    /// Nothing is switched on silently.
    #[test]
    fn a_weight_decay_that_is_off_cannot_be_scheduled() {
        let config = || ClrConfig::new(triangle()).with_hyper(Hyper::WeightDecay, fading()).unwrap();
        let refused = CyclicOptimizer::try_new(Adam::<f32, Cpu>::default(), config()).unwrap_err();
        assert_eq!(refused, ConfigError::NoHyper { hyper: "weight_decay" });
        let beta2 = ClrConfig::new(triangle()).with_hyper(Hyper::Beta2, Constant::new(0.9).unwrap()).unwrap();
        assert!(CyclicOptimizer::try_new(Sgd::<f32, Cpu>::default(), beta2).is_err());
    }

    /// A run with all of them scheduled that is killed and resumed ends with the same file.
    #[cfg(feature = "checkpoint")]
    #[test]
    fn it_resumes_to_the_same_bits() {
        use cyclic_optim::Checkpoint;

        let cfg = AdamConfig { weight_decay: Some(WeightDecay::Decoupled(0.3)), ..Default::default() };
        let config = ClrConfig::new(OneCycle::new(0.1, 30).unwrap())
            .with_momentum(0.8, 0.95)
            .and_then(|config| config.with_hyper(Hyper::WeightDecay, fading()))
            .and_then(|config| config.with_hyper(Hyper::Beta2, Cyclic::triangular(0.85, 0.95, 5)?))
            .unwrap();
        let device = Cpu::seed_from_u64(3);
        let x: Tensor<Rank2<12, 4>, f32, _> = device.sample_normal();
        let build = |seed| Cpu::seed_from_u64(seed).build_module::<Net, f32>();
        let new = || CyclicOptimizer::new(Adam::<f32, Cpu>::new(cfg), config.clone());
        let train = |model: &mut _, optimizer: &mut CyclicOptimizer<Adam<f32, Cpu>>, until| {
            while optimizer.iterations() < until {
                let model: &mut (modules::Linear<4, 8, f32, Cpu>, ReLU, modules::Linear<8, 2, f32, Cpu>) = model;
                let loss = model.forward(x.leaky_trace()).square().mean();
                let value = loss.array();
                optimizer.apply(model, &mut loss.backward(), value).unwrap();
            }
        };
        let (mut whole, mut through) = (build(1), new());
        train(&mut whole, &mut through, 30);
        let expected = Checkpoint::to_bytes(&whole, &through).unwrap();
        for stop in [0, 1, 11, 29] {
            let (mut first, mut before) = (build(1), new());
            train(&mut first, &mut before, stop);
            let saved = Checkpoint::from_bytes(Checkpoint::to_bytes(&first, &before).unwrap()).unwrap();
            let (mut resumed, mut after) = (build(2), new());
            saved.restore(&mut resumed, &mut after).unwrap();
            assert_eq!(after.state(), before.state());
            train(&mut resumed, &mut after, 30);
            assert!(Checkpoint::to_bytes(&resumed, &after).unwrap() == expected, "resumed at {stop}");
        }
    }
}
