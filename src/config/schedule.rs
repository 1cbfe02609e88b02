//! The section `schedule`, and `kernels` and `precision`: how a run is computed, not what.

use std::path::PathBuf;

use serde_json::json;

use super::ConfigError;
use crate::device::DeviceChoice;
use crate::settings::domain::{any, choice, path, whole};
use crate::settings::{Domain, Reader, named, section};
use crate::trainer::Algorithm;

section! {
    /// In which order layers and batches take their turns.
    pub struct ScheduleConfig(algorithm: &Algorithm) => checked {
        /// Order in which layers and batches are computed.
        ///
        /// Orders other than `sequential` are for `f3`, `drtp` and `llo`.
        name: ScheduleName = ScheduleName::Auto, choice();
        /// Batches that a layer computes in a row; `null`: as many as suit the caches.
        ///
        /// For `layer_major` and `pipelined`; with `schedule.offload`, `null` is the whole epoch.
        chunk: Option<usize> = None, whole(1..=1_000_000_000).or_null();
        /// Stages into which `pipelined` divides the layers; `null`: as many as `threads`.
        ///
        /// At most one for each layer. Each stage has an equal share of the threads.
        stages: Option<usize> = None, whole(1..=1024).or_null();
        /// Device of each stage of `pipelined`, such as `[cuda:0, cuda:1]`; `null`: that of the data.
        ///
        /// The data are on `device`, or with `device: auto` on the first device of the list.
        devices: Option<Vec<DeviceChoice>> = None, devices().or_null();
        /// Folder in which `layer_major` keeps parameters and optimizer states; `null`: in memory.
        ///
        /// Networks larger than memory can be trained this way.
        offload: Option<PathBuf> = None, path("a folder").or_null();
    }
}

named! {
    /// The orders.
    pub enum ScheduleName {
        /// Whatever suits the machine and the network.
        Auto = "auto",
        /// For each batch, for each layer.
        Sequential = "sequential",
        /// Consecutive layers in stages, each with a thread or a device of its own.
        Pipelined = "pipelined",
        /// For each chunk of batches, for each layer, for each batch.
        LayerMajor = "layer_major",
    }
}

impl ScheduleConfig {
    fn checked(self, reader: &mut Reader, algorithm: &Algorithm) -> Result<Self, ConfigError> {
        let pipelined = self.name == ScheduleName::Pipelined;
        let reordered = pipelined || self.name == ScheduleName::LayerMajor;
        if reordered && !algorithm.learns_forward() {
            let expected = "`sequential` or `auto` with this algorithm: its hidden layers learn \
                            only when the last layer's output is known";
            return Err(reader.refuse("name", self.name, expected));
        }
        if let Some(chunk) = self.chunk.filter(|_| !reordered) {
            let expected = "null, or `schedule.name: pipelined` or `layer_major`";
            return Err(reader.refuse("chunk", chunk, expected));
        }
        if let Some(stages) = self.stages.filter(|_| !pipelined) {
            return Err(reader.refuse("stages", stages, "null, or `schedule.name: pipelined`"));
        }
        if let Some(devices) = &self.devices {
            let shown = DeviceChoice::list(devices);
            if !pipelined {
                return Err(reader.refuse("devices", shown, "null, or `schedule.name: pipelined`"));
            }
            if self.stages.is_some_and(|stages| stages != devices.len()) {
                let expected = "as many devices as `schedule.stages`, which may be left out";
                return Err(reader.refuse("devices", shown, expected));
            }
        }
        if let Some(folder) = self.offload.as_ref().filter(|_| !reordered || pipelined) {
            let expected = "null, or `schedule.name: layer_major`";
            return Err(reader.refuse("offload", folder.display(), expected));
        }
        Ok(self)
    }
}

/// A device.
pub(super) fn device() -> Domain<DeviceChoice> {
    let schema = json!({"type": "string", "pattern": "^(auto|cpu|cuda|cuda:[0-9]+)$"});
    any("one of auto, cpu, cuda, cuda:N", schema)
}

/// A list of devices, one for each stage.
fn devices() -> Domain<Vec<DeviceChoice>> {
    let schema = json!({"type": "array", "items": {"type": "string"}, "minItems": 1});
    any("a list of devices, such as [cuda:0, cuda:1]", schema).only(
        |devices: &Vec<DeviceChoice>| !devices.is_empty() && !devices.contains(&DeviceChoice::Auto),
    )
}
