//! Curves for TensorBoard.
//!
//! The event file is written with the record writer of `tensorboard-rs`, but opened here: the
//! crate's own file writer works on a thread of its own that panics on any I/O error.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use protobuf::Message;
use tensorboard_proto::event::Event as Record;
use tensorboard_proto::summary::Summary;
use tensorboard_rs::record_writer::RecordWriter;
use tensorboard_rs::summary::scalar;

use super::RowFile;
use crate::run::{EpochRow, unix_time};

/// Starts the event file of a folder, over what f3-tch has written there before: a TensorBoard that is
/// reading it finds records of the same length.
pub fn events(folder: &Path) -> Result<RowFile> {
    let new = || folder.join(format!("events.out.tfevents.{:.0}.f3-tch", unix_time()));
    let path = earlier(folder).unwrap_or_else(new);
    let mut version = Record::new();
    version.set_wall_time(unix_time());
    version.set_file_version("brain.Event:2".to_string());
    RowFile::create(&path, &encoded(&version)?, |row| encoded(&record(row)))
}

/// A record as it stands in the file.
fn encoded(record: &Record) -> Result<Vec<u8>> {
    let record = record.write_to_bytes().context("an event could not be encoded")?;
    let mut bytes = Vec::new();
    RecordWriter::new(&mut bytes).write(&record)?;
    Ok(bytes)
}

/// The curves' names and their values for one epoch.
fn record(row: &EpochRow) -> Record {
    let mut summary = Summary::new();
    let mut add = |tag: String, value: Option<f64>| {
        let values = value.map(|value| scalar(&tag, value as f32).take_value());
        summary.mut_value().extend(values.into_iter().flatten());
    };
    for (part, evaluation) in row.parts() {
        add(format!("loss/{part}"), Some(evaluation.loss));
        for (metric, value) in &evaluation.metrics {
            add(format!("{metric}/{part}"), Some(*value));
        }
    }
    add("time/train_seconds".into(), Some(row.train_seconds));
    add("time/eval_seconds".into(), Some(row.eval_seconds));
    let layer = |index: usize| match index + 1 == row.norms.len() {
        true => "output".to_string(),
        false => format!("hidden_{}", index + 1),
    };
    for (index, norms) in row.norms.iter().enumerate() {
        add(format!("norm/weight/{}", layer(index)), Some(norms.weight));
        add(format!("norm/gradient/{}", layer(index)), norms.gradient);
    }
    let errors = row.stored_errors.as_ref();
    add("stored_error/mean_absolute".into(), errors.map(|it| it.mean_absolute));
    add("stored_error/cosine_previous".into(), errors.map(|it| it.cosine_with_previous));
    add("stored_error/sign_flips".into(), errors.map(|it| it.sign_flips));
    add("learning_rate".into(), Some(row.learning_rate));
    for (index, angles) in row.angles.iter().enumerate() {
        add(format!("angle/delta_mean/{}", layer(index)), Some(angles.delta_mean));
        add(format!("angle/delta_deviation/{}", layer(index)), Some(angles.delta_deviation));
        add(format!("angle/parameters/{}", layer(index)), Some(angles.parameters));
        add(format!("angle/weights/{}", layer(index)), angles.weights);
    }
    let mut record = Record::new();
    record.set_wall_time(row.wall_time);
    record.set_step(row.epoch as i64);
    record.set_summary(summary);
    record
}

fn earlier(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    entries.filter_map(|entry| Some(entry.ok()?.path())).find(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("events.out.tfevents.") && name.ends_with(".f3-tch")
    })
}
