//! Folders and files, with errors that name them.

use std::fs;
use std::io::Error;
use std::path::{Path, PathBuf};

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

/// Checks that a regular file is there, or nothing: a folder cannot be written, and a pipe may block forever.
pub(crate) fn check_regular(flag: &str, file: &Path) -> Result<(), String> {
    match fs::metadata(file) {
        Ok(found) if found.is_dir() => Err(format!("{}: this is a folder; {flag} needs a file", file.display())),
        Ok(found) if !found.is_file() => {
            Err(format!("{}: this is a device, a pipe or a socket; {flag} needs a regular file", file.display()))
        }
        _ if file.file_name().is_none() || file.to_string_lossy().ends_with(std::path::is_separator) => {
            Err(format!("{}: {flag} needs the name of a file", file.display()))
        }
        _ => Ok(()),
    }
}

/// Whether two paths lead to the same file, also if it is not there yet.
pub(crate) fn same(one: &Path, other: &Path) -> bool {
    place(one) == place(other)
}

/// The path of a file without symlinks, `.` and `..`, as far as it is there.
fn place(file: &Path) -> PathBuf {
    fs::canonicalize(file).unwrap_or_else(|_| match (folder_of(file).canonicalize(), file.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => file.into(),
    })
}

/// The folder that a file lies in.
pub(crate) fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn at(path: &Path) -> impl Fn(Error) -> String {
    move |error| format!("{}: {error}", path.display())
}
