//! A convolution over images of any size, and the mean over an image.
//!
//! dfdx's own `Conv2D` needs a nightly compiler. This one gathers the neighbourhood of each pixel into a row and multiplies the
//! rows by the filters.

use dfdx::dtypes::Dtype;
use dfdx::nn::tensor_collection::{ModuleVisitor, TensorCollection, TensorOptions};
use dfdx::nn::{Module, NonMutableModule, ZeroSizedModule};
use dfdx::prelude::{
    Axes3, Axis, Const, Cpu, Device, GatherTo, HasErr, HasShape, MeanTo, Rank3, Storage, Tape, Tensor, TensorFromVec,
    TryMatMul,
};
use dfdx::tensor_ops::{PermuteTo, ReshapeTo};
use num_traits::Float;
use rand::distributions::Uniform;
use rand::distributions::uniform::SampleUniform;

/// The width and the height of a filter, and its pixels.
const KERNEL: usize = 3;
const PIXELS: usize = KERNEL * KERNEL;

/// Square images with `C` channels: number, channels, pixels.
pub(crate) type Images<const C: usize, T> = Tensor<(usize, Const<C>, usize), f32, Cpu, T>;

/// `OUT` filters of 3 by 3 over `IN` channels, without padding. It has no bias, because a batch normalisation with one follows.
#[derive(Debug, Clone)]
pub(crate) struct Conv<const IN: usize, const OUT: usize, const STRIDE: usize, E: Dtype, D: Storage<E>> {
    weight: Tensor<Rank3<PIXELS, IN, OUT>, E, D>,
}

impl<const IN: usize, const OUT: usize, const STRIDE: usize, E, D> TensorCollection<E, D>
    for Conv<IN, OUT, STRIDE, E, D>
where
    E: Dtype + Float + SampleUniform,
    D: Device<E>,
{
    type To<E2: Dtype, D2: Device<E2>> = Conv<IN, OUT, STRIDE, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(visitor: &mut V) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        // As dfdx's Conv2D begins.
        let initial = TensorOptions::reset_with(|weight: &mut Tensor<_, E, D>| {
            let bound = E::from_usize(IN * PIXELS).unwrap_or_else(E::one).sqrt().recip();
            weight.try_fill_with_distr(Uniform::new(-bound, bound))
        });
        let weight = Self::tensor("weight", |layer| &layer.weight, |layer| &mut layer.weight, initial);
        visitor.visit_fields(weight, |weight| Conv { weight })
    }
}

impl<const IN: usize, const OUT: usize, const STRIDE: usize, T: Tape<f32, Cpu>> Module<Images<IN, T>>
    for Conv<IN, OUT, STRIDE, f32, Cpu>
{
    type Output = Images<OUT, T>;
    type Error = <Cpu as HasErr>::Err;

    fn try_forward(&self, images: Images<IN, T>) -> Result<Self::Output, Self::Error> {
        let &(count, _, pixels) = images.shape();
        let side = pixels.isqrt();
        let out_side = (side - KERNEL) / STRIDE + 1;
        // A row for each pixel, of its channels.
        let rows = images.try_permute::<_, Axes3<0, 2, 1>>()?.try_reshape_like(&(count * pixels, Const::<IN>))?;
        let around = self
            .weight
            .device()
            .tensor_from_vec(neighbourhoods(count, side, out_side, STRIDE), (count * out_side * out_side * PIXELS,));
        let gathered: Tensor<(usize, Const<IN>), f32, Cpu, T> = rows.try_gather(around)?;
        let gathered = gathered.try_reshape_like(&(count * out_side * out_side, PIXELS * IN))?;
        let filters = self.weight.retaped::<T>().try_reshape_like(&(PIXELS * IN, Const::<OUT>))?;
        let output = gathered.try_matmul(filters)?;
        output.try_reshape_like(&(count, out_side * out_side, Const::<OUT>))?.try_permute::<_, Axes3<0, 2, 1>>()
    }
}

/// For each pixel of the output the rows of the pixels under the filter.
fn neighbourhoods(count: usize, side: usize, out_side: usize, stride: usize) -> Vec<usize> {
    let mut rows = Vec::with_capacity(count * out_side * out_side * PIXELS);
    for image in 0..count {
        for (y, x) in (0..out_side).flat_map(|y| (0..out_side).map(move |x| (y * stride, x * stride))) {
            for (dy, dx) in (0..KERNEL).flat_map(|dy| (0..KERNEL).map(move |dx| (dy, dx))) {
                rows.push((image * side + y + dy) * side + x + dx);
            }
        }
    }
    rows
}

impl<const IN: usize, const OUT: usize, const STRIDE: usize> NonMutableModule for Conv<IN, OUT, STRIDE, f32, Cpu> {}

/// The mean of each channel over its pixels.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MeanOverPixels;

impl ZeroSizedModule for MeanOverPixels {}
impl NonMutableModule for MeanOverPixels {}

impl<const C: usize, T: Tape<f32, Cpu>> Module<Images<C, T>> for MeanOverPixels {
    type Output = Tensor<(usize, Const<C>), f32, Cpu, T>;
    type Error = <Cpu as HasErr>::Err;

    fn try_forward(&self, images: Images<C, T>) -> Result<Self::Output, Self::Error> {
        images.try_mean::<_, Axis<2>>()
    }
}
