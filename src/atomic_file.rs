//! Files that are replaced as a whole: the new file is written beside the old one, synced and renamed.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::{Builder, NamedTempFile};

/// A temporary file is named `.cyclic-optim-`, six random letters, `.partial`. It does not contain the name of the target, which could
/// be too long or make TensorBoard read it as an event file.
const PREFIX: &str = ".cyclic-optim-";
const SUFFIX: &str = ".partial";

/// A temporary file that was not written to for this long was left by a writer that was killed.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

/// Replaces the file at `path` by what `write` writes. The old file stays intact until the new one is complete.
///
/// The new file is written beside the old one under a unique name, so several processes may replace the same file at once: each
/// file is complete, and the last one stays. It is removed on an error. Temporary files of killed writers are removed by a later
/// write, when they are an hour old.
///
/// Symlinks are followed: their target is replaced. On Unix a replaced file keeps its permissions, and a new file gets those that
/// the umask allows. A path that is not a regular file is an error.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>) -> io::Result<()> {
    let (target, old) = resolve(path)?;
    if target.file_name().is_none() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file name"));
    }
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary =
        Builder::new().prefix(PREFIX).suffix(SUFFIX).make_in(folder, |path| create_new(path, old.is_some()))?;
    remove_abandoned(folder, &temporary);
    if let Some(old) = old {
        keep_permissions(temporary.as_file(), &old)?;
    }
    let mut writer = BufWriter::new(temporary.as_file());
    write(&mut writer)?;
    writer.flush()?;
    drop(writer);
    temporary.as_file().sync_all()?;
    temporary.persist(&target).map_err(|error| error.error)?;
    sync_folder(folder);
    Ok(())
}

