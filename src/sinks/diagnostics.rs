//! `diagnostics.csv`: a row per hidden layer of each epoch in which diagnostics were made.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{EpochRow, Sink};
use crate::network::Network;

/// Writes `diagnostics.csv`.
pub struct DiagnosticsSink {
    path: PathBuf,
    writer: csv::Writer<File>,
}

impl DiagnosticsSink {
    /// Starts the file, which must not exist, with its header.
    pub fn create(path: &Path) -> Result<DiagnosticsSink> {
        let file = File::create_new(path).with_context(|| could_not(path))?;
        let writer = csv::Writer::from_writer(file);
        let mut sink = DiagnosticsSink { path: path.to_path_buf(), writer };
        sink.write(
            [
                "epoch",
                "hidden_layer",
                "delta_angle_mean",
                "delta_angle_deviation",
                "parameter_angle",
                "weight_angle",
                "error_cosine_previous",
                "error_sign_flips",
            ]
            .map(str::to_string),
        )?;
        sink.flush()?;
        Ok(sink)
    }

    fn write(&mut self, record: [String; 8]) -> Result<()> {
        self.writer.write_record(&record).with_context(|| could_not(&self.path))
    }

    fn flush(&mut self) -> Result<()> {
        self.writer.flush().with_context(|| could_not(&self.path))
    }
}

impl Sink for DiagnosticsSink {
    fn epoch(&mut self, row: &EpochRow, _network: &Network) -> Result<()> {
        let or_empty = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        let errors = row.stored_errors.as_ref();
        for (index, angles) in row.angles.iter().enumerate() {
            self.write([
                row.epoch.to_string(),
                (index + 1).to_string(),
                angles.delta_mean.to_string(),
                angles.delta_deviation.to_string(),
                angles.parameters.to_string(),
                or_empty(angles.weights),
                or_empty(errors.map(|errors| errors.cosine_with_previous)),
                or_empty(errors.map(|errors| errors.sign_flips)),
            ])?;
        }
        self.flush()
    }
}

fn could_not(path: &Path) -> String {
    format!("{}: cannot be written", path.display())
}
