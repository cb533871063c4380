//! Best weights, snapshots and averages that are saved with a run: a run that was interrupted ends with the same ones.

#![cfg(all(feature = "dfdx", feature = "checkpoint"))]

mod support;

use cyclic_optim::adapters::dfdx::{SnapshotEnsemble, WeightAverage};
use cyclic_optim::checkpoint::{PartCounts, RunPart};
use cyclic_optim::feedback::EarlyStopping;
use cyclic_optim::training::{Accumulator, BestWeights};
use cyclic_optim::{
    Adam, Checkpoint, CheckpointError, Clip, ClrConfig, CosineDecay, Cyclic, CyclicOptimizer, Group, Groups, Guard,
    Hyper, Place, WarmRestarts,
};
use dfdx::optim::{AdamConfig, WeightDecay};
use dfdx::prelude::*;
use support::Folder;

type Model = modules::Linear<3, 2, f32, Cpu>;

fn model(seed: u64) -> Model {
    Cpu::seed_from_u64(seed).build_module::<builders::Linear<3, 2>, f32>()
}

/// A run with everything besides the optimizer that keeps models.
struct Run {
    model: Model,
    optimizer: CyclicOptimizer<Adam<f32, Cpu>>,
    best: BestWeights<Model>,
    ensemble: SnapshotEnsemble<Model>,
    average: WeightAverage<Model, f32, Cpu>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let config = ClrConfig::new(WarmRestarts::snapshots(0.1, 30, 5).unwrap())
            .with_early_stopping(EarlyStopping::new(50).unwrap())
            .unwrap();
        Self {
            model: model(seed),
            optimizer: CyclicOptimizer::new(Adam::default(), config),
            best: BestWeights::new(),
            ensemble: SnapshotEnsemble::new(),
            average: WeightAverage::new(),
        }
    }

    /// Trains until `until`, on data that are a function of the update alone.
    fn train(&mut self, until: u64) {
        let mut grads = self.model.alloc_grads();
        while self.optimizer.iterations() < until {
            let device = Cpu::seed_from_u64(500 + self.optimizer.iterations());
            let x: Tensor<Rank2<4, 3>, f32, _> = device.sample_normal();
            let loss = self.model.forward(x.trace(grads)).square().mean();
            let value = loss.array();
            grads = loss.backward();
            self.optimizer.apply(&mut self.model, &mut grads, value).unwrap();
            self.ensemble.after_update(&self.optimizer, &self.model);
            self.average.after_update(&self.optimizer, &self.model).unwrap();
            // The best report comes early, so that most of the interruptions come after it.
            let metric = self.optimizer.iterations().abs_diff(4);
            self.best.keep(&self.optimizer.observe(metric), &self.model);
        }
    }

    fn parts(&self) -> [(&str, &dyn RunPart<Model>); 3] {
        [("best", &self.best), ("ensemble", &self.ensemble), ("average", &self.average)]
    }

    /// All models, as numbers.
    fn numbers(&self) -> Vec<(String, Vec<u32>, PartCounts)> {
        let bits = |models: Vec<&Model>| {
            let numbers = models.iter().flat_map(|model| [model.weight.as_vec(), model.bias.as_vec()].concat());
            numbers.map(f32::to_bits).collect()
        };
        self.parts().iter().map(|(name, part)| ((*name).into(), bits(part.models()), part.counts())).collect()
    }
}

#[test]
fn an_interrupted_run_ends_with_the_same_parts() {
    let folder = Folder::new("parts");
    let path = folder.0.join("run.st");
    let mut whole = Run::new(1);
    whole.train(30);
    assert_eq!((whole.ensemble.snapshots().len(), whole.average.models()), (5, 5));
    for stop in 0..30 {
        let mut first = Run::new(1);
        first.train(stop);
        Checkpoint::write_with(&path, &first.model, &first.optimizer, &first.parts()).unwrap();
        let mut resumed = Run::new(2);
        let Run { model, optimizer, best, ensemble, average } = &mut resumed;
        let parts: &mut [(&str, &mut dyn RunPart<_>)] =
            &mut [("average", average), ("best", best), ("ensemble", ensemble)];
        assert_eq!(Checkpoint::resume_or_start(&path, model, optimizer, parts).unwrap(), Some(stop));
        assert_eq!(resumed.numbers(), first.numbers(), "stopped at {stop}");
        resumed.train(30);
        assert_eq!(resumed.numbers(), whole.numbers(), "stopped at {stop}");
    }
}

