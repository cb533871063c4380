//! Several ranks, which are threads of this process, train one model, and several micro-batches make one update: in a made-up
//! framework, and in dfdx.

#![cfg(feature = "std")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::trivially_copy_pass_by_ref,
    reason = "small numbers, and the models of a framework are passed by reference"
)]

#[cfg(feature = "dfdx")]
mod support;

use std::convert::Infallible;
use std::time::{Duration, Instant};

use cyclic_optim::feedback::{EarlyStopping, Plateau, Stop};
use cyclic_optim::training::{
    Accumulator, Alone, AverageError, GradientsOf, Outcome, Ranks, RanksError, Recovery, ShardPlan, Threads,
    ThreadsError, UpdateFailure, UpdateInPlace,
};
use cyclic_optim::{
    Clip, ClrConfig, ConfigError, Constant, Cyclic, CyclicOptimizer, Guard, History, RateAndMomentum, UpdateError,
};
use proptest::prelude::*;

/// A model that is a line: weight and bias.
type Model<E> = [E; 2];

/// Gradients that may be missing.
#[derive(Debug, Clone, Default, PartialEq)]
struct Gradients<E>(Option<[E; 2]>);

macro_rules! framework {
    ($($number:ident),+) => {$(
        impl GradientsOf<Model<$number>> for Gradients<$number> {
            type Element = $number;
            type Error = Infallible;

            fn for_each(
                &mut self,
                _: &Model<$number>,
                _: bool,
                mut look: impl FnMut(&mut [$number]) -> bool,
            ) -> Result<(), Infallible> {
                for gradient in self.0.iter_mut().flatten() {
                    look(std::slice::from_mut(gradient));
                }
                Ok(())
            }

            fn zero(&mut self, _: &Model<$number>) -> Result<(), Infallible> {
                self.0 = Some([0.0; 2]);
                Ok(())
            }

            fn fill_missing(&mut self, _: &Model<$number>) -> Result<(), Infallible> {
                self.0.get_or_insert([0.0; 2]);
                Ok(())
            }
        }

        impl UpdateInPlace<Model<$number>, Gradients<$number>> for RateAndMomentum {
            type Error = Infallible;

            fn update_in_place(
                &mut self,
                model: &mut Model<$number>,
                gradients: &mut Gradients<$number>,
            ) -> Result<(), UpdateFailure<Infallible>> {
                #[allow(clippy::cast_possible_truncation, reason = "the rate of an f32 model")]
                let lr = self.lr as $number;
                for (weight, gradient) in model.iter_mut().zip(gradients.0.take().unwrap()) {
                    *weight -= lr * gradient;
                }
                gradients.zero(model)
                    .map_err(UpdateFailure::Failed)
            }
        }
    )+};
}

framework!(f32, f64);

/// Points on a curve, which a line can only fit as a mean.
fn points() -> Vec<(f64, f64)> {
    (0..40).map(|n| f64::from(n) / 20.0 - 1.0).map(|x| (x, x.exp())).collect()
}

/// The mean loss of some points, and its gradients.
fn loss(model: &Model<f64>, points: &[(f64, f64)]) -> (f64, Gradients<f64>) {
    let (mut loss, mut gradient) = (0.0, [0.0; 2]);
    let share = 1.0 / points.len() as f64;
    for (x, y) in points {
        let error = model[0] * x + model[1] - y;
        loss += share * error * error;
        gradient[0] += share * 2.0 * error * x;
        gradient[1] += share * 2.0 * error;
    }
    (loss, Gradients(Some(gradient)))
}

/// The same in single precision.
fn single_loss(model: &Model<f32>, points: &[(f64, f64)]) -> (f32, Gradients<f32>) {
    let (loss, Gradients(gradient)) = loss(&model.map(f64::from), points);
    (loss as f32, Gradients(gradient.map(|gradient| gradient.map(|number| number as f32))))
}

fn config() -> ClrConfig {
    let config = ClrConfig::new(Cyclic::triangular(0.05, 0.3, 7).unwrap());
    config.with_clip(Clip { norm: Some(1.5), value: None }).unwrap()
}

