//! The memory limit of the process, as far as the system reports one.

use std::path::PathBuf;

use rustix::process::{Resource, getrlimit};

/// Returns the smallest of the process's cgroup limits, the limit of its address space and the machine's memory, in bytes, or `None` if
/// none is known.
pub fn of_process() -> Option<usize> {
    let limits = cgroup_files()
        .into_iter()
        .filter_map(|file| limit(&std::fs::read_to_string(file).ok()?));
    let address_space = getrlimit(Resource::As).current.and_then(|bytes| usize::try_from(bytes).ok());
    limits.chain(address_space).chain(machine()).min()
}

/// Returns the files that contain the memory limits of the process's cgroups, of versions 1 and 2, up to the root. In a container, the root
/// is the container's own cgroup.
fn cgroup_files() -> Vec<PathBuf> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    groups.lines().flat_map(files_of).collect()
}

/// Returns the limit files for one line of `/proc/self/cgroup`, which has the form `hierarchy:controllers:path`.
fn files_of(line: &str) -> Vec<PathBuf> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
        return Vec::new();
    };
    let (root, file) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max"),
        names if names.split(',').any(|name| name == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        _ => return Vec::new(),
    };
    let own = PathBuf::from(path.trim_start_matches('/'));
    own.ancestors().map(|group| PathBuf::from(root).join(group).join(file)).collect()
}

/// Parses the content of a limit file. Returns `None` for `max`, and for the very large number that stands for no limit in cgroup version
/// 1.
fn limit(text: &str) -> Option<usize> {
    text.trim().parse().ok().filter(|bytes| *bytes < usize::MAX / 4)
}

fn machine() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cgroup_v1_and_v2() {
        let files = |line| files_of(line).iter().map(|file| file.display().to_string()).collect::<Vec<_>>();
        assert_eq!(
            files("0::/kubepods/pod1"),
            [
                "/sys/fs/cgroup/kubepods/pod1/memory.max",
                "/sys/fs/cgroup/kubepods/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        assert_eq!(files("9:cpu,memory:/"), ["/sys/fs/cgroup/memory/memory.limit_in_bytes"]);
        assert!(files("3:cpu:/a").is_empty() && files("").is_empty());
        assert_eq!(
            (limit("536870912\n"), limit("max\n"), limit("9223372036854771712\n")),
            (Some(536_870_912), None, None)
        );
        assert!(of_process().is_some_and(|bytes| bytes > 16 * 1024 * 1024));
    }
}
