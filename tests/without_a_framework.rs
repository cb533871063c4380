//! Schedules, config files, records and pictures, in a loop that sets the rate of an optimizer of another library. No
//! framework is needed:
//!
//! ```text
//! cargo test --no-default-features --features std,serde,csv,plot --test without_a_framework
//! ```

#![cfg(all(feature = "serde", feature = "csv", feature = "plot"))]

use cyclic_optim::feedback::Stop;
use cyclic_optim::history::{LossPlot, Table};
use cyclic_optim::range_test::{RangeTest, Suggestion};
use cyclic_optim::{ClrConfig, ClrState, CyclicOptimizer, History, RateAndMomentum};

const CONFIG: &str = r#"{
    "schedule": {"one_cycle": {"max_lr": 0.3, "total_steps": 60}},
    "momentum": {"base_momentum": 0.6, "max_momentum": 0.9},
    "early_stopping": {"patience": 2}
}"#;

/// Stochastic gradient descent from another library, on the square of a number.
struct Foreign {
    weight: f64,
    velocity: f64,
}

impl Foreign {
    fn step(&mut self, lr: f64, momentum: f64) {
        self.velocity = momentum * self.velocity + 2.0 * self.weight;
        self.weight -= lr * self.velocity;
    }
}

#[test]
fn a_run_from_a_config_file_to_a_picture() {
    let config: ClrConfig = serde_json::from_str(CONFIG).unwrap();
    let start = || RateAndMomentum { lr: 0.0, momentum: Some(0.0) };
    let mut optimizer = CyclicOptimizer::try_new(start(), config.clone()).unwrap().with_history(History::new());
    let mut foreign = Foreign { weight: 1.0, velocity: 0.0 };
    for (update, expected) in config.preview().take(60).enumerate() {
        if update == 20 {
            let saved = serde_json::to_string(&optimizer.state()).unwrap();
            let state: ClrState = serde_json::from_str(&saved).unwrap();
            let history = optimizer.history().unwrap().clone();
            optimizer = CyclicOptimizer::try_new(start(), config.clone()).unwrap().with_history(history);
            optimizer.restore(state).unwrap();
        }
        let loss = foreign.weight * foreign.weight;
        optimizer
            .update_with(|rates| {
                foreign.step(rates.lr, rates.momentum.unwrap());
                Ok::<_, ()>(())
            })
            .unwrap();
        optimizer.record(loss);
        assert_eq!(optimizer.last(), Some(expected));
    }
    assert!(foreign.weight.abs() < 0.01 && optimizer.is_finished());
    let reports: Vec<_> = [1.0, 1.0, 1.0].iter().map(|&metric| optimizer.observe(metric).stop).collect();
    assert_eq!(reports, [None, None, Some(Stop::NoImprovement)]);

    let history = optimizer.history().unwrap();
    let mut csv = Vec::new();
    history.updates().write_csv(&mut csv).unwrap();
    assert_eq!(&Table::read_csv(&csv[..]).unwrap(), history.updates());
    assert_eq!(history.updates().len(), 60);
    for svg in [history.rates_to_svg(), history.losses_to_svg(&LossPlot::default()), config.to_svg(60)] {
        assert!(svg.unwrap().contains("<svg"));
    }
}

#[test]
fn a_range_test_of_a_foreign_optimizer() {
    let mut foreign = Foreign { weight: 1.0, velocity: 0.0 };
    let curve = RangeTest::logarithmic(1e-3, 10.0, 81).unwrap().run(|lr| {
        let loss = foreign.weight * foreign.weight;
        foreign.step(lr, 0.0);
        Some(loss)
    });
    // Above a rate of 1 the weight grows with each step.
    let suggested = curve.unwrap().suggest(Suggestion::Steepest).unwrap().lr;
    assert!((0.01..1.0).contains(&suggested), "{suggested}");
}
