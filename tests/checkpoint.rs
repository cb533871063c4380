//! Checkpoints: a run continues to the same bits, or says why it cannot.
//!
//! `CYCLIC_OPTIM_FULL=1` makes all the corruptions that the crate promises; without it, a tenth of them.

#![cfg(all(feature = "dfdx", feature = "checkpoint"))]
#![allow(clippy::items_after_statements, reason = "models stand beside the test that needs them")]

mod support;

use std::fs;

use cyclic_optim::adapters::dfdx::{InPlace, Saved, TorchRMSpropConfig, WeightAverage};
use cyclic_optim::feedback::{EarlyStopping, Plateau};
use cyclic_optim::history::Recorder;
use cyclic_optim::{
    Adam, AdamW, Adamax, Checkpoint, CheckpointError, Clip, ClrConfig, Cyclic, CyclicOptimizer, Group, Groups, History,
    Lion, MultiStepDecay, Nadam, OneCycle, RMSprop, Schedule, Sgd, TorchRMSprop,
};
use dfdx::optim::{AdamConfig, Momentum, RMSpropConfig, SgdConfig, WeightDecay};
use dfdx::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::Folder;

type Model<E> = (modules::Linear<3, 5, E, Cpu>, modules::ReLU, modules::Linear<5, 2, E, Cpu>);
type Build = (builders::Linear<3, 5>, builders::ReLU, builders::Linear<5, 2>);

fn model(seed: u64) -> Model<f32> {
    Cpu::seed_from_u64(seed).build_module::<Build, f32>()
}

fn config() -> ClrConfig {
    ClrConfig::new(Cyclic::triangular2(0.01, 0.1, 4).unwrap())
        .with_momentum(0.8, 0.9)
        .unwrap()
        .with_decay(1e-2)
        .unwrap()
        .with_plateau(Plateau::keras(0.5, 1).unwrap())
        .unwrap()
        .with_early_stopping(EarlyStopping::new(50).unwrap())
        .unwrap()
        .with_clip(Clip { norm: Some(0.7), value: None })
        .unwrap()
}

/// Trains from update `from` to `until`, on data that are a function of the update alone.
fn train<O>(model: &mut Model<f32>, optimizer: &mut CyclicOptimizer<O>, until: u64)
where
    O: InPlace<Model<f32>, Cpu, f32> + cyclic_optim::Hyperparameters,
{
    let mut grads = model.alloc_grads();
    while optimizer.iterations() < until {
        let update = optimizer.iterations();
        let device = Cpu::seed_from_u64(1000 + update);
        let (x, y): (Tensor<Rank2<8, 3>, f32, _>, Tensor<Rank2<8, 2>, f32, _>) =
            (device.sample_normal(), device.sample_normal());
        let loss = mse_loss(model.forward(x.trace(grads)), y);
        let value = loss.array();
        grads = loss.backward();
        optimizer.apply(model, &mut grads, value).unwrap();
        if update % 5 == 4 {
            let _ = optimizer.observe(value);
            optimizer.history_mut().unwrap().epoch(update / 5, &[("loss", f64::from(value))]).unwrap();
        }
        match update {
            6 => optimizer.set_range(0.02, 0.08).unwrap(),
            9 => optimizer.reset_cycle(),
            11 => optimizer.history_mut().unwrap().note(11, "odd", f64::NAN),
            _ => {}
        }
    }
}

