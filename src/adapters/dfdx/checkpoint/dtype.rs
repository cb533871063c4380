//! The number types of dfdx that a checkpoint can hold.

use dfdx::dtypes::Dtype;

use crate::checkpoint::Number;

/// A number type of dfdx that a checkpoint can hold: `f32`, `f64`, and with the feature `f16` half precision, plain or mixed.
pub trait CheckpointDtype: Dtype + Number {}

impl<E: Dtype + Number> CheckpointDtype for E {}

#[cfg(feature = "f16")]
mod half {
    use dfdx::dtypes::{AMP, f16};

    use crate::checkpoint::number::{bytes, sealed::Bytes};

    bytes!(f16: F16);

    impl Bytes for AMP<f16> {
        const DTYPE: safetensors::Dtype = safetensors::Dtype::F16;

        #[inline]
        fn write(self, bytes: &mut [u8]) {
            self.0.write(bytes);
        }

        #[inline]
        fn read(bytes: &[u8]) -> Self {
            Self(Bytes::read(bytes))
        }
    }
}
