//! candle's gradients, variable by variable, as slices.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Error, Result, Tensor};

use super::Variables;
use crate::training::GradientsOf;

/// The slices are copies in f64, which holds every number type of candle exactly. They are written back if they were changed.
/// Setting gradients to zero removes them, because candle makes a new store with each backward pass.
impl<M: Variables> GradientsOf<M> for GradStore {
    type Element = f64;
    type Error = Error;

    fn for_each(&mut self, model: &M, _all_present: bool, mut look: impl FnMut(&mut [f64]) -> bool) -> Result<()> {
        model.for_each(&mut |_, variable| {
            let Some(gradient) = self.get(variable) else { return Ok(()) };
            // Through the host, because not every device has f64.
            let mut values = gradient.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
            if look(&mut values) {
                let changed = Tensor::from_vec(values, gradient.shape(), &Device::Cpu)?.to_dtype(gradient.dtype())?;
                let changed = changed.to_device(gradient.device())?;
                self.insert(variable, changed);
            }
            Ok(())
        })
    }

    fn fill_missing(&mut self, model: &M) -> Result<()> {
        model.for_each(&mut |_, variable| {
            if variable.dtype().is_float() && self.get(variable).is_none() {
                self.insert(variable, variable.as_detached_tensor().zeros_like()?);
            }
            Ok(())
        })
    }

    fn zero(&mut self, model: &M) -> Result<()> {
        model.for_each(&mut |_, variable| {
            self.remove(variable);
            Ok(())
        })
    }
}
