//! What TensorBoard shows of a run: its curves, its configuration, and when it began and ended.
//!
//! The event file is written with the record writer of `tensorboard-rs`, but opened here: the
//! crate's own file writer works on a thread of its own that panics on any I/O error.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use protobuf::Message;
use tensorboard_proto::event::Event as Record;
use tensorboard_proto::summary::Summary;
use tensorboard_rs::record_writer::RecordWriter;
use tensorboard_rs::summary::scalar;

use super::{RowFile, hparams};
use crate::files::{self, At};
use crate::run::{Ending, EpochRow, Event, Observer, Run, unix_time};

/// The event file of a run.
pub struct Events {
    rows: RowFile,
    /// Files of an earlier start that this one replaces.
    replaced: Vec<PathBuf>,
    /// The epochs behind which the file says that the run has ended.
    ends: BTreeMap<u64, Vec<u8>>,
    /// The last epoch that is done.
    epoch: u64,
}

/// Starts the event file of a folder, over what f3-tch has written there before: a TensorBoard that is
/// reading it finds records of the same length. Where settings have changed so much that they are of
/// another length, the file is a new one.
pub fn events(run: &Run, folder: &Path) -> Result<Events> {
    let started = run.state.history.first().map_or_else(unix_time, |row| row.wall_time);
    let mut version = Record::new();
    version.set_wall_time(started);
    version.set_file_version("brain.Event:2".to_string());
    let mut about = Record::new();
    about.set_wall_time(started);
    about.set_summary(hparams::begin(run, started)?);
    let header = [encoded(&version)?, encoded(&about)?];

    let mut replaced = earlier(folder);
    let written = replaced.last().map(|path| files::read(path));
    let written = written.transpose()?.unwrap_or_default();
    let found: Vec<&[u8]> = records(&written).collect();
    let lengths = |records: &[&[u8]]| records.iter().map(|it| it.len()).collect::<Vec<_>>();
    let fits = lengths(&found).starts_with(&header.each_ref().map(Vec::len));
    let (path, ends) = match replaced.pop_if(|_| fits) {
        Some(path) => (path, ends(&found[header.len()..])),
        None => {
            let name = format!("events.out.tfevents.{:.0}.f3-tch", unix_time());
            (folder.join(name), BTreeMap::new())
        }
    };
    replaced.retain(|other| *other != path);
    let rows = RowFile::create(&path, &header.concat(), {
        let ends = ends.clone();
        move |row| {
            let mut bytes = encoded(&record(row))?;
            bytes.extend(ends.get(&row.epoch).into_iter().flatten());
            Ok(bytes)
        }
    })?;
    Ok(Events { rows, replaced, ends, epoch: 0 })
}

impl Observer for Events {
    fn notice(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::End(_) => {} // there is something to write before
            event => self.rows.notice(event)?,
        }
        match event {
            Event::Start { history, .. } => {
                self.epoch = history.last().map_or(0, |row| row.epoch);
                for path in self.replaced.drain(..) {
                    fs::remove_file(&path).at(&path, "cannot be removed")?;
                }
            }
            Event::Epoch { row, .. } => self.epoch = row.epoch,
            // Whoever was interrupted goes on later, and TensorBoard believes the first end that it reads.
            Event::End(ending) => {
                let is_end = *ending != Ending::Interrupted;
                if is_end && !self.ends.contains_key(&self.epoch) {
                    let time = unix_time();
                    let mut end = Record::new();
                    end.set_wall_time(time);
                    end.set_step(self.epoch as i64);
                    end.set_summary(hparams::end(time)?);
                    self.rows.append(&encoded(&end)?)?;
                }
                self.rows.finish()?;
            }
            _ => {}
        }
        Ok(())
    }
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
    add("time/eval_seconds".into(), row.is_evaluated().then_some(row.eval_seconds));
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
        add(format!("error_drift/stored/{}", layer(index)), angles.drift.map(|it| it.stored));
        add(format!("error_drift/left/{}", layer(index)), angles.drift.map(|it| it.left));
    }
    let mut record = Record::new();
    record.set_wall_time(row.wall_time);
    record.set_step(row.epoch as i64);
    record.set_summary(summary);
    record
}

/// The event files that are there, the newest last.
fn earlier(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("events.out.tfevents.") && name.ends_with(".f3-tch")
        })
        .collect();
    paths.sort();
    paths
}

/// The records of a file, up to one that is not whole.
fn records(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = u64::from_le_bytes(*bytes.first_chunk()?);
        // Around the data are its length, and a checksum of each.
        let whole = usize::try_from(length).ok()?.checked_add(8 + 4 + 4)?;
        let (record, rest) = bytes.split_at_checked(whole)?;
        bytes = rest;
        Some(record)
    })
}

/// Of the records behind the header those that say that the run has ended, by the epoch before them. They
/// keep their places when the run is resumed.
fn ends(records: &[&[u8]]) -> BTreeMap<u64, Vec<u8>> {
    let (mut ends, mut rows) = (BTreeMap::new(), 0u64);
    for record in records {
        let tag = hparams::END_TAG.as_bytes();
        match record.windows(tag.len()).any(|bytes| bytes == tag) {
            false => rows += 1,
            true => ends.entry(rows.saturating_sub(1)).or_insert_with(Vec::new).extend(*record),
        }
    }
    ends
}
