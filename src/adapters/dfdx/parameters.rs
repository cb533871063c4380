//! The parameters of a model under their names.

use std::convert::Infallible;

use dfdx::dtypes::Dtype;
use dfdx::nn::tensor_collection::{
    RecursiveWalker, TensorCollection, TensorOptions, TensorVisitor, ViewTensorName, ViewTensorRef,
};
use dfdx::shapes::Shape;
use dfdx::tensor::Tensor;
use dfdx::tensor_ops::Device;

/// The parameters of a model, as plain numbers under the names that dfdx gives them: for histograms.
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
    let mut collect = Collect(Vec::new());
    let Ok(_) = M::iter_tensors(&mut RecursiveWalker { m: (model, String::new()), f: &mut collect });
    collect.0
}

struct Collect(Vec<(String, Vec<f64>)>);

impl<E: Dtype, D: Device<E>> TensorVisitor<E, D> for Collect {
    type Viewer = (ViewTensorRef, ViewTensorName);
    type Err = Infallible;
    type E2 = E;
    type D2 = D;

    fn visit<S: Shape>(
        &mut self,
        options: TensorOptions<S, E, D>,
        (tensor, name): (&Tensor<S, E, D>, String),
    ) -> Result<Option<Tensor<S, E, D>>, Infallible> {
        if options.do_gradient_update {
            let values = tensor.as_vec().into_iter().map(|value| value.to_f64().unwrap_or(f64::NAN));
            self.0.push((name, values.collect()));
        }
        Ok(None)
    }
}
