//! Checkpoints: all that a run depends on, in one file that is either whole or not there.
//!
//! A checkpoint is a safetensors file, so PyTorch's loader opens it. Its tensors are the network's
//! (under the names of [`tensor_names`](crate::network::tensor_names)), the
//! optimizers' states, the stored errors, and as bytes the generators' states and the rows of all epochs
//! so far (YAML); its metadata hold, as YAML, the format's version and the run's configuration, and a
//! CRC-32 of everything.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, anyhow, bail};
use flate2::Crc;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::history::EpochRow;
use super::settings::CheckpointSettings;
use super::state::{Run, State};
use crate::data::Dataset;
use crate::machine::processor;
use crate::metrics::Evaluation;
use crate::model::Description;
use crate::tensor_file::{self, CHECKPOINT as HEADER, TensorFile, bytes_of};

/// Checkpoint format version; any other version is refused.
pub const VERSION: u64 = 2;

/// The checkpoints of a run: `epoch-000012.safetensors` and so on, in a folder of their own.
pub struct Checkpoints {
    folder: PathBuf,
    settings: CheckpointSettings,
    data: OnceLock<u32>,
    rows: Mutex<RowsText>,
}

/// The rows of a run as YAML, to which each epoch adds its own.
#[derive(Default)]
struct RowsText {
    count: usize,
    text: String,
}

impl RowsText {
    fn of(&mut self, rows: &[EpochRow]) -> Result<&str> {
        if self.count > rows.len() {
            *self = RowsText::default();
        }
        for row in &rows[self.count..] {
            // Lists of one, one behind the other, are a list.
            self.text +=
                &serde_yaml::to_string(&[row]).context("a row cannot be written as YAML")?;
        }
        self.count = rows.len();
        Ok(&self.text)
    }
}

/// What the metadata say.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u64,
    program: String,
    machine: String,
    epoch: u64,
    data: u32, // a checksum
}

/// The rows, as YAML in bytes.
const ROWS: &str = "rows";

const CONFIG: &str = "f3_tch_config";

const BEST: &str = "best.safetensors";

impl Checkpoints {
    /// The checkpoints in this folder, which is made with the first one.
    pub fn new(folder: &Path, settings: CheckpointSettings) -> Checkpoints {
        let (data, rows) = (OnceLock::new(), Mutex::default());
        Checkpoints { folder: folder.to_path_buf(), settings, data, rows }
    }

    /// The newest one, if there is any.
    pub fn newest(&self) -> Result<Option<PathBuf>> {
        Ok(self.list()?.pop().map(|(_, path)| path))
    }