/// A run that is interrupted after any update, saved, read into other objects and continued always ends with the same
/// file.
fn resumes_exactly<O>(new: impl Fn() -> O)
where
    O: Saved<f32, Cpu> + InPlace<Model<f32>, Cpu, f32> + cyclic_optim::Hyperparameters,
{
    let optimizer = || CyclicOptimizer::new(new(), config()).with_history(History::every(2).unwrap());
    let (mut whole, mut uninterrupted) = (model(1), optimizer());
    train(&mut whole, &mut uninterrupted, 30);
    let expected = Checkpoint::to_bytes(&whole, &uninterrupted).unwrap();
    for stop in 0..30 {
        let (mut first, mut before) = (model(1), optimizer());
        train(&mut first, &mut before, stop);
        let bytes = Checkpoint::to_bytes(&first, &before).unwrap();
        let (mut resumed, mut after) = (model(2), optimizer());
        let checkpoint = Checkpoint::from_bytes(bytes.clone()).unwrap();
        assert_eq!(checkpoint.iterations(), Some(stop));
        checkpoint.restore(&mut resumed, &mut after).unwrap();
        assert_eq!(Checkpoint::to_bytes(&resumed, &after).unwrap(), bytes, "stopped at {stop}");
        assert_eq!((after.lr().to_bits(), after.last()), (before.lr().to_bits(), before.last()));
        train(&mut resumed, &mut after, 30);
        assert!(Checkpoint::to_bytes(&resumed, &after).unwrap() == expected, "stopped at {stop}");
    }
}

#[test]
fn adam_resumes_exactly() {
    resumes_exactly(Adam::default);
    resumes_exactly(|| Adam::new(AdamConfig { weight_decay: Some(WeightDecay::L2(0.01)), ..Default::default() }));
}

#[test]
fn groups_that_were_set_are_restored_to_the_same_bytes() {
    let optimizer = || CyclicOptimizer::new(Adam::default(), config()).with_history(History::new());
    let (mut first, mut before) = (model(1), optimizer());
    train(&mut first, &mut before, 3);
    before.set_groups(Groups::new([Group::new("0", 0.5).unwrap()]).unwrap()).unwrap();
    train(&mut first, &mut before, 6);
    let bytes = Checkpoint::to_bytes(&first, &before).unwrap();
    let (mut resumed, mut after) = (model(2), optimizer());
    Checkpoint::from_bytes(bytes.clone()).unwrap().restore(&mut resumed, &mut after).unwrap();
    assert!(Checkpoint::to_bytes(&resumed, &after).unwrap() == bytes);
    train(&mut first, &mut before, 12);
    train(&mut resumed, &mut after, 12);
    assert!(Checkpoint::to_bytes(&resumed, &after).unwrap() == Checkpoint::to_bytes(&first, &before).unwrap());
}

/// dfdx cannot list the numbers of such a tensor.
#[test]
fn a_parameter_without_numbers_is_saved() {
    type Model = (Tensor<Rank2<0, 5>, f32, Cpu>, Tensor<Rank1<3>, f32, Cpu>);
    let device = Cpu::default();
    let new = || -> (Model, CyclicOptimizer<Adam<f32, Cpu>>) {
        ((device.zeros(), device.ones()), CyclicOptimizer::new(Adam::default(), config()))
    };
    let (mut model, mut optimizer) = new();
    let mut grads = model.alloc_grads();
    for _ in 0..2 {
        let loss = model.1.trace(grads).square().sum::<Rank0, _>();
        let value = loss.array();
        grads = loss.backward();
        optimizer.apply(&mut model, &mut grads, value).unwrap();
    }
    let bytes = Checkpoint::to_bytes(&model, &optimizer).unwrap();
    let (mut resumed, mut after) = new();
    Checkpoint::from_bytes(bytes.clone()).unwrap().restore(&mut resumed, &mut after).unwrap();
    assert_eq!(resumed.1.array(), model.1.array());
    assert_eq!(Checkpoint::to_bytes(&resumed, &after).unwrap(), bytes);
    let mut average = WeightAverage::<Model, f32, Cpu>::new();
    average.add(&model).unwrap();
    average.add(&resumed).unwrap();
    assert_eq!(average.model().unwrap().1.array(), model.1.array());
}

