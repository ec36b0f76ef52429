//! Archives: tar files that are streamed when written and read, so that memory use does not depend on their size.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Read, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use bytes::{Buf as _, Bytes};
use tokio::{sync::mpsc, task::JoinHandle};

use super::error::BackupError;

/// Maximum number of chunks queued between the blocking task that accesses the archive and its caller.
const CHANNEL_CAPACITY: usize = 4;

/// Size in bytes of the chunks read from an archive.
const CHUNK_BYTES: usize = 256 * 1024;

/// The archive name that stands for standard input or output.
const STDIO: &str = "-";

/// A part of an archive that is being written or read.
#[derive(Debug)]
pub enum Item {
    /// An entry with its name and size in bytes.
    Entry(String, u64),
    /// The next bytes of the current entry.
    Bytes(Bytes),
    /// The end of the archive.
    End,
}

/// An archive that is being written. If dropped before it is finished, no file remains.
#[derive(Debug)]
pub struct Writer {
    items: mpsc::Sender<Item>,
    task: JoinHandle<anyhow::Result<()>>,
}

/// Returns a temporary path next to `target`, for writing a file before it is moved into place.
pub fn sibling(target: &Path, suffix: &str) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{suffix}-{:08x}", rand::random::<u32>()));
    target.with_file_name(name)
}

/// Returns whether the name of an archive stands for standard input or output.
pub fn is_stdio(archive: &Path) -> bool {
    archive.as_os_str() == STDIO
}

impl Writer {
    /// Starts an archive, which replaces `target` once it is finished. `-` is standard output.
    pub fn create(target: &Path) -> Self {
        let (items, receiver) = mpsc::channel(CHANNEL_CAPACITY);
        let target = target.to_owned();
        let task = tokio::task::spawn_blocking(move || {
            if is_stdio(&target) {
                return write(io::stdout().lock(), receiver).map(drop);
            }
            let partial = sibling(&target, "partial");
            let written = write_file(&partial, receiver).and_then(|()| {
                fs::rename(&partial, &target).with_context(|| format!("{} cannot be replaced", target.display()))?;
                sync_folder(&target)
            });
            if written.is_err() {
                // Ignore errors: the file might not exist.
                let _ = fs::remove_file(&partial);
            }
            written
        });
        Self { items, task }
    }

    /// Starts an entry of `size` bytes.
    ///
    /// # Errors
    /// Returns an error if the archive cannot be written.
    pub async fn begin_entry(&mut self, name: &str, size: u64) -> anyhow::Result<()> {
        self.send(Item::Entry(name.to_owned(), size)).await
    }

    /// Writes bytes of the current entry.
    ///
    /// # Errors
    /// Same as [`Writer::begin_entry`].
    pub async fn append(&mut self, bytes: Bytes) -> anyhow::Result<()> {
        self.send(Item::Bytes(bytes)).await
    }

    /// Writes a complete entry from memory.
    ///
    /// # Errors
    /// Same as [`Writer::begin_entry`].
    pub async fn add(&mut self, name: &str, bytes: Bytes) -> anyhow::Result<()> {
        self.begin_entry(name, bytes.len() as u64).await?;
        self.append(bytes).await
    }

    /// Finishes the archive and moves it into place.
    ///
    /// # Errors
    /// Same as [`Writer::begin_entry`].
    pub async fn finish(mut self) -> anyhow::Result<()> {
        self.send(Item::End).await?;
        self.task.await.context("writing the archive")?
    }

    async fn send(&mut self, item: Item) -> anyhow::Result<()> {
        if self.items.send(item).await.is_ok() {
            return Ok(());
        }
        // The writing task ended early, so its result holds the reason.
        let ended = (&mut self.task).await.context("writing the archive")?;
        Err(ended.err().unwrap_or_else(|| anyhow!("the archive ended early")))
    }
}

/// Makes a rename durable by syncing the directory of `file`.
pub fn sync_folder(file: &Path) -> anyhow::Result<()> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| format!("{} cannot be synchronized", folder.display()))
}

/// Creates a file that only its owner can read and write.
///
/// # Errors
/// Returns an error if the file exists or cannot be created.
pub fn create_private(file: &Path) -> anyhow::Result<File> {
    let options = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    options.with_context(|| format!("{} cannot be created", file.display()))
}

fn write_file(partial: &Path, items: mpsc::Receiver<Item>) -> anyhow::Result<()> {
    let file = write(create_private(partial)?, items)?;
    file.sync_all().with_context(|| format!("{} cannot be written", partial.display()))
}

fn write<W: Write>(to: W, mut items: mpsc::Receiver<Item>) -> anyhow::Result<W> {
    let mut archive = tar::Builder::new(BufWriter::new(to));
    loop {
        match items.blocking_recv() {
            Some(Item::Entry(name, size)) => {
                let mut header = tar::Header::new_gnu();
                header.set_size(size);
                header.set_mode(0o600);
                header.set_mtime(chrono::Utc::now().timestamp().unsigned_abs());
                let mut entry = Entry {
                    items: &mut items,
                    buffered: Bytes::new(),
                    remaining: size,
                };
                archive
                    .append_data(&mut header, &name, &mut entry)
                    .with_context(|| format!("{name} cannot be written"))?;
            }
            Some(Item::Bytes(bytes)) if bytes.is_empty() => {}
            Some(Item::Bytes(_)) => bail!("bytes without an entry"),
            Some(Item::End) => {
                let written = archive.into_inner().context("the archive cannot be written")?;
                return written
                    .into_inner()
                    .map_err(io::IntoInnerError::into_error)
                    .context("the archive cannot be written");
            }
            None => bail!("the archive was not finished"),
        }
    }
}

