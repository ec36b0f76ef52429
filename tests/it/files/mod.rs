//! Files: transfer over both APIs, use in a single message, and cleanup once nothing needs them.

mod calls;
mod ends;
mod forms;
pub mod place;
mod store;

use std::io::Cursor;

use bytes::Bytes;
use parley_proto::{
    AttachmentDraft, DownloadFileRequest, File, FileHeader, MessageDraft, UploadFileRequest, attachment_draft::Kind,
    download_file_response, files_service_client::FilesServiceClient, upload_file_request::Part,
};
use reqwest::multipart;
use serde_json::Value;
use tonic::Status;

use crate::support::{
    app::TestApp,
    clients::Clients,
    http::{HttpAnswer, client},
};

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image::DynamicImage::new_rgb8(width, height)
        .write_to(&mut out, image::ImageFormat::Png)
        .expect("a picture can be written");
    out.into_inner()
}

fn pieces(account_id: i64, name: &str, content_type: &str, content: &[u8]) -> Vec<UploadFileRequest> {
    let header = FileHeader {
        file_name: name.to_owned(),
        content_type: content_type.to_owned(),
    };
    let chunks = content.chunks(60_000).map(|chunk| Part::Chunk(Bytes::copy_from_slice(chunk)));
    let parts = std::iter::once(Part::Header(header)).chain(chunks);
    parts
        .map(|part| UploadFileRequest {
            account_id,
            part: Some(part),
        })
        .collect()
}

async fn try_upload(clients: &Clients, account: i64, name: &str, content_type: &str, content: &[u8]) -> Result<File, Status> {
    let pieces = pieces(account, name, content_type, content);
    let answer = FilesServiceClient::new(clients.service.clone())
        .upload_file(tokio_stream::iter(pieces))
        .await?;
    Ok(answer.into_inner().file.expect("always set"))
}

pub async fn upload(clients: &Clients, name: &str, content: &[u8]) -> File {
    try_upload(clients, 1, name, "", content).await.expect("the file is stored")
}

pub async fn download(clients: &Clients, link: &str, offset: i64, limit: i64) -> Result<(parley_proto::FileInfo, Vec<u8>), Status> {
    use download_file_response::Part;
    let request = DownloadFileRequest {
        link: link.to_owned(),
        offset,
        limit,
    };
    let mut parts = FilesServiceClient::new(clients.service.clone())
        .download_file(request)
        .await?
        .into_inner();
    let (mut info, mut content) = (None, Vec::new());
    while let Some(part) = parts.message().await? {
        match part.part.expect("always set") {
            Part::Info(known) => info = Some(known),
            Part::Chunk(chunk) => content.extend_from_slice(&chunk),
        }
    }
    Ok((info.expect("comes first"), content))
}

pub fn with_uploads(ids: &[&str]) -> MessageDraft {
    let draft = |id: &&str| AttachmentDraft {
        kind: Some(Kind::UploadId((*id).to_owned())),
    };
    MessageDraft {
        content: Some("see".to_owned()),
        attachments: ids.iter().map(draft).collect(),
        ..MessageDraft::default()
    }
}

/// The path of an absolute link.
pub fn path(link: &Value) -> String {
    let link = link.as_str().expect("a link is a text");
    format!("/files/{}", link.split_once("/files/").expect("a link of ours").1)
}

/// Follows a permanent link to the content.
async fn fetch(app: &TestApp, lasting: &str, range: Option<&str>) -> reqwest::Response {
    let http = app.http().with_token("");
    let led = http.send("GET", lasting, None).await;
    assert_eq!(led.status, 302, "{}", led.body);
    let place = led.headers["location"].to_str().expect("a location is ASCII");
    let place = place.strip_prefix("..").expect("beside the lasting link");
    let mut request = client().get(format!("http://{}/files{place}", app.server.listeners.http));
    if let Some(range) = range {
        request = request.header("range", range);
    }
    request.send().await.expect("the server responds")
}

async fn post_form(app: &TestApp, path: &str, form: multipart::Form, key: &str) -> HttpAnswer {
    let request = app.http().request("POST", path).multipart(form);
    let request = if key.is_empty() {
        request
    } else {
        request.header("idempotency-key", key)
    };
    app.http().answer(request).await
}

fn part(name: &str, kind: &str, content: Vec<u8>) -> multipart::Part {
    multipart::Part::bytes(content)
        .file_name(name.to_owned())
        .mime_str(kind)
        .expect("a media type")
}

/// The peak memory of the server, in kB.
fn peak(app: &TestApp) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", app.server.id())).expect("the server runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("Linux tells it");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("a number")
}
