//! What a person sees while a run is under way: a bar on a terminal, else a line per epoch.

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use super::{EpochRow, Sink};
use crate::layers::Layers;
use crate::messages::say;

/// One bar over all epochs, on standard error.
pub struct ProgressBarSink {
    bar: ProgressBar,
    epochs: u64,
}

impl ProgressBarSink {
    /// A bar for so many epochs over so many training samples.
    pub fn new(epochs: u64, samples: u64) -> ProgressBarSink {
        let bar = ProgressBar::new(epochs * samples);
        bar.set_style(
            ProgressStyle::with_template("{wide_bar} {percent:>3} %  {msg}  {eta} left")
                .expect("the template is valid"),
        );
        ProgressBarSink { bar, epochs }
    }
}

impl Sink for ProgressBarSink {
    fn epoch(&mut self, row: &EpochRow, _layers: &Layers) -> Result<()> {
        self.bar.set_message(describe(row, self.epochs));
        if row.epoch == 0 {
            self.bar.reset_eta(); // the first evaluation is no training
        }
        if row.epoch == self.epochs {
            self.bar.finish_and_clear();
        }
        Ok(())
    }

    fn replay(&mut self, rows: &[EpochRow], _layers: &Layers) -> Result<()> {
        if let Some(row) = rows.last() {
            self.bar.set_message(describe(row, self.epochs));
            self.bar.set_position(row.processed_samples);
            self.bar.reset_eta();
        }
        Ok(())
    }

    fn samples(&mut self, processed: u64) {
        self.bar.set_position(processed);
    }
}

/// A line per epoch, on standard error.
pub struct PlainProgress {
    epochs: u64,
}

impl PlainProgress {
    /// Lines for so many epochs.
    pub fn new(epochs: u64) -> PlainProgress {
        PlainProgress { epochs }
    }
}

impl Sink for PlainProgress {
    fn epoch(&mut self, row: &EpochRow, _layers: &Layers) -> Result<()> {
        say(format_args!("{}  {:.2} s", describe(row, self.epochs), row.train_seconds));
        Ok(())
    }

    /// Has been said already.
    fn replay(&mut self, _rows: &[EpochRow], _layers: &Layers) -> Result<()> {
        Ok(())
    }
}

fn describe(row: &EpochRow, epochs: u64) -> String {
    let mut text = format!(
        "epoch {:>width$}/{epochs}  loss {:.4} (test {:.4})",
        row.epoch,
        row.train.loss,
        row.test.loss,
        width = epochs.to_string().len()
    );
    if let Some(accuracy) = row.test.metric("accuracy") {
        text += &format!("  accuracy {accuracy:.2} %");
    }
    text
}
