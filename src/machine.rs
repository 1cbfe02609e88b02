//! What the system tells about the machine: caches, processor, memory.

use std::sync::OnceLock;

/// Bytes of the largest cache of the first core; a guess where the system does not tell.
pub(crate) fn last_level_cache() -> i64 {
    static BYTES: OnceLock<i64> = OnceLock::new();
    let size = |index| {
        let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size");
        let text = std::fs::read_to_string(path).ok()?;
        let kib: i64 = text.trim().strip_suffix('K')?.parse().ok()?;
        Some(kib << 10)
    };
    *BYTES.get_or_init(|| (0..8).filter_map(size).max().unwrap_or(16 << 20))
}

/// What the processor is called.
pub(crate) fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name"));
    let name = name.map(|name| name.trim_start_matches([' ', '\t', ':']).trim());
    name.unwrap_or(std::env::consts::ARCH).to_string()
}

/// Whether the processor is Intel's. On others MKL, with which libtorch multiplies, is half as fast as the
/// processor allows.
pub(crate) fn is_intel() -> bool {
    static IS_INTEL: OnceLock<bool> = OnceLock::new();
    let cpuinfo = || std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    *IS_INTEL.get_or_init(|| cpuinfo().contains("GenuineIntel"))
}

/// Bytes of memory that the machine has, or this process may have; none where the system does not tell.
pub(crate) fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let limit = limit.and_then(|limit| limit.trim().parse::<u64>().ok());
    Some((kib << 10).min(limit.unwrap_or(u64::MAX)))
}
