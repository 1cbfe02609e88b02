//! Checkpoints: all that a run depends on, in one file that is either whole or not there.
//!
//! A checkpoint is a safetensors file, so PyTorch's loader opens it. Its tensors are the network's
//! (under the names of [`tensor_names`](crate::network::tensor_names)), the
//! optimizers' states, the stored errors, what layers predict errors with, and as bytes the generators' states and the row of its epoch
//! (YAML); its metadata hold, as YAML, the format's version and the run's configuration, and a CRC-32 of
//! everything. The rows of the epochs before are in a file beside it, `rows.yaml`.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, DirEntry};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, bail};
use flate2::Crc;
use serde::{Deserialize, Serialize};
use serde_yaml::Value;
use tch::{Device, Tensor};

use super::history::EpochRow;
use super::rows::{self, Part, Rows};
use super::settings::CheckpointSettings;
use super::state::Run;
use crate::data::Dataset;
use crate::files::{self, At, Damage, damage};
use crate::machine::processor;
use crate::messages::counted;
use crate::metrics::Evaluation;
use crate::model::Description;
use crate::settings::{parse_own_yaml, parse_yaml};
use crate::tensor_file::{self, CHECKPOINT as HEADER, TensorFile, bytes_of};

/// Checkpoint format version; any other version is refused.
pub const VERSION: u64 = 3;

/// What the metadata say.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u64,
    program: String,
    machine: String,
    epoch: u64,
    data: u32, // a checksum
    rows: Part,
}

/// The row of the last epoch, as YAML in bytes.
const ROW: &str = "row";

const CONFIG: &str = "f3_tch_config";

/// The checkpoints of a run: `epoch-000012.safetensors` and so on, in a folder of their own.
pub struct Checkpoints {
    folder: PathBuf,
    settings: CheckpointSettings,
    data: OnceLock<u32>, // a checksum
    rows: Mutex<Rows>,
}

impl Checkpoints {
    /// The checkpoints in this folder, which is made with the first one.
    pub fn new(folder: &Path, settings: CheckpointSettings) -> Checkpoints {
        let (data, rows) = (OnceLock::new(), Mutex::new(Rows::new(folder)));
        Checkpoints { folder: folder.to_path_buf(), settings, data, rows }
    }

    /// The newest one, if there is any.
    pub fn newest(&self) -> Result<Option<PathBuf>> {
        Ok(self.list()?.pop().map(|(_, path)| path))
    }

