//! Checks whether files can be stored.

use std::path::Path;

use rustix::fs::{Access, access};

use super::{Finding, PATIENCE, bad, good};
use crate::{config::Config, server::start};

/// Stores a file and removes it again. If the folder does not exist, checks whether a start could create it.
pub(super) async fn storage(config: &Config) -> Finding {
    let storage = match start::storage(config) {
        Ok(storage) => storage,
        Err(error) => return bad("files", error.to_string()),
    };
    if let Some(folder) = storage.folder().filter(|folder| !folder.exists()) {
        return missing(folder);
    }
    let tried = async {
        storage.open()?;
        storage.try_out().await?;
        anyhow::Ok(())
    };
    match tokio::time::timeout(PATIENCE * 4, tried).await {
        Ok(Ok(())) => good("files", format!("{} takes files and gives them back", config.files.url)),
        Ok(Err(error)) => bad(
            "files",
            format!("{} cannot be used, so uploads are refused: {error:#}", config.files.url),
        ),
        Err(_) => bad("files", format!("{} does not answer, so uploads are refused", config.files.url)),
    }
}

/// Checks whether a missing folder could be created.
fn missing(folder: &Path) -> Finding {
    let beside = |path: &Path| {
        if path.as_os_str().is_empty() {
            Path::new(".").to_owned()
        } else {
            path.to_owned()
        }
    };
    let above = folder.ancestors().skip(1).map(beside).find(|path| path.exists());
    let above = above.unwrap_or_else(|| Path::new(".").to_owned());
    let refused = |reason: &str| {
        bad(
            "files",
            format!(
                "the folder {} does not exist and cannot be created, so uploads are refused: {reason}",
                folder.display()
            ),
        )
    };
    if !above.is_dir() {
        return refused(&format!("{} is no folder", above.display()));
    }
    match access(&above, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => good(
            "files",
            format!("the folder {} does not exist yet: the first start creates it", folder.display()),
        ),
        Err(error) => refused(&format!("{}: {error}", above.display())),
    }
}
