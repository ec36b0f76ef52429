//! Object storage for file content, in a local folder or an S3-compatible store. Callers choose the object names, which have no meaning to
//! the store.

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

/// Size in bytes of the parts of an upload to S3: the minimum that S3 accepts.
const PIECE: usize = 5 * 1024 * 1024;

/// Size in bytes of the parts in which an object is written to a local folder.
const PIECE_OF_FOLDER: usize = 256 * 1024;

/// Maximum number of parts in flight per object. Together with the part size, this bounds the memory that an upload uses.
const UNDER_WAY: usize = 2;

/// The number of bytes that are read at once from a file in a local folder. This bounds the memory that a download uses.
const READ: u64 = 64 * 1024;

/// Maximum number of concurrent reads, each of which keeps a file open.
const READS: usize = 32;

/// How often, and for how long in total, a failed request to S3 is retried while the caller waits.
const RETRIES: usize = 3;
const PATIENCE: Duration = Duration::from_secs(10);

/// Configuration of the object store.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the objects are stored: `file:FOLDER` or `s3://BUCKET/PREFIX`.
    pub url: String,
}

/// An object store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Storage {
    place: Place,
    /// The backend, opened on first use: the service can start and work without files even if the folder cannot be opened.
    store: Arc<OnceLock<Arc<dyn ObjectStore>>>,
    /// Limits concurrent reads, because each of them keeps a file open.
    reads: Arc<Semaphore>,
    /// Tasks that continue to run if their callers are dropped.
    tasks: TaskTracker,
}

#[derive(Clone, Debug)]
enum Place {
    Folder(PathBuf),
    Bucket { name: String, prefix: Path },
}

/// The content of an object, as a stream of chunks.
pub type Chunks = BoxStream<'static, Result<Bytes>>;

/// An object that is being written. If it is dropped before it is finished, the object is not created, and the store removes the parts that
/// it has received.
#[derive(Debug)]
pub struct Upload {
    /// The parts written so far, or `None` once the upload is finished.
    parts: Option<WriteMultipart>,
    tasks: TaskTracker,
}

impl Storage {
    /// Creates a store that is opened on first use. For S3, it then reads the usual environment variables (`AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`).
    ///
    /// # Errors
    /// Returns an error if the URL names neither a folder nor a bucket.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let place = if let Some(folder) = config.url.strip_prefix("file:") {
            anyhow::ensure!(!folder.is_empty(), "files.url must name a folder");
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

