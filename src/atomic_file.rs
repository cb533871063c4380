//! Files that are whole or not there: written beside, synced, renamed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Replaces the file at `path` by what `write` writes. Whatever happens on the way, the file that was there stays whole.
///
/// The new file is written beside the old one under a fixed name, so that what a kill leaves behind is overwritten the next
/// time. Two processes must not write the same file at once.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    replace_through(path, &beside(path)?, write)
}

/// As [`replace`], with the new file written under a name of the caller's first, in the same folder.
pub(crate) fn replace_through(
    path: &Path,
    beside: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    if let Err(error) = write_synced(beside, write).and_then(|()| fs::rename(beside, path)) {
        let _ = fs::remove_file(beside);
        return Err(error);
    }
    sync_folder(path);
    Ok(())
}

fn write_synced(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let mut writer = BufWriter::new(File::create(path)?);
    write(&mut writer)?;
    writer.flush()?;
    writer.get_ref().sync_all()
}

fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(".partial");
    Ok(path.with_file_name(beside))
}

/// Without it, the rename itself may be lost in a power failure. Only Unix lets a folder be synced, and not every file system
/// there; the file is in its place by now, so that is no failure.
fn sync_folder(path: &Path) {
    if cfg!(unix) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_else() {
        let folder = std::env::temp_dir().join(format!("cyclic-optim-atomic-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("file");
        replace(&path, |writer| writer.write_all(b"old")).unwrap();
        let failed = replace(&path, |writer| {
            writer.write_all(b"new, but only in p")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        replace(&path, |writer| writer.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(replace(Path::new("/"), |_| Ok(())).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        fs::remove_dir_all(&folder).unwrap();
    }
}
