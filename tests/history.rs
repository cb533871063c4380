//! Histories, the trait of all recorders, pictures, and dead `ReLU`s.

mod support;

use cyclic_optim::history::{Per, RecordError, Recorder, Reindex, Table};
use cyclic_optim::{Applied, ClrConfig, Cyclic, CyclicOptimizer, History, Smoothing, winsorised};
use support::unset;

fn config() -> ClrConfig {
    ClrConfig::new(Cyclic::triangular(0.1, 0.3, 2).unwrap()).with_momentum(0.8, 0.9).unwrap()
}

fn used() -> impl Iterator<Item = Applied> {
    config().preview().take(1000).collect::<Vec<_>>().into_iter()
}

/// The rate in row `i` is the one that update `i` used.
#[test]
fn an_optimizer_fills_its_history_with_what_it_used() {
    let mut optimizer = CyclicOptimizer::new(unset(), config()).with_history(History::new());
    optimizer.record(9.0);
    assert!(optimizer.history().unwrap().updates().is_empty(), "nothing was made yet");
    let mut rates = Vec::new();
    for loss in 0..7 {
        rates.push(optimizer.update_with(|inner| Ok::<_, ()>(inner.lr)).unwrap());
        optimizer.record(loss);
        // A second record of the same update replaces the first.
        optimizer.record(f64::from(loss) + 0.5);
    }
    let updates = optimizer.history().unwrap().updates();
    assert_eq!(updates.index(), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(updates.values("learning_rate").unwrap(), rates);
    assert_eq!(updates.values("momentum").unwrap()[2], 0.8);
    assert_eq!(updates.values("loss").unwrap(), [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5]);
    // The same update again after a restore, at half the rate.
    let mut optimizer = CyclicOptimizer::new(unset(), config()).with_history(History::new());
    let start = optimizer.state();
    for scale in [1.0, 0.5] {
        optimizer.restore(start.clone()).unwrap();
        optimizer.set_scale(scale).unwrap();
        optimizer.update_with(|_| Ok::<_, ()>(())).unwrap();
        optimizer.record(scale);
    }
    assert_eq!(optimizer.history().unwrap().updates().values("learning_rate").unwrap(), [0.05]);
    // Without a history nothing is recorded.
    let mut without = CyclicOptimizer::new(unset(), config());
    without.update_with(|_| Ok::<_, ()>(())).unwrap();
    without.record(1.0);
    assert!(without.history().is_none());
}

#[test]
fn every_third_update_is_kept() {
    let mut history = History::every(3).unwrap();
    for used in used().take(8) {
        history.update(&used, &[("loss", 1.0), ("accuracy", 0.5)]).unwrap();
        history.note(used.iteration, "val_loss", 2.0);
    }
    assert_eq!(history.updates().index(), [0, 3, 6]);
    assert_eq!(history.updates().values("val_loss").unwrap(), [2.0; 3]);
    let names: Vec<&str> = history.updates().names().collect();
    assert_eq!(names, ["learning_rate", "momentum", "loss", "accuracy", "val_loss"]);
    assert_eq!(History::every(0).unwrap_err().to_string(), "every must be at least 1, got 0");
}

/// A list of recorders of different types. The error of a recorder is not lost.
#[test]
fn recorders_are_called_through_one_trait() {
    #[derive(Debug, PartialEq)]
    struct Full;
    impl std::fmt::Display for Full {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("full")
        }
    }
    impl std::error::Error for Full {}

    struct Tape(Vec<(u64, f64)>);
    impl Recorder for Tape {
        fn update(&mut self, used: &Applied, metrics: &[(&str, f64)]) -> Result<(), RecordError> {
            if self.0.len() == 2 {
                return Err(RecordError::new(Full));
            }
            self.0.push((used.iteration, metrics[0].1));
            Ok(())
        }
    }

    let mut recorders: Vec<Box<dyn Recorder>> = vec![Box::new(Tape(vec![])), Box::new(None::<History>)];
    let updates: Vec<Applied> = used().take(3).collect();
    for recorder in &mut recorders {
        for used in &updates[..2] {
            recorder.update(used, &[("loss", 1.0)]).unwrap();
        }
        recorder.epoch(0, &[]).unwrap();
        recorder.finish().unwrap();
    }
    let error = recorders[0].update(&updates[2], &[("loss", 1.0)]).unwrap_err();
    assert_eq!((error.to_string(), error.0.downcast_ref::<Full>()), ("full".into(), Some(&Full)));
    recorders[1].update(&updates[2], &[("loss", 1.0)]).unwrap();
}

