//! One walk over the tensors of a model, for code that does not depend on their shapes.
//!
//! dfdx passes the tensors of a model to a method of a visitor that is generic in the shape. Here they become trait objects,
//! so that a closure can take them.

use dfdx::dtypes::{Dtype, Unit};
use dfdx::nn::tensor_collection::{
    RecursiveWalker, ScalarOptions, TensorCollection, TensorOptions, TensorVisitor, ViewTensorMut, ViewTensorName,
    ViewTensorRef,
};
use dfdx::optim::UnusedTensors;
use dfdx::shapes::{HasShape, Shape};
use dfdx::tensor::{Cpu, Gradients, Storage, Tensor, UniqueId};
use dfdx::tensor_ops::Device;
use num_traits::NumCast;

use super::replay::Replay;

/// A tensor of any shape.
pub(super) trait AnyTensor<E: Dtype, D: Device<E>> {
    fn id(&self) -> UniqueId;
    fn shape(&self) -> Vec<usize>;
    fn device(&self) -> &D;
    /// A copy of the numbers.
    fn values(&self) -> Vec<E>;
    /// The gradient of this tensor in `gradients`; one of zeros is created if there is none.
    fn entry<'g>(&self, gradients: &'g mut Gradients<E, D>) -> Result<&'g mut <D as Storage<E>>::Vec, D::Err>;
    /// A copy of the gradient of this tensor in `gradients`, which must exist.
    fn entry_values(&self, gradients: &Gradients<E, D>) -> Vec<E>;
    /// Replaces the numbers.
    fn set(&mut self, values: &[E]);
}

impl<S: Shape, E: Dtype, D: Device<E>> AnyTensor<E, D> for Tensor<S, E, D> {
    fn id(&self) -> UniqueId {
        // This is the only form in which dfdx returns ids.
        let mut id = UnusedTensors::default();
        id.add(self);
        id.ids[0]
    }

    fn shape(&self) -> Vec<usize> {
        HasShape::shape(self).concrete().into()
    }

    fn device(&self) -> &D {
        Tensor::device(self)
    }

    fn values(&self) -> Vec<E> {
        // `as_vec` panics for a tensor without numbers.
        if HasShape::shape(self).num_elements() == 0 { Vec::new() } else { self.as_vec() }
    }

    fn entry<'g>(&self, gradients: &'g mut Gradients<E, D>) -> Result<&'g mut <D as Storage<E>>::Vec, D::Err> {
        gradients.get_or_alloc_mut(self)
    }

    fn entry_values(&self, gradients: &Gradients<E, D>) -> Vec<E> {
        // `as_vec` would visit the numbers one by one, which takes several times as long.
        let mut values = vec![E::default(); HasShape::shape(self).num_elements()];
        gradients.get(self).copy_into(&mut values);
        values
    }

    fn set(&mut self, values: &[E]) {
        self.copy_from(values);
    }
}

/// An item of a walk: a tensor, with a flag that says whether it is a parameter, or a scalar of a layer.
pub(super) enum Item<T> {
    Tensor { tensor: T, is_parameter: bool },
    Scalar(f64),
}

/// Calls `look` with all tensors and scalars of a model and their names.
pub(super) fn walk<M, E, D, Err>(
    model: &M,
    look: impl FnMut(String, Item<&dyn AnyTensor<E, D>>) -> Result<(), Err>,
) -> Result<(), Err>
where
    M: TensorCollection<E, D>,
    E: Dtype,
    D: Device<E>,
{
    M::iter_tensors(&mut RecursiveWalker { m: (model, String::new()), f: &mut Named(look) }).map(|_| ())
}

/// Calls `change` with all tensors and scalars of a model and their names. If `change` returns a value for a scalar,
/// the scalar gets that value.
pub(super) fn walk_mut<M, E, D, Err>(
    model: &mut M,
    change: impl FnMut(String, Item<&mut dyn AnyTensor<E, D>>) -> Result<Option<f64>, Err>,
) -> Result<(), Err>
where
    M: TensorCollection<E, D>,
    E: Dtype,
    D: Device<E>,
{
    M::iter_tensors(&mut RecursiveWalker { m: (model, String::new()), f: &mut NamedMut(change) }).map(|_| ())
}

