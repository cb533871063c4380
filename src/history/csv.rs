//! Histories as CSV: whole, and row by row while the run goes on.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use csv::{ReaderBuilder, StringRecord, WriterBuilder};
use thiserror::Error;

use super::{History, LEARNING_RATE, LOSS, MOMENTUM, Per, Table};
use crate::csv_number::csv_number;
use crate::{Applied, atomic_file};

/// A CSV file that cannot be written, read or gone on with.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CsvError {
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// There is something in the file already, which a new log would overwrite.
    #[error("{} exists and is not empty: append to it, or name another file", .0.display())]
    NotEmpty(PathBuf),
    /// The file has other columns than those that are to be appended.
    #[error("the file has the columns {found:?}, which are not {expected:?}")]
    OtherColumns {
        /// The columns asked for, that of the index first.
        expected: Vec<String>,
        /// The columns of the file.
        found: Vec<String>,
    },
    /// The first column is neither `update` nor `epoch`, or two have the same name.
    #[error("not a history: the columns are {0:?}; the first must be update or epoch, and no two the same")]
    NotAHistory(Vec<String>),
    /// A field is no number, or there are too many or too few of them.
    #[error("line {line}: {problem}")]
    Row {
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
}

impl From<csv::Error> for CsvError {
    fn from(error: csv::Error) -> Self {
        let line = error.position().map_or(0, csv::Position::line);
        match error.into_kind() {
            csv::ErrorKind::Io(error) => Self::Io(error),
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                Self::Row { line, problem: format!("{len} fields instead of {expected_len}") }
            }
            other => Self::Row { line, problem: format!("{other:?}") },
        }
    }
}

impl Table {
    /// Writes the table as CSV: a header, then a line for each row. A field is empty where a series has no value; NaN and
    /// infinities are written as `NaN`, `inf` and `-inf`; every number reads back to the same bits.
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
    /// Those of the writer.
    pub fn write_csv(&self, writer: impl Write) -> Result<(), CsvError> {
        let mut csv = csv::Writer::from_writer(writer);
        csv.write_record([self.per().name()].into_iter().chain(self.names()))?;
        for (row, &index) in self.index().iter().enumerate() {
            csv.write_record(fields(index, self.row(row)))?;
        }
        Ok(csv.flush()?)
    }

    /// Reads a table that [`write_csv`](Self::write_csv) or a [`CsvLog`] has written. `NA`, as Keras writes it, is read as no
    /// value.
    ///
    /// # Errors
    ///
    /// Those of the reader, and whatever is not of this form, with its line.
    pub fn read_csv(reader: impl Read) -> Result<Self, CsvError> {
        let mut csv = csv::Reader::from_reader(reader);
        let columns: Vec<String> = csv.headers()?.iter().map(Into::into).collect();
        let per = [Per::Update, Per::Epoch].into_iter().find(|per| Some(per.name()) == columns.first().map(|c| &**c));
        let twice = (1..columns.len()).any(|n| columns[1..n].contains(&columns[n]));
        let Some(per) = per.filter(|_| !twice) else { return Err(CsvError::NotAHistory(columns)) };
        let mut table = Self::new(per);
        // Also those that turn out to have no values.
        for name in &columns[1..] {
            table.named(name, 0);
        }
        let mut record = StringRecord::new();
        while csv.read_record(&mut record)? {
            let (index, values) = parse(&record)?;
            let metrics: Vec<(&str, f64)> =
                columns[1..].iter().zip(values).filter_map(|(name, value)| Some((name.as_str(), value?))).collect();
            table.push(index, &metrics);
        }
        Ok(table)
    }
}

impl History {
    /// A history of what was read from CSV.
    #[must_use]
    pub fn from_table(table: Table) -> Self {
        let history = Self::new();
        match table.per() {
            Per::Update => Self { updates: table, ..history },
            Per::Epoch => Self { epochs: table, ..history },
        }
    }
}

fn fields(index: u64, values: impl Iterator<Item = Option<f64>>) -> impl Iterator<Item = String> {
    [index.to_string()].into_iter().chain(values.map(|value| value.map_or(String::new(), csv_number)))
}

