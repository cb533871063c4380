//! Numbers as bytes.

use dfdx::dtypes::Dtype;

/// A number type that checkpoints can hold: `f32`, `f64`, and with the feature `f16` half precision, plain or mixed.
pub trait CheckpointDtype: Dtype + sealed::Bytes {}

impl<E: Dtype + sealed::Bytes> CheckpointDtype for E {}

pub(super) mod sealed {
    pub trait Bytes: Copy {
        const DTYPE: safetensors::Dtype;
        /// Into as many bytes as the number has.
        fn write(self, bytes: &mut [u8]);
        /// From as many bytes as the number has.
        fn read(bytes: &[u8]) -> Self;
    }
}

macro_rules! bytes {
    ($($number:ty: $dtype:ident),+) => {$(
        impl sealed::Bytes for $number {
            const DTYPE: safetensors::Dtype = safetensors::Dtype::$dtype;

            #[inline]
            fn write(self, bytes: &mut [u8]) {
                bytes.copy_from_slice(&self.to_le_bytes());
            }

            #[inline]
            fn read(bytes: &[u8]) -> Self {
                let mut number = [0; size_of::<Self>()];
                number.copy_from_slice(bytes);
                Self::from_le_bytes(number)
            }
        }
    )+};
}

bytes!(f32: F32, f64: F64, u64: U64, u8: U8);

#[cfg(feature = "f16")]
bytes!(dfdx::dtypes::f16: F16);

#[cfg(feature = "f16")]
impl sealed::Bytes for dfdx::dtypes::AMP<dfdx::dtypes::f16> {
    const DTYPE: safetensors::Dtype = safetensors::Dtype::F16;

    #[inline]
    fn write(self, bytes: &mut [u8]) {
        self.0.write(bytes);
    }

    #[inline]
    fn read(bytes: &[u8]) -> Self {
        Self(sealed::Bytes::read(bytes))
    }
}

// In chunks of a known size, of which the compiler makes a plain copy.
pub(super) fn push_bytes<E: sealed::Bytes>(values: &[E], bytes: &mut Vec<u8>) {
    let before = bytes.len();
    bytes.resize(before + size_of_val(values), 0);
    for (bytes, &value) in bytes[before..].chunks_exact_mut(size_of::<E>()).zip(values) {
        value.write(bytes);
    }
}

/// The numbers of a tensor, whose length was checked.
pub(super) fn numbers<E: sealed::Bytes>(bytes: &[u8]) -> Vec<E> {
    iterate(bytes).collect()
}

/// The numbers of a tensor, one after the other.
pub(super) fn iterate<E: sealed::Bytes>(bytes: &[u8]) -> impl ExactSizeIterator<Item = E> {
    bytes.chunks_exact(size_of::<E>()).map(E::read)
}
