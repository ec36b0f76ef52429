//! Stores uploaded files, creates signed links to them, and reads and removes them.
//!
//! A row in `attachments` is stored before the first byte of a file, so that the file's object in the blob store can be found after any
//! failure. Until a message or an avatar attaches the file, it belongs only to its account.

use std::{sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _};
use parley_blobs::{Chunks, Storage};
use parley_fault::Protection;
use parley_storage::{
    Database,
    entity::{
        attachment,
        kind::{AttachmentState, AttachmentType},
    },
};
use parley_types::{
    error::{Error, Result, Rule},
    id::{AccountId, ContactInboxId, MessageId},
    time::Micros,
};
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, Set};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

pub mod avatars;
pub mod claims;
mod discard_unattached;
pub mod media;
mod named;
pub mod new_attachment;
mod picture;
mod removal;
pub mod rotation;
pub mod rows;
pub mod signed;
mod unattached;

pub use unattached::Unattached;

use signed::{Name, Signer};

/// Maximum time that an upload may pause between two chunks.
const PATIENCE: Duration = Duration::from_secs(30);

/// Settings for uploads and links to files.
#[derive(Clone, Debug)]
pub struct Config {
    /// Maximum size of a file in bytes.
    pub max_bytes: u64,
    /// Maximum number of files that one message may have.
    pub max_per_message: usize,
    /// Maximum number of concurrent uploads by all callers.
    pub concurrent_uploads: usize,
    /// Quotas for unattached uploads.
    pub unattached: Unattached,
    /// How long a temporary link to a file is valid.
    pub link_life: Duration,
    /// The beginning of every link, such as `https://chat.example.org`. If it is empty, links are relative to the host.
    pub base_url: String,
}

/// Operations on uploaded files and their links. Clones share the state.
#[derive(Clone, Debug)]
pub struct Files {
    db: Database,
    storage: Storage,
    signer: Signer,
    /// Permits for concurrent uploads by all callers.
    uploads: Arc<Semaphore>,
    /// Permits for concurrent uploads by contact sessions. There are half as many permits as for all callers, so that the other half is
    /// left for callers with a token.
    session_uploads: Arc<Semaphore>,
    config: Config,
}

/// A file's name and media type as the client declares them.
#[derive(Clone, Debug)]
pub struct DeclaredFile {
    /// The file name, which has not been sanitized.
    pub name: String,
    /// The declared media type.
    pub content_type: String,
}

/// A file that was uploaded.
#[derive(Clone, Debug)]
pub struct Uploaded {
    /// The signed name with which a message or an avatar can attach the upload.
    pub upload_id: String,
    pub row: attachment::Model,
}

/// A file that is being read.
#[allow(missing_debug_implementations)] // a stream has no useful debug output
pub struct Opened {
    pub name: String,
    pub content_type: String,
    /// The size of the whole file in bytes.
    pub size: u64,
    /// The requested part of the content.
    pub chunks: Chunks,
}

impl Files {
    /// Creates the file service for a database and a blob store. Also creates the key that signs links if it does not exist.
    ///
    /// # Errors
    /// Returns [`Error::Database`] if a query fails.
    pub async fn open(db: Database, storage: Storage, config: Config) -> Result<Self> {
        let signer = Signer::open(&db).await?;
        let of_sessions = if parley_fault::is_on(Protection::UploadShare) {
            (config.concurrent_uploads / 2).max(1)
        } else {
            config.concurrent_uploads
        };
        Ok(Self {
            db,
            storage,
            signer,
            uploads: Arc::new(Semaphore::new(config.concurrent_uploads)),
            session_uploads: Arc::new(Semaphore::new(of_sessions)),
            config,
        })
    }

