//! Feedback through the wrapper: PyTorch's plateau, judging at the ends of cycles, early stopping, saved states.

mod support;

use cyclic_optim::feedback::{Direction, EarlyStopping, Improvement, MinDelta, Plateau, Scope, Stop, Watch};
use cyclic_optim::{Clip, ClrConfig, ConfigError, Constant, Cyclic, CyclicOptimizer, Guard, RateAndMomentum, Schedule};
use proptest::prelude::*;
use serde_json::Value;
use support::unset;

fn optimizer(config: ClrConfig) -> CyclicOptimizer<RateAndMomentum> {
    CyclicOptimizer::new(unset(), config)
}

fn update(optimizer: &mut CyclicOptimizer<RateAndMomentum>) -> f64 {
    optimizer.update_with(|inner| Ok::<_, ()>(inner.lr)).unwrap()
}

fn constant(lr: f64) -> ClrConfig {
    ClrConfig::new(Constant::new(lr).unwrap())
}

/// PyTorch's own `ReduceLROnPlateau`: the rate after each report.
#[test]
fn golden_plateau() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/plateau.json");
    let document: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut compared = 0;
    for case in document["cases"].as_array().unwrap() {
        let number = |field: &str| case[field].as_f64().unwrap();
        let direction = if case["mode"] == "min" { Direction::Min } else { Direction::Max };
        let threshold = number("threshold");
        let min_delta =
            if case["threshold_mode"] == "rel" { MinDelta::Relative(threshold) } else { MinDelta::Absolute(threshold) };
        let plateau = Plateau::pytorch(number("factor"), case["patience"].as_u64().unwrap())
            .and_then(|plateau| plateau.with_improvement(Improvement::new(direction, min_delta)?))
            .and_then(|plateau| plateau.with_cooldown(case["cooldown"].as_u64().unwrap()).with_floor(number("min_lr")))
            .unwrap();
        let mut optimizer = optimizer(constant(number("start_lr")).with_plateau(plateau).unwrap());
        let metrics = case["metrics"].as_array().unwrap();
        for (report, (metric, expected)) in metrics.iter().zip(case["lr_after"].as_array().unwrap()).enumerate() {
            let _ = optimizer.observe(metric.as_f64().unwrap());
            let expected = expected.as_f64().unwrap();
            assert!((optimizer.lr() - expected).abs() <= 1e-12 * expected, "report {report}: {}", optimizer.lr());
            assert_eq!(optimizer.get_ref().lr, optimizer.lr());
            compared += 1;
        }
    }
    assert_eq!(compared, 6 * 40);
}

/// Numbers from 0 to n - 1, as `tests/data/improvement.py` draws them.
struct Draws(u64);

