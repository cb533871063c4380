//! Numbers as bytes.

use dfdx::dtypes::Dtype;

/// A number type that checkpoints can hold: `f32`, `f64`, and with the feature `f16` half precision, plain or mixed.
pub trait CheckpointDtype: Dtype + sealed::Bytes {}

impl<E: Dtype + sealed::Bytes> CheckpointDtype for E {}

pub(super) mod sealed {
    pub trait Bytes: Copy {
        const DTYPE: safetensors::Dtype;
        fn push(self, bytes: &mut Vec<u8>);
        /// From as many bytes as the number has.
        fn read(bytes: &[u8]) -> Option<Self>;
    }
}

macro_rules! bytes {
    ($($number:ty: $dtype:ident),+) => {$(
        impl sealed::Bytes for $number {
            const DTYPE: safetensors::Dtype = safetensors::Dtype::$dtype;

            fn push(self, bytes: &mut Vec<u8>) {
                bytes.extend(self.to_le_bytes());
            }

            fn read(bytes: &[u8]) -> Option<Self> {
                Some(Self::from_le_bytes(bytes.try_into().ok()?))
            }
        }
    )+};
}

bytes!(f32: F32, f64: F64);

#[cfg(feature = "f16")]
bytes!(dfdx::dtypes::f16: F16);

#[cfg(feature = "f16")]
impl sealed::Bytes for dfdx::dtypes::AMP<dfdx::dtypes::f16> {
    const DTYPE: safetensors::Dtype = safetensors::Dtype::F16;

    fn push(self, bytes: &mut Vec<u8>) {
        self.0.push(bytes);
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        sealed::Bytes::read(bytes).map(Self)
    }
}

pub(super) fn to_bytes<E: sealed::Bytes>(values: &[E]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of_val(values));
    for &value in values {
        value.push(&mut bytes);
    }
    bytes
}

/// Of a length that was checked.
pub(super) fn from_bytes<E: sealed::Bytes>(bytes: &[u8]) -> Vec<E> {
    bytes.chunks_exact(size_of::<E>()).filter_map(E::read).collect()
}
