//! The safetensors file: named tensors as bytes, and one text.
//!
//! The writer of the `safetensors` library is not used: it would copy everything once more, and would leave partial
//! files behind when it is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::ops::Range;

use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde_json::{Map, Value, json};

use super::error::CheckpointError;
use super::number::{Number, from_bytes, to_bytes};

/// The longest header that the safetensors library reads.
const MAX_HEADER: usize = 100_000_000;

/// Tensors that are to be written to a checkpoint.
#[derive(Debug, Default)]
pub struct Tensors(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    /// The size of a number in bytes.
    width: usize,
    bytes: Vec<u8>,
}

impl Tensors {
    /// Adds a tensor. A scalar has the empty shape.
    ///
    /// # Errors
    ///
    /// The number of `values` does not match `shape`.
    pub fn push<N: Number>(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        values: &[N],
    ) -> Result<(), CheckpointError> {
        let name = name.into();
        if shape.iter().try_fold(1, |product: usize, &length| product.checked_mul(length)) != Some(values.len()) {
            let problem = format!("has {} values, which do not fill the shape {shape:?}", values.len());
            return Err(CheckpointError::Tensor { name, problem });
        }
        let (shape, width, bytes) = (shape.to_vec(), size_of::<N>(), to_bytes(values));
        self.0.push(Entry { name, dtype: N::DTYPE, shape, width, bytes });
        Ok(())
    }

    /// The checksum over names, types, shapes and bytes.
    pub(super) fn checksum(&self) -> u32 {
        let mut entries: Vec<&Entry> = self.0.iter().collect();
        entries.sort_unstable_by_key(|entry| &entry.name);
        let tensors = entries.iter().map(|entry| (&*entry.name, entry.dtype, &*entry.shape, &*entry.bytes));
        checksum(tensors)
    }

    /// Writes the length of the header, the header with `text` as the metadata entry `key`, and the bytes of the tensors.
    /// Tensors with the widest numbers come first, so that all numbers are aligned.
    pub(super) fn write(&self, (key, text): (&str, &str), file: &mut impl Write) -> io::Result<()> {
        let mut entries: Vec<&Entry> = self.0.iter().collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.width));
        let mut header = Map::from_iter([("__metadata__".to_owned(), json!({ key: text }))]);
        let mut end = 0;
        for entry in &entries {
            let start = end;
            end += entry.bytes.len();
            let dtype = serde_json::to_value(entry.dtype)?;
            let tensor = json!({ "dtype": dtype, "shape": entry.shape, "data_offsets": [start, end] });
            if header.insert(entry.name.clone(), tensor).is_some() {
                return Err(io::Error::other(format!("two tensors have the name {}", entry.name)));
            }
        }
        let mut header = serde_json::to_vec(&Value::from(header))?;
        header.resize(header.len().next_multiple_of(8), b' ');
        if header.len() > MAX_HEADER {
            return Err(io::Error::other("config and names take more than the 100 MB that a header may have"));
        }
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        entries.into_iter().try_for_each(|entry| file.write_all(&entry.bytes))
    }
}

/// The checksum over tensors, which must be given in the order of their names.
fn checksum<'a>(tensors: impl Iterator<Item = (&'a str, Dtype, &'a [usize], &'a [u8])>) -> u32 {
    tensors.fold(0, |sum, (name, dtype, shape, bytes)| {
        let head = format!("{name}\n{dtype:?}{shape:?}\n");
        crc32c::crc32c_append(crc32c::crc32c_append(sum, head.as_bytes()), bytes)
    })
}

/// The bytes of a file, and the positions of its tensors.
#[derive(Debug, Clone)]
pub(super) struct File {
    bytes: Vec<u8>,
    tensors: BTreeMap<String, Place>,
}

#[derive(Debug, Clone)]
struct Place {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Range<usize>,
}

impl File {
    /// Reads the header. Also returns the metadata entry `key`.
    pub(super) fn parse(bytes: Vec<u8>, key: &str) -> Result<(Self, String), CheckpointError> {
        let foreign = |error: SafeTensorError| CheckpointError::NotACheckpoint(error.to_string());
        let (length, header) = SafeTensors::read_metadata(&bytes).map_err(foreign)?;
        let text = header.metadata().as_ref().and_then(|entries| entries.get(key)).cloned();
        let text = text.ok_or_else(|| CheckpointError::NotACheckpoint(format!("it has no metadata entry {key}")))?;
        let data = size_of::<u64>() + length;
        let tensors = header.tensors().into_iter().map(|(name, found)| {
            let bytes = data + found.data_offsets.0..data + found.data_offsets.1;
            (name, Place { dtype: found.dtype, shape: found.shape.clone(), bytes })
        });
        let tensors = tensors.collect();
        Ok((Self { bytes, tensors }, text))
    }