    /// Epochs and paths, in the epochs' order.
    fn list(&self) -> Result<Vec<(u64, PathBuf)>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("{}: cannot be read", self.folder.display()));
            }
        };
        let epoch = |path: &Path| {
            let name = path.file_name()?.to_str()?;
            name.strip_prefix("epoch-")?.strip_suffix(".safetensors")?.parse().ok()
        };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let mut list: Vec<(u64, PathBuf)> =
            paths.filter_map(|path| Some((epoch(&path)?, path))).collect();
        list.sort();
        Ok(list)
    }

    /// Writes what is due after the last of the run's epochs: the checkpoint, where `finally` or by its
    /// number, and the best one. Older ones are removed when the new one is on disk.
    ///
    /// # Errors
    /// If a file cannot be written or removed; the checkpoints that were there are whole.
    pub fn after_epoch(&self, run: &mut Run, finally: bool) -> Result<()> {
        let (Some(every), Some(epoch)) = (self.settings.every, run.state.epoch()) else {
            return Ok(());
        };
        let due = finally || epoch.is_multiple_of(every);
        let best = self.settings.best.as_ref().is_some_and(|metric| {
            epoch > 0 && EpochRow::best(&run.state.history, metric) == Some(epoch)
        });
        if !due && !best {
            return Ok(());
        }
        // Only this folder: one above it that is gone is to be noticed.
        match fs::create_dir(&self.folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                let failed = || format!("{}: cannot be created", self.folder.display());
                return Err(error).with_context(failed);
            }
            _ => {}
        }
        let place = self.folder.join(format!("epoch-{epoch:06}.safetensors"));
        if best {
            self.save(run, &self.folder.join(BEST))?;
        }
        if due {
            self.save(run, &place)?;
            let list = self.list()?;
            for (_, old) in &list[..list.len().saturating_sub(self.settings.keep)] {
                fs::remove_file(old)
                    .with_context(|| format!("{}: cannot be removed", old.display()))?;
            }
        }
        Ok(())
    }

    fn save(&self, run: &mut Run, path: &Path) -> Result<()> {
        let data = *self.data.get_or_init(|| checksum(&run.data));
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = rows.of(&run.state.history)?;
        save(run, path, data, rows)
    }

    /// Removes the best one if it is of a later epoch than `epoch`, after which a run continues.
    pub fn forget_best_after(&self, epoch: u64) -> Result<()> {
        let best = self.folder.join(BEST);
        if Checkpoint::open(&best).is_ok_and(|best| best.epoch() > epoch) {
            fs::remove_file(&best)
                .with_context(|| format!("{}: cannot be removed", best.display()))?;
        }
        Ok(())
    }
}

/// Writes a checkpoint; the file is on disk, under its name, when this returns, or not there.
fn save(run: &mut Run, path: &Path, data: u32, rows: &str) -> Result<()> {
    let mut state = run.state.tensors()?;
    state.push((ROWS.to_string(), Tensor::from_slice(rows.as_bytes())));
    let header = Header {
        version: VERSION,
        program: format!("f3-tch {}", crate::VERSION),
        machine: machine(run),
        epoch: run.state.epoch().unwrap_or(0),
        data,
    };
    let header = serde_yaml::to_string(&header).context("the header cannot be written as YAML")?;
    let mut texts = run.description.iter().map(Description::text).collect::<HashMap<_, _>>();
    texts.insert(HEADER.to_string(), header);
    texts.extend(run.config.iter().map(|config| (CONFIG.to_string(), config.yaml.clone())));
    tensor_file::write(path, state, texts).context("no checkpoint")
}

/// A checkpoint that has been opened: its metadata are read and checked, its tensors are not.
pub struct Checkpoint {
    file: TensorFile,
    header: Header,
}

impl Checkpoint {
    /// Reads the metadata.
    ///
    /// # Errors
    /// If the file is no checkpoint, is damaged, or is of another version of the format.
    pub fn open(path: &Path) -> Result<Checkpoint> {
        let file = TensorFile::open(path).map_err(|error| anyhow!("{error:#}; {REMEDY}"))?;
        let header = header(&file).with_context(|| path.display().to_string())?;
        Ok(Checkpoint { file, header })
    }

    /// The last epoch that it knows.
    pub fn epoch(&self) -> u64 {
        self.header.epoch
    }

    /// The run's configuration (YAML) as it was when this was written, if it was known.
    pub fn config(&self) -> Option<&str> {
        self.file.text(CONFIG)
    }

    /// The machine that computed the run, and the one that would continue it, if they differ: numbers may
    /// then differ in their last digits.
    pub fn other_machine(&self, run: &Run) -> Option<(&str, String)> {
        let now = machine(run);
        (self.header.machine != now).then_some((&self.header.machine, now))
    }

    /// Refuses other data than those that the run had; to be asked before [`Checkpoint::restore`], which
    /// does not look at them.
    pub fn check_data(&self, data: &Dataset) -> Result<()> {
        if self.header.data != checksum(data) {
            bail!(
                "{}: the run was trained on other data than those that {} has now; are they looked for in \
                 another folder (`--data-dir`), or have they changed?",
                self.file.path().display(),
                data.name
            );
        }
        Ok(())
    }

