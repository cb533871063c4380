//! Rules on the CPU: one loop over parameter, gradient and states, compiled for the processor's widest instructions.
//!
//! dfdx lets other crates borrow the memory of gradients and states, but not that of a parameter. So there are two
//! ways:
//!
//! - A small parameter is copied out, updated and copied back.
//! - Copying a large one takes too long. So its step is written over the gradient, and the memory of the gradient becomes a
//!   tensor, which dfdx subtracts from the parameter.
//!
//! Both give the same bits.

use core::any::Any;
use core::{fmt, mem};
use std::collections::BTreeMap;

use dfdx::optim::WeightDecay;
use dfdx::shapes::{HasShape, Shape};
use dfdx::tensor::{Cache, Cpu, CpuError, Gradients, Storage, Tensor, TensorFromVec, UniqueId};

use super::rule::{Real, Rule, SLOTS};
use crate::training::Clipping;
use crate::training::clip::Clipper;
use crate::training::wide::{Kernel, run};

/// Larger parameters are not copied. With 100,000 numbers both ways take the same time.
const COPIED: usize = 65_536;

/// What is done to each number besides the rule.
#[derive(Clone, Copy)]
pub(super) struct Around {
    pub(super) clipping: Clipping,
    pub(super) weight_decay: Option<WeightDecay>,
    pub(super) lr: f64,
}

/// What is kept from one update to the next to save time. A clone starts empty.
pub(super) struct Scratch<E> {
    /// A parameter that was copied out.
    copied: Vec<E>,
    /// A device that keeps the memory of its dropped tensors, so that it can be taken back.
    keeping: Option<Cpu>,
    /// Whether the numbers of a large parameter are in memory in the order of its axes.
    in_order: BTreeMap<UniqueId, bool>,
}

impl<E> Default for Scratch<E> {
    fn default() -> Self {
        Self { copied: Vec::new(), keeping: None, in_order: BTreeMap::new() }
    }
}

impl<E> Clone for Scratch<E> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<E> fmt::Debug for Scratch<E> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Scratch").finish_non_exhaustive()
    }
}

/// A parameter on the CPU with its gradient and its states.
pub(super) struct Parts<'a, F: Real, S: Shape> {
    pub(super) parameter: &'a mut Tensor<S, F, Cpu>,
    pub(super) id: UniqueId,
    pub(super) gradient: &'a mut <Cpu as Storage<F>>::Vec,
    pub(super) state: [&'a mut [F]; SLOTS],
}

impl<'a, F: Real, S: Shape> Parts<'a, F, S> {
    /// The parts if they are numbers of type `F` on the CPU.
    pub(super) fn of(
        parameter: &'a mut dyn Any,
        id: UniqueId,
        gradient: &'a mut dyn Any,
        state: [Option<&'a mut dyn Any>; SLOTS],
    ) -> Option<Self> {
        Some(Self {
            parameter: parameter.downcast_mut()?,
            id,
            gradient: gradient.downcast_mut()?,
            state: state.map(|memory| {
                let memory = memory.and_then(|memory| memory.downcast_mut::<<Cpu as Storage<F>>::Vec>());
                memory.map(|memory| &mut memory[..]).unwrap_or_default()
            }),
        })
    }

    /// Updates the parameter and zeroes its gradient.
    pub(super) fn update<R: Rule>(
        self,
        constants: R::Constants<F>,
        around: Around,
        scratch: &mut Scratch<F>,
    ) -> Result<(), CpuError> {
        let Self { parameter, id, gradient, state } = self;
        let numbers = gradient.len();
        // With L2 weight decay, the step depends on the parameter.
        let l2 = matches!(around.weight_decay, Some(WeightDecay::L2(_)));
        if numbers <= COPIED || l2 || !scratch.lies_in_order(parameter, id, numbers)? {
            scratch.copied.resize(numbers, F::zero());
            let copied = &mut scratch.copied[..numbers];
            parameter.copy_into(copied);
            run(Loop::<R, F> { constants, around, gradient, parameter: Some(copied), state });
            parameter.copy_from(copied);
            return Ok(());
        }
        run(Loop::<R, F> { constants, around, gradient, parameter: None, state });
        let keeping = scratch.keeping()?;
        let mut step = keeping.try_tensor_from_vec(mem::take(&mut **gradient), *parameter.shape())?;
        if let Some(WeightDecay::Decoupled(strength)) = around.weight_decay {
            step.try_axpy(1.0, parameter, strength * around.lr)?;
        }
        parameter.try_axpy(1.0, &step, -1.0)?;
        drop(step);
        // The same memory, zeroed.
        **gradient = mem::take(&mut *Storage::<F>::try_alloc_len(keeping, numbers)?);
        Ok(())
    }
}

impl<F: Real> Scratch<F> {
    fn keeping(&mut self) -> Result<&Cpu, CpuError> {
        if self.keeping.is_none() {
            let device = Cpu::default();
            device.try_enable_cache()?;
            self.keeping = Some(device);
        }
        Ok(self.keeping.get_or_insert_default())
    }

