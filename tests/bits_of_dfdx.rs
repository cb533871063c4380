//! Our Adam, Sgd and RMSprop give the bits of dfdx's own, with every option, number type and size, clipped or not.

#![cfg(feature = "dfdx")]
#![allow(clippy::cast_precision_loss, reason = "small numbers")]

use cyclic_optim::adapters::dfdx::{InPlace, named_parameters};
use cyclic_optim::training::{GradientsOf, UpdateInPlace, clip_gradients};
use cyclic_optim::{Adam, AdamW, Clip, ClrConfig, Constant, CyclicOptimizer, Hyperparameters, RMSprop, Sgd};
use dfdx::dtypes::Dtype;
use dfdx::optim::{AdamConfig, Momentum, Optimizer, RMSpropConfig, SgdConfig, WeightDecay};
use dfdx::prelude::{Axes2, Const, Cpu, PermuteTo, Rank1, Rank2, Tensor, TensorFromVec, ZeroGrads};
use dfdx::tensor::Gradients;
use dfdx::tensor_ops::Device;
use proptest::prelude::*;

/// Sizes of parameters just below and above the limits at which the way of updating changes, and at which a block ends.
type Model<E> = (Row<1, E>, Row<31, E>, Row<40, E>, Row<1024, E>, Row<1500, E>, Row<70_000, E>);
type Row<const N: usize, E> = Tensor<Rank1<N>, E, Cpu>;

/// Numbers of many sizes and both signs, some of them 0.
fn numbers<E: Dtype>(length: usize, seed: u64) -> Vec<E> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (mantissa, exponent) = ((state >> 40) as f64 / f64::from(1 << 24) - 0.5, (state >> 8) % 20);
        E::from_f64(if exponent == 0 { 0.0 } else { mantissa * 0.25_f64.powf(exponent as f64) }).unwrap()
    };
    (0..length).map(|_| next()).collect()
}

fn row<const N: usize, E: Dtype>() -> Row<N, E>
where
    Cpu: Device<E>,
{
    Cpu::default().tensor_from_vec(numbers(N, 1), (Const::<N>,))
}

fn model<E: Dtype>() -> Model<E>
where
    Cpu: Device<E>,
{
    (row(), row(), row(), row(), row(), row())
}

fn fill<E: Dtype>(gradients: &mut Gradients<E, Cpu>, model: &Model<E>, seed: u64)
where
    Cpu: Device<E>,
{
    let mut seeds = (seed * 100)..;
    let filled = gradients.for_each(model, true, |values| {
        values.copy_from_slice(&numbers(values.len(), seeds.next().unwrap()));
        true
    });
    filled.unwrap();
}

fn bits<E: Dtype>(model: &Model<E>) -> Vec<u64>
where
    Cpu: Device<E>,
{
    // A NaN is a NaN, whatever its sign.
    let bits = |value: f64| if value.is_nan() { u64::MAX } else { value.to_bits() };
    named_parameters(model).into_iter().flat_map(|(_, values)| values).map(bits).collect()
}

/// Four updates of both optimizers from the same numbers. Ours makes two of them in place and two from borrowed gradients.
fn same<E: Dtype, T, O>(mut theirs: T, mut ours: O) -> Result<(), TestCaseError>
where
    Cpu: Device<E>,
    T: Optimizer<Model<E>, Cpu, E>,
    O: Optimizer<Model<E>, Cpu, E> + InPlace<Model<E>, Cpu, E>,
{
    let mut one = model::<E>();
    let mut other = one.clone();
    let (mut gradients, mut other_gradients) = (one.alloc_grads(), other.alloc_grads());
    for update in 0..4 {
        fill(&mut gradients, &one, 7 + update);
        fill(&mut other_gradients, &other, 7 + update);
        theirs.update(&mut one, &gradients).unwrap();
        if update % 2 == 0 {
            ours.update_in_place(&mut other, &mut other_gradients).unwrap();
            let (left, large) = (other_gradients.get(&other.3).as_vec(), other_gradients.get(&other.5).as_vec());
            prop_assert!(left.len() == 1024 && left.iter().all(|gradient| *gradient == E::default()));
            prop_assert!(large.len() == 70_000 && large.iter().all(|gradient| *gradient == E::default()));
        } else {
            ours.update(&mut other, &other_gradients).unwrap();
        }
        prop_assert!(bits(&one) == bits(&other), "update {}", update);
    }
    Ok(())
}

fn weight_decays() -> impl Strategy<Value = Option<WeightDecay>> {
    prop_oneof![
        Just(None),
        (0.0..0.5).prop_map(|strength| Some(WeightDecay::L2(strength))),
        (0.0..0.5).prop_map(|strength| Some(WeightDecay::Decoupled(strength))),
    ]
}

fn adams() -> impl Strategy<Value = AdamConfig> {
    (0.0..0.1, [0.0..1.0, 0.0..1.0], 1e-12..1e-2, weight_decays())
        .prop_map(|(lr, betas, eps, weight_decay)| AdamConfig { lr, betas, eps, weight_decay })
}

fn sgds() -> impl Strategy<Value = SgdConfig> {
    let momentum = prop_oneof![
        Just(None),
        (0.0..1.0).prop_map(|momentum| Some(Momentum::Classic(momentum))),
        (0.0..1.0).prop_map(|momentum| Some(Momentum::Nesterov(momentum))),
    ];
    (0.0..0.1, momentum, weight_decays()).prop_map(|(lr, momentum, weight_decay)| SgdConfig {
        lr,
        momentum,
        weight_decay,
    })
}

