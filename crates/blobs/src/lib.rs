//! Where the bytes of files lie: a local folder, or a store that speaks S3. Knows objects by name, and nothing of what they mean.

use std::{
    ops::Range,
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    Stream, StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use object_store::{
    GetOptions, GetResult, ObjectStore, ObjectStoreExt as _, RetryConfig, WriteMultipart, aws::AmazonS3Builder, local::LocalFileSystem,
    path::Path,
};

use parley_types::error::{Error, Result};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

/// The size of the pieces that go to the store; S3 takes none that are smaller.
const PIECE: usize = 5 * 1024 * 1024;

/// The size of the pieces that go to a folder.
const PIECE_OF_FOLDER: usize = 256 * 1024;

/// Pieces of one object under way at once: with the size of a piece it bounds what an upload holds in memory.
const UNDER_WAY: usize = 2;

/// Bytes of a file in a folder that are read at once, and so what a download holds in memory.
const READ: u64 = 64 * 1024;

/// Pieces that are read at once.
const READS: usize = 32;

/// How often, and for how long, what the store refuses is tried again while the caller waits.
const RETRIES: usize = 3;
const PATIENCE: Duration = Duration::from_secs(10);

/// Where files lie.
#[derive(Clone, Debug)]
pub struct Config {
    /// `file:FOLDER`, or `s3://BUCKET/PREFIX`.
    pub url: String,
}

/// A store of objects. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Storage {
    place: Place,
    /// Opened when it is first of use, so that a folder that is not there keeps nobody from working without files.
    store: Arc<OnceLock<Arc<dyn ObjectStore>>>,
    /// Pieces of files that may be read at once: each has a file open for as long as that takes.
    reads: Arc<Semaphore>,
    /// Work that goes on though its caller is gone.
    tasks: TaskTracker,
}

#[derive(Clone, Debug)]
enum Place {
    Folder(PathBuf),
    Bucket { name: String, prefix: Path },
}

/// Bytes as they come.
pub type Chunks = BoxStream<'static, Result<Bytes>>;

/// An object that is being written. Dropped before it is finished, it never becomes one, and what the store has of it is cleared away.
#[derive(Debug)]
pub struct Upload {
    /// None once it is finished.
    parts: Option<WriteMultipart>,
    tasks: TaskTracker,
}

