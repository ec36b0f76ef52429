//! `parley backup` and `parley restore`: the database and its files as one archive, which can be written while a server is running, and
//! restored while none is.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use parley_blobs::{Chunks, Storage};
use parley_storage::{
    copy::{Object, Sequence, Source, postgres::Snapshot, sqlite},
    sqlite_file,
};
use parley_types::error::Error;

use super::rooms;
use crate::config::Config;

mod archive;
mod files;
mod manifest;
mod refused;
mod restore;
mod temporary;

use archive::Writer;
pub use manifest::Complete;
use manifest::{COMPLETE, FILES, FORM, MANIFEST, Manifest, SEQUENCES, SQLITE_FILE};
pub use refused::Refused;
pub use restore::{Restored, restore};
use temporary::Temporary;

/// Rows of a table are written in chunks of this many bytes, because their total size is not known in advance.
const PIECE: usize = 4 * 1024 * 1024;

/// Returns the name of the entry that holds chunk number `piece` of a table's rows.
fn rows_entry(table: &str, piece: usize) -> String {
    format!("database/{table}/{piece:06}")
}

/// Writes the database and its files to an archive. A server can be running meanwhile. The archive replaces `target` when it is complete.
///
/// # Errors
/// Returns an error if the database, a file or the archive cannot be read or written; `target` is then unchanged.
pub async fn backup(config: &Config, target: &Path) -> anyhow::Result<Complete> {
    let storage = Storage::new(&rooms::storage(config)).context("files.url")?;
    let mut archive = Writer::to(target);
    let complete = match sqlite_file(&config.database.url) {
        Some(file) => {
            let copy = Temporary(archive::beside(if archive::is_standard(target) { &file } else { target }, "copy"));
            sqlite_database(config, &copy.0, &storage, &mut archive).await?
        }
        None if config.database.url.starts_with("postgres") => postgres_database(config, &storage, &mut archive).await?,
        None => bail!("a database in memory cannot be backed up"),
    };
    archive.whole(COMPLETE, serde_json::to_vec_pretty(&complete)?.into()).await?;
    archive.finish().await?;
    Ok(complete)
}

async fn begin(archive: &mut Writer, database: Source) -> anyhow::Result<()> {
    let manifest = Manifest {
        form: FORM,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        created_at: chrono::Utc::now().to_rfc3339(),
        database,
    };
    archive.whole(MANIFEST, serde_json::to_vec_pretty(&manifest)?.into()).await
}

async fn sqlite_database(config: &Config, copy: &Path, storage: &Storage, archive: &mut Writer) -> anyhow::Result<Complete> {
    sqlite::copy_to(&config.database.url, copy).await.context("copying the database")?;
    let mut database = sqlite::open(copy).await.context("reading the copy")?;
    begin(archive, sqlite::source(&mut database).await?).await?;
    let mut file = tokio::fs::File::open(copy).await?;
    archive.entry(SQLITE_FILE, file.metadata().await?.len()).await?;
    loop {
        let mut piece = bytes::BytesMut::with_capacity(256 * 1024);
        if tokio::io::AsyncReadExt::read_buf(&mut file, &mut piece).await? == 0 {
            break;
        }
        archive.bytes(piece.freeze()).await?;
    }
    let (mut complete, mut after) = (Complete::default(), 0);
    loop {
        let objects = sqlite::objects(&mut database, after).await?;
        let Some(last) = objects.last() else { return Ok(complete) };
        after = last.id;
        files(objects, storage, archive, &mut complete).await?;
    }
}

