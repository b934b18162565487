//! How much memory this program may use: that of its container, else that of the machine.

use std::path::Path;

/// Bytes of memory of the container or the machine, whichever is less.
pub(crate) fn available() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| mem_total(&text));
    [machine, cgroup_limit()].into_iter().flatten().min().unwrap_or(u64::MAX)
}

/// The limit of the control group that this process is in, if it has one.
fn cgroup_limit() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    // In a container the group's own folder is mounted as the root.
    let folders = [Path::new("/sys/fs/cgroup").join(group.trim_start_matches('/')), "/sys/fs/cgroup".into()];
    folders.iter().find_map(|folder| std::fs::read_to_string(folder.join("memory.max")).ok()?.trim().parse().ok())
}

/// The bytes of the line `MemTotal`.
fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_a_machine_is_read() {
        assert_eq!(mem_total("MemTotal:       24689012 kB\nMemFree: 1 kB\n"), Some(24_689_012 * 1024));
        assert_eq!(mem_total("MemFree: 1 kB\n"), None);
        assert!(available() > 1 << 20);
    }
}
