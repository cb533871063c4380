//! What our optimizers save.

use dfdx::dtypes::Dtype;
use dfdx::optim::{Momentum, WeightDecay};
use dfdx::tensor::{Gradients, Storage, UniqueId};
use serde_json::{Map, Value};

use crate::adapters::dfdx::optimizers::sweep::Pass;
use crate::adapters::dfdx::{Adam, RMSprop, Sgd};
use crate::checkpoint::{SavedOptimizer, Steps};

/// An optimizer of dfdx that can be saved: [`Adam`], [`Sgd`] and [`RMSprop`] of this crate.
///
/// dfdx's own optimizers cannot be saved, because their moments are private:
///
/// ```compile_fail,E0277
/// use cyclic_optim::{Checkpoint, Constant, CyclicOptimizer};
/// use dfdx::prelude::*;
///
/// let model = Cpu::default().build_module::<builders::Linear<2, 1>, f32>();
/// let theirs = dfdx::optim::Sgd::new(&model, Default::default());
/// let optimizer = CyclicOptimizer::new(theirs, Constant::new(0.1).unwrap());
/// Checkpoint::write("run.safetensors", &model, &optimizer).unwrap();
/// ```
pub trait Saved<E: Dtype, D: Storage<E>>: SavedOptimizer + sealed::Sealed + Clone {
    /// The names of the moments.
    #[doc(hidden)]
    const MOMENTS: &'static [&'static str];
    #[doc(hidden)]
    fn moments(&self) -> Vec<&Gradients<E, D>>;
    /// The parameters that were updated; none before the first update.
    #[doc(hidden)]
    fn updated(&self) -> &[UniqueId];
    /// The same hyper-parameters with another state. There are as many `moments` as names.
    #[doc(hidden)]
    #[must_use]
    fn with_state(&self, steps: Steps, moments: Vec<Gradients<E, D>>, updated: Vec<UniqueId>) -> Self;
}

mod sealed {
    pub trait Sealed {}
}

/// A number as JSON; NaN and infinities, which JSON does not have, as text.
fn exact(value: f64) -> Value {
    if value.is_finite() { value.into() } else { format!("{value}").into() }
}

fn entry(name: &str, value: Value) -> (String, Value) {
    (name.to_owned(), value)
}

fn weight_decay(weight_decay: Option<WeightDecay>) -> Value {
    match weight_decay {
        None => Value::Null,
        Some(WeightDecay::L2(strength)) => Map::from_iter([entry("l2", exact(strength))]).into(),
        Some(WeightDecay::Decoupled(strength)) => Map::from_iter([entry("decoupled", exact(strength))]).into(),
    }
}

impl<E, D: Storage<E>> sealed::Sealed for Adam<E, D> {}

impl<E: Dtype, D: Storage<E>> SavedOptimizer for Adam<E, D> {
    const KIND: &'static str = "adam";

    fn hyperparameters(&self) -> Map<String, Value> {
        Map::from_iter([
            entry("lr", exact(self.cfg.lr)),
            entry("beta1", exact(self.cfg.betas[0])),
            entry("beta2", exact(self.cfg.betas[1])),
            entry("eps", exact(self.cfg.eps)),
            entry("weight_decay", weight_decay(self.cfg.weight_decay)),
        ])
    }

    fn steps(&self) -> Steps {
        Steps {
            made: u64::try_from(self.t).unwrap_or(0),
            complete: self.pass.complete,
            updated: !self.pass.ids.is_empty(),
        }
    }
}

impl<E: Dtype, D: Storage<E>> Saved<E, D> for Adam<E, D> {
    const MOMENTS: &'static [&'static str] = &["moment1", "moment2"];

    fn moments(&self) -> Vec<&Gradients<E, D>> {
        vec![&self.moment1, &self.moment2]
    }

    fn updated(&self) -> &[UniqueId] {
        &self.pass.ids
    }

    fn with_state(&self, steps: Steps, moments: Vec<Gradients<E, D>>, updated: Vec<UniqueId>) -> Self {
        let mut moments = moments.into_iter();
        let mut next = || moments.next().unwrap_or_else(Gradients::leaky);
        let mut restored = Self::new(self.cfg);
        restored.t = i32::try_from(steps.made).unwrap_or(i32::MAX);
        (restored.moment1, restored.moment2) = (next(), next());
        restored.pass = Pass { complete: steps.complete, ids: updated };
        restored
    }
}

