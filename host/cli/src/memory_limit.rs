//! How much memory this process may have: what its container allows, or most of the machine's.

use std::fs;
use std::path::Path;

/// The part of a machine's memory that is used where no container limits it, in per cent.
const PART_OF_MACHINE: u64 = 80;

/// Bytes that this process may have.
pub(crate) fn available() -> usize {
    let memory = fs::read_to_string("/proc/meminfo").ok();
    let machine = memory.as_deref().and_then(total).map(|bytes| bytes / 100 * PART_OF_MACHINE);
    let limits =
        cgroup_limits(Path::new("/sys/fs/cgroup"), &fs::read_to_string("/proc/self/cgroup").unwrap_or_default());
    let bytes = limits.into_iter().chain(machine).min();
    bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX)
}

/// The machine's memory in bytes, from the text of `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let kibibytes = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    kibibytes.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
}

/// The limits of the process's control group and all around it. `own` is the text of `/proc/self/cgroup`.
fn cgroup_limits(root: &Path, own: &str) -> Vec<u64> {
    let mut limits = Vec::new();
    for line in own.lines() {
        let (folder, file) = match line.splitn(3, ':').collect::<Vec<_>>().as_slice() {
            [_, "", path] => (root.join(path.trim_start_matches('/')), "memory.max"),
            [_, controllers, path] if controllers.split(',').any(|name| name == "memory") => {
                (root.join("memory").join(path.trim_start_matches('/')), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // Within a container the path may be the host's; the root has the container's own limit then.
        let around = folder.ancestors().filter(|folder| folder.starts_with(root));
        // "max" and no file are no limit.
        limits
            .extend(around.filter_map(|folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok()));
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_machine_is_read() {
        assert_eq!(total("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(total("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn the_limits_of_a_control_group_and_of_those_around_it_are_read() {
        let root = std::env::temp_dir().join(format!("modelfn-cgroup-{}", std::process::id()));
        fs::create_dir_all(root.join("pod/container")).unwrap();
        fs::create_dir_all(root.join("memory")).unwrap();
        fs::write(root.join("memory.max"), "max\n").unwrap();
        fs::write(root.join("pod/memory.max"), "1000\n").unwrap();
        fs::write(root.join("pod/container/memory.max"), "800\n").unwrap();
        fs::write(root.join("memory/memory.limit_in_bytes"), "900\n").unwrap();
        let limits = |own| cgroup_limits(&root, own);
        assert_eq!(limits("0::/pod/container\n"), [800, 1000]);
        assert!(limits("0::/elsewhere\n").is_empty());
        assert_eq!(limits("5:cpu,memory:/host/path\n4:pids:/\n"), [900]);
        fs::remove_dir_all(root).unwrap();
    }
}