    /// Stores an uploaded file. `session` is the contact session that uploads it; `None` means a member, a bot or a service. The caller
    /// must already have been authorized.
    ///
    /// If the future is dropped early, a row may remain, which the background job removes when the upload expires.
    ///
    /// # Errors
    /// Returns any error from `chunks`, [`Error::Invalid`] if the file is too large or arrives too slowly, [`Error::QuotaExceeded`] if the
    /// quota of unattached uploads is exhausted, [`Error::Busy`] if there are too many concurrent uploads, and [`Error::Unavailable`] if
    /// the database or the blob store is unavailable.
    pub async fn upload(
        &self,
        account: AccountId,
        session: Option<ContactInboxId>,
        declared: DeclaredFile,
        chunks: impl Stream<Item = Result<bytes::Bytes>> + Send,
    ) -> Result<Uploaded> {
        let busy = |_| Error::Busy {
            retry_after: Duration::from_secs(1),
        };
        let _of_session = session.map(|_| self.session_uploads.try_acquire().map_err(busy)).transpose()?;
        let _under_way = self.uploads.try_acquire().map_err(busy)?;
        let left = self.config.unattached.left(&self.db, account, session).await?;
        let row = self.begin(account, session, &declared.name).await?;
        match self.receive(&row, &declared, (left, session), chunks).await {
            Ok((row, hash)) => {
                let row = row.into_active_model().reset_all().update(self.db.write()).await?;
                let upload_id = self.signer.sign(Name::Upload { id: row.id, hash });
                Ok(Uploaded { upload_id, row })
            }
            Err(error) => {
                // If marking the row as removed fails, the background job still removes the row when the upload expires.
                if let Err(failed) = rows::release(self.db.write(), attachment::Column::Id.eq(row.id)).await {
                    tracing::debug!(error = %failed, "failed to release the row of a failed upload; the cleanup job removes it once it expires");
                }
                Err(error)
            }
        }
    }

    async fn begin(&self, account: AccountId, session: Option<ContactInboxId>, name: &str) -> Result<attachment::Model> {
        let name = media::safe_name(name);
        let row = attachment::ActiveModel {
            account_id: Set(account),
            message_id: Set(MessageId(0)),
            file_type: Set(AttachmentType::File),
            extension: Set(media::extension(&name)),
            data_url: Set(String::new()),
            thumb_url: Set(String::new()),
            meta: Set(serde_json::json!({})),
            created_at: Set(Micros::now()),
            state: Set(AttachmentState::Uploaded),
            object: Set(Some(format!("{account}/{}", uuid::Uuid::new_v4()))),
            file_name: Set(name),
            content_type: Set(media::UNKNOWN.to_owned()),
            contact_inbox_id: Set(session.map(|session| session.0)),
            ..Default::default()
        };
        Ok(row.insert(self.db.write()).await?)
    }

    async fn receive(
        &self,
        row: &attachment::Model,
        declared: &DeclaredFile,
        (left, session): (u64, Option<ContactInboxId>),
        chunks: impl Stream<Item = Result<bytes::Bytes>> + Send,
    ) -> Result<(attachment::Model, [u8; 16])> {
        let object = row.object.clone().unwrap_or_default();
        let mut upload = self.storage.create(&object).await?;
        let (mut size, mut head) = (0_u64, Vec::new());
        let mut hash = Sha256::new_with_prefix(&row.file_name);
        let mut chunks = std::pin::pin!(chunks);
        while let Some(chunk) = tokio::time::timeout(PATIENCE, chunks.next()).await.map_err(|_| slow())? {
            let chunk = chunk?;
            size += chunk.len() as u64;
            if size > self.config.max_bytes {
                return Err(self.too_large());
            }
            if size > left {
                return Err(self.config.unattached.exceeded(session).into());
            }
            if head.len() < media::HEAD {
                head.extend_from_slice(&chunk[..chunk.len().min(media::HEAD - head.len())]);
            }
            hash.update(&chunk);
            upload.write(chunk).await?;
        }
        upload.finish().await?;
        let content_type = media::sniff(&head, &declared.content_type);
        let mut row = attachment::Model {
            file_type: media::attachment_type(&content_type),
            file_size: Some(i64::try_from(size).unwrap_or(i64::MAX)),
            data_url: self.url(row.id, false, &row.file_name),
            content_type,
            ..row.clone()
        };
        if row.file_type == AttachmentType::Image {
            self.inspect(&mut row, &object, size).await?;
        }
        let mut first = [0; 16];
        first.copy_from_slice(&hash.finalize()[..16]);
        Ok((row, first))
    }

