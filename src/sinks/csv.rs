//! Tables of results, and the first of them: `metrics.csv`, one row per epoch, written as soon as the
//! epoch has ended.

use std::fs::File;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::run::{EpochRow, Event, Observer, ValueName};

/// A file of rows that is written in the course of a run.
pub(super) struct Table {
    path: PathBuf,
    writer: csv::Writer<File>,
}

impl Table {
    /// Starts the file with its header, over what is there.
    pub fn create<T: AsRef<[u8]>>(path: &Path, header: &[T]) -> Result<Table> {
        let file = over(path).with_context(|| could_not(path))?;
        let mut table = Table { path: path.to_path_buf(), writer: csv::Writer::from_writer(file) };
        table.write(header)?;
        Ok(table)
    }

    /// Appends a row; it is in the file when this returns.
    pub fn write<T: AsRef<[u8]>>(&mut self, record: &[T]) -> Result<()> {
        let written = self.writer.write_record(record);
        written.with_context(|| could_not(&self.path))?;
        self.writer.flush().with_context(|| could_not(&self.path))
    }

    /// Cuts off what an earlier process had written behind the rows so far.
    pub fn cut(&mut self) -> Result<()> {
        cut(self.writer.get_ref()).with_context(|| could_not(&self.path))
    }
}

/// Opens a file to write over what is there. The rows of a resumed run are the same again, so nothing
/// is lost on a disk that has become full, or by a process that does not get to their end.
pub(super) fn over(path: &Path) -> io::Result<File> {
    File::options().write(true).create(true).truncate(false).open(path)
}

/// Ends a file where it has been written to last.
pub(super) fn cut(mut file: &File) -> io::Result<()> {
    let end = file.stream_position()?;
    file.set_len(end)
}

/// Writes `metrics.csv`.
pub struct CsvSink {
    table: Table,
    values: Vec<ValueName>,
}

impl CsvSink {
    /// Starts the file with its header, over what is there; these are its columns of losses and metrics.
    pub fn create(path: &Path, values: impl Iterator<Item = ValueName>) -> Result<CsvSink> {
        let values: Vec<ValueName> = values.collect();
        let mut header = vec!["epoch".to_string(), "processed_samples".into()];
        header.extend(values.iter().map(ValueName::to_string));
        header.extend(["train_seconds", "eval_seconds", "learning_rate"].map(String::from));
        Ok(CsvSink { table: Table::create(path, &header)?, values })
    }
}

impl Observer for CsvSink {
    fn notice(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Start { history, .. } => {
                history.iter().try_for_each(|row| self.write(row))?;
                self.table.cut()
            }
            Event::Epoch { row, .. } => self.write(row),
            _ => Ok(()),
        }
    }
}

impl CsvSink {
    fn write(&mut self, row: &EpochRow) -> Result<()> {
        let mut record = vec![row.epoch.to_string(), row.processed_samples.to_string()];
        let values = self.values.iter().map(|name| name.of(row).expect("the run has this value"));
        let others = [row.train_seconds, row.eval_seconds, row.learning_rate];
        record.extend(values.chain(others).map(|value| value.to_string()));
        self.table.write(&record)
    }
}

pub(super) fn could_not(path: &Path) -> String {
    format!("{}: cannot be written", path.display())
}
