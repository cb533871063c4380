//! Histories as CSV files, written at once or row by row during the run.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

use csv::{ReaderBuilder, WriterBuilder};
use thiserror::Error;

use crate::csv_number::csv_number;
use crate::history::{History, Per, RecordError, Recorder, Table};
use crate::state::Applied;
use crate::{atomic_file, whole_append};

/// Why CSV could not be written or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CsvError {
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file is not empty, and a new log would overwrite it.
    #[error("already holds a run; choose another file, remove this one, or continue that run from its checkpoint")]
    NotEmpty,
    /// The file has other columns than those asked for.
    #[error("has the columns {found:?}, not {expected:?}; choose another file")]
    OtherColumns {
        /// The columns asked for, beginning with the index.
        expected: Vec<String>,
        /// The columns of the file.
        found: Vec<String>,
    },
    /// The first column is neither `update` nor `epoch`, or two have the same name.
    #[error("not a history: the columns are {0:?}; the first must be update or epoch, and no two may be the same")]
    NotAHistory(Vec<String>),
    /// A field is not a number, or a line has too many or too few fields.
    #[error("line {line}: {problem}")]
    Row {
        /// The line, counted from 1.
        line: u64,
        /// What is wrong.
        problem: String,
    },
}

/// A log that could not be opened or written.
#[derive(Debug, Error)]
#[error("{}: {source}", .path.display())]
pub struct CsvLogError {
    /// The file.
    pub path: PathBuf,
    /// What went wrong.
    pub source: CsvError,
}

impl From<csv::Error> for CsvError {
    fn from(error: csv::Error) -> Self {
        Self::Io(error.into())
    }
}

impl Table {
    /// Writes the table as CSV: a header, then a line for each row. Missing values are empty fields; NaN and infinities are written
    /// as `NaN`, `inf` and `-inf`. Every number reads back with the same bits.
    ///
    /// ```
    /// use cyclic_optim::history::{Per, Table};
    ///
    /// let mut epochs = Table::new(Per::Epoch);
    /// epochs.push(0, &[("loss", 0.9)]);
    /// epochs.push(1, &[("loss", f64::NAN), ("val_loss", 0.7)]);
    /// let mut text = Vec::new();
    /// epochs.write_csv(&mut text)?;
    /// assert_eq!(text, b"epoch,loss,val_loss\n0,0.9,\n1,NaN,0.7\n");
    /// # Ok::<(), cyclic_optim::history::CsvError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Errors of the writer.
    pub fn write_csv(&self, writer: impl Write) -> Result<(), CsvError> {
        let mut csv = csv::Writer::from_writer(writer);
        csv.write_record([self.per().name()].into_iter().chain(self.names()))?;
        for (row, &index) in self.index().iter().enumerate() {
            csv.write_record(fields(index, self.row(row)))?;
        }
        Ok(csv.flush()?)
    }

    /// Reads a table that [`write_csv`](Self::write_csv) or a [`CsvLog`] has written. `NA`, as Keras writes it, is a missing value.
    ///
    /// # Errors
    ///
    /// Errors of the reader, and text that is not such a table, with its line.
    pub fn read_csv(reader: impl Read) -> Result<Self, CsvError> {
        let mut lines = Lines::new(BufReader::new(reader));
        lines.read_header()?;
        let columns = lines.names()?;
        let per = [Per::Update, Per::Epoch].into_iter().find(|per| Some(per.name()) == columns.first().map(|c| &**c));
        let Some(per) = per.filter(|_| !twice(&columns[1..])) else { return Err(CsvError::NotAHistory(columns)) };
        let mut table = Self::new(per);
        // Columns without values are series, too.
        for name in &columns[1..] {
            table.named(name, 0);
        }
        while lines.read()? {
            let Some((index, values)) = lines.row(columns.len())? else { continue };
            let metrics: Vec<(&str, f64)> =
                columns[1..].iter().zip(values).filter_map(|(name, value)| Some((name.as_str(), value?))).collect();
            table.push(index, &metrics);
        }
        Ok(table)
    }
}

impl History {
    /// A history with one table, for example one read from CSV.
    #[must_use]
    pub fn from_table(table: Table) -> Self {
        let mut history = Self::new();
        match table.per() {
            Per::Update => history.updates = table,
            Per::Epoch => history.epochs = table,
        }
        history
    }
}

