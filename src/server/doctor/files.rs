//! Checks whether files can be stored.

use std::path::Path;

use rustix::fs::{Access, access};

use super::{Finding, TIMEOUT, failed, passed};
use crate::{config::Config, server::start};

/// Stores a file and removes it again. If the folder does not exist, checks whether the server could create it when it starts.
pub(super) async fn file_store(config: &Config) -> Finding {
    let storage = match start::file_store(config) {
        Ok(storage) => storage,
        Err(error) => return failed("files", error.to_string()),
    };
    if let Some(folder) = storage.folder().filter(|folder| !folder.exists()) {
        return check_creatable(folder);
    }
    let trial = async {
        storage.open()?;
        storage.try_out().await?;
        anyhow::Ok(())
    };
    match tokio::time::timeout(TIMEOUT * 4, trial).await {
        Ok(Ok(())) => passed("files", format!("{} stores and returns files", config.files.url)),
        Ok(Err(error)) => failed(
            "files",
            format!("{} cannot be used, so uploads are rejected: {error:#}", config.files.url),
        ),
        Err(_) => failed("files", format!("{} does not respond, so uploads are rejected", config.files.url)),
    }
}

/// Checks whether a missing folder could be created.
fn check_creatable(folder: &Path) -> Finding {
    let or_current = |path: &Path| {
        if path.as_os_str().is_empty() {
            Path::new(".").to_owned()
        } else {
            path.to_owned()
        }
    };
    let existing = folder.ancestors().skip(1).map(or_current).find(|path| path.exists());
    let existing = existing.unwrap_or_else(|| Path::new(".").to_owned());
    let unusable = |reason: &str| {
        failed(
            "files",
            format!(
                "the folder {} does not exist and cannot be created, so uploads are rejected: {reason}",
                folder.display()
            ),
        )
    };
    if !existing.is_dir() {
        return unusable(&format!("{} is not a folder", existing.display()));
    }
    match access(&existing, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => passed(
            "files",
            format!("the folder {} does not exist yet: the first start creates it", folder.display()),
        ),
        Err(error) => unusable(&format!("{}: {error}", existing.display())),
    }
}
