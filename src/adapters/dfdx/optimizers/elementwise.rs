//! The optimizer that a rule makes: one pass over the parameters of a model.

use core::any::{Any, TypeId};
use core::{iter, mem};

use dfdx::dtypes::Dtype;
use dfdx::nn::tensor_collection::{RecursiveWalker, TensorCollection, TensorOptions, TensorVisitor, ViewTensorMut};
use dfdx::optim::{Optimizer, OptimizerUpdateError, UnusedTensors};
use dfdx::shapes::{HasShape, Shape};
use dfdx::tensor::{Cpu, Gradients, Storage, Tensor, UniqueId};
use dfdx::tensor_ops::Device;

use super::assignment::Assignment;
use super::bias::{BiasCorrected, ExactBias};
use super::cpu::{Around, Loop, Parts, Scratch};
use super::rule::{Real, Rule, SLOTS, Update};
use crate::adapters::dfdx::gradients::change_entry;
use crate::adapters::dfdx::missing::missing_gradients;
use crate::adapters::dfdx::walk::{AnyTensor, write_entry};
use crate::error::UnknownPrefix;
use crate::groups::{Group, Groups, NoGroups};
use crate::hyper::{Hyper, Hyperparameters, Unsupported};
use crate::training::Clipping;
use crate::training::wide::run;

/// An optimizer that applies a [`Rule`] to each number of a model. It can be made without a model, it is `Send`, and its whole
/// state can be saved. [`Adam`](super::Adam), [`Sgd`](super::Sgd) and the others are aliases for it with their rules. [`Rule`]
/// has an example of a rule of your own.
///
/// Number type and device are inferred at the first update. On the CPU a parameter of `f32` or `f64` is updated in one loop,
/// which also clips and zeroes the gradient. Half precision is calculated in `f32`. On other devices, Adam, AdamW, Sgd and
/// RMSprop use dfdx's kernels. All other rules work there on copies in the host's memory, which is much slower.
#[derive(Debug, Clone)]
pub struct Elementwise<R, E = f32, D: Storage<E> = Cpu> {
    /// The hyper-parameters. Each update reads them.
    pub cfg: R,
    /// The number of updates.
    pub(in crate::adapters::dfdx) updates: u64,
    /// See [`Rule::carry`].
    pub(in crate::adapters::dfdx) carried: f64,
    /// One set for each name of [`Rule::STATE`].
    pub(in crate::adapters::dfdx) state: Vec<Gradients<E, D>>,
    /// Whether an update has found a gradient for every parameter.
    pub(in crate::adapters::dfdx) complete: bool,
    /// The parameters that the last update has visited.
    pub(in crate::adapters::dfdx) ids: Vec<UniqueId>,
    assignment: Assignment,
    /// The exact correction of the bias, if it is switched on.
    pub(in crate::adapters::dfdx) exact_bias: Option<ExactBias<R>>,
    /// The hyper-parameters of the present update: those of parameters without a group, then those of each group. Empty where
    /// all parameters have those of `cfg`.
    plan: Vec<R>,
    scratch: Scratch<E>,
}