/// The index and the values of a record.
fn parse(record: &StringRecord) -> Result<(u64, Vec<Option<f64>>), CsvError> {
    let line = record.position().map_or(0, csv::Position::line);
    let wrong = |text: &str| CsvError::Row { line, problem: format!("{text:?} is not a number") };
    let index = record.get(0).unwrap_or_default();
    let values = record.iter().skip(1).map(|text| match text {
        "" | "NA" => Ok(None),
        text => text.parse().map(Some).map_err(|_| wrong(text)),
    });
    Ok((index.parse().map_err(|_| wrong(index))?, values.collect::<Result<_, _>>()?))
}

/// A CSV file that grows by a row at a time, each of which is handed to the operating system at once: what kills the
/// program takes no row with it.
///
/// Keras' `CSVLogger`, with its faults mended: a file that holds something is never overwritten; appending to a file with
/// other columns is an error; a metric that comes up later gets a column of its own (the file is then written anew beside
/// itself) instead of being dropped; a run that goes on leaves no row twice.
///
/// # Examples
///
/// ```
/// use cyclic_optim::history::{CsvLog, Per, Table};
///
/// let path = std::env::temp_dir().join(format!("cyclic-optim-log-{}.csv", std::process::id()));
/// let mut log = CsvLog::create(&path, Per::Epoch, &["loss", "val_loss"])?;
/// log.row(0, &[("loss", 0.9)])?;
/// log.row(1, &[("val_loss", 0.7), ("loss", 0.5)])?;
/// // Killed and taken up again from epoch 1.
/// let mut log = CsvLog::resume(&path, Per::Epoch, &["loss", "val_loss"], 1)?;
/// log.row(1, &[("loss", 0.4), ("accuracy", 0.8)])?;
/// let text = std::fs::read_to_string(&path)?;
/// assert_eq!(text, "epoch,loss,val_loss,accuracy\n0,0.9,,\n1,0.4,,0.8\n");
/// assert_eq!(Table::read_csv(text.as_bytes())?.values("loss").unwrap(), [0.9, 0.4]);
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), cyclic_optim::history::CsvError>(())
/// ```
#[derive(Debug)]
pub struct CsvLog {
    path: PathBuf,
    per: Per,
    columns: Vec<String>,
    file: File,
    /// Where the last whole row ends.
    length: u64,
}

impl CsvLog {
    /// A new file with the header written.
    ///
    /// # Errors
    ///
    /// A file that is not empty, a folder that is not there or cannot be written.
    pub fn create(path: impl AsRef<Path>, per: Per, columns: &[&str]) -> Result<Self, CsvError> {
        Self::open(path.as_ref(), per, columns, None)
    }

    /// Goes on with a file from `index` on: what it holds of `index` and later, and a row that was torn in the middle, is cut
    /// off. Makes the file if it is not there.
    ///
    /// # Errors
    ///
    /// A file that lacks one of the columns or is damaged before its end, a folder that is not there or cannot be written.
    pub fn resume(path: impl AsRef<Path>, per: Per, columns: &[&str], index: u64) -> Result<Self, CsvError> {
        Self::open(path.as_ref(), per, columns, Some(index))
    }

    /// Goes on with a file behind its last whole row. Makes the file if it is not there.
    ///
    /// # Errors
    ///
    /// As [`resume`](Self::resume).
    pub fn append(path: impl AsRef<Path>, per: Per, columns: &[&str]) -> Result<Self, CsvError> {
        Self::open(path.as_ref(), per, columns, Some(u64::MAX))
    }

