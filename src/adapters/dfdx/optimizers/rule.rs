//! The trait of an optimizer's rule: one function from a gradient to a step.

use core::fmt::Debug;

use dfdx::dtypes::Dtype;
use dfdx::optim::WeightDecay;
use dfdx::shapes::Shape;
use dfdx::tensor::{Storage, Tensor};
use dfdx::tensor_ops::Device;
use num_traits::Float;

use crate::hyper::{Hyper, Hyperparameters};

/// The most states that a rule can keep for each parameter.
pub const SLOTS: usize = 3;

/// A number type that rules calculate in: `f32` or `f64`.
///
/// Half precision is calculated in `f32` and rounded when it is stored.
pub trait Real: Float + Dtype {
    /// The nearest number of this type.
    fn of(value: f64) -> Self;
}

impl Real for f32 {
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the nearest number is meant")]
    fn of(value: f64) -> Self {
        value as Self
    }
}

impl Real for f64 {
    #[inline]
    fn of(value: f64) -> Self {
        value
    }
}

/// The update that is being made.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Update {
    /// The number of the update, counted from 1.
    pub number: u64,
    /// The number that [`Rule::carry`] has returned.
    pub carried: f64,
}

impl Update {
    /// The number in the type that `powi` takes. It stops at `i32::MAX`, where every bias correction has long been 1.
    #[must_use]
    pub fn power(self) -> i32 {
        i32::try_from(self.number).unwrap_or(i32::MAX)
    }

    pub(super) fn new(number: u64, carried: f64) -> Self {
        Self { number, carried }
    }
}

/// The value of a hyper-parameter in a checkpoint. `From` makes it from numbers, options, texts and flags.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Setting {
    /// The option is switched off.
    Off,
    /// A number.
    Number(f64),
    /// A flag.
    Flag(bool),
    /// A name.
    Text(&'static str),
    /// The strength of an L2 weight decay.
    L2(f64),
    /// The strength of a decoupled weight decay.
    Decoupled(f64),
}

macro_rules! settings {
    ($($source:ty => $variant:ident),+) => {$(
        impl From<$source> for Setting {
            fn from(value: $source) -> Self {
                Self::$variant(value)
            }
        }
    )+};
}

settings!(f64 => Number, bool => Flag, &'static str => Text);

impl From<WeightDecay> for Setting {
    fn from(weight_decay: WeightDecay) -> Self {
        match weight_decay {
            WeightDecay::L2(strength) => Self::L2(strength),
            WeightDecay::Decoupled(strength) => Self::Decoupled(strength),
        }
    }
}

impl<T: Into<Setting>> From<Option<T>> for Setting {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Off, Into::into)
    }
}