fn fields(index: u64, values: impl Iterator<Item = Option<f64>>) -> impl Iterator<Item = String> {
    [index.to_string()].into_iter().chain(values.map(|value| value.map_or(String::new(), csv_number)))
}

fn twice(columns: &[String]) -> bool {
    (1..columns.len()).any(|n| columns[..n].contains(&columns[n]))
}

/// An index and the values of the columns.
type Row = (u64, Vec<Option<f64>>);

/// Reads a CSV file line by line. Numbers have no line breaks, so each row is one line, and an unclosed quote damages only its own
/// line.
struct Lines<R> {
    reader: R,
    /// The current line, with its line break.
    text: Vec<u8>,
    /// The number of the current line, counted from 1.
    number: u64,
    /// The number of bytes up to the end of the current line.
    end: u64,
}

impl<R: BufRead> Lines<R> {
    fn new(reader: R) -> Self {
        Self { reader, text: Vec::new(), number: 0, end: 0 }
    }

    /// Reads the next line. Returns whether there is one.
    fn read(&mut self) -> io::Result<bool> {
        self.text.clear();
        self.read_more()
    }

    /// Appends the next line to the current one.
    fn read_more(&mut self) -> io::Result<bool> {
        let length = self.reader.read_until(b'\n', &mut self.text)?;
        self.end += length as u64;
        self.number += u64::from(length > 0);
        Ok(length > 0)
    }

    /// Whether the line has no line break. Then it is incomplete, for example because the program was killed while it
    /// wrote the line.
    fn is_torn(&self) -> bool {
        self.text.last().is_some_and(|&last| last != b'\n')
    }

    /// Reads the header. Names in quotes may contain line breaks.
    fn read_header(&mut self) -> io::Result<()> {
        let mut more = self.read()?;
        while more && self.has_open_quote() {
            more = self.read_more()?;
        }
        Ok(())
    }

    fn has_open_quote(&self) -> bool {
        self.text.iter().fold(false, |open, &byte| open != (byte == b'"'))
    }

    /// The names of the columns, after [`read_header`](Self::read_header).
    fn names(&self) -> Result<Vec<String>, CsvError> {
        let wrong = |problem: &str| CsvError::Row { line: 1, problem: problem.into() };
        if self.has_open_quote() {
            return Err(wrong("a quote has no partner"));
        }
        let mut csv = ReaderBuilder::new().from_reader(&self.text[..]);
        let names = csv.headers().map_err(|_| wrong("the names of the columns are not UTF-8"))?;
        Ok(names.iter().map(Into::into).collect())
    }

    /// The index and the values of the line; `None` if it is empty.
    fn row(&self, columns: usize) -> Result<Option<Row>, CsvError> {
        let text = self.text.strip_suffix(b"\n").unwrap_or(&self.text);
        let text = String::from_utf8_lossy(text.strip_suffix(b"\r").unwrap_or(text));
        if text.is_empty() {
            return Ok(None);
        }
        let number = |field: &str| self.wrong(format!("{field:?} is not a number"));
        let mut fields =
            text.split(',').map(|field| field.strip_prefix('"').and_then(|f| f.strip_suffix('"')).unwrap_or(field));
        let index = fields.next().unwrap_or_default();
        let index = index.parse().map_err(|_| number(index))?;
        let values = fields.map(|field| match field {
            "" | "NA" => Ok(None),
            field => field.parse().map(Some).map_err(|_| number(field)),
        });
        let values: Vec<_> = values.collect::<Result<_, _>>()?;
        if values.len() + 1 != columns {
            return Err(self.wrong(format!("{} fields instead of {columns}", values.len() + 1)));
        }
        Ok(Some((index, values)))
    }

    fn wrong(&self, problem: String) -> CsvError {
        CsvError::Row { line: self.number, problem }
    }
}

