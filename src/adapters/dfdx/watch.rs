//! Forward passes that show their activations.

use dfdx::dtypes::Dtype;
use dfdx::nn::{Module, modules};
use dfdx::shapes::{ConstDim, ConstShape, HasShape, Shape};
use dfdx::tensor::{HasErr, Tape, Tensor, WithEmptyTape};
use dfdx::tensor_ops::{Device, TryAdd};

use super::{ActivationStatistics, DeadRelus};

/// Receives the activations of a forward pass, and knows which module is running.
#[derive(Debug)]
pub struct ActivationObserver<'a> {
    receiver: Receiver<'a>,
    path: String,
}

/// What looks at the activations.
#[derive(Debug)]
pub(super) enum Receiver<'a> {
    Dead(&'a mut DeadRelus),
    Statistics(&'a mut ActivationStatistics),
    Values(&'a mut Vec<(String, Vec<f64>)>),
}

impl<'a> From<&'a mut DeadRelus> for Receiver<'a> {
    fn from(detector: &'a mut DeadRelus) -> Self {
        Self::Dead(detector)
    }
}

impl<'a> From<&'a mut ActivationStatistics> for Receiver<'a> {
    fn from(statistics: &'a mut ActivationStatistics) -> Self {
        Self::Statistics(statistics)
    }
}

impl<'a> From<&'a mut Vec<(String, Vec<f64>)>> for Receiver<'a> {
    fn from(values: &'a mut Vec<(String, Vec<f64>)>) -> Self {
        Self::Values(values)
    }
}

impl<'a> ActivationObserver<'a> {
    pub(super) fn new(receiver: impl Into<Receiver<'a>>) -> Self {
        Self { receiver: receiver.into(), path: String::new() }
    }

    /// Runs `forward` one level deeper, in the module `field`. For containers of your own.
    pub fn inside<T>(&mut self, field: &str, forward: impl FnOnce(&mut Self) -> T) -> T {
        let outside = self.path.len();
        if outside > 0 {
            self.path.push('.');
        }
        self.path.push_str(field);
        let result = forward(self);
        self.path.truncate(outside);
        result
    }

    /// Looks at the activations of the present module. For activation layers of your own.
    pub fn observe<S: Shape, E: Dtype, D: Device<E>, T>(&mut self, activations: &Tensor<S, E, D, T>) {
        match &mut self.receiver {
            Receiver::Dead(detector) => detector.observe(&self.path, activations),
            Receiver::Statistics(statistics) => statistics.observe(&self.path, activations),
            Receiver::Values(all) => all.push((self.path.clone(), doubles(activations))),
        }
    }
}

/// The values of a tensor in f64. dfdx itself cannot read a tensor without elements.
pub(super) fn doubles<S: Shape, E: Dtype, D: Device<E>, T>(tensor: &Tensor<S, E, D, T>) -> Vec<f64> {
    if tensor.shape().num_elements() == 0 {
        return Vec::new();
    }
    tensor.as_vec().into_iter().map(|value| value.to_f64().unwrap_or(f64::NAN)).collect()
}

/// A module whose `ReLU`s can be watched in a forward pass: dfdx's tuples, `Residual` and `Repeated`, and its layers.
///
/// A layer of your own needs an empty `impl`. It then runs as usual, and nothing in it is watched:
///
/// ```
/// use cyclic_optim::adapters::dfdx::{DeadRelus, WatchActivations};
/// use dfdx::prelude::*;
///
/// struct Doubled;
/// impl<S: Shape> Module<Tensor<S, f32, Cpu>> for Doubled {
///     type Output = Tensor<S, f32, Cpu>;
///     type Error = <Cpu as HasErr>::Err;
///     fn try_forward(&self, x: Tensor<S, f32, Cpu>) -> Result<Self::Output, Self::Error> { Ok(x * 2.0) }
/// }
/// impl<S: Shape> WatchActivations<Tensor<S, f32, Cpu>> for Doubled {}
///
/// let device = Cpu::default();
/// let mut detector = DeadRelus::new();
/// let output = detector.watch(&(Doubled, ReLU), device.tensor([[1.0, -1.0]])).unwrap();
/// assert_eq!(output.array(), [[2.0, 0.0]]);
/// assert_eq!(detector.report()[0].dead, [1]);
/// ```
pub trait WatchActivations<Input>: Module<Input> {
    /// Does the same as `try_forward`, and passes the activations to the observer.
    ///
    /// # Errors
    ///
    /// As `try_forward`.
    fn try_forward_watched(&self, input: Input, _watch: &mut ActivationObserver) -> Result<Self::Output, Self::Error> {
        self.try_forward(input)
    }
}

