//! The IDX format of the MNIST files.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use thiserror::Error;

/// What is wrong with an IDX file.
#[derive(Debug, Error)]
pub(crate) enum IdxError {
    #[error("{file}: {source}")]
    Io { file: PathBuf, source: std::io::Error },
    #[error("{file}: not found, and {} not found either", gz(.file).display())]
    Missing { file: PathBuf },
    #[error("{file}: not a complete gzip file: {source}")]
    Gzip { file: PathBuf, source: std::io::Error },
    #[error("{file}: not an IDX file of this kind: it begins with {found:#x} instead of {expected:#x}")]
    Magic { file: PathBuf, found: u32, expected: u32 },
    #[error("{file}: truncated or overlong: {found} bytes where the header promises {expected}")]
    Length { file: PathBuf, found: usize, expected: usize },
    #[error("{file}: {images} images but {labels} labels")]
    Counts { file: PathBuf, images: usize, labels: usize },
    #[error("{file}: label {label} of image {index} is not one of 0 to 9")]
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
    /// Reads `<part>-images-idx3-ubyte` and `<part>-labels-idx1-ubyte` of a folder, or the same with `.gz` behind it where only
    /// that is there; `part` is `train` or `t10k`.
    pub(crate) fn read(folder: &Path, part: &str) -> Result<Self, IdxError> {
        let (file, [images, rows, columns], values) =
            read_idx(&folder.join(format!("{part}-images-idx3-ubyte")), 0x803)?;
        let pixels = rows * columns;
        if images == 0 || pixels == 0 {
            return Err(IdxError::Empty { file });
        }
        let (file, [count], labels) = read_idx(&folder.join(format!("{part}-labels-idx1-ubyte")), 0x801)?;
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

/// The file of a compressed one.
fn gz(file: &Path) -> PathBuf {
    let mut name = file.to_owned().into_os_string();
    name.push(".gz");
    name.into()
}

/// The bytes of a file, or of the compressed one beside it; says which it was.
fn read_bytes(file: &Path) -> Result<(PathBuf, Vec<u8>), IdxError> {
    let io = |file: &Path| {
        let file = file.to_owned();
        |source| IdxError::Io { file, source }
    };
    match fs::read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        read => return Ok((file.into(), read.map_err(io(file))?)),
    }
    let packed = gz(file);
    let compressed = match File::open(&packed) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(IdxError::Missing { file: file.into() }),
        opened => opened.map_err(io(&packed))?,
    };
    let mut bytes = Vec::new();
    match MultiGzDecoder::new(compressed).read_to_end(&mut bytes) {
        Ok(_) => Ok((packed, bytes)),
        Err(source) => Err(IdxError::Gzip { file: packed, source }),
    }
}

/// The file that was read, its dimensions and its bytes.
fn read_idx<const DIMENSIONS: usize>(
    file: &Path,
    magic: u32,
) -> Result<(PathBuf, [usize; DIMENSIONS], Vec<u8>), IdxError> {
    let (file, mut bytes) = read_bytes(file)?;
    let length = |expected| IdxError::Length { file: file.clone(), found: bytes.len(), expected };
    let header = 4 * (DIMENSIONS + 1);
    let words: Vec<u32> = bytes
        .get(..header)
        .ok_or_else(|| length(header))?
        .chunks_exact(4)
        .map(|word| u32::from_be_bytes(word.try_into().expect("chunks of 4")))
        .collect();
    if words[0] != magic {
        return Err(IdxError::Magic { file, found: words[0], expected: magic });
    }
    let dimensions: [usize; DIMENSIONS] = std::array::from_fn(|dimension| words[dimension + 1] as usize);
    let expected = dimensions.iter().fold(1_usize, |product, &n| product.saturating_mul(n)).saturating_add(header);
    if bytes.len() != expected {
        return Err(length(expected));
    }
    bytes.drain(..header);
    Ok((file, dimensions, bytes))
}
