//! What a person sees on standard error while a run is under way (a bar on a terminal, else a line per
//! epoch; its notes and warnings) and while a data set is fetched (a bar for each file; notes).

use anyhow::Result;
use f3_tch::data::Progress as Fetching;
use f3_tch::metrics::{Evaluation, Metric};
use f3_tch::run::{EpochRow, Event, Observer, Run};
use indicatif::{ProgressBar, ProgressStyle};

use super::say;

/// Shows a run's progress.
pub struct Progress {
    bar: ProgressBar, // hidden where none is shown
    lines: bool,      // whether each epoch is a line in its place
    epochs: u64,
}

impl Progress {
    /// Only notes and warnings.
    pub fn quiet() -> Progress {
        Progress { bar: ProgressBar::hidden(), lines: false, epochs: 0 }
    }

    /// One bar over all epochs of a run, or a line for each.
    pub fn of(run: &Run) -> Progress {
        let epochs = run.settings.epochs;
        let samples = epochs * run.data.train.len() as u64;
        // Short, for a line that is wider than the window becomes two when the window is made narrower, of
        // which one would stay.
        let bar = bar(samples, "{bar:20} {percent:>3} %  {eta:>4} left");
        Progress { lines: bar.is_hidden(), bar, epochs }
    }
}

impl Observer for Progress {
    fn notice(&mut self, event: &Event) -> Result<()> {
        let bar = &self.bar;
        match event {
            Event::Note(text) => bar.suspend(|| say(format_args!("note: {text}"))),
            Event::Warning(text) => bar.suspend(|| say(format_args!("warning: {text}"))),
            Event::Start { history, .. } => {
                if let Some(row) = history.last() {
                    bar.set_position(row.processed_samples);
                    bar.reset_eta();
                }
            }
            Event::Samples(done) => bar.set_position(*done),
            Event::Epoch { row, .. } => {
                if self.lines {
                    let text = describe(row, self.epochs);
                    say(format_args!("{text}  {:.2} s", row.train_seconds));
                }
                if !bar.is_hidden() {
                    bar.println(describe(row, self.epochs)); // stays when the bar is gone
                }
                if row.epoch == 0 {
                    bar.reset_eta(); // the first evaluation is no training
                }
            }
            Event::End(_) => bar.finish_and_clear(),
        }
        Ok(())
    }
}

/// Shows the fetching of data sets; without a terminal, the notes alone.
pub fn show_fetching() -> impl FnMut(Fetching) {
    let mut shown: Option<ProgressBar> = None;
    move |progress| match progress {
        Fetching::Note(text) => {
            shown = None; // a bar that is dropped is wiped out
            say(format_args!("note: {text}"));
        }
        Fetching::Transfer { file, bytes, of } => {
            let template = "{msg:25} {bar:40} {bytes:>10} of {total_bytes}";
            let new = || bar(of, template).with_message(file.to_string());
            let bar = shown.take().filter(|bar| bar.message() == file).unwrap_or_else(new);
            bar.set_position(bytes);
            shown = (bytes != of).then_some(bar);
        }
        Fetching::Work { what, done, of } => {
            let new =
                || bar(of, "{msg:25} {bar:40} {pos:>10} of {len}").with_message(what.to_string());
            let bar = shown.take().filter(|bar| bar.message() == what).unwrap_or_else(new);
            bar.set_position(done);
            shown = (done != of).then_some(bar);
        }
    }
}

/// A bar of so many steps.
pub fn bar(length: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("the template is valid");
    ProgressBar::new(length).with_style(style)
}

/// The losses and the first metric of an epoch, if it was evaluated.
pub fn describe(row: &EpochRow, epochs: u64) -> String {
    let (epoch, width) = (row.epoch, epochs.to_string().len());
    let mut text = format!("epoch {epoch:>width$}/{epochs}  ");
    let Some(test) = &row.test else { return text + "not evaluated" };
    let loss = |(part, found): (&str, &Evaluation)| format!("{part} {:.4}", found.loss);
    let others = row.parts().filter(|(part, _)| *part != "train").map(loss);
    let others = others.collect::<Vec<_>>().join(", ");
    text += &match &row.train {
        Some(train) => format!("loss {:.4} ({others})", train.loss),
        None => format!("loss {others}"),
    };
    if let Some((name, value)) = test.metrics.first() {
        text += &match Metric::find(name).map_or("", |metric| metric.unit) {
            "" => format!("  {name} {value:.4}"),
            unit => format!("  {name} {value:.2} {unit}"),
        };
    }
    text
}