#[test]
fn every_rule_resumes_exactly() {
    resumes_exactly(AdamW::default);
    resumes_exactly(Adamax::default);
    // It also carries a product of its momenta.
    resumes_exactly(Nadam::default);
    resumes_exactly(Lion::default);
    resumes_exactly(|| {
        TorchRMSprop::new(TorchRMSpropConfig { momentum: Some(0.9), centered: true, ..Default::default() })
    });
}

#[test]
fn sgd_resumes_exactly() {
    for momentum in [Momentum::Classic(0.9), Momentum::Nesterov(0.9)] {
        resumes_exactly(|| Sgd::new(SgdConfig { momentum: Some(momentum), ..Default::default() }));
    }
}

#[test]
fn rmsprop_resumes_exactly() {
    for centered in [false, true] {
        resumes_exactly(|| RMSprop::new(RMSpropConfig { momentum: Some(0.5), centered, ..Default::default() }));
    }
}

/// Another dtype, a single tensor as the model, buffers and scalars of batch normalisation.
#[test]
fn any_model_and_dtype() {
    let device = Cpu::seed_from_u64(3);
    let mut w: Tensor<Rank1<4>, f64, _> = device.sample_normal();
    let config = || ClrConfig::new(Cyclic::triangular(0.1, 0.2, 3).unwrap());
    let mut optimizer = CyclicOptimizer::new(Adam::default(), config());
    for _ in 0..5 {
        let grads = w.leaky_trace().square().sum().backward();
        optimizer.update(&mut w, &grads).unwrap();
    }
    let bytes = Checkpoint::to_bytes(&w, &optimizer).unwrap();
    let (mut v, mut other): (Tensor<Rank1<4>, f64, Cpu>, _) =
        (device.zeros(), CyclicOptimizer::new(Adam::default(), config()));
    Checkpoint::from_bytes(bytes.clone()).unwrap().restore(&mut v, &mut other).unwrap();
    assert_eq!(v.array(), w.array());
    assert_eq!(Checkpoint::to_bytes(&v, &other).unwrap(), bytes);

    type Normed = (builders::Linear<3, 5>, builders::BatchNorm1D<5>);
    let mut normed = device.build_module::<Normed, f32>();
    let x: Tensor<Rank2<8, 3>, f32, _> = device.sample_normal();
    let _ = normed.forward_mut(x.leaky_trace());
    normed.1.momentum = 0.25;
    let optimizer: CyclicOptimizer<Sgd<f32, Cpu>> = CyclicOptimizer::new(Sgd::default(), config());
    let bytes = Checkpoint::to_bytes(&normed, &optimizer).unwrap();
    let (mut fresh, mut other) = (device.build_module::<Normed, f32>(), CyclicOptimizer::new(Sgd::default(), config()));
    Checkpoint::from_bytes(bytes).unwrap().restore(&mut fresh, &mut other).unwrap();
    assert_eq!(fresh.1.running_mean.array(), normed.1.running_mean.array());
    assert_eq!(fresh.1.running_var.array(), normed.1.running_var.array());
    assert_eq!(fresh.1.momentum, 0.25);
}

/// Half precision, plain and mixed.
#[cfg(feature = "f16")]
#[test]
fn half_precision_resumes_exactly() {
    use dfdx::dtypes::{AMP, f16};

    macro_rules! resumes {
        ($number:ty) => {
            let device = Cpu::default();
            let config = || ClrConfig::new(Cyclic::triangular(0.01, 0.1, 3).unwrap());
            let new = || CyclicOptimizer::new(Adam::<$number, Cpu>::default(), config());
            let train = |w: &mut Tensor<Rank1<3>, $number, Cpu>,
                         optimizer: &mut CyclicOptimizer<Adam<$number, Cpu>>| {
                for _ in 0..5 {
                    let grads = w.leaky_trace().square().sum().backward();
                    optimizer.update(w, &grads).unwrap();
                }
            };
            let (mut w, mut optimizer) = (device.ones(), new());
            train(&mut w, &mut optimizer);
            let bytes = Checkpoint::to_bytes(&w, &optimizer).unwrap();
            train(&mut w, &mut optimizer);
            let (mut v, mut other) = (device.zeros(), new());
            Checkpoint::from_bytes(bytes).unwrap().restore(&mut v, &mut other).unwrap();
            train(&mut v, &mut other);
            assert_eq!(v.as_vec(), w.as_vec());
            assert!(Checkpoint::to_bytes(&v, &other).unwrap() == Checkpoint::to_bytes(&w, &optimizer).unwrap());
        };
    }
    resumes!(f16);
    resumes!(AMP<f16>);
}

