//! Tables of results: `metrics.csv` with a row per epoch, and `diagnostics.csv` with a row per hidden
//! layer of each epoch in which diagnostics were made.

use std::path::Path;

use anyhow::Result;
use csv::Writer;

use super::RowFile;
use crate::diagnostics::LayerAngles;
use crate::run::{EpochRow, ValueName};

/// Starts `metrics.csv` in this folder; these are its columns of losses and metrics, which are empty in
/// epochs that are not evaluated.
pub fn metrics(folder: &Path, values: impl Iterator<Item = ValueName>) -> Result<RowFile> {
    let values: Vec<ValueName> = values.collect();
    let mut header = vec!["epoch".to_string(), "processed_samples".into()];
    header.extend(values.iter().map(ValueName::to_string));
    header.extend(["train_seconds", "eval_seconds", "learning_rate"].map(String::from));
    table(&folder.join("metrics.csv"), header, move |row| {
        let mut record = vec![row.epoch.to_string(), row.processed_samples.to_string()];
        record.extend(values.iter().map(|name| cell(name.of(row))));
        let others = [row.train_seconds, row.eval_seconds, row.learning_rate];
        record.extend(others.map(|value| value.to_string()));
        vec![record]
    })
}

/// The number in a cell, if there is one.
type Value = fn(&EpochRow, &LayerAngles) -> Option<f64>;

/// The columns of `diagnostics.csv` behind those of the epoch and the layer.
const DIAGNOSTICS: [(&str, Value); 8] = [
    ("delta_angle_mean", |_, angles| Some(angles.delta_mean)),
    ("delta_angle_deviation", |_, angles| Some(angles.delta_deviation)),
    ("parameter_angle", |_, angles| Some(angles.parameters)),
    ("weight_angle", |_, angles| angles.weights),
    ("error_drift", |_, angles| Some(angles.drift?.stored)),
    ("error_drift_left", |_, angles| Some(angles.drift?.left)),
    ("error_cosine_previous", |row, _| Some(row.stored_errors?.cosine_with_previous)),
    ("error_sign_flips", |row, _| Some(row.stored_errors?.sign_flips)),
];

/// Starts `diagnostics.csv` in this folder.
pub fn diagnostics(folder: &Path) -> Result<RowFile> {
    let names = ["epoch", "hidden_layer"].into_iter().chain(DIAGNOSTICS.map(|(name, _)| name));
    let header = names.map(String::from).collect();
    table(&folder.join("diagnostics.csv"), header, |row| {
        let record = |(layer, angles): (u64, &LayerAngles)| {
            let values = DIAGNOSTICS.map(|(_, value)| cell(value(row, angles)));
            [vec![row.epoch.to_string(), layer.to_string()], values.to_vec()].concat()
        };
        (1..).zip(&row.angles).map(record).collect()
    })
}

fn cell(number: Option<f64>) -> String {
    number.map_or(String::new(), |number| number.to_string())
}

/// Rows of cells.
type Records = Vec<Vec<String>>;

fn table(
    path: &Path,
    header: Vec<String>,
    records: impl Fn(&EpochRow) -> Records + Send + 'static,
) -> Result<RowFile> {
    let encoded = |records: Records| {
        let mut writer = Writer::from_writer(Vec::new());
        records.iter().try_for_each(|record| writer.write_record(record))?;
        Ok(writer.into_inner()?)
    };
    RowFile::create(path, &encoded(vec![header])?, move |row| encoded(records(row)))
}
