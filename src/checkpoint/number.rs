//! Numbers as bytes.

/// A number type that a checkpoint can hold: `f32`, `f64`, `u8`, `u64`, and with dfdx's feature `f16` half precision.
pub trait Number: sealed::Bytes {}

impl<N: sealed::Bytes> Number for N {}

pub(crate) mod sealed {
    pub trait Bytes: Copy {
        const DTYPE: safetensors::Dtype;
        /// Writes the number, little-endian, to a slice of exactly its size.
        fn write(self, bytes: &mut [u8]);
        /// Reads a number from a slice of exactly its size.
        fn read(bytes: &[u8]) -> Self;
    }
}

/// The number types and their names in the file.
macro_rules! bytes {
    ($($number:ty: $dtype:ident),+) => {$(
        impl $crate::checkpoint::number::sealed::Bytes for $number {
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
#[cfg(all(feature = "dfdx", feature = "f16"))]
pub(crate) use bytes;

bytes!(f32: F32, f64: F64, u64: U64, u8: U8);

// The chunks have a constant size, so that the compiler can turn both loops into plain copies.
pub(super) fn to_bytes<N: Number>(values: &[N]) -> Vec<u8> {
    let mut bytes = vec![0; size_of_val(values)];
    for (bytes, &value) in bytes.chunks_exact_mut(size_of::<N>()).zip(values) {
        value.write(bytes);
    }
    bytes
}

pub(super) fn from_bytes<N: Number>(bytes: &[u8]) -> impl ExactSizeIterator<Item = N> {
    bytes.chunks_exact(size_of::<N>()).map(N::read)
}
