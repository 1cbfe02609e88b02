//! Tables of results: `metrics.csv` with a row per epoch, and `diagnostics.csv` with a row per hidden
//! layer of each epoch in which diagnostics were made.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{cut, over};
use crate::diagnostics::LayerAngles;
use crate::files::At;
use crate::run::{EpochRow, Event, Observer, ValueName};

/// Rows of cells.
type Records = Vec<Vec<String>>;

/// Writes a table in the course of a run: the rows of an epoch are in the file as soon as it has ended.
pub struct CsvSink {
    path: PathBuf,
    writer: csv::Writer<File>,
    records: Box<dyn Fn(&EpochRow) -> Records + Send>,
}

impl CsvSink {
    /// Starts `metrics.csv` in this folder; these are its columns of losses and metrics.
    pub fn metrics(folder: &Path, values: impl Iterator<Item = ValueName>) -> Result<CsvSink> {
        let values: Vec<ValueName> = values.collect();
        let mut header = vec!["epoch".to_string(), "processed_samples".into()];
        header.extend(values.iter().map(ValueName::to_string));
        header.extend(["train_seconds", "eval_seconds", "learning_rate"].map(String::from));
        CsvSink::create(&folder.join("metrics.csv"), header, move |row| {
            let mut record = vec![row.epoch.to_string(), row.processed_samples.to_string()];
            let values = values.iter().map(|name| name.of(row).expect("the run has this value"));
            let others = [row.train_seconds, row.eval_seconds, row.learning_rate];
            record.extend(values.chain(others).map(|value| value.to_string()));
            vec![record]
        })
    }

    /// Starts `diagnostics.csv` in this folder.
    pub fn diagnostics(folder: &Path) -> Result<CsvSink> {
        let header = [
            "epoch",
            "hidden_layer",
            "delta_angle_mean",
            "delta_angle_deviation",
            "parameter_angle",
            "weight_angle",
            "error_cosine_previous",
            "error_sign_flips",
        ];
        let header = header.map(String::from).to_vec();
        CsvSink::create(&folder.join("diagnostics.csv"), header, |row| {
            let errors = row.stored_errors.as_ref();
            let record = |(layer, angles): (u64, &LayerAngles)| {
                let values = [
                    Some(angles.delta_mean),
                    Some(angles.delta_deviation),
                    Some(angles.parameters),
                    angles.weights,
                    errors.map(|errors| errors.cosine_with_previous),
                    errors.map(|errors| errors.sign_flips),
                ];
                let values = values.map(|value| value.map_or(String::new(), |it| it.to_string()));
                [vec![row.epoch.to_string(), layer.to_string()], values.to_vec()].concat()
            };
            (1..).zip(&row.angles).map(record).collect()
        })
    }

    fn create(
        path: &Path,
        header: Vec<String>,
        records: impl Fn(&EpochRow) -> Records + Send + 'static,
    ) -> Result<CsvSink> {
        let writer = csv::Writer::from_writer(over(path)?);
        let mut sink = CsvSink { path: path.to_path_buf(), writer, records: Box::new(records) };
        sink.write(vec![header])?;
        Ok(sink)
    }

    /// Appends rows; they are in the file when this returns.
    fn write(&mut self, records: Records) -> Result<()> {
        let written = records.iter().try_for_each(|record| self.writer.write_record(record));
        written.at(&self.path, "cannot be written")?;
        self.writer.flush().at(&self.path, "cannot be written")
    }
}

impl Observer for CsvSink {
    fn notice(&mut self, event: &Event) -> Result<()> {
        let Some(rows) = event.rows() else { return Ok(()) };
        self.write(rows.iter().flat_map(&self.records).collect())?;
        cut(self.writer.get_ref(), &self.path)
    }
}
