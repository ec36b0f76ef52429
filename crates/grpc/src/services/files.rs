//! Implements `FilesService`, and the uploads of `ClientService`.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, future, stream};
use parley_admission::rate_limit::{Permit, Resource};
use parley_domain::{
    Domain,
    files::{DeclaredFile, Files, Uploaded},
};
use parley_eventlog::broadcaster::StreamKind;
use parley_fault::Protection;
use parley_proto::{self as pb, files_service_server::FilesService};
use parley_types::{
    error::{Error, Result, Rule},
    id::{AccountId, ContactInboxId},
};
use prost_types::Timestamp;
use tonic::{Request, Response, Status, Streaming};

use super::{request::caller, service_context::ServiceContext, stall::WatchedStream, stream_position::StreamPosition};
use crate::{
    middleware::{
        authenticator::Payer,
        limits::{OpenStreamGuard, StreamOwner},
    },
    status::{OrStatus as _, to_status},
    validation::fields::{SHORT_TEXT, Validator, required},
};

/// Maximum time to wait for the next message of an upload.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a download may continue after shutdown has begun.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// One message of an upload stream.
pub enum UploadPart {
    /// The file's metadata, which precedes the content.
    Header(pb::FileHeader),
    /// A chunk of the file's content.
    Chunk(Bytes),
}

/// A request message of an upload stream, as sent by a client.
pub trait UploadMessage {
    /// The payload of the message, or `None` if it is missing or of an unknown type.
    fn part(self) -> Option<UploadPart>;
}

macro_rules! impl_upload_message {
    ($request:ident, $part:path) => {
        impl UploadMessage for pb::$request {
            fn part(self) -> Option<UploadPart> {
                use $part as Part;
                Some(match self.part? {
                    Part::Header(header) => UploadPart::Header(header),
                    Part::Chunk(chunk) => UploadPart::Chunk(chunk),
                })
            }
        }
    };
}

impl_upload_message!(UploadFileRequest, pb::upload_file_request::Part);
impl_upload_message!(UploadClientFileRequest, pb::upload_client_file_request::Part);

/// Reads the first message of an upload stream.
///
/// # Errors
/// Returns [`Error::Invalid`] if no message arrives within [`MESSAGE_TIMEOUT`], and the status of the stream if the stream fails.
pub async fn first<R>(requests: &mut Streaming<R>) -> Result<R, Status> {
    let first = tokio::time::timeout(MESSAGE_TIMEOUT, requests.message()).await;
    let first = first
        .map_err(|_| Error::invalid("header", Rule::Required, "must arrive within 30 seconds"))
        .or_status()??;
    required("header", first).or_status()
}

/// Counts a download as open until the permit is dropped.
enum DownloadPermit {
    OfService {
        _permit: OpenStreamGuard,
    },
    OfAddress {
        _permit: Permit,
    },
    /// Used if a test has turned off the limit on downloads.
    Uncounted,
}

/// Implements `FilesService`.
#[derive(Clone, Debug)]
pub struct FilesApi {
    files: Files,
    server: Arc<ServiceContext>,
}

impl FilesApi {
    pub fn new(domain: &Domain, server: &Arc<ServiceContext>) -> Self {
        Self {
            files: domain.context.files.clone(),
            server: Arc::clone(server),
        }
    }

    /// Counts a download. Downloads by a service count as streams of its token, and all others are counted by client address.
    fn download_permit(&self, payer: &Payer) -> Result<DownloadPermit> {
        if !parley_fault::is_on(Protection::DownloadPermits) {
            return Ok(DownloadPermit::Uncounted);
        }
        Ok(match payer.service() {
            Some(service) => DownloadPermit::OfService {
                _permit: self.server.limits.open_stream(StreamOwner::Token(service.token))?,
            },
            None => DownloadPermit::OfAddress {
                _permit: payer.open(&self.server.config.anonymous, Resource::Download)?,
            },
        })
    }
}

/// Stores an upload whose first message has been read. The file belongs to `session`, or, if that is `None`, to a caller with a token.
/// `charge` is called with the size of each chunk before the chunk is stored.
///
/// # Errors
/// Returns [`Error::Invalid`] if the metadata is invalid, [`Error::Unavailable`] if the stream ends prematurely, and errors from `charge`
/// and from storing the file.
pub(super) async fn receive<R: UploadMessage + Send + 'static>(
    files: &Files,
    account: AccountId,
    session: Option<ContactInboxId>,
    first: R,
    rest: Streaming<R>,
    charge: impl Fn(usize) -> Result<()> + Send,
) -> Result<pb::File> {
    let Some(UploadPart::Header(header)) = first.part() else {
        return Err(Error::invalid("header", Rule::Required, "must be the first message of the stream"));
    };
    let mut fields = Validator::default();
    fields.within("header", |fields| {
        fields.text("file_name", &header.file_name, SHORT_TEXT);
        fields.text("content_type", &header.content_type, SHORT_TEXT);
    });
    fields.finish()?;
    let chunks = rest.map(move |part| match part.map(UploadMessage::part) {
        Ok(Some(UploadPart::Chunk(chunk))) => charge(chunk.len()).map(|()| chunk),
        Ok(_) => Err(Error::invalid("chunk", Rule::Required, "must be in every message after the first")),
        Err(_) => Err(Error::Unavailable {
            reason: "the upload was aborted",
            retry_after: Duration::from_secs(1),
        }),
    });
    // tonic reports a cancelled call as the end of its stream. Yielding once allows the call to be dropped, so that a partial upload is not
    // mistaken for a complete one.
    let chunks = chunks.chain(stream::once(tokio::task::yield_now()).filter_map(|()| future::ready(None)));
    let declared = DeclaredFile {
        name: header.file_name,
        content_type: header.content_type,
    };
    Ok(file(files.upload(account, session, declared, chunks).await?))
}

