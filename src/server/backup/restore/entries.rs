//! The archive entries that are common to all database backends.

use anyhow::bail;

use crate::server::backup::{
    archive::Reader,
    error::BackupError,
    files::FileRestore,
    manifest::{COMPLETE, FILES, FileCounts},
};

/// Maximum size in bytes of the archive's JSON entries, which are read into memory.
pub const MAX_JSON_BYTES: usize = 4 * 1024 * 1024;

/// The kind of an archive entry that does not belong to the database.
pub enum OtherEntry {
    /// A file, which has been stored in the file store.
    File,
    /// The end of the archive.
    End(FileCounts),
    /// Neither a file nor the end of the archive. No part of the entry has been read.
    Unknown,
}

/// Restores a file, or reads the entry that ends the archive.
pub async fn read_other_entry(reader: &mut Reader, name: &str, files: &mut FileRestore) -> anyhow::Result<OtherEntry> {
    if name == COMPLETE {
        let counts: FileCounts =
            serde_json::from_slice(&reader.read_entry(MAX_JSON_BYTES).await?).map_err(|error| BackupError::entry(COMPLETE, &error))?;
        if counts.files != files.count() {
            bail!(BackupError::damaged(format_args!(
                "it contains {} of {} files",
                files.count(),
                counts.files
            )));
        }
        return Ok(OtherEntry::End(counts));
    }
    let Some(file) = name.strip_prefix(FILES) else {
        return Ok(OtherEntry::Unknown);
    };
    files.store(file, reader).await?;
    Ok(OtherEntry::File)
}
