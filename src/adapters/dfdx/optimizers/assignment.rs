//! Which parameter belongs to which group.

use core::marker::PhantomData;
use core::mem;

use dfdx::dtypes::Dtype;
use dfdx::nn::tensor_collection::{RecursiveWalker, TensorCollection, TensorOptions, TensorVisitor, ViewTensorRef};
use dfdx::optim::UnusedTensors;
use dfdx::shapes::Shape;
use dfdx::tensor::{Tensor, UniqueId};
use dfdx::tensor_ops::Device;

use crate::adapters::dfdx::gradients::names_of;
use crate::error::UnknownPrefix;
use crate::groups::{Group, Groups};

/// The groups, and which of them each parameter of the last model belongs to.
#[derive(Debug, Clone, Default)]
pub(super) struct Assignment {
    pub(super) groups: Groups,
    /// The parameters in the order in which an update visits them.
    ids: Vec<UniqueId>,
    /// The group of each.
    group: Vec<Option<usize>>,
    /// The first prefix that none of their names begins with.
    unknown: Option<UnknownPrefix>,
    /// Kept only to reuse its memory.
    seen: Vec<UniqueId>,
}

impl Assignment {
    pub(super) fn new(groups: Groups) -> Self {
        Self { groups, ..Self::default() }
    }

    /// Looks up the parameters of a model by name, unless they are the same as in the last call.
    ///
    /// # Errors
    ///
    /// The first prefix that no name begins with.
    pub(super) fn resolve<M: TensorCollection<E, D>, E: Dtype, D: Device<E>>(
        &mut self,
        model: &M,
    ) -> Result<(), UnknownPrefix> {
        if self.groups.is_empty() {
            return Ok(());
        }
        let mut seen = UnusedTensors { ids: mem::take(&mut self.seen) };
        seen.ids.clear();
        let Ok(_) = M::iter_tensors(&mut RecursiveWalker { m: model, f: &mut Ids::<E, D>(&mut seen, PhantomData) });
        self.seen = seen.ids;
        if self.seen != self.ids {
            let names = names_of::<_, E, D>(model, &self.seen);
            self.unknown = self.groups.check_names(&names).err();
            self.group = names.iter().map(|name| self.groups.of(name)).collect();
            self.ids.clone_from(&self.seen);
        }
        self.unknown.clone().map_or(Ok(()), Err)
    }

    /// The group of the parameter that an update visits as the n-th.
    #[inline]
    pub(super) fn of(&self, n: usize) -> Option<usize> {
        self.group.get(n).copied().flatten()
    }

    /// Whether a parameter is frozen.
    pub(super) fn is_frozen(&self, id: UniqueId) -> bool {
        let group = self.ids.iter().position(|&own| own == id).and_then(|n| self.of(n));
        group.and_then(|group| self.groups.iter().nth(group)).is_some_and(Group::is_frozen)
    }
}

/// Collects the ids of all parameters, without taking memory for each.
struct Ids<'a, E, D>(&'a mut UnusedTensors, PhantomData<(E, D)>);

impl<E: Dtype, D: Device<E>> TensorVisitor<E, D> for Ids<'_, E, D> {
    type Viewer = ViewTensorRef;
    type Err = core::convert::Infallible;
    type E2 = E;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        options: TensorOptions<S, E, D>,
        parameter: &Tensor<S, E, D>,
    ) -> Result<Option<Tensor<S, E, D>>, Self::Err> {
        if options.do_gradient_update {
            self.0.add(parameter);
        }
        Ok(None)
    }
}
