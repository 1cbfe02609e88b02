//! The section `schedule`, and `kernels`: how a run is computed, not what.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::algorithm::Algorithm;
use super::section::Section;
use crate::device::DeviceChoice;

/// In which order layers and batches take their turns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScheduleConfig {
    /// Which order.
    pub name: ScheduleName,
    /// Batches that a layer takes in a row; none: as many as suit the caches.
    pub chunk: Option<usize>,
    /// Threads among which the layers are divided; none: as many as `threads`.
    pub stages: Option<usize>,
    /// A device for each stage; none: that of the data.
    pub devices: Option<Vec<DeviceChoice>>,
    /// A folder in whose files parameters and optimizer states are kept instead of in memory.
    pub offload: Option<PathBuf>,
}

/// The orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleName {
    /// What suits the machine and the network.
    Auto,
    /// For batch, for layer.
    Sequential,
    /// Consecutive layers in stages, a thread each.
    Pipelined,
    /// For chunk of batches, for layer, for batch.
    LayerMajor,
}

/// How fully connected layers are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KernelsConfig {
    /// Fused ones where the processor has AVX2 or AVX-512 and all layers have them.
    Auto,
    /// libtorch's.
    Aten,
    /// Forward pass, gradient and step in one.
    Fused,
}

impl ScheduleConfig {
    pub(super) fn read(
        section: &mut Section,
        algorithm: &Algorithm,
    ) -> Result<ScheduleConfig, ConfigError> {
        let name = section.choice("name")?.unwrap_or(ScheduleName::Auto);
        let reordered = matches!(name, ScheduleName::Pipelined | ScheduleName::LayerMajor);
        let pipelined = name == ScheduleName::Pipelined;
        let shown = if pipelined { "pipelined" } else { "layer_major" };
        if reordered && !algorithm.learns_forward() {
            let expected = "`sequential` or `auto` with this algorithm: its hidden layers learn \
                            only when the last layer's output is known";
            return Err(section.refuse("name", shown, expected));
        }
        let chunk = section.whole_or_null("chunk", 1..=1_000_000_000)?;
        if let Some(chunk) = chunk.filter(|_| !reordered) {
            let expected = "null, or `schedule.name: pipelined` or `layer_major`";
            return Err(section.refuse("chunk", chunk, expected));
        }
        let stages = section.whole_or_null("stages", 1..=1024)?;
        if let Some(stages) = stages.filter(|_| !pipelined) {
            return Err(section.refuse("stages", stages, "null, or `schedule.name: pipelined`"));
        }
        let devices = read_devices(section, pipelined, stages)?;
        let expected = "null or a folder";
        let offload: Option<Option<PathBuf>> =
            section.checked("offload", expected, |path: &Option<PathBuf>| {
                path.as_ref().is_none_or(|path| !path.as_os_str().is_empty())
            })?;
        let offload = offload.flatten();
        if let Some(folder) = offload.as_ref().filter(|_| !reordered || pipelined) {
            let expected = "null, or `schedule.name: layer_major`";
            return Err(section.refuse("offload", folder.display(), expected));
        }
        Ok(ScheduleConfig { name, chunk, stages, devices, offload })
    }
}

/// A list of devices, as many as there are stages.
fn read_devices(
    section: &mut Section,
    pipelined: bool,
    stages: Option<usize>,
) -> Result<Option<Vec<DeviceChoice>>, ConfigError> {
    let expected = "null or a list of devices, such as [cuda:0, cuda:1]";
    let devices: Option<Option<Vec<DeviceChoice>>> =
        section.checked("devices", expected, |devices: &Option<Vec<DeviceChoice>>| {
            devices
                .as_ref()
                .is_none_or(|devices| !devices.is_empty() && !devices.contains(&DeviceChoice::Auto))
        })?;
    let Some(devices) = devices.flatten() else {
        return Ok(None);
    };
    let shown = DeviceChoice::list(&devices);
    if !pipelined {
        return Err(section.refuse("devices", shown, "null, or `schedule.name: pipelined`"));
    }
    if stages.is_some_and(|stages| stages != devices.len()) {
        let expected = "as many devices as `schedule.stages`, which may be left out";
        return Err(section.refuse("devices", shown, expected));
    }
    Ok(Some(devices))
}