/// Whenever the run was killed, the same call starts or continues it.
#[test]
fn a_run_is_saved_before_its_first_update() {
    let folder = Folder::new("parts-start");
    let path = folder.0.join("run.st");
    let mut run = Run::new(1);
    let start = |run: &mut Run| {
        let Run { model, optimizer, best, .. } = run;
        Checkpoint::resume_or_start(&path, model, optimizer, &mut [("best", best)])
    };
    assert_eq!(start(&mut run).unwrap(), None);
    let mut again = Run::new(2);
    assert_eq!(start(&mut again).unwrap(), Some(0));
    assert_eq!(again.model.weight.array(), run.model.weight.array());
    std::fs::write(&path, "no checkpoint").unwrap();
    let error = start(&mut again).unwrap_err().to_string();
    assert!(error.starts_with(path.to_str().unwrap()) && error.contains("not a checkpoint"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"no checkpoint", "what is no checkpoint is left alone");
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let folder = Folder::new("parts-wrong");
    let path = folder.0.join("run.st");
    let mut run = Run::new(1);
    run.train(20);
    Checkpoint::write_with(&path, &run.model, &run.optimizer, &[("best", &run.best), ("mean", &run.average)]).unwrap();
    let saved = Checkpoint::read(&path).unwrap();
    let mut other = Run::new(2);
    let before = other.numbers();
    let Run { model, optimizer, best, ensemble, average } = &mut other;

    let message = |result: Result<(), CheckpointError>| result.unwrap_err().to_string();
    let left_out = "part \"best\" is in the file and was not given: pass it to restore_with";
    assert_eq!(message(saved.restore(model, optimizer)), left_out);
    assert_eq!(message(saved.restore_with(model, optimizer, &mut [("mean", average)])), left_out);
    let parts: &mut [(&str, &mut dyn RunPart<_>)] = &mut [("best", best), ("mean", average), ("more", ensemble)];
    assert_eq!(message(saved.restore_with(model, optimizer, parts)), "part \"more\" is not in the file");
    let parts: &mut [(&str, &mut dyn RunPart<_>)] = &mut [("best", ensemble), ("mean", average)];
    assert_eq!(
        message(saved.restore_with(model, optimizer, parts)),
        "part \"best\" was saved as best_weights and is snapshot_ensemble"
    );
    // With the present config, parts that only one side has stay as they are.
    saved.restore_as_with(model, optimizer, &mut [("more", ensemble)]).unwrap();
    assert_eq!(other.numbers(), before);

    for (parts, expected) in [
        (&[("a.b", &run.best as &dyn RunPart<_>)][..], "part \"a.b\" needs a name without dots"),
        (&[("", &run.best)], "part \"\" needs a name without dots"),
        (&[("a", &run.best), ("a", &run.ensemble)], "part \"a\" is given twice"),
    ] {
        let expected = format!("{}: {expected}", path.display());
        assert_eq!(message(Checkpoint::write_with(&path, &run.model, &run.optimizer, parts)), expected);
    }
    assert!(Checkpoint::read(&path).is_ok(), "the file from before is whole");
}

/// Contents that no part can have, and models of another shape, are refused, and nothing changes.
#[test]
fn contents_that_do_not_fit_are_refused() {
    struct Odd(Vec<Model>, PartCounts);

    impl RunPart<Model> for Odd {
        fn kind(&self) -> &'static str {
            "weight_average"
        }
        fn models(&self) -> Vec<&Model> {
            self.0.iter().collect()
        }
        fn counts(&self) -> PartCounts {
            self.1
        }
        fn restore(&mut self, models: Vec<Model>, counts: PartCounts) {
            (self.0, self.1) = (models, counts);
        }
    }

    let folder = Folder::new("parts-odd");
    let path = folder.0.join("run.st");
    let mut run = Run::new(1);
    for (models, averaged, expected) in [
        (2, Some(2), "part \"mean\" holds 2 models, where at most one is possible"),
        (1, Some(0), "part \"mean\" holds 1 models as the mean of 0"),
        (0, Some(3), "part \"mean\" holds 0 models as the mean of 3"),
        (1, None, "part \"mean\" does not say how many models were averaged"),
    ] {
        let odd = Odd(vec![model(3); models], PartCounts { averaged, taken_at: None });
        Checkpoint::write_with(&path, &run.model, &run.optimizer, &[("mean", &odd)]).unwrap();
        let saved = Checkpoint::read(&path).unwrap();
        let error = saved.restore_with(&mut run.model, &mut run.optimizer, &mut [("mean", &mut run.average)]);
        assert_eq!(error.unwrap_err().to_string(), expected);
        assert_eq!((run.average.models(), run.average.model().is_none()), (0, true));
        // A part of a user's own is saved and restored in the same way.
        let mut own = Odd(Vec::new(), PartCounts::default());
        saved.restore_with(&mut run.model, &mut run.optimizer, &mut [("mean", &mut own)]).unwrap();
        assert_eq!((own.0.len(), own.1.averaged), (models, averaged));
    }
}