    /// Opens the store, unless it is already open. A missing folder is created.
    ///
    /// # Errors
    /// Returns an error if the folder can neither be opened nor created, or an environment variable that the store needs is missing.
    pub fn open(&self) -> anyhow::Result<&Arc<dyn ObjectStore>> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let store: Arc<dyn ObjectStore> = match &self.place {
            Place::Folder(folder) => {
                // Only the owner may enter the folder, so the files in it need no restrictive modes.
                std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
                // `LocalFileSystem` creates a file at its path only when the file is complete. With automatic cleanup, it removes a
                // subfolder together with the last file in the subfolder.
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
            tracing::warn!(%error, "failed to open the file store");
            unusable()
        })
    }

    fn path(&self, name: &str) -> Path {
        match &self.place {
            Place::Folder(_) => Path::from(name),
            Place::Bucket { prefix, .. } => Path::from(format!("{prefix}/{name}")),
        }
    }

    /// Starts writing an object. Cancel safe: if the future is dropped, nothing remains in the store.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] if the store cannot be used.
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

    /// Waits for tasks that still run although their callers were dropped: uploads that are being completed or aborted.
    pub async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Writes an object from memory.
    ///
    /// # Errors
    /// Returns the same errors as [`Storage::create`].
    pub async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.opened()?.put(&self.path(name), bytes.into()).await.map_err(failed)?;
        Ok(())
    }

    /// Returns the size of an object in bytes.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the object does not exist, and [`Error::Unavailable`] if the store cannot be used.
    pub async fn size(&self, name: &str) -> Result<u64> {
        let found = self.opened()?.head(&self.path(name)).await;
        found.map(|found| found.size).map_err(failed)
    }

    /// Renames an object, replacing any object that already has the new name.
    ///
    /// # Errors
    /// Returns the same errors as [`Storage::size`].
    pub async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (store, from, to) = (Arc::clone(self.opened()?), self.path(from), self.path(to));
        to_its_end(&self.tasks, async move { store.rename(&from, &to).await }).await
    }

    /// Returns the local folder that contains the objects, or `None` if they are stored in a bucket.
    pub fn folder(&self) -> Option<&std::path::Path> {
        match &self.place {
            Place::Folder(folder) => Some(folder),
            Place::Bucket { .. } => None,
        }
    }

    /// Returns those bytes of an object that are in `range`. They are read as the stream is polled, and no file stays open between reads.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the object does not exist (for a bucket, the stream returns this error when it is first polled), and
    /// [`Error::Unavailable`] if the store cannot be used.
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

    /// Opens the file for each read and closes it again, so that a slow or stalled reader holds no file descriptor.
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
                // Read in a separate task: when the flow-control window of a connection is exhausted, the connection stops polling this
                // stream, and a read in progress would keep its file open.
                let piece = to_its_end(&tasks, async move {
                    // `acquire` cannot fail, because the semaphore is never closed.
                    let _reading = reads.acquire().await;
                    store.get_range(&path, start..end).await
                })
                .await?;
                Ok(Some((piece, end..left.end)))
            }
        })
    }

    /// Checks that the store works, by writing an object, reading it back and removing it.
    ///
    /// # Errors
    /// Returns the error of the step that failed.
    pub async fn try_out(&self) -> anyhow::Result<()> {
        let (store, path) = (self.open()?, self.path(&format!("doctor/{}", rand::random::<u64>())));
        let said = Bytes::from_static(b"written to see whether files can be stored");
        store.put(&path, said.clone().into()).await?;
        let heard = store.get(&path).await?.bytes().await?;
        store.delete(&path).await?;
        anyhow::ensure!(heard == said, "the file that was read differs from the one that was written");
        Ok(())
    }

    /// Removes an object. Succeeds if the object does not exist.
    ///
    /// # Errors
    /// Returns the same errors as [`Storage::create`].
    pub async fn remove(&self, name: &str) -> Result<()> {
        match self.opened()?.delete(&self.path(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }
}

impl Upload {
    /// Appends bytes to the object. Waits while too many parts are in flight.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] if the store failed.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let Some(parts) = &mut self.parts else { return Ok(()) };
        parts.wait_for_capacity(UNDER_WAY).await.map_err(failed)?;
        parts.put(bytes);
        Ok(())
    }

    /// Completes the object, which is stored durably once this returns successfully. If the future is dropped, the object is still
    /// completed or removed.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] if the store failed, in which case the object does not exist.
    pub async fn finish(mut self) -> Result<()> {
        if let Some(parts) = self.parts.take() {
            to_its_end(&self.tasks, parts.finish()).await?;
        }
        Ok(())
    }
}

/// Runs `work` to completion even if its caller is dropped, because an interruption would leave a partial object in the store.
async fn to_its_end<T: Send + 'static>(
    tasks: &TaskTracker,
    work: impl Future<Output = object_store::Result<T>> + Send + 'static,
) -> Result<T> {
    match tasks.spawn(work).await {
        Ok(done) => done.map_err(failed),
        Err(error) => {
            tracing::warn!(%error, "a file store task panicked or was cancelled");
            Err(unusable())
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(parts) = self.parts.take() else { return };
        // An upload can be dropped before it is finished, for example because its client disconnects. `drop` cannot await, so abort the
        // upload in a task.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let abort = async move {
                if let Err(error) = parts.abort().await {
                    tracing::warn!(%error, "failed to clean up an aborted upload");
                }
            };
            self.tasks.spawn_on(abort, &runtime);
        }
    }
}

#[allow(clippy::needless_pass_by_value)] // `map_err` passes it by value
fn failed(error: object_store::Error) -> Error {
    if matches!(error, object_store::Error::NotFound { .. }) {
        return Error::not_found("file", "of this link");
    }
    tracing::warn!(%error, "the file store returned an error");
    unusable()
}

fn unusable() -> Error {
    Error::Unavailable {
        reason: "the file store is unavailable",
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
    async fn written_file_is_read_in_ranges_and_removed() {
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
    async fn aborted_upload_leaves_no_files() {
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
    async fn unusable_folder_is_reported_on_first_use() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let url = format!("file:{}/below", file.path().display());
        let storage = Storage::new(&Config { url }).unwrap();
        assert!(matches!(storage.create("1/a").await, Err(Error::Unavailable { .. })));
    }

    #[test]
    fn rejects_invalid_urls() {
        for url in ["", "file:", "ftp://x", "s3://", "s3:///prefix"] {
            assert!(Storage::new(&Config { url: url.to_owned() }).is_err(), "{url}");
        }
    }
}
