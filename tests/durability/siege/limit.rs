//! The memory limit of the server: a cgroup (version 1 or 2) if one can be created, otherwise a limit of the process.

use std::{fs, path::PathBuf};

/// The limit in bytes.
const BYTES: u64 = 512 << 20;

/// The mechanism of the limit.
#[derive(Debug)]
pub enum Limit {
    /// The memory controller of cgroups, version 1.
    Version1(PathBuf),
    /// The memory controller of cgroups, version 2.
    Version2(PathBuf),
    /// `ulimit -d`: writable private mappings of the process (`RLIMIT_DATA`).
    Process,
}

impl Limit {
    /// Creates the limit.
    pub fn take() -> Self {
        let name = format!("parley-siege-{}", std::process::id());
        let v1 = PathBuf::from("/sys/fs/cgroup/memory").join(&name);
        if fs::create_dir(&v1).is_ok() {
            if fs::write(v1.join("memory.limit_in_bytes"), BYTES.to_string()).is_ok() {
                return Self::Version1(v1);
            }
            let _ = fs::remove_dir(&v1);
        }
        let v2 = PathBuf::from("/sys/fs/cgroup").join(&name);
        if fs::create_dir(&v2).is_ok() {
            if fs::write(v2.join("memory.max"), BYTES.to_string()).is_ok() {
                return Self::Version2(v2);
            }
            let _ = fs::remove_dir(&v2);
        }
        Self::Process
    }

    /// The shell command that applies the limit before the shell executes the server.
    pub fn command(&self) -> String {
        match self {
            Self::Version1(group) | Self::Version2(group) => format!("echo $$ >{}/cgroup.procs", group.display()),
            Self::Process => format!("ulimit -d {}", BYTES / 1024),
        }
    }

    /// Describes the mechanism.
    pub fn describe(&self) -> String {
        let by = match self {
            Self::Version1(_) => "a cgroup (version 1)",
            Self::Version2(_) => "a cgroup (version 2)",
            Self::Process => "RLIMIT_DATA, because no cgroup can be made here",
        };
        format!("limited to {} MiB by {by}", BYTES >> 20)
    }

    /// Whether the process still runs.
    #[allow(clippy::unused_self)] // called like the other methods
    pub fn alive(&self, process: u32) -> bool {
        status(process, "State").is_some_and(|state| !state.starts_with('Z'))
    }

    /// The current memory use.
    #[allow(clippy::unused_self)] // called like the other methods
    pub fn used(&self, process: u32) -> String {
        format!("resident {}", status(process, "VmRSS").unwrap_or_default())
    }

    /// The peak memory use.
    pub fn peak(&self, process: u32) -> String {
        let resident = status(process, "VmHWM").unwrap_or_default();
        let group = match self {
            Self::Version1(group) => fs::read_to_string(group.join("memory.max_usage_in_bytes")).ok(),
            Self::Version2(group) => fs::read_to_string(group.join("memory.peak")).ok(),
            Self::Process => None,
        };
        let group = group.and_then(|bytes| bytes.trim().parse::<u64>().ok());
        group.map_or_else(
            || format!("{resident} resident"),
            |bytes| format!("{resident} resident, {} MiB in its cgroup with cached files", bytes >> 20),
        )
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        if let Self::Version1(group) | Self::Version2(group) = self {
            let _ = fs::remove_dir(group);
        }
    }
}

/// A field of `/proc/PID/status`.
fn status(process: u32, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}
