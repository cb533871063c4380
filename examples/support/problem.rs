//! What a network can be trained on: images to classify, and a function to learn.

use std::convert::Infallible;
use std::error::Error;

use cyclic_optim::adapters::dfdx::{InPlace, range_test};
use cyclic_optim::range_test::{LossCurve, RangeTest};
use cyclic_optim::{Hyperparameters, Smoothing};
use dfdx::nn::tensor_collection::TensorCollection;
use dfdx::nn::{builders, modules};
use dfdx::prelude::{AsArray, Backward, Const, Cpu, DeviceBuildExt, Module, Tensor, TensorFromVec, Trace, mse_loss};
use dfdx::tensor::Gradients;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::digits::{Data, Mlp, Task, train_step};

/// A model, batches to train it on, and a score on data that it was not trained on.
pub(crate) trait Problem: Sync + Sized {
    type Model: Clone + TensorCollection<f32, Cpu>;
    type Batch: Clone;

    /// The same problem with a share of the training data held out to score on.
    fn hold_out(&self, share: f64) -> Result<Self, String>;

    /// A model with fresh weights.
    fn model(&self, seed: u64) -> Self::Model;

    /// Batches without end, in an order that is a function of the seed alone.
    fn batches(&self, seed: u64, size: usize) -> Box<dyn Iterator<Item = Self::Batch> + '_>;

    /// Forward and backward pass: the loss, and the gradients.
    fn step(model: &mut Self::Model, grads: Gradients<f32, Cpu>, batch: Self::Batch) -> (f32, Gradients<f32, Cpu>);

    /// 1 is perfect: the share of the images that is recognised, or of the variance that is explained.
    fn score(&self, model: &Self::Model) -> f64;
}

impl Problem for Data {
    type Model = Mlp;
    type Batch = super::digits::Batch;

    fn hold_out(&self, share: f64) -> Result<Self, String> {
        Data::hold_out(self, share)
    }

    fn model(&self, seed: u64) -> Mlp {
        Task::new(self, seed).model()
    }

    fn batches(&self, seed: u64, size: usize) -> Box<dyn Iterator<Item = Self::Batch> + '_> {
        let task = Task::new(self, seed).with_batch(size);
        Box::new((0..).flat_map(move |epoch| task.batches(epoch).collect::<Vec<_>>()))
    }

    fn step(model: &mut Mlp, grads: Gradients<f32, Cpu>, batch: Self::Batch) -> (f32, Gradients<f32, Cpu>) {
        train_step(model, grads, batch)
    }

    fn score(&self, model: &Mlp) -> f64 {
        Task::new(self, 0).test(model).accuracy()
    }
}

/// The losses of a range test over batches of a problem, and their smoothing.
pub(crate) fn sweep<P, O>(
    model: &P::Model,
    batches: impl Iterator<Item = P::Batch>,
    inner: &O,
) -> Result<(LossCurve, Smoothing), Box<dyn Error>>
where
    P: Problem,
    O: InPlace<P::Model, Cpu, f32> + Hyperparameters + Clone,
{
    let step = |model: &mut _, grads, batch| Ok::<_, Infallible>(P::step(model, grads, batch));
    let test = RangeTest::logarithmic(1e-5, 3.0, 200)?;
    let curve = range_test(model, inner, &test, batches, step, |_| Ok(None))?;
    Ok((curve, Smoothing::exponential(0.8)?))
}

const INPUTS: usize = 10;
type Inputs = Tensor<(usize, Const<INPUTS>), f32, Cpu>;
type Outputs = Tensor<(usize, Const<1>), f32, Cpu>;

/// Regression: Friedman's first function of ten uniform inputs, five of which have no effect, with noise of deviation 1.
///
/// `y = 10 sin(pi x1 x2) + 20 (x3 - 1/2)^2 + 10 x4 + 5 x5`; J. H. Friedman, *Multivariate Adaptive Regression Splines*, 1991.
pub(crate) struct Friedman {
    train: Vec<([f32; INPUTS], f32)>,
    test: Vec<([f32; INPUTS], f32)>,
}