/// The rule of an optimizer: how a gradient becomes a step. [`Elementwise`](super::Elementwise) makes an optimizer from it,
/// for models of any number type on any device.
///
/// The type that implements it holds the hyper-parameters. Everything else is the same for all rules:
///
/// ```text
/// g <- clip(g)                              if the config says so
/// g <- g + weight_decay p                   for L2
/// step, states <- rule(g, states)
/// step <- step + weight_decay lr p          for decoupled weight decay
/// p <- p - step
/// ```
///
/// # Examples
///
/// The sign of the gradient (signSGD). Like every rule, it can be scheduled, clipped, grouped and saved:
///
/// ```
/// use cyclic_optim::adapters::dfdx::{Elementwise, Real, Rule, SLOTS, Setting, Update};
/// use cyclic_optim::{Cyclic, CyclicOptimizer, Hyper, Hyperparameters, Unsupported};
/// use dfdx::prelude::*;
///
/// #[derive(Debug, Clone, Default)]
/// struct SignSgd {
///     lr: f64,
/// }
///
/// impl Hyperparameters for SignSgd {
///     fn get(&self, hyper: Hyper) -> Option<f64> {
///         (hyper == Hyper::LearningRate).then_some(self.lr)
///     }
///     fn set(&mut self, hyper: Hyper, value: f64) -> Result<(), Unsupported> {
///         if hyper == Hyper::LearningRate { Ok(self.lr = value) } else { Err(Unsupported(hyper)) }
///     }
/// }
///
/// impl Rule for SignSgd {
///     const KIND: &'static str = "sign_sgd";
///     const STATE: &'static [&'static str] = &[];
///     type Constants<F: Real> = F;
///
///     fn constants<F: Real>(&self, _: Update) -> F {
///         F::of(self.lr)
///     }
///     fn step<F: Real>(lr: &F, gradient: F, _: [&mut F; SLOTS]) -> F {
///         *lr * gradient.signum()
///     }
///     fn settings(&self) -> Vec<(&'static str, Setting)> {
///         vec![("lr", self.lr.into())]
///     }
/// }
///
/// let mut w: Tensor<Rank1<2>, f32, _> = Cpu::default().tensor([1.0, -1.0]);
/// let mut optimizer = CyclicOptimizer::new(Elementwise::<SignSgd>::default(), Cyclic::triangular(0.01, 0.1, 5)?);
/// for _ in 0..30 {
///     let loss = w.leaky_trace().square().sum();
///     let value = loss.array();
///     optimizer.apply(&mut w, &mut loss.backward(), value)?;
/// }
/// assert!(w.array().iter().all(|w| w.abs() < 0.1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Rule: Hyperparameters + Clone + Debug + Send + 'static {
    /// The name of the rule in checkpoints. A run is restored only to an optimizer of the same kind.
    const KIND: &'static str;

    /// The names of the states that the rule keeps for each number of a parameter, such as a velocity; at most [`SLOTS`].
    /// Each starts at 0, unless [`start`](Self::start) returns another value.
    const STATE: &'static [&'static str];

    /// What [`step`](Self::step) needs to know of an update: the hyper-parameters as numbers of type `F`.
    type Constants<F: Real>: Copy;

    /// The constants of an update.
    fn constants<F: Real>(&self, update: Update) -> Self::Constants<F>;

    /// The step, which will be subtracted from a number of a parameter, and the next values of the states of this number.
    /// States beyond those in [`STATE`](Self::STATE) are not kept.
    ///
    /// Mark it `#[inline(always)]`, so that the loop over all numbers is compiled for the processor's widest
    /// instructions. The compiler moves a condition that depends only on `constants` out of the loop.
    fn step<F: Real>(constants: &Self::Constants<F>, gradient: F, state: [&mut F; SLOTS]) -> F;

    /// The hyper-parameters that a checkpoint saves and compares, by name. A learning rate called `lr` and a momentum called
    /// `momentum` or `beta1` may differ when the schedule sets them.
    fn settings(&self) -> Vec<(&'static str, Setting)>;

    /// The weight decay; none by default.
    fn weight_decay(&self) -> Option<WeightDecay> {
        None
    }

    /// The start values of the states for parameters that take part in the first update, in the order of
    /// [`STATE`](Self::STATE). The states of parameters that join later start at 0.
    fn start(&self) -> [f64; SLOTS] {
        [0.0; SLOTS]
    }

    /// The next value of a number that the rule carries from update to update, and that checkpoints save. Called once
    /// for each update, with the present value, which is 1 before the first update. The default returns it unchanged.
    fn carry(&self, update: Update) -> f64 {
        update.carried
    }

    /// Whether [`on_device`](Self::on_device) is the fastest way on the CPU for a parameter of this many numbers.
    fn prefers_device(&self, numbers: usize) -> bool {
        let _ = numbers;
        false
    }

    /// Makes the update with the device's own functions, including weight decay. The default returns `None`, which means
    /// that there are none. Then [`step`](Self::step) makes the update, on devices other than the CPU on a copy.
    fn on_device<S: Shape, E: Dtype, D: Device<E>>(
        &self,
        update: Update,
        parameter: &mut Tensor<S, E, D>,
        gradient: &<D as Storage<E>>::Vec,
        state: [Option<&mut <D as Storage<E>>::Vec>; SLOTS],
    ) -> Option<Result<(), D::Err>> {
        let _ = (update, parameter, gradient, state);
        None
    }
}

/// Mutable references to the hyper-parameters of a config. Each rule defines in its file which ones it has.
pub(super) trait Fields: Copy {
    /// A reference to a hyper-parameter; `None` if the rule does not have it or it is switched off.
    fn field(&mut self, hyper: Hyper) -> Option<&mut f64>;
}

/// The strength of a weight decay of either kind, if there is one.
#[inline]
pub(super) fn strength(weight_decay: &mut Option<WeightDecay>) -> Option<&mut f64> {
    let (WeightDecay::L2(strength) | WeightDecay::Decoupled(strength)) = weight_decay.as_mut()?;
    Some(strength)
}