    /// As [`Tensors::checksum`].
    pub(super) fn checksum(&self) -> u32 {
        let tensors = self.tensors.iter();
        checksum(tensors.map(|(name, found)| (&**name, found.dtype, &*found.shape, &self.bytes[found.bytes.clone()])))
    }
}

/// The tensors of a checkpoint that is read.
#[derive(Debug)]
pub struct SavedTensors<'a> {
    file: &'a File,
    /// The names of the tensors that were read.
    used: BTreeSet<&'a str>,
}

impl<'a> SavedTensors<'a> {
    pub(super) fn of(file: &'a File) -> Self {
        Self { file, used: BTreeSet::new() }
    }

    /// Whether there is a tensor of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.file.tensors.contains_key(name)
    }

    /// The shape of a tensor; `None` if there is no tensor of this name.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&'a [usize]> {
        self.file.tensors.get(name).map(|found| &*found.shape)
    }

    /// The values of a tensor.
    ///
    /// # Errors
    ///
    /// The tensor is missing, or has another type or shape.
    pub fn numbers<N: Number>(
        &mut self,
        name: &str,
        shape: &[usize],
    ) -> Result<impl ExactSizeIterator<Item = N> + use<'a, N>, CheckpointError> {
        let Some((name, found)) = self.file.tensors.get_key_value(name) else {
            return Err(CheckpointError::tensor(name, "is not in the file"));
        };
        if found.dtype != N::DTYPE {
            return Err(CheckpointError::tensor(name, format!("should be {:?} and is {:?}", N::DTYPE, found.dtype)));
        }
        if found.shape != shape {
            return Err(CheckpointError::tensor(name, format!("should be {shape:?} and is {:?}", found.shape)));
        }
        self.used.insert(name);
        Ok(from_bytes(&self.file.bytes[found.bytes.clone()]))
    }

    /// Checks that all tensors under these prefixes were read, so that none of them is ignored.
    pub(super) fn all_used(&self, prefixes: &[&str]) -> Result<(), CheckpointError> {
        let mut names = self.file.tensors.keys();
        let unused = names
            .find(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)) && !self.used.contains(name.as_str()));
        match unused {
            Some(name) => {
                Err(CheckpointError::tensor(name, "is in the file and has no place in this model or optimizer"))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header ends at a multiple of 8, as the format recommends, so that every number in the file is aligned.
    #[test]
    fn numbers_are_aligned_whatever_the_length_of_the_header() {
        let mut lengths = Vec::new();
        for length in 0..16 {
            let mut tensors = Tensors::default();
            tensors.push("single", &[2], &[1.0_f32, 2.0]).unwrap();
            tensors.push("double", &[1], &[3.0_f64]).unwrap();
            let mut bytes = Vec::new();
            tensors.write(("entry", &"x".repeat(length)), &mut bytes).unwrap();
            let header = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
            assert_eq!(header % 8, 0, "an entry of {length} bytes");
            assert_eq!(bytes.len(), 8 + header + 16);
            let read = SafeTensors::deserialize(&bytes).unwrap();
            let place = |name: &str| read.tensor(name).unwrap().data().as_ptr().addr() - bytes.as_ptr().addr();
            assert_eq!((place("double") % 8, place("single") % 4), (0, 0));
            lengths.push(header);
        }
        lengths.dedup();
        assert!(lengths.len() > 1, "lengths on both sides of a multiple of 8");
    }

    /// A header longer than the library reads.
    #[test]
    fn a_header_that_could_not_be_read_is_not_written() {
        let tensors = Tensors::default();
        let mut bytes = Vec::new();
        tensors.write(("entry", ""), &mut bytes).unwrap();
        let longest = MAX_HEADER - bytes[8..].trim_ascii_end().len();
        let error = tensors.write(("entry", &"x".repeat(longest + 1)), &mut io::sink()).unwrap_err().to_string();
        assert!(error.contains("100 MB"), "{error}");
        // Two files that end after the length of their header: the library rejects the longer length as too long.
        let said = |length: usize| SafeTensors::read_metadata(&(length as u64).to_le_bytes()).unwrap_err();
        assert!(matches!(said(MAX_HEADER), SafeTensorError::InvalidHeaderLength));
        assert!(matches!(said(MAX_HEADER + 1), SafeTensorError::HeaderTooLarge));
    }

    #[test]
    fn values_fill_the_shape() {
        let mut tensors = Tensors::default();
        let error = tensors.push("w", &[2, 3], &[0.5_f32; 5]).unwrap_err().to_string();
        assert_eq!(error, "tensor w has 5 values, which do not fill the shape [2, 3]");
        assert!(tensors.push("w", &[usize::MAX, 2], &[0.5_f32; 5]).is_err());
        tensors.push("w", &[], &[0.5_f32]).unwrap();
    }
}