fn rmsprops() -> impl Strategy<Value = RMSpropConfig> {
    (0.0..0.1, 0.0..1.0, 1e-12..1e-2, proptest::option::of(0.0..1.0), any::<bool>(), weight_decays()).prop_map(
        |(lr, alpha, eps, momentum, centered, weight_decay)| RMSpropConfig {
            lr,
            alpha,
            eps,
            momentum,
            centered,
            weight_decay,
        },
    )
}

macro_rules! laws {
    ($($law:ident: $rule:ident of $configs:ident;)+) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(8))]
            $(
                #[test]
                fn $law(config in $configs()) {
                    let model = (model::<f32>(), model::<f64>());
                    same::<f32, _, _>(dfdx::optim::$rule::new(&model.0, config), $rule::new(config))?;
                    same::<f64, _, _>(dfdx::optim::$rule::new(&model.1, config), $rule::new(config))?;
                }
            )+
        }
    };
}

laws! {
    adam_has_the_bits_of_dfdx: Adam of adams;
    sgd_has_the_bits_of_dfdx: Sgd of sgds;
    rmsprop_has_the_bits_of_dfdx: RMSprop of rmsprops;
}

/// Clipping inside the loop of the update gives the same bits as a separate pass before it.
fn clips_alike<E: Dtype, O>(clip: Clip, optimizer: impl Fn() -> O) -> Result<(), TestCaseError>
where
    Cpu: Device<E>,
    O: InPlace<Model<E>, Cpu, E, Error = dfdx::tensor::CpuError> + Hyperparameters,
{
    let config = ClrConfig::new(Constant::new(0.01).unwrap());
    let mut fused = CyclicOptimizer::new(optimizer(), config.clone().with_clip(clip).unwrap());
    let mut plain = CyclicOptimizer::new(optimizer(), config);
    let mut one = model::<E>();
    let mut other = one.clone();
    let (mut gradients, mut other_gradients) = (one.alloc_grads(), other.alloc_grads());
    for update in 0..3 {
        fill(&mut gradients, &one, update);
        fill(&mut other_gradients, &other, update);
        let used = fused.apply(&mut one, &mut gradients, 1.0).unwrap();
        let norm = clip_gradients(&other, &mut other_gradients, clip).unwrap();
        plain.apply(&mut other, &mut other_gradients, 1.0).unwrap();
        prop_assert_eq!(used.grad_norm, Some(norm));
        prop_assert!(bits(&one) == bits(&other), "update {}", update);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn clipping_in_the_loop_has_the_bits_of_clipping_before_it(
        norm in proptest::option::of(0.01..2.0),
        value in proptest::option::of(1e-4..0.5),
        config in adams(),
    ) {
        let clip = Clip { norm, value };
        prop_assume!(clip != Clip::default());
        clips_alike::<f32, _>(clip, || Adam::new(config))?;
        clips_alike::<f64, _>(clip, || Adam::new(config))?;
        clips_alike::<f32, _>(clip, Sgd::default)?;
        // dfdx's own clip in a pass before their update.
        let model = model::<f32>();
        clips_alike::<f32, _>(clip, || dfdx::optim::Adam::new(&model, config))?;
    }
}

#[test]
fn adamw_has_the_bits_of_adam_with_decoupled_weight_decay() {
    let config = AdamConfig { weight_decay: Some(WeightDecay::Decoupled(1e-2)), ..AdamConfig::default() };
    same::<f32, _, _>(dfdx::optim::Adam::new(&model::<f32>(), config), AdamW::default()).unwrap();
    same::<f64, _, _>(dfdx::optim::Adam::new(&model::<f64>(), config), AdamW::default()).unwrap();
}

/// A large parameter whose numbers are not in the order of its axes is updated in the slower way, and dfdx does not
/// panic.
#[test]
fn a_transposed_parameter_is_updated() {
    let device = Cpu::default();
    let straight: Tensor<Rank2<300, 300>, f32, _> =
        device.tensor_from_vec(numbers(90_000, 3), (Const::<300>, Const::<300>));
    let mut one = straight.clone().permute::<_, Axes2<1, 0>>();
    let mut other = one.clone();
    let (mut ours, mut theirs) = (Sgd::default(), dfdx::optim::Sgd::new(&one, SgdConfig::default()));
    let mut gradients = one.alloc_grads();
    gradients.get_or_alloc_mut(&one).unwrap().copy_from_slice(&numbers(90_000, 4));
    let mut other_gradients = other.alloc_grads();
    other_gradients.get_or_alloc_mut(&other).unwrap().copy_from_slice(&numbers(90_000, 4));
    theirs.update(&mut other, &other_gradients).unwrap();
    ours.update_in_place(&mut one, &mut gradients).unwrap();
    assert!(one.as_vec() == other.as_vec() && one.as_vec() != straight.permute::<_, Axes2<1, 0>>().as_vec());
}

/// A clone continues independently of its original, also in another thread.
#[test]
fn clones_share_nothing() {
    let mut one = model::<f32>();
    let mut gradients = one.alloc_grads();
    fill(&mut gradients, &one, 1);
    let mut optimizer = Adam::default();
    optimizer.update_in_place(&mut one, &mut gradients).unwrap();
    let (mut other, mut clone) = (one.clone(), optimizer.clone());
    // dfdx's models are Send, and so are our optimizers.
    let there = std::thread::spawn(move || {
        let mut gradients = other.alloc_grads();
        fill(&mut gradients, &other, 2);
        clone.update_in_place(&mut other, &mut gradients).unwrap();
        bits(&other)
    });
    fill(&mut gradients, &one, 2);
    optimizer.update_in_place(&mut one, &mut gradients).unwrap();
    assert!(there.join().unwrap() == bits(&one));
}
