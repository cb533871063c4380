//! Statistics of activations, compared with numpy and with a plain computation over all inputs at once.

#![cfg(feature = "dfdx")]

use cyclic_optim::ConfigError;
use cyclic_optim::adapters::dfdx::{
    ActivationStatistics, DeadRelus, LayerStatistics, WatchActivations, named_activations,
};
use dfdx::prelude::*;
use proptest::prelude::*;

type Images = Tensor<(usize, usize, usize, usize), f32, Cpu>;

/// A convolution with a kernel of 3 x 3, place by place: dfdx's own needs a nightly Rust.
struct Convolution(Images);

impl Module<Images> for Convolution {
    type Output = Images;
    type Error = <Cpu as HasErr>::Err;

    fn try_forward(&self, images: Images) -> Result<Images, Self::Error> {
        let (batch, channels, height, width) = *images.shape();
        let (x, w, outputs) = (images.as_vec(), self.0.as_vec(), self.0.shape().0);
        let mut y = Vec::new();
        for (image, output) in (0..batch).flat_map(|image| (0..outputs).map(move |output| (image, output))) {
            for (top, left) in (0..height - 2).flat_map(|top| (0..width - 2).map(move |left| (top, left))) {
                let mut sum = 0.0;
                for (n, weight) in w[output * channels * 9..(output + 1) * channels * 9].iter().enumerate() {
                    let (channel, row, column) = (n / 9, n / 3 % 3, n % 3);
                    sum += weight * x[((image * channels + channel) * height + top + row) * width + left + column];
                }
                y.push(sum);
            }
        }
        images.device().try_tensor_from_vec(y, (batch, outputs, height - 2, width - 2))
    }
}

impl WatchActivations<Images> for Convolution {}

/// The numbers `(factor i mod modulus - shift) / divisor`, which single precision holds exactly, as their products do.
fn images(shape: [usize; 4], factor: usize, modulus: usize, (shift, divisor): (f32, f32)) -> Images {
    let number = |i: usize| (f32::from(u16::try_from(factor * i % modulus).unwrap()) - shift) / divisor;
    let values = (0..shape.iter().product()).map(number).collect();
    Cpu::default().tensor_from_vec(values, shape.into())
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-14 * b.abs().max(1.0)
}

/// numpy 2.4.6: `a = np.maximum(y, 0)`, `a.mean()`, `a.std()`, `(abs(a) <= 0).mean()`, `(a <= 0.5).mean()`, where `y` is the
/// convolution of the same numbers, image by image and place by place.
#[test]
fn a_convolution_has_the_statistics_of_numpy() {
    let model = (Convolution(images([4, 2, 3, 3], 5, 13, (6.0, 8.0))), ReLU);
    let inputs = images([3, 2, 5, 5], 7, 11, (5.0, 4.0));
    let (mut exact, mut near) = (ActivationStatistics::new(), ActivationStatistics::new().with_near_zero(0.5).unwrap());
    // The same inputs as one batch, and as three.
    let output = exact.watch(&model, inputs.clone()).unwrap();
    assert_eq!(output.as_vec(), model.forward(inputs.clone()).as_vec());
    for image in inputs.as_vec().chunks_exact(2 * 5 * 5) {
        near.watch(&model, Cpu::default().tensor_from_vec(image.to_vec(), (1, 2, 5, 5))).unwrap();
    }
    for (statistics, zeros) in [(&exact, 0.453_703_703_703_703_7), (&near, 0.648_148_148_148_148_1)] {
        let [layer] = &statistics.report()[..] else { panic!("one layer") };
        assert_eq!((layer.layer.as_str(), layer.activations), ("1", 3 * 4 * 3 * 3));
        assert!(close(layer.mean, 0.591_435_185_185_185_2), "{layer:?}");
        assert!(close(layer.standard_deviation, 0.750_321_879_517_299_7), "{layer:?}");
        assert!(close(layer.zeros, zeros), "{layer:?}");
    }
    let [(name, values)] = &named_activations(&model, inputs.clone()).unwrap()[..] else { panic!("one layer") };
    let output: Vec<f64> = output.as_vec().into_iter().map(f64::from).collect();
    assert_eq!((name.as_str(), values), ("1", &output));
    let mut dead = DeadRelus::new();
    dead.watch(&model, inputs).unwrap();
    assert_eq!((dead.report()[0].units, dead.metrics()), (4, vec![("dead_share/1".to_owned(), 0.0)]));
}

/// Mean, standard deviation and share of zeros, the plain way.
fn plain(values: &[f64]) -> (f64, f64, f64) {
    let number = |count: usize| f64::from(u32::try_from(count).unwrap());
    let n = number(values.len());
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
    (mean, variance.sqrt(), number(values.iter().filter(|value| **value == 0.0).count()) / n)
}

