//! Database files that are not in their place yet.

use std::path::{Path, PathBuf};

use crate::{config::Config, server::rooms};

/// A file that is removed when it is of no use any more.
#[derive(Debug)]
pub struct Temporary(pub PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // It may not exist, or be in its place already.
        for suffix in ["", "-wal", "-shm", ".lock"] {
            let mut file = self.0.as_os_str().to_owned();
            file.push(suffix);
            let _ = std::fs::remove_file(file);
        }
    }
}

/// The configuration of the database, for what is opened before it is in its place.
pub fn at(config: &Config, file: &Path) -> parley_storage::Config {
    parley_storage::Config {
        url: format!("sqlite://{}?mode=rwc", file.display()),
        ..rooms::database(config)
    }
}
