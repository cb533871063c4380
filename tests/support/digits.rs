//! A real job for tests: a small network that reads the handwritten digits of the examples.

use std::fs;
use std::path::Path;

use dfdx::nn::{builders, modules};
use dfdx::prelude::{
    AsArray, Backward, Const, Cpu, DeviceBuildExt, Module, ModuleMut, Tensor, TensorFromVec, Trace,
    cross_entropy_with_logits_loss,
};
use dfdx::tensor::Gradients;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

const BATCH: usize = 32;

pub(crate) type Rows<const COLUMNS: usize> = Tensor<(usize, Const<COLUMNS>), f32, Cpu>;
/// Images and their labels, one-hot.
pub(crate) type Batch = (Rows<64>, Rows<10>);
pub(crate) type Mlp = (
    (modules::Linear<64, 64, f32, Cpu>, modules::ReLU),
    (modules::Linear<64, 32, f32, Cpu>, modules::ReLU),
    modules::Linear<32, 10, f32, Cpu>,
);

/// The training and the test images, each with its label.
pub(crate) struct Digits {
    device: Cpu,
    train: Vec<(Vec<f32>, u8)>,
    test: Vec<(Vec<f32>, u8)>,
}

impl Digits {
    pub(crate) fn read() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/digits");
        let part = |part: &str| {
            // The headers of the files have 16 and 8 bytes; the brightest pixel is 16.
            let images = fs::read(folder.join(format!("{part}-images-idx3-ubyte"))).unwrap();
            let labels = fs::read(folder.join(format!("{part}-labels-idx1-ubyte"))).unwrap();
            let images = images[16..].chunks_exact(64);
            let pixels = |image: &[u8]| image.iter().map(|&pixel| f32::from(pixel) / 16.0).collect();
            images.map(pixels).zip(labels[8..].iter().copied()).collect()
        };
        Self { device: Cpu::seed_from_u64(0), train: part("train"), test: part("t10k") }
    }

    pub(crate) fn model(&self) -> Mlp {
        type Builder = (
            (builders::Linear<64, 64>, builders::ReLU),
            (builders::Linear<64, 32>, builders::ReLU),
            builders::Linear<32, 10>,
        );
        self.device.build_module::<Builder, f32>()
    }

    pub(crate) fn batches_per_epoch(&self) -> u64 {
        self.train.len().div_ceil(BATCH) as u64
    }

    /// One epoch after the other, without end.
    pub(crate) fn batches(&self) -> impl Iterator<Item = Batch> + '_ {
        (0..).flat_map(|epoch| {
            let mut order: Vec<&(Vec<f32>, u8)> = self.train.iter().collect();
            order.shuffle(&mut StdRng::seed_from_u64(epoch));
            order.chunks(BATCH).map(|images| self.batch(images)).collect::<Vec<_>>()
        })
    }

    /// The number of training images.
    pub(crate) fn len(&self) -> usize {
        self.train.len()
    }

    /// Some of the training images.
    pub(crate) fn images(&self, indices: &[usize]) -> Batch {
        self.batch(&indices.iter().map(|&index| &self.train[index]).collect::<Vec<_>>())
    }

    fn batch(&self, images: &[&(Vec<f32>, u8)]) -> Batch {
        let pixels = images.iter().flat_map(|(pixels, _)| pixels.iter().copied()).collect();
        let labels =
            images.iter().flat_map(|&&(_, label)| (0..10).map(move |digit| f32::from(u8::from(digit == label))));
        (
            self.device.tensor_from_vec(pixels, (images.len(), Const)),
            self.device.tensor_from_vec(labels.collect(), (images.len(), Const)),
        )
    }

    /// The share of the test images that is recognised.
    pub(crate) fn accuracy(&self, model: &Mlp) -> f64 {
        let images: Vec<_> = self.test.iter().collect();
        let logits = model.forward(self.batch(&images).0).as_vec();
        let best = |row: &[f32]| (0..10_u8).max_by(|&a, &b| row[usize::from(a)].total_cmp(&row[usize::from(b)]));
        let right = logits.chunks_exact(10).zip(&images).filter(|(row, (_, label))| best(row) == Some(*label)).count();
        f64::from(u32::try_from(right).unwrap()) / f64::from(u32::try_from(images.len()).unwrap())
    }
}

/// Forward and backward pass: the loss, and the gradients.
pub(crate) fn train_step(model: &mut Mlp, grads: Gradients<f32, Cpu>, batch: Batch) -> (f32, Gradients<f32, Cpu>) {
    let loss = cross_entropy_with_logits_loss(model.forward_mut(batch.0.traced(grads)), batch.1);
    (loss.array(), loss.backward())
}
