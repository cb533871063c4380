//! Files that grow by whole pieces.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Writes all of `bytes` behind the end of `file`, which was opened to append, or nothing: what a full disk tore is cut off.
///
/// Wherever the end is: others may have truncated the file since.
pub(crate) fn append(file: &mut File, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let end = file.metadata()?.len();
    file.write_all(bytes).or_else(|error| {
        cut(file, path, end)?;
        Err(error)
    })
}

/// Cuts off what stands behind `length` bytes.
pub(crate) fn cut(file: &File, path: &Path, length: u64) -> io::Result<()> {
    // Windows does not let a file be cut that was opened to append.
    if cfg!(windows) { OpenOptions::new().write(true).open(path)?.set_len(length) } else { file.set_len(length) }
}