async fn postgres_database(config: &Config, storage: &Storage, archive: &mut Writer) -> anyhow::Result<Complete> {
    let database = rooms::database(config);
    let mut snapshot = Snapshot::take(&database.url, database.connect_timeout)
        .await
        .context("the database cannot be reached")?;
    let source = snapshot.source().await?;
    let tables = source.tables.clone();
    begin(archive, source).await?;
    for table in &tables {
        let mut rows = snapshot.rows(table).await?;
        let (mut piece, mut number) = (bytes::BytesMut::new(), 0);
        while let Some(bytes) = rows.try_next().await? {
            piece.extend_from_slice(&bytes);
            if piece.len() >= PIECE {
                archive.whole(&rows_entry(&table.name, number), piece.split().freeze()).await?;
                number += 1;
            }
        }
        if !piece.is_empty() {
            archive.whole(&rows_entry(&table.name, number), piece.freeze()).await?;
        }
    }
    let sequences: Vec<Sequence> = snapshot.sequences().await?;
    archive.whole(SEQUENCES, serde_json::to_vec_pretty(&sequences)?.into()).await?;
    let (mut complete, mut after) = (Complete::default(), 0);
    loop {
        let objects = snapshot.objects(after).await?;
        let Some(last) = objects.last() else { break };
        after = last.id;
        files(objects, storage, archive, &mut complete).await?;
    }
    snapshot.end().await?;
    Ok(complete)
}

async fn files(objects: Vec<Object>, storage: &Storage, archive: &mut Writer, complete: &mut Complete) -> anyhow::Result<()> {
    for object in objects {
        let small = object.small.map(|size| (format!("{}-small", object.name), size));
        for (name, size) in [Some((object.name.clone(), object.size)), small].into_iter().flatten() {
            match file(&name, size, storage, archive).await? {
                Copied::Whole => complete.files += 1,
                Copied::Missing if object.in_use => {
                    complete.missing += 1;
                    tracing::warn!(file = name, "a message has a file that the store does not have");
                }
                Copied::Damaged(reason) if object.in_use => {
                    complete.damaged += 1;
                    tracing::warn!(
                        file = name,
                        reason,
                        "a message has a file that is damaged in the store; it is left out"
                    );
                }
                Copied::Missing | Copied::Damaged(_) => {}
            }
        }
    }
    Ok(())
}

/// Outcome of copying a file that the database refers to.
enum Copied {
    /// The file is in the archive.
    Whole,
    /// The store does not have it.
    Missing,
    /// It has the wrong size or cannot be read.
    Damaged(String),
}

/// Copies a file if it has the size recorded in the database. An entry starts with its size, so nothing is written for a file of another
/// size.
///
/// # Errors
/// Returns an error if the store cannot be used, or if a file becomes unreadable after its entry was started.
async fn file(name: &str, size: u64, storage: &Storage, archive: &mut Writer) -> anyhow::Result<Copied> {
    let reading = || format!("reading the file {name}");
    match storage.size(name).await {
        Ok(stored) if stored == size => {}
        Ok(stored) => return Ok(Copied::Damaged(format!("it has {stored} bytes, and the database says {size}"))),
        Err(Error::NotFound { .. }) => return Ok(Copied::Missing),
        Err(error) => return Err(error).with_context(reading),
    }
    let mut chunks: Chunks = match storage.read(name, 0..size).await {
        Ok(chunks) => chunks,
        Err(Error::NotFound { .. }) => return Ok(Copied::Missing),
        Err(error) => return Err(error).with_context(reading),
    };
    let mut next = match chunks.next().await {
        Some(Err(Error::NotFound { .. })) => return Ok(Copied::Missing),
        // A failing bucket might fail for all files, so end the backup. In a folder, only this file is affected.
        Some(Err(error)) if storage.folder().is_some() => return Ok(Copied::Damaged(error.to_string())),
        first => first,
    };
    archive.entry(&format!("{FILES}{name}"), size).await?;
    let mut came = 0;
    while let Some(chunk) = next {
        let chunk: Bytes = chunk.with_context(reading)?;
        came += chunk.len() as u64;
        ensure!(came <= size, "the file {name} grew while it was read");
        archive.bytes(chunk).await?;
        next = chunks.next().await;
    }
    ensure!(came == size, "the file {name} shrank while it was read");
    Ok(Copied::Whole)
}