impl Friedman {
    pub(crate) fn new() -> Self {
        let mut random = StdRng::seed_from_u64(1991);
        let mut samples = |count: usize| -> Vec<_> {
            let mut sample = || {
                let x: [f32; INPUTS] = std::array::from_fn(|_| random.r#gen());
                let clean = 10.0 * (std::f32::consts::PI * x[0] * x[1]).sin() + 20.0 * (x[2] - 0.5).powi(2);
                // The sum of twelve uniform numbers is nearly normal, with variance 1.
                let noise: f32 = (0..12).map(|_| random.r#gen::<f32>()).sum::<f32>() - 6.0;
                // Mean and deviation of y are about 14.4 and 5.
                (x, (clean + 10.0 * x[3] + 5.0 * x[4] + noise - 14.4) / 5.0)
            };
            (0..count).map(|_| sample()).collect()
        };
        Self { train: samples(4000), test: samples(1000) }
    }
}

fn tensors(device: &Cpu, samples: &[&([f32; INPUTS], f32)]) -> (Inputs, Outputs) {
    let x = samples.iter().flat_map(|sample| sample.0).collect();
    let y = samples.iter().map(|sample| sample.1).collect();
    let shape = samples.len();
    (device.tensor_from_vec(x, (shape, Const)), device.tensor_from_vec(y, (shape, Const)))
}

impl Problem for Friedman {
    type Model = (
        (modules::Linear<INPUTS, 64, f32, Cpu>, modules::ReLU),
        (modules::Linear<64, 32, f32, Cpu>, modules::ReLU),
        modules::Linear<32, 1, f32, Cpu>,
    );
    type Batch = (Inputs, Outputs);

    fn hold_out(&self, share: f64) -> Result<Self, String> {
        let all = self.train.len();
        let kept = (0..all).filter(|&n| (n as f64) < all as f64 * (1.0 - share)).count();
        let (train, test) = self.train.split_at(kept);
        Ok(Self { train: train.into(), test: test.into() })
    }

    fn model(&self, seed: u64) -> Self::Model {
        type Net = (
            (builders::Linear<INPUTS, 64>, builders::ReLU),
            (builders::Linear<64, 32>, builders::ReLU),
            builders::Linear<32, 1>,
        );
        Cpu::seed_from_u64(seed).build_module::<Net, f32>()
    }

    fn batches(&self, seed: u64, size: usize) -> Box<dyn Iterator<Item = Self::Batch> + '_> {
        let device = Cpu::default();
        let epoch = move |epoch: u64| {
            let mut order: Vec<_> = self.train.iter().collect();
            order.shuffle(&mut StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(epoch)));
            order.chunks(size).map(|samples| tensors(&device, samples)).collect::<Vec<_>>()
        };
        Box::new((0..).flat_map(epoch))
    }

    fn step(model: &mut Self::Model, grads: Gradients<f32, Cpu>, (x, y): Self::Batch) -> (f32, Gradients<f32, Cpu>) {
        let loss = mse_loss(model.forward(x.traced(grads)), y);
        (loss.array(), loss.backward())
    }

    fn score(&self, model: &Self::Model) -> f64 {
        let (x, y) = tensors(&Cpu::default(), &self.test.iter().collect::<Vec<_>>());
        let (found, wanted) = (model.forward(x).as_vec(), y.as_vec());
        let mean = wanted.iter().map(|&y| f64::from(y)).sum::<f64>() / wanted.len() as f64;
        let square = |difference: f64| difference * difference;
        let unexplained: f64 = found.iter().zip(&wanted).map(|(&f, &w)| square(f64::from(f) - f64::from(w))).sum();
        1.0 - unexplained / wanted.iter().map(|&w| square(f64::from(w) - mean)).sum::<f64>()
    }
}
