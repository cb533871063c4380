//! The IDX format of the MNIST files.

use std::fs;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// What is wrong with an IDX file.
#[derive(Debug, Error)]
pub(crate) enum IdxError {
    #[error("{file}: {source}")]
    Io { file: PathBuf, source: std::io::Error },
    #[error("{file}: not an IDX file of this kind: it begins with {found:#x} instead of {expected:#x}")]
    Magic { file: PathBuf, found: u32, expected: u32 },
    #[error("{file}: truncated or overlong: {found} bytes where the header promises {expected}")]
    Length { file: PathBuf, found: usize, expected: usize },
    #[error("{file}: {images} images but {labels} labels")]
    Counts { file: PathBuf, images: usize, labels: usize },
    #[error("{file}: label {label} of image {index} is none of 0 to 9")]
    Label { file: PathBuf, label: u8, index: usize },
    #[error("{file}: holds no images")]
    Empty { file: PathBuf },
}

/// Images with their labels.
#[derive(Debug)]
pub(crate) struct Images {
    /// Pixels of one image.
    pub(crate) pixels: usize,
    /// All images, one after the other.
    pub(crate) values: Vec<u8>,
    /// What each shows, 0 to 9.
    pub(crate) labels: Vec<u8>,
}

impl Images {
    /// Reads `<part>-images-idx3-ubyte` and `<part>-labels-idx1-ubyte` of a folder; `part` is `train` or `t10k`.
    pub(crate) fn read(folder: &Path, part: &str) -> Result<Self, IdxError> {
        let file = folder.join(format!("{part}-images-idx3-ubyte"));
        let ([images, rows, columns], values) = read_idx(&file, 0x803)?;
        let pixels = rows * columns;
        if images == 0 || pixels == 0 {
            return Err(IdxError::Empty { file });
        }
        let file = folder.join(format!("{part}-labels-idx1-ubyte"));
        let ([count], labels) = read_idx(&file, 0x801)?;
        if count != images {
            return Err(IdxError::Counts { file, images, labels: count });
        }
        if let Some(index) = labels.iter().position(|&label| label > 9) {
            return Err(IdxError::Label { file, label: labels[index], index });
        }
        Ok(Self { pixels, values, labels })
    }

    /// Some of the images.
    pub(crate) fn subset(&self, indices: &[usize]) -> Self {
        let image = |&index: &usize| &self.values[index * self.pixels..(index + 1) * self.pixels];
        Self {
            pixels: self.pixels,
            values: indices.iter().flat_map(image).copied().collect(),
            labels: indices.iter().map(|&index| self.labels[index]).collect(),
        }
    }
}

/// The dimensions and the bytes of a file.
fn read_idx<const DIMENSIONS: usize>(file: &Path, magic: u32) -> Result<([usize; DIMENSIONS], Vec<u8>), IdxError> {
    let mut bytes = fs::read(file).map_err(|source| IdxError::Io { file: file.into(), source })?;
    let length = |expected| IdxError::Length { file: file.into(), found: bytes.len(), expected };
    let header = 4 * (DIMENSIONS + 1);
    let words: Vec<u32> = bytes
        .get(..header)
        .ok_or_else(|| length(header))?
        .chunks_exact(4)
        .map(|word| u32::from_be_bytes(word.try_into().expect("chunks of 4")))
        .collect();
    if words[0] != magic {
        return Err(IdxError::Magic { file: file.into(), found: words[0], expected: magic });
    }
    let dimensions: [usize; DIMENSIONS] = std::array::from_fn(|dimension| words[dimension + 1] as usize);
    let expected = dimensions.iter().fold(1_usize, |product, &n| product.saturating_mul(n)).saturating_add(header);
    if bytes.len() != expected {
        return Err(length(expected));
    }
    bytes.drain(..header);
    Ok((dimensions, bytes))
}