/// Returns the error that ends a download if it is still running [`SHUTDOWN_GRACE`] after shutdown began.
fn shutting_down() -> Error {
    Error::Unavailable {
        reason: "the server is shutting down; resume the download at the offset that was reached",
        retry_after: Duration::from_millis(500),
    }
}

fn file(uploaded: Uploaded) -> pb::File {
    let row = uploaded.row;
    pb::File {
        upload_id: uploaded.upload_id,
        name: row.file_name,
        content_type: row.content_type,
        r#type: pb::AttachmentType::from(row.file_type).into(),
        size: row.file_size.unwrap_or_default(),
        width: row.width,
        height: row.height,
    }
}

#[tonic::async_trait]
impl FilesService for FilesApi {
    async fn upload_file(&self, request: Request<Streaming<pb::UploadFileRequest>>) -> Result<Response<pb::UploadFileResponse>, Status> {
        let caller = caller(&request).or_status()?;
        let mut requests = request.into_inner();
        let first = first(&mut requests).await?;
        let account = AccountId(first.account_id);
        caller.write_access(account).or_status()?;
        let _permit = self.server.limits.open_stream(StreamOwner::Token(caller.token)).or_status()?;
        let file = receive(&self.files, account, None, first, requests, |_| Ok(())).await.or_status()?;
        Ok(Response::new(pb::UploadFileResponse { file: Some(file) }))
    }

    async fn get_file_link(&self, request: Request<pb::GetFileLinkRequest>) -> Result<Response<pb::GetFileLinkResponse>, Status> {
        let (link, until) = self.files.link(&request.get_ref().link).await.or_status()?;
        let expires_at = Timestamp {
            seconds: until.seconds(),
            nanos: 0,
        };
        Ok(Response::new(pb::GetFileLinkResponse {
            link,
            expires_at: Some(expires_at),
        }))
    }

    type DownloadFileStream = WatchedStream<pb::DownloadFileResponse>;

    async fn download_file(&self, request: Request<pb::DownloadFileRequest>) -> Result<Response<Self::DownloadFileStream>, Status> {
        use pb::download_file_response::Part;
        let payer = Payer::of(&request);
        let req = request.into_inner();
        let mut fields = Validator::default();
        for (field, number) in [("offset", req.offset), ("limit", req.limit)] {
            if number < 0 {
                fields.add_violation(field, Rule::OutOfRange(0), "must be 0 or more");
            }
        }
        fields.finish().or_status()?;
        // Count the download from before the first lookup until the client has received everything, disconnects, or stalls for too long.
        let counted = (
            self.server.events.broadcaster.acquire_permit(StreamKind::Download).or_status()?,
            self.download_permit(&payer).or_status()?,
        );
        let (offset, limit) = (req.offset.unsigned_abs(), req.limit.unsigned_abs());
        let opened = self.files.read(&req.link, offset, limit).await.or_status()?;
        let info = pb::FileInfo {
            name: opened.name,
            content_type: opened.content_type,
            size: i64::try_from(opened.size).unwrap_or(i64::MAX),
        };
        let part = |part| Ok(pb::DownloadFileResponse { part: Some(part) });
        let chunks = opened.chunks.map(move |chunk| {
            let _ = &counted;
            part(Part::Chunk(chunk.or_status()?))
        });
        // The client can resume the download at its offset, so shutdown does not wait for slow readers.
        let drain = self.server.drain.clone();
        let late = Box::pin(async move {
            drain.cancelled().await;
            tokio::time::sleep(SHUTDOWN_GRACE).await;
        });
        let chunks = stream::unfold(Some((chunks, late)), |state| async move {
            let (mut chunks, mut late) = state?;
            tokio::select! {
                // Check the shutdown timer first: a chunk is ready whenever the stream is polled, so unbiased polling could delay the end
                // of the stream.
                biased;
                () = late.as_mut() => Some((Err(to_status(shutting_down())), None)),
                chunk = chunks.next() => Some((chunk?, Some((chunks, late)))),
            }
        });
        let parts = stream::iter([part(Part::Info(info))]).chain(chunks);
        Ok(Response::new(self.server.stalls.watch(
            StreamKind::Download,
            StreamPosition::default(),
            parts,
        )))
    }
}
