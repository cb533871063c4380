//! The same values on all ranks.

use candle_core::{DType, Device, Error, Tensor};

use super::Variables;
use crate::training::Ranks;

/// Gives the variables of every rank the values of rank 0, bit for bit. Call it once before a run of several ranks: the
/// ranks exchange gradients only, so models that start with different values stay different.
///
/// ```
/// use cyclic_optim::adapters::candle::broadcast;
/// use cyclic_optim::training::{Ranks, Threads};
/// use candle_core::{Device, Var};
///
/// let values = Threads::run(2, |ranks| {
///     let weight = Var::new(if ranks.is_first() { 0.5_f32 } else { 7.0 }, &Device::Cpu)?;
///     broadcast(ranks, &vec![weight.clone()])?;
///     weight.to_scalar::<f32>()
/// });
/// assert_eq!(values.unwrap(), [0.5, 0.5]);
/// ```
///
/// # Errors
///
/// Errors of candle. A [`RanksError`](crate::training::RanksError) is wrapped in candle's error.
pub fn broadcast(ranks: &impl Ranks, model: &impl Variables) -> Result<(), Error> {
    let mut bytes = Vec::new();
    if ranks.is_first() {
        model.for_each(&mut |_, variable| {
            // f64 holds every number type of candle that is trained exactly.
            let values = variable.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
            bytes.extend(values.into_iter().flat_map(f64::to_le_bytes));
            Ok(())
        })?;
    }
    ranks.broadcast(0, &mut bytes).map_err(Error::wrap)?;
    let mut values = bytes.chunks_exact(size_of::<f64>()).map(|bytes| {
        let mut number = [0; size_of::<f64>()];
        number.copy_from_slice(bytes);
        f64::from_le_bytes(number)
    });
    model.for_each(&mut |_, variable| {
        let own: Vec<f64> = values.by_ref().take(variable.elem_count()).collect();
        let values = Tensor::from_vec(own, variable.shape(), &Device::Cpu)?;
        variable.set(&values.to_dtype(variable.dtype())?.to_device(variable.device())?)
    })
}
