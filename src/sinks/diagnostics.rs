//! `diagnostics.csv`: a row per hidden layer of each epoch in which diagnostics were made.

use std::path::Path;

use anyhow::Result;

use super::csv::Table;
use crate::run::{EpochRow, Event, Observer};

const HEADER: [&str; 8] = [
    "epoch",
    "hidden_layer",
    "delta_angle_mean",
    "delta_angle_deviation",
    "parameter_angle",
    "weight_angle",
    "error_cosine_previous",
    "error_sign_flips",
];

/// Writes `diagnostics.csv`.
pub struct DiagnosticsSink(Table);

impl DiagnosticsSink {
    /// Starts the file with its header, over what is there.
    pub fn create(path: &Path) -> Result<DiagnosticsSink> {
        Ok(DiagnosticsSink(Table::create(path, &HEADER)?))
    }
}

impl Observer for DiagnosticsSink {
    fn notice(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Start { history, .. } => {
                history.iter().try_for_each(|row| self.write(row))?;
                self.0.cut()
            }
            Event::Epoch { row, .. } => self.write(row),
            _ => Ok(()),
        }
    }
}

impl DiagnosticsSink {
    fn write(&mut self, row: &EpochRow) -> Result<()> {
        let or_empty = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        let errors = row.stored_errors.as_ref();
        for (index, angles) in row.angles.iter().enumerate() {
            let record: [String; HEADER.len()] = [
                row.epoch.to_string(),
                (index + 1).to_string(),
                angles.delta_mean.to_string(),
                angles.delta_deviation.to_string(),
                angles.parameters.to_string(),
                or_empty(angles.weights),
                or_empty(errors.map(|errors| errors.cosine_with_previous)),
                or_empty(errors.map(|errors| errors.sign_flips)),
            ];
            self.0.write(&record)?;
        }
        Ok(())
    }
}
