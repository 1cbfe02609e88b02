//! Networks as safetensors files, which PyTorch loads, with what it takes to use them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::data::Preparation;
use crate::network::Network;
use crate::tensor_file::{self, TensorFile};

/// The file of a network: a run's folder stands for its `model.safetensors`.
pub fn of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("model.safetensors") } else { path.to_path_buf() }
}

/// Of the description that is written; others cannot be read.
pub const VERSION: u64 = 1;

const KEY: &str = "f3_tch_model";

/// Where a checkpoint, which holds more than a network, has its header.
pub(crate) const CHECKPOINT: &str = "f3_tch_checkpoint";

/// What it takes to rebuild a network and to prepare samples for it, beside its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    version: u64,
    /// The run's configuration, as YAML.
    pub config: String,
    /// How samples become inputs, and outputs answers.
    pub preparation: Preparation,
}

impl Description {
    /// Of a network that was trained as `config` (YAML) says.
    pub fn new(config: String, preparation: Preparation) -> Description {
        Description { version: VERSION, config, preparation }
    }

    /// Its place in a file, and how it is written there: as JSON, which Python reads unaided.
    pub(crate) fn text(&self) -> (String, String) {
        (KEY.to_string(), serde_json::to_string(self).expect("names and numbers can be written"))
    }

    /// The description in a file.
    pub(crate) fn of(file: &TensorFile) -> Result<Description> {
        let shown = file.path().display();
        let Some(text) = file.text(KEY) else {
            bail!("{shown}: does not say what network it holds; f3-tch has not written it");
        };
        let value: serde_json::Value = serde_json::from_str(text)
            .with_context(|| format!("{shown}: the description cannot be read"))?;
        match value.get("version").and_then(serde_json::Value::as_u64) {
            Some(VERSION) => {}
            found => bail!(
                "{shown}: its description is of version {}; this program reads version {VERSION}",
                found.map_or("?".to_string(), |version| version.to_string())
            ),
        }
        let description: Description = serde_json::from_value(value)
            .with_context(|| format!("{shown}: the description cannot be read"))?;
        description.preparation.check().with_context(|| shown.to_string())?;
        Ok(description)
    }
}

/// Sets a network's parameters to those of a file; the n-th block of one is the n-th of the other, and
/// feedback matrices (of blocks, or of feedback alignment) are set where both have them.
///
/// # Errors
/// If a parameter is missing, is left over, or is of another shape; the error lists all of them, and the
/// network is as it was. If the file is damaged or cannot be read; the network is of no use then.
pub fn init(network: &Network, path: &Path) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    let mut file = TensorFile::open(path)?;
    let mut names = file.names();
    if file.text(CHECKPOINT).is_some() {
        names.retain(|name| name.starts_with("layers.")); // of all that a run depends on
    }
    let in_file = by_block(&names);
    let named: BTreeMap<String, Tensor> = network.named_tensors().into_iter().collect();
    let in_network = by_block(&named.keys().cloned().collect::<Vec<_>>());
    let is_feedback = |place: &str| {
        ["feedback_weight", "backward_weight"].iter().any(|name| place.ends_with(name))
    };
    let without = |a: &BTreeMap<String, String>, b: &BTreeMap<String, String>| {
        let left = a.keys().filter(|place| !b.contains_key(*place) && !is_feedback(place));
        listed(left.map(String::as_str).collect())
    };
    let mut complaints = Vec::new();
    let kept: BTreeSet<&String> = in_file.values().collect();
    let twice = names.iter().filter(|name| !kept.contains(name)).map(String::as_str);
    let twice = listed(twice.collect());
    if !twice.is_empty() {
        complaints.push(format!("the file has two tensors in one place: {twice}"));
    }
    let (missing, extra) = (without(&in_network, &in_file), without(&in_file, &in_network));
    if !missing.is_empty() {
        complaints.push(format!("the network has, but the file has not: {missing}"));
    }
    if !extra.is_empty() {
        complaints.push(format!("the file has, but the network has not: {extra}"));
    }
    let mut found = Vec::new();
    let mut others = Vec::new();
    for (place, name) in &in_network {
        let Some(other) = in_file.get(place) else { continue };
        match file.check_shape(other, &named[name]) {
            Ok(()) => found.push((&named[name], other)),
            Err(error) => others.push(format!("{error:#}")),
        }
    }
    complaints.extend(others.into_iter().take(MOST_LISTED));
    if !complaints.is_empty() {
        bail!("{}: cannot be started from: {}", path.display(), complaints.join("; "));
    }
    for (tensor, name) in found {
        tensor_file::fill(tensor, &file.read(name, tensor)?);
    }
    Ok(())
}

/// Names that an error shows.
const MOST_LISTED: usize = 20;

/// The first ones, as they can be shown.
fn listed(names: Vec<&str>) -> String {
    let mut shown: Vec<String> =
        names.iter().take(MOST_LISTED).map(|name| name.escape_debug().to_string()).collect();
    if names.len() > MOST_LISTED {
        shown.push(format!("and {} more", names.len() - MOST_LISTED));
    }
    shown.join(", ")
}

/// Names of tensors by their place, such as `block 2 weight`: of `layers.<module>.…`, where modules that
/// hold a feedback matrix belong to the block before them.
fn by_block(names: &[String]) -> BTreeMap<String, String> {
    let split = |name: &String| {
        let (module, rest) = name.strip_prefix("layers.")?.split_once('.')?;
        Some((module.parse::<u64>().ok()?, rest.to_string(), name.clone()))
    };
    let mut tensors: Vec<(u64, String, String)> = names.iter().filter_map(split).collect();
    tensors.sort();
    let (mut block, mut last, mut places) = (0, None, BTreeMap::new());
    let others = names.iter().filter(|name| split(name).is_none());
    places.extend(others.map(|name| (name.clone(), name.clone())));
    for (module, rest, name) in tensors {
        let feedback = rest == "feedback_weight";
        if !feedback && last != Some(module) {
            (block, last) = (block + 1, Some(module));
        }
        let rest = if feedback { &rest } else { rest.split_once('.').map_or("", |(_, it)| it) };
        places.insert(format!("block {block} {rest}"), name);
    }
    places
}

/// Saves weights, biases and feedback matrices under the names of
/// [`Network::named_tensors`], as float32.
pub fn save(network: &Network, description: Option<&Description>, path: &Path) -> Result<()> {
    let texts = description.map(Description::text).into_iter().collect();
    tensor_file::write(path, network.named_tensors(), texts).context("the network is not saved")
}