fn saved() -> (Model<f32>, CyclicOptimizer<Adam<f32, Cpu>>, Checkpoint) {
    let mut optimizer = CyclicOptimizer::new(Adam::default(), config()).with_history(History::new());
    let mut model = model(1);
    train(&mut model, &mut optimizer, 13);
    let checkpoint = Checkpoint::from_bytes(Checkpoint::to_bytes(&model, &optimizer).unwrap()).unwrap();
    (model, optimizer, checkpoint)
}

/// Every field that differs is named with both values. An explicit call continues with the present config.
#[test]
fn another_config_is_refused_field_by_field() {
    let (_, _, checkpoint) = saved();
    let changed = ClrConfig::new(Cyclic::triangular2(0.01, 0.2, 4).unwrap()).with_momentum(0.8, 0.9).unwrap();
    let inner = AdamConfig {
        betas: [0.5, 0.99],
        lr: 7.0,
        weight_decay: Some(WeightDecay::Decoupled(f64::NAN)),
        ..Default::default()
    };
    let mut optimizer = CyclicOptimizer::new(Adam::new(inner), changed);
    let mut other = model(2);
    let before = (other.0.weight.array(), optimizer.state(), optimizer.lr());
    let error = checkpoint.restore(&mut other, &mut optimizer).unwrap_err();
    assert_eq!((other.0.weight.array(), optimizer.state(), optimizer.lr()), before);
    let CheckpointError::OtherConfig(differences) = &error else { panic!("{error}") };
    let fields: Vec<&str> = differences.iter().map(|difference| difference.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "optimizer.beta2",
            "optimizer.weight_decay",
            "config.clip.norm",
            "config.decay",
            "config.early_stopping",
            "config.plateau",
            "config.schedule.cyclic.max_lr",
        ]
    );
    let text = error.to_string();
    assert!(text.contains("config.schedule.cyclic.max_lr was 0.1 and is 0.2"), "{text}");
    assert!(text.contains("optimizer.weight_decay was nothing and is decoupled NaN"), "{text}");
    checkpoint.restore_as(&mut other, &mut optimizer).unwrap();
    assert_eq!(optimizer.iterations(), 13);
    // A longer horizon.
    let one_cycle = |updates| ClrConfig::new(OneCycle::new(0.1, updates).unwrap());
    let short: CyclicOptimizer<Adam<f32, Cpu>> = CyclicOptimizer::new(Adam::default(), one_cycle(10));
    let checkpoint = Checkpoint::from_bytes(Checkpoint::to_bytes(&model(1), &short).unwrap()).unwrap();
    let mut long = CyclicOptimizer::new(Adam::default(), one_cycle(20));
    let error = checkpoint.restore(&mut other, &mut long).unwrap_err().to_string();
    assert!(error.ends_with("config.schedule.one_cycle.total_steps was 10 and is 20"), "{error}");
    checkpoint.restore_as(&mut other, &mut long).unwrap();
    assert_eq!(long.remaining(), Some(20));
    // A state that does not fit the present config: a range was set, and a constant schedule has none.
    let (_, _, checkpoint) = saved();
    let mut constant = CyclicOptimizer::new(Adam::default(), cyclic_optim::Constant::new(0.1).unwrap());
    let error = checkpoint.restore_as(&mut other, &mut constant).unwrap_err();
    assert!(matches!(error, CheckpointError::State(_)), "{error}");
    assert_eq!(constant.iterations(), 0);
}

