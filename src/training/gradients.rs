//! What an update asks of a framework: gradients that can be looked at as slices, and an optimizer that uses them.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Mul;

use num_traits::{FromPrimitive, ToPrimitive};

use super::clip::{Clipping, sum_of_squares};
use crate::config::Clip;
use crate::error::UnknownPrefix;
use crate::numeric;

/// The gradients of a model `M`: one for each parameter, or none for a parameter that the loss did not use.
///
/// Implement it for the gradients of your framework, and [`UpdateInPlace`] for its optimizers. Then
/// [`CyclicOptimizer::apply`](crate::CyclicOptimizer::apply) guards, clips and records in that framework, too.
///
/// # Examples
///
/// A framework whose model is a list of numbers:
///
/// ```
/// use core::convert::Infallible;
/// use cyclic_optim::training::{GradientsOf, UpdateFailure, UpdateInPlace};
/// use cyclic_optim::{Cyclic, CyclicOptimizer, RateAndMomentum};
///
/// type Model = Vec<f32>;
/// struct Gradients(Vec<f32>);
///
/// impl GradientsOf<Model> for Gradients {
///     type Element = f32;
///     type Error = Infallible;
///
///     fn for_each(
///         &mut self,
///         _: &Model,
///         _all_present: bool,
///         mut look: impl FnMut(&mut [f32]) -> bool,
///     ) -> Result<(), Infallible> {
///         look(&mut self.0);
///         Ok(())
///     }
///
///     fn zero(&mut self, _: &Model) -> Result<(), Infallible> {
///         self.0.fill(0.0);
///         Ok(())
///     }
/// }
///
/// impl UpdateInPlace<Model, Gradients> for RateAndMomentum {
///     type Error = Infallible;
///
///     fn update_in_place(
///         &mut self,
///         model: &mut Model,
///         gradients: &mut Gradients,
///     ) -> Result<(), UpdateFailure<Infallible>> {
///         for (weight, gradient) in model.iter_mut().zip(&mut gradients.0) {
///             *weight -= self.lr as f32 * std::mem::take(gradient);
///         }
///         Ok(())
///     }
/// }
///
/// let mut model = vec![1.0, -2.0];
/// let mut gradients = Gradients(vec![0.0; 2]);
/// let mut optimizer = CyclicOptimizer::new(RateAndMomentum::default(), Cyclic::triangular(0.1, 0.3, 5)?);
/// for _ in 0..20 {
///     // The gradient of the sum of squares.
///     gradients.0 = model.iter().map(|weight| 2.0 * weight).collect();
///     let loss: f32 = model.iter().map(|weight| weight * weight).sum();
///     optimizer.apply(&mut model, &mut gradients, loss)?;
/// }
/// assert!(model.iter().all(|weight| weight.abs() < 1e-3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait GradientsOf<M> {
    /// The number type of the gradients.
    type Element: Element;

    /// What can go wrong in the framework.
    type Error;

    /// Calls `look` with the gradient of each parameter, always in the same order. `look` may change the gradient; it returns
    /// whether it did.
    ///
    /// A parameter without a gradient is left out and has none afterwards. `all_present` says that an earlier update has found
    /// a gradient for every parameter. A framework where the search is costly need not search again.
    ///
    /// # Errors
    ///
    /// Errors of the framework.
    fn for_each(
        &mut self,
        model: &M,
        all_present: bool,
        look: impl FnMut(&mut [Self::Element]) -> bool,
    ) -> Result<(), Self::Error>;

    /// Sets all gradients to zero.
    ///
    /// # Errors
    ///
    /// Errors of the framework.
    fn zero(&mut self, model: &M) -> Result<(), Self::Error>;

    /// Gives each parameter without a gradient a gradient of zeros. An [`Accumulator`](super::Accumulator) asks for it,
    /// because all micro-batches and ranks must have the same gradients. The default does nothing, which suits frameworks in
    /// which every parameter always has a gradient.
    ///
    /// # Errors
    ///
    /// Errors of the framework.
    fn fill_missing(&mut self, model: &M) -> Result<(), Self::Error> {
        let _ = model;
        Ok(())
    }
}

/// A number type that gradients can have: `f32`, `f64`, half precision.
pub trait Element: Copy + PartialOrd + Mul<Output = Self> + ToPrimitive + FromPrimitive {}

impl<E: Copy + PartialOrd + Mul<Output = Self> + ToPrimitive + FromPrimitive> Element for E {}

