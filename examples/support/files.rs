//! Folders and files, with errors that name them.

use std::fs;
use std::io::Error;
use std::path::Path;

/// Makes a folder, if it is not there.
pub(crate) fn make_folder(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(at(folder))
}

/// Writes a file anew.
pub(crate) fn write(file: &Path, content: impl AsRef<[u8]>) -> Result<(), String> {
    fs::write(file, content).map_err(at(file))
}

fn at(path: &Path) -> impl Fn(Error) -> String {
    move |error| format!("{}: {error}", path.display())
}
