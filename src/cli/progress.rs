//! What a person sees on standard error while a run is under way (a bar on a terminal, else a line per
//! epoch; its notes and warnings) and while a data set is fetched (a bar for each file; notes).

use std::io::{IsTerminal, stderr};

use anyhow::Result;
use f3_tch::data::Progress as Fetching;
use f3_tch::metrics::Metric;
use f3_tch::run::{EpochRow, Event, Observer, Run};
use indicatif::{ProgressBar, ProgressStyle};

use super::say;

/// Shows a run's progress.
pub struct Progress {
    shown: Shown,
    epochs: u64,
}

enum Shown {
    Bar(ProgressBar),
    Lines,
    Nothing,
}

impl Progress {
    /// Only notes and warnings.
    pub fn quiet() -> Progress {
        Progress { shown: Shown::Nothing, epochs: 0 }
    }

    /// One bar over all epochs of a run, or a line for each.
    pub fn of(run: &Run) -> Progress {
        let epochs = run.settings.epochs;
        if !stderr().is_terminal() {
            return Progress { shown: Shown::Lines, epochs };
        }
        let samples = epochs * run.data.train.len() as u64;
        let shown = Shown::Bar(bar(samples, "{wide_bar} {percent:>3} %  {msg}  {eta} left"));
        Progress { shown, epochs }
    }

    fn say(&self, line: String) {
        match &self.shown {
            Shown::Bar(bar) => bar.suspend(|| say(line)),
            _ => say(line),
        }
    }
}

impl Observer for Progress {
    fn notice(&mut self, event: &Event) -> Result<()> {
        match (event, &self.shown) {
            (Event::Note(text), _) => self.say(format!("note: {text}")),
            (Event::Warning(text), _) => self.say(format!("warning: {text}")),
            (Event::Start { history, .. }, Shown::Bar(bar)) => {
                if let Some(row) = history.last() {
                    bar.set_message(describe(row, self.epochs));
                    bar.set_position(row.processed_samples);
                    bar.reset_eta();
                }
            }
            (Event::Samples(done), Shown::Bar(bar)) => bar.set_position(*done),
            (Event::Epoch { row, .. }, Shown::Bar(bar)) => {
                bar.set_message(describe(row, self.epochs));
                if row.epoch == 0 {
                    bar.reset_eta(); // the first evaluation is no training
                }
            }
            (Event::Epoch { row, .. }, Shown::Lines) => {
                say(format_args!("{}  {:.2} s", describe(row, self.epochs), row.train_seconds));
            }
            (Event::End(_), Shown::Bar(bar)) => bar.finish_and_clear(),
            _ => {}
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
            say(text);
        }
        Fetching::Transfer { file, bytes, of } => {
            if shown.as_ref().is_none_or(|bar| bar.message() != file) {
                let new = bar(of, "{msg:25} {bar:40} {bytes:>10} of {total_bytes}");
                shown = Some(new.with_message(file.to_string()));
            }
            if let Some(bar) = &shown {
                bar.set_position(bytes);
            }
            if bytes == of {
                shown = None;
            }
        }
    }
}

fn bar(length: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("the template is valid");
    ProgressBar::new(length).with_style(style)
}

fn describe(row: &EpochRow, epochs: u64) -> String {
    let others = row.parts().skip(1).map(|(part, found)| format!("{part} {:.4}", found.loss));
    let mut text = format!(
        "epoch {:>width$}/{epochs}  loss {:.4} ({})",
        row.epoch,
        row.train.loss,
        others.collect::<Vec<_>>().join(", "),
        width = epochs.to_string().len()
    );
    if let Some((name, value)) = row.test.metrics.first() {
        text += &match Metric::find(name).map_or("", |metric| metric.unit) {
            "" => format!("  {name} {value:.4}"),
            unit => format!("  {name} {value:.2} {unit}"),
        };
    }
    text
}
