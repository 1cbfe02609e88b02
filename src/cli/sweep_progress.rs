//! What a person sees of a sweep on standard error: on a terminal a bar for the whole and a line for each
//! run under way, with the finished ones above; else a line for each run that ends.

use std::collections::HashMap;
use std::io::{IsTerminal, stderr};
use std::sync::{Mutex, PoisonError};

use f3_tch::data::Progress as Fetching;
use f3_tch::messages::counted;
use f3_tch::run::{Event, RunResult};
use f3_tch::sweep::{Outcome, PlannedRun, SweepEvent};
use indicatif::{MultiProgress, ProgressBar};

use super::announce::duration;
use super::progress::{bar, describe, show_fetching};
use super::{harmless, say};

/// Shows a sweep's progress.
pub struct SweepProgress {
    name: String,
    jobs: usize,
    shown: Mutex<Shown>,
}

struct Shown {
    bars: Option<MultiProgress>, // none without a terminal
    whole: ProgressBar,          // counts epochs
    runs: HashMap<String, ProgressBar>,
    fetching: Box<dyn FnMut(Fetching) + Send>,
    ended: usize,
    all: usize,
}

impl SweepProgress {
    /// Nothing is shown yet; so many runs will be trained at a time.
    pub fn new(name: &str, jobs: usize) -> SweepProgress {
        let shown = Shown {
            bars: stderr().is_terminal().then(MultiProgress::new),
            whole: ProgressBar::hidden(),
            runs: HashMap::new(),
            fetching: Box::new(show_fetching()),
            ended: 0,
            all: 0,
        };
        SweepProgress { name: name.to_string(), jobs, shown: Mutex::new(shown) }
    }

    /// Shows what has happened.
    pub fn notice(&self, event: &SweepEvent) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            SweepEvent::Start { to_do: runs, complete, all } => {
                let (name, jobs, to_do) = (&self.name, self.jobs, runs.len());
                let failed = match all - to_do - complete {
                    0 => String::new(),
                    failed => format!(", {failed} failed"),
                };
                say(format_args!(
                    "sweep {name}: {}, {complete} complete{failed}; {to_do} to train, {jobs} at a time",
                    counted(*all, "run")
                ));
                shown.all = to_do;
                if let Some(bars) = &shown.bars {
                    let epochs = runs.iter().map(|run| run.epochs).sum();
                    let template = "{bar:24} {percent:>3} %  {eta:>4} left  {wide_msg}";
                    shown.whole = bars.add(bar(epochs, template));
                    shown.whole.set_message(format!("0/{to_do} runs"));
                }
            }
            SweepEvent::Fetching(progress) => (shown.fetching)(*progress),
            SweepEvent::Run(run, event) => shown.follow(run, event),
            SweepEvent::End(run, outcome) => shown.end(run, outcome),
        }
    }
}

impl Shown {
    fn follow(&mut self, run: &PlannedRun, event: &Event) {
        match event {
            Event::Start { history, .. } => {
                let done = history.last().map_or(0, |row| row.epoch);
                let Some(bars) = &self.bars else { return };
                let template = "{prefix:.dim}  {bar:20}  {msg}";
                let line = bars.insert_before(&self.whole, bar(run.epochs, template));
                line.set_prefix(harmless(&run.name).into_owned());
                line.set_position(done);
                self.runs.insert(run.name.clone(), line);
                self.whole.inc(done);
                self.whole.reset_eta();
            }
            Event::Epoch { row, .. } => {
                if let Some(line) = self.runs.get(&run.name) {
                    line.set_position(row.epoch);
                    if row.is_evaluated() {
                        line.set_message(describe(row, run.epochs));
                    }
                }
                if row.epoch > 0 {
                    self.whole.inc(1);
                }
            }
            Event::Note(text) => self.line(&format!("note: {}: {text}", run.name)),
            Event::Warning(text) => self.line(&format!("warning: {}: {text}", run.name)),
            Event::Samples(_) | Event::End(_) => {}
        }
    }

    fn end(&mut self, run: &PlannedRun, outcome: &Outcome) {
        self.ended += 1;
        if let Some(line) = self.runs.remove(&run.name) {
            line.finish_and_clear();
        }
        let name = &run.name;
        let text = match outcome {
            Outcome::Complete(result) => format!("done    {name}  {}", values(result)),
            Outcome::Interrupted => format!("stopped {name}"),
            Outcome::Failed(cause) => format!("failed  {name}: {cause}"),
            Outcome::Elsewhere => format!("left    {name}: another process is training it"),
        };
        self.line(&format!("[{}/{}] {text}", self.ended, self.all));
        self.whole.set_message(format!("{}/{} runs", self.ended, self.all));
    }

    /// A line above the bars.
    fn line(&self, text: &str) {
        match &self.bars {
            Some(bars) => bars.suspend(|| say(text)),
            None => say(text),
        }
    }
}

impl Drop for SweepProgress {
    fn drop(&mut self) {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).whole.finish_and_clear();
    }
}

/// The last loss and the first metric of the test set, and the time.
fn values(result: &RunResult) -> String {
    let mut parts = Vec::new();
    for name in ["test_accuracy", "test_loss"] {
        if let Some(value) = result.metrics.get(name)
            && let Some(last) = value.last
        {
            let unit =
                if value.unit.is_empty() { String::new() } else { format!(" {}", value.unit) };
            parts.push(format!("{} {last:.4}{unit}", name.replace('_', " ")));
        }
    }
    let seconds = result.seconds.get("total").copied().unwrap_or(0.0);
    format!("{}  {}", parts.join(", "), duration(seconds))
}