    /// Takes a run that has been made from the same configuration to where this one was.
    ///
    /// # Errors
    /// If a tensor is missing, is of another shape, has changed since it was written, or is one that
    /// the run does not have. The run is of no use then.
    pub fn restore(mut self, run: &mut Run) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        let state = &mut run.state;
        let wanted = state.tensors()?;
        for name in self.file.names() {
            if name != ROWS && !wanted.iter().any(|(known, _)| *known == name) {
                bail!(
                    "{}: holds `{name}`, for which this configuration has no place; it is of \
                     another network, optimizer or algorithm",
                    self.file.path().display()
                );
            }
        }
        for (name, tensor) in wanted {
            let bytes = self.file.read(&name, &tensor)?;
            match State::is_generator(&name) {
                true => state
                    .set_generator(&name, &Tensor::from_slice(&bytes))
                    .with_context(|| format!("{}: `{name}`", self.file.path().display()))?,
                false => tensor_file::fill(&tensor, &bytes),
            }
        }
        if let Some(store) = state.trainer.error_store_mut() {
            store.end_epoch();
        }
        let rows = self.file.read_bytes(ROWS)?;
        state.history = serde_yaml::from_slice(&rows)
            .with_context(|| format!("{}: `{ROWS}` cannot be read", self.file.path().display()))?;
        let known = |found: &Evaluation| {
            let names = run.data.task.metrics().map(|metric| metric.name);
            found.metrics.iter().map(|(name, _)| *name).eq(names)
        };
        let whole = state.history.iter().zip(0..).all(|(row, epoch)| {
            let parts = row.parts().map(|(part, _)| part);
            row.epoch == epoch
                && parts.eq(run.data.parts().map(|(part, _)| part))
                && row.parts().all(|(_, found)| known(found))
        });
        if !whole || state.history.len() as u64 != self.header.epoch + 1 {
            bail!(
                "{}: `{ROWS}` is not a row of this task for each epoch up to {}",
                self.file.path().display(),
                self.header.epoch
            );
        }
        Ok(())
    }
}

/// What decides, as far as is known, how numbers are rounded.
fn machine(run: &Run) -> String {
    let device = match run.data.train.inputs.device() {
        Device::Cpu => processor(),
        Device::Cuda(_) => "cuda".to_string(),
        other => format!("{other:?}"),
    };
    format!(
        "libtorch {} on {device} ({}, {} threads)",
        crate::libtorch_version(),
        crate::instruction_set(),
        run.settings.thread_count()
    )
}

/// A CRC-32 of all samples.
fn checksum(data: &Dataset) -> u32 {
    let mut crc = Crc::new();
    for (_, split) in data.parts() {
        for tensor in [&split.inputs, &split.targets] {
            // Some at a time: a copy of all would take as much memory again.
            for part in tensor.flatten(0, -1).split(1 << 20, 0) {
                crc.update(&bytes_of(&part));
            }
        }
    }
    crc.sum()
}

const REMEDY: &str =
    "a checkpoint that is damaged can be removed, to go on from the one before it if there is one";

/// What the metadata say, checked.
fn header(file: &TensorFile) -> Result<Header> {
    let Some(text) = file.text(HEADER).filter(|_| file.is_checked()) else {
        bail!("is a safetensors file, but no checkpoint of f3-tch");
    };
    let value: serde_yaml::Value =
        serde_yaml::from_str(text).context("has a header that cannot be read")?;
    match value.get("version").and_then(serde_yaml::Value::as_u64) {
        Some(VERSION) => {}
        found => bail!(
            "is of version {} of the format; this program reads version {VERSION} (it was written by \
             {})",
            found.map_or("?".to_string(), |version| version.to_string()),
            value.get("program").and_then(|it| it.as_str()).unwrap_or("an unknown program"),
        ),
    }
    serde_yaml::from_value(value).context("has a header that cannot be read")
}