#[test]
fn a_metric_of_the_caller_replaces_one_of_the_update() {
    let mut history = History::new();
    history.update(&used().next().unwrap(), &[("momentum", 0.5), ("loss", 1.0), ("loss", 2.0)]).unwrap();
    let updates = history.updates();
    assert_eq!((updates.values("momentum").unwrap(), updates.values("loss").unwrap()), (vec![0.5], vec![2.0]));
}

#[test]
fn missing_values_of_a_series_are_none() {
    let mut table = Table::new(Per::Epoch);
    table.push(0, &[("a", 1.0)]);
    table.push(1, &[("b", f64::NAN)]);
    table.push(2, &[]);
    table.push(3, &[("b", 4.0), ("a", 5.0), ("a", 6.0)]);
    assert_eq!(table.get("a"), Some(&[Some(1.0), None, None, Some(6.0)][..]));
    let b = table.get("b").unwrap();
    assert!(b[0].is_none() && b[1].unwrap().is_nan() && b[2].is_none() && b[3] == Some(4.0), "{b:?}");
    assert_eq!((table.get("c"), table.values("c")), (None, None));
    table.truncate(2);
    assert_eq!((table.index(), table.get("a")), (&[0, 1][..], Some(&[Some(1.0), None][..])));
    let mut empty = Table::new(Per::Epoch);
    empty.set_last("a", 1.0);
    assert_eq!((empty.len(), empty.names().count()), (0, 0));
}

#[test]
fn histories_join_with_and_without_reindexing() {
    let history = |losses: &[f64], metric: &str| {
        let mut history = History::every(2).unwrap();
        for (used, &loss) in used().zip(losses) {
            history.update(&used, &[("loss", loss), (metric, loss)]).unwrap();
        }
        history.epoch(0, &[("loss", losses[0])]).unwrap();
        history
    };
    let (first, second) = (history(&[1.0, 2.0, 3.0], "a"), history(&[4.0, 5.0, 6.0], "b"));
    let kept = History::joined([&first, &second], Reindex::Keep);
    assert_eq!(kept.updates().index(), [0, 2, 0, 2]);
    let continued = History::joined([&first, &second, &first], Reindex::Continue);
    assert_eq!(continued.updates().index(), [0, 2, 4, 6, 8, 10]);
    assert_eq!(continued.epochs().index(), [0, 1, 2]);
    assert_eq!(continued.updates().values("loss").unwrap(), [1.0, 3.0, 4.0, 6.0, 1.0, 3.0]);
    let a = continued.updates().get("a").unwrap();
    assert_eq!(a, [Some(1.0), Some(3.0), None, None, Some(1.0), Some(3.0)]);
    let b = continued.updates().get("b").unwrap();
    assert_eq!(b, [None, None, Some(4.0), Some(6.0), None, None]);
    assert_eq!(History::joined([], Reindex::Keep), History::new());
}

#[test]
fn smoothing_and_winsorising_skip_values_that_are_not_finite() {
    let mut table = Table::new(Per::Update);
    for (n, loss) in [1.0, f64::NAN, 3.0, f64::INFINITY].into_iter().enumerate() {
        table.push(n as u64, &[("loss", loss)]);
    }
    let smoothed = Smoothing::exponential_from_first(0.5).unwrap().apply(&table.values("loss").unwrap());
    assert_eq!((smoothed[0], smoothed[2]), (1.0, 2.0));
    assert!(smoothed[1].is_nan() && smoothed[3].is_infinite());
    assert_eq!(winsorised(&table.values("loss").unwrap())[3], f64::INFINITY);
}