    /// The newest one that is whole and of the epoch that its name says, if there is any; `skipped` is told
    /// of those that are not, the newest first.
    ///
    /// # Errors
    /// If there are some and none is whole; if one cannot be read, or is of another version.
    pub fn newest_whole(
        &self,
        skipped: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<Option<Checkpoint>> {
        let mut first = None;
        for (epoch, path) in self.list()?.into_iter().rev() {
            match Checkpoint::open_whole(&path, epoch) {
                Ok(found) => return Ok(Some(found)),
                Err(error) if Damage::caused(&error) => {
                    skipped(&format!("{error:#}; it is left out"))?;
                    first.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
            // The best epoch has a second file.
            if let Ok(found) = Checkpoint::open_whole(&self.best(), epoch) {
                return Ok(Some(found));
            }
        }
        let begin = self.folder.with_file_name("config.yaml");
        let remedy = || {
            let config = begin.display();
            format!(
                "no checkpoint is whole, so that the run can only begin anew (`f3-tch train {config}`)"
            )
        };
        first.map_or(Ok(None), |error| Err(error.context(remedy())))
    }

    /// Epochs and paths, in the epochs' order.
    fn list(&self) -> Result<Vec<(u64, PathBuf)>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.at(&self.folder, "cannot be read")?,
        };
        let epoch_and_path = |entry: DirEntry| {
            let name = entry.file_name();
            let epoch = name.to_str()?.strip_prefix("epoch-")?.strip_suffix(".safetensors")?;
            Some((epoch.parse().ok()?, entry.path()))
        };
        let mut list: Vec<(u64, PathBuf)> = entries.flatten().filter_map(epoch_and_path).collect();
        list.sort();
        Ok(list)
    }

    fn best(&self) -> PathBuf {
        self.folder.join("best.safetensors")
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
        let is_best = self.best_epoch(run) == Some(epoch);
        if finally || is_best || epoch.is_multiple_of(every) {
            let path = self.of(epoch);
            self.save(run, &path)?;
            if is_best {
                // A run never goes on from an epoch before its best one, whose file would be lost then.
                files::link(&path, &self.best())?;
            }
            // One of a later epoch was left out when the run went on; it must not push out a whole one.
            let mut list = self.list()?;
            list.retain(|(of, _)| *of <= epoch);
            for (_, old) in &list[..list.len().saturating_sub(self.settings.keep)] {
                fs::remove_file(old).at(old, "cannot be removed")?;
            }
        }
        Ok(())
    }

    fn of(&self, epoch: u64) -> PathBuf {
        self.folder.join(format!("epoch-{epoch:06}.safetensors"))
    }

    fn best_epoch(&self, run: &Run) -> Option<u64> {
        EpochRow::best(&run.state.history, self.settings.best.as_ref()?)
    }

    /// Writes a checkpoint; the file is on disk, under its name, when this returns, or not there.
    fn save(&self, run: &mut Run, path: &Path) -> Result<()> {
        if !self.folder.exists() {
            // Only this folder: one above it that is gone is to be noticed.
            fs::create_dir(&self.folder).at(&self.folder, "cannot be created")?;
        }
        let (row, before) = run.state.history.split_last().context("no epoch has been told")?;
        // The row itself is not among those of the file: it may be evaluated later.
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner).write(before)?;
        let row = serde_yaml::to_string(row).context("a row cannot be written as YAML")?;
        let mut state = run.state.tensors()?;
        state.push((ROW.to_string(), Tensor::from_slice(row.as_bytes())));
        let header = Header {
            version: VERSION,
            program: format!("f3-tch {}", crate::VERSION),
            machine: machine(run),
            epoch: run.state.epoch().unwrap_or(0),
            data: *self.data.get_or_init(|| checksum(&run.data)),
            rows,
        };
        let header =
            serde_yaml::to_string(&header).context("the header cannot be written as YAML")?;
        let mut texts = HashMap::from([(HEADER.to_string(), header)]);
        texts.extend(run.description.iter().map(Description::text));
        texts.extend(run.config.iter().map(|config| (CONFIG.to_string(), config.yaml.clone())));
        tensor_file::write(path, state, texts).context("no checkpoint")
    }

