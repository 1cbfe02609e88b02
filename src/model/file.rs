//! Networks as safetensors files, which PyTorch loads.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use safetensors::SafeTensors;
use tch::Tensor;

use super::Description;
use crate::files::{self, At};
use crate::layers::Layers;
use crate::network::{Architecture, Block};
use crate::tensor_file::{self, CHECKPOINT, TensorFile};

/// The file of a network: a run's folder stands for its `model.safetensors`.
pub fn of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("model.safetensors") } else { path.to_path_buf() }
}

/// The file of a run's best network, by the metric that its configuration names: `checkpoint.best`.
///
/// # Errors
/// If the run has kept none, or the path is not that of a run's folder.
pub fn best_of(run: &Path) -> Result<PathBuf> {
    if !run.is_dir() {
        bail!("{}: is one network; the best epoch is that of a run's folder", run.display());
    }
    let best = run.join("checkpoints").join("best.safetensors");
    if !best.is_file() {
        let shown = best.display();
        bail!(
            "{shown}: is not there; a run keeps its best epoch if `checkpoint.best` names a metric"
        );
    }
    Ok(best)
}

/// The network alone of a file, as the bytes of a `model.safetensors`.
///
/// # Errors
/// If the file cannot be read or holds no network.
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>> {
    let content = files::read(path)?;
    let unread = "is no safetensors file";
    let tensors = SafeTensors::deserialize(&content).at(path, unread)?;
    let (_, header) = SafeTensors::read_metadata(&content).at(path, unread)?;
    let key = super::description::KEY.to_string();
    let text = header.metadata().as_ref().and_then(|texts| texts.get(&key)).cloned();
    let text =
        text.with_context(|| format!("{}: does not say what network it holds", path.display()))?;
    let network = tensors.iter().filter(|(name, _)| name.starts_with(NETWORK));
    safetensors::serialize(network, Some(HashMap::from([(key, text)]))).at(path, "cannot be copied")
}

/// Sets a network's parameters to those of a file; the n-th block of one is the n-th of the other, and
/// feedback matrices (of blocks, or of feedback alignment) are set where both have them.
///
/// # Errors
/// If a parameter is missing, is left over, or is of another shape; the error lists all of them, and the
/// network is as it was. If the file is damaged or cannot be read; the network is of no use then.
pub fn init(layers: &Layers, path: &Path) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    let mut file = TensorFile::open(path)?;
    let mut names = file.names();
    if file.text(CHECKPOINT).is_some() {
        names.retain(|name| name.starts_with(NETWORK));
    }
    let tensors: BTreeMap<String, Tensor> = layers.named_tensors().into_iter().collect();
    let (in_network, in_file) = (by_block(tensors.keys()), by_block(&names));
    let kept: BTreeSet<&str> = in_file.values().copied().collect();
    let twice = names.iter().map(String::as_str).filter(|name| !kept.contains(name)).collect();
    let without = |a: &Places, b: &Places| {
        let left = a.keys().filter(|place| !b.contains_key(*place) && !is_feedback(place));
        listed(left.map(String::as_str).collect())
    };
    let mut complaints: Vec<String> = [
        ("the file has two tensors in one place", listed(twice)),
        ("the network has, but the file has not", without(&in_network, &in_file)),
        ("the file has, but the network has not", without(&in_file, &in_network)),
    ]
    .iter()
    .filter(|(_, names)| !names.is_empty())
    .map(|(complaint, names)| format!("{complaint}: {names}"))
    .collect();
    let both =
        in_network.iter().filter_map(|(place, name)| Some((&tensors[*name], *in_file.get(place)?)));
    let wrong = both.clone().filter_map(|(tensor, name)| file.check_shape(name, tensor).err());
    complaints.extend(wrong.take(MOST_LISTED).map(|error| format!("{error:#}")));
    if !complaints.is_empty() {
        bail!("{}: cannot be started from: {}", path.display(), complaints.join("; "));
    }
    for (tensor, name) in both {
        tensor_file::fill(tensor, &file.read(name, tensor)?);
    }
    Ok(())
}

/// What the names of a network's tensors begin with.
const NETWORK: &str = "layers.";

/// Refuses a file that describes a network of more weights than it holds.
pub(super) fn check_size(file: &TensorFile, architecture: &Architecture) -> Result<()> {
    let shown = file.path.display();
    let weights = architecture.shape().weight_count().with_context(|| shown.to_string())?;
    if weights * size_of::<f32>() as f64 > file.bytes() as f64 {
        bail!("{shown}: describes a network of more weights than it holds");
    }
    Ok(())
}

/// Sets the blocks' parameters to those of a file.
///
/// # Errors
/// If a parameter is missing, is left over, or is of another shape.
pub(super) fn fill_blocks(file: &mut TensorFile, blocks: &[Box<dyn Block>]) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    let shown = file.path.display().to_string();
    let mut names = file.names();
    names.retain(|name| name.starts_with(NETWORK));
    let mut places = by_block(&names);
    if places.len() < names.len() {
        bail!("{shown}: holds two tensors for one place in the network");
    }
    for (index, block) in (1..).zip(blocks) {
        for (name, parameter) in block.parameters() {
            let Some(found) = places.remove(&format!("block {index} {name}")) else {
                bail!("{shown}: has no `{name}` of block {index} of the network that it describes");
            };
            tensor_file::fill(parameter, &file.read(found, parameter)?);
        }
    }
    if let Some((_, name)) = places.iter().find(|(place, _)| !is_feedback(place)) {
        bail!("{shown}: holds `{name}`, for which the network that it describes has no place");
    }
    Ok(())
}

/// Whether a tensor is a fixed matrix that only training needs.
fn is_feedback(place: &str) -> bool {
    ["feedback_weight", "backward_weight"].iter().any(|name| place.ends_with(name))
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

/// Names of tensors by their place, such as `block 2 weight`.
type Places<'a> = BTreeMap<String, &'a str>;

/// The places of tensors `layers.<module>.…`, where modules that hold a feedback matrix belong to the
/// block before them; others go by their names.
fn by_block<'a>(names: impl IntoIterator<Item = &'a String>) -> Places<'a> {
    let (mut tensors, mut places) = (Vec::new(), Places::new());
    for name in names {
        let split = name.strip_prefix(NETWORK).and_then(|name| name.split_once('.'));
        match split.map(|(module, rest)| (module.parse::<u64>(), rest)) {
            Some((Ok(module), rest)) => tensors.push((module, rest, name)),
            _ => {
                places.insert(name.clone(), name.as_str());
            }
        }
    }
    tensors.sort();
    let (mut block, mut last) = (0, None);
    for (module, rest, name) in tensors {
        let feedback = rest == "feedback_weight";
        if !feedback && last != Some(module) {
            (block, last) = (block + 1, Some(module));
        }
        let rest = if feedback { rest } else { rest.split_once('.').map_or("", |(_, it)| it) };
        places.insert(format!("block {block} {rest}"), name);
    }
    places
}

/// Saves weights, biases and feedback matrices under the names of
/// [`tensor_names`](crate::network::tensor_names), as float32.
pub fn save(layers: &Layers, description: Option<&Description>, path: &Path) -> Result<()> {
    let texts = description.map(Description::text).into_iter().collect();
    tensor_file::write(path, layers.named_tensors(), texts).context("the network is not saved")
}