#[cfg(feature = "serde")]
#[test]
fn a_history_survives_json_to_the_bit() {
    let mut history = History::every(2).unwrap();
    let odd = [0.1 + 0.2, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::MIN_POSITIVE / 3.0];
    for (used, loss) in used().step_by(2).zip(odd) {
        history.update(&used, &[("loss", loss)]).unwrap();
    }
    history.epoch(0, &[("loss", 1.0)]).unwrap();
    history.epoch(1, &[("val, \"loss\"\n", 1.0)]).unwrap();
    let text = serde_json::to_string(&history).unwrap();
    let read: History = serde_json::from_str(&text).unwrap();
    let bits = |history: &History| -> Vec<u64> {
        history.updates().values("loss").unwrap().iter().map(|loss| loss.to_bits()).collect()
    };
    assert_eq!(bits(&read), bits(&history));
    assert_eq!((read.epochs(), read.updates().index()), (history.epochs(), history.updates().index()));
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
    for (was, is) in [
        (r#""every":2"#, r#""every":0"#),
        (r#""index":[0,1]"#, r#""index":[0]"#),
        (r#""per":"epoch""#, r#""per":"update""#),
        (r#""name":"momentum""#, r#""name":"loss""#),
        (r#""every":2"#, r#""every":2,"more":1"#),
    ] {
        assert!(text.contains(was), "{was} is not in {text}");
        let wrong = text.replace(was, is);
        assert!(serde_json::from_str::<History>(&wrong).is_err(), "accepted {is}");
    }
}

#[cfg(feature = "dfdx")]
#[test]
fn apply_records_every_update_but_no_refused_one() {
    use cyclic_optim::{Clip, Sgd};
    use dfdx::prelude::{Backward, Cpu, Rank0, Tensor, TensorFrom, Trace, ZeroGrads};

    let device = Cpu::default();
    let mut w: Tensor<Rank0, f32, _> = device.tensor(1.0);
    let mut grads = w.alloc_grads();
    let config = ClrConfig::new(Cyclic::triangular(0.1, 0.3, 2).unwrap());
    let config = config.with_clip(Clip { norm: Some(0.5), ..Clip::default() }).unwrap();
    let mut optimizer = CyclicOptimizer::new(Sgd::default(), config).with_history(History::new());
    for loss in [3.0, f64::NAN, 2.0] {
        grads = w.trace(grads).square().backward();
        let _ = optimizer.apply(&mut w, &mut grads, loss);
    }
    optimizer.history_mut().unwrap().epoch(0, &[("val_loss", 0.5)]).unwrap();
    let history = optimizer.history().unwrap();
    assert_eq!(history.updates().index(), [0, 1]);
    assert_eq!(history.updates().values("loss").unwrap(), [3.0, 2.0]);
    assert_eq!(history.updates().values("learning_rate").unwrap(), [0.1, 0.2]);
    assert_eq!(history.updates().get("grad_norm").unwrap()[0], Some(2.0));
    assert_eq!(history.epochs().values("val_loss").unwrap(), [0.5]);
}

#[cfg(feature = "plot")]
#[test]
fn pictures_show_the_history() {
    use cyclic_optim::PlotError;
    use cyclic_optim::history::LossPlot;

    let plot = LossPlot { smoothing: Some(Smoothing::exponential(0.9).unwrap()), logarithmic: true, winsorised: true };
    let empty = History::new();
    assert_eq!(empty.losses_to_svg(&plot), Err(PlotError::Nothing));
    assert_eq!(empty.rates_to_svg(), Err(PlotError::Nothing));
    assert_eq!(empty.epochs_to_svg("loss"), Err(PlotError::Nothing));
    assert_eq!(config().to_svg(0), Err(PlotError::Nothing));
    let mut history = History::new();
    history.update(&used().next().unwrap(), &[("loss", 0.5)]).unwrap();
    for svg in [history.losses_to_svg(&plot), history.rates_to_svg(), config().to_svg(1)] {
        assert!(svg.unwrap().contains("<svg"), "one point is a picture");
    }
    for (n, used) in used().enumerate().skip(1) {
        let loss = if n % 7 == 0 { f64::NAN } else { 2.0 / f64::from(u16::try_from(n).unwrap()) };
        history.update(&used, &[("loss", loss)]).unwrap();
    }
    history.epoch(0, &[("loss", f64::NAN), ("val_loss", 1.0)]).unwrap();
    let contains = |svg: &str, texts: &[&str]| {
        for text in texts {
            assert!(svg.contains(text), "{text} is missing");
        }
    };
    contains(&history.losses_to_svg(&plot).unwrap(), &["smoothed", "update", "0.01"]);
    contains(&history.rates_to_svg().unwrap(), &["learning rate", "momentum", "update"]);
    contains(&history.epochs_to_svg("loss").unwrap(), &["epoch", "loss"]);
    assert!(!history.epochs_to_svg("loss").unwrap().contains("training"), "there is one line, and NaN is not drawn");
}

/// A slope over one update would show rates that no update has.
#[cfg(feature = "plot")]
#[test]
fn a_rate_that_jumps_is_drawn_with_a_corner() {
    use cyclic_optim::{StepDecay, WarmRestarts};

    let vertical_steps = |config: &ClrConfig| {
        let svg = config.to_svg(240).unwrap();
        let line = svg.lines().find(|line| line.contains("stroke=\"#0072B2\"")).unwrap();
        let points: Vec<&str> = line.split("points=\"").nth(1).unwrap().split_whitespace().collect();
        let x = |point: &str| point.split(',').next().unwrap().to_owned();
        points.windows(2).filter(|pair| x(pair[0]) == x(pair[1])).count()
    };
    let restarts = WarmRestarts::new(0.0, 1.0, 60).unwrap();
    assert_eq!(vertical_steps(&ClrConfig::new(StepDecay::new(1.0, 60, 0.5).unwrap())), 3);
    assert_eq!(vertical_steps(&ClrConfig::new(restarts)), 3);
    assert_eq!(vertical_steps(&ClrConfig::new(Cyclic::triangular(0.1, 0.3, 30).unwrap())), 0);
}

#[cfg(feature = "dfdx")]
mod dead_relus {
    use cyclic_optim::adapters::dfdx::DeadRelus;
    use dfdx::prelude::*;

    /// keras-contrib reports layers from 10 % on: 2 of 11 and 1 of 10, but not 1 of 11.
    #[test]
    fn the_threshold_is_inclusive() {
        let device = Cpu::default();
        let of = |dead: usize, units: usize| {
            let mut detector = DeadRelus::new();
            let values = (0..units).map(|unit| if unit < dead { 0.0 } else { 1.0 }).collect();
            let activations: Tensor<(usize, usize), f32, _> = device.tensor_from_vec(values, (1, units));
            detector.observe("layer", &activations);
            detector.report_from(0.1).len()
        };
        assert_eq!((of(1, 11), of(2, 11), of(1, 10)), (0, 1, 1));
    }

    #[test]
    fn a_unit_that_fired_once_is_not_dead() {
        let device = Cpu::default();
        let mut detector = DeadRelus::new();
        detector.observe("a", &device.tensor([[0.0_f32, 0.0, 0.0], [0.0, 0.0, f32::NAN]]));
        detector.observe("a", &device.tensor([[0.0_f32, 1e-30, 0.0]]));
        let report = detector.report();
        assert_eq!((&report[0].dead[..], report[0].units), (&[0, 2][..], 3));
        detector.reset();
        assert!(detector.report().is_empty());
    }

    /// The channels of images, the units of a sequence, an axis chosen by the caller, a number without axes.
    #[test]
    fn the_axis_of_the_units() {
        let device = Cpu::default();
        let mut detector = DeadRelus::new();
        let mut images: Tensor<Rank4<2, 3, 2, 2>, f32, _> = device.zeros();
        images[[1, 2, 0, 1]] = 1.0;
        detector.observe("images", &images);
        let mut sequence: Tensor<Rank3<2, 4, 3>, f32, _> = device.zeros();
        sequence[[0, 3, 1]] = 1.0;
        detector.observe("sequence", &sequence);
        detector.observe_axis("image", &sequence, 0);
        detector.observe("number", &device.tensor(1.0_f32));
        let dead: Vec<_> = detector.report().into_iter().map(|layer| (layer.layer, layer.dead, layer.units)).collect();
        assert_eq!(
            dead,
            [
                ("images".to_string(), vec![0, 1], 3),
                ("sequence".to_string(), vec![0, 2], 3),
                ("image".to_string(), vec![1], 2),
                ("number".to_string(), vec![], 1),
            ]
        );
    }

    /// Every ReLU of a nested model is found under dfdx's name, with and without a tape, and the output is that of the model.
    #[test]
    fn a_nested_model_is_watched() {
        type Model = (
            (Linear<4, 6>, ReLU),
            Residual<(Linear<6, 6>, ReLU, Linear<6, 6>)>,
            Repeated<(Linear<6, 6>, ReLU), 2>,
            Tanh,
        );
        let device = Cpu::seed_from_u64(1);
        let mut model = device.build_module::<Model, f32>();
        model.2.modules[1].0.bias = device.tensor([0.0, -1e3, 0.0, 0.0, 0.0, -1e3]);
        let mut detector = DeadRelus::new();
        for _ in 0..20 {
            let x: Tensor<Rank2<8, 4>, f32, _> = device.sample_normal();
            let output = detector.watch(&model, x.clone()).unwrap();
            assert_eq!(output.array(), model.forward(x.clone()).array());
            let traced = detector.watch(&model, x.leaky_trace()).unwrap();
            assert!(traced.sum().backward().get(&model.0.0.bias).array().iter().any(|g| *g != 0.0));
        }
        let report = detector.report();
        let layers: Vec<&str> = report.iter().map(|layer| layer.layer.as_str()).collect();
        assert_eq!(layers, ["0.1", "1.0.1", "2.0.1", "2.1.1"]);
        assert!(report[3].dead.contains(&1) && report[3].dead.contains(&5) && report[3].share() < 1.0, "{report:?}");
        assert!(report[0].dead.is_empty());
    }
}
