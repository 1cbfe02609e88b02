//! Two tables of the UCI repository, prepared as in the paper: Wine Quality and SGEMM.

use anyhow::Result;
use tch::{Device, Kind};

use super::fetch::Fetched;
use super::preparation::{Coding, Column, Targets};
use super::prepare::{Table, dataset, one_hot};
use super::split::train_test;
use super::table::{Matrix, Rows, TableFormat};
use super::{Dataset, DatasetName, Task};

const TEST_FRACTION: f64 = 0.2;
const SPLIT_SEED: u32 = 1;

/// The wines: red ones, then white ones; 11 measurements and the colour (red 0, white 1). The
/// target is the quality: a number, or one of the classes 0 to 10.
pub(super) fn wine_quality(
    files: &Fetched,
    task: Task,
    standardize: bool,
    device: Device,
) -> Result<Dataset> {
    let format = TableFormat { delimiter: b';', ..TableFormat::default() };
    let mut names = Vec::new();
    let (mut inputs, mut qualities) = (Matrix::new(12, Kind::Double), Matrix::new(1, Kind::Double));
    for (colour, name) in [(0.0, "winequality-red.csv"), (1.0, "winequality-white.csv")] {
        let mut rows = Rows::of(files.content(name), format)?;
        let quality = rows.column("quality")?;
        names = rows.names().iter().filter(|name| *name != "quality").cloned().collect();
        while rows.advance()? {
            for column in (0..rows.names().len()).filter(|column| *column != quality) {
                inputs.push(rows.number(column)?);
            }
            inputs.push(colour);
            qualities.push(rows.number(quality)?);
        }
    }
    let targets = match task {
        Task::Classification => one_hot(&qualities.finish().flatten(0, -1), 11, Device::Cpu),
        Task::Regression => qualities.finish(),
    };
    let table = Table { inputs: inputs.finish(), targets };
    let (train, test) = train_test(table.inputs.size()[0], TEST_FRACTION, SPLIT_SEED)?;
    let pair = (table.select(&train), table.select(&test));
    let colour = Column {
        coding: Coding::Ordinal(vec!["red".into(), "white".into()]),
        ..Column::number("color")
    };
    let columns = names.into_iter().map(Column::number).chain([colour]).collect();
    let targets = match task {
        Task::Classification => Targets::Classes((0..11).map(|it: i32| it.to_string()).collect()),
        Task::Regression => Targets::Numbers { names: vec!["quality".into()], scaling: Vec::new() },
    };
    let name = DatasetName::WineQuality.to_string();
    Ok(dataset(name, columns, targets, pair, standardize, device))
}

/// The settings of the kernel, with a sample for each of the four run times that were measured: in
/// the training set and in the test set all first ones, then all second ones, …
pub(super) fn sgemm(files: &Fetched, standardize: bool, device: Device) -> Result<Dataset> {
    let format = TableFormat::default();
    let mut rows = Rows::of(files.content("sgemm_product.csv"), format)?;
    let columns = rows.names().iter().take(14).map(Column::number).collect();
    let (mut inputs, mut times) = (Matrix::new(14, Kind::Double), Matrix::new(4, Kind::Double));
    while rows.advance()? {
        for column in 0..14 {
            inputs.push(rows.number(column)?);
        }
        for column in 14..18 {
            times.push(rows.number(column)?);
        }
    }
    let table = Table { inputs: inputs.finish(), targets: times.finish() };
    let (train, test) = train_test(table.inputs.size()[0], TEST_FRACTION, SPLIT_SEED)?;
    let stacked = |rows: &[i64]| {
        let cut = table.select(rows);
        Table {
            inputs: cut.inputs.repeat([4, 1]),
            targets: cut.targets.tr().contiguous().reshape([-1, 1]),
        }
    };
    let pair = (stacked(&train), stacked(&test));
    let name = DatasetName::Sgemm.to_string();
    let targets = Targets::Numbers { names: vec!["Run (ms)".into()], scaling: Vec::new() };
    Ok(dataset(name, columns, targets, pair, standardize, device))
}