/// An exponential mean is resumed to the same bits, and cannot be restored as a mean of equal weights.
#[test]
fn an_exponential_mean_is_resumed() {
    let folder = Folder::new("exponential-mean");
    let exponential = || WeightAverage::<Model, f32, Cpu>::exponential(0.9).unwrap().with_warmup();
    let train = |model: &mut Model,
                 optimizer: &mut CyclicOptimizer<Adam<f32, Cpu>>,
                 average: &mut WeightAverage<_, _, _>,
                 until| {
        while optimizer.iterations() < until {
            let x: Tensor<Rank2<4, 3>, f32, _> = Cpu::seed_from_u64(optimizer.iterations()).sample_normal();
            let loss = model.forward(x.leaky_trace()).square().mean();
            let value = loss.array();
            optimizer.apply(model, &mut loss.backward(), value).unwrap();
            average.add(model).unwrap();
        }
    };
    let new = || CyclicOptimizer::new(Adam::default(), WarmRestarts::new(0.0, 0.1, 7).unwrap());
    let (mut whole, mut through, mut averaged) = (model(1), new(), exponential());
    train(&mut whole, &mut through, &mut averaged, 20);
    for stop in [0, 1, 9] {
        let (mut first, mut before, mut average) = (model(1), new(), exponential());
        train(&mut first, &mut before, &mut average, stop);
        let parts: [(&str, &dyn RunPart<Model>); 1] = [("ema", &average)];
        let file = folder.0.join(format!("{stop}.safetensors"));
        Checkpoint::write_with(&file, &first, &before, &parts).unwrap();
        let saved = Checkpoint::read(&file).unwrap();
        let (mut resumed, mut after, mut average) = (model(2), new(), exponential());
        let mut parts: [(&str, &mut dyn RunPart<Model>); 1] = [("ema", &mut average)];
        saved.restore_with(&mut resumed, &mut after, &mut parts).unwrap();
        train(&mut resumed, &mut after, &mut average, 20);
        assert_eq!(average.models(), 20);
        let weight = |average: &WeightAverage<Model, _, _>| average.model().unwrap().weight.array();
        assert_eq!(weight(&average), weight(&averaged), "resumed at {stop}");
        let mut equal = WeightAverage::<Model, f32, Cpu>::new();
        let mut parts: [(&str, &mut dyn RunPart<Model>); 1] = [("ema", &mut equal)];
        let error = saved.restore_with(&mut model(3), &mut new(), &mut parts).unwrap_err().to_string();
        assert!(error.contains("was saved as exponential_weight_average and is weight_average"), "{error}");
    }
}

