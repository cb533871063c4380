//! The first layer of the network, for images of any size.

use dfdx::nn::tensor_collection::{ModuleVisitor, TensorCollection, TensorOptions};
use dfdx::nn::{Module, NonMutableModule};
use dfdx::prelude::{Axes2, BroadcastTo, Const, Cpu, HasErr, HasShape, Rank1, Tape, Tensor, TryMatMul, ZerosTensor};
use dfdx::shapes::{ConstDim, Dim};
use dfdx::tensor_ops::{PermuteTo, TryAdd};
use rand::distributions::Uniform;

use cyclic_optim::adapters::dfdx::WatchActivations;

/// The number of pixels of an image, known at run time.
///
/// dfdx wants a [`ConstDim`] in layers, because it builds a layer from its type alone. [`Input::new`] builds this layer
/// from a number, so the constant size and the default value are never used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Pixels(pub(crate) usize);

impl Dim for Pixels {
    fn size(&self) -> usize {
        self.0
    }

    fn from_size(size: usize) -> Option<Self> {
        Some(Self(size))
    }
}

impl ConstDim for Pixels {
    const SIZE: usize = 0;
}

/// dfdx's `Linear`, from the pixels of an image to `OUT` units: the same names, initial weights and results.
#[derive(Debug, Clone)]
pub(crate) struct Input<const OUT: usize> {
    weight: Tensor<(Const<OUT>, Pixels), f32, Cpu>,
    bias: Tensor<Rank1<OUT>, f32, Cpu>,
}

impl<const OUT: usize> Input<OUT> {
    /// A layer with fresh weights.
    pub(crate) fn new(device: &Cpu, pixels: usize) -> Self {
        let mut weight = device.zeros_like(&(Const, Pixels(pixels)));
        let mut bias = device.zeros();
        weight.fill_with_distr(uniform(pixels));
        bias.fill_with_distr(uniform(pixels));
        Self { weight, bias }
    }
}

fn reset_weight<const OUT: usize>(
    weight: &mut Tensor<(Const<OUT>, Pixels), f32, Cpu>,
) -> Result<(), <Cpu as HasErr>::Err> {
    let pixels = weight.shape().1.size();
    weight.try_fill_with_distr(uniform(pixels))
}

/// The initial weights of a layer with so many inputs.
fn uniform(inputs: usize) -> Uniform<f32> {
    let bound = 1.0 / (inputs as f32).sqrt();
    Uniform::new(-bound, bound)
}

impl<const OUT: usize> TensorCollection<f32, Cpu> for Input<OUT> {
    // Only visitors that build a layer elsewhere make another type, and none is used here.
    type To<E: dfdx::dtypes::Dtype, D: dfdx::tensor_ops::Device<E>> = ();

    fn iter_tensors<V: ModuleVisitor<Self, f32, Cpu>>(visitor: &mut V) -> Result<Option<()>, V::Err> {
        visitor.visit_fields(
            (
                Self::tensor(
                    "weight",
                    |layer| &layer.weight,
                    |layer| &mut layer.weight,
                    TensorOptions::reset_with(reset_weight),
                ),
                Self::tensor("bias", |layer| &layer.bias, |layer| &mut layer.bias, TensorOptions::reset_to_zeros()),
            ),
            |_| (),
        )
    }
}

impl<const OUT: usize, T: Tape<f32, Cpu>> Module<Tensor<(usize, Pixels), f32, Cpu, T>> for Input<OUT> {
    type Output = Tensor<(usize, Const<OUT>), f32, Cpu, T>;
    type Error = <Cpu as HasErr>::Err;

    fn try_forward(&self, images: Tensor<(usize, Pixels), f32, Cpu, T>) -> Result<Self::Output, Self::Error> {
        let output = images.try_matmul(self.weight.retaped::<T>().try_permute::<_, Axes2<1, 0>>()?)?;
        let shape = *output.shape();
        output.try_add(self.bias.retaped::<T>().try_broadcast_like(&shape)?)
    }
}

impl<const OUT: usize> NonMutableModule for Input<OUT> {}

impl<const OUT: usize, X> WatchActivations<X> for Input<OUT> where Self: Module<X> {}