/// A list that has become longer or shorter is a difference, too.
#[test]
fn a_longer_list_is_a_difference() {
    let optimizer = |milestones: &[u64]| -> CyclicOptimizer<Adam<f32, Cpu>> {
        CyclicOptimizer::new(Adam::default(), MultiStepDecay::new(0.1, milestones, 0.5).unwrap())
    };
    for (saved, present, difference) in [
        (&[1, 2][..], &[1, 2, 3][..], "config.schedule.multi_step_decay.milestones[2] was nothing and is 3"),
        (&[1, 2, 3], &[1, 2], "config.schedule.multi_step_decay.milestones[2] was 3 and is nothing"),
    ] {
        let checkpoint = Checkpoint::from_bytes(Checkpoint::to_bytes(&model(1), &optimizer(saved)).unwrap()).unwrap();
        let error = checkpoint.restore(&mut model(1), &mut optimizer(present)).unwrap_err().to_string();
        assert!(error.ends_with(difference), "{error}");
    }
}

/// A checkpoint without a history leaves that of the optimizer as it is.
#[test]
fn a_history_that_was_not_saved_stays() {
    let new = || -> CyclicOptimizer<Adam<f32, Cpu>> { CyclicOptimizer::new(Adam::default(), config()) };
    let checkpoint = Checkpoint::from_bytes(Checkpoint::to_bytes(&model(1), &new()).unwrap()).unwrap();
    let mut optimizer = new().with_history(History::new());
    optimizer.history_mut().unwrap().epoch(0, &[("loss", 0.5)]).unwrap();
    checkpoint.restore(&mut model(2), &mut optimizer).unwrap();
    assert_eq!(optimizer.history().unwrap().epochs().values("loss").unwrap(), [0.5]);
}

/// Momentum that the user has switched off is not switched on again.
#[test]
fn switched_off_momentum_is_a_difference() {
    let rmsprop = || RMSprop::<f32, Cpu>::new(RMSpropConfig { momentum: Some(0.5), ..Default::default() });
    let mut optimizer = CyclicOptimizer::new(rmsprop(), config());
    optimizer.get_mut().cfg.momentum = None;
    let mut same = model(1);
    train_one(&mut same, &mut optimizer);
    let checkpoint = Checkpoint::from_bytes(Checkpoint::to_bytes(&same, &optimizer).unwrap()).unwrap();
    let mut fresh = CyclicOptimizer::new(rmsprop(), config());
    let error = checkpoint.restore(&mut same, &mut fresh).unwrap_err().to_string();
    assert!(error.ends_with("optimizer.momentum was nothing and is scheduled"), "{error}");
}

fn train_one(model: &mut Model<f32>, optimizer: &mut CyclicOptimizer<RMSprop<f32, Cpu>>) {
    let mut with_history = optimizer.clone().with_history(History::new());
    train(model, &mut with_history, 1);
    *optimizer = with_history;
}