/// Groups, schedules of other hyper-parameters, exact bias correction, clipping, micro-batches, changes in mid-run and an
/// exponential average: together, interrupted at each update.
#[test]
fn everything_at_once_resumes_to_the_same_bits() {
    struct Everything {
        model: Model,
        optimizer: CyclicOptimizer<Adam<f32, Cpu>>,
        average: WeightAverage<Model, f32, Cpu>,
    }
    let new = |seed: u64| {
        let bias = Group::new("bias", 0.5).unwrap().with_weight_decay(0.0).unwrap();
        let config = ClrConfig::new(Cyclic::triangular2(0.001, 0.1, 7).unwrap())
            .with_momentum(0.8, 0.95)
            .and_then(|config| config.with_hyper(Hyper::WeightDecay, CosineDecay::new(0.1, 0.01, 25)?))
            .and_then(|config| config.with_hyper(Hyper::Beta2, Cyclic::triangular(0.9, 0.99, 5)?))
            .and_then(|config| config.with_groups(Groups::new([bias])?))
            .and_then(|config| config.with_clip(Clip { norm: Some(0.5), value: None }))
            .and_then(|config| config.with_guard(Guard { gradients: true, max_refusals: None }))
            .unwrap();
        let cfg = AdamConfig { weight_decay: Some(WeightDecay::Decoupled(0.1)), ..AdamConfig::default() };
        Everything {
            model: model(seed),
            optimizer: CyclicOptimizer::new(Adam::new(cfg).with_exact_bias_correction(), config),
            average: WeightAverage::exponential(0.9).unwrap().with_warmup(),
        }
    };
    let train = |run: &mut Everything, until: u64| {
        let (mut grads, mut sum) = (run.model.alloc_grads(), Accumulator::new());
        while run.optimizer.iterations() < until {
            let update = run.optimizer.iterations();
            match update {
                12 => run.optimizer.set_step_size(4, Place::Keep).unwrap(),
                18 => run.optimizer.set_groups(Groups::discriminative(["bias", "weight"], 2.0).unwrap()).unwrap(),
                24 => run.optimizer.reset_cycle(),
                _ => {}
            }
            let device = Cpu::seed_from_u64(500 + update);
            for part in 0..2 {
                let x: Tensor<Rank2<4, 3>, f32, _> = device.sample_normal();
                let loss = run.model.forward(x.trace(grads)).square().mean();
                // A bad batch: its update is refused once, as the sixth one.
                let bad = update == 6 && part == 1 && run.optimizer.state().refusals == 0;
                let value = if bad { f32::NAN } else { loss.array() };
                grads = loss.backward();
                sum.add(&run.model, &mut grads, value, 4).unwrap();
            }
            if run.optimizer.apply(&mut run.model, &mut grads, &mut sum).is_ok() {
                run.average.after_update(&run.optimizer, &run.model).unwrap();
            }
        }
    };
    let bits = |run: &Everything| {
        let numbers = |model: &Model| [model.weight.as_vec(), model.bias.as_vec()].concat();
        let average = run.average.model().map(numbers).unwrap_or_default();
        let bits: Vec<u32> = numbers(&run.model).into_iter().chain(average).map(f32::to_bits).collect();
        (bits, run.optimizer.state(), run.optimizer.last())
    };
    let folder = Folder::new("everything");
    let path = folder.0.join("run.st");
    let mut whole = new(1);
    train(&mut whole, 30);
    for stop in 0..30 {
        let mut first = new(1);
        train(&mut first, stop);
        Checkpoint::write_with(&path, &first.model, &first.optimizer, &[("average", &first.average)]).unwrap();
        let mut resumed = new(2);
        let Everything { model, optimizer, average } = &mut resumed;
        Checkpoint::resume_or_start(&path, model, optimizer, &mut [("average", average)]).unwrap();
        assert_eq!(bits(&resumed), bits(&first), "stopped at {stop}");
        train(&mut resumed, 30);
        assert_eq!(bits(&resumed), bits(&whole), "stopped at {stop}");
    }
}
