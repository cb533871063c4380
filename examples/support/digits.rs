//! The job that the examples do: a small network that reads handwritten digits.

use std::error::Error;
use std::path::{Path, PathBuf};

use cyclic_optim::adapters::dfdx::{InPlace, choose_peak};
use cyclic_optim::range_test::{LossCurve, NoSuggestion, PeakChoice, PeakSearch};
use cyclic_optim::{Adam, ClrConfig, CyclicOptimizer, Hyperparameters};
use dfdx::nn::{builders, modules};
use dfdx::optim::AdamConfig;
use dfdx::prelude::{
    AsArray, Backward, Const, Cpu, DeviceBuildExt, Module, ModuleMut, Tensor, TensorFromVec, Trace, ZeroGrads,
    cross_entropy_with_logits_loss,
};
use dfdx::tensor::{Gradients, NoneTape};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::idx::Images;
use super::input::{Input, Pixels};
use super::output::say;

/// On what to train and for how long: the options of every example that trains.
#[derive(clap::Args)]
pub(crate) struct Run {
    /// Folder with the four IDX files of MNIST, Fashion-MNIST or the like, plain or compressed (.gz).
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/digits"))]
    pub(crate) data: PathBuf,
    /// Passes over the training images.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) epochs: u32,
    /// Seed of the initial weights and of the order of the images.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

/// The same, for examples that can train several times.
#[derive(clap::Args)]
pub(crate) struct Runs {
    #[command(flatten)]
    pub(crate) run: Run,
    /// Repeat the run with this number of seeds, one after the other, and print the mean.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,
}

impl Runs {
    /// The seed of each run.
    pub(crate) fn seeds(&self) -> impl Iterator<Item = u64> {
        let first = self.run.seed;
        (0..self.seeds).map(move |n| first.wrapping_add(n.into()))
    }
}

/// Images in one batch, unless something else is asked for.
pub(crate) const BATCH: usize = 32;

/// One image in each row.
pub(crate) type Rows<T = NoneTape> = Tensor<(usize, Pixels), f32, Cpu, T>;
/// One number for each class, in each row.
type Classes = Tensor<(usize, Const<10>), f32, Cpu>;

/// Two hidden layers of 64 and 32 units.
pub(crate) type Mlp =
    ((Input<64>, modules::ReLU), (modules::Linear<64, 32, f32, Cpu>, modules::ReLU), modules::Linear<32, 10, f32, Cpu>);

/// Images and their labels, one-hot.
pub(crate) type Batch = (Rows, Classes);

/// Images to learn from, and images to score a model on.
pub(crate) struct Data {
    train: Images,
    test: Images,
    /// The largest pixel value of the training images; it becomes 1.
    brightest: f32,
}

impl Data {
    /// Reads the four IDX files of a folder.
    pub(crate) fn read(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let (train, test) = (Images::read(folder, "train")?, Images::read(folder, "t10k")?);
        if train.pixels != test.pixels {
            let (folder, train, test) = (folder.display(), train.pixels, test.pixels);
            return Err(format!("{folder}: training images have {train} pixels, test images {test}").into());
        }
        let brightest = train.values.iter().copied().max().unwrap_or(1).max(1).into();
        Ok(Self { train, test, brightest })
    }

    /// The training images alone: a share of them, spread evenly, is held out to score the model on.
    pub(crate) fn hold_out(&self, share: f64) -> Result<Self, String> {
        let images = self.train.labels.len();
        let up_to = |index: usize| (index as f64 * share).ceil();
        let (held_out, kept) = (0..images).partition::<Vec<usize>, _>(|&index| up_to(index + 1) > up_to(index));
        if held_out.is_empty() || kept.is_empty() {
            return Err(format!(
                "a share of {share} of {images} training images leaves none to learn from or to score"
            ));
        }
        let (train, test) = (self.train.subset(&kept), self.train.subset(&held_out));
        Ok(Self { train, test, brightest: self.brightest })
    }

    /// The number of training images.
    pub(crate) fn training_images(&self) -> usize {
        self.train.labels.len()
    }

    /// Pixels of an image.
    pub(crate) fn pixels(&self) -> usize {
        self.train.pixels
    }