/// A CSV file that grows row by row. Each row is passed to the operating system at once, so no row is lost if the program is killed.
///
/// [`open`](Self::open) begins a log or continues one. A file that holds another run is never overwritten, and a continued run
/// writes no row twice. If a metric has no column yet, the file is replaced by one with that column; its permissions are kept.
///
/// Rows are appended at the current end of the file. So a log stays readable when another program truncates it. An emptied
/// file gets its header again.
///
/// # Examples
///
/// ```
/// use cyclic_optim::history::{CsvLog, Per, Recorder, Table};
///
/// let path = std::env::temp_dir().join(format!("cyclic-optim-log-{}.csv", std::process::id()));
/// let mut log = CsvLog::open(&path, Per::Epoch, &["loss", "val_loss"], None)?;
/// log.epoch(0, &[("loss", 0.9)])?;
/// log.epoch(1, &[("val_loss", 0.7), ("loss", 0.5)])?;
/// // The run was killed and continues from a checkpoint at the beginning of epoch 1.
/// let mut log = CsvLog::open(&path, Per::Epoch, &["loss", "val_loss"], Some(1))?;
/// log.epoch(1, &[("loss", 0.4), ("accuracy", 0.8)])?;
/// let text = std::fs::read_to_string(&path)?;
/// assert_eq!(text, "epoch,loss,val_loss,accuracy\n0,0.9,,\n1,0.4,,0.8\n");
/// assert_eq!(Table::read_csv(text.as_bytes())?.values("loss").unwrap(), [0.9, 0.4]);
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # References
///
/// Keras' `CSVLogger`, which drops metrics that appear later and writes rows of a continued run twice.
#[derive(Debug)]
pub struct CsvLog {
    path: PathBuf,
    per: Per,
    columns: Vec<String>,
    file: File,
}

/// Which rows of an existing file a log keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Nothing,
    Before(u64),
    All,
}

impl CsvLog {
    /// Opens the log of a new or a continued run.
    ///
    /// `columns` are the metrics that have a column from the start. `continued_from` is the first update or epoch that the run will
    /// record:
    ///
    /// - `None`, a new run: the file must be empty or missing;
    /// - `Some(n)`, a continued run, for example from a checkpoint: the first row with an index of at least `n` is removed, with
    ///   all rows after it. An incomplete last row is removed, too. The file is created if it is missing.
    ///
    /// # Errors
    ///
    /// [`NotEmpty`](CsvError::NotEmpty) if the file of a new run is not empty; a file that lacks one of the columns, has a column
    /// twice, is damaged before its end, or is not a regular file; a folder that is missing or cannot be written. On an error the
    /// file does not change.
    pub fn open(
        path: impl AsRef<Path>,
        per: Per,
        columns: &[&str],
        continued_from: Option<u64>,
    ) -> Result<Self, CsvLogError> {
        let keep = continued_from.map_or(Keep::Nothing, Keep::Before);
        Self::keeping(path.as_ref(), per, columns, keep)
    }

