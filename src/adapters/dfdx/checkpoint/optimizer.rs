//! What optimizers of dfdx save.

use dfdx::dtypes::Dtype;
use dfdx::tensor::{Gradients, Storage, UniqueId};
use serde_json::{Map, Value};

use crate::adapters::dfdx::optimizers::BetaProduct;
use crate::adapters::dfdx::{Elementwise, Rule, Setting};
use crate::checkpoint::{SavedOptimizer, Steps};
use crate::hyper::Hyper;

/// An optimizer for dfdx that can be saved. Every [`Elementwise`] optimizer can, also with a [`Rule`] of your own. For an
/// optimizer that is not made of a rule, implement this trait.
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
pub trait Saved<E: Dtype, D: Storage<E>>: SavedOptimizer + Clone {
    /// The names of the moments.
    const MOMENTS: &'static [&'static str];

    /// The moments, one for each name. A parameter without moments counts as one whose moments are zeros.
    fn moments(&self) -> Vec<&Gradients<E, D>>;

    /// The parameters that the last update has visited; none before the first update.
    fn updated(&self) -> &[UniqueId];

    /// Whether every parameter has its moments. By default this is so once an update has found a gradient for every
    /// parameter.
    fn has_all_moments(&self) -> bool {
        self.steps().complete
    }

    /// An optimizer with the same hyper-parameters and another state. There is one of `moments` for each name, and
    /// `updated` are the parameters of the model that it will update.
    #[must_use]
    fn with_state(&self, steps: Steps, moments: Vec<Gradients<E, D>>, updated: Vec<UniqueId>) -> Self;
}

impl<R: Rule, E: Dtype, D: Storage<E>> SavedOptimizer for Elementwise<R, E, D> {
    const KIND: &'static str = R::KIND;

    fn hyperparameters(&self) -> Map<String, Value> {
        let settings = self.cfg.settings().into_iter().map(|(name, setting)| (name.to_owned(), json(setting)));
        let exact_bias = self.exact_bias.iter().map(|_| ("exact_bias_correction".to_owned(), true.into()));
        settings.chain(exact_bias).collect()
    }

    fn steps(&self) -> Steps {
        Steps {
            made: self.updates,
            complete: self.complete,
            carried: (self.carried != 1.0).then_some(self.carried),
            betas: self.exact_bias.as_ref().map(|exact| exact.product.parts()),
            updated: !self.ids.is_empty(),
        }
    }
}

impl<R: Rule, E: Dtype, D: Storage<E>> Saved<E, D> for Elementwise<R, E, D> {
    const MOMENTS: &'static [&'static str] = R::STATE;

    fn moments(&self) -> Vec<&Gradients<E, D>> {
        self.state.iter().collect()
    }

    fn updated(&self) -> &[UniqueId] {
        &self.ids
    }

    fn has_all_moments(&self) -> bool {
        self.complete && !self.has_frozen()
    }

    fn with_state(&self, steps: Steps, moments: Vec<Gradients<E, D>>, updated: Vec<UniqueId>) -> Self {
        let mut restored = Self::new(self.cfg.clone()).with_options_of(self);
        if let Some(exact) = &mut restored.exact_bias {
            let beta = self.cfg.get(Hyper::Momentum).unwrap_or_default();
            exact.product = steps.betas.map_or_else(|| BetaProduct::constant(beta, steps.made), BetaProduct::of_parts);
        }
        (restored.updates, restored.carried) = (steps.made, steps.carried.unwrap_or(1.0));
        (restored.state, restored.complete, restored.ids) = (moments, steps.complete, updated);
        restored
    }
}

fn json(setting: Setting) -> Value {
    match setting {
        Setting::Off => Value::Null,
        Setting::Number(number) => exact(number),
        Setting::Flag(flag) => flag.into(),
        Setting::Text(text) => text.into(),
        Setting::L2(strength) => Map::from_iter([("l2".to_owned(), exact(strength))]).into(),
        Setting::Decoupled(strength) => Map::from_iter([("decoupled".to_owned(), exact(strength))]).into(),
    }
}

/// A number as JSON; NaN and infinities, which JSON does not have, as text.
fn exact(value: f64) -> Value {
    if value.is_finite() { value.into() } else { format!("{value}").into() }
}
