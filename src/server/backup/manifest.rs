//! The entries of an archive beside rows and files: their names, and what they say.

use parley_storage::{Database, copy::Source};
use serde::{Deserialize, Serialize};

use super::refused::Refused;

/// The form of archives that this program writes and reads.
pub const FORM: u32 = 1;

pub const MANIFEST: &str = "manifest.json";
pub const SQLITE_FILE: &str = "database/parley.db";
pub const SEQUENCES: &str = "database/sequences.json";
pub const COMPLETE: &str = "complete.json";
pub const FILES: &str = "files/";

/// What an archive says of itself, first.
#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest {
    pub form: u32,
    /// The version of the program.
    pub program: String,
    /// When it was begun.
    pub created_at: String,
    pub database: Source,
}

/// What an archive says at its end, without which it is not complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complete {
    /// Files in it.
    pub files: u64,
    /// Files that the database names and the store did not have.
    pub missing: u64,
    /// Files that the store had with another size than the database says, or could not read. They are not in the archive.
    #[serde(default)]
    pub damaged: u64,
}

/// Makes sure that the database of a backup has the first migrations of this program, by their names.
///
/// # Errors
/// [`Refused::Newer`]; [`Refused::Forked`].
pub fn of_this_line(database: &Source) -> Result<(), Refused> {
    if let Some(migration) = Database::unknown_migration(&database.migrations) {
        return Err(Refused::Newer(migration));
    }
    Database::gap(&database.migrations).map_or(Ok(()), |gap| Err(Refused::Forked(gap)))
}