    /// The first `images` training images, or all if there are fewer.
    pub(crate) fn first(self, images: usize) -> Self {
        let kept: Vec<usize> = (0..images.min(self.train.labels.len())).collect();
        Self { train: self.train.subset(&kept), ..self }
    }

    /// The first `images` test images, or all if there are fewer.
    pub(crate) fn first_tests(self, images: usize) -> Self {
        let kept: Vec<usize> = (0..images.min(self.test.labels.len())).collect();
        Self { test: self.test.subset(&kept), ..self }
    }

    /// Updates of one pass over the training images.
    pub(crate) fn batches_per_epoch(&self) -> u64 {
        self.train.labels.len().div_ceil(BATCH) as u64
    }
}

/// The data as one run sees them: its seed decides the initial weights and the order of the images.
pub(crate) struct Task<'a> {
    data: &'a Data,
    seed: u64,
    /// Images in one batch; the last one of an epoch may have fewer.
    batch: usize,
    device: Cpu,
}

/// How well a model does on images that it was not trained on.
pub(crate) struct Score {
    /// Mean cross entropy.
    pub(crate) loss: f64,
    /// How many images are recognised.
    pub(crate) correct: usize,
    /// How many there are.
    pub(crate) of: usize,
}

impl Score {
    /// The share of the images that is recognised.
    pub(crate) fn accuracy(&self) -> f64 {
        self.correct as f64 / self.of as f64
    }
}

impl<'a> Task<'a> {
    pub(crate) fn new(data: &'a Data, seed: u64) -> Self {
        Self { data, seed, batch: BATCH, device: Cpu::seed_from_u64(seed) }
    }

    /// The same with another number of images in a batch.
    pub(crate) fn with_batch(self, batch: usize) -> Self {
        Self { batch, ..self }
    }

    /// The device, whose generator begins with the seed.
    pub(crate) fn device(&self) -> Cpu {
        self.device.clone()
    }

    /// A network with fresh weights.
    pub(crate) fn model(&self) -> Mlp {
        type Rest = ((builders::Linear<64, 32>, builders::ReLU), builders::Linear<32, 10>);
        let input = Input::new(&self.device, self.data.train.pixels);
        let (second, third) = self.device.build_module::<Rest, f32>();
        ((input, modules::ReLU), second, third)
    }