    /// Makes the best one that of the run, which goes on from its last epoch: one of a later epoch is
    /// removed, and one that is missing is taken from the epoch's own file.
    pub fn go_on(&self, run: &Run) -> Result<()> {
        let (best, Some(epoch)) = (self.best(), run.state.epoch()) else { return Ok(()) };
        let found = Checkpoint::open(&best).ok().map(|found| found.epoch());
        if self.best_epoch(run) == Some(epoch) && found != Some(epoch) {
            return files::link(&self.of(epoch), &best);
        }
        match found {
            Some(later) if later > epoch => fs::remove_file(&best).at(&best, "cannot be removed"),
            _ => Ok(()),
        }
    }
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
        let file = TensorFile::open(path)?;
        let shown = path.display();
        let Some(text) = file.text(HEADER).filter(|_| file.is_checked()) else {
            damage!("{shown}: is a safetensors file, but no checkpoint of f3-tch");
        };
        let unread = || format!("{shown}: has a header that cannot be read");
        let value: Value = parse_yaml(text).with_context(unread)?;
        let version = value.get("version").and_then(Value::as_u64);
        if version != Some(VERSION) {
            bail!(
                "{shown}: is of version {} of the format; this program reads version {VERSION} (it was \
                 written by {})",
                version.map_or("?".to_string(), |version| version.to_string()),
                value.get("program").and_then(Value::as_str).unwrap_or("an unknown program"),
            );
        }
        let header = serde_yaml::from_value(value).with_context(unread)?;
        Ok(Checkpoint { file, header })
    }

    /// As [`Checkpoint::open`], if it is of this epoch and everything in it is as it was written.
    fn open_whole(path: &Path, epoch: u64) -> Result<Checkpoint> {
        if !path.is_file() {
            damage!("{}: is no file", path.display());
        }
        let mut found = Checkpoint::open(path)?;
        if found.epoch() != epoch {
            damage!("{}: is of epoch {}", path.display(), found.epoch());
        }
        found.check_whole()?;
        Ok(found)
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
                self.file.path.display(),
                data.name
            );
        }
        Ok(())
    }

    /// Reads everything, and keeps nothing of it.
    ///
    /// # Errors
    /// If something has changed since it was written.
    fn check_whole(&mut self) -> Result<()> {
        for name in self.file.names() {
            self.file.read_bytes(&name)?;
        }
        self.rows().map(|_| ())
    }

    /// Those of all epochs up to this one's.
    fn rows(&mut self) -> Result<Vec<EpochRow>> {
        let folder = self.file.path.parent().unwrap_or(Path::new("")).to_path_buf();
        let mut rows = rows::read(&folder, self.header.rows)?;
        let row = self.file.read_bytes(ROW)?;
        let row = std::str::from_utf8(&row).at(&self.file.path, "its row cannot be read")?;
        rows.push(parse_own_yaml(row).at(&self.file.path, "its row cannot be read")?);
        Ok(rows)
    }

    /// Takes a run that has been made from the same configuration to where this one was.
    ///
    /// # Errors
    /// If a tensor is missing, is of another shape, has changed since it was written, or is one that
    /// the run does not have. The run is of no use then.
    pub fn restore(mut self, run: &mut Run) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        let state = &mut run.state;
        let path = self.file.path.clone();
        let shown = path.display();
        let wanted: BTreeMap<String, Tensor> = state.tensors()?.into_iter().collect();
        for name in self.file.names() {
            if name != ROW && !wanted.contains_key(&name) {
                bail!(
                    "{shown}: holds `{name}`, for which this configuration has no place; it is of \
                     another network, optimizer or algorithm"
                );
            }
        }
        for (name, tensor) in &wanted {
            tensor_file::fill(tensor, &self.file.read(name, tensor)?);
        }
        for (name, generator) in state.generators_mut() {
            generator.set_state(&wanted[name]).at(&path, &format!("`{name}`"))?;
        }
        if let Some(store) = state.trainer.error_store_mut() {
            store.end_epoch();
        }
        state.history = self.rows()?;
        let metrics: Vec<&str> = run.data.task.metrics().map(|metric| metric.name).collect();
        let parts: Vec<&str> = run.data.parts().map(|(part, _)| part).collect(); // train first
        let whole = (0..).zip(&state.history).all(|(epoch, row)| {
            let names = |found: &Evaluation| -> Vec<&str> {
                found.metrics.iter().map(|(name, _)| *name).collect()
            };
            let found: Vec<&str> = row.parts().map(|(part, _)| part).collect();
            let is_there = found == parts || epoch > 0 && (found.is_empty() || found == parts[1..]);
            row.epoch == epoch && is_there && row.parts().all(|(_, found)| names(found) == metrics)
        });
        let last = self.header.epoch;
        if !whole || state.history.len() as u64 != last + 1 {
            bail!("{shown}: there is not a row of this task for each epoch up to {last}");
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
        "libtorch {} on {device} ({}, {})",
        crate::libtorch_version(),
        crate::instruction_set(),
        counted(run.settings.thread_count(), "thread")
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
