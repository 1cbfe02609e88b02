//! What a person sees while a run is under way, on standard error: a bar on a terminal, else a line per
//! epoch; and its notes and warnings.

use std::io::{IsTerminal, stderr};

use anyhow::Result;
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
        let bar = ProgressBar::new(epochs * run.data.train.len() as u64);
        bar.set_style(
            ProgressStyle::with_template("{wide_bar} {percent:>3} %  {msg}  {eta} left")
                .expect("the template is valid"),
        );
        Progress { shown: Shown::Bar(bar), epochs }
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
