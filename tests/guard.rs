//! Guard, clipping and recovery on real dfdx models.

#![cfg(all(feature = "dfdx", feature = "serde"))]

mod support;

use cyclic_optim::adapters::dfdx::InPlace;
use cyclic_optim::feedback::Stop;
use cyclic_optim::training::{Outcome, Recovery, clip_gradients};
use cyclic_optim::{
    Adam, Clip, ClrConfig, ClrState, ConfigError, Constant, CyclicOptimizer, Guard, Hyperparameters, OneCycle, RMSprop,
    Sgd, UpdateError,
};
use dfdx::optim::{AdamConfig, Momentum, RMSpropConfig, SgdConfig};
use dfdx::prelude::{AsArray, Backward, Cpu, Rank1, Rank2, SumTo, Tensor, TensorFrom, Trace, ZeroGrads};
use dfdx::tensor::Gradients;
use support::digits::{Digits, Mlp, train_step};

type Pair = (Tensor<Rank1<3>, f64, Cpu>, Tensor<Rank2<2, 2>, f64, Cpu>);

/// A model of two tensors, with chosen gradients.
fn pair(first: [f64; 3], second: [[f64; 2]; 2]) -> (Pair, Gradients<f64, Cpu>) {
    let device = Cpu::default();
    let model: Pair = (device.tensor([1.0, 2.0, 3.0]), device.tensor([[4.0, 5.0], [6.0, 7.0]]));
    let grads = gradients(&model, first, second);
    (model, grads)
}

/// Chosen gradients for an existing model: d(w . g)/dw = g.
fn gradients(model: &Pair, first: [f64; 3], second: [[f64; 2]; 2]) -> Gradients<f64, Cpu> {
    let device = Cpu::default();
    let (first, second) = (device.tensor(first), device.tensor(second));
    ((model.0.trace(model.alloc_grads()) * first).sum() + (model.1.leaky_trace() * second).sum()).backward()
}

/// The gradients that are clipped, and that fixed updates are made from.
const FIRST: [f64; 3] = [0.5, -2.0, 3.25];
const SECOND: [[f64; 2]; 2] = [[1.5, -0.125], [4.0, -6.0]];

/// ```python
/// a.grad = torch.tensor([0.5, -2.0, 3.25], dtype=torch.float64)
/// b.grad = torch.tensor([[1.5, -0.125], [4.0, -6.0]], dtype=torch.float64)
/// if max_norm is not None: norm = torch.nn.utils.clip_grad_norm_([a, b], max_norm).item()
/// if value is not None: torch.nn.utils.clip_grad_value_([a, b], value)
/// print(max_norm, value, repr(norm), a.grad.tolist(), b.grad.flatten().tolist())
/// ```
#[test]
#[expect(clippy::unreadable_literal, reason = "as the program prints them")]
fn clipping_is_pytorchs() {
    for (norm, value, expected) in [
        (
            Some(1.0),
            None,
            [
                0.060158871603273587,
                -0.24063548641309435,
                0.3910326654212783,
                0.18047661480982075,
                -0.015039717900818397,
                0.4812709728261887,
                -0.721906459239283,
            ],
        ),
        (
            Some(5.5),
            None,
            [
                0.33087379381800475,
                -1.323495175272019,
                2.150679659817031,
                0.9926213814540142,
                -0.08271844845450119,
                2.646990350544038,
                -3.970485525816057,
            ],
        ),
        (Some(100.0), None, [0.5, -2.0, 3.25, 1.5, -0.125, 4.0, -6.0]),
        (None, Some(1.25), [0.5, -1.25, 1.25, 1.25, -0.125, 1.25, -1.25]),
        (
            Some(2.0),
            Some(0.75),
            [0.12031774320654717, -0.4812709728261887, 0.75, 0.3609532296196415, -0.030079435801636793, 0.75, -0.75],
        ),
    ] {
        let (mut model, mut grads) = pair(FIRST, SECOND);
        let clip = Clip { norm, value };
        assert!((clip_gradients(&model, &mut grads, clip).unwrap() - 8.311325104939645).abs() < 1e-14);
        let clipped = [grads.get(&model.0).as_vec(), grads.get(&model.1).as_vec()].concat();
        for (value, expected) in clipped.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-15, "{clip:?}: {clipped:?}");
        }

        // The same within an update: plain SGD with a rate of 1 subtracts the clipped gradients.
        let mut grads = gradients(&model, FIRST, SECOND);
        let config = ClrConfig::new(Constant::new(1.0).unwrap()).with_clip(clip).unwrap();
        let mut optimizer = CyclicOptimizer::new(Sgd::default(), config);
        let before = [model.0.as_vec(), model.1.as_vec()].concat();
        let used = optimizer.apply(&mut model, &mut grads, 0.0).unwrap();
        assert!((used.grad_norm.unwrap() - 8.311325104939645).abs() < 1e-14);
        assert_eq!(optimizer.last(), Some(used));
        let after = [model.0.as_vec(), model.1.as_vec()].concat();
        for ((before, after), expected) in before.iter().zip(&after).zip(expected) {
            assert!((before - after - expected).abs() < 1e-14);
        }
    }
}