impl Storage {
    /// A store at this place. An S3 store takes the usual variables of the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    /// `AWS_REGION`, `AWS_ENDPOINT_URL`) and is first spoken to when it is used.
    ///
    /// # Errors
    /// When the URL names neither a folder nor a bucket.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let place = if let Some(folder) = config.url.strip_prefix("file:") {
            anyhow::ensure!(!folder.is_empty(), "files.url names no folder");
            Place::Folder(folder.strip_prefix("//").unwrap_or(folder).into())
        } else {
            let rest = config.url.strip_prefix("s3://").unwrap_or_default();
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            anyhow::ensure!(!bucket.is_empty(), "files.url must be file:FOLDER or s3://BUCKET/PREFIX");
            Place::Bucket {
                name: bucket.to_owned(),
                prefix: Path::from(prefix),
            }
        };
        Ok(Self {
            place,
            store: Arc::default(),
            reads: Arc::new(Semaphore::new(READS)),
            tasks: TaskTracker::new(),
        })
    }

    /// Opens the store, unless it is open. A folder that is not there is made.
    ///
    /// # Errors
    /// When the folder can neither be found nor made, or the environment lacks what the store asks for.
    pub fn open(&self) -> anyhow::Result<&Arc<dyn ObjectStore>> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let store: Arc<dyn ObjectStore> = match &self.place {
            Place::Folder(folder) => {
                // Only its owner enters: what lies in it needs no mode of its own.
                std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
                // A file is in its place only once it is whole, and its folder goes when the last one in it does.
                Arc::new(
                    LocalFileSystem::new_with_prefix(folder)?
                        .with_automatic_cleanup(true)
                        .with_fsync(true),
                )
            }
            Place::Bucket { name, .. } => {
                let endpoint = std::env::var("AWS_ENDPOINT_URL").unwrap_or_default();
                let builder = AmazonS3Builder::from_env().with_bucket_name(name).with_retry(RetryConfig {
                    max_retries: RETRIES,
                    retry_timeout: PATIENCE,
                    ..RetryConfig::default()
                });
                Arc::new(builder.with_allow_http(endpoint.starts_with("http://")).build()?)
            }
        };
        Ok(self.store.get_or_init(|| store))
    }

    fn opened(&self) -> Result<&Arc<dyn ObjectStore>> {
        self.open().map_err(|error| {
            tracing::warn!(%error, "the store of files cannot be opened");
            unusable()
        })
    }

    fn path(&self, name: &str) -> Path {
        match &self.place {
            Place::Folder(_) => Path::from(name),
            Place::Bucket { prefix, .. } => Path::from(format!("{prefix}/{name}")),
        }
    }

    /// Begins to write an object. Dropped, it leaves nothing in the store.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the store cannot be used.
    pub async fn create(&self, name: &str) -> Result<Upload> {
        let (store, path) = (Arc::clone(self.opened()?), self.path(name));
        let piece = match self.place {
            Place::Folder(_) => PIECE_OF_FOLDER,
            Place::Bucket { .. } => PIECE,
        };
        let tasks = self.tasks.clone();
        to_its_end(&self.tasks, async move {
            let upload = store.put_multipart(&path).await?;
            let parts = Some(WriteMultipart::new_with_chunk_size(upload, piece));
            Ok(Upload { parts, tasks })
        })
        .await
    }

    /// Waits for work whose callers are gone: uploads that are finished or cleared away.
    pub async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Writes an object that is at hand.
    ///
    /// # Errors
    /// As [`Storage::create`].
    pub async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.opened()?.put(&self.path(name), bytes.into()).await.map_err(failed)?;
        Ok(())
    }

    /// How many bytes an object has.
    ///
    /// # Errors
    /// [`Error::NotFound`] without such an object; [`Error::Unavailable`] when the store cannot be used.
    pub async fn size(&self, name: &str) -> Result<u64> {
        let found = self.opened()?.head(&self.path(name)).await;
        found.map(|found| found.size).map_err(failed)
    }

    /// Gives an object another name, and replaces what has that name.
    ///
    /// # Errors
    /// As [`Storage::size`].
    pub async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (store, from, to) = (Arc::clone(self.opened()?), self.path(from), self.path(to));
        to_its_end(&self.tasks, async move { store.rename(&from, &to).await }).await
    }

    /// The folder of the objects; none in a bucket.
    pub fn folder(&self) -> Option<&std::path::Path> {
        match &self.place {
            Place::Folder(folder) => Some(folder),
            Place::Bucket { .. } => None,
        }
    }

    /// The bytes of an object from `range.start`, up to `range.end`. They are read as they are asked for; until then nothing is open.
    ///
    /// # Errors
    /// [`Error::NotFound`] without such an object, which a bucket says with the first bytes; [`Error::Unavailable`] when the store cannot
    /// be used.
    pub async fn read(&self, name: &str, range: Range<u64>) -> Result<Chunks> {
        if range.is_empty() {
            return Ok(stream::empty().boxed());
        }
        let (store, path) = (Arc::clone(self.opened()?), self.path(name));
        match self.place {
            Place::Folder(_) => {
                store.head(&path).await.map_err(failed)?;
                Ok(self.by_pieces(store, path, range).boxed())
            }
            Place::Bucket { .. } => {
                let options = GetOptions {
                    range: Some(range.into()),
                    ..GetOptions::default()
                };
                let found = async move { store.get_opts(&path, options).await.map(GetResult::into_stream) };
                Ok(stream::once(found).try_flatten().map_err(failed).boxed())
            }
        }
    }

    /// Opens the file for each piece and closes it again: a reader that takes its time, or nothing at all, holds no descriptor.
    fn by_pieces(&self, store: Arc<dyn ObjectStore>, path: Path, range: Range<u64>) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
        let (reads, tasks) = (Arc::clone(&self.reads), self.tasks.clone());
        stream::try_unfold(range, move |left| {
            let (store, path, reads, tasks) = (Arc::clone(&store), path.clone(), Arc::clone(&reads), tasks.clone());
            async move {
                if left.is_empty() {
                    return Ok(None);
                }
                let end = left.end.min(left.start.saturating_add(READ));
                let start = left.start;
                // In a task of its own: a connection without window stops polling this stream, and a read that had begun would keep its
                // file open.
                let piece = to_its_end(&tasks, async move {
                    // The semaphore is never closed.
                    let _reading = reads.acquire().await;
                    store.get_range(&path, start..end).await
                })
                .await?;
                Ok(Some((piece, end..left.end)))
            }
        })
    }

    /// Writes an object, reads it back and removes it.
    ///
    /// # Errors
    /// What the store says of the step that failed.
    pub async fn try_out(&self) -> anyhow::Result<()> {
        let (store, path) = (self.open()?, self.path(&format!("doctor/{}", rand::random::<u64>())));
        let said = Bytes::from_static(b"written to see whether files can be stored");
        store.put(&path, said.clone().into()).await?;
        let heard = store.get(&path).await?.bytes().await?;
        store.delete(&path).await?;
        anyhow::ensure!(heard == said, "what was written is not what is read");
        Ok(())
    }

    /// Removes an object. One that is not there is removed already.
    ///
    /// # Errors
    /// As [`Storage::create`].
    pub async fn remove(&self, name: &str) -> Result<()> {
        match self.opened()?.delete(&self.path(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }
}

impl Upload {
    /// Takes more bytes; waits while too much is under way.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the store failed.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let Some(parts) = &mut self.parts else { return Ok(()) };
        parts.wait_for_capacity(UNDER_WAY).await.map_err(failed)?;
        parts.put(bytes);
        Ok(())
    }

    /// Makes it an object. When this returns, the object is there, on disk; when it is dropped, it becomes one or is cleared away.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the store failed; then there is no object.
    pub async fn finish(mut self) -> Result<()> {
        if let Some(parts) = self.parts.take() {
            to_its_end(&self.tasks, parts.finish()).await?;
        }
        Ok(())
    }
}

