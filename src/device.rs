//! Which device a run uses.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tch::{Cuda, Device, Kind, Tensor};

use crate::native;

/// What a configuration asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum DeviceChoice {
    /// CUDA if it works, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device with this index.
    Cuda(usize),
}

/// The device that was chosen.
#[derive(Clone, Debug)]
pub struct ChosenDevice {
    /// The device.
    pub device: Device,
    /// Why it is not the one that might be expected: a driver is there, but CUDA does not work.
    pub remark: Option<String>,
}

impl DeviceChoice {
    /// Several as a configuration lists them: `[cuda, cuda:1]`.
    pub fn list(devices: &[DeviceChoice]) -> String {
        let names: Vec<String> = devices.iter().map(DeviceChoice::to_string).collect();
        format!("[{}]", names.join(", "))
    }

    /// The device to use; asking for CUDA where it does not work is an error that says why.
    ///
    /// libtorch's CUDA part is loaded here, and only if it is asked for or a driver is there.
    pub fn choose(self) -> Result<ChosenDevice> {
        let chosen = |device| ChosenDevice { device, remark: None };
        match self {
            DeviceChoice::Cpu => Ok(chosen(Device::Cpu)),
            DeviceChoice::Auto => Ok(match cuda_devices().and_then(|_| try_out(0)) {
                Ok(()) => chosen(Device::Cuda(0)),
                Err(error) => {
                    let remark = format!("CUDA cannot be used: {error}");
                    let remark = native::has_cuda_driver().then_some(remark);
                    ChosenDevice { device: Device::Cpu, remark }
                }
            }),
            DeviceChoice::Cuda(index) => match cuda_devices() {
                Ok(count) if index < count => {
                    try_out(index).with_context(|| format!("device `{self}` does not work"))?;
                    Ok(chosen(Device::Cuda(index)))
                }
                Ok(count) => bail!(
                    "device `{self}` is not there: this machine has {count}, the last is `cuda:{}`",
                    count - 1
                ),
                Err(error) => {
                    bail!("device `{self}` cannot be used: {error}; use `cpu` or `auto`")
                }
            },
        }
    }
}

/// How many CUDA devices work; at least one.
fn cuda_devices() -> Result<usize> {
    native::load_cuda()?;
    match Cuda::device_count() {
        count if count > 0 => Ok(count as usize),
        _ => bail!("the NVIDIA driver shows no device that this libtorch can use"),
    }
}

/// Computes something on a CUDA device: one that is counted may still be of a kind that this
/// libtorch has no kernels for, or taken by another program.
fn try_out(index: usize) -> Result<()> {
    let one = Tensor::f_ones([1], (Kind::Float, Device::Cuda(index)))?;
    let two = one.f_add(&one)?.f_double_value(&[0])?;
    if two != 2.0 { bail!("the device computes 1 + 1 = {two}") } else { Ok(()) }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            DeviceChoice::Auto => formatter.write_str("auto"),
            DeviceChoice::Cpu => formatter.write_str("cpu"),
            DeviceChoice::Cuda(0) => formatter.write_str("cuda"),
            DeviceChoice::Cuda(index) => write!(formatter, "cuda:{index}"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<DeviceChoice, String> {
        match text {
            "auto" => Ok(DeviceChoice::Auto),
            "cpu" => Ok(DeviceChoice::Cpu),
            "cuda" => Ok(DeviceChoice::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|index| index.parse().ok())
                .map(DeviceChoice::Cuda)
                .ok_or_else(|| format!("`{text}` is not a device")),
        }
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> String {
        choice.to_string()
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = String;

    fn try_from(text: String) -> Result<DeviceChoice, String> {
        text.parse()
    }
}

/// Such as `cpu` or `cuda:0`.
pub fn name(device: Device) -> String {
    match device {
        Device::Cpu => "cpu".to_string(),
        Device::Cuda(index) => format!("cuda:{index}"),
        other => format!("{other:?}").to_lowercase(),
    }
}
