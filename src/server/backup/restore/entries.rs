//! The archive entries that are common to all database backends.

use anyhow::bail;

use crate::server::backup::{
    archive::Reader,
    files::Restoring,
    manifest::{COMPLETE, Complete, FILES},
    refused::Refused,
};

/// Maximum size in bytes of the small entries of an archive.
pub const SMALL: usize = 4 * 1024 * 1024;

/// The kind of an entry other than the database.
pub enum Beside {
    /// A file, which has been stored.
    File,
    /// The end of the archive.
    End(Complete),
    /// Neither of these. Nothing of the entry was read.
    Other,
}

/// Restores a file, or reads the end of the archive.
pub async fn beside_the_database(reader: &mut Reader, name: &str, files: &mut Restoring) -> anyhow::Result<Beside> {
    if name == COMPLETE {
        let complete: Complete = serde_json::from_slice(&reader.whole(SMALL).await?).map_err(|error| Refused::entry(COMPLETE, &error))?;
        if complete.files != files.count() {
            bail!(Refused::damaged(format_args!(
                "it has {} files of {}",
                files.count(),
                complete.files
            )));
        }
        return Ok(Beside::End(complete));
    }
    let Some(file) = name.strip_prefix(FILES) else {
        return Ok(Beside::Other);
    };
    files.store(file, reader).await?;
    Ok(Beside::File)
}