/// Does what the store would remember half of if it were broken off, whether or not the caller still waits.
async fn to_its_end<T: Send + 'static>(
    tasks: &TaskTracker,
    work: impl Future<Output = object_store::Result<T>> + Send + 'static,
) -> Result<T> {
    match tasks.spawn(work).await {
        Ok(done) => done.map_err(failed),
        Err(error) => {
            tracing::warn!(%error, "the store of files failed");
            Err(unusable())
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(parts) = self.parts.take() else { return };
        // A caller who hangs up drops the call in the middle, where nothing can be waited for.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let abort = async move {
                if let Err(error) = parts.abort().await {
                    tracing::warn!(%error, "an upload that was broken off could not be cleared away");
                }
            };
            self.tasks.spawn_on(abort, &runtime);
        }
    }
}

#[allow(clippy::needless_pass_by_value)] // as `map_err` hands it over
fn failed(error: object_store::Error) -> Error {
    if matches!(error, object_store::Error::NotFound { .. }) {
        return Error::not_found("file", "of this link");
    }
    tracing::warn!(%error, "the store of files failed");
    unusable()
}

fn unusable() -> Error {
    Error::Unavailable {
        reason: "the store of files cannot be used",
        retry_after: Duration::from_secs(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(chunks: Chunks) -> Vec<u8> {
        let pieces: Vec<Bytes> = chunks.try_collect().await.unwrap();
        pieces.concat()
    }

    #[tokio::test]
    async fn what_is_written_is_read_in_pieces_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file:{}", folder.path().join("files").display());
        let storage = Storage::new(&Config { url }).unwrap();
        let mut upload = storage.create("1/a").await.unwrap();
        let bytes: Vec<u8> = (0..PIECE * 2 + 7).map(|nth| u8::try_from(nth % 251).unwrap()).collect();
        for chunk in bytes.chunks(100_000) {
            upload.write(Bytes::copy_from_slice(chunk)).await.unwrap();
        }
        upload.finish().await.unwrap();
        let size = bytes.len() as u64;
        assert_eq!(all(storage.read("1/a", 0..size).await.unwrap()).await, bytes);
        assert_eq!(all(storage.read("1/a", 10..20).await.unwrap()).await, bytes[10..20]);
        storage.remove("1/a").await.unwrap();
        storage.remove("1/a").await.unwrap();
        assert!(matches!(storage.read("1/a", 0..1).await, Err(Error::NotFound { .. })));
    }

    #[tokio::test]
    async fn what_is_broken_off_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::new(&Config {
            url: format!("file:{}", folder.path().display()),
        })
        .unwrap();
        let mut upload = storage.create("1/b").await.unwrap();
        upload.write(Bytes::from(vec![7; PIECE + 1])).await.unwrap();
        drop(upload);
        assert!(storage.read("1/b", 0..1).await.is_err());
        let left = || std::fs::read_dir(folder.path().join("1")).map_or(0, Iterator::count);
        for _ in 0..100 {
            if left() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{} pieces are left", left());
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_made_is_told_when_it_is_needed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let url = format!("file:{}/below", file.path().display());
        let storage = Storage::new(&Config { url }).unwrap();
        assert!(matches!(storage.create("1/a").await, Err(Error::Unavailable { .. })));
    }

    #[test]
    fn other_urls_are_refused() {
        for url in ["", "file:", "ftp://x", "s3://", "s3:///prefix"] {
            assert!(Storage::new(&Config { url: url.to_owned() }).is_err(), "{url}");
        }
    }
}
