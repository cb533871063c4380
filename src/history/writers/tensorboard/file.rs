//! One event file: a sequence of records.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::TensorBoardError;
use super::event::{Event, Summary, Value, What, checksum, framed, unframed};
use crate::{atomic_file, whole_append};

/// The number of buffered bytes that causes a write without a flush.
const BUFFER: usize = 1 << 16;

/// An event file to write to.
#[derive(Debug)]
pub(super) struct EventFile {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
}

impl EventFile {
    /// Creates a file in `folder` that TensorBoard reads after the existing ones.
    pub(super) fn create(folder: &Path) -> Result<Self, TensorBoardError> {
        fs::create_dir_all(folder).map_err(at(folder))?;
        let (seconds, process) =
            (SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs()), std::process::id());
        // TensorBoard reads the files of a folder in the order of their names.
        let last = event_files(folder)?.filter_map(|path| number(&path)).max();
        let first = last.map_or(seconds, |last| seconds.max(last.saturating_add(1)));
        let (path, file) = (first..=u64::MAX)
            .find_map(|number| {
                let path = folder.join(format!("{PREFIX}{number:010}.cyclic-optim.{process}"));
                match OpenOptions::new().append(true).create_new(true).open(&path) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
                    result => Some(result.map(|file| (path, file))),
                }
            })
            .unwrap_or_else(|| Err(io::ErrorKind::AlreadyExists.into()))
            .map_err(at(folder))?;
        let mut events = Self { path, file, buffer: Vec::new() };
        events.push_event(0, What::FileVersion("brain.Event:2".into()));
        events.flush()?;
        Ok(events)
    }

    pub(super) fn write(&mut self, step: u64, value: Vec<Value>) -> Result<(), TensorBoardError> {
        self.push(step, value);
        if self.buffer.len() < BUFFER { Ok(()) } else { self.flush() }
    }

    /// Buffers values for the next flush.
    pub(super) fn push(&mut self, step: u64, value: Vec<Value>) {
        self.push_event(step, What::Summary(Summary { value }));
    }

    fn push_event(&mut self, step: u64, what: What) {
        let wall_time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        self.buffer.extend(framed(&Event { wall_time, step, what: Some(what) }));
    }

    /// Writes the whole buffer, or nothing. After an error the buffer is kept for the next attempt.
    pub(super) fn flush(&mut self) -> Result<(), TensorBoardError> {
        whole_append::append(&mut self.file, &self.path, &self.buffer).map_err(at(&self.path))?;
        self.buffer.clear();
        Ok(())
    }
}

impl Drop for EventFile {
    fn drop(&mut self) {
        // A caller that needs the error calls `flush` before.
        let _ = self.flush();
    }
}

const PREFIX: &str = "events.out.tfevents.";

fn number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix(PREFIX)?.split('.').next()?.parse().ok()
}

/// The event files of a folder; none if the folder does not exist.
pub(super) fn event_files(folder: &Path) -> Result<impl Iterator<Item = PathBuf> + use<>, TensorBoardError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        entries => entries.and_then(Iterator::collect).map_err(at(folder))?,
    };
    Ok(entries.into_iter().map(|entry: fs::DirEntry| entry.path()).filter(|path| number(path).is_some()))
}

/// Removes from a file the values whose step is at least the `limit` of their tag, and an incomplete record at the end.
pub(super) fn keep_before(path: &Path, limit: impl Fn(&str) -> u64) -> Result<(), TensorBoardError> {
    atomic_file::regular(path).map_err(at(path))?;
    let bytes = fs::read(path).map_err(at(path))?;
    let (mut rest, mut kept) = (&bytes[..], Vec::with_capacity(bytes.len()));
    while let Some((mut event, length)) = unframed(rest) {
        if let Some(What::Summary(summary)) = &mut event.what {
            let (before, step) = (summary.value.len(), u64::try_from(event.step).unwrap_or(0));
            summary.value.retain(|value| step < limit(&value.tag));
            if summary.value.len() == before {
                kept.extend(&rest[..length]);
            } else if !summary.value.is_empty() {
                kept.extend(framed(&event));
            }
        } else {
            kept.extend(&rest[..length]);
        }
        rest = &rest[length..];
    }
    // A kill may leave the last record incomplete: shorter than its length says, with a valid checksum of the length. Anything
    // else is damage.
    let torn = rest.split_first_chunk::<8>().is_none_or(|(length, sum)| {
        sum.first_chunk::<4>().is_none_or(|sum| {
            let longer = u64::from_le_bytes(*length).saturating_add(16) > rest.len() as u64;
            longer && checksum(length) == u32::from_le_bytes(*sum)
        })
    });
    if !torn {
        let place = bytes.len() - rest.len();
        return Err(at(path)(io::Error::new(io::ErrorKind::InvalidData, format!("damaged at byte {place}"))));
    }
    if kept != bytes {
        atomic_file::replace(path, |file| file.write_all(&kept)).map_err(at(path))?;
    }
    Ok(())
}

fn at(path: &Path) -> impl Fn(io::Error) -> TensorBoardError {
    let path = path.to_path_buf();
    move |source| TensorBoardError { path: path.clone(), source }
}
