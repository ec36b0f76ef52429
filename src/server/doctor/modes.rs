//! Checks whether other users of this machine can read what Parley stores.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{Finding, doubtful, good};
use crate::config::Config;

/// The permission bits of group and others.
const OTHERS: u32 = 0o077;

/// Checks the modes of the database file, the files that `SQLite` keeps next to it, and the folder of uploaded files, if they exist.
pub(super) fn modes(config: &Config) -> Vec<Finding> {
    const ABOUT: &str = "permissions";
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
    let wide: Vec<Finding> = private
        .iter()
        .filter_map(|(path, right)| {
            let mode = mode(path).filter(|mode| mode & OTHERS != 0)?;
            Some(doubtful(
                ABOUT,
                format!(
                    "{} has the mode {mode:o}, so other users of this machine may read it, keys and messages included: chmod {right} {0}",
                    path.display()
                ),
            ))
        })
        .collect();
    if wide.is_empty() && !private.is_empty() {
        return vec![good(ABOUT, "database and files are their owner's alone")];
    }
    wide
}

fn mode(path: &Path) -> Option<u32> {
    std::fs::metadata(path).ok().map(|found| found.mode() & 0o777)
}