    fn open(path: &Path, per: Per, columns: &[&str], from: Option<u64>) -> Result<Self, CsvError> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if from.is_none() && file.metadata()?.len() > 0 {
            return Err(CsvError::NotEmpty(path.into()));
        }
        let columns: Vec<String> = columns.iter().map(|&column| column.into()).collect();
        if (1..columns.len()).any(|n| columns[..n].contains(&columns[n])) {
            return Err(CsvError::NotAHistory(columns));
        }
        let mut log = Self { path: path.into(), per, columns, file, length: 0 };
        log.length = log.whole_rows(from.unwrap_or_default())?;
        log.cut()?;
        if log.length == 0 {
            let header = line(log.header())?;
            log.write(&header)?;
        }
        Ok(log)
    }

    /// Where the rows before `from` end, and takes up the file's columns. 0 if there is not even a whole header.
    fn whole_rows(&mut self, from: u64) -> Result<u64, CsvError> {
        let mut length = self.file.metadata()?.len();
        if length == 0 {
            return Ok(0);
        }
        self.file.seek(SeekFrom::Start(length - 1))?;
        let mut last = [0];
        self.file.read_exact(&mut last)?;
        let torn = last != *b"\n";
        let expected: Vec<String> = self.header().collect();
        let header = line(expected.iter().cloned())?;
        // Before it is read as CSV, for it may be torn in the middle of a name or of a letter.
        if length < header.len() as u64 && header.starts_with(&std::fs::read(&self.path)?) {
            return Ok(0);
        }
        self.file.rewind()?;
        // Fields are counted here, for a torn row may have too few.
        let mut csv = ReaderBuilder::new().flexible(true).from_reader(BufReader::new(&self.file));
        let found: Vec<String> = csv.headers()?.iter().map(Into::into).collect();
        let mut start = csv.position().byte();
        let torn_header = torn && start >= length;
        if torn_header || found.first() != expected.first() || !expected.iter().all(|column| found.contains(column)) {
            return Err(CsvError::OtherColumns { expected, found });
        }
        let mut record = StringRecord::new();
        while csv.read_record(&mut record)? {
            let end = csv.position().byte();
            if end >= length && torn {
                length = start;
                break;
            }
            if record.len() != found.len() {
                let line = record.position().map_or(0, csv::Position::line);
                let problem = format!("{} fields instead of {}", record.len(), found.len());
                return Err(CsvError::Row { line, problem });
            }
            if parse(&record)?.0 >= from {
                length = start;
                break;
            }
            start = end;
        }
        self.columns = found.into_iter().skip(1).collect();
        // Where a line ends in CR LF, the reader takes it to end between them.
        self.file.seek(SeekFrom::Start(length))?;
        let between = self.file.read(&mut last)? == 1 && last == *b"\n";
        Ok(length + u64::from(between))
    }

    /// Adds a row: the metrics of an update or epoch. A metric without a column gets one.
    ///
    /// # Errors
    ///
    /// Those of writing; the file then ends with the row before, and another try may be made.
    pub fn row(&mut self, index: u64, metrics: &[(&str, f64)]) -> Result<(), CsvError> {
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
        self.write(&row)
    }

    /// Adds the row of an update: its `learning_rate`, its `momentum` if it is cycled, its `loss`.
    ///
    /// # Errors
    ///
    /// As [`row`](Self::row).
    pub fn update(&mut self, used: &Applied, loss: f64) -> Result<(), CsvError> {
        let mut metrics = vec![(LEARNING_RATE, used.lr), (LOSS, loss)];
        metrics.extend(used.momentum.map(|momentum| (MOMENTUM, momentum)));
        self.row(used.iteration, &metrics)
    }

    fn header(&self) -> impl Iterator<Item = String> + '_ {
        [self.per.name().into()].into_iter().chain(self.columns.iter().cloned())
    }

    /// Writes the file anew with further columns, empty in the rows that are there.
    fn widen(&mut self, added: &[String]) -> Result<(), CsvError> {
        self.file.rewind()?;
        let mut old = csv::Reader::from_reader(BufReader::new(&self.file));
        let mut columns = self.columns.clone();
        columns.extend(added.iter().cloned());
        let header = [self.per.name().into()].into_iter().chain(columns.iter().cloned());
        atomic_file::replace(&self.path, |file| {
            let mut new = csv::Writer::from_writer(file);
            new.write_record(header)?;
            for record in old.records() {
                new.write_record(record?.iter().chain(added.iter().map(|_| "")))?;
            }
            new.flush()
        })?;
        self.file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        self.length = self.file.seek(SeekFrom::End(0))?;
        self.columns = columns;
        Ok(())
    }

    /// Writes a whole line, or none of it.
    fn write(&mut self, line: &[u8]) -> Result<(), CsvError> {
        // Not left to what was done to the file before, which may have failed half-way.
        self.file.seek(SeekFrom::Start(self.length))?;
        if let Err(error) = self.file.write_all(line) {
            self.cut()?;
            return Err(error.into());
        }
        self.length += line.len() as u64;
        Ok(())
    }

    /// Cuts off what stands behind the last whole row.
    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length)).map(|_| ())
    }
}

/// A line of CSV.
fn line(fields: impl Iterator<Item = String>) -> Result<Vec<u8>, CsvError> {
    let mut csv = WriterBuilder::new().from_writer(Vec::new());
    csv.write_record(fields)?;
    csv.into_inner().map_err(|error| error.into_error().into())
}