    /// Determines the dimensions of an image and stores a thumbnail next to it. A small image is its own thumbnail.
    async fn inspect(&self, row: &mut attachment::Model, object: &str, size: u64) -> Result<()> {
        row.thumb_url.clone_from(&row.data_url);
        if size > picture::LARGEST {
            return Ok(());
        }
        let info = picture::inspect(async {
            let mut chunks = self.storage.read(object, 0..size).await?;
            let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
            while let Some(chunk) = chunks.next().await {
                bytes.extend_from_slice(&chunk?);
            }
            Ok::<_, Error>(bytes)
        });
        let Some(info) = info.await? else { return Ok(()) };
        (row.width, row.height) = (Some(info.width), Some(info.height));
        if let Some(small) = info.small {
            row.thumb_size = i64::try_from(small.len()).ok();
            row.thumb_url = self.url(row.id, true, &row.file_name);
            self.storage.put(&small_of(object), small).await?;
        }
        Ok(())
    }

    fn too_large(&self) -> Error {
        let most = self.config.max_bytes;
        let bound = i64::try_from(most).unwrap_or(i64::MAX);
        Error::invalid("file", Rule::OutOfRange(bound), format!("must have at most {most} bytes"))
    }

    fn url(&self, id: i64, small: bool, name: &str) -> String {
        self.address("files", &self.signer.sign(Name::File { id, small }), name)
    }

    fn address(&self, place: &str, signed: &str, name: &str) -> String {
        let name = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
        format!("{}/{place}/{signed}/{name}", self.config.base_url.trim_end_matches('/'))
    }

    /// Returns the id of the upload that a signed name refers to, or `None` if the signature is invalid.
    pub fn upload_of(&self, upload_id: &str) -> Option<i64> {
        match self.signer.read_name(upload_id)? {
            Name::Upload { id, .. } => Some(id),
            _ => None,
        }
    }

    /// Returns the id of the file that a link refers to, or `None` if it is not a valid link issued by this installation.
    pub fn file_of(&self, url: &str) -> Option<i64> {
        self.signer.read_link(url).map(|(id, _)| id)
    }

    /// Returns the maximum number of files per message.
    pub fn max_per_message(&self) -> usize {
        self.config.max_per_message
    }

    /// Exchanges the permanent link to a file for one that is valid for a few minutes. Returns the new link and its expiry. The permanent
    /// link serves as the credential: it appears only in the message, so a caller who has the link was allowed to read the message.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the signature is invalid, if the link is an expiring one, or if the file was removed.
    pub async fn link(&self, link: &str) -> Result<(String, Micros)> {
        let (row, small) = self.find(self.signer.read_permanent(link)).await?;
        let life = i64::try_from(self.config.link_life.as_secs()).unwrap_or(i64::MAX);
        let until = Micros::now().seconds() + life;
        let signed = self.signer.sign(Name::Link { id: row.id, small, until });
        Ok((self.address("files/blobs", &signed, &row.file_name), Micros(until * 1_000_000)))
    }

    /// Opens a file for reading, starting at `offset`. Reads at most `limit` bytes, or up to the end of the file if `limit` is 0.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the link is invalid or has expired or the file was removed, and [`Error::Unavailable`] if the blob
    /// store fails.
    pub async fn read(&self, link: &str, offset: u64, limit: u64) -> Result<Opened> {
        let (row, small) = self.find(self.signer.read_link(link)).await?;
        let object = row.object.unwrap_or_default();
        let (object, size, content_type) = match (small, row.thumb_size) {
            (true, Some(size)) => (small_of(&object), size, "image/png".to_owned()),
            _ => (object, row.file_size.unwrap_or_default(), row.content_type),
        };
        let size = size.unsigned_abs();
        let end = if limit == 0 { size } else { size.min(offset.saturating_add(limit)) };
        let chunks = self.storage.read(&object, offset.min(end)..end).await?;
        Ok(Opened {
            name: row.file_name,
            content_type,
            size,
            chunks,
        })
    }

    async fn find(&self, named: Option<(i64, bool)>) -> Result<(attachment::Model, bool)> {
        let lost = || Error::not_found("file", "of this link");
        let (id, small) = named.ok_or_else(lost)?;
        let row = attachment::Entity::find_by_id(id).one(self.db.read()).await?;
        let row = row.filter(|row| row.state != AttachmentState::Removed && row.object.is_some());
        Ok((row.ok_or_else(lost)?, small))
    }
}

fn small_of(object: &str) -> String {
    format!("{object}-small")
}

fn slow() -> Error {
    Error::invalid("file", Rule::Invalid, "must arrive in chunks that are less than 30 seconds apart")
}