impl<E, D: Storage<E>> sealed::Sealed for Sgd<E, D> {}

impl<E: Dtype, D: Storage<E>> SavedOptimizer for Sgd<E, D> {
    const KIND: &'static str = "sgd";

    fn hyperparameters(&self) -> Map<String, Value> {
        let (kind, momentum) = match self.cfg.momentum {
            None => (Value::Null, Value::Null),
            Some(Momentum::Classic(momentum)) => ("classic".into(), exact(momentum)),
            Some(Momentum::Nesterov(momentum)) => ("nesterov".into(), exact(momentum)),
        };
        Map::from_iter([
            entry("lr", exact(self.cfg.lr)),
            entry("momentum_kind", kind),
            entry("momentum", momentum),
            entry("weight_decay", weight_decay(self.cfg.weight_decay)),
        ])
    }

    fn steps(&self) -> Steps {
        Steps { made: 0, complete: self.pass.complete, updated: !self.pass.ids.is_empty() }
    }
}

impl<E: Dtype, D: Storage<E>> Saved<E, D> for Sgd<E, D> {
    const MOMENTS: &'static [&'static str] = &["velocity"];

    fn moments(&self) -> Vec<&Gradients<E, D>> {
        vec![&self.velocity]
    }

    fn updated(&self) -> &[UniqueId] {
        &self.pass.ids
    }

    fn with_state(&self, steps: Steps, moments: Vec<Gradients<E, D>>, updated: Vec<UniqueId>) -> Self {
        let mut restored = Self::new(self.cfg);
        restored.velocity = moments.into_iter().next().unwrap_or_else(Gradients::leaky);
        restored.pass = Pass { complete: steps.complete, ids: updated };
        restored
    }
}

impl<E, D: Storage<E>> sealed::Sealed for RMSprop<E, D> {}

impl<E: Dtype, D: Storage<E>> SavedOptimizer for RMSprop<E, D> {
    const KIND: &'static str = "rmsprop";

    fn hyperparameters(&self) -> Map<String, Value> {
        Map::from_iter([
            entry("lr", exact(self.cfg.lr)),
            entry("alpha", exact(self.cfg.alpha)),
            entry("eps", exact(self.cfg.eps)),
            entry("momentum", self.cfg.momentum.map_or(Value::Null, exact)),
            entry("centered", self.cfg.centered.into()),
            entry("weight_decay", weight_decay(self.cfg.weight_decay)),
        ])
    }

    fn steps(&self) -> Steps {
        Steps { made: self.step, complete: self.pass.complete, updated: !self.pass.ids.is_empty() }
    }
}

impl<E: Dtype, D: Storage<E>> Saved<E, D> for RMSprop<E, D> {
    const MOMENTS: &'static [&'static str] = &["momentum", "square_avg", "grad_avg"];

    fn moments(&self) -> Vec<&Gradients<E, D>> {
        vec![&self.momentums, &self.square_avg, &self.grad_avg]
    }

    fn updated(&self) -> &[UniqueId] {
        &self.pass.ids
    }

    fn with_state(&self, steps: Steps, moments: Vec<Gradients<E, D>>, updated: Vec<UniqueId>) -> Self {
        let mut moments = moments.into_iter();
        let mut next = || moments.next().unwrap_or_else(Gradients::leaky);
        let mut restored = Self::new(self.cfg);
        restored.step = steps.made;
        (restored.momentums, restored.square_avg, restored.grad_avg) = (next(), next(), next());
        restored.pass = Pass { complete: steps.complete, ids: updated };
        restored
    }
}