proptest! {
    /// However the inputs are divided into batches: the statistics are those of all of them, also far from 0, where the
    /// difference of two sums of squares would have no digit left.
    #[test]
    fn batches_make_no_difference(
        batches in prop::collection::vec(prop::collection::vec(prop_oneof![Just(0.0), -1.0..3.0_f64], 0..20), 1..8),
        offset in prop_oneof![Just(0.0), Just(1e9)],
    ) {
        let device = Cpu::default();
        let mut statistics = ActivationStatistics::new();
        let mut all = Vec::new();
        for batch in &batches {
            let values: Vec<f64> = batch.iter().map(|value| value + offset).collect();
            statistics.observe("layer", &device.tensor_from_vec(values.clone(), (values.len(), 1_usize)));
            all.extend(values);
        }
        let report = statistics.report();
        if all.is_empty() {
            prop_assert!(report.is_empty());
        } else {
            let (mean, deviation, zeros) = plain(&all);
            let LayerStatistics { mean: m, standard_deviation: d, zeros: z, activations, .. } = report[0].clone();
            prop_assert!((m - mean).abs() <= 1e-15 * offset + 1e-13, "{m} {mean}");
            prop_assert!((d - deviation).abs() <= 1e-6 * (offset / 1e9) + 1e-13, "{d} {deviation}");
            prop_assert_eq!((z, activations), (zeros, all.len() as u64));
        }
    }
}

#[test]
fn each_layer_of_a_model_has_its_names() {
    type Model = ((Linear<4, 6>, ReLU), Residual<(Linear<6, 6>, ReLU)>);
    let device = Cpu::seed_from_u64(1);
    let model = device.build_module::<Model, f32>();
    let mut statistics = ActivationStatistics::new();
    let x: Tensor<Rank2<8, 4>, f32, _> = device.sample_normal();
    // With a tape, too.
    let traced = statistics.watch(&model, x.leaky_trace()).unwrap();
    assert!(traced.sum().backward().get(&model.0.0.bias).array().iter().any(|gradient| *gradient != 0.0));
    let names: Vec<String> = statistics.metrics().into_iter().map(|(name, _)| name).collect();
    let expected = ["mean/0.1", "std/0.1", "zeros/0.1", "mean/1.0.1", "std/1.0.1", "zeros/1.0.1"];
    assert_eq!(names, expected.map(|name| format!("activation_{name}")));
    statistics.reset();
    assert!(statistics.report().is_empty() && statistics.metrics().is_empty());
}

#[test]
fn a_batch_without_inputs_changes_nothing() {
    let device = Cpu::default();
    let (mut statistics, mut dead) = (ActivationStatistics::new(), DeadRelus::new());
    let empty: Tensor<(usize, Const<3>), f32, _> = device.zeros_like(&(0, Const));
    statistics.watch(&(ReLU,), empty.clone()).unwrap();
    dead.watch(&(ReLU,), empty.clone()).unwrap();
    assert!(statistics.report().is_empty() && dead.report().is_empty());
    let batch = device.tensor_from_vec(vec![1.0, -1.0, 0.0], (1, Const));
    for batch in [batch, empty] {
        dead.watch(&(ReLU,), batch).unwrap();
        assert_eq!(dead.report()[0].dead, [1, 2]);
    }
}

#[test]
fn what_is_not_a_number_is_seen() {
    let device = Cpu::default();
    let mut statistics = ActivationStatistics::new();
    statistics.observe("a", &device.tensor([1.0_f32, 2.0]));
    statistics.observe("a", &device.tensor([f32::NAN, 0.0]));
    let report = statistics.report();
    assert!(report[0].mean.is_nan() && report[0].standard_deviation.is_nan());
    assert_eq!((report[0].zeros, report[0].activations), (0.25, 4));
    // As in one batch with all of them.
    let inf = f32::INFINITY;
    for (batches, mean) in [
        ([[inf, 0.0], [1.0, 2.0]], f64::INFINITY),
        ([[1.0, 2.0], [-inf, 0.0]], f64::NEG_INFINITY),
        ([[inf, 0.0], [1.0, inf]], f64::INFINITY),
        ([[inf, 0.0], [1.0, -inf]], f64::NAN),
    ] {
        let (mut parts, mut whole) = (ActivationStatistics::new(), ActivationStatistics::new());
        for batch in batches {
            parts.observe("a", &device.tensor(batch));
        }
        whole.observe("a", &device.tensor(batches));
        for found in [parts.report(), whole.report()] {
            assert_eq!(found[0].mean.to_string(), mean.to_string(), "{batches:?}");
            assert!(found[0].standard_deviation.is_nan(), "{batches:?}");
        }
    }
    for bad in [-0.1, f64::NAN, f64::INFINITY] {
        let refused = ActivationStatistics::new().with_near_zero(bad);
        assert!(matches!(refused, Err(ConfigError::OutOfRange { field: "near_zero", .. })));
    }
}
