//! Checkpoint files that version 0.1.0 wrote: they load, and the run that they hold is written to the same bytes.

#![cfg(all(feature = "dfdx", feature = "checkpoint"))]

mod support;

use std::fs;
use std::path::PathBuf;

use cyclic_optim::adapters::dfdx::{SnapshotEnsemble, WeightAverage};
use cyclic_optim::checkpoint::RunPart;
use cyclic_optim::feedback::{EarlyStopping, Plateau};
use cyclic_optim::history::Recorder;
use cyclic_optim::training::BestWeights;
use cyclic_optim::{Adam, Checkpoint, Clip, ClrConfig, Cyclic, CyclicOptimizer, History, RMSprop, Sgd, WarmRestarts};
use dfdx::optim::{Momentum, RMSpropConfig, SgdConfig};
use dfdx::prelude::*;
use support::Folder;

type Model = (modules::Linear<3, 4, f32, Cpu>, modules::BatchNorm1D<4, f32, Cpu>);
type Small = Tensor<Rank2<2, 3>, f64, Cpu>;

fn stored(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/data/checkpoints", name].iter().collect()
}

fn model() -> Model {
    Cpu::seed_from_u64(1).build_module::<(builders::Linear<3, 4>, builders::BatchNorm1D<4>), f32>()
}

fn adam() -> CyclicOptimizer<Adam<f32, Cpu>> {
    let config = ClrConfig::new(Cyclic::triangular2(0.01, 0.1, 4).unwrap())
        .with_momentum(0.8, 0.9)
        .and_then(|config| config.with_decay(1e-2))
        .and_then(|config| config.with_plateau(Plateau::keras(0.5, 1).unwrap()))
        .and_then(|config| config.with_early_stopping(EarlyStopping::new(50).unwrap()))
        .and_then(|config| config.with_clip(Clip { norm: Some(0.7), value: None }))
        .unwrap();
    CyclicOptimizer::new(Adam::default(), config).with_history(History::every(2).unwrap())
}

fn sgd() -> CyclicOptimizer<Sgd<f32, Cpu>> {
    let sgd = Sgd::new(SgdConfig { momentum: Some(Momentum::Nesterov(0.9)), ..Default::default() });
    CyclicOptimizer::new(sgd, Cyclic::triangular(0.01, 0.1, 3).unwrap())
}

struct WithParts {
    model: Small,
    optimizer: CyclicOptimizer<RMSprop<f64, Cpu>>,
    best: BestWeights<Small>,
    ensemble: SnapshotEnsemble<Small>,
    average: WeightAverage<Small, f64, Cpu>,
}

impl WithParts {
    fn new() -> Self {
        let config = ClrConfig::new(WarmRestarts::snapshots(0.1, 12, 3).unwrap())
            .with_early_stopping(EarlyStopping::new(50).unwrap())
            .unwrap();
        let inner = RMSprop::new(RMSpropConfig { momentum: Some(0.5), centered: true, ..Default::default() });
        Self {
            model: Cpu::seed_from_u64(2).sample_normal(),
            optimizer: CyclicOptimizer::new(inner, config),
            best: BestWeights::new(),
            ensemble: SnapshotEnsemble::new(),
            average: WeightAverage::new(),
        }
    }

    fn parts(&self) -> [(&str, &dyn RunPart<Small>); 3] {
        [("best", &self.best), ("ensemble", &self.ensemble), ("average", &self.average)]
    }
}

#[test]
fn a_whole_run_of_adam() {
    let bytes = fs::read(stored("adam.safetensors")).unwrap();
    let (mut model, mut optimizer) = (model(), adam());
    Checkpoint::from_bytes(bytes.clone()).unwrap().restore(&mut model, &mut optimizer).unwrap();
    assert!(Checkpoint::to_bytes(&model, &optimizer).unwrap() == bytes);
    assert_eq!((optimizer.iterations(), optimizer.clr_iterations()), (13, 3));
    let odd = optimizer.history().unwrap().updates().get("odd").unwrap();
    assert!(odd.iter().enumerate().all(|(row, value)| value.is_some_and(f64::is_nan) == (row == 5)));
}

#[test]
fn weights_alone() {
    let path = stored("weights.safetensors");
    let mut model = model();
    Checkpoint::read(&path).unwrap().restore_weights(&mut model).unwrap();
    let folder = Folder::new("stored-weights");
    let again = folder.0.join("again.safetensors");
    Checkpoint::write_weights(&again, &model).unwrap();
    assert!(fs::read(again).unwrap() == fs::read(path).unwrap());
    assert_eq!(model.1.momentum, 0.25);
}

#[test]
fn a_run_of_rmsprop_with_parts() {
    let path = stored("rmsprop.safetensors");
    let mut run = WithParts::new();
    let WithParts { model, optimizer, best, ensemble, average } = &mut run;
    let parts: &mut [(&str, &mut dyn RunPart<_>)] = &mut [("best", best), ("ensemble", ensemble), ("average", average)];
    Checkpoint::read(&path).unwrap().restore_with(model, optimizer, parts).unwrap();
    let folder = Folder::new("stored-parts");
    let again = folder.0.join("again.safetensors");
    Checkpoint::write_with(&again, &run.model, &run.optimizer, &run.parts()).unwrap();
    assert!(fs::read(again).unwrap() == fs::read(path).unwrap());
    assert_eq!((run.optimizer.iterations(), run.ensemble.snapshots().len(), run.average.models()), (9, 2, 2));
    assert!(run.best.get().is_some());
}

/// How the files were made. They must not be written again, because they show what that version wrote.
#[test]
#[ignore = "writes the stored files"]
fn write_the_stored_files() {
    let x: Tensor<Rank2<6, 3>, f32, _> = Cpu::seed_from_u64(3).sample_normal();
    let (mut trained, mut optimizer) = (model(), adam());
    for update in 0..13 {
        let loss = trained.forward_mut(x.leaky_trace()).powi(4).mean();
        let value = loss.array();
        optimizer.apply(&mut trained, &mut loss.backward(), value).unwrap();
        if update % 5 == 4 {
            let _ = optimizer.observe(value);
            optimizer.history_mut().unwrap().epoch(update / 5, &[("loss", f64::from(value))]).unwrap();
        }
        match update {
            6 => optimizer.set_range(0.02, 0.08).unwrap(),
            9 => optimizer.reset_cycle(),
            10 => optimizer.history_mut().unwrap().note(10, "odd", f64::NAN),
            _ => {}
        }
    }
    Checkpoint::write(stored("adam.safetensors"), &trained, &optimizer).unwrap();

    let (mut trained, mut optimizer) = (model(), sgd());
    for _ in 0..5 {
        let grads = trained.forward_mut(x.leaky_trace()).powi(4).mean().backward();
        optimizer.update(&mut trained, &grads).unwrap();
    }
    trained.1.momentum = 0.25;
    Checkpoint::write_weights(stored("weights.safetensors"), &trained).unwrap();

    let mut run = WithParts::new();
    for update in 0..9_u32 {
        let grads = run.model.leaky_trace().square().sum().backward();
        run.optimizer.update(&mut run.model, &grads).unwrap();
        run.ensemble.after_update(&run.optimizer, &run.model);
        run.average.after_update(&run.optimizer, &run.model).unwrap();
        run.best.keep(&run.optimizer.observe(update.abs_diff(3)), &run.model);
    }
    Checkpoint::write_with(stored("rmsprop.safetensors"), &run.model, &run.optimizer, &run.parts()).unwrap();
}