impl<S: Shape, E: Dtype, D: Device<E>, T: Tape<E, D>> WatchActivations<Tensor<S, E, D, T>> for modules::ReLU {
    fn try_forward_watched(
        &self,
        input: Tensor<S, E, D, T>,
        watch: &mut ActivationObserver,
    ) -> Result<Self::Output, <Self as Module<Tensor<S, E, D, T>>>::Error> {
        let output = self.try_forward(input)?;
        watch.observe(&output);
        Ok(output)
    }
}

macro_rules! as_they_are {
    ($([$($generics:tt)*] $module:ty),+ $(,)?) => {
        $(impl<X, $($generics)*> WatchActivations<X> for $module where Self: Module<X> {})+
    };
}

as_they_are! {
    [const I: usize, const O: usize, E: Dtype, D: Device<E>] modules::Linear<I, O, E, D>,
    [const I: usize, const O: usize, E: Dtype, D: Device<E>] modules::UnbiasedLinear<I, O, E, D>,
    [const C: usize, E: Dtype, D: Device<E>] modules::Bias2D<C, E, D>,
    [const C: usize, E: Dtype, D: Device<E>] modules::BatchNorm1D<C, E, D>,
    [const C: usize, E: Dtype, D: Device<E>] modules::BatchNorm2D<C, E, D>,
    [const M: usize, E: Dtype, D: Device<E>] modules::LayerNorm1D<M, E, D>,
    [const V: usize, const M: usize, E: Dtype, D: Device<E>] modules::Embedding<V, M, E, D>,
    [const N: usize] modules::DropoutOneIn<N>,
    [] modules::Dropout,
    [E: Dtype] modules::LeakyReLU<E>,
    [E: Dtype, D: Device<E>] dfdx::nn::prelu::PReLU<E, D>,
    [C: ConstDim, E: Dtype, D: Device<E>] dfdx::nn::prelu::PReLU1D<C, E, D>,
    [] modules::FastGeLU, [] modules::AccurateGeLU, [] modules::Sigmoid, [] modules::Tanh, [] modules::Softmax,
    [] modules::LogSoftmax, [] modules::Sin, [] modules::Cos, [] modules::Ln, [] modules::Exp, [] modules::Square,
    [] modules::Sqrt, [] modules::Abs, [] modules::AvgPoolGlobal, [] modules::MaxPoolGlobal, [] modules::MinPoolGlobal,
    [S: ConstShape] dfdx::nn::builders::Reshape<S>,
}

impl<X: HasErr> WatchActivations<X> for () {}

impl<X, F> WatchActivations<X> for modules::Residual<F>
where
    X: WithEmptyTape + TryAdd<X>,
    F: WatchActivations<X> + Module<X, Output = X, Error = X::Err>,
{
    fn try_forward_watched(&self, input: X, watch: &mut ActivationObserver) -> Result<X, X::Err> {
        let branch = watch.inside("0", |watch| self.0.try_forward_watched(input.with_empty_tape(), watch))?;
        branch.try_add(input)
    }
}

impl<X, M, const N: usize> WatchActivations<X> for modules::Repeated<M, N>
where
    M: WatchActivations<X> + Module<X, Output = X>,
{
    fn try_forward_watched(&self, mut input: X, watch: &mut ActivationObserver) -> Result<X, <M as Module<X>>::Error> {
        for (n, module) in self.modules.iter().enumerate().take(N) {
            input = watch.inside(&n.to_string(), |watch| module.try_forward_watched(input, watch))?;
        }
        Ok(input)
    }
}

/// A tuple: each module takes the output of the one before.
macro_rules! tuple {
    ($($module:ident $index:tt),+; $last:ident; $($bound:ident: $input:ty),+) => {
        impl<X, $($bound: WatchActivations<$input>),+> WatchActivations<X> for ($($module,)+)
        where
            Self: Module<X, Output = $last::Output, Error = $last::Error>,
            $($last::Error: From<$module::Error>,)+
        {
            fn try_forward_watched(
                &self,
                x: X,
                watch: &mut ActivationObserver,
            ) -> Result<<Self as Module<X>>::Output, <Self as Module<X>>::Error> {
                $(let x = watch.inside(stringify!($index), |watch| self.$index.try_forward_watched(x, watch))?;)+
                Ok(x)
            }
        }
    };
}

tuple!(A 0; A; A: X);
tuple!(A 0, B 1; B; A: X, B: A::Output);
tuple!(A 0, B 1, C 2; C; A: X, B: A::Output, C: B::Output);
tuple!(A 0, B 1, C 2, F 3; F; A: X, B: A::Output, C: B::Output, F: C::Output);
tuple!(A 0, B 1, C 2, F 3, G 4; G; A: X, B: A::Output, C: B::Output, F: C::Output, G: F::Output);
tuple!(A 0, B 1, C 2, F 3, G 4, H 5; H; A: X, B: A::Output, C: B::Output, F: C::Output, G: F::Output, H: G::Output);
