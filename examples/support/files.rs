//! Folders and files, with errors that name them.

use std::fs;
use std::io::Error;
use std::path::Path;

/// Creates a folder if it does not exist.
pub(crate) fn make_folder(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(at(folder))
}

/// Writes a file anew.
pub(crate) fn write(file: &Path, content: impl AsRef<[u8]>) -> Result<(), String> {
    fs::write(file, content).map_err(at(file))
}

/// Checks that files can be written to a folder or, if it does not exist yet, to the nearest existing folder above it.
/// Leaves nothing behind.
pub(crate) fn check_writable(folder: &Path) -> Result<(), String> {
    let there = folder.ancestors().find(|folder| folder.exists() && !folder.as_os_str().is_empty());
    tempfile::tempfile_in(there.unwrap_or(Path::new(".")))
        .map(drop)
        .map_err(|error| format!("{}: cannot be written: {error}", folder.display()))
}

fn at(path: &Path) -> impl Fn(Error) -> String {
    move |error| format!("{}: {error}", path.display())
}
