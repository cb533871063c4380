//! The variables that make up a model in candle, and copies of their values.

use core::fmt::Display;
use std::sync::PoisonError;

use candle_core::{Result, Tensor, Var};
use candle_nn::VarMap;

/// The variables of a model, each with a name: a [`VarMap`], or a list of variables.
///
/// Implement it for a model of your own that keeps its variables elsewhere.
///
/// ```
/// use cyclic_optim::adapters::candle::Variables;
/// use candle_core::{DType, Device, Var};
///
/// # fn main() -> candle_core::Result<()> {
/// let variables = vec![Var::zeros((2, 3), DType::F32, &Device::Cpu)?];
/// variables.for_each(&mut |name, _| {
///     assert_eq!(name.to_string(), "variable 0 of shape [2, 3]");
///     Ok(())
/// })
/// # }
/// ```
pub trait Variables {
    /// Calls `look` with each variable and its name, always in the same order.
    ///
    /// # Errors
    ///
    /// The first error of `look`.
    fn for_each(&self, look: &mut dyn FnMut(&dyn Display, &Var) -> Result<()>) -> Result<()>;
}

/// In the order of their names.
impl Variables for VarMap {
    fn for_each(&self, look: &mut dyn FnMut(&dyn Display, &Var) -> Result<()>) -> Result<()> {
        let variables = self.data().lock().unwrap_or_else(PoisonError::into_inner);
        let mut variables: Vec<_> = variables.iter().collect();
        variables.sort_unstable_by_key(|&(name, _)| name);
        variables.into_iter().try_for_each(|(name, variable)| look(name, variable))
    }
}

impl Variables for Vec<Var> {
    fn for_each(&self, look: &mut dyn FnMut(&dyn Display, &Var) -> Result<()>) -> Result<()> {
        self.iter()
            .enumerate()
            .try_for_each(|(n, variable)| look(&format_args!("variable {n} of shape {:?}", variable.dims()), variable))
    }
}

impl<M: Variables> Variables for &M {
    fn for_each(&self, look: &mut dyn FnMut(&dyn Display, &Var) -> Result<()>) -> Result<()> {
        (**self).for_each(look)
    }
}

/// The values that the variables of a model had at one time.
///
/// A clone of a candle variable shares its memory and changes with it. So keep the best weights of a run in `SavedVariables`,
/// and not in [`BestWeights`](crate::training::BestWeights), which clones the model.
///
/// ```
/// use cyclic_optim::adapters::candle::SavedVariables;
/// use candle_core::{Device, Var};
///
/// # fn main() -> candle_core::Result<()> {
/// let weight = Var::new(&[1.0, 2.0], &Device::Cpu)?;
/// let saved = SavedVariables::of(&vec![weight.clone()])?;
/// weight.set(&weight.affine(10.0, 0.0)?)?;
/// saved.restore()?;
/// assert_eq!(weight.to_vec1::<f64>()?, [1.0, 2.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SavedVariables(Vec<(Var, Tensor)>);

impl SavedVariables {
    /// Copies the values of all variables.
    ///
    /// # Errors
    ///
    /// Errors of candle.
    pub fn of(model: &impl Variables) -> Result<Self> {
        let mut saved = Vec::new();
        model.for_each(&mut |_, variable| {
            saved.push((variable.clone(), variable.as_detached_tensor().copy()?));
            Ok(())
        })?;
        Ok(Self(saved))
    }

    /// Writes the copied values back into the variables.
    ///
    /// # Errors
    ///
    /// Errors of candle.
    pub fn restore(&self) -> Result<()> {
        self.0.iter().try_for_each(|(variable, values)| variable.set(values))
    }
}
