//! The tensors of a safetensors file that is to be written.
//!
//! The library's own writer copies everything once more, and leaves files of other names behind when it is killed.

use std::collections::BTreeMap;
use std::io::{self, Write};

use safetensors::Dtype;
use serde_json::{Map, Value, json};

use super::dtype::push_bytes;
use super::dtype::sealed::Bytes;

/// The limit of the safetensors library, which would not read a longer one.
const MAX_HEADER: usize = 100_000_000;

/// Tensors in the order in which they came, the widest numbers first in the file, so that all of them are aligned.
#[derive(Debug)]
pub(super) struct Tensors {
    entries: Vec<Entry>,
    /// The numbers, by their width.
    data: BTreeMap<usize, Vec<u8>>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    width: usize,
    start: usize,
    end: usize,
}

/// Name, type, shape and numbers of a tensor.
pub(super) type Listed<'a> = (&'a str, Dtype, &'a [usize], &'a [u8]);

impl Tensors {
    /// None yet, with room for so many numbers of a type: to grow would cost as much as to write.
    pub(super) fn with_room_for<E: Bytes>(numbers: usize) -> Self {
        let bytes = numbers.saturating_mul(size_of::<E>());
        Self { entries: Vec::new(), data: [(size_of::<E>(), Vec::with_capacity(bytes))].into() }
    }

    pub(super) fn push<E: Bytes>(&mut self, name: String, shape: Vec<usize>, values: &[E]) {
        let width = size_of::<E>();
        let data = self.data.entry(width).or_default();
        let start = data.len();
        push_bytes(values, data);
        self.entries.push(Entry { name, dtype: E::DTYPE, shape, width, start, end: data.len() });
    }

    pub(super) fn list(&self) -> impl Iterator<Item = Listed<'_>> {
        self.entries.iter().map(|entry| {
            let bytes = self.data.get(&entry.width).map_or(&[][..], |data| &data[entry.start..entry.end]);
            (entry.name.as_str(), entry.dtype, entry.shape.as_slice(), bytes)
        })
    }

    /// Writes the file: the length of the header, the header with one metadata entry, the numbers.
    pub(super) fn write(&self, (key, text): (&str, &str), file: &mut impl Write) -> io::Result<()> {
        let mut header = Map::from_iter([("__metadata__".to_owned(), json!({ key: text }))]);
        for entry in &self.entries {
            let before: usize = self.data.range(entry.width + 1..).map(|(_, data)| data.len()).sum();
            let offsets = [before + entry.start, before + entry.end];
            let dtype = serde_json::to_value(entry.dtype)?;
            let tensor = json!({ "dtype": dtype, "shape": entry.shape, "data_offsets": offsets });
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
        self.data.values().rev().try_for_each(|data| file.write_all(data))
    }
}

#[cfg(test)]
mod tests {
    use safetensors::{SafeTensorError, SafeTensors};

    use super::*;

    /// The header ends at a multiple of 8, as the format recommends, so that every number in the file is aligned.
    #[test]
    fn numbers_are_aligned_whatever_the_length_of_the_header() {
        let mut lengths = Vec::new();
        for length in 0..16 {
            let mut tensors = Tensors::with_room_for::<f32>(2);
            tensors.push("single".into(), vec![2], &[1.0_f32, 2.0]);
            tensors.push("double".into(), vec![1], &[3.0_f64]);
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
        let tensors = Tensors::with_room_for::<f32>(0);
        let mut bytes = Vec::new();
        tensors.write(("entry", ""), &mut bytes).unwrap();
        let longest = MAX_HEADER - bytes[8..].trim_ascii_end().len();
        let error = tensors.write(("entry", &"x".repeat(longest + 1)), &mut io::sink()).unwrap_err().to_string();
        assert!(error.contains("100 MB"), "{error}");
        // The limit is the library's own: of two headers that are not there, only the longer one is too long.
        let said = |length: usize| SafeTensors::read_metadata(&(length as u64).to_le_bytes()).unwrap_err();
        assert!(matches!(said(MAX_HEADER), SafeTensorError::InvalidHeaderLength));
        assert!(matches!(said(MAX_HEADER + 1), SafeTensorError::HeaderTooLarge));
    }
}