/// Also with clipping, a missing gradient is reported at the first update, and its parameter does not change.
#[test]
fn clipping_does_not_hide_a_missing_gradient() {
    let (mut model, _) = pair([0.0; 3], [[0.0; 2]; 2]);
    let mut grads = model.0.leaky_trace().square().sum().backward();
    let config = ClrConfig::new(Constant::new(0.1).unwrap()).with_clip(Clip { norm: Some(1.0), value: None }).unwrap();
    let mut optimizer = CyclicOptimizer::new(Adam::default(), config);
    let result = optimizer.apply(&mut model, &mut grads, 0.0);
    assert!(matches!(result, Err(UpdateError::MissingGradients(names)) if names == ["1"]));
    assert_eq!(model.1.array(), [[4.0, 5.0], [6.0, 7.0]]);
    assert!(optimizer.last().unwrap().grad_norm.is_some());
}

/// Everything but the count of refusals, bit for bit.
fn seen<O: std::fmt::Debug>(model: &Pair, grads: &Gradients<f64, Cpu>, optimizer: &CyclicOptimizer<O>) -> String {
    let state = ClrState { refusals: 0, stop: None, ..optimizer.state() };
    format!("{model:?}{grads:?}{:?}{state:?}{}", optimizer.get_ref(), optimizer.lr())
}

fn refuses<O: InPlace<Pair, Cpu, f64> + Hyperparameters + std::fmt::Debug>(inner: O) {
    let guard = Guard { gradients: true, max_refusals: Some(3) };
    let config = ClrConfig::new(OneCycle::new(0.1, 10).unwrap()).with_guard(guard).unwrap();
    let mut optimizer = CyclicOptimizer::new(inner, config);
    let (mut model, mut grads) = pair([1.0, 2.0, 3.0], [[1.0; 2]; 2]);
    optimizer.apply(&mut model, &mut grads, 1.0).unwrap();

    // The loss.
    let before = seen(&model, &grads, &optimizer);
    for loss in [f64::NAN, f64::NEG_INFINITY] {
        let refused = optimizer.apply(&mut model, &mut grads, loss).unwrap_err();
        assert!(matches!(refused, UpdateError::NonFiniteLoss { iteration: 1, .. }), "{refused}");
        assert_eq!(seen(&model, &grads, &optimizer), before);
    }
    assert_eq!(optimizer.state().refusals, 2);
    // An update that is made ends the consecutive refusals.
    optimizer.apply(&mut model, &mut grads, 1.0).unwrap();
    assert_eq!(optimizer.state().refusals, 0);

    // An invalid gradient with a valid loss, and the guard gives up.
    for (nth, bad) in [f64::NAN, f64::INFINITY, f64::NAN].into_iter().enumerate() {
        grads.get_or_alloc_mut(&model.1).unwrap()[2] = bad;
        let before = seen(&model, &grads, &optimizer);
        let refused = optimizer.apply(&mut model, &mut grads, 1.0).unwrap_err();
        if nth < 2 {
            assert!(matches!(refused, UpdateError::NonFiniteGradient { iteration: 2, .. }), "{refused}");
            assert_eq!(optimizer.stopped(), None);
        } else {
            assert!(matches!(refused, UpdateError::GaveUp { refusals: 3, iteration: 2 }), "{refused}");
            assert_eq!(optimizer.stopped(), Some(Stop::TooManyRefusals));
        }
        assert_eq!(seen(&model, &grads, &optimizer), before);
    }

    // An update that is made clears the reason to stop.
    grads.get_or_alloc_mut(&model.1).unwrap()[2] = 1.0;
    optimizer.apply(&mut model, &mut grads, 1.0).unwrap();
    assert_eq!((optimizer.stopped(), optimizer.state().refusals), (None, 0));
}

