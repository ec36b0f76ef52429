//! Restores the files of a backup.
//!
//! A restore takes effect when the database is replaced, which is its last step. Until then, the store keeps its existing files: a restored
//! file whose name is taken is stored under a temporary name. A restore that fails removes the files that it created.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures_util::StreamExt as _;
use parley_blobs::Storage;
use parley_types::error::Error;

use super::{archive::Reader, error::BackupError};

/// Folder of the temporary names. A restored file whose name is taken is stored under such a name until the restore is complete.
const STAGING_FOLDER: &str = "restoring";

/// Number of consecutive failures after which a store is considered unusable.
const MAX_FAILURES: u32 = 3;

/// The files that a restore has created so far.
#[derive(Debug)]
pub struct FileRestore {
    storage: Storage,
    /// Folders that did not exist before the restore.
    folders: Vec<PathBuf>,
    /// The names of the created files, each followed by a line break. A single string saves memory, because a restore can have millions of
    /// files.
    created: String,
    /// The temporary names of files whose name was taken, each with its final name.
    staged: Vec<(String, String)>,
    count: u64,
}

impl FileRestore {
    /// Creates the state of a restore that has not created any files yet.
    pub fn new(storage: Storage) -> Self {
        let folders = storage.folder().map(missing_folders).unwrap_or_default();
        Self {
            storage,
            folders,
            created: String::new(),
            staged: Vec::new(),
            count: 0,
        }
    }

    /// Returns the number of restored files, including files that the store already had.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Stores the next file of an archive. A file that the store already has with the same bytes is left unchanged. If this call is
    /// cancelled, [`FileRestore::roll_back`] removes the file.
    ///
    /// # Errors
    /// Returns an error if the store or the archive fails.
    pub async fn store(&mut self, name: &str, reader: &mut Reader) -> anyhow::Result<()> {
        if name.contains(char::is_control) {
            bail!(BackupError::damaged(format_args!("it contains an invalid file name, {name:?}")));
        }
        let size = reader.next_entry().await?.map_or(0, |(_, size)| size);
        let mut prefix = CommonPrefix::default();
        let stored = name;
        let name = match self.storage.size(name).await {
            Err(Error::NotFound { .. }) => {
                self.created.push_str(name);
                self.created.push('\n');
                name.to_owned()
            }
            Ok(existing) => {
                if existing == size {
                    prefix = self.compare(name, size, reader).await?;
                    if prefix.next.is_none() {
                        self.count += 1;
                        return Ok(());
                    }
                }
                let staged = format!("{STAGING_FOLDER}/{}", uuid::Uuid::new_v4());
                self.staged.push((staged.clone(), name.to_owned()));
                staged
            }
            Err(error) => return Err(error).context("storing a file"),
        };
        let mut upload = self.storage.create(&name).await.context("storing a file")?;
        if prefix.bytes > 0 {
            // The beginning of the file was already read from the archive, which cannot be read twice. Copy it from the store, where the
            // bytes are the same.
            let mut chunks = self.storage.read(stored, 0..prefix.bytes).await.context("reading a file")?;
            while let Some(chunk) = chunks.next().await {
                upload.write(chunk.context("reading a file")?).await.context("storing a file")?;
            }
        }
        if let Some(bytes) = prefix.next {
            upload.write(bytes).await.context("storing a file")?;
        }
        while let Some(bytes) = reader.next_chunk().await? {
            upload.write(bytes).await.context("storing a file")?;
        }
        upload.finish().await.context("storing a file")?;
        self.count += 1;
        Ok(())
    }

    /// Compares a file in the store with the next file of the archive, which has the same size.
    ///
    /// # Errors
    /// Returns an error if the archive fails. A file in the store that cannot be read counts as different.
    async fn compare(&self, name: &str, size: u64, reader: &mut Reader) -> anyhow::Result<CommonPrefix> {
        let mut chunks = self.storage.read(name, 0..size).await.ok();
        let (mut prefix, mut chunk) = (0, Bytes::new());
        while let Some(bytes) = reader.next_chunk().await? {
            let mut remaining = bytes.clone();
            while !remaining.is_empty() {
                if chunk.is_empty() {
                    let next = match &mut chunks {
                        Some(chunks) => chunks.next().await.and_then(Result::ok),
                        None => None,
                    };
                    chunk = next.unwrap_or_default();
                }
                let common = remaining.len().min(chunk.len());
                if common == 0 || remaining.split_to(common) != chunk.split_to(common) {
                    let next = Some(bytes);
                    return Ok(CommonPrefix { bytes: prefix, next });
                }
            }
            prefix += bytes.len() as u64;
        }
        Ok(CommonPrefix { bytes: prefix, next: None })
    }

    /// Moves files with temporary names into place, which completes the restore.
    ///
    /// # Errors
    /// Returns an error if the store fails, in which case existing files with the final names are unchanged. The log names each file that
    /// is not in place.
    pub async fn finish(self) -> anyhow::Result<()> {
        let (mut remaining, mut failures, mut first) = (0_u64, 0, None);
        for (staged, name) in &self.staged {
            // Stop trying after several failures: an unusable store would cost a timeout for each name.
            if failures < MAX_FAILURES {
                match self.storage.rename(staged, name).await {
                    Ok(()) => {
                        failures = 0;
                        continue;
                    }
                    Err(error) => {
                        failures += 1;
                        first.get_or_insert(error);
                    }
                }
            }
            remaining += 1;
            tracing::error!(
                file = staged,
                name,
                "failed to rename a restored file in the file store (files.url); rename it manually"
            );
        }
        if let Some(error) = first {
            return Err(error)
                .with_context(|| format!("the database was restored, but {remaining} files could not be renamed: the log lists them"));
        }
        if let Some(folder) = self.storage.folder() {
            // Ignore errors: the folder might not exist.
            let _ = fs::remove_dir(folder.join(STAGING_FOLDER));
        }
        Ok(())
    }

    /// Removes all files and folders that the restore created.
    pub async fn roll_back(self) {
        // First wait until interrupted uploads have been completed or removed.
        self.storage.drain().await;
        let names = self.created.lines().chain(self.staged.iter().map(|(staged, _)| staged.as_str()));
        let (mut remaining, mut failures, mut parents) = (0_u64, 0, BTreeSet::new());
        for name in names {
            // Stop trying after several failures: an unusable store would cost a timeout for each name.
            if failures < MAX_FAILURES && self.storage.remove(name).await.is_ok() {
                failures = 0;
            } else {
                failures += 1;
                remaining += 1;
            }
            if let Some((parent, _)) = name.rsplit_once('/') {
                parents.insert(parent);
            }
        }
        if remaining > 0 {
            tracing::warn!(
                left = remaining,
                "failed to remove files that a failed restore left in the file store (files.url)"
            );
        }
        // Remove the empty folders that interrupted uploads leave. Folders that contain something are not removed.
        if let Some(folder) = self.storage.folder() {
            for parent in parents {
                let _ = fs::remove_dir(folder.join(parent));
            }
        }
        for folder in &self.folders {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// How much of a file in the archive, from its beginning, is equal to the file in the store.
#[derive(Debug, Default)]
struct CommonPrefix {
    /// Number of equal bytes at the beginning of both files.
    bytes: u64,
    /// The first chunk from the archive that differs from the file in the store. `None` if all bytes are equal, or nothing was compared.
    next: Option<Bytes>,
}

/// Returns `folder` and its ancestors that do not exist and would be created along with it, innermost first.
fn missing_folders(folder: &Path) -> Vec<PathBuf> {
    let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    folder.ancestors().take_while(is_missing).map(Path::to_owned).collect()
}
