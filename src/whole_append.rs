//! Appending to files without partial writes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Appends all of `bytes` or nothing to `file`, which was opened to append. A partial write, for example on a full
/// disk, is removed.
///
/// The end is looked up each time, because another program may have truncated the file.
pub(crate) fn append(file: &mut File, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let end = file.metadata()?.len();
    file.write_all(bytes).or_else(|error| {
        cut(file, path, end)?;
        Err(error)
    })
}

/// Truncates the file to `length` bytes.
pub(crate) fn cut(file: &File, path: &Path, length: u64) -> io::Result<()> {
    // Windows cannot truncate a file that was opened to append.
    if cfg!(windows) { OpenOptions::new().write(true).open(path)?.set_len(length) } else { file.set_len(length) }
}
