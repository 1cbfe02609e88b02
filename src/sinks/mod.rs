//! The files that a run leaves in its folder, each written by an observer of its own.

mod csv;
mod hparams;
mod tensorboard;

use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::slice;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::files::{self, At};
use crate::messages::text_of;
use crate::model;
use crate::run::{Checkpoints, Ending, EpochRow, Event, Folder, Observer, Run, RunResult};

/// All that is written into a run's folder epoch by epoch, in this order. A new kind of file is a new
/// sink beside those there, and a line here.
fn all<'a>(run: &Run, folder: &'a Folder) -> Result<Vec<Box<dyn Observer + 'a>>> {
    let (path, description) = (folder.path(), run.description.clone());
    let mut sinks: Vec<Box<dyn Observer + 'a>> = vec![
        Box::new(|event: &Event| match event {
            Event::Epoch { .. } => folder.check(), // before anything is written
            _ => Ok(()),
        }),
        Box::new(csv::metrics(path, run.value_names())?),
        Box::new(tensorboard::events(run, path)?),
        Box::new(move |event: &Event| match event {
            Event::Start { history: [], .. } => Ok(()),
            Event::Start { layers, .. } | Event::Epoch { layers, .. } => {
                model::save(layers, description.as_ref(), &model::of(path))
            }
            _ => Ok(()),
        }),
    ];
    if run.settings.diagnostics.every.is_some() {
        sinks.push(Box::new(csv::diagnostics(path)?));
    }
    Ok(sinks)
}

impl Run {
    /// Trains until the run ends, from where it stands, and leaves in the folder `config.yaml`,
    /// `metrics.csv`, the curves for TensorBoard, `model.safetensors`, the checkpoints and, at the end,
    /// `result.json`. The observer is told of everything when it is written.
    ///
    /// # Errors
    /// As [`Run::train`], or if the folder cannot be written to; the checkpoints that were there are
    /// whole, and [`Run::resume`] continues from the newest one.
    pub fn train_in(&mut self, folder: &Folder, observer: &mut dyn Observer) -> Result<Ending> {
        let (earlier, start) = (self.state.seconds(), Instant::now());
        RunResult::remove(folder)?;
        let outcome = self.train_and_record(folder, observer);
        let total = earlier + start.elapsed().as_secs_f64();
        let ended = outcome.as_ref().map(|ending| *ending).map_err(text_of);
        let written = RunResult::of(self, ended, total).write(folder);
        // Where both have failed, the first error is the one to be told.
        outcome.and_then(|ending| written.map(|()| ending))
    }

    fn train_and_record(&mut self, folder: &Folder, observer: &mut dyn Observer) -> Result<Ending> {
        folder.write_config(self)?;
        let mut sinks = all(self, folder)?;
        let settings = self.settings.checkpoint.clone();
        let checkpoints = Checkpoints::new(&folder.checkpoints(), settings);
        self.train_with(Some(&checkpoints), &mut |event: &Event| {
            sinks.iter_mut().try_for_each(|sink| sink.notice(event))?;
            observer.notice(event)
        })
    }
}

/// A file that gets some bytes for each epoch, which are in it as soon as the epoch has ended.
struct RowFile {
    path: PathBuf,
    file: File,
    encode: Encode,
}

type Encode = Box<dyn Fn(&EpochRow) -> Result<Vec<u8>> + Send>;

impl RowFile {
    /// Writes over what is there. The rows of a resumed run are the same again, so nothing is lost on a
    /// disk that has become full, or by a process that does not get to their end.
    fn create(
        path: &Path,
        header: &[u8],
        encode: impl Fn(&EpochRow) -> Result<Vec<u8>> + Send + 'static,
    ) -> Result<RowFile> {
        files::unshare(path)?;
        let opened = File::options().write(true).create(true).truncate(false).open(path);
        let mut file = opened.at(path, "cannot be written")?;
        file.write_all(header).at(path, "cannot be written")?;
        Ok(RowFile { path: path.to_path_buf(), file, encode: Box::new(encode) })
    }

    /// Writes these bytes, and cuts off what an earlier process had written behind them.
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes);
        let cut = written.and_then(|()| self.file.stream_position());
        cut.and_then(|end| self.file.set_len(end)).at(&self.path, "cannot be written")
    }

    /// Makes sure that the file is on disk and still has its name.
    fn finish(&self) -> Result<()> {
        self.file.sync_all().at(&self.path, "cannot be written")?;
        match files::is_at(&self.file, &self.path) {
            true => Ok(()),
            false => bail!(
                "{}: has been removed or replaced while the run was writing it; `f3-tch resume` of its \
                 folder writes it again",
                self.path.display()
            ),
        }
    }
}

impl Observer for RowFile {
    fn notice(&mut self, event: &Event) -> Result<()> {
        let rows = match event {
            Event::Start { history, .. } => history,
            Event::Epoch { row, .. } => slice::from_ref(*row),
            Event::End(_) => return self.finish(),
            _ => return Ok(()),
        };
        let rows = rows.iter().map(&self.encode).collect::<Result<Vec<_>>>()?;
        self.append(&rows.concat())
    }
}