/// The metadata of the regular file at `path`; `None` if nothing is there.
///
/// # Errors
///
/// A folder, a device, a pipe or a socket. Opening some of these blocks forever, and writing to others may destroy data.
pub(crate) fn regular(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(Some(found)),
        Ok(found) => {
            let what = if found.is_dir() { "this is a folder" } else { "this is a device, a pipe or a socket" };
            Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{what}; name a regular file")))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The target of the symlinks at `path`, and its metadata if it exists.
fn resolve(path: &Path) -> io::Result<(PathBuf, Option<Metadata>)> {
    // Fails for loops of symlinks, too.
    let found = regular(path)?;
    let mut target = path.to_path_buf();
    while fs::symlink_metadata(&target).is_ok_and(|found| found.is_symlink()) {
        let link = fs::read_link(&target)?;
        target = target.parent().unwrap_or(Path::new("")).join(link);
    }
    Ok((target, found))
}

/// Creates a file at `path`. Fails if anything is there, also a symlink. A private file cannot be read by other users until it gets
/// the permissions of the file that it replaces.
fn create_new(path: &Path, private: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if private {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    #[cfg(not(unix))]
    let _ = private;
    options.open(path)
}

/// Copies the permissions of the old file. Only Unix has permissions that could get lost.
fn keep_permissions(new: &File, old: &Metadata) -> io::Result<()> {
    // Some file systems have one mode for all files and do not allow setting it.
    let same = new.metadata()?.permissions() == old.permissions();
    if same || !cfg!(unix) { Ok(()) } else { new.set_permissions(old.permissions()) }
}

/// Removes temporary files of killed writers from the folder. Files that cannot be removed stay; that is not an error.
///
/// A file counts as abandoned if it was last written to an hour or more before `own` was created. Both times come from the
/// file system, whose clock may differ from that of this machine.
fn remove_abandoned(folder: &Path, own: &NamedTempFile<File>) {
    let Ok(now) = own.as_file().metadata().and_then(|own| own.modified()) else { return };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let abandoned = is_temporary(&entry.file_name())
            // The metadata of the entry itself, not of the target of a symlink.
            && entry.metadata().is_ok_and(|found| {
                let written = found.modified().ok();
                found.is_file() && written.and_then(|written| now.duration_since(written).ok()) > Some(ABANDONED)
            });
        if abandoned {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_temporary(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX))
}

/// Without this, a power failure may undo the rename. Only Unix can sync a folder, and not on every file system. The file is in
/// its place already, so a failure is ignored.
fn sync_folder(folder: &Path) {
    if cfg!(unix) {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn put(path: &Path, text: &str) -> io::Result<()> {
        replace(path, |file| file.write_all(text.as_bytes()))
    }

    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_else() {
        let folder = folder();
        let path = folder.path().join("file");
        put(&path, "old").unwrap();
        let failed = replace(&path, |writer| {
            writer.write_all(b"new, but only in p")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["file"]);
        put(&path, "new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        let error = put(&folder.path().join("no/file"), "").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!error.to_string().contains("partial"), "the caller names the file: {error}");
    }

    /// Each writer has its own temporary file, also within one process, and each write is complete.
    #[test]
    fn a_write_within_a_write_of_the_same_file() {
        let folder = folder();
        let path = folder.path().join("file");
        replace(&path, |outer| {
            outer.write_all(b"outer, ")?;
            put(&path, "inner")?;
            assert_eq!(fs::read(&path)?, b"inner");
            outer.write_all(b"whole")
        })
        .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"outer, whole");
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn the_longest_file_name() {
        let folder = folder();
        let path = folder.path().join("n".repeat(255));
        put(&path, "text").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"text");
    }

    #[test]
    fn files_of_killed_writers_are_removed_after_an_hour() {
        let folder = folder();
        let left = |name: &str, minutes: u64| {
            let file = File::create_new(folder.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(60 * minutes)).unwrap();
        };
        left(".cyclic-optim-abandon.partial", 61);
        left(".cyclic-optim-writing.partial", 59);
        left(".cyclic-optim-other.part", 100);
        left("of-the-user.partial", 100);
        put(&folder.path().join("file"), "text").unwrap();
        assert_eq!(
            names(folder.path()),
            [".cyclic-optim-other.part", ".cyclic-optim-writing.partial", "file", "of-the-user.partial"]
        );
    }

    #[test]
    fn folders_are_refused() {
        let folder = folder();
        for path in [folder.path(), Path::new("/"), Path::new("."), Path::new("..")] {
            let error = put(path, "text").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert_eq!(error.to_string(), "this is a folder; name a regular file");
        }
        assert_eq!(put(&folder.path().join("no/.."), "").unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(names(folder.path()), [""; 0]);
    }

    #[cfg(unix)]
    mod unix {
        use std::os::unix::fs::{PermissionsExt, symlink};
        use std::os::unix::net::UnixListener;

        use super::*;

        fn mode(path: &Path) -> u32 {
            fs::metadata(path).unwrap().permissions().mode() & 0o7777
        }

        #[test]
        fn symlinks_are_followed_to_the_last() {
            let folder = folder();
            let path = |name: &str| folder.path().join(name);
            fs::create_dir(path("far")).unwrap();
            symlink("far", path("near")).unwrap();
            symlink("near/second", path("first")).unwrap();
            symlink("file", path("far/second")).unwrap();
            // The target need not exist.
            for text in ["new", "replaced"] {
                put(&path("first"), text).unwrap();
                assert_eq!(fs::read_to_string(path("far/file")).unwrap(), text);
                assert!(fs::symlink_metadata(path("first")).unwrap().is_symlink());
                assert!(fs::symlink_metadata(path("far/second")).unwrap().is_symlink());
            }
            assert_eq!(names(&path("far")), ["file", "second"]);
            symlink("round", path("round")).unwrap();
            put(&path("round"), "text").unwrap_err();
            symlink("far", path("folder")).unwrap();
            put(&path("folder"), "text").unwrap_err();
        }

        #[test]
        fn the_mode_is_kept() {
            let folder = folder();
            let path = folder.path().join("file");
            put(&path, "new").unwrap();
            let usual = folder.path().join("usual");
            File::create(&usual).unwrap();
            assert_eq!(mode(&path), mode(&usual));
            for kept in [0o600, 0o640, 0o666, 0o444, 0o755] {
                fs::set_permissions(&path, fs::Permissions::from_mode(kept)).unwrap();
                replace(&path, |file| {
                    let partial = names(folder.path()).into_iter().find(|name| is_temporary(name.as_ref())).unwrap();
                    assert_eq!(mode(&folder.path().join(partial)), kept, "before anything is in it");
                    file.write_all(b"replaced")
                })
                .unwrap();
                assert_eq!(mode(&path), kept);
            }
        }

        #[test]
        fn only_regular_files_are_accepted() {
            let folder = folder();
            let path = folder.path().join("socket");
            let _listener = UnixListener::bind(&path).unwrap();
            let fifo = folder.path().join("fifo");
            assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
            let link = folder.path().join("link");
            symlink(&fifo, &link).unwrap();
            for path in [&path, &fifo, &link] {
                let before = fs::symlink_metadata(path).unwrap().file_type();
                let error = put(path, "text").unwrap_err();
                assert_eq!(error.to_string(), "this is a device, a pipe or a socket; name a regular file");
                assert_eq!(fs::symlink_metadata(path).unwrap().file_type(), before);
            }
            assert_eq!(names(folder.path()), ["fifo", "link", "socket"]);
        }

        /// Nothing at the name of the temporary file is opened or followed.
        #[test]
        fn a_planted_symlink_is_not_followed() {
            let folder = folder();
            let victim = folder.path().join("victim");
            fs::write(&victim, "precious").unwrap();
            let planted = folder.path().join(".cyclic-optim-aaaaaa.partial");
            symlink(&victim, &planted).unwrap();
            assert_eq!(create_new(&planted, false).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            // The name that an earlier version used.
            symlink(&victim, folder.path().join(".file.partial")).unwrap();
            put(&folder.path().join("file"), "text").unwrap();
            assert_eq!(fs::read(&victim).unwrap(), b"precious");
        }
    }
}