    /// Opens a log and keeps all of its complete rows, whatever their index. This is for a table that several runs share. Creates
    /// the file if it is missing.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn append(path: impl AsRef<Path>, per: Per, columns: &[&str]) -> Result<Self, CsvLogError> {
        Self::keeping(path.as_ref(), per, columns, Keep::All)
    }

    fn keeping(path: &Path, per: Per, columns: &[&str], keep: Keep) -> Result<Self, CsvLogError> {
        let open = || -> Result<Self, CsvError> {
            let columns: Vec<String> = columns.iter().map(|&column| column.into()).collect();
            if twice(&columns) {
                return Err(CsvError::NotAHistory(header(per, &columns)));
            }
            let there = atomic_file::regular(path)?.is_some_and(|found| found.len() > 0);
            if there && keep == Keep::Nothing {
                return Err(CsvError::NotEmpty);
            }
            let file = open_to_append(path)?;
            let mut log = Self { path: path.into(), per, columns, file };
            if there {
                log.adopt(keep)?;
            }
            if log.file.metadata()?.len() == 0 {
                let header = log.header_line()?;
                whole_append::append(&mut log.file, path, &header)?;
            }
            Ok(log)
        };
        open().map_err(|source| CsvLogError { path: path.into(), source })
    }

    /// Takes over the columns of the file, and removes the rows that are not kept.
    fn adopt(&mut self, keep: Keep) -> Result<(), CsvError> {
        let own = self.header_line()?;
        let mut lines = Lines::new(BufReader::new(&self.file));
        lines.read_header()?;
        // The header may be incomplete, and may end within a quoted name.
        if (lines.is_torn() || lines.has_open_quote()) && own.starts_with(&lines.text) {
            return Ok(whole_append::cut(&self.file, &self.path, 0)?);
        }
        let found = lines.names()?;
        let expected = header(self.per, &self.columns);
        let has_all =
            found.first() == expected.first() && expected[1..].iter().all(|column| found[1..].contains(column));
        if lines.is_torn() || !has_all {
            return Err(CsvError::OtherColumns { expected, found });
        }
        if twice(&found[1..]) {
            return Err(CsvError::NotAHistory(found));
        }
        let (mut kept, mut cut) = (lines.end, false);
        while lines.read()? && !lines.is_torn() {
            // Rows that will be removed are checked, too: damage is an error, not a row to remove.
            let row = lines.row(found.len())?;
            cut = cut || row.is_some_and(|(index, _)| matches!(keep, Keep::Before(first) if index >= first));
            if !cut {
                kept = lines.end;
            }
        }
        self.columns = found.into_iter().skip(1).collect();
        if kept < self.file.metadata()?.len() {
            whole_append::cut(&self.file, &self.path, kept)?;
        }
        Ok(())
    }

    /// Adds a row. A metric without a column gets one.
    fn row(&mut self, index: u64, metrics: &[(&str, f64)]) -> Result<(), RecordError> {
        self.add(index, metrics).map_err(|source| RecordError::new(CsvLogError { path: self.path.clone(), source }))
    }

    fn add(&mut self, index: u64, metrics: &[(&str, f64)]) -> Result<(), CsvError> {
        let new = |&&(name, _): &&(&str, f64)| !self.columns.iter().any(|column| column == name);
        let mut added: Vec<String> = Vec::new();
        for (name, _) in metrics.iter().filter(new) {
            if !added.iter().any(|added| added == name) {
                added.push((*name).into());
            }
        }
        if !added.is_empty() {
            self.widen(&added)?;
        }
        let value = |column: &String| metrics.iter().rev().find(|(name, _)| name == column).map(|&(_, value)| value);
        let row = line(fields(index, self.columns.iter().map(value)))?;
        if self.file.metadata()?.len() == 0 {
            let header = self.header_line()?;
            whole_append::append(&mut self.file, &self.path, &header)?;
        }
        Ok(whole_append::append(&mut self.file, &self.path, &row)?)
    }

    fn header_line(&self) -> Result<Vec<u8>, CsvError> {
        line(header(self.per, &self.columns))
    }

    /// Replaces the file by one with further columns, which are empty in the existing rows.
    fn widen(&mut self, added: &[String]) -> Result<(), CsvError> {
        self.file.rewind()?;
        let mut old = csv::Reader::from_reader(BufReader::new(&self.file));
        let mut columns = self.columns.clone();
        columns.extend(added.iter().cloned());
        atomic_file::replace(&self.path, |file| {
            let mut new = csv::Writer::from_writer(file);
            new.write_record(header(self.per, &columns))?;
            for record in old.records() {
                new.write_record(record?.iter().chain(added.iter().map(|_| "")))?;
            }
            new.flush()
        })?;
        self.file = open_to_append(&self.path)?;
        self.columns = columns;
        Ok(())
    }
}

/// A log per update records updates and ignores epochs; a log per epoch does the opposite. After an error the file ends with the
/// previous row, and the failed row may be written again. Errors are [`CsvLogError`].
impl Recorder for CsvLog {
    fn update(&mut self, used: &Applied, metrics: &[(&str, f64)]) -> Result<(), RecordError> {
        if self.per != Per::Update {
            return Ok(());
        }
        let all: Vec<_> = used.metrics().chain(metrics.iter().copied()).collect();
        self.row(used.iteration, &all)
    }

    fn epoch(&mut self, epoch: u64, metrics: &[(&str, f64)]) -> Result<(), RecordError> {
        if self.per == Per::Epoch { self.row(epoch, metrics) } else { Ok(()) }
    }
}

/// Opens a file so that every write goes to its current end, even if another program changes the file.
fn open_to_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).open(path)
}

fn header(per: Per, columns: &[String]) -> Vec<String> {
    [per.name().into()].into_iter().chain(columns.iter().cloned()).collect()
}

/// A line of CSV.
fn line(fields: impl IntoIterator<Item = String>) -> Result<Vec<u8>, CsvError> {
    let mut csv = WriterBuilder::new().from_writer(Vec::new());
    csv.write_record(fields)?;
    csv.into_inner().map_err(|error| error.into_error().into())
}
