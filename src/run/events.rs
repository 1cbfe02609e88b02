//! What a run tells while it is under way.

use anyhow::Result;

use super::history::EpochRow;
use crate::layers::Layers;

/// Something that has happened in a run.
pub enum Event<'a> {
    /// Comes first, once: the epochs of the time before the run was resumed (none in a new one), and the
    /// layers as they are.
    Start {
        /// The rows so far.
        history: &'a [EpochRow],
        /// The layers after the last of them.
        layers: &'a Layers,
    },
    /// So many samples have been trained on since the first epoch; comes with every batch.
    Samples(u64),
    /// An epoch has ended.
    Epoch {
        /// Its results.
        row: &'a EpochRow,
        /// The layers after it.
        layers: &'a Layers,
    },
    /// The run has ended without an error, and its last checkpoint is written.
    End(Ending),
    /// Something that a person may want to know, in a sentence.
    Note(&'a str),
    /// Something that is probably wrong, in a sentence.
    Warning(&'a str),
}

/// Why a run has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All its epochs are done.
    Complete,
    /// [`EarlyStop`](super::EarlyStop): its metric was best in this epoch and has not improved since.
    NoBetter(u64),
    /// Its time is over.
    OutOfTime,
    /// [`Run::stop`](super::Run::stop) was set.
    Interrupted,
}

/// Is told what happens in a run: a log, a progress bar, a closure `|event: &Event| Ok(())`. `()` is one
/// that does not listen.
///
/// ```no_run
/// # fn main() -> anyhow::Result<()> {
/// use f3_tch::config::{Config, Source};
/// use f3_tch::data::DataDirectory;
/// use f3_tch::run::{Event, Observer, Run};
/// use f3_tch::tch::Device;
///
/// /// Keeps the best test accuracy, in percent.
/// struct Best(f64);
///
/// impl Observer for Best {
///     fn notice(&mut self, event: &Event) -> anyhow::Result<()> {
///         match event {
///             Event::Epoch { row, .. } => {
///                 self.0 = row.value("test_accuracy").unwrap_or(0.0).max(self.0);
///             }
///             Event::Warning(text) => eprintln!("{text}"),
///             _ => {}
///         }
///         Ok(())
///     }
/// }
///
/// let (config, _) = Config::read(&Source::open("digits")?)?;
/// let data = config.data.set.load(&DataDirectory::locate(None), Device::Cpu, &mut |_| {})?;
/// let mut best = Best(0.0);
/// Run::new(&config, data)?.train(&mut best)?;
/// println!("{} %", best.0);
/// # Ok(())
/// # }
/// ```
pub trait Observer: Send {
    /// Something has happened.
    ///
    /// # Errors
    /// Whatever stands in the way, such as a full disk; the run ends with it.
    fn notice(&mut self, event: &Event) -> Result<()>;
}

impl<F: FnMut(&Event) -> Result<()> + Send> Observer for F {
    fn notice(&mut self, event: &Event) -> Result<()> {
        self(event)
    }
}

impl Observer for () {
    fn notice(&mut self, _event: &Event) -> Result<()> {
        Ok(())
    }
}

/// An observer that calls a function with the results of each new epoch.
pub fn on_epoch(mut call: impl FnMut(&EpochRow) + Send) -> impl Observer {
    move |event: &Event| {
        if let Event::Epoch { row, .. } = event {
            call(row);
        }
        Ok(())
    }
}
