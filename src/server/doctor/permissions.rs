//! Checks whether other users of this machine can read what Parley stores.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{Finding, passed, warning};
use crate::config::Config;

/// The permission bits for the group and for others.
const GROUP_AND_OTHERS: u32 = 0o077;

/// Checks the modes of the database file, the files that `SQLite` keeps next to it, and the folder of uploaded files, if they exist.
pub(super) fn permissions(config: &Config) -> Vec<Finding> {
    const SUBJECT: &str = "permissions";
    let mut private: Vec<(PathBuf, &str)> = Vec::new();
    if let Some(file) = parley_storage::sqlite_file(&config.database.url) {
        for suffix in ["", "-wal", "-shm", ".lock", ".token"] {
            let mut path = file.clone().into_os_string();
            path.push(suffix);
            private.push((path.into(), "600"));
        }
    }
    if let Some(folder) = config.files.url.strip_prefix("file:") {
        private.push((folder.strip_prefix("//").unwrap_or(folder).into(), "700"));
    }
    let too_wide: Vec<Finding> = private
        .iter()
        .filter_map(|(path, expected)| {
            let mode = mode(path).filter(|mode| mode & GROUP_AND_OTHERS != 0)?;
            Some(warning(
                SUBJECT,
                format!(
                    "{} has the mode {mode:o}, so other users of this machine can read it, including keys and messages: chmod {expected} {0}",
                    path.display()
                ),
            ))
        })
        .collect();
    if too_wide.is_empty() && !private.is_empty() {
        return vec![passed(SUBJECT, "only their owner can access the database and the files")];
    }
    too_wide
}

fn mode(path: &Path) -> Option<u32> {
    std::fs::metadata(path).ok().map(|found| found.mode() & 0o777)
}