    /// Whether the numbers of a parameter are in memory in the order of its axes. dfdx subtracts only tensors with the same
    /// memory layout, and does not reveal the layout. So this writes ascending numbers into the memory of a gradient, and
    /// reads them along the axes. The layout of an id never changes.
    fn lies_in_order<S: Shape>(
        &mut self,
        parameter: &Tensor<S, F, Cpu>,
        id: UniqueId,
        numbers: usize,
    ) -> Result<bool, CpuError> {
        if let Some(&in_order) = self.in_order.get(&id) {
            return Ok(in_order);
        }
        let expected: Vec<F> = (0..numbers).filter_map(F::from).collect();
        let mut marked = Gradients::leaky();
        marked.get_or_alloc_mut(parameter)?.copy_from_slice(&expected);
        let in_order = marked.get(parameter).as_vec() == expected;
        self.in_order.insert(id, in_order);
        Ok(in_order)
    }
}

impl<E> Scratch<E> {
    /// Clears the cache of the keeping device, whose memory was taken back.
    pub(super) fn end_of_update(&mut self) {
        if let Some(keeping) = &self.keeping {
            // This does not fail on a CPU.
            let _ = keeping.try_empty_cache();
        }
    }
}

/// The loop of all rules.
pub(super) struct Loop<'a, R: Rule, F: Real> {
    pub(super) constants: R::Constants<F>,
    pub(super) around: Around,
    /// Zeroed if there is a parameter; otherwise the step is left in it.
    pub(super) gradient: &'a mut [F],
    pub(super) parameter: Option<&'a mut [F]>,
    pub(super) state: [&'a mut [F]; SLOTS],
}

impl<R: Rule, F: Real> Kernel for Loop<'_, R, F> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { constants, around: Around { clipping, weight_decay, lr }, gradient, parameter, state } = self;
        let Some(clipper) = clipping.of::<F>() else { return };
        let numbers = |decay| Numbers::<R, F> { constants, clipper, decay };
        // The kind of weight decay is a constant parameter of the loop, so that the loop has no condition for it.
        match (parameter, weight_decay) {
            (None, _) => numbers(F::zero()).steps(gradient, state),
            (Some(parameter), None) => numbers(F::zero()).update::<NO_DECAY>(parameter, gradient, state),
            (Some(parameter), Some(WeightDecay::L2(strength))) => {
                numbers(F::of(strength)).update::<L2>(parameter, gradient, state);
            }
            (Some(parameter), Some(WeightDecay::Decoupled(strength))) => {
                numbers(F::of(strength * lr)).update::<DECOUPLED>(parameter, gradient, state);
            }
        }
    }
}

const NO_DECAY: u8 = 0;
const L2: u8 = 1;
const DECOUPLED: u8 = 2;

/// What the loop needs besides the slices.
struct Numbers<R: Rule, F: Real> {
    constants: R::Constants<F>,
    clipper: Clipper<F>,
    decay: F,
}

/// One loop for each possible number of states, with that many slices.
macro_rules! for_each_number {
    ($count:expr, $gradient:ident, $states:ident, |$i:ident, $slots:ident| $body:block) => {
        let [a, b, c] = $states;
        match $count {
            0 => for_each_number!(@ $gradient, $i, $slots, $body,),
            1 => for_each_number!(@ $gradient, $i, $slots, $body, 0 a),
            2 => for_each_number!(@ $gradient, $i, $slots, $body, 0 a, 1 b),
            _ => for_each_number!(@ $gradient, $i, $slots, $body, 0 a, 1 b, 2 c),
        }
    };
    (@ $gradient:ident, $i:ident, $slots:ident, $body:block, $($slot:literal $state:ident),*) => {{
        $(let $state = &mut $state[..$gradient.len()];)*
        for $i in 0..$gradient.len() {
            let mut unused = [F::zero(); SLOTS];
            #[allow(unused_mut, reason = "a rule may have no state")]
            let mut $slots = unused.each_mut();
            $($slots[$slot] = &mut $state[$i];)*
            $body
        }
    }};
}

impl<R: Rule, F: Real> Numbers<R, F> {
    /// Subtracts the steps and zeroes the gradients.
    #[inline(always)]
    fn update<const DECAY: u8>(self, parameter: &mut [F], gradient: &mut [F], state: [&mut [F]; SLOTS]) {
        let parameter = &mut parameter[..gradient.len()];
        for_each_number!(R::STATE.len(), gradient, state, |i, slots| {
            let mut clipped = self.clipper.clip(gradient[i]);
            if DECAY == L2 {
                clipped += self.decay * parameter[i];
            }
            let mut step = R::step(&self.constants, clipped, slots);
            if DECAY == DECOUPLED {
                step += self.decay * parameter[i];
            }
            parameter[i] -= step;
            gradient[i] = F::zero();
        });
    }

    /// Writes the steps over the gradients.
    #[inline(always)]
    fn steps(self, gradient: &mut [F], state: [&mut [F]; SLOTS]) {
        for_each_number!(R::STATE.len(), gradient, state, |i, slots| {
            gradient[i] = R::step(&self.constants, self.clipper.clip(gradient[i]), slots);
        });
    }
}