/// Reads the bytes of an entry from the channel as they arrive.
struct Entry<'a> {
    items: &'a mut mpsc::Receiver<Item>,
    buffered: Bytes,
    remaining: u64,
}

impl Read for Entry<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.buffered.is_empty() {
            if self.remaining == 0 {
                return Ok(0);
            }
            match self.items.blocking_recv() {
                Some(Item::Bytes(bytes)) if bytes.len() as u64 <= self.remaining => {
                    self.remaining -= bytes.len() as u64;
                    self.buffered = bytes;
                }
                Some(Item::Bytes(_)) => return Err(io::Error::other("the entry is larger than its declared size")),
                _ => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let count = self.buffered.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.buffered[..count]);
        self.buffered.advance(count);
        Ok(count)
    }
}

/// An archive that is being read.
#[derive(Debug)]
pub struct Reader {
    items: mpsc::Receiver<anyhow::Result<Item>>,
    /// The name of the current entry, and the number of its bytes that have not been read.
    current: Option<(String, u64)>,
}

impl Reader {
    /// Starts reading an archive. `-` is standard input.
    pub fn open(archive: &Path) -> Self {
        let (sender, items) = mpsc::channel(CHANNEL_CAPACITY);
        let archive = archive.to_owned();
        tokio::task::spawn_blocking(move || {
            let read = if is_stdio(&archive) {
                read(io::stdin().lock(), &sender)
            } else {
                File::open(&archive).and_then(|file| read(file, &sender))
            };
            let last = read
                .map_err(|error| BackupError::Damaged(format!("{} cannot be read: {error}", archive.display())).into())
                .map(|()| Item::End);
            // Ignore errors: the receiver might have been dropped.
            let _ = sender.blocking_send(last);
        });
        Self { items, current: None }
    }

    /// Returns the name and size of the next entry, or `None` at the end of the archive. No byte of the entry has been read yet.
    ///
    /// # Errors
    /// Returns an error if the archive is damaged.
    pub async fn next_entry(&mut self) -> anyhow::Result<Option<(String, u64)>> {
        while self.current.is_none() {
            match self.items.recv().await.ok_or_else(|| BackupError::damaged("it is truncated"))?? {
                Item::Entry(name, size) => self.current = Some((name, size)),
                Item::Bytes(_) => {}
                Item::End => return Ok(None),
            }
        }
        Ok(self.current.clone())
    }

    /// Returns the next bytes of the current entry, or `None` at its end, after which [`Reader::next_entry`] returns the following entry.
    ///
    /// # Errors
    /// Same as [`Reader::next_entry`].
    pub async fn next_chunk(&mut self) -> anyhow::Result<Option<Bytes>> {
        match &mut self.current {
            Some((_, 0)) | None => {
                self.current = None;
                Ok(None)
            }
            Some((_, remaining)) => match self.items.recv().await.ok_or_else(|| BackupError::damaged("it is truncated"))?? {
                Item::Bytes(bytes) => {
                    *remaining = remaining.saturating_sub(bytes.len() as u64);
                    Ok(Some(bytes))
                }
                _ => bail!(BackupError::damaged("an entry is shorter than its declared size")),
            },
        }
    }

    /// Reads the rest of the current entry, which must be small.
    ///
    /// # Errors
    /// Returns an error if the archive is damaged, or if the entry is larger than `max_bytes`.
    pub async fn read_entry(&mut self, max_bytes: usize) -> anyhow::Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next_chunk().await? {
            if all.len() + bytes.len() > max_bytes {
                bail!(BackupError::damaged(format_args!("an entry is larger than {max_bytes} bytes")));
            }
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }
}

fn read(from: impl Read, sender: &mpsc::Sender<anyhow::Result<Item>>) -> io::Result<()> {
    let mut archive = tar::Archive::new(io::BufReader::new(from));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        let mut remaining = entry.size();
        if sender.blocking_send(Ok(Item::Entry(name, remaining))).is_err() {
            return Ok(());
        }
        while remaining > 0 {
            let mut chunk = vec![0; CHUNK_BYTES.min(usize::try_from(remaining).unwrap_or(CHUNK_BYTES))];
            entry.read_exact(&mut chunk)?;
            remaining -= chunk.len() as u64;
            if sender.blocking_send(Ok(Item::Bytes(chunk.into()))).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn archive_round_trips() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("backup.tar");
        fs::write(&target, "an older one").unwrap();
        let mut writer = Writer::create(&target);
        writer.begin_entry("files/large", 700_000).await.unwrap();
        for _ in 0..7 {
            writer.append(vec![7; 100_000].into()).await.unwrap();
        }
        writer.add("empty", Bytes::new()).await.unwrap();
        writer.add(&"n".repeat(300), Bytes::from_static(b"named")).await.unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"an older one", "it is replaced once it is complete");
        writer.finish().await.unwrap();
        let mut reader = Reader::open(&target);
        for (name, size) in [("files/large".to_owned(), 700_000), ("empty".to_owned(), 0), ("n".repeat(300), 5)] {
            assert_eq!(reader.next_entry().await.unwrap(), Some((name, size)));
            assert_eq!(reader.read_entry(1_000_000).await.unwrap().len() as u64, size);
        }
        assert_eq!(reader.next_entry().await.unwrap(), None);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn unfinished_archive_keeps_the_previous_one() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("backup.tar");
        fs::write(&target, "an older one").unwrap();
        let mut writer = Writer::create(&target);
        writer.begin_entry("files/large", 10).await.unwrap();
        writer.append(Bytes::from_static(b"short")).await.unwrap();
        writer.begin_entry("another", 1).await.unwrap();
        assert!(writer.finish().await.is_err());
        assert_eq!(fs::read(&target).unwrap(), b"an older one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
