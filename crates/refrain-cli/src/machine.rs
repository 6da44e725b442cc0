//! What the machine has and what this process took of it.

use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

/// Bytes of memory that can still be taken, within the limits of a container; `None` where the system does not tell.
pub(crate) fn available_bytes() -> Option<u64> {
    let kind = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(kind).ok()?;
    let free = Some(system.available_memory()).filter(|&bytes| bytes > 0)?;
    let limit = system
        .cgroup_limits()
        .map(|limits| limits.free_memory)
        .filter(|&bytes| bytes > 0);
    Some(limit.map_or(free, |limit| limit.min(free)))
}

/// The processor's name; `None` where the system does not tell.
pub(crate) fn cpu() -> Option<String> {
    let kind = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing());
    let system = System::new_with_specifics(kind).ok()?;
    let name = system.cpus().first()?.brand().trim().to_owned();
    Some(name).filter(|name| !name.is_empty())
}

/// The most memory that this process has held so far, in bytes; `None` where the system does not tell.
pub(crate) fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn linux_tells_of_its_memory() {
        assert!(super::available_bytes().is_some_and(|bytes| bytes > 1 << 20));
        assert!(super::peak_memory_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
