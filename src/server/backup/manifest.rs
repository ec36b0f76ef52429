//! Names and contents of the archive entries other than rows and files.

use parley_storage::{Database, copy::Source};
use serde::{Deserialize, Serialize};

use super::error::BackupError;

/// The version of the archive format that this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;

pub const MANIFEST: &str = "manifest.json";
pub const SQLITE_FILE: &str = "database/parley.db";
pub const SEQUENCES: &str = "database/sequences.json";
pub const COMPLETE: &str = "complete.json";
pub const FILES: &str = "files/";

/// The manifest, which is the first entry of an archive.
#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest {
    #[serde(rename = "form")]
    pub format_version: u32,
    /// The version of the program that wrote the archive.
    pub program: String,
    /// When the backup was started, in RFC 3339 format.
    pub created_at: String,
    pub database: Source,
}

/// The last entry of an archive. An archive without this entry is incomplete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileCounts {
    /// Number of files in the archive.
    pub files: u64,
    /// Number of files that the database refers to but the store did not have.
    pub missing: u64,
    /// Number of files whose size in the store differed from that in the database, or that could not be read. They are not in the archive.
    #[serde(default)]
    pub damaged: u64,
}

/// Checks, by name, that the migrations of the backup's database are a prefix of this program's migrations.
///
/// # Errors
/// Returns [`BackupError::Newer`] if the database has a migration that this program does not have, and [`BackupError::Forked`] if the
/// database lacks a migration of this program that precedes the database's last one.
pub fn check_lineage(database: &Source) -> Result<(), BackupError> {
    if let Some(migration) = Database::unknown_migration(&database.migrations) {
        return Err(BackupError::Newer(migration));
    }
    Database::gap(&database.migrations).map_or(Ok(()), |gap| Err(BackupError::Forked(gap)))
}