/// An optimizer that updates a model `M` in place from gradients `G`, and leaves the gradients zeroed.
///
/// [`GradientsOf`] has an example.
pub trait UpdateInPlace<M, G> {
    /// What can go wrong in the framework.
    type Error;

    /// Updates `model` and zeroes `gradients`.
    ///
    /// # Errors
    ///
    /// See [`UpdateFailure`].
    fn update_in_place(&mut self, model: &mut M, gradients: &mut G) -> Result<(), UpdateFailure<Self::Error>>;

    /// Clips `gradients`, and then does the same as [`update_in_place`](Self::update_in_place). By default it clips in a
    /// pass of its own; an optimizer that can clip in its own loop saves that pass. `all_present` is explained at
    /// [`GradientsOf::for_each`].
    ///
    /// # Errors
    ///
    /// See [`UpdateFailure`].
    fn update_clipped(
        &mut self,
        model: &mut M,
        gradients: &mut G,
        clipping: Clipping,
        all_present: bool,
    ) -> Result<(), UpdateFailure<Self::Error>>
    where
        G: GradientsOf<M, Error = Self::Error>,
    {
        clip_all(model, gradients, all_present, clipping).map_err(UpdateFailure::Failed)?;
        self.update_in_place(model, gradients)
    }
}

/// Why an optimizer did not make a whole update.
#[derive(Debug, Clone, PartialEq)]
pub enum UpdateFailure<Err> {
    /// These parameters have no gradient. All others have moved, the gradients are zeroed, and the update counts.
    MissingGradients(Vec<String>),
    /// No parameter has a name that begins with this prefix of a group. Nothing has changed.
    UnknownPrefix(UnknownPrefix),
    /// The framework failed. The update does not count; some parameters may have moved.
    Failed(Err),
}

/// Clips gradients by their global norm, then by value, and returns the norm before clipping.
///
/// # Formula
///
/// ```text
/// norm = sqrt(sum of the squares of all gradients)
/// g <- g min(1, clip.norm / (norm + 1e-6))
/// g <- clamp(g, -clip.value, clip.value)
/// ```
///
/// The norm is summed in f64. If the norm is not finite, nothing is clipped by norm, so check the returned norm. A parameter
/// without a gradient stays without one. [`apply`](crate::CyclicOptimizer::apply) does all this by itself if the config says
/// so.
///
/// # Errors
///
/// Errors of the framework.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "dfdx")] {
/// use cyclic_optim::{Clip, training::clip_gradients};
/// use dfdx::prelude::{AsArray, Backward, Cpu, Rank1, SumTo, Tensor, TensorFrom, Trace};
///
/// let w: Tensor<Rank1<2>, f64, _> = Cpu::default().tensor([1.5, 2.0]);
/// let mut grads = w.leaky_trace().square().sum().backward(); // 3 and 4
/// let norm = clip_gradients(&w, &mut grads, Clip { norm: Some(1.0), ..Clip::default() }).unwrap();
/// assert_eq!(norm, 5.0);
/// assert!((grads.get(&w).array()[0] - 0.6).abs() < 1e-6);
/// # }
/// ```
///
/// # References
///
/// PyTorch's `clip_grad_norm_` and `clip_grad_value_`; R. Pascanu et al., 2013, arXiv:1211.5063. bckenstler/CLR's optimizers
/// clip in the same order.
pub fn clip_gradients<M, G: GradientsOf<M>>(model: &M, gradients: &mut G, clip: Clip) -> Result<f64, G::Error> {
    let norm = norm_of(model, gradients, false)?;
    clip_all(model, gradients, false, Clipping::new(clip, norm))?;
    Ok(norm)
}

/// The norm of all gradients.
pub(super) fn norm_of<M, G: GradientsOf<M>>(model: &M, gradients: &mut G, all_present: bool) -> Result<f64, G::Error> {
    let mut squares = 0.0;
    gradients.for_each(model, all_present, |values| {
        squares += sum_of_squares(values);
        false
    })?;
    Ok(numeric::square_root(squares))
}

/// Clips all gradients.
fn clip_all<M, G: GradientsOf<M>>(
    model: &M,
    gradients: &mut G,
    all_present: bool,
    clipping: Clipping,
) -> Result<(), G::Error> {
    if !clipping.acts() {
        return Ok(());
    }
    gradients.for_each(model, all_present, |values| {
        clipping.apply(values);
        true
    })
}
