//! A framework in thirty lines, whose model is a list of numbers. Guard, clipping, history and feedback work as in dfdx. This
//! test needs no framework:
//!
//! ```text
//! cargo test --no-default-features --features std --test own_framework
//! ```

#![cfg(feature = "std")]

use std::convert::Infallible;

use cyclic_optim::feedback::{Plateau, Stop};
use cyclic_optim::training::{
    BestWeights, GradientsOf, Outcome, Recovery, UpdateFailure, UpdateInPlace, clip_gradients,
};
use cyclic_optim::{Clip, ClrConfig, Constant, Cyclic, CyclicOptimizer, Guard, History, RateAndMomentum, UpdateError};

type Model = Vec<f32>;

/// A gradient for each weight; `None` where the loss did not use it.
#[derive(Debug, Clone, PartialEq)]
struct Gradients(Vec<Option<[f32; 1]>>);

impl GradientsOf<Model> for Gradients {
    type Element = f32;
    type Error = Infallible;

    fn for_each(&mut self, _: &Model, _: bool, mut look: impl FnMut(&mut [f32]) -> bool) -> Result<(), Infallible> {
        for gradient in self.0.iter_mut().flatten() {
            look(gradient);
        }
        Ok(())
    }

    fn zero(&mut self, _: &Model) -> Result<(), Infallible> {
        self.0.iter_mut().for_each(|gradient| *gradient = Some([0.0]));
        Ok(())
    }
}

/// Plain gradient descent.
impl UpdateInPlace<Model, Gradients> for RateAndMomentum {
    type Error = Infallible;

    fn update_in_place(&mut self, model: &mut Model, grads: &mut Gradients) -> Result<(), UpdateFailure<Infallible>> {
        let missing =
            (0..).zip(&grads.0).filter(|(_, gradient)| gradient.is_none()).map(|(n, _)| format!("weight {n}"));
        let missing: Vec<String> = missing.collect();
        #[expect(clippy::cast_possible_truncation, reason = "the rate of an f32 model")]
        let lr = self.lr as f32;
        for (weight, gradient) in model.iter_mut().zip(&grads.0) {
            *weight -= lr * gradient.map_or(0.0, |[gradient]| gradient);
        }
        let Ok(()) = grads.zero(model);
        if missing.is_empty() { Ok(()) } else { Err(UpdateFailure::MissingGradients(missing)) }
    }
}

/// The gradients of the sum of squares, and its value.
fn squares(model: &Model) -> (Gradients, f32) {
    let gradients = model.iter().map(|weight| Some([2.0 * weight])).collect();
    (Gradients(gradients), model.iter().map(|weight| weight * weight).sum())
}

fn optimizer(config: impl Fn(ClrConfig) -> ClrConfig) -> CyclicOptimizer<RateAndMomentum> {
    let cycle = Cyclic::triangular(0.1, 0.4, 5).unwrap();
    CyclicOptimizer::new(RateAndMomentum::default(), config(cycle.into())).with_history(History::new())
}

#[test]
fn a_model_is_trained() {
    let mut model = vec![3.0, -4.0];
    let mut optimizer = optimizer(|config| {
        let config = config.with_clip(Clip { norm: Some(1.0), value: None }).unwrap();
        config.with_plateau(Plateau::keras(0.5, 1).unwrap()).unwrap()
    });
    let (mut gradients, loss) = squares(&model);
    let first = optimizer.apply(&mut model, &mut gradients, loss).unwrap();
    // The norm was 10 and is clipped to 1: a step of 0.1 towards 0.
    assert_eq!((first.lr, first.grad_norm), (0.1, Some(10.0)));
    assert!((model[0] - 2.94).abs() < 1e-6 && (model[1] + 3.92).abs() < 1e-6, "{model:?}");
    assert_eq!(gradients, Gradients(vec![Some([0.0]); 2]));
    let mut best = BestWeights::new();
    for _ in 0..100 {
        let (mut gradients, loss) = squares(&model);
        optimizer.apply(&mut model, &mut gradients, loss).unwrap();
        best.keep(&optimizer.observe(loss), &model);
    }
    assert!(model.iter().all(|weight| weight.abs() < 1e-3), "{model:?}");
    assert!(best.get().unwrap().iter().all(|weight| weight.abs() < 0.1));
    assert!(optimizer.state().plateau.envelope < 1.0, "the loss has stopped to improve by 1e-4");
    let history = optimizer.history().unwrap().updates();
    assert_eq!((history.len(), history.values("grad_norm").unwrap()[0]), (101, 10.0));
    assert_eq!(history.values("loss").unwrap()[0], 25.0);
}

#[test]
fn a_bad_update_is_refused() {
    let guard = Guard { gradients: true, max_refusals: Some(2) };
    let mut optimizer = optimizer(|config| config.with_guard(guard).unwrap());
    let (mut model, mut gradients) = (vec![1.0, 2.0], Gradients(vec![Some([0.5]), Some([f32::INFINITY])]));
    let before = gradients.clone();
    let refused = optimizer.apply(&mut model, &mut gradients, 1.0);
    assert!(matches!(refused, Err(UpdateError::NonFiniteGradient { iteration: 0, .. })));
    assert_eq!((&model[..], &gradients, optimizer.iterations()), (&[1.0, 2.0][..], &before, 0));
    let refused = optimizer.apply(&mut model, &mut gradients, f32::NAN);
    assert!(matches!(refused, Err(UpdateError::GaveUp { refusals: 2, iteration: 0 })));
    assert_eq!(optimizer.stopped(), Some(Stop::TooManyRefusals));
}

#[test]
fn a_missing_gradient_is_named_and_not_clipped() {
    let mut optimizer = optimizer(|config| config.with_clip(Clip { norm: None, value: Some(0.25) }).unwrap());
    let (mut model, mut gradients) = (vec![1.0, 2.0], Gradients(vec![None, Some([-7.0])]));
    let result = optimizer.apply(&mut model, &mut gradients, 1.0);
    assert_eq!(result, Err(UpdateError::MissingGradients(vec!["weight 0".into()])));
    assert_eq!(result.unwrap_err().to_string(), "these parameters have no gradient: weight 0");
    assert_eq!((model, optimizer.iterations()), (vec![1.0, 2.025], 1));
    let mut gradients = Gradients(vec![None, Some([-3.0])]);
    let norm = clip_gradients(&vec![0.0; 2], &mut gradients, Clip { norm: Some(1.5), value: None }).unwrap();
    assert_eq!(norm, 3.0);
    assert!((gradients.0[1].unwrap()[0] + 1.5).abs() < 1e-5 && gradients.0[0].is_none());
}

#[test]
fn a_run_that_diverges_is_brought_back() {
    let mut model = vec![1.0];
    // At a rate of 5 the weight grows nine-fold with every update.
    let mut optimizer = CyclicOptimizer::new(RateAndMomentum::default(), Constant::new(5.0).unwrap());
    let mut recovery = Recovery::new(2.0, 0.1).unwrap();
    let mut recovered = 0;
    for _ in 0..50 {
        let (mut gradients, loss) = squares(&model);
        let outcome = recovery.apply(&mut optimizer, &mut model, &mut gradients, loss).unwrap();
        recovered += usize::from(matches!(outcome, Outcome::Recovered(_)));
    }
    assert!(model[0].abs() < 1e-3, "{model:?}");
    assert_eq!((recovered, recovery.recoveries().len()), (1, 1));
}