impl Draws {
    fn draw(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn signed(&mut self, n: u64) -> i64 {
        i64::try_from(self.draw(n)).unwrap()
    }
}

/// A plateau of each library, early stopping, and the metrics of one row, made as `row` of `tests/data/improvement.py` does.
fn row(draws: &mut Draws) -> (Plateau, Plateau, EarlyStopping, Vec<f64>) {
    let hundredths = |k: i64| f64::from(i32::try_from(k).unwrap()) / 100.0;
    let (max, relative, delta) = (draws.draw(2) == 1, draws.draw(2) == 1, draws.signed(11));
    let (patience, cooldown, start_from) = (draws.draw(4), draws.draw(3), draws.draw(3));
    let (baseline, eps) = (draws.draw(4), [1e-8, 0.0, 0.1, 0.3][usize::try_from(draws.draw(4)).unwrap()]);
    let mut k = 10 * draws.signed(10) + 10;
    let direction = if max { Direction::Max } else { Direction::Min };
    let absolute = Improvement::new(direction, MinDelta::Absolute(hundredths(delta))).unwrap();
    let threshold =
        if relative { MinDelta::Relative(hundredths(delta)) } else { MinDelta::Absolute(hundredths(delta)) };
    let threshold = Improvement::new(direction, threshold).unwrap();
    let keras = Plateau::keras(0.5, patience).and_then(|plateau| plateau.with_improvement(absolute));
    let pytorch =
        Plateau::pytorch(0.5, patience).and_then(|plateau| plateau.with_improvement(threshold)?.with_eps(eps));
    let early = EarlyStopping::new(patience).and_then(|early| early.with_improvement(absolute));
    let mut early = early.unwrap().with_start_from(start_from);
    if baseline == 0 {
        early = early.with_baseline(hundredths(k)).unwrap();
    }
    let metrics = (0..12).map(|_| {
        let metric = hundredths(k);
        if draws.draw(2) == 0 {
            let step = if relative { k * delta / 100 } else { delta };
            k += if max { step } else { -step } + draws.signed(3) - 1;
        } else {
            k += draws.signed(21) - 10;
        }
        if relative {
            k = k.max(0);
        }
        metric
    });
    let metrics = metrics.collect();
    (keras.unwrap().with_cooldown(cooldown), pytorch.unwrap().with_cooldown(cooldown), early, metrics)
}

/// Keras' and PyTorch's own code on 10,000 rows of metrics that often improve by exactly `min_delta`.
#[test]
fn ten_thousand_rows_are_judged_as_keras_and_pytorch_do() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/improvement.txt");
    let (text, mut draws) = (std::fs::read_to_string(path).unwrap(), Draws(1));
    let rows: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(rows.len(), 10_000);
    let mut wrong = Vec::new();
    for (number, expected) in rows.into_iter().enumerate() {
        let (keras, pytorch, early, metrics) = row(&mut draws);
        let scaled = |plateau: Plateau| {
            let mut optimizer = optimizer(constant(1.0).with_plateau(plateau).unwrap());
            let scaled = metrics.iter().map(|&metric| optimizer.observe(metric).scaled.is_some());
            scaled.enumerate().fold(0, |bits, (report, scaled)| bits | u16::from(scaled) << report)
        };
        let mut stopping = optimizer(constant(1.0).with_early_stopping(early).unwrap());
        let stop = metrics.iter().position(|&metric| stopping.observe(metric).stop.is_some()).unwrap_or(metrics.len());
        let found = format!("{:03x}{:03x}{stop:x}", scaled(keras), scaled(pytorch));
        if found != expected {
            wrong.push(format!("row {number}: {found}, not {expected}: {keras:?} {pytorch:?} {early:?} {metrics:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} rows differ, the first: {}", wrong.len(), wrong[0]);
}

/// `auto_decay` of nupam/keras-callbacks on a running cycle: the peak shrinks, the base stays, only cycle ends are judged.
#[test]
fn auto_decay_shrinks_the_peak_of_a_running_cycle() {
    let schedule = Cyclic::triangular(0.1, 0.4, 2).unwrap();
    let config = ClrConfig::new(schedule)
        .with_plateau(Plateau::auto_decay(0.6, 1).unwrap())
        .and_then(|config| config.with_watch(Watch::CycleEnds))
        .unwrap();
    let mut optimizer = optimizer(config);
    let mut peaks = Vec::new();
    for metric in [1.0, 0.9, 0.95, 0.94, 0.8, 0.85, 0.7] {
        let rates: Vec<f64> = (0..4)
            .map(|place| {
                // A report in the middle of a cycle is not judged, even if it is bad.
                if place == 2 {
                    assert!(!optimizer.observe(100.0).judged);
                }
                update(&mut optimizer)
            })
            .collect();
        assert_eq!(rates[0], 0.1);
        peaks.push(rates[2]);
        assert!(optimizer.at_cycle_end());
        assert!(optimizer.observe(metric).judged);
        assert!(!optimizer.observe(metric).judged, "the same end is judged once");
    }
    // For a maximum of 0.4. Each value takes effect in the next cycle.
    for (peak, expected) in peaks.iter().zip([0.4, 0.4, 0.4, 0.24, 0.144, 0.144, 0.1]) {
        assert!((peak - expected).abs() < 1e-12, "{peaks:?}");
    }
    // The schedule itself has not changed.
    assert_eq!(optimizer.config().schedule().value_at(2), 0.4);
    // 0.4 x 0.6^3 is below the base, and the peak stops at the base. A preview includes the envelope.
    assert_eq!(optimizer.preview(3).map(|used| used.lr).last(), Some(0.1));
}

/// Epochs of 7 updates, cycles of 4 or 20: the first report at or after an end is judged, once for all ends since the last.
#[test]
fn epochs_and_cycles_need_not_align() {
    for (step_size, expected) in
        [(2, [true, true, true, true, true, true]), (10, [false, false, true, false, false, true])]
    {
        let config = ClrConfig::new(Cyclic::triangular(0.1, 0.4, step_size).unwrap()).with_watch(Watch::CycleEnds);
        let config = config.and_then(|config| config.with_early_stopping(EarlyStopping::new(100)?)).unwrap();
        let mut optimizer = optimizer(config);
        let judged: Vec<bool> = (0..6)
            .map(|_| {
                for _ in 0..7 {
                    update(&mut optimizer);
                }
                optimizer.observe(1.0).judged
            })
            .collect();
        assert_eq!(judged, expected, "step_size {step_size}");
        assert_eq!(optimizer.state().early_stopping.reports, expected.iter().filter(|judged| **judged).count() as u64);
    }
}

#[test]
fn a_swing_is_no_plateau_when_watched_in_phase() {
    // The loss swings with the rate and falls from cycle to cycle.
    let run = |watch| {
        let config = ClrConfig::new(Cyclic::triangular(0.0, 1.0, 5).unwrap())
            .with_plateau(Plateau::keras(0.5, 2).unwrap())
            .and_then(|config| config.with_watch(watch))
            .unwrap();
        let mut optimizer = optimizer(config);
        for epoch in 0..60 {
            let lr = update(&mut optimizer);
            let _ = optimizer.observe(2.0 * 0.97_f64.powi(epoch) + lr);
        }
        optimizer.state().plateau.envelope
    };
    assert!(run(Watch::EveryReport) < 0.1);
    assert_eq!(run(Watch::CycleEnds), 1.0);
}

#[test]
fn after_stop_a_report_is_answered() {
    let mut optimizer = optimizer(constant(0.1).with_early_stopping(EarlyStopping::new(1).unwrap()).unwrap());
    assert!(optimizer.observe(1.0_f32).improved);
    assert_eq!(optimizer.observe(2.0_f32).stop, Some(Stop::NoImprovement));
    let before = optimizer.state();
    let late = optimizer.observe(0.5_f32);
    assert_eq!((late.stop, late.judged, late.improved), (Some(Stop::NoImprovement), false, false));
    assert_eq!((optimizer.state(), optimizer.stopped()), (before, Some(Stop::NoImprovement)));
    optimizer.resume();
    assert_eq!((optimizer.observe(0.5).stop, optimizer.observe(0.6).stop), (None, Some(Stop::NoImprovement)));
}

/// What stopped at a threshold says so in its state, and files from before there was one are read and written as they were.
#[cfg(feature = "serde")]
#[test]
fn a_threshold_is_saved_and_old_files_have_none() {
    let accuracy = Improvement::new(Direction::Max, MinDelta::default()).unwrap();
    let rule = EarlyStopping::new(5).and_then(|rule| rule.with_improvement(accuracy)).unwrap();
    let config = constant(0.1).with_early_stopping(rule.with_threshold(0.98).unwrap()).unwrap();
    let mut optimizer = optimizer(config.clone());
    assert_eq!(optimizer.observe(0.97).stop, None);
    let last = optimizer.observe(0.98);
    assert_eq!((last.improved, last.stop), (true, Some(Stop::ThresholdReached)));
    let state = serde_json::to_string(&optimizer.state()).unwrap();
    assert!(state.ends_with(r#""stop":"threshold_reached"}"#), "{state}");
    assert_eq!(serde_json::from_str::<cyclic_optim::ClrState>(&state).unwrap(), optimizer.state());
    let written = serde_json::to_string(&config).unwrap();
    assert!(written.contains(r#""threshold":0.98"#), "{written}");
    assert_eq!(serde_json::from_str::<ClrConfig>(&written).unwrap(), config);
    let old = constant(0.1).with_early_stopping(rule).unwrap();
    let written = serde_json::to_string(&old).unwrap();
    assert!(!written.contains("threshold"), "{written}");
    assert_eq!(serde_json::from_str::<ClrConfig>(&written).unwrap(), old);
    let not_a_number = toml::from_str::<EarlyStopping>("patience = 1\nthreshold = nan").unwrap_err().to_string();
    assert!(not_a_number.contains("threshold must lie in (-inf, inf), got NaN"), "{not_a_number}");
}

#[test]
fn the_envelope_can_be_cut() {
    let mut optimizer = optimizer(constant(0.5));
    optimizer.cut_envelope(0.5).unwrap();
    assert_eq!((optimizer.lr(), optimizer.get_ref().lr), (0.25, 0.25));
    for bad in [0.0, 1.0, f64::NAN] {
        assert!(matches!(optimizer.cut_envelope(bad), Err(ConfigError::OutOfRange { field: "factor", .. })));
    }
    assert_eq!(optimizer.lr(), 0.25);
}

/// After `resume`, the full patience has to pass again before a stop.
#[test]
fn resuming_begins_the_patience_anew() {
    let mut optimizer = optimizer(constant(0.1).with_early_stopping(EarlyStopping::new(2).unwrap()).unwrap());
    let mut report = |metric: f64| optimizer.observe(metric).stop.is_some();
    assert_eq!([1.0, 2.0, 2.0].map(&mut report), [false, false, true]);
    optimizer.resume();
    let mut report = |metric: f64| optimizer.observe(metric).stop.is_some();
    assert_eq!([2.0, 2.0].map(&mut report), [false, true]);
}

/// At the floor Keras continues to count, so it reduces at once when the peak rises. PyTorch starts again.
#[test]
fn at_the_floor_keras_goes_on_counting() {
    for (plateau, waits, scaled) in
        [(Plateau::keras(0.5, 2), [1, 2], Some(0.5)), (Plateau::pytorch(0.5, 1), [1, 0], None)]
    {
        let plateau = plateau.unwrap().with_floor(0.4).unwrap().with_scope(Scope::Peak);
        let schedule = Cyclic::triangular(0.1, 0.8, 2).unwrap();
        let mut optimizer = optimizer(ClrConfig::new(schedule).with_plateau(plateau).unwrap());
        let reports: Vec<_> = [1.0, 1.0, 1.0].map(|metric| optimizer.observe(metric).scaled).into();
        assert_eq!((reports, optimizer.state().plateau.wait), (vec![None, None, Some(0.5)], 0));
        let found = waits.map(|_| {
            assert_eq!(optimizer.observe(1.0).scaled, None);
            optimizer.state().plateau.wait
        });
        assert_eq!(found, waits);
        // A higher peak, far above the floor.
        optimizer.set_range(0.1, 8.0).unwrap();
        assert_eq!(optimizer.observe(1.0).scaled, scaled);
    }
}

/// A plateau on the peak stops at the base. A new base above a reduced peak raises the peak.
#[test]
fn the_peak_never_comes_below_the_base() {
    let schedule = Cyclic::triangular(0.1, 0.4, 2).unwrap();
    let config = ClrConfig::new(schedule).with_plateau(Plateau::auto_decay(0.5, 1).unwrap()).unwrap();
    let mut optimizer = optimizer(config);
    let scaled: Vec<_> = [1.0; 6].map(|metric| optimizer.observe(metric).scaled).into();
    assert_eq!(scaled, [None, Some(0.5), Some(0.5), None, None, None]);
    assert_eq!(optimizer.state().plateau.envelope, 0.25);
    optimizer.set_range(0.3, 0.4).unwrap();
    let rates: Vec<f64> = optimizer.preview(4).map(|used| used.lr).collect();
    assert_eq!(rates, [0.3; 4]);
}

/// The floor is compared with the highest rate, also if the schedule begins with a warm-up from 0.
#[test]
fn a_plateau_works_over_a_warmup() {
    let schedule = || cyclic_optim::Sequence::warmup_cosine(0.0, 0.1, 0.0, 10, 100).unwrap();
    for plateau in [Plateau::keras(0.5, 1), Plateau::pytorch(0.5, 0)] {
        let plateau = plateau.unwrap().with_floor(0.04).unwrap();
        let mut optimizer = optimizer(ClrConfig::new(schedule()).with_plateau(plateau).unwrap());
        let scaled: Vec<Option<f64>> = [1.0, 1.0, 1.0, 1.0].map(|metric| optimizer.observe(metric).scaled).into();
        assert_eq!(scaled[..2], [None, Some(0.5)]);
        assert!((scaled[2].unwrap() - 0.8).abs() < 1e-12, "down to 0.04, not to 0.025");
        assert_eq!(scaled[3], None);
    }
}

/// With two metrics the plateau judges the first and early stopping the second. With one metric both judge it.
#[test]
fn plateau_and_early_stopping_watch_a_metric_each() {
    let accuracy = Improvement::new(Direction::Max, MinDelta::Absolute(0.0)).unwrap();
    let early = EarlyStopping::new(2).and_then(|early| early.with_improvement(accuracy)).unwrap();
    let plateau = Plateau::keras(0.5, 1).unwrap();
    let both = || constant(1.0).with_plateau(plateau).and_then(|config| config.with_early_stopping(early)).unwrap();
    let (mut run, mut plateau_alone) = (optimizer(both()), optimizer(constant(1.0).with_plateau(plateau).unwrap()));
    let mut early_alone = optimizer(constant(1.0).with_early_stopping(early).unwrap());
    for (loss, accuracy) in
        [(1.0, 0.5), (0.9, 0.4), (0.9, 0.6), (0.8, f64::NAN), (f64::NAN, 0.7), (0.7, 0.7), (0.9, 0.7)]
    {
        let (seen, scaled, stopped) =
            (run.observe_separately(loss, accuracy), plateau_alone.observe(loss), early_alone.observe(accuracy));
        assert_eq!((seen.scaled, seen.stop, seen.improved), (scaled.scaled, stopped.stop, stopped.improved));
        // `improved` and `metric` refer to early stopping if there is any, else to the plateau.
        assert_eq!(seen.metric.to_bits(), accuracy.to_bits());
        assert_eq!(plateau_alone.clone().observe_separately(0.1, 5.0).metric, 0.1);
    }
    assert_eq!(run.stopped(), Some(Stop::NoImprovement));
    let state = run.state();
    assert_eq!((state.plateau.best, state.early_stopping.best), (Some(0.7), Some(0.7)));
    // One metric is judged by both rules.
    let mut one = optimizer(both());
    let reports: Vec<_> = [0.5, 0.6].map(|metric| one.observe(metric)).into();
    assert!(reports[1].improved && reports[1].scaled == Some(0.5));
}

/// The reductions of a plateau over these metrics, as the numbers of the reports.
fn reductions(plateau: Plateau, metrics: impl IntoIterator<Item = f64>) -> Vec<usize> {
    let mut optimizer = optimizer(constant(1.0).with_plateau(plateau).unwrap());
    let scaled = metrics.into_iter().map(|metric| optimizer.observe(metric).scaled.is_some());
    scaled.enumerate().filter(|(_, scaled)| *scaled).map(|(report, _)| report).collect()
}

/// The loss that was reported to PyTorch in 2019: it falls, jumps far above its best, falls steadily without reaching it for
/// longer than the patience, and at last stays where it is.
#[test]
fn a_steady_fall_after_a_spike_is_no_plateau() {
    let loss = |report: i32| match report {
        0..25 => 1.0 - 0.02 * f64::from(report),
        25..100 => 4.0 - 0.04 * f64::from(report - 25),
        _ => 1.0,
    };
    let losses = || (0..140).map(loss);
    let best = losses().take(25).fold(f64::INFINITY, f64::min);
    assert!(losses().skip(25).all(|loss| loss > best), "the best loss stays the best");
    // Both libraries cut the rate all along the fall.
    assert_eq!(reductions(Plateau::keras(0.5, 10).unwrap(), losses().take(100)), [34, 44, 54, 64, 74, 84, 94]);
    assert_eq!(reductions(Plateau::pytorch(0.5, 10).unwrap(), losses().take(100)), [35, 46, 57, 68, 79, 90]);
    for (plateau, window) in [(Plateau::keras(0.5, 10), 10), (Plateau::pytorch(0.5, 10), 11)] {
        let found = reductions(plateau.unwrap().with_trend_window(window).unwrap(), losses());
        assert_eq!(
            found.first().map(|first| first / 10),
            Some(11),
            "the plateau after report 100, not the spike: {found:?}"
        );
    }
    // The size of the jump does not matter.
    for height in [2.0, 1e3, 1e300] {
        let losses = (0..100).map(|report| if report < 25 { loss(report) } else { height * loss(report) });
        let plateau = Plateau::keras(0.5, 10).and_then(|plateau| plateau.with_trend_window(10)).unwrap();
        assert!(reductions(plateau, losses).is_empty(), "{height}");
    }
}

/// A constant metric: the window fills, then the patience runs, and the same again after each reduction.
#[test]
fn the_first_reduction_of_a_trend_window() {
    let keras = Plateau::keras(0.5, 3).and_then(|plateau| plateau.with_trend_window(5)).unwrap();
    assert_eq!(reductions(keras, [1.0; 30]), [6, 13, 20, 27]); // every 5 - 1 + 3 reports
    let pytorch = Plateau::pytorch(0.5, 3).and_then(|plateau| plateau.with_trend_window(5)).unwrap();
    assert_eq!(reductions(pytorch, [1.0; 30]), [7, 15, 23]); // every 5 + 3 reports
    // A metric that is not finite is bad at once. It does not enter the window.
    assert_eq!(reductions(keras, [f64::NAN; 8]), [2, 5]);
    let (mut optimizer, falling) = (optimizer(constant(1.0).with_plateau(keras).unwrap()), [0.5, 0.4, f64::NAN, 0.3]);
    for loss in falling {
        let _ = optimizer.observe(loss);
    }
    assert_eq!((optimizer.state().plateau.recent, optimizer.state().plateau.wait), (vec![0.5, 0.4, 0.3], 0));
    assert!(
        optimizer.observe(0.25).improved && !optimizer.observe(0.27).improved,
        "compares with the best, not the trend"
    );
}

/// Noise of five times the fall per report, 300 runs each: how many reduce the rate while the loss falls, and after how many
/// reports the others notice that it does not fall any more.
#[test]
fn a_trend_window_under_noise() {
    let run = |plateau: Plateau, seed: u64| {
        let mut draws = Draws(seed);
        // Twelve uniform numbers have a variance of 1.
        let mut normal = || {
            (0..12).map(|_| f64::from(u32::try_from(draws.draw(1 << 20)).unwrap()) / f64::from(1 << 20)).sum::<f64>()
                - 6.0
        };
        reductions(plateau, (0..160).map(|report| (1.0 - 0.01 * f64::from(report)).max(0.2) + 0.05 * normal()))
    };
    let judge = |plateau: Plateau| {
        let runs: Vec<_> = (0..300).map(|seed| run(plateau, 30_873 + seed)).collect();
        let early = runs.iter().filter(|found| found.first().is_some_and(|&first| first < 80)).count();
        let mut delays: Vec<_> =
            runs.iter().filter_map(|found| found.iter().find(|&&report| report >= 80)).map(|at| at - 80).collect();
        delays.sort_unstable();
        (early, delays.len(), delays[delays.len() / 2])
    };
    let without = judge(Plateau::keras(0.5, 10).unwrap());
    let trend = judge(Plateau::keras(0.5, 10).and_then(|plateau| plateau.with_trend_window(20)).unwrap());
    // The documentation of the trend window has these numbers.
    assert_eq!((without, trend), ((91, 300, 14), (0, 300, 21)));
}

/// A swing far larger than the fall from cycle to cycle. At the ends of cycles the trend is judged in phase.
#[test]
fn a_trend_window_at_the_ends_of_cycles() {
    let run = |watch, cycles: i32| {
        let plateau = Plateau::auto_decay(0.5, 6).and_then(|plateau| plateau.with_trend_window(6)).unwrap();
        let config = ClrConfig::new(Cyclic::triangular(0.1, 1.0, 5).unwrap()).with_plateau(plateau);
        let mut optimizer = optimizer(config.and_then(|config| config.with_watch(watch)).unwrap());
        let mut reduced_in = Vec::new();
        for cycle in 0..cycles {
            for _ in 0..10 {
                let lr = update(&mut optimizer);
                // After cycle 8 the loss jumps by 5, then it falls from cycle to cycle until cycle 24.
                let level = f64::from(if cycle < 8 { -cycle } else { 500 - cycle.min(24) }) / 100.0;
                if optimizer.observe(level + lr).scaled.is_some() {
                    reduced_in.push(cycle);
                }
            }
        }
        reduced_in
    };
    assert!(run(Watch::CycleEnds, 25).is_empty());
    let later = run(Watch::CycleEnds, 40);
    assert!((29..=36).contains(&later[0]), "{later:?}");
    // Every report: the swing hides the fall.
    assert!(!run(Watch::EveryReport, 8).is_empty());
}

/// A run that continues with a smaller window keeps the newest reports. One without a window ignores them.
#[test]
fn a_trend_window_can_shrink() {
    let config = |window: Option<u64>| {
        let plateau = Plateau::keras(0.5, 1).unwrap();
        constant(1.0)
            .with_plateau(window.map_or(Ok(plateau), |window| plateau.with_trend_window(window)).unwrap())
            .unwrap()
    };
    let mut long = optimizer(config(Some(8)));
    for loss in [9.0, 8.0, 7.0, 6.0, 5.0] {
        let _ = long.observe(loss);
    }
    let mut short = optimizer(config(Some(4)));
    short.restore(long.state()).unwrap();
    assert_eq!((short.observe(4.0).scaled, short.state().plateau.recent), (None, vec![7.0, 6.0, 5.0, 4.0]));
    let mut without = optimizer(config(None));
    without.restore(long.state()).unwrap();
    assert_eq!(without.observe(6.0).scaled, Some(0.5));
    let mut broken = long.state();
    broken.plateau.recent.push(f64::NAN);
    assert!(matches!(long.restore(broken), Err(ConfigError::OutOfRange { field: "plateau.recent", .. })));
}

#[test]
fn bad_input() {
    use ConfigError::{NoCycles, NoRange, OutOfRange, Reversed, TooSmall};
    let plateau = || Plateau::keras(0.5, 1).unwrap();
    let floor = constant(0.1).with_plateau(plateau().with_floor(0.2).unwrap());
    assert!(matches!(floor, Err(Reversed { low_field: "floor", low: 0.2, high: 0.1, .. })));
    let cyclic = || ClrConfig::new(Cyclic::triangular(0.1, 0.4, 2).unwrap());
    assert!(cyclic().with_plateau(plateau().with_floor(0.4).unwrap()).is_ok());
    for window in [0, 1, 3] {
        let trend = plateau().with_trend_window(window);
        assert!(matches!(trend, Err(TooSmall { field: "trend_window", value, minimum: 4 }) if value == window));
    }
    let peak = constant(0.1).with_plateau(plateau().with_scope(Scope::Peak));
    assert!(matches!(peak, Err(NoRange { asked: "a plateau on the peak" })));
    assert!(matches!(constant(0.1).with_watch(Watch::CycleEnds), Err(NoCycles)));
    let guard = constant(0.1).with_guard(Guard { gradients: false, max_refusals: Some(0) });
    assert!(matches!(guard, Err(TooSmall { field: "max_refusals", .. })));
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let norm = constant(0.1).with_clip(Clip { norm: Some(bad), value: None });
        assert!(matches!(norm, Err(OutOfRange { field: "clip.norm", .. })));
        let value = constant(0.1).with_clip(Clip { norm: None, value: Some(bad) });
        assert!(matches!(value, Err(OutOfRange { field: "clip.value", .. })));
    }
    // Without reports nothing happens.
    let mut silent = optimizer(cyclic().with_plateau(plateau()).unwrap());
    for _ in 0..100 {
        update(&mut silent);
    }
    assert_eq!((silent.state().plateau.envelope, silent.stopped()), (1.0, None));
    // Invalid states are refused.
    let mut state = silent.state();
    state.plateau.envelope = f64::NAN;
    assert!(silent.restore(state).is_err());
}

fn metric() -> impl Strategy<Value = f64> {
    prop_oneof![8 => -2.0..2.0_f64, 1 => Just(f64::NAN), 1 => Just(f64::INFINITY), 1 => Just(0.0)]
}

fn improvement() -> impl Strategy<Value = (MinDelta, bool)> {
    (
        prop_oneof![(0.0..0.3_f64).prop_map(MinDelta::Absolute), (0.0..0.3_f64).prop_map(MinDelta::Relative)],
        any::<bool>(),
    )
}

/// Any config with feedback, over any schedule that allows it.
fn config_with_feedback() -> impl Strategy<Value = ClrConfig> {
    let trend = prop::option::of(4..12_u64);
    let plateau =
        (0.1..0.9_f64, 0..4_u64, 0..3_u64, prop::option::of(0.0..0.2_f64), any::<bool>(), 0.0..1.0_f64, trend);
    let early = prop::option::of((0..30_u64, 0..3_u64, prop::option::of(-1.0..1.0_f64)));
    (support::config(), plateau, improvement(), early, any::<bool>()).prop_map(
        |(config, (factor, patience, cooldown, eps, peak, floor, trend), (min_delta, max), early, in_phase)| {
            let direction = if max { Direction::Max } else { Direction::Min };
            let improvement = Improvement::new(direction, min_delta).unwrap();
            let has_range = config.schedule().range();
            let reference = config.schedule().peak();
            let plateau = match eps {
                None => Plateau::keras(factor, patience),
                Some(eps) => Plateau::pytorch(factor, patience).and_then(|plateau| plateau.with_eps(eps)),
            };
            let scope = if peak && has_range.is_some() { Scope::Peak } else { Scope::Rate };
            let plateau = plateau.unwrap().with_cooldown(cooldown).with_scope(scope);
            let plateau = plateau.with_floor(floor * reference).unwrap().with_improvement(improvement).unwrap();
            let plateau = trend.map_or(Ok(plateau), |window| plateau.with_trend_window(window)).unwrap();
            let mut config = config.with_plateau(plateau).unwrap();
            if let Some((patience, start_from, baseline)) = early {
                let mut early = EarlyStopping::new(patience).unwrap().with_start_from(start_from);
                if let Some(baseline) = baseline {
                    early = early.with_baseline(baseline).unwrap();
                }
                config = config.with_early_stopping(early.with_improvement(improvement).unwrap()).unwrap();
            }
            if in_phase && config.schedule().cycle_start(0).is_some() {
                config = config.with_watch(Watch::CycleEnds).unwrap();
            }
            config
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// A metric that falls steadily, with a jump of any size at any place: a patience of the window never reduces the rate, in
    /// either counting, whatever the window.
    #[test]
    fn a_jump_alone_never_reduces(
        window in 4..20_u64,
        falls in prop::collection::vec(1e-6..1.0_f64, 1..60),
        at in 0..60_usize,
        jump in 0.0..1e6_f64,
        max: bool,
    ) {
        let (direction, sign) = if max { (Direction::Max, -1.0) } else { (Direction::Min, 1.0) };
        let improvement = Improvement::new(direction, MinDelta::default()).unwrap();
        let mut level = 0.0;
        let metrics: Vec<f64> = falls
            .iter()
            .enumerate()
            .map(|(report, fall)| {
                level += if report == at { jump } else { -fall };
                sign * level
            })
            .collect();
        for plateau in [Plateau::keras(0.5, window), Plateau::pytorch(0.5, window - 1)] {
            let plateau = plateau.and_then(|plateau| plateau.with_improvement(improvement)?.with_trend_window(window));
            prop_assert_eq!(reductions(plateau.unwrap(), metrics.iter().copied()), Vec::<usize>::new());
        }
    }

    /// After every report the inner optimizer holds what `lr` returns. That is within the bounds and is used next.
    #[test]
    fn the_invariant_and_the_bounds(config in config_with_feedback(), metrics in prop::collection::vec(metric(), 1..80)) {
        let mut optimizer = optimizer(config);
        for metric in metrics {
            let _ = optimizer.observe(metric);
            let lr = optimizer.lr();
            prop_assert_eq!(optimizer.get_ref().lr.to_bits(), lr.to_bits());
            prop_assert_eq!(optimizer.preview(1).next().unwrap().lr.to_bits(), lr.to_bits());
            if let Some(bounds) = optimizer.config().bounds() {
                prop_assert!(lr >= bounds.floor && lr <= bounds.ceiling);
            }
            prop_assert!(lr.is_finite() && lr >= 0.0);
            prop_assert_eq!(update(&mut optimizer).to_bits(), lr.to_bits());
        }
    }

    /// A run that is saved after any report and restored, also through JSON, continues as if uninterrupted.
    #[cfg(feature = "serde")]
    #[test]
    fn saved_states_decide_alike(
        config in config_with_feedback(),
        metrics in prop::collection::vec((metric(), 0..4_u8), 1..60),
        at in 0..60_usize,
    ) {
        let (json, count) = (serde_json::to_string(&config).unwrap(), metrics.len());
        let mut through = optimizer(config);
        let mut restored: Option<CyclicOptimizer<RateAndMomentum>> = None;
        for (index, (metric, updates)) in metrics.into_iter().enumerate() {
            let seen = format!("{:?}", through.observe(metric));
            if let Some(restored) = &mut restored {
                prop_assert_eq!(format!("{:?}", restored.observe(metric)), seen);
            }
            if index == at % count {
                let state = serde_json::to_string(&through.state()).unwrap();
                let mut other = optimizer(serde_json::from_str(&json).unwrap());
                other.restore(serde_json::from_str(&state).unwrap()).unwrap();
                restored = Some(other);
            }
            for _ in 0..updates {
                let used = update(&mut through);
                if let Some(restored) = &mut restored {
                    prop_assert_eq!(update(restored).to_bits(), used.to_bits());
                }
            }
        }
        if let Some(restored) = restored {
            prop_assert_eq!(restored.state(), through.state());
        } else {
            prop_assert!(false, "never restored");
        }
    }
}