impl<R: Rule, E, D: Storage<E>> Elementwise<R, E, D> {
    /// An optimizer before its first update.
    #[must_use]
    pub fn new(cfg: R) -> Self {
        const { assert!(R::STATE.len() <= SLOTS, "a rule has at most SLOTS states") };
        Self {
            cfg,
            updates: 0,
            carried: 1.0,
            state: R::STATE.iter().map(|_| Gradients::leaky()).collect(),
            complete: false,
            ids: Vec::new(),
            assignment: Assignment::default(),
            exact_bias: None,
            plan: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    /// Corrects the bias of the first moment exactly, even if beta1 is scheduled.
    ///
    /// Each step is multiplied by `(1 - beta1^t) / (1 - P)`, where P is the product of the beta1 of all updates so far. With
    /// a constant beta1 that factor is exactly 1, and the result has the same bits as without the option. The option changes
    /// neither the reported rate and momentum nor a decoupled weight decay. It matters in the first updates of a run: if
    /// beta1 falls, it changes a step by up to a fifth.
    ///
    /// ```
    /// use cyclic_optim::{Adam, ClrConfig, CyclicOptimizer, OneCycle};
    /// use dfdx::prelude::Cpu;
    ///
    /// let config = ClrConfig::new(OneCycle::new(0.01, 100)?).with_momentum(0.85, 0.95)?;
    /// let optimizer = CyclicOptimizer::new(Adam::<f32, Cpu>::default().with_exact_bias_correction(), config);
    /// # let _ = optimizer;
    /// # Ok::<(), cyclic_optim::ConfigError>(())
    /// ```
    #[must_use]
    pub fn with_exact_bias_correction(mut self) -> Self
    where
        R: BiasCorrected,
    {
        self.exact_bias = Some(ExactBias::new(&self.cfg, self.updates));
        self
    }

    /// Takes over everything that is not state: groups and options.
    #[cfg(feature = "checkpoint")]
    pub(in crate::adapters::dfdx) fn with_options_of(mut self, other: &Self) -> Self {
        self.assignment = Assignment::new(other.assignment.groups.clone());
        self.exact_bias.clone_from(&other.exact_bias);
        self
    }

    /// Whether a group is frozen. Its parameters may have no moments.
    #[cfg(feature = "checkpoint")]
    pub(in crate::adapters::dfdx) fn has_frozen(&self) -> bool {
        self.assignment.groups.iter().any(Group::is_frozen)
    }

    /// Computes the hyper-parameters of each group for the next update.
    fn make_plan(&mut self) {
        self.plan.clear();
        if let Some(exact_bias) = &mut self.exact_bias {
            exact_bias.begin(&self.cfg, self.updates);
        } else if self.assignment.groups.is_empty() {
            return;
        }
        let factors = self.assignment.groups.iter().map(|group| (group.rate(), group.weight_decay()));
        for (rate, weight_decay) in core::iter::once((1.0, 1.0)).chain(factors) {
            let mut cfg = self.cfg.clone();
            for (hyper, factor) in [(Hyper::LearningRate, rate), (Hyper::WeightDecay, weight_decay)] {
                // A hyper-parameter that the rule does not have is skipped.
                let _ = cfg.get(hyper).map(|value| cfg.set(hyper, value * factor));
            }
            self.plan.push(match &self.exact_bias {
                Some(exact_bias) => exact_bias.correct(&cfg),
                None => cfg,
            });
        }
    }
}

impl<R: Rule + Default, E, D: Storage<E>> Default for Elementwise<R, E, D> {
    /// The default hyper-parameters.
    fn default() -> Self {
        Self::new(R::default())
    }
}

impl<R: Rule, E, D: Storage<E>> Hyperparameters for Elementwise<R, E, D> {
    fn get(&self, hyper: Hyper) -> Option<f64> {
        self.cfg.get(hyper)
    }

    #[inline]
    fn set(&mut self, hyper: Hyper, value: f64) -> Result<(), Unsupported> {
        self.cfg.set(hyper, value)
    }

    fn set_groups(&mut self, groups: &Groups) -> Result<(), NoGroups> {
        if self.assignment.groups != *groups {
            self.assignment = Assignment::new(groups.clone());
            // A parameter that is no longer frozen needs a gradient.
            self.complete = false;
        }
        Ok(())
    }
}

impl<R: Rule, M: TensorCollection<E, D>, E: Dtype, D: Device<E>> Optimizer<M, D, E> for Elementwise<R, E, D> {
    /// Updates from borrowed gradients. Code outside of dfdx cannot borrow their entries, so this works on a copy.
    fn update(&mut self, module: &mut M, gradients: &Gradients<E, D>) -> Result<(), OptimizerUpdateError<D::Err>> {
        // A prefix that fits no parameter has no effect here, because dfdx's error type cannot report it.
        let _ = self.resolve_groups(module);
        let missing = self.missing(module, gradients)?;
        self.sweep(module, &mut gradients.clone(), &missing, Clipping::NONE, false)?;
        UnusedTensors { ids: missing }.into()
    }
}

impl<R: Rule, E: Dtype, D: Device<E>> Elementwise<R, E, D> {
    /// Clips, updates in place, and leaves the gradients in the state in which dfdx's `zero_grads` would leave them.
    pub(in crate::adapters::dfdx) fn clip_and_update<M: TensorCollection<E, D>>(
        &mut self,
        module: &mut M,
        gradients: &mut Gradients<E, D>,
        clipping: Clipping,
    ) -> Result<(), OptimizerUpdateError<D::Err>> {
        let missing = self.missing(module, gradients)?;
        self.sweep(module, gradients, &missing, clipping, true)?;
        gradients.retain_leafs(&self.ids);
        UnusedTensors { ids: missing }.into()
    }

    /// Finds the group of each parameter.
    ///
    /// # Errors
    ///
    /// The first prefix that no parameter has.
    pub(in crate::adapters::dfdx) fn resolve_groups<M: TensorCollection<E, D>>(
        &mut self,
        module: &M,
    ) -> Result<(), UnknownPrefix> {
        self.assignment.resolve::<M, E, D>(module)
    }

    fn missing<M: TensorCollection<E, D>>(
        &self,
        module: &M,
        gradients: &Gradients<E, D>,
    ) -> Result<Vec<UniqueId>, OptimizerUpdateError<D::Err>> {
        if self.complete {
            return Ok(Vec::new());
        }
        let mut missing = missing_gradients(module, gradients).map_err(OptimizerUpdateError::DeviceError)?.ids;
        missing.retain(|&id| !self.assignment.is_frozen(id));
        Ok(missing)
    }

    fn sweep<M: TensorCollection<E, D>>(
        &mut self,
        module: &mut M,
        gradients: &mut Gradients<E, D>,
        missing: &[UniqueId],
        clipping: Clipping,
        zero: bool,
    ) -> Result<(), OptimizerUpdateError<D::Err>> {
        self.updates = self.updates.saturating_add(1);
        self.carried = self.cfg.carry(Update::new(self.updates, self.carried));
        self.make_plan();
        let mut ids = mem::take(&mut self.ids);
        ids.clear();
        let update = Update::new(self.updates, self.carried);
        let mut sweep = Sweep {
            optimizer: self,
            gradients,
            missing,
            update,
            clipping,
            zero,
            planned: 0,
            seen: UnusedTensors { ids },
        };
        let result = M::iter_tensors(&mut RecursiveWalker { m: module, f: &mut sweep });
        let Sweep { seen, .. } = sweep;
        self.ids = seen.ids;
        self.scratch.end_of_update();
        result.map_err(OptimizerUpdateError::DeviceError)?;
        self.complete = missing.is_empty();
        Ok(())
    }
}

struct Sweep<'a, R, E: Dtype, D: Device<E>> {
    optimizer: &'a mut Elementwise<R, E, D>,
    gradients: &'a mut Gradients<E, D>,
    missing: &'a [UniqueId],
    update: Update,
    clipping: Clipping,
    /// Whether the gradients are wanted as zeros afterwards.
    zero: bool,
    /// The index of the present parameter's hyper-parameters in the plan.
    planned: usize,
    /// The parameters that have been visited. (This is the only form in which dfdx returns the id of a tensor.)
    seen: UnusedTensors,
}

impl<R: Rule, E: Dtype, D: Device<E>> TensorVisitor<E, D> for Sweep<'_, R, E, D> {
    type Viewer = ViewTensorMut;
    type Err = D::Err;
    type E2 = E;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        options: TensorOptions<S, E, D>,
        parameter: &mut Tensor<S, E, D>,
    ) -> Result<Option<Tensor<S, E, D>>, D::Err> {
        if !options.do_gradient_update {
            return Ok(None);
        }
        self.seen.add(parameter);
        let n = self.seen.ids.len() - 1;
        let id = self.seen.ids[n];
        if !self.optimizer.plan.is_empty() {
            self.planned = self.optimizer.assignment.of(n).map_or(0, |group| 1 + group);
        }
        if self.is_frozen() || (!self.missing.is_empty() && self.missing.contains(&id)) {
            if self.zero {
                parameter.device().try_fill_with_zeros(self.gradients.get_or_alloc_mut(parameter)?)?;
            }
        } else {
            self.step(parameter, id)?;
        }
        Ok(None)
    }
}