fn optimizer() -> CyclicOptimizer<RateAndMomentum> {
    CyclicOptimizer::new(RateAndMomentum::default(), config()).with_history(History::new())
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Trains over the batches of a plan, with whatever micro-batches the accumulator has.
fn train<R: Ranks>(mut sum: Accumulator<'_, R>, batch: usize, epochs: u64) -> Result<(Model<f32>, Vec<f64>), Failure> {
    let points = points();
    let plan = ShardPlan::new(points.len(), batch, 3)?;
    let (mut model, mut optimizer) = ([0.0, 0.0], optimizer());
    let mut gradients = Gradients::default();
    for epoch in 0..epochs {
        for batch in plan.batches(epoch) {
            for micro_batch in sum.micro_batches(&batch) {
                let micro_batch: Vec<_> = micro_batch.iter().map(|&n| points[n]).collect();
                let loss;
                (loss, gradients) = single_loss(&model, &micro_batch);
                sum.add(&model, &mut gradients, loss, micro_batch.len())?;
            }
            optimizer.apply(&mut model, &mut gradients, &mut sum)?;
        }
    }
    assert_eq!(optimizer.iterations(), epochs * plan.batches_per_epoch() as u64);
    Ok((model, optimizer.history().unwrap().updates().values("loss").unwrap().clone()))
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

/// Batches of 7 over 1 to 5 ranks: shares are unequal, and of the last batch of 5 some are small.
#[test]
fn ranks_stay_identical_and_near_one_process() {
    let (alone, losses) = train(Accumulator::new(), 7, 20).unwrap();
    for ranks in 1..=5 {
        let trained = Threads::run(ranks, |ranks| train(Accumulator::on(ranks), 7, 20)).unwrap();
        for (model, own_losses) in &trained {
            assert_eq!(bits(model), bits(&trained[0].0), "{ranks} ranks");
            assert_eq!(own_losses, &trained[0].1);
            assert!(model.iter().zip(alone).all(|(a, b)| (a - b).abs() < 1e-6), "{model:?} {alone:?}");
            assert!(own_losses.iter().zip(&losses).all(|(a, b)| (a - b).abs() < 1e-6));
        }
    }
}

/// Batches of 3 over 4 ranks: one rank never has a sample.
#[test]
fn a_rank_without_samples_takes_part() {
    let (alone, _) = train(Accumulator::new(), 3, 5).unwrap();
    let trained = Threads::run(4, |ranks| train(Accumulator::on(ranks), 3, 5)).unwrap();
    for (model, _) in &trained {
        assert_eq!(bits(model), bits(&trained[0].0));
        assert!(model.iter().zip(alone).all(|(a, b)| (a - b).abs() < 1e-6), "{model:?} {alone:?}");
    }
}

#[test]
fn reproducible_sums_have_the_same_bits_for_any_number_of_ranks() {
    let (alone, losses) = train(Accumulator::new().reproducible(5).unwrap(), 7, 20).unwrap();
    for ranks in [1, 2, 3, 4, 5, 6] {
        let trained = Threads::run(ranks, |ranks| train(Accumulator::on(ranks).reproducible(5)?, 7, 20)).unwrap();
        for (model, own_losses) in &trained {
            assert_eq!(bits(model), bits(&alone), "{ranks} ranks");
            assert_eq!(own_losses, &losses);
        }
    }
    // The usual sums do not have the same bits; otherwise this test would show nothing.
    let usual = [1, 2, 3].map(|ranks| Threads::run(ranks, |ranks| train(Accumulator::on(ranks), 7, 1)).unwrap()[0].0);
    assert!(usual.iter().any(|model| bits(model) != bits(&usual[0])), "{usual:?}");
}

#[test]
fn one_micro_batch_of_one_process_is_the_plain_update() {
    let (mut plain, mut summed) = (([0.3, -0.7], optimizer()), ([0.3, -0.7], optimizer()));
    let mut sum = Accumulator::new();
    for n in 0..30 {
        let points = &points()[n..n + 3];
        let (loss, mut gradients) = single_loss(&plain.0, points);
        let used = plain.1.apply(&mut plain.0, &mut gradients, loss).unwrap();
        let (loss, mut gradients) = single_loss(&summed.0, points);
        assert_eq!(summed.1.apply(&mut summed.0, &mut gradients, sum.with(loss, 3)).unwrap(), used);
        assert_eq!(bits(&plain.0), bits(&summed.0));
    }
}

proptest! {
    /// Any micro-batches on any ranks make the update of their union.
    #[test]
    fn micro_batches_make_the_update_of_their_union(
        cuts in prop::collection::vec(0..=40_usize, 0..6),
        ranks in 1..5_usize,
    ) {
        let points = points();
        let mut ends = [cuts, vec![0, 40]].concat();
        ends.sort_unstable();
        let micro_batches: Vec<_> = ends.windows(2).map(|ends| &points[ends[0]..ends[1]]).collect();
        let mut expected = [0.5, -0.25];
        let (whole, mut gradients) = loss(&expected, &points);
        optimizer().apply(&mut expected, &mut gradients, whole).unwrap();
        let trained = Threads::run(ranks, |ranks| {
            let (mut model, mut optimizer, mut sum) = ([0.5, -0.25], optimizer(), Accumulator::on(ranks));
            let mut gradients = Gradients::default();
            for micro_batch in ranks.share(&micro_batches) {
                let value;
                (value, gradients) = loss(&model, micro_batch);
                sum.add(&model, &mut gradients, value, micro_batch.len())?;
            }
            let used = optimizer.apply(&mut model, &mut gradients, &mut sum)?;
            Ok::<_, UpdateError<Infallible>>((model, used, optimizer.history().unwrap().updates().values("loss").unwrap()[0]))
        }).unwrap();
        for (model, used, loss) in trained {
            prop_assert_eq!(used.iteration, 0);
            prop_assert!((loss - whole).abs() < 1e-14, "{} {}", loss, whole);
            for (weight, expected) in model.iter().zip(expected) {
                prop_assert!((weight - expected).abs() < 1e-14, "{} {}", weight, expected);
            }
        }
    }
}

#[test]
fn a_nan_on_one_rank_or_in_one_micro_batch_is_refused_by_all() {
    let guard = Guard { gradients: true, max_refusals: None };
    for (bad_loss, bad_gradient) in [(f64::NAN, 1.0), (1.0, f64::NAN), (1.0, f64::INFINITY)] {
        let trained = Threads::run(3, |ranks| {
            let config = config().with_guard(guard)?;
            let mut optimizer = CyclicOptimizer::try_new(RateAndMomentum::default(), config)?;
            let (mut model, mut gradients, mut sum) = ([0.0; 2], Gradients::default(), Accumulator::on(ranks));
            let mut refused = Vec::new();
            for update in 0..20_u64 {
                for micro_batch in 0..2 {
                    let value;
                    (value, gradients) = loss(&model, &points()[micro_batch..4 + ranks.rank()]);
                    let spoilt = update % 5 == 2 && micro_batch == 0 && ranks.rank() == 1;
                    if spoilt {
                        gradients.0.as_mut().unwrap()[1] = bad_gradient;
                    }
                    sum.add(&model, &mut gradients, if spoilt { bad_loss } else { value }, 4)?;
                }
                let before = (model, optimizer.state().clr_iterations);
                match optimizer.apply(&mut model, &mut gradients, &mut sum) {
                    Ok(_) => {}
                    Err(UpdateError::NonFiniteLoss { .. } | UpdateError::NonFiniteGradient { .. }) => {
                        refused.push(update);
                        assert_eq!((model, optimizer.state().clr_iterations), before);
                        assert_eq!(gradients, Gradients(Some([0.0; 2])), "the sum is dropped");
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Ok::<_, Failure>((model, refused, optimizer.state()))
        })
        .unwrap();
        assert_eq!(trained[0].1, [2, 7, 12, 17]);
        assert!(trained.iter().all(|rank| rank == &trained[0]), "{trained:?}");
        assert!(trained[0].0.iter().all(|weight| weight.is_finite()));
    }
}

/// Recovery, plateau and early stopping see the losses and the metrics of all ranks.
#[test]
fn all_ranks_decide_alike() {
    let trained = Threads::run(3, |ranks| {
        let config = ClrConfig::new(Constant::new(0.4)?)
            .with_plateau(Plateau::keras(0.5, 2)?)?
            .with_early_stopping(EarlyStopping::new(5)?)?;
        let mut optimizer = CyclicOptimizer::new(RateAndMomentum::default(), config);
        let mut recovery = Recovery::new(1.5, 0.5)?;
        let (mut model, mut sum) = ([3.0, -2.0], Accumulator::on(ranks));
        let (mut epochs, mut outcomes) = (0, Vec::new());
        while optimizer.stopped().is_none() && epochs < 100 {
            for batch in ShardPlan::new(40, 8, 1)?.batches(epochs) {
                let mine: Vec<_> = ranks.share(&batch).iter().map(|&n| points()[n]).collect();
                let (mut value, mut gradients) = loss(&model, &mine);
                // Only one rank diverges.
                if epochs == 3 && ranks.rank() == 2 {
                    value = 1e6;
                }
                let outcome =
                    recovery.apply(&mut optimizer, &mut model, &mut gradients, sum.with(value, mine.len()))?;
                outcomes.push(matches!(outcome, Outcome::Recovered(_)));
            }
            epochs += 1;
            // Each rank has another part of the points, and on its own would stop at another time.
            let mine = ranks.share(&points()).to_vec();
            let _ = optimizer.observe(ranks.mean(loss(&model, &mine).0 + 1e-3 * (epochs as f64).sin(), mine.len())?);
        }
        Ok::<_, Failure>((epochs, outcomes, optimizer.state(), model))
    })
    .unwrap();
    let (epochs, outcomes, state, _) = &trained[0];
    assert!(trained.iter().all(|rank| rank == &trained[0]), "{trained:?}");
    assert_eq!(state.stop, Some(Stop::NoImprovement));
    assert!((5..100).contains(epochs), "{epochs}");
    assert!(outcomes.contains(&true) && state.plateau.envelope < 1.0);
}

#[test]
fn an_update_needs_samples() {
    let errors = Threads::run(2, |ranks| {
        let (mut model, mut gradients, mut sum) = ([0.0_f32; 2], Gradients::default(), Accumulator::on(ranks));
        let nothing = optimizer().apply(&mut model, &mut gradients, &mut sum).unwrap_err();
        gradients = Gradients(Some([f32::NAN; 2]));
        let empty = optimizer().apply(&mut model, &mut gradients, sum.with(f32::NAN, 0)).unwrap_err();
        // The values of a rank without samples do not matter.
        let mut gradients = Gradients(Some([if ranks.rank() == 0 { 1.0 } else { f32::NAN }; 2]));
        let used = optimizer().apply(&mut model, &mut gradients, sum.with(1.0, 1 - ranks.rank()));
        assert!(used.is_ok() && model[0] < 0.0, "{used:?}");
        Ok::<_, ()>([nothing, empty])
    })
    .unwrap();
    let no_samples = UpdateError::Average(AverageError::NoSamples);
    assert!(errors.concat().iter().all(|error| *error == no_samples), "{errors:?}");
    let alone = optimizer().apply(&mut [0.0; 2], &mut Gradients::default(), Accumulator::new().with(1.0_f32, 0));
    assert_eq!(alone, Err(no_samples));
    assert_eq!(alone.unwrap_err().to_string(), "the update has no samples: no rank has added a micro-batch");
}

#[test]
fn there_is_at_least_one_micro_batch() {
    let too_small = Err(ConfigError::TooSmall { field: "micro_batches", value: 0, minimum: 1 });
    assert_eq!(Accumulator::new().with_micro_batches(0).map(|_| ()), too_small);
    assert_eq!(Accumulator::new().reproducible(0).map(|_| ()), too_small);
}

#[test]
fn the_reproducible_mode_has_places_for_its_micro_batches_alone() {
    let mut sum = Accumulator::on(&Alone).reproducible(2).unwrap();
    let mut gradients = Gradients(Some([1.0_f32; 2]));
    let mut add = |samples| sum.add(&[0.0; 2], &mut gradients, 1.0, samples);
    assert_eq!([add(1), add(0), add(1), add(0)], [Ok(()), Ok(()), Ok(()), Ok(())]);
    assert_eq!(add(1), Err(AverageError::TooManyMicroBatches { planned: 2 }));
}

/// A framework in which the gradients are a list of any length.
struct List(Vec<f64>);

impl GradientsOf<()> for List {
    type Element = f64;
    type Error = Infallible;

    fn for_each(&mut self, (): &(), _: bool, mut look: impl FnMut(&mut [f64]) -> bool) -> Result<(), Infallible> {
        look(&mut self.0);
        Ok(())
    }

    fn zero(&mut self, (): &()) -> Result<(), Infallible> {
        self.0.fill(0.0);
        Ok(())
    }
}

#[test]
fn ranks_that_do_not_fit_are_named_on_every_rank() {
    let different = |what, rank, value, first| RanksError::Different { what, rank, value, first };
    let lengths = Threads::run(3, |ranks| {
        let mut sum = Accumulator::on(ranks);
        Ok::<_, ()>(sum.average(&(), &mut List(vec![1.0; if ranks.rank() == 2 { 5 } else { 4 }])))
    });
    let expected = different("gradients", 2, 5, 4);
    assert_eq!(lengths, Ok(vec![Err(AverageError::Ranks(expected.clone())); 3]));
    assert_eq!(expected.to_string(), "rank 2 has 5 gradients, and rank 0 has 4");
    let parts = Threads::run(2, |ranks| {
        let mut sum = Accumulator::on(ranks).with_micro_batches(4 + ranks.rank()).unwrap();
        Ok::<_, ()>(sum.average(&(), &mut List(vec![1.0; 4])))
    });
    let expected = different("micro-batches for each update", 1, 5, 4);
    assert_eq!(parts, Ok(vec![Err(AverageError::Ranks(expected)); 2]));
    let layouts = Threads::run(2, |ranks| {
        let sizes = if ranks.rank() == 0 { [4, 2] } else { [2, 4] };
        let mut gradients = Tensors(sizes.map(|size| vec![1.0; size]).to_vec());
        Ok::<_, ()>(Accumulator::on(ranks).average(&(), &mut gradients).unwrap_err().to_string())
    });
    let expected = "rank 1 has 66 as the checksum of their sizes, and rank 0 has 126";
    assert_eq!(layouts, Ok(vec![expected.into(); 2]));
    // In later updates a rank checks only its own gradients. It returns an error, so the others do not wait for it.
    let later = Threads::run(2, |ranks| {
        let mut sum = Accumulator::on(ranks);
        for length in [4, 4 + ranks.rank()] {
            sum.add(&(), &mut List(vec![1.0; length]), 1.0, 1)?;
            sum.average(&(), &mut List(vec![1.0; length]))?;
        }
        Ok::<_, AverageError<Infallible>>(())
    });
    let error = AverageError::Ranks(different("gradients", 1, 5, 4));
    assert_eq!(later, Err(ThreadsError::Failed { rank: 1, error }));
    let mut sum = Accumulator::new();
    sum.add(&(), &mut List(vec![1.0; 4]), 1.0, 1).unwrap();
    let other = sum.add(&(), &mut List(vec![1.0; 5]), 1.0, 1);
    assert_eq!(other, Err(AverageError::OtherGradients { found: 5, expected: 4 }));
}

/// Several tensors: large ones are sent separately, and small ones together.
struct Tensors(Vec<Vec<f32>>);

impl GradientsOf<()> for Tensors {
    type Element = f32;
    type Error = Infallible;

    fn for_each(&mut self, (): &(), _: bool, mut look: impl FnMut(&mut [f32]) -> bool) -> Result<(), Infallible> {
        self.0.iter_mut().for_each(|tensor| _ = look(tensor));
        Ok(())
    }

    fn zero(&mut self, (): &()) -> Result<(), Infallible> {
        self.0.iter_mut().for_each(|tensor| tensor.fill(0.0));
        Ok(())
    }
}

/// A rank may send its gradients directly, as a sum of micro-batches, or none at all: the form of what is sent is the
/// same.
#[test]
fn large_and_small_tensors_are_averaged_alike() {
    const SIZES: [usize; 5] = [3, 300_000, 5, 131_072, 1];
    let of = |factor: f32| {
        let number = |n: usize| factor * f32::from(u8::try_from(n % 251).unwrap());
        Tensors(SIZES.map(|size| (0..size).map(number).collect()).to_vec())
    };
    for reproducible in [false, true] {
        let results = Threads::run(3, |ranks| {
            let mut sum = Accumulator::on(ranks);
            if reproducible {
                sum = sum.reproducible(6).unwrap();
            }
            for _ in 0..2 {
                // Three ranks with the samples 1, 1, 1, 1; 2, 2, 5, 5; and none. The mean is 18 / 8.
                let mut gradients = of([1.0, 5.0, f32::NAN][ranks.rank()]);
                if ranks.rank() == 1 {
                    sum.add(&(), &mut of(2.0), 2.0, 2)?;
                }
                let last = sum.with([1.0, 5.0, f64::NAN][ranks.rank()], [4, 2, 0][ranks.rank()]);
                let loss = cyclic_optim::training::BatchLoss::<(), Tensors>::average(last, &(), &mut gradients)?;
                assert_eq!(loss, 2.25);
                assert!(gradients.0 == of(2.25).0, "rank {}, reproducible: {reproducible}", ranks.rank());
            }
            Ok::<_, AverageError<Infallible>>(())
        });
        assert_eq!(results, Ok(vec![(); 3]));
    }
}

#[test]
fn nobody_waits_for_a_rank_that_has_left() {
    let start = Instant::now();
    let failing = |fail: fn() -> Result<(), Failure>| {
        Threads::run(4, move |ranks| {
            for round in 0..10 {
                if (ranks.rank(), round) == (2, 5) {
                    fail()?;
                }
                let mut sum = [0.0];
                ranks.sum_f64(&[1.0], &mut sum)?;
                assert_eq!(sum, [4.0]);
            }
            Ok::<_, Failure>(())
        })
        .unwrap_err()
        .to_string()
    };
    assert_eq!(failing(|| Err("no such file".into())), "rank 2: no such file");
    assert_eq!(failing(|| panic!("out of range")), "rank 2 panicked: out of range");
    // A rank that makes fewer updates than the others.
    let early = Threads::run(2, |ranks| {
        let mut sum = [0.0];
        (0..3 - ranks.rank()).try_for_each(|_| ranks.sum_f64(&[1.0], &mut sum))
    });
    assert_eq!(early, Err(ThreadsError::Failed { rank: 0, error: RanksError::Left { rank: 1 } }));
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(Threads::run(0, |_| Ok::<(), ()>(())), Err(ThreadsError::NoRanks));
}

#[cfg(feature = "dfdx")]
mod dfdx_models {
    use cyclic_optim::adapters::dfdx::{SnapshotEnsemble, named_parameters, range_test};
    use cyclic_optim::range_test::{LossCurve, RangeTest};
    use cyclic_optim::{Adam, OneCycle, Sgd, WarmRestarts};
    use dfdx::prelude::{AsArray, Backward, Cpu, Gradients, MeanTo, Rank1, SampleTensor, Tensor, Trace, ZeroGrads};

    use super::*;
    use crate::support::digits::{Digits, Mlp, train_step};

    fn parameters(model: &Mlp) -> Vec<f64> {
        named_parameters::<_, f32, Cpu>(model).into_iter().flat_map(|(_, values)| values).collect()
    }

    /// The first updates of a run, as each rank makes them.
    fn train<R: Ranks>(
        mut sum: Accumulator<'_, R>,
        batch: usize,
        updates: usize,
    ) -> Result<(Vec<f64>, usize), Failure> {
        let digits = Digits::read();
        let plan = ShardPlan::new(digits.len(), batch, 5)?;
        let mut model = digits.model();
        let mut grads = model.alloc_grads();
        let config =
            ClrConfig::new(WarmRestarts::snapshots(0.003, 100, 5)?).with_clip(Clip { norm: Some(2.0), value: None })?;
        let mut optimizer = CyclicOptimizer::new(Adam::default(), config);
        let mut snapshots = SnapshotEnsemble::new();
        for batch in (0..).flat_map(|epoch| plan.batches(epoch)).take(updates) {
            for micro_batch in sum.micro_batches(&batch) {
                let loss;
                (loss, grads) = train_step(&mut model, grads, digits.images(micro_batch));
                sum.add(&model, &mut grads, loss, micro_batch.len())?;
            }
            optimizer.apply(&mut model, &mut grads, &mut sum)?;
            let _ = snapshots.after_update(&optimizer, &model);
        }
        Ok((parameters(&model), snapshots.snapshots().len()))
    }

    #[test]
    fn ranks_stay_identical_and_near_one_process() {
        let (alone, snapshots) = train(Accumulator::new(), 32, 100).unwrap();
        assert_eq!(snapshots, 5);
        for ranks in [1, 2, 4] {
            let trained = Threads::run(ranks, |ranks| train(Accumulator::on(ranks), 32, 100)).unwrap();
            for (model, snapshots) in &trained {
                assert!(model == &trained[0].0, "{ranks} ranks");
                assert_eq!(*snapshots, 5);
                let far = model.iter().zip(&alone).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(far < 1e-6, "{ranks} ranks: {far:e}");
            }
        }
    }

    #[test]
    fn reproducible_sums_have_the_same_bits_for_any_number_of_ranks() {
        let (alone, _) = train(Accumulator::new().reproducible(4).unwrap(), 32, 60).unwrap();
        for ranks in [1, 2, 3, 4] {
            let trained = Threads::run(ranks, |ranks| train(Accumulator::on(ranks).reproducible(4)?, 32, 60)).unwrap();
            assert!(trained.iter().all(|(model, _)| model == &alone), "{ranks} ranks");
        }
    }

    /// Four micro-batches of one process, and two of each of two ranks, make the update of their union.
    #[test]
    fn micro_batches_are_near_one_batch() {
        let (whole, _) = train(Accumulator::new(), 30, 20).unwrap();
        let (parts, _) = train(Accumulator::new().with_micro_batches(4).unwrap(), 30, 20).unwrap();
        let both = Threads::run(2, |ranks| train(Accumulator::on(ranks).with_micro_batches(4)?, 30, 20)).unwrap();
        for other in [&parts, &both[0].0, &both[1].0] {
            assert!(whole.iter().zip(other).all(|(a, b)| (a - b).abs() < 1e-6));
        }
    }

    /// Without `alloc_grads` a rank that has run no forward pass has no gradients at all, and neither has a parameter that the
    /// loss did not use.
    #[test]
    fn missing_gradients_count_as_zeros() {
        let trained = Threads::run(3, |ranks| {
            let device = Cpu::seed_from_u64(1);
            let mut model: (Tensor<Rank1<3>, f32, Cpu>, Tensor<Rank1<2>, f32, Cpu>) =
                (device.sample_normal(), device.sample_normal());
            let before = model.clone();
            let mut optimizer = CyclicOptimizer::new(Sgd::default(), Constant::new(0.1).unwrap());
            let mut sum = Accumulator::on(ranks);
            let mut grads = Gradients::leaky();
            if ranks.rank() == 1 {
                let loss = model.0.leaky_trace().square().mean();
                let value = loss.array();
                grads = loss.backward();
                sum.add(&model, &mut grads, value, 4)?;
            }
            optimizer.apply(&mut model, &mut grads, &mut sum)?;
            assert_eq!(model.1.array(), before.1.array());
            Ok::<_, UpdateError<_>>((before.0.array(), model.0.array()))
        })
        .unwrap();
        for (before, after) in &trained {
            assert_eq!(after, &trained[0].1);
            for (before, after) in before.iter().zip(after) {
                assert!((after - before * (1.0 - 0.1 * 2.0 / 3.0)).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn a_range_test_has_the_same_curve_on_every_rank() {
        let sweep = |ranks: &Threads| -> Result<LossCurve, Failure> {
            let digits = Digits::read();
            let (model, inner) = (digits.model(), Adam::<f32, Cpu>::default());
            let plan = ShardPlan::new(digits.len(), 32, 2)?;
            let mut sum = Accumulator::on(ranks);
            let train = |model: &mut Mlp, grads, batch: Vec<usize>| -> Result<(f64, Gradients<f32, Cpu>), Failure> {
                let mine = ranks.share(&batch);
                let (loss, mut grads) = train_step(model, grads, digits.images(mine));
                sum.add(model, &mut grads, loss, mine.len())?;
                Ok((sum.average(model, &mut grads)?, grads))
            };
            let test = RangeTest::logarithmic(1e-4, 3.0, 60)?;
            Ok(range_test(&model, &inner, &test, plan.batches(0).chain(plan.batches(1)), train, |_| Ok(None))?)
        };
        let curves = Threads::run(2, sweep).unwrap();
        assert_eq!(curves[0], curves[1]);
        let alone = Threads::run(1, sweep).unwrap();
        // If the loss diverges, rounding errors grow with it.
        for (two, one) in curves[0].points().iter().zip(alone[0].points()).take(30) {
            assert!((two.loss - one.loss).abs() < 1e-4, "{two:?} {one:?}");
        }
    }

    /// The schedule of a run with accumulation counts its updates.
    #[test]
    fn the_schedule_counts_updates() {
        let digits = Digits::read();
        let mut model = digits.model();
        let mut grads = model.alloc_grads();
        let mut optimizer = CyclicOptimizer::new(Adam::default(), OneCycle::new(0.01, 10).unwrap());
        let mut sum = Accumulator::new();
        for n in 0..30 {
            let loss;
            (loss, grads) = train_step(&mut model, grads, digits.images(&[n]));
            if n % 3 < 2 {
                sum.add(&model, &mut grads, loss, 1).unwrap();
            } else {
                let used = optimizer.apply(&mut model, &mut grads, sum.with(loss, 1)).unwrap();
                assert_eq!(used.step, n as u64 / 3);
            }
        }
        assert!(optimizer.is_finished());
    }
}

#[cfg(all(feature = "dfdx", feature = "checkpoint"))]
mod checkpoints {
    use std::fs;
    use std::path::Path;

    use cyclic_optim::checkpoint::Difference;
    use cyclic_optim::training::BestWeights;
    use cyclic_optim::{Adam, Checkpoint, CheckpointError};
    use dfdx::nn::{builders, modules};
    use dfdx::prelude::{AsArray, Cpu, DeviceBuildExt, ZeroGrads};

    use super::*;
    use crate::support::Folder;
    use crate::support::digits::{Digits, Mlp, train_step};

    fn fresh(max_lr: f64) -> CyclicOptimizer<Adam<f32, Cpu>> {
        CyclicOptimizer::new(Adam::default(), Cyclic::triangular(0.001, max_lr, 7).unwrap())
    }

    /// Trains up to update `end`, from a checkpoint if there is one, and saves at the end.
    fn train(ranks: &Threads, path: &Path, end: u64) -> Result<(Option<u64>, Vec<u8>), Failure> {
        let digits = Digits::read();
        let plan = ShardPlan::new(digits.len(), 32, 5)?;
        let (mut model, mut optimizer, mut best) = (digits.model(), fresh(0.01), BestWeights::<Mlp>::new());
        let resumed =
            Checkpoint::resume_or_start_on(ranks, path, &mut model, &mut optimizer, &mut [("best", &mut best)])?;
        let mut sum = Accumulator::on(ranks).reproducible(4)?;
        let mut grads = model.alloc_grads();
        let done = usize::try_from(optimizer.iterations())?;
        for batch in (0..).flat_map(|epoch| plan.batches(epoch)).skip(done).take(usize::try_from(end)? - done) {
            for micro_batch in sum.micro_batches(&batch) {
                let loss;
                (loss, grads) = train_step(&mut model, grads, digits.images(micro_batch));
                sum.add(&model, &mut grads, loss, micro_batch.len())?;
            }
            optimizer.apply(&mut model, &mut grads, &mut sum)?;
        }
        Checkpoint::write_on(ranks, path, &model, &optimizer, &[("best", &best)])?;
        Ok((resumed, Checkpoint::to_bytes(&model, &optimizer)?))
    }

    #[test]
    fn a_run_resumes_on_another_number_of_ranks_to_the_same_bits() {
        let folder = Folder::new("parallel-resume");
        let (whole, parts) = (folder.0.join("whole"), folder.0.join("parts"));
        let undisturbed = Threads::run(2, |ranks| train(ranks, &whole, 30)).unwrap();
        for (ranks, end, expected) in [(4, 10, None), (1, 15, Some(10)), (2, 30, Some(15))] {
            let resumed = Threads::run(ranks, |ranks| train(ranks, &parts, end)).unwrap();
            for (from, bytes) in &resumed {
                assert_eq!(*from, expected);
                assert!(end < 30 || bytes == &undisturbed[0].1);
            }
        }
        assert!(fs::read(whole).unwrap() == fs::read(parts).unwrap());
    }

    /// The errors of three ranks when `other` makes the run of rank 1.
    fn started<T: Send>(start: impl Fn(&Threads) -> Result<T, CheckpointError> + Sync) -> [Option<CheckpointError>; 3] {
        let results = Threads::run(3, |ranks| Ok::<_, ()>(start(ranks).err())).unwrap();
        results.try_into().unwrap()
    }

    #[test]
    fn ranks_with_other_configs_or_models_are_named_everywhere() {
        let errors = started(|ranks| {
            let max_lr = if ranks.rank() == 1 { 0.02 } else { 0.01 };
            Checkpoint::share(ranks, &mut Digits::read().model(), &mut fresh(max_lr), &mut [])
        });
        let differences = vec![Difference {
            field: "config.schedule.cyclic.max_lr".into(),
            saved: "0.01".into(),
            present: "0.02".into(),
        }];
        assert!(
            matches!(&errors[1], Some(CheckpointError::OtherConfigThanRank0(found)) if *found == differences),
            "{:?}",
            errors[1]
        );
        for error in [&errors[0], &errors[2]] {
            assert!(matches!(error, Some(CheckpointError::Ranks(RanksError::Failed { rank: 1, .. }))), "{error:?}");
            assert_eq!(
                error.as_ref().unwrap().to_string(),
                "rank 1: this rank has another config than rank 0: config.schedule.cyclic.max_lr is 0.02 here and 0.01 there"
            );
        }
        let small = |ranks: &Threads| {
            let device = Cpu::default();
            let (mut two, mut three): (modules::Linear<2, 1, f32, Cpu>, modules::Linear<3, 1, f32, Cpu>) = (
                device.build_module::<builders::Linear<2, 1>, f32>(),
                device.build_module::<builders::Linear<3, 1>, f32>(),
            );
            if ranks.rank() == 1 {
                Checkpoint::share(ranks, &mut three, &mut fresh(0.01), &mut [])
            } else {
                Checkpoint::share(ranks, &mut two, &mut fresh(0.01), &mut [])
            }
        };
        let errors = started(small);
        assert!(matches!(&errors[1], Some(CheckpointError::Tensor { .. })), "{:?}", errors[1]);
        for error in [&errors[0], &errors[2]] {
            assert!(matches!(error, Some(CheckpointError::Ranks(RanksError::Failed { rank: 1, .. }))), "{error:?}");
        }
        // A file of another model, which only rank 0 reads.
        let folder = Folder::new("parallel-other");
        let path = folder.0.join("other");
        let model = Cpu::default().build_module::<builders::Linear<2, 1>, f32>();
        Checkpoint::write(&path, &model, &fresh(0.01)).unwrap();
        let read = |ranks: &Threads| {
            Checkpoint::resume_or_start_on(ranks, &path, &mut Digits::read().model(), &mut fresh(0.01), &mut [])
        };
        let errors = started(read);
        assert!(matches!(&errors[0], Some(CheckpointError::File { .. })), "{:?}", errors[0]);
        for error in &errors[1..] {
            assert!(matches!(error, Some(CheckpointError::Ranks(RanksError::Failed { rank: 0, .. }))), "{error:?}");
        }
        // A folder that does not exist. Only rank 0 tries to write.
        let path = folder.0.join("no/such/folder");
        let errors = started(|ranks| Checkpoint::write_on(ranks, &path, &Digits::read().model(), &fresh(0.01), &[]));
        assert!(matches!(&errors[0], Some(CheckpointError::Io { .. })), "{:?}", errors[0]);
        assert!(errors[1..].iter().all(|error| matches!(error, Some(CheckpointError::Ranks(_)))), "{errors:?}");
    }

    /// Rank 0 has made updates, and the others have other weights. All continue with the weights and moments of rank 0.
    #[test]
    fn ranks_start_with_the_moments_of_rank_0() {
        let shared = Threads::run(2, |ranks| {
            let digits = Digits::read();
            let (mut model, mut optimizer) = (digits.model(), fresh(0.01));
            let mut grads = model.alloc_grads();
            for _ in 0..3 * (1 - ranks.rank()) {
                let loss;
                (loss, grads) = train_step(&mut model, grads, digits.images(&[1, 2, 3]));
                optimizer.apply(&mut model, &mut grads, loss)?;
            }
            let before = model.2.bias.array();
            Checkpoint::share(ranks, &mut model, &mut optimizer, &mut [])?;
            Ok::<_, Failure>((before, Checkpoint::to_bytes(&model, &optimizer)?, optimizer.iterations()))
        })
        .unwrap();
        assert!(shared[0].1 == shared[1].1 && shared[1].2 == 3);
        assert_ne!(shared[0].0, shared[1].0);
    }
}
