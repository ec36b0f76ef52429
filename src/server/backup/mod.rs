//! `parley backup` and `parley restore`: the database and its files as one archive, which can be written while a server is running, but
//! restored only while no server is running.

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

use super::config_mapping;
use crate::config::Config;

mod archive;
mod error;
mod files;
mod manifest;
mod restore;
mod temporary;

use archive::Writer;
pub use error::BackupError;
pub use manifest::FileCounts;
use manifest::{COMPLETE, FILES, FORMAT_VERSION, MANIFEST, Manifest, SEQUENCES, SQLITE_FILE};
pub use restore::{Restored, restore};
use temporary::Temporary;

/// Rows of a table are written in chunks of this many bytes, because their total size is not known in advance.
const ROWS_ENTRY_BYTES: usize = 4 * 1024 * 1024;

/// Returns the name of the entry that holds chunk number `chunk` of a table's rows.
fn rows_entry(table: &str, chunk: usize) -> String {
    format!("database/{table}/{chunk:06}")
}

/// Writes the database and its files to an archive. A server can be running meanwhile. The archive replaces `target` when it is complete.
///
/// # Errors
/// Returns an error if the database, a file or the archive cannot be read or written, in which case `target` is unchanged.
pub async fn backup(config: &Config, target: &Path) -> anyhow::Result<FileCounts> {
    let storage = Storage::new(&config_mapping::file_store(config)).context("files.url")?;
    let mut archive = Writer::create(target);
    let counts = match sqlite_file(&config.database.url) {
        Some(file) => {
            let copy = Temporary(archive::sibling(if archive::is_stdio(target) { &file } else { target }, "copy"));
            sqlite_database(config, &copy.0, &storage, &mut archive).await?
        }
        None if config.database.url.starts_with("postgres") => postgres_database(config, &storage, &mut archive).await?,
        None => bail!("an in-memory database cannot be backed up"),
    };
    archive.add(COMPLETE, serde_json::to_vec_pretty(&counts)?.into()).await?;
    archive.finish().await?;
    Ok(counts)
}

async fn write_manifest(archive: &mut Writer, database: Source) -> anyhow::Result<()> {
    let manifest = Manifest {
        format_version: FORMAT_VERSION,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        created_at: chrono::Utc::now().to_rfc3339(),
        database,
    };
    archive.add(MANIFEST, serde_json::to_vec_pretty(&manifest)?.into()).await
}

async fn sqlite_database(config: &Config, copy: &Path, storage: &Storage, archive: &mut Writer) -> anyhow::Result<FileCounts> {
    sqlite::copy_to(&config.database.url, copy).await.context("copying the database")?;
    let mut database = sqlite::open(copy).await.context("reading the copy")?;
    write_manifest(archive, sqlite::source(&mut database).await?).await?;
    let mut file = tokio::fs::File::open(copy).await?;
    archive.begin_entry(SQLITE_FILE, file.metadata().await?.len()).await?;
    loop {
        let mut chunk = bytes::BytesMut::with_capacity(256 * 1024);
        if tokio::io::AsyncReadExt::read_buf(&mut file, &mut chunk).await? == 0 {
            break;
        }
        archive.append(chunk.freeze()).await?;
    }
    let (mut counts, mut after) = (FileCounts::default(), 0);
    loop {
        let objects = sqlite::objects(&mut database, after).await?;
        let Some(last) = objects.last() else { return Ok(counts) };
        after = last.id;
        copy_files(objects, storage, archive, &mut counts).await?;
    }
}

async fn postgres_database(config: &Config, storage: &Storage, archive: &mut Writer) -> anyhow::Result<FileCounts> {
    let database = config_mapping::database(config);
    let mut snapshot = Snapshot::take(&database.url, database.connect_timeout)
        .await
        .context("the database cannot be reached")?;
    let source = snapshot.source().await?;
    let tables = source.tables.clone();
    write_manifest(archive, source).await?;
    for table in &tables {
        let mut rows = snapshot.rows(table).await?;
        let (mut chunk, mut number) = (bytes::BytesMut::new(), 0);
        while let Some(bytes) = rows.try_next().await? {
            chunk.extend_from_slice(&bytes);
            if chunk.len() >= ROWS_ENTRY_BYTES {
                archive.add(&rows_entry(&table.name, number), chunk.split().freeze()).await?;
                number += 1;
            }
        }
        if !chunk.is_empty() {
            archive.add(&rows_entry(&table.name, number), chunk.freeze()).await?;
        }
    }
    let sequences: Vec<Sequence> = snapshot.sequences().await?;
    archive.add(SEQUENCES, serde_json::to_vec_pretty(&sequences)?.into()).await?;
    let (mut counts, mut after) = (FileCounts::default(), 0);
    loop {
        let objects = snapshot.objects(after).await?;
        let Some(last) = objects.last() else { break };
        after = last.id;
        copy_files(objects, storage, archive, &mut counts).await?;
    }
    snapshot.end().await?;
    Ok(counts)
}

async fn copy_files(objects: Vec<Object>, storage: &Storage, archive: &mut Writer, counts: &mut FileCounts) -> anyhow::Result<()> {
    for object in objects {
        let small = object.small.map(|size| (format!("{}-small", object.name), size));
        for (name, size) in [Some((object.name.clone(), object.size)), small].into_iter().flatten() {
            match copy_file(&name, size, storage, archive).await? {
                Copied::Whole => counts.files += 1,
                Copied::Missing if object.in_use => {
                    counts.missing += 1;
                    tracing::warn!(
                        file = name,
                        "a file in use is missing from the file store; the backup will not contain it"
                    );
                }
                Copied::Damaged(reason) if object.in_use => {
                    counts.damaged += 1;
                    tracing::warn!(file = name, reason, "a stored file is damaged; omitting it from the backup");
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
    /// The store does not have the file.
    Missing,
    /// The file in the store has the wrong size or cannot be read.
    Damaged(String),
}

/// Copies a file if it has the size recorded in the database. An archive entry begins with its size, so nothing is written for a file of
/// another size.
///
/// # Errors
/// Returns an error if the store cannot be used, or if a file becomes unreadable after its entry was started.
async fn copy_file(name: &str, size: u64, storage: &Storage, archive: &mut Writer) -> anyhow::Result<Copied> {
    let reading = || format!("reading the file {name}");
    match storage.size(name).await {
        Ok(stored) if stored == size => {}
        Ok(stored) => return Ok(Copied::Damaged(format!("it has {stored} bytes, but the database records {size}"))),
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
    archive.begin_entry(&format!("{FILES}{name}"), size).await?;
    let mut copied = 0;
    while let Some(chunk) = next {
        let chunk: Bytes = chunk.with_context(reading)?;
        copied += chunk.len() as u64;
        ensure!(copied <= size, "the file {name} grew while it was read");
        archive.append(chunk).await?;
        next = chunks.next().await;
    }
    ensure!(copied == size, "the file {name} shrank while it was read");
    Ok(Copied::Whole)
}