    /// The batches of an epoch, in an order that is a function of seed and epoch alone, so that any epoch can be repeated.
    pub(crate) fn batches(&self, epoch: u64) -> impl Iterator<Item = Batch> + '_ {
        let mut order: Vec<usize> = (0..self.data.train.labels.len()).collect();
        order.shuffle(&mut StdRng::seed_from_u64(self.seed.wrapping_mul(1_000_003).wrapping_add(epoch)));
        let ends = (0..order.len()).step_by(self.batch);
        ends.map(move |start| self.batch(&self.data.train, &order[start..(start + self.batch).min(order.len())]))
    }

    /// One epoch after the other, without end.
    pub(crate) fn all_batches(&self) -> impl Iterator<Item = Batch> + '_ {
        (0..).flat_map(|epoch| self.batches(epoch))
    }

    /// Trains a fresh network.
    pub(crate) fn fit(&self, epochs: u32, adam: AdamConfig, config: ClrConfig) -> Result<Score, Box<dyn Error>> {
        let mut model = self.model();
        let mut grads = model.alloc_grads();
        let mut optimizer = CyclicOptimizer::try_new(Adam::new(adam), config)?;
        for epoch in 0..epochs {
            for batch in self.batches(epoch.into()) {
                let loss;
                (loss, grads) = train_step(&mut model, grads, batch);
                optimizer.apply(&mut model, &mut grads, loss)?;
            }
        }
        Ok(self.test(&model))
    }

    /// How well the test images are recognised.
    pub(crate) fn test(&self, model: &Mlp) -> Score {
        self.score(&model.forward(self.test_images()))
    }

    pub(crate) fn test_images(&self) -> Rows {
        self.batch(&self.data.test, &self.all_tests()).0
    }

    /// The test images, so many at a time.
    pub(crate) fn test_batches(&self, size: usize) -> impl Iterator<Item = Rows> + '_ {
        let all = self.all_tests();
        let ends = (0..all.len()).step_by(size);
        ends.map(move |start| self.rows(&self.data.test, &all[start..(start + size).min(all.len())]))
    }

    /// Ten numbers for each image.
    pub(crate) fn classes(&self, values: Vec<f32>) -> Classes {
        let rows = values.len() / 10;
        self.device.tensor_from_vec(values, (rows, Const))
    }

    /// How well the test images are recognised by these logits or probabilities. (The loss is that of logits.)
    pub(crate) fn score(&self, logits: &Classes) -> Score {
        let all = self.all_tests();
        let recognised = |(logits, label): (&[f32], &u8)| {
            let best = (0..10).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
            best == Some(usize::from(*label))
        };
        let values = logits.as_vec();
        let correct = values.chunks_exact(10).zip(&self.data.test.labels).filter(|&pair| recognised(pair)).count();
        let labels = self.batch(&self.data.test, &all).1;
        Score { loss: cross_entropy_with_logits_loss(logits.clone(), labels).array().into(), correct, of: all.len() }
    }

    /// Some of the training images.
    pub(crate) fn training_batch(&self, indices: &[usize]) -> Batch {
        self.batch(&self.data.train, indices)
    }

    fn all_tests(&self) -> Vec<usize> {
        (0..self.data.test.labels.len()).collect()
    }

    fn batch(&self, images: &Images, indices: &[usize]) -> Batch {
        let mut one_hot = vec![0.0; indices.len() * 10];
        for (row, &index) in indices.iter().enumerate() {
            one_hot[row * 10 + usize::from(images.labels[index])] = 1.0;
        }
        (self.rows(images, indices), self.classes(one_hot))
    }

    fn rows(&self, images: &Images, indices: &[usize]) -> Rows {
        let size = images.pixels;
        let pixels = indices.iter().flat_map(|&index| &images.values[index * size..(index + 1) * size]);
        let scaled = pixels.map(|&value| f32::from(value) / self.data.brightest).collect();
        self.device.tensor_from_vec(scaled, (indices.len(), Pixels(size)))
    }
}

/// Forward and backward pass: the loss, and the gradients.
pub(crate) fn train_step(
    model: &mut Mlp,
    grads: Gradients<f32, Cpu>,
    (images, labels): Batch,
) -> (f32, Gradients<f32, Cpu>) {
    let loss = cross_entropy_with_logits_loss(model.forward_mut(images.traced(grads)), labels);
    (loss.array(), loss.backward())
}

/// Chooses the peak rate of a run by trial, and says what that costs and what came of it.
pub(crate) fn choose<O>(
    task: &Task,
    model: &Mlp,
    inner: &O,
    updates: u64,
    progress: bool,
) -> Result<PeakChoice, Box<dyn Error>>
where
    O: Clone + InPlace<Mlp, Cpu, f32> + Hyperparameters,
{
    let search = PeakSearch::new(updates)?;
    let cost = search.cost();
    say!("choosing the peak: {cost}")?;
    if cost.is_high() {
        say!("that is more than a quarter of the run: a rate known from similar runs may serve better")?;
    }
    #[cfg(feature = "progress")]
    let bar = progress.then(|| search.progress_bar());
    #[cfg(not(feature = "progress"))]
    let _ = progress;
    let step = |model: &mut _, grads, batch| {
        #[cfg(feature = "progress")]
        if let Some(bar) = &bar {
            bar.inc(1);
        }
        train_step(model, grads, batch)
    };
    let choice = choose_peak(model, inner, &search, task.all_batches(), step)?;
    #[cfg(feature = "progress")]
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    say!("{choice}")?;
    Ok(choice)
}

/// Base and peak by Smith's rule, but a fourth of its upper end: a sweep runs ahead of the damage that it does, all the more with
/// momentum.
pub(crate) fn careful_range(curve: &LossCurve) -> Result<(f64, f64), NoSuggestion> {
    let range = curve.smith_range()?;
    Ok((range.base_lr.lr, range.max_lr.lr / 4.0))
}