/// Calls `look` with the parameters of a model, in the same order but without the names, which take time to build.
pub(super) fn walk_parameters<M, E, D, Err>(
    model: &M,
    look: impl FnMut(&dyn AnyTensor<E, D>) -> Result<(), Err>,
) -> Result<(), Err>
where
    M: TensorCollection<E, D>,
    E: Dtype,
    D: Device<E>,
{
    M::iter_tensors(&mut RecursiveWalker { m: model, f: &mut Parameters(look) }).map(|_| ())
}

struct Named<F>(F);
struct NamedMut<F>(F);
struct Parameters<F>(F);

impl<E, D, F, Err> TensorVisitor<E, D> for Named<F>
where
    E: Dtype,
    D: Device<E>,
    F: FnMut(String, Item<&dyn AnyTensor<E, D>>) -> Result<(), Err>,
{
    type Viewer = (ViewTensorRef, ViewTensorName);
    type Err = Err;
    type E2 = E;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        options: TensorOptions<S, E, D>,
        (tensor, name): (&Tensor<S, E, D>, String),
    ) -> Result<Option<Tensor<S, E, D>>, Err> {
        (self.0)(name, Item::Tensor { tensor, is_parameter: options.do_gradient_update }).map(|()| None)
    }

    fn visit_scalar<N: NumCast>(
        &mut self,
        _: ScalarOptions<N>,
        (scalar, name): (&N, String),
    ) -> Result<Option<N>, Err> {
        (self.0)(name, Item::Scalar(scalar.to_f64().unwrap_or(f64::NAN))).map(|()| None)
    }
}

impl<E, D, F, Err> TensorVisitor<E, D> for NamedMut<F>
where
    E: Dtype,
    D: Device<E>,
    F: FnMut(String, Item<&mut dyn AnyTensor<E, D>>) -> Result<Option<f64>, Err>,
{
    type Viewer = (ViewTensorMut, ViewTensorName);
    type Err = Err;
    type E2 = E;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        options: TensorOptions<S, E, D>,
        (tensor, name): (&mut Tensor<S, E, D>, String),
    ) -> Result<Option<Tensor<S, E, D>>, Err> {
        (self.0)(name, Item::Tensor { tensor, is_parameter: options.do_gradient_update }).map(|_| None)
    }

    fn visit_scalar<N: NumCast>(
        &mut self,
        _: ScalarOptions<N>,
        (scalar, name): (&mut N, String),
    ) -> Result<Option<N>, Err> {
        if let Some(value) = (self.0)(name, Item::Scalar(scalar.to_f64().unwrap_or(f64::NAN)))?.and_then(N::from) {
            *scalar = value;
        }
        Ok(None)
    }
}

impl<E, D, F, Err> TensorVisitor<E, D> for Parameters<F>
where
    E: Dtype,
    D: Device<E>,
    F: FnMut(&dyn AnyTensor<E, D>) -> Result<(), Err>,
{
    type Viewer = ViewTensorRef;
    type Err = Err;
    type E2 = E;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        options: TensorOptions<S, E, D>,
        tensor: &Tensor<S, E, D>,
    ) -> Result<Option<Tensor<S, E, D>>, Err> {
        if options.do_gradient_update {
            (self.0)(tensor)?;
        }
        Ok(None)
    }
}

/// The memory of a gradient or a moment as a slice, without a copy. `None` on any other device than the CPU.
pub(super) fn as_slice_mut<E: Unit, D: Storage<E>>(memory: &mut D::Vec) -> Option<&mut [E]> {
    (memory as &mut dyn core::any::Any).downcast_mut::<<Cpu as Storage<E>>::Vec>().map(|memory| &mut memory[..])
}

/// Writes `values` into the memory of a gradient or a moment of `tensor`, on any device and bit for bit.
pub(super) fn write_entry<E: Dtype, D: Device<E>>(
    tensor: &dyn AnyTensor<E, D>,
    memory: &mut <D as Storage<E>>::Vec,
    values: impl Iterator<Item = E>,
) -> Result<(), D::Err> {
    match as_slice_mut::<E, D>(memory) {
        Some(slice) => {
            slice.iter_mut().zip(values).for_each(|(place, value)| *place = value);
            Ok(())
        }
        None => tensor.device().try_fill_with_distr(memory, Replay::of(values)),
    }
}