/// A config that JSON cannot hold is not written at all, and the older file stays.
#[test]
fn what_could_not_be_read_again_is_not_written() {
    /// JSON has only texts for keys.
    #[derive(serde::Serialize)]
    struct Table(std::collections::BTreeMap<(u8, u8), f64>);
    impl Schedule for Table {
        fn value_at(&self, _: u64) -> f64 {
            0.1
        }
    }
    let folder = Folder::new("unreadable");
    let path = folder.0.join("run.st");
    let (model, optimizer, _) = saved();
    Checkpoint::write(&path, &model, &optimizer).unwrap();
    let before = fs::read(&path).unwrap();
    let table = ClrConfig::custom(Table([((0, 0), 0.1)].into()));
    let optimizer = CyclicOptimizer::new(Adam::<f32, Cpu>::default(), table);
    let error = Checkpoint::write(&path, &model, &optimizer).unwrap_err();
    let CheckpointError::File { source, .. } = &error else { panic!("{error}") };
    assert!(matches!(**source, CheckpointError::Document(_)), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn another_optimizer_or_model_is_refused() {
    let (_, _, checkpoint) = saved();
    let sgd = SgdConfig { momentum: Some(Momentum::Classic(0.9)), ..Default::default() };
    let mut sgd = CyclicOptimizer::new(Sgd::new(sgd), config());
    let mut same = model(2);
    for error in [checkpoint.restore(&mut same, &mut sgd), checkpoint.restore_as(&mut same, &mut sgd)] {
        let error = error.unwrap_err().to_string();
        assert!(error.contains("optimizer was adam and is sgd"), "{error}");
    }

    fn refusal<B: BuildOnDevice<Cpu, E>, E: cyclic_optim::adapters::dfdx::CheckpointDtype>(
        checkpoint: &Checkpoint,
    ) -> String
    where
        B::Built: Clone + TensorCollection<E, Cpu>,
        Cpu: Device<E>,
    {
        let device = Cpu::default();
        let mut model = device.build_module::<B, E>();
        let mut optimizer = CyclicOptimizer::new(Adam::<E, Cpu>::default(), config());
        let error = checkpoint.restore(&mut model, &mut optimizer).unwrap_err();
        assert!(matches!(error, CheckpointError::Tensor { .. }), "{error}");
        assert_eq!((optimizer.iterations(), optimizer.last()), (0, None));
        assert!(checkpoint.restore_weights(&mut model).is_err());
        error.to_string()
    }
    type Wide = (builders::Linear<3, 6>, builders::ReLU, builders::Linear<6, 2>);
    assert_eq!(refusal::<Wide, f32>(&checkpoint), "tensor model.0.weight should be [6, 3] and is [5, 3]");
    assert_eq!(refusal::<Build, f64>(&checkpoint), "tensor model.0.weight should be F64 and is F32");
    type Longer = (builders::Linear<3, 5>, builders::Linear<5, 2>);
    assert_eq!(refusal::<Longer, f32>(&checkpoint), "tensor model.1.weight is not in the file");
    let shorter = refusal::<(builders::Linear<3, 5>,), f32>(&checkpoint);
    assert!(shorter.contains("has no place in this model or optimizer"), "{shorter}");
}

#[test]
fn weights_alone() {
    let folder = Folder::new("weights");
    let path = folder.0.join("weights.safetensors");
    let (trained, mut optimizer, checkpoint) = saved();
    Checkpoint::write_weights(&path, &trained).unwrap();
    let weights = Checkpoint::read(&path).unwrap();
    let mut other = model(2);
    assert!(matches!(weights.restore(&mut other, &mut optimizer), Err(CheckpointError::WeightsOnly)));
    assert_eq!(weights.iterations(), None);
    weights.restore_weights(&mut other).unwrap();
    assert_eq!(other.2.weight.array(), trained.2.weight.array());
    let mut third = model(3);
    checkpoint.restore_weights(&mut third).unwrap();
    assert_eq!(third.2.weight.array(), trained.2.weight.array());
}

#[test]
fn what_is_no_checkpoint_says_so() {
    let folder = Folder::new("foreign");
    let path = folder.0.join("file");
    for (bytes, expected) in [
        (Vec::new(), "not a checkpoint"),
        (b"no safetensors at all, but some text".to_vec(), "not a checkpoint"),
        ([2_u64.to_le_bytes().as_slice(), b"{}"].concat(), "no metadata entry"),
        ([u64::MAX.to_le_bytes().as_slice(), b"{}"].concat(), "not a checkpoint"),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = Checkpoint::read(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(matches!(Checkpoint::read(folder.0.join("none")), Err(CheckpointError::Io { .. })));
    let (model, optimizer, _) = saved();
    let error = Checkpoint::write(folder.0.join("no/such/folder"), &model, &optimizer).unwrap_err();
    assert!(matches!(error, CheckpointError::Io { .. }), "{error}");
    // A later format, whatever its checksum.
    let bytes = Checkpoint::to_bytes(&model, &optimizer).unwrap();
    let format = br#"\"format\":"#;
    let at = bytes.windows(format.len()).position(|window| window == format).unwrap() + format.len();
    let mut later = bytes.clone();
    later[at] = b'7';
    let error = Checkpoint::from_bytes(later).unwrap_err();
    assert!(matches!(error, CheckpointError::Version { found: 7 }), "{error}");
}

/// Bit flips, truncations, splices and oversized lengths give a typed error, or load the same values. Loading takes at most a
/// small multiple of the file in memory.
#[test]
fn corruptions_are_errors_or_equal_loads() {
    let count = if std::env::var_os("CYCLIC_OPTIM_FULL").is_some() { 10_000 } else { 1_000 };
    let (_, _, checkpoint) = saved();
    let (mut model_before, mut optimizer) =
        (model(2), CyclicOptimizer::new(Adam::default(), config()).with_history(History::new()));
    let bytes = {
        let (model, optimizer, _) = saved();
        Checkpoint::to_bytes(&model, &optimizer).unwrap()
    };
    checkpoint.restore(&mut model_before, &mut optimizer).unwrap();
    let mut rng = StdRng::seed_from_u64(6);
    let (mut errors, mut loads, mut most) = (0, 0, 0);
    for n in 0..count {
        let mut corrupt = bytes.clone();
        let place = |rng: &mut StdRng| rng.gen_range(0..bytes.len());
        match n % 5 {
            0 => {
                for _ in 0..rng.gen_range(1..4) {
                    corrupt[place(&mut rng)] ^= 1 << rng.gen_range(0..8);
                }
            }
            1 => corrupt.truncate(place(&mut rng)),
            2 => {
                let (from, to) = (place(&mut rng), place(&mut rng));
                let piece: Vec<u8> = bytes[from..bytes.len().min(from + rng.gen_range(1..200))].to_vec();
                corrupt.splice(to..bytes.len().min(to + rng.gen_range(0..200)), piece);
            }
            3 => {
                let length = rng.gen_range(0..u64::MAX) >> rng.gen_range(0..64);
                corrupt[..8].copy_from_slice(&length.to_le_bytes());
            }
            // A digit of the header: offsets, shapes, numbers of the document.
            _ => {
                let digits: Vec<usize> = (8..bytes.len() / 2).filter(|&at| bytes[at].is_ascii_digit()).collect();
                corrupt[digits[rng.gen_range(0..digits.len())]] = b'0' + rng.gen_range(0..10);
            }
        }
        let (mut fresh, mut other) =
            (model(7), CyclicOptimizer::new(Adam::default(), config()).with_history(History::new()));
        let untouched = (fresh.0.weight.array(), other.state());
        let mut result = Ok(());
        let length = corrupt.len();
        let used = allocation_counter::measure(|| {
            result = Checkpoint::from_bytes(corrupt).and_then(|checkpoint| checkpoint.restore(&mut fresh, &mut other));
        });
        most = most.max(used.bytes_max / (length as u64 + 4096));
        if result.is_ok() {
            loads += 1;
            assert!(Checkpoint::to_bytes(&fresh, &other).unwrap() == bytes, "corruption {n} loaded something else");
        } else {
            errors += 1;
            assert!((fresh.0.weight.array(), other.state()) == untouched, "corruption {n} was half loaded");
        }
    }
    println!("{count} corruptions: {errors} errors, {loads} equal loads, at most {most} times the file in memory");
    assert!(most < 8 && errors > count / 2);
}
