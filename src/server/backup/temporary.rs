//! Database files that are temporary until they are moved into place.

use std::path::{Path, PathBuf};

use crate::{config::Config, server::config_mapping};

/// A temporary database file. The file, its journal and its lock are removed when this value is dropped.
#[derive(Debug)]
pub struct Temporary(pub PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Ignore errors: the files might not exist, or might have been moved into place.
        for suffix in ["", "-wal", "-shm", ".lock"] {
            let mut file = self.0.as_os_str().to_owned();
            file.push(suffix);
            let _ = std::fs::remove_file(file);
        }
    }
}

/// Returns the configuration for opening a database file before it is moved into place.
pub fn storage_config(config: &Config, file: &Path) -> parley_storage::Config {
    parley_storage::Config {
        url: format!("sqlite://{}?mode=rwc", file.display()),
        ..config_mapping::database(config)
    }
}
