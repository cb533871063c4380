//! The best and the last models in files, ensembles of snapshots, averages of weights.

#![cfg(all(feature = "dfdx", feature = "checkpoint"))]

mod support;

use std::fs;
use std::path::Path;

use cyclic_optim::adapters::dfdx::{EnsembleError, SnapshotEnsemble, WeightAverage, recompute_batch_norm};
use cyclic_optim::checkpoint::ModelCheckpointError;
use cyclic_optim::feedback::{Direction, Improvement, MinDelta};
use cyclic_optim::{
    Checkpoint, CheckpointError, Constant, CyclicOptimizer, ModelCheckpoint, Schedule, Sgd, WarmRestarts,
};
use dfdx::prelude::*;
use support::Folder;

type Weights = Tensor<Rank1<2>, f32, Cpu>;

fn weights(value: f32) -> Weights {
    Cpu::default().tensor([value, -value])
}

fn optimizer() -> CyclicOptimizer<Sgd<f32, Cpu>> {
    CyclicOptimizer::new(Sgd::default(), Constant::new(0.1).unwrap())
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn template(folder: &Folder, name: &str) -> String {
    folder.0.join(name).to_str().unwrap().to_owned()
}

mod model_checkpoint {
    use super::*;

    #[test]
    fn every_third_the_last_two() {
        let folder = Folder::new("keep");
        let mut keep = ModelCheckpoint::new(&template(&folder, "new/{epoch:02}.st")).unwrap();
        keep = keep.every(3).unwrap().keep_last(2).unwrap();
        let mut kept = Vec::new();
        for epoch in 0..12 {
            if keep.save(epoch, &[], &weights(1.0), &optimizer()).unwrap().is_some() {
                kept.push(epoch);
            }
            // Made with the first file.
            assert!(epoch < 2 || names(&folder.0.join("new")).len() <= 2);
        }
        assert_eq!(kept, [2, 5, 8, 11]);
        assert_eq!(names(&folder.0.join("new")), ["09.st", "12.st"]);
        assert!(keep.clone().every(0).is_err() && keep.clone().keep_last(0).is_err());
        assert!(keep.with_threshold(f64::NAN).is_err());
    }

    #[test]
    fn the_best_and_a_threshold() {
        let folder = Folder::new("best");
        let accuracy = Improvement::new(Direction::Max, MinDelta::Absolute(0.01)).unwrap();
        let keep = ModelCheckpoint::new(&template(&folder, "{accuracy:.3}.st")).unwrap();
        let mut keep = keep.best_only("accuracy", accuracy).with_threshold(0.5).unwrap().weights_only();
        for (epoch, value) in [0.4, f64::NAN, 0.6, 0.605, f64::INFINITY, 0.7].into_iter().enumerate() {
            keep.save(epoch as u64, &[("loss", 1.0), ("accuracy", value)], &weights(1.0), &optimizer()).unwrap();
        }
        assert_eq!(names(&folder.0), ["0.600.st", "0.700.st"]);
        assert_eq!(keep.best(), Some(0.7));
        let weights_only = Checkpoint::read(folder.0.join("0.700.st")).unwrap();
        assert_eq!(weights_only.iterations(), None);
        let error = keep.save(6, &[("loss", 1.0)], &weights(1.0), &optimizer()).unwrap_err();
        assert!(matches!(error, ModelCheckpointError::NoMetric { .. }));
        assert_eq!(
            error.to_string(),
            r#"the metric "accuracy", which decides what is best, was not reported; there are ["loss"]"#
        );
    }

    /// Epochs of a run: the metric of each.
    const LOSSES: [f64; 8] = [0.5, 0.7, f64::NAN, 0.6, 0.9, 0.6, 0.25, 0.4];

    fn three_best(folder: &Folder) -> ModelCheckpoint {
        let keep = ModelCheckpoint::new(&template(folder, "{epoch}-{loss}.st")).unwrap();
        keep.keep_best(3, "loss", Improvement::default()).unwrap()
    }

    #[test]
    fn the_three_best() {
        let folder = Folder::new("keep-best");
        let mut keep = three_best(&folder);
        let mut after = Vec::new();
        for (epoch, loss) in (0..).zip(LOSSES) {
            keep.save(epoch, &[("loss", loss)], &weights(1.0), &optimizer()).unwrap();
            after.push(names(&folder.0).join(" "));
        }
        assert_eq!(
            after,
            [
                "1-0.5.st",
                "1-0.5.st 2-0.7.st",
                "1-0.5.st 2-0.7.st",
                "1-0.5.st 2-0.7.st 4-0.6.st",
                "1-0.5.st 2-0.7.st 4-0.6.st",
                // As good as the fourth, and later: the second goes.
                "1-0.5.st 4-0.6.st 6-0.6.st",
                "1-0.5.st 4-0.6.st 7-0.25.st",
                "1-0.5.st 7-0.25.st 8-0.4.st",
            ]
        );
        assert_eq!(keep.best(), Some(0.25));
        assert!(keep.clone().keep_best(0, "loss", Improvement::default()).is_err());
        // An accuracy, and an improvement that has to be a large one.
        let folder = Folder::new("keep-best-max");
        let clearly = Improvement::new(Direction::Max, MinDelta::Absolute(0.1)).unwrap();
        let mut keep = ModelCheckpoint::new(&template(&folder, "{accuracy}.st")).unwrap();
        keep = keep.keep_best(2, "accuracy", clearly).unwrap().weights_only();
        for (epoch, accuracy) in (0..).zip([0.5, 0.6, 0.55, 0.61, 0.9]) {
            keep.save(epoch, &[("accuracy", accuracy)], &weights(1.0), &optimizer()).unwrap();
        }
        assert_eq!(names(&folder.0), ["0.61.st", "0.9.st"]);
        assert!(matches!(
            keep.save(5, &[("loss", 0.1)], &weights(1.0), &optimizer()),
            Err(ModelCheckpointError::NoMetric { .. })
        ));
    }

    /// Interrupted after any epoch: the files are those of the run without interruption, also where the files of the epoch after
    /// it were already written when the run was killed.
    #[test]
    fn a_continued_run_keeps_the_same_files() {
        type Options = fn(&Folder) -> ModelCheckpoint;
        let all: [Options; 3] = [
            three_best,
            |folder| ModelCheckpoint::new(&template(folder, "{epoch}-{loss}.st")).unwrap().keep_last(2).unwrap(),
            |folder| {
                let keep = ModelCheckpoint::new(&template(folder, "{epoch}-{loss}.st")).unwrap();
                keep.best_only("loss", Improvement::default())
            },
        ];
        for options in all {
            let save = |keep: &mut ModelCheckpoint, from: usize, to: usize| {
                for (epoch, loss) in LOSSES.into_iter().enumerate().take(to).skip(from) {
                    keep.save(epoch as u64, &[("loss", loss)], &weights(1.0), &optimizer()).unwrap();
                }
            };
            let whole = Folder::new("keep-whole");
            save(&mut options(&whole), 0, 8);
            for interrupted in 0..8 {
                for written in interrupted..=interrupted + 1 {
                    let parts = Folder::new(&format!("keep-{interrupted}-{written}"));
                    save(&mut options(&parts), 0, written);
                    let mut keep = options(&parts);
                    for (epoch, loss) in LOSSES.into_iter().enumerate().take(interrupted) {
                        keep.replay(epoch as u64, 0, &[("loss", loss)]).unwrap();
                    }
                    save(&mut keep, interrupted, 8);
                    assert_eq!(names(&parts.0), names(&whole.0), "{interrupted} {written}");
                }
            }
        }
    }

    #[test]
    fn files_that_are_gone_are_not_counted() {
        let folder = Folder::new("keep-gone");
        let mut keep = three_best(&folder);
        for (epoch, loss) in [(0, 0.1), (1, 0.2), (2, 0.3)] {
            keep.replay(epoch, 0, &[("loss", loss)]).unwrap();
        }
        assert_eq!(keep.best(), Some(0.1));
        keep.save(3, &[("loss", 0.9)], &weights(1.0), &optimizer()).unwrap();
        assert_eq!(names(&folder.0), ["4-0.9.st"]);
        let missing = keep.replay(0, 0, &[("val_loss", 0.1)]).unwrap_err();
        assert!(matches!(missing, ModelCheckpointError::NoMetric { .. }), "{missing}");
    }

    /// All models in one file: a worse one does not replace a better one.
    #[test]
    fn one_name_for_all_keeps_the_best() {
        let folder = Folder::new("keep-one-name");
        let mut keep = ModelCheckpoint::new(&template(&folder, "best.st")).unwrap();
        keep = keep.keep_best(3, "loss", Improvement::default()).unwrap();
        let mut saved = Vec::new();
        for (epoch, loss) in (0..).zip(LOSSES) {
            if keep.save(epoch, &[("loss", loss)], &weights(1.0), &optimizer()).unwrap().is_some() {
                saved.push(loss);
            }
        }
        assert_eq!((saved, names(&folder.0)), (vec![0.5, 0.25], vec!["best.st".to_owned()]));
    }

    /// Of two contradictory options the later one counts.
    #[test]
    fn the_best_or_the_last() {
        fn rule() -> Improvement {
            Improvement::default()
        }
        let run = |name: &str, options: fn(ModelCheckpoint) -> ModelCheckpoint| {
            let folder = Folder::new(name);
            let mut keep = options(ModelCheckpoint::new(&template(&folder, "{epoch}.st")).unwrap());
            for (epoch, loss) in (0..).zip(LOSSES) {
                keep.save(epoch, &[("loss", loss)], &weights(1.0), &optimizer()).unwrap();
            }
            names(&folder.0).join(" ")
        };
        assert_eq!(run("last", |keep| keep.keep_best(2, "loss", rule()).unwrap().keep_last(1).unwrap()), "8.st");
        assert_eq!(run("best", |keep| keep.keep_last(1).unwrap().keep_best(2, "loss", rule()).unwrap()), "7.st 8.st");
        assert_eq!(
            run("only", |keep| keep.keep_best(1, "loss", rule()).unwrap().best_only("loss", rule())),
            "1.st 7.st"
        );
        assert_eq!(run("both", |keep| keep.best_only("loss", rule()).keep_last(1).unwrap()), "7.st");
    }

    #[test]
    fn what_fails_changes_nothing() {
        let folder = Folder::new("keep-fails");
        fs::write(folder.0.join("file"), "no folder").unwrap();
        let keep = ModelCheckpoint::new(&template(&folder, "file/{epoch}.st")).unwrap();
        let mut keep = keep.best_only("loss", Improvement::default());
        let error = keep.save(0, &[("loss", 1.0)], &weights(1.0), &optimizer()).unwrap_err();
        assert!(matches!(error, ModelCheckpointError::Checkpoint(CheckpointError::Io { .. })), "{error}");
        assert_eq!(keep.best(), None);
        let mut unknown = ModelCheckpoint::new(&template(&folder, "{val_loss}.st")).unwrap();
        let error = unknown.save(0, &[("loss", 1.0)], &weights(1.0), &optimizer()).unwrap_err().to_string();
        assert!(error.contains(r#"there is no "val_loss"; there are ["epoch", "update", "loss"]"#), "{error}");
        assert!(ModelCheckpoint::new("{epoch").is_err());
    }
}

mod ensemble {
    use super::*;

    /// Where keras-contrib makes 7 files instead of 5, and leaves the last epoch unsaved: T = 14, M = 5 and T = 10, M = 3.
    #[test]
    fn as_many_as_asked_for_each_at_the_minimum() {
        for (total, number) in [(14, 5), (10, 3), (200, 5), (7, 7), (5, 1)] {
            let folder = Folder::new(&format!("ensemble-{total}-{number}"));
            let schedule = WarmRestarts::snapshots(0.1, total, number).unwrap();
            let mut optimizer = CyclicOptimizer::new(Sgd::default(), schedule.clone());
            let mut files = ModelCheckpoint::new(&template(&folder, "{epoch}.st")).unwrap();
            let (mut ensemble, mut model, mut ends) = (SnapshotEnsemble::new(), weights(1.0), Vec::new());
            for update in 0..total {
                let grads = model.leaky_trace().square().sum().backward();
                optimizer.update(&mut model, &grads).unwrap();
                if let Some(snapshot) = ensemble.after_update(&optimizer, &model) {
                    files.save(snapshot as u64, &[], &model, &optimizer).unwrap();
                    ends.push(update);
                }
            }
            assert_eq!(ensemble.snapshots().len() as u64, number);
            assert_eq!(names(&folder.0).len() as u64, number);
            // Cycle k covers floor(kT/M) to floor((k+1)T/M).
            assert_eq!(ends, (1..=number).map(|k| k * total / number - 1).collect::<Vec<_>>());
            assert_eq!(ends.last(), Some(&(total - 1)));
            for end in ends {
                let begins = schedule.cycle_at(end).unwrap();
                let cycle = (end + 1 - begins.length)..=end;
                assert!(cycle.clone().all(|update| schedule.value_at(update) >= schedule.value_at(end)), "{cycle:?}");
            }
        }
    }

    /// A refused update leaves the end of the cycle where it was; there is still one snapshot of it.
    #[test]
    fn a_refused_update_makes_no_second_snapshot() {
        let schedule = WarmRestarts::snapshots(0.1, 4, 2).unwrap();
        let (mut optimizer, mut model) = (CyclicOptimizer::new(Sgd::default(), schedule), weights(1.0));
        let (mut ensemble, mut average) = (SnapshotEnsemble::new(), WeightAverage::<_, f32, Cpu>::new());
        let mut grads = model.alloc_grads();
        for loss in [1.0, 1.0, f64::NAN, 1.0, f64::NAN, 1.0] {
            grads = model.trace(grads).square().sum().backward();
            let _ = optimizer.apply(&mut model, &mut grads, loss);
            ensemble.after_update(&optimizer, &model);
            average.after_update(&optimizer, &model).unwrap();
        }
        assert_eq!((optimizer.iterations(), ensemble.snapshots().len(), average.models()), (4, 2, 2));
    }

    #[test]
    fn probabilities_are_averaged_not_weights() {
        let device = Cpu::default();
        let mut ensemble = SnapshotEnsemble::new();
        let x: Tensor<Rank2<1, 1>, f32, _> = device.tensor([[1.0]]);
        assert!(matches!(ensemble.predict(1, &x), Err(EnsembleError::Empty)));
        for scale in [0.0, 2.0, -1.0] {
            let mut model = device.build_module::<builders::Linear<1, 2>, f32>();
            (model.weight, model.bias) = (device.tensor([[scale], [0.0]]), device.zeros());
            ensemble.push(model);
        }
        let softmax = |scale: f32| scale.exp() / (scale.exp() + 1.0);
        let two: Tensor<Rank2<1, 2>, f32, _> = ensemble.predict(2, &x).unwrap();
        assert!((two.array()[0][0] - f32::midpoint(softmax(2.0), softmax(-1.0))).abs() < 1e-6);
        let all = ensemble.predict(3, &x).unwrap();
        assert!((all.array()[0][0] - (0.5 + softmax(2.0) + softmax(-1.0)) / 3.0).abs() < 1e-6);
        for wrong in [0, 4] {
            let error = ensemble.predict(wrong, &x).unwrap_err();
            assert_eq!(error.to_string(), format!("{wrong} snapshots were asked for, and the ensemble has 3"));
        }
    }
}

mod average {
    use super::*;

    #[test]
    fn the_mean_of_all_models_and_none_of_them_changes() {
        let mut average = WeightAverage::<_, f32, Cpu>::new();
        assert!(average.model().is_none());
        assert!(average.verdict(&[weights(1.0)], |_| 0.0).is_err());
        let parts: Vec<Weights> = [1.0, 2.0, 6.0, 7.0].map(weights).into();
        for part in &parts {
            average.add(part).unwrap();
        }
        assert_eq!(average.model().unwrap().array(), [4.0, -4.0]);
        assert_eq!(parts[0].array(), [1.0, -1.0]);
        // A valley around 4, and one with two minima and a hill between them.
        let loss = |near: fn(f32) -> f32| move |model: &Weights| f64::from(near(model.array()[0]));
        let verdict = average.verdict(&parts, loss(|w| (w - 4.0).powi(2))).unwrap();
        assert!(!verdict.hurts() && verdict.average == 0.0 && verdict.parts == [9.0, 4.0, 4.0, 9.0]);
        assert!(average.verdict(&parts, loss(|w| (3.0 - (w - 4.0).abs()).powi(2))).unwrap().hurts());
        assert!(average.verdict(&parts, |_| f64::NAN).unwrap().hurts());
        assert!(average.verdict(&[], |_| 0.0).is_err());
        let lost = average.verdict(&parts, |model| if model.array()[0] == 7.0 { f64::NAN } else { 1.0 }).unwrap();
        assert!(!lost.hurts());
        let mut resumed = WeightAverage::<_, f32, Cpu>::resumed(weights(3.0), 2);
        resumed.add(&weights(6.0)).unwrap();
        assert_eq!(resumed.model().unwrap().array(), [4.0, -4.0]);
    }

    /// Keras 3.15.1: `SGD(0.1, use_ema=True, ema_momentum=0.9)` in f64, gradient 2 v, v from 1. Its `ema` after each update.
    #[test]
    fn exponential_as_in_keras() {
        let mut average = WeightAverage::<_, f64, Cpu>::exponential(0.9).unwrap();
        for (model, expected) in [
            (0.8, 0.8),
            (0.64, 0.784),
            (0.512, 0.7568),
            (0.4096, 0.72208),
            (0.32768, 0.682_640_000_000_000_1),
            (0.262_144_000_000_000_04, 0.640_590_400_000_000_1),
        ] {
            let model: Tensor<Rank0, f64, Cpu> = Cpu::default().tensor(model);
            average.add(&model).unwrap();
            assert!((average.model().unwrap().array() - expected).abs() < 1e-15);
        }
        assert_eq!(average.models(), 6);
    }

    #[test]
    fn a_warmup_soon_forgets_the_first_models() {
        let mut average = WeightAverage::<_, f64, Cpu>::exponential(0.9).unwrap().with_warmup();
        let mut expected = 0.0;
        for n in 0..200 {
            let value = f64::from(n % 7);
            let model: Tensor<Rank0, f64, Cpu> = Cpu::default().tensor(value);
            average.add(&model).unwrap();
            let decay = if n == 0 { 0.0 } else { f64::min(0.9, (1.0 + f64::from(n)) / (10.0 + f64::from(n))) };
            expected = decay * expected + (1.0 - decay) * value;
            assert!((average.model().unwrap().array() - expected).abs() < 1e-13, "{n}");
        }
        for decay in [1.0, -0.1, f64::NAN] {
            let error = WeightAverage::<Weights, f32, Cpu>::exponential(decay).unwrap_err().to_string();
            assert!(error.starts_with("decay must lie in [0, 1), got "), "{error}");
        }
    }

    #[test]
    fn taken_at_the_ends_of_cycles() {
        let schedule = WarmRestarts::snapshots(0.1, 10, 3).unwrap();
        let (mut optimizer, mut model) = (CyclicOptimizer::new(Sgd::default(), schedule), weights(1.0));
        let mut average = WeightAverage::<_, f32, Cpu>::new();
        let taken = (0..10).filter(|_| {
            let grads = model.leaky_trace().square().sum().backward();
            optimizer.update(&mut model, &grads).unwrap();
            average.after_update(&optimizer, &model).unwrap()
        });
        assert_eq!((taken.collect::<Vec<_>>(), average.models()), (vec![2, 5, 9], 3));
    }

    /// The running statistics become the plain means over the batches; weights and momentum stay.
    #[test]
    fn batch_norm_statistics_are_recomputed() {
        type Model = (builders::Linear<2, 3>, builders::BatchNorm1D<3>);
        let device = Cpu::seed_from_u64(1);
        let mut model = device.build_module::<Model, f32>();
        // This also holds when a batch of one has left NaN in the statistics.
        model.1.running_mean = device.tensor([9.0, f32::NAN, f32::INFINITY]);
        let (weight, momentum) = (model.0.weight.array(), model.1.momentum);
        let batches: Vec<Tensor<Rank2<16, 2>, f32, Cpu>> = (0..5).map(|_| device.sample_normal()).collect();
        let mut mean: Tensor<Rank1<3>, f32, _> = device.zeros();
        for batch in &batches {
            mean = mean + model.0.forward(batch.clone()).mean::<Rank1<3>, _>() / 5.0;
        }
        recompute_batch_norm::<_, _, f32, Cpu>(&mut model, &batches, |model, batch| {
            let _ = model.forward_mut(batch.leaky_trace());
        })
        .unwrap();
        for (found, expected) in model.1.running_mean.array().iter().zip(mean.array()) {
            assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
        }
        assert_eq!((model.0.weight.array(), model.1.momentum), (weight, momentum));
        let none: [Tensor<Rank2<16, 2>, f32, Cpu>; 0] = [];
        let error = recompute_batch_norm::<_, _, f32, Cpu>(&mut model, none, |_, _| ()).unwrap_err();
        assert_eq!(error.to_string(), "batches must be at least 1, got 0");
    }
}
