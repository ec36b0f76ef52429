//! Multipart forms with files. Each file is streamed to the service as it arrives, and its parameter becomes the upload id. Text fields
//! have the same limits as any body; files have the service's limits and may therefore be larger.

use axum::extract::{FromRef, FromRequest, FromRequestParts as _, Request};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryFutureExt as _, stream};
use parley_proto as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, service::Routes};

use crate::{
    call::Call,
    errors::ApiError,
    params::{
        Form, OuterParams, Params,
        form_files::FormFiles,
        multipart::{self, Part, Parts, TextLimit},
    },
};

/// The fields that accept files.
const FILE_FIELDS: [&str; 3] = ["attachments", "message[attachments]", "avatar"];

/// Number of chunks of a file that may be queued for the service.
const QUEUED_CHUNKS: usize = 2;

/// The parameters of a request whose body may contain files.
#[derive(Debug)]
pub struct ParamsWithFiles(pub Params);

impl<S: Send + Sync> FromRequest<S> for ParamsWithFiles
where
    Routes: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let Some(boundary) = multipart::boundary(&parts.headers) else {
            return Params::from_request(Request::from_parts(parts, body), state).await.map(Self);
        };
        let Ok(call) = Call::from_request_parts(&mut parts, state).await;
        let limit = TextLimit::of(&parts);
        let memory_charge = parts.extensions.get().cloned();
        let response_metadata = parts.extensions.get().cloned();
        let files: FormFiles = parts.extensions.get().cloned().unwrap_or_default();
        let outer_params = OuterParams::read(&mut parts, state).await?;
        let uploads = Uploads {
            owner: Owner::of(&outer_params),
            call,
        };
        let mut form = Form::new(response_metadata);
        let mut parts = Parts::with_files(body, &boundary, limit, memory_charge);
        while let Some(part) = parts.next().await? {
            if let Some((name, file)) = form.add(part, &FILE_FIELDS).await? {
                let stored = uploads.upload(file).await?;
                files.add(&stored.upload_id);
                form.params.put(&name, stored.upload_id)?;
            }
        }
        let params = outer_params.complete(form.complete().await).await?;
        files.complete();
        Ok(Self(params))
    }
}

/// The owner of the uploads.
#[derive(Clone, Debug)]
enum Owner {
    /// The account in the path.
    Account(i64),
    /// A contact session.
    Client(pb::ClientSession),
}

impl Owner {
    fn of(outer_params: &OuterParams) -> Self {
        if let Some(inbox_identifier) = outer_params.of_path("inbox_identifier") {
            return Self::Client(pb::ClientSession {
                inbox_identifier: inbox_identifier.to_owned(),
                source_id: outer_params.of_path("contact_identifier").unwrap_or_default().to_owned(),
            });
        }
        Self::Account(
            outer_params
                .of_path("account_id")
                .and_then(|id| id.parse().ok())
                .unwrap_or_default(),
        )
    }
}

/// Stores the files of a form.
struct Uploads {
    owner: Owner,
    call: Call,
}

impl Uploads {
    /// Streams a file to the service. If the client stops sending, the upload is cancelled.
    async fn upload(&self, part: Part<'_>) -> Result<pb::File, ApiError> {
        let header = pb::FileHeader {
            file_name: part.file_name(),
            content_type: part.content_type(),
        };
        let (sender, chunks) = mpsc::channel(QUEUED_CHUNKS);
        let forward_chunks = forward_chunks(part, sender);
        let chunks = ReceiverStream::new(chunks);
        let stored = match self.owner.clone() {
            Owner::Account(account_id) => {
                use pb::upload_file_request::Part;
                let piece = move |part| pb::UploadFileRequest {
                    account_id,
                    part: Some(part),
                };
                let pieces = stream::iter([piece(Part::Header(header))]).chain(chunks.map(move |chunk| piece(Part::Chunk(chunk))));
                let mut files = self.call.files();
                let storing = files.upload_file(self.call.request(pieces)).map_err(|status| refused(&status));
                // `biased`, with `forward_chunks` first: when the form is cut off, the stream of chunks ends as well. Polling the call
                // again would make it store a partial file.
                tokio::try_join!(biased; forward_chunks, storing)?.1.into_inner().file
            }
            Owner::Client(session) => {
                use pb::upload_client_file_request::Part;
                let piece = move |part| pb::UploadClientFileRequest {
                    session: Some(session.clone()),
                    part: Some(part),
                };
                let chunks = chunks.map({
                    let piece = piece.clone();
                    move |chunk| piece(Part::Chunk(chunk))
                });
                let pieces = stream::iter([piece(Part::Header(header))]).chain(chunks);
                let mut client = self.call.client();
                let storing = client.upload_client_file(self.call.request(pieces));
                let storing = storing.map_err(|status| ApiError::from_client(&status));
                tokio::try_join!(biased; forward_chunks, storing)?.1.into_inner().file
            }
        };
        Ok(stored.unwrap_or_default())
    }
}

fn refused(status: &Status) -> ApiError {
    ApiError::from_message(status)
}

/// Forwards the chunks of a file until the file ends or the service stops reading. In the latter case, the upload call returns the reason.
async fn forward_chunks(mut part: Part<'_>, sender: mpsc::Sender<Bytes>) -> Result<(), ApiError> {
    while let Some(chunk) = part.chunk().await? {
        let bytes = chunk.len();
        if sender.send(chunk).await.is_err() {
            break;
        }
        part.release(bytes);
    }
    Ok(())
}