#[test]
fn a_refused_update_changes_nothing() {
    refuses(Adam::new(AdamConfig::default()));
    refuses(Sgd::new(SgdConfig { momentum: Some(Momentum::Classic(0.9)), ..Default::default() }));
    refuses(RMSprop::new(RMSpropConfig { momentum: Some(0.5), ..Default::default() }));
    let (model, _) = pair([0.0; 3], [[0.0; 2]; 2]);
    refuses(dfdx::optim::Adam::new(&model, AdamConfig::default()));
    refuses(dfdx::optim::Sgd::new(&model, SgdConfig::default()));
    refuses(dfdx::optim::RMSprop::new(&model, RMSpropConfig::default()));
}

const EPOCHS: u64 = 20;

/// Every tenth batch is NaN: exactly those are skipped, and the digits are learnt.
#[test]
fn batches_of_nan_are_skipped() {
    let digits = Digits::read();
    let mut model = digits.model();
    let mut grads = model.alloc_grads();
    let updates = EPOCHS * digits.batches_per_epoch();
    let mut optimizer = CyclicOptimizer::new(Adam::default(), OneCycle::new(0.02, updates - updates / 10).unwrap());
    let mut refused = Vec::new();
    for (update, (images, labels)) in (0..updates).zip(digits.batches()) {
        let labels = if update % 10 == 9 { labels * f32::NAN } else { labels };
        let (loss, found) = train_step(&mut model, grads, (images, labels));
        grads = found;
        match optimizer.apply(&mut model, &mut grads, loss) {
            Ok(_) => {}
            Err(UpdateError::NonFiniteLoss { .. }) => {
                refused.push(update);
                model.zero_grads(&mut grads);
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(refused, (0..updates).filter(|update| update % 10 == 9).collect::<Vec<_>>());
    assert!(optimizer.is_finished());
    let accuracy = digits.accuracy(&model);
    assert!(accuracy > 0.95, "{accuracy}");
}

/// Trains the digits from a rate of 1.0, with recovery or without; returns the share of test images that are recognised.
fn from_a_rate_of_one<O>(inner: O, recovery: Option<Recovery<Mlp, O>>) -> (f64, usize)
where
    O: InPlace<Mlp, Cpu, f32> + Hyperparameters + Clone,
{
    let digits = Digits::read();
    let mut model = digits.model();
    let mut grads = model.alloc_grads();
    let updates = EPOCHS * digits.batches_per_epoch();
    let mut recovery = recovery;
    let mut optimizer =
        CyclicOptimizer::new(inner, OneCycle::new(1.0, updates).unwrap().with_div_factors(1.0, 1e4).unwrap());
    assert_eq!(optimizer.lr(), 1.0);
    for batch in digits.batches().take(usize::try_from(updates).unwrap()) {
        let (loss, found) = train_step(&mut model, grads, batch);
        grads = found;
        match &mut recovery {
            Some(recovery) => match recovery.apply(&mut optimizer, &mut model, &mut grads, loss).unwrap() {
                Outcome::Applied(_) | Outcome::Skipped { .. } => {}
                Outcome::Recovered(recovered) => assert!(optimizer.lr() < recovered.lr),
            },
            None => {
                if optimizer.apply(&mut model, &mut grads, loss).is_err() {
                    model.zero_grads(&mut grads);
                }
            }
        }
    }
    (digits.accuracy(&model), recovery.map_or(0, |recovery| recovery.recoveries().len()))
}

/// Adam and SGD with momentum, started at a rate at which they diverge.
#[test]
fn recovery_saves_a_diverged_run() {
    let adam = || Adam::new(AdamConfig::default());
    let sgd = || Sgd::new(SgdConfig { momentum: Some(Momentum::Classic(0.9)), ..Default::default() });
    let (with, recoveries) = from_a_rate_of_one(adam(), Some(Recovery::new(1.5, 0.5).unwrap()));
    let (without, _) = from_a_rate_of_one(adam(), None);
    assert!(
        with > 0.95 && recoveries > 0 && without < 0.95,
        "Adam: {with} with {recoveries} recoveries, {without} without"
    );
    let (with, recoveries) = from_a_rate_of_one(sgd(), Some(Recovery::new(1.5, 0.5).unwrap()));
    let (without, _) = from_a_rate_of_one(sgd(), None);
    assert!(
        with > 0.95 && recoveries > 0 && without < 0.95,
        "Sgd: {with} with {recoveries} recoveries, {without} without"
    );
}

/// The copy is restored bit for bit, with its moments, and the rate is reduced.
#[test]
fn a_recovery_puts_everything_back() {
    let (mut model, mut grads) = pair([1.0, 2.0, 3.0], [[1.0; 2]; 2]);
    let mut optimizer = CyclicOptimizer::new(Adam::default(), Constant::new(0.5).unwrap());
    let mut recovery = Recovery::new(2.0, 0.25).unwrap().with_smoothing(0.0).unwrap();
    let mut apply = |optimizer: &mut _, model: &mut Pair, loss: f64| {
        grads = gradients(model, FIRST, SECOND);
        recovery.apply(optimizer, model, &mut grads, loss).unwrap()
    };
    let start = (model.0.array(), model.1.array());
    assert!(matches!(apply(&mut optimizer, &mut model, 1.0), Outcome::Applied(used) if used.lr == 0.5));
    assert_ne!((model.0.array(), model.1.array()), start);
    // 2.0 is not above twice the best; 2.1 is.
    assert!(matches!(apply(&mut optimizer, &mut model, 2.0), Outcome::Applied(_)));
    let recovered = apply(&mut optimizer, &mut model, 2.1);
    assert!(matches!(recovered, Outcome::Recovered(recovered) if recovered.iteration == 2 && recovered.lr == 0.5));
    assert_eq!((model.0.array(), model.1.array()), start);
    assert_eq!((optimizer.lr(), optimizer.get_ref().cfg.lr, optimizer.iterations()), (0.125, 0.125, 2));
    assert_eq!(
        format!("{:?}", optimizer.get_ref()),
        format!("{:?}", {
            let mut fresh: Adam<f64, Cpu> = Adam::default();
            fresh.cfg.lr = 0.125;
            fresh
        })
    );
    // The loss of the restored model never counts as a divergence, and a first NaN counts as a bad batch.
    assert!(matches!(apply(&mut optimizer, &mut model, f64::NAN), Outcome::Skipped { .. }));
    assert!(matches!(apply(&mut optimizer, &mut model, 9.0), Outcome::Applied(_)));
    assert_eq!(optimizer.lr(), 0.125);
    // The limit has been raised to twice 9.0.
    assert!(matches!(apply(&mut optimizer, &mut model, 17.0), Outcome::Applied(_)));
    // The second NaN in a row is a divergence.
    assert!(matches!(apply(&mut optimizer, &mut model, f64::NAN), Outcome::Skipped { .. }));
    assert!(matches!(apply(&mut optimizer, &mut model, f64::NAN), Outcome::Recovered(_)));
    assert_eq!(optimizer.lr(), 0.03125);
    for (divergence, factor) in [(1.0, 0.5), (f64::NAN, 0.5), (2.0, 0.0), (2.0, 1.0)] {
        let refused = Recovery::<Pair, Adam<f64, Cpu>>::new(divergence, factor);
        assert!(matches!(refused, Err(ConfigError::OutOfRange { .. })));
    }
}

/// Easy first batches, and data that contain NaN, do not reduce the rate to almost 0.
#[test]
fn recovery_does_not_cut_for_ever() {
    let (mut model, mut grads) = pair([1.0, 2.0, 3.0], [[1.0; 2]; 2]);
    let guard = Guard { gradients: false, max_refusals: Some(3) };
    let config = ClrConfig::new(Constant::new(0.5).unwrap()).with_guard(guard).unwrap();
    let mut optimizer = CyclicOptimizer::new(Sgd::default(), config);
    let mut recovery = Recovery::new(1.5, 0.5).unwrap();
    let mut recoveries = Vec::new();
    for update in 0..200 {
        grads = gradients(&model, FIRST, SECOND);
        let loss = if update == 0 {
            0.5
        } else if update % 10 == 9 {
            f64::NAN
        } else {
            1.2
        };
        let _ = recovery.apply(&mut optimizer, &mut model, &mut grads, loss).unwrap();
        recoveries.push(recovery.recoveries().len());
    }
    assert_eq!(recoveries.last(), Some(&1), "{recoveries:?}");
    // If every loss is NaN, the first is skipped, the second is a divergence, the third is skipped, and then the guard
    // gives up.
    let mut outcomes = (0..9).map(|_| recovery.apply(&mut optimizer, &mut model, &mut grads, f64::NAN));
    assert!(outcomes.any(|outcome| matches!(outcome, Err(UpdateError::GaveUp { .. }))));
}
