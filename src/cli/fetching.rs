//! What is shown while a data set is fetched: a bar for each file, and a line for each note.

use f3_tch::data::Progress;
use indicatif::{ProgressBar, ProgressStyle};

use super::say;

/// Shows on standard error what it is told; without a terminal, the notes alone.
pub fn show_fetching() -> impl FnMut(Progress) {
    let mut bar: Option<ProgressBar> = None;
    move |progress| match progress {
        Progress::Note(text) => {
            bar = None; // a bar that is dropped is wiped out
            say(text);
        }
        Progress::Transfer { file, bytes, of } => {
            if bar.as_ref().is_none_or(|bar| bar.message() != file) {
                bar = Some(new_bar(file, of));
            }
            if let Some(bar) = &bar {
                bar.set_position(bytes);
            }
            if bytes == of {
                bar = None;
            }
        }
    }
}

fn new_bar(file: &str, bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes).with_message(file.to_string());
    bar.set_style(
        ProgressStyle::with_template("{msg:25} {bar:40} {bytes:>10} of {total_bytes}")
            .expect("the template is valid"),
    );
    bar
}
