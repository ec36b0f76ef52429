//! Sets an allocator option that bounds the duration of a single allocation.

use std::{env, os::unix::process::CommandExt as _, process::Command};

/// The environment variable from which mimalloc reads its purge delay, in milliseconds.
const PURGE_DELAY: &str = "MIMALLOC_PURGE_DELAY";

/// How long freed memory is kept for reuse. With mimalloc's default of 1,000 ms, a single allocation on a runtime worker had to return to
/// the system what large requests had freed within that second, which took up to 50 ms of CPU time; with 100 ms it takes less than 12 ms.
/// With 10 ms, every message pays for page faults (about 6 % of its CPU time).
const MILLISECONDS: &str = "100";

/// Restarts this process in place with the purge delay set, unless the environment already sets one.
///
/// mimalloc reads its options before `main` runs, and there is no safe interface to change an option later. The process keeps its id, its
/// arguments and its open files. If the restart fails, the process continues with the default delay; the only effect is that a single
/// allocation can take longer, because more freed memory is returned to the system at once.
pub fn bound_purges() {
    if env::var_os(PURGE_DELAY).is_some() {
        return;
    }
    let mut arguments = env::args_os();
    let Some(name) = arguments.next() else { return };
    // `exec` returns only if it fails.
    let _ = Command::new("/proc/self/exe")
        .arg0(name)
        .args(arguments)
        .env(PURGE_DELAY, MILLISECONDS)
        .exec();
}
