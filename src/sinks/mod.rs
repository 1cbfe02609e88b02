//! The files that a run leaves in its folder, each written by an observer of its own.

mod csv;
mod diagnostics;
mod model;
mod tensorboard;

pub use self::csv::CsvSink;
pub use diagnostics::DiagnosticsSink;
pub use model::ModelSink;
pub use tensorboard::TensorBoardSink;

use std::time::Instant;

use anyhow::Result;

use crate::messages::text_of;
use crate::run::{
    Checkpoints, Ending, EpochRow, Event, Folder, Observer, Run, remove_result, write_result,
};

/// All that is written into a run's folder epoch by epoch, in this order. A new kind of file is a new
/// sink beside those there, and a line here.
fn all<'a>(run: &Run, folder: &'a Folder) -> Result<Vec<Box<dyn Observer + 'a>>> {
    let path = folder.path();
    let mut sinks: Vec<Box<dyn Observer + 'a>> = vec![
        Box::new(|event: &Event| match event {
            Event::Epoch { .. } => folder.check(), // before anything is written
            _ => Ok(()),
        }),
        Box::new(CsvSink::create(&path.join("metrics.csv"), run.value_names())?),
        Box::new(TensorBoardSink::create(path)?),
        Box::new(ModelSink::new(&crate::model::of(path), run.description.clone())),
    ];
    if run.settings.diagnostics.is_some() {
        sinks.push(Box::new(DiagnosticsSink::create(&path.join("diagnostics.csv"))?));
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
        let earlier: f64 = self.state.history.iter().map(EpochRow::seconds).sum();
        let start = Instant::now();
        remove_result(folder)?;
        let outcome = self.train_and_record(folder, observer);
        let total = earlier + start.elapsed().as_secs_f64();
        match outcome {
            Ok(ending) => {
                write_result(folder, self, Ok(ending), total)?;
                Ok(ending)
            }
            Err(error) => {
                // Where this fails too, the first error is the one to be told.
                let _ = write_result(folder, self, Err(text_of(&error)), total);
                Err(error)
            }
        }
    }

    fn train_and_record(&mut self, folder: &Folder, observer: &mut dyn Observer) -> Result<Ending> {
        folder.write_config(self)?;
        let mut sinks = all(self, folder)?;
        let settings = self.settings.checkpoint.clone();
        let checkpoints = Checkpoints::new(&folder.checkpoints(), settings);
        self.train_with(Some(&checkpoints), &mut |event: &Event| {
            sinks.notice(event)?;
            observer.notice(event)
        })
    }
}