/// The hyper-parameters of a parameter.
#[inline]
fn planned<'a, R>(plan: &'a [R], cfg: &'a R, place: usize) -> &'a R {
    plan.get(place).unwrap_or(cfg)
}

impl<R: Rule, E: Dtype, D: Device<E>> Sweep<'_, R, E, D> {
    /// Whether the present parameter belongs to a frozen group.
    fn is_frozen(&self) -> bool {
        let group = self.planned.checked_sub(1).and_then(|n| self.optimizer.assignment.groups.iter().nth(n));
        group.is_some_and(Group::is_frozen)
    }

    /// The hyper-parameters of the present parameter.
    fn cfg(&self) -> &R {
        planned(&self.optimizer.plan, &self.optimizer.cfg, self.planned)
    }

    /// Updates a parameter and zeroes its gradient.
    fn step<S: Shape>(&mut self, parameter: &mut Tensor<S, E, D>, id: UniqueId) -> Result<(), D::Err> {
        if self.update.number == 1 {
            self.begin(parameter)?;
        }
        let cfg = self.cfg();
        if TypeId::of::<D>() == TypeId::of::<Cpu>() && !cfg.prefers_device(HasShape::shape(parameter).num_elements()) {
            // At most one of the two is compiled.
            let updated = match TypeId::of::<E>() {
                number if number == TypeId::of::<f32>() => self.on_cpu::<f32, S>(parameter, id)?,
                number if number == TypeId::of::<f64>() => self.on_cpu::<f64, S>(parameter, id)?,
                _ => false,
            };
            if updated {
                return Ok(());
            }
        }
        if self.clipping.acts() {
            change_entry(parameter, self.gradients, |values| {
                self.clipping.apply(values);
                true
            })?;
        }
        let Elementwise { cfg, plan, state, .. } = &mut *self.optimizer;
        let cfg = planned(plan, cfg, self.planned);
        let gradient = self.gradients.get_or_alloc_mut(parameter)?;
        if let Some(result) = cfg.on_device(self.update, parameter, gradient, entries(state, parameter)?) {
            result?;
            return parameter.device().try_fill_with_zeros(gradient);
        }
        if size_of::<E>() > size_of::<f32>() {
            self.on_host::<f64>(parameter)?;
        } else {
            self.on_host::<f32>(parameter)?;
        }
        parameter.device().try_fill_with_zeros(self.gradients.get_or_alloc_mut(parameter)?)
    }

    /// Sets the start values of the states of a parameter.
    fn begin(&mut self, parameter: &dyn AnyTensor<E, D>) -> Result<(), D::Err> {
        for (start, state) in self.optimizer.cfg.start().into_iter().zip(&mut self.optimizer.state) {
            if start != 0.0 {
                let start = E::from_f64(start).unwrap_or_default();
                write_entry(parameter, parameter.entry(state)?, iter::repeat(start))?;
            }
        }
        Ok(())
    }

    fn around(&self, clipping: Clipping) -> Around {
        let cfg = self.cfg();
        Around { clipping, weight_decay: cfg.weight_decay(), lr: cfg.get(Hyper::LearningRate).unwrap_or_default() }
    }

    /// Updates the parameter if it is one of numbers of type `F` on the CPU. Returns whether it is.
    #[inline]
    fn on_cpu<F: Real, S: Shape>(&mut self, parameter: &mut Tensor<S, E, D>, id: UniqueId) -> Result<bool, D::Err> {
        let around = self.around(self.clipping);
        let Elementwise { cfg, plan, state, scratch, .. } = &mut *self.optimizer;
        let cfg = planned(plan, cfg, self.planned);
        let state = entries(state, parameter)?.map(|memory| memory.map(|memory| memory as &mut dyn Any));
        let gradient = self.gradients.get_or_alloc_mut(parameter)?;
        let parts = Parts::<F, S>::of(parameter, id, gradient, state);
        let (Some(parts), Some(scratch)) = (parts, (scratch as &mut dyn Any).downcast_mut()) else {
            return Ok(false);
        };
        let result = parts.update::<R>(cfg.constants(self.update), around, scratch);
        // On the CPU these are the same type.
        (&mut Some(result) as &mut dyn Any).downcast_mut().and_then(Option::take).unwrap_or(Ok(())).map(|()| true)
    }

    /// Updates a copy of a parameter in the host's memory, and copies it back.
    fn on_host<F: Real>(&mut self, parameter: &mut dyn AnyTensor<E, D>) -> Result<(), D::Err> {
        fn real<E: Dtype, F: Real>(values: Vec<E>) -> Vec<F> {
            values.into_iter().map(|value| F::of(value.to_f64().unwrap_or(f64::NAN))).collect()
        }
        fn stored<E: Dtype, F: Real>(values: Vec<F>) -> impl Iterator<Item = E> {
            values.into_iter().map(|value| value.to_f64().and_then(E::from_f64).unwrap_or_default())
        }
        let around = self.around(Clipping::NONE);
        let Elementwise { cfg, plan, state, .. } = &mut *self.optimizer;
        let cfg = planned(plan, cfg, self.planned);
        let mut values = real::<E, F>(parameter.values());
        let mut gradient = real::<E, F>(parameter.entry_values(self.gradients));
        let mut states: [Vec<F>; SLOTS] = Default::default();
        for (values, state) in states.iter_mut().zip(&mut *state) {
            parameter.entry(state)?;
            *values = real::<E, F>(parameter.entry_values(state));
        }
        run(Loop::<R, F> {
            constants: cfg.constants(self.update),
            around,
            gradient: &mut gradient,
            parameter: Some(&mut values),
            state: states.each_mut().map(|state| &mut state[..]),
        });
        parameter.set(&stored(values).collect::<Vec<_>>());
        for (values, state) in states.into_iter().zip(state) {
            write_entry(parameter, parameter.entry(state)?, stored(values))?;
        }
        Ok(())
    }
}

/// The memory of a parameter's states.
type Entries<'a, E, D> = [Option<&'a mut <D as Storage<E>>::Vec>; SLOTS];

/// The states of a parameter.
fn entries<'a, S: Shape, E: Dtype, D: Device<E>>(
    state: &'a mut [Gradients<E, D>],
    parameter: &Tensor<S, E, D>,
) -> Result<Entries<'a, E, D>, D::Err> {
    let mut entries = [const { None }; SLOTS];
    for (entry, state) in entries.iter_mut().zip(state) {
        *entry = Some(state.get_or_alloc_mut(parameter)?);
    }
    Ok(entries)
}
