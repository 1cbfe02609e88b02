//! Curves for TensorBoard.
//!
//! The event file is written with the record writer of `tensorboard-rs`, but opened here: the
//! crate's own file writer works on a thread of its own that panics on any I/O error.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use protobuf::Message;
use tensorboard_proto::event::Event as Record;
use tensorboard_proto::summary::Summary;
use tensorboard_rs::record_writer::RecordWriter;
use tensorboard_rs::summary::scalar;

use super::csv::{could_not, cut, over};
use crate::run::{EpochRow, Event, Observer, unix_time};

/// Writes a TensorBoard event file, flushed at the end of each epoch.
pub struct TensorBoardSink {
    path: PathBuf,
    file: File,
    writer: RecordWriter<BufWriter<File>>,
}

impl TensorBoardSink {
    /// Starts the event file of a folder, over what f3-tch has written there before: a TensorBoard that
    /// is reading it finds records of the same length.
    pub fn create(folder: &Path) -> Result<TensorBoardSink> {
        let path = match earlier(folder) {
            Some(path) => path,
            None => folder.join(format!("events.out.tfevents.{:.0}.f3-tch", unix_time())),
        };
        let opened = over(&path).and_then(|file| Ok((file.try_clone()?, file)));
        let (file, same) = opened.with_context(|| could_not(&path))?;
        let writer = RecordWriter::new(BufWriter::new(same));
        let mut sink = TensorBoardSink { path, file, writer };
        let mut version = Record::new();
        version.set_wall_time(unix_time());
        version.set_file_version("brain.Event:2".to_string());
        sink.write(&version)?;
        sink.flush()?;
        Ok(sink)
    }

    fn write(&mut self, record: &Record) -> Result<()> {
        let bytes = record.write_to_bytes().context("an event could not be encoded")?;
        self.writer.write(&bytes).with_context(|| could_not(&self.path))
    }

    fn flush(&mut self) -> Result<()> {
        self.writer.flush().with_context(|| could_not(&self.path))
    }
}

impl Observer for TensorBoardSink {
    fn notice(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Start { history, .. } => {
                history.iter().try_for_each(|row| self.add(row))?;
                self.flush()?;
                cut(&self.file).with_context(|| could_not(&self.path))
            }
            Event::Epoch { row, .. } => {
                self.add(row)?;
                self.flush()
            }
            _ => Ok(()),
        }
    }
}

impl TensorBoardSink {
    fn add(&mut self, row: &EpochRow) -> Result<()> {
        let mut summary = Summary::new();
        for (tag, value) in scalars(row) {
            for value in scalar(&tag, value as f32).take_value() {
                summary.mut_value().push(value);
            }
        }
        let mut record = Record::new();
        record.set_wall_time(row.wall_time);
        record.set_step(row.epoch as i64);
        record.set_summary(summary);
        self.write(&record)
    }
}

/// The curves' names and their values for one epoch.
fn scalars(row: &EpochRow) -> Vec<(String, f64)> {
    let mut scalars = Vec::new();
    let mut add = |tag: String, value: f64| scalars.push((tag, value));
    for (part, evaluation) in row.parts() {
        add(format!("loss/{part}"), evaluation.loss);
        for (metric, value) in &evaluation.metrics {
            add(format!("{metric}/{part}"), *value);
        }
    }
    add("time/train_seconds".into(), row.train_seconds);
    add("time/eval_seconds".into(), row.eval_seconds);
    for (index, norms) in row.norms.iter().enumerate() {
        let layer = if index + 1 == row.norms.len() {
            "output".to_string()
        } else {
            format!("hidden_{}", index + 1)
        };
        add(format!("norm/weight/{layer}"), norms.weight);
        if let Some(gradient) = norms.gradient {
            add(format!("norm/gradient/{layer}"), gradient);
        }
    }
    if let Some(errors) = &row.stored_errors {
        add("stored_error/mean_absolute".into(), errors.mean_absolute);
        add("stored_error/cosine_previous".into(), errors.cosine_with_previous);
        add("stored_error/sign_flips".into(), errors.sign_flips);
    }
    add("learning_rate".into(), row.learning_rate);
    for (index, angles) in row.angles.iter().enumerate() {
        let layer = format!("hidden_{}", index + 1);
        add(format!("angle/delta_mean/{layer}"), angles.delta_mean);
        add(format!("angle/delta_deviation/{layer}"), angles.delta_deviation);
        add(format!("angle/parameters/{layer}"), angles.parameters);
        if let Some(weights) = angles.weights {
            add(format!("angle/weights/{layer}"), weights);
        }
    }
    scalars
}

fn earlier(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    entries.filter_map(|entry| Some(entry.ok()?.path())).find(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("events.out.tfevents.") && name.ends_with(".f3-tch")
    })
}
