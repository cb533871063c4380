//! The parameters of a model by name.

use std::convert::Infallible;

use dfdx::dtypes::Dtype;
use dfdx::nn::tensor_collection::TensorCollection;
use dfdx::tensor_ops::Device;

use super::walk::{Item, walk};

/// The parameters of a model: the names that dfdx gives them and their values, for instance for histograms.
///
/// ```
/// use cyclic_optim::adapters::dfdx::named_parameters;
/// use dfdx::prelude::*;
///
/// let model = Cpu::default().build_module::<(Linear<3, 2>, ReLU), f32>();
/// let names: Vec<(String, usize)> =
///     named_parameters::<_, f32, Cpu>(&model).into_iter().map(|(name, values)| (name, values.len())).collect();
/// assert_eq!(names, [("0.weight".to_string(), 6), ("0.bias".to_string(), 2)]);
/// ```
pub fn named_parameters<M: TensorCollection<E, D>, E: Dtype, D: Device<E>>(model: &M) -> Vec<(String, Vec<f64>)> {
    let mut parameters = Vec::new();
    let Ok(()) = walk::<_, E, D, Infallible>(model, |name, item| {
        if let Item::Tensor { tensor, is_parameter: true } = item {
            let values = tensor.values().into_iter().map(|value| value.to_f64().unwrap_or(f64::NAN));
            parameters.push((name, values.collect()));
        }
        Ok(())
    });
    parameters
}
