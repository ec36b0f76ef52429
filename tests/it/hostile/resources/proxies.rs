//! Without `limits.trusted_proxies`, a client gains nothing by sending a forwarding header that others would need.

use futures_util::stream;
use parley_proto::{
    ClientSession, FileHeader, UploadClientFileRequest, UploadFileRequest, client_service_client::ClientServiceClient,
    files_service_client::FilesServiceClient, upload_client_file_request, upload_file_request,
};
use tokio::sync::oneshot;
use tonic::{Code, Request, Status, transport::Endpoint};

use super::{INBOX, Visitor};
use crate::support::{
    app::{Builder, TestApp},
    database::Backend,
    fault::refused,
    in_time,
};

fn builder(without: &str) -> Builder {
    TestApp::builder(Backend::Sqlite)
        .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", INBOX)
        .env("PARLEY_FAULT_SWITCH", without)
}

fn header() -> FileHeader {
    FileHeader {
        file_name: "a.txt".to_owned(),
        content_type: "text/plain".to_owned(),
    }
}

/// An upload that lasts until `_end` is dropped.
struct Upload {
    _end: oneshot::Sender<()>,
    call: tokio::task::JoinHandle<Result<(), Status>>,
}

/// Starts an upload of a session from 127.0.0.`last`, with a forwarding header.
fn begin(app: &TestApp, last: u8, session: &ClientSession) -> Upload {
    let channel = Endpoint::from_shared(format!("http://{}", app.server.listeners.grpc)).expect("an address");
    let channel = channel.local_address(Some([127, 0, 0, last].into())).connect_lazy();
    let (end, ended) = oneshot::channel::<()>();
    let first = UploadClientFileRequest {
        session: Some(session.clone()),
        part: Some(upload_client_file_request::Part::Header(header())),
    };
    let pieces = stream::unfold((Some(first), Some(ended)), |(first, ended)| async move {
        if let Some(first) = first {
            return Some((first, (None, ended)));
        }
        // An error means that `_end` was dropped.
        let _ = ended?.await;
        None
    });
    let mut request = Request::new(pieces);
    request
        .metadata_mut()
        .insert("x-forwarded-for", "192.0.2.1".parse().expect("a value"));
    let call = tokio::spawn(async move {
        let mut client = ClientServiceClient::new(channel);
        client.upload_client_file(request).await.map(drop)
    });
    Upload { _end: end, call }
}

async fn session(app: &TestApp) -> ClientSession {
    ClientSession {
        inbox_identifier: INBOX.to_owned(),
        source_id: Visitor::at(app, 9).session().await.0,
    }
}

/// The uploads that were not refused, once `refusals` of them were.
async fn held(mut uploads: Vec<Upload>, refusals: usize) -> Vec<Upload> {
    in_time("refusals", async {
        while uploads.iter().filter(|upload| upload.call.is_finished()).count() < refusals {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    let mut open = Vec::new();
    for upload in uploads.drain(..) {
        if upload.call.is_finished() {
            let outcome = upload.call.await.expect("the call ends");
            assert_eq!(refused(outcome).code, Code::ResourceExhausted);
        } else {
            open.push(upload);
        }
    }
    open
}

/// Whether the administrator can upload a file.
async fn member_uploads(app: &TestApp) -> bool {
    let part = |part| UploadFileRequest {
        account_id: 1,
        part: Some(part),
    };
    let pieces = vec![
        part(upload_file_request::Part::Header(header())),
        part(upload_file_request::Part::Chunk(b"hello".to_vec().into())),
    ];
    let mut files = FilesServiceClient::new(app.clients().service.clone());
    files.upload_file(stream::iter(pieces)).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forwarding_header_does_not_raise_the_upload_limit() {
    for (switch, refusals) in [("", 6), ("proxy_limits", 0)] {
        let app = builder(switch).env("PARLEY_LIMITS_UPLOADS_PER_ADDRESS", "2").start().await;
        let session = session(&app).await;
        let uploads = (0..8).map(|_| begin(&app, 20, &session)).collect();
        let open = held(uploads, refusals).await;
        if switch.is_empty() {
            assert_eq!(open.len(), 2);
            // Another address has its own limit.
            assert_eq!(held(vec![begin(&app, 21, &session)], 0).await.len(), 1);
        } else {
            // Only uploads beyond ten times the limit would be refused, so these eight are not.
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            assert_eq!(held(open, 0).await.len(), 8);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_leave_upload_slots_for_members() {
    for (switch, refusals, is_served) in [("", 2, true), ("upload_share", 0, false)] {
        let app = builder(switch).env("PARLEY_FILES_CONCURRENT_UPLOADS", "4").start().await;
        let session = session(&app).await;
        let uploads = (20..24).map(|last| begin(&app, last, &session)).collect();
        let mut open = held(uploads, refusals).await;
        in_time("the member's outcome", async {
            while member_uploads(&app).await != is_served {
                assert!(!is_served, "a member has a slot of its own");
                // A session's upload was refused because the member's upload held the slot at that moment: replace it.
                for (upload, last) in open.iter_mut().zip(20..).filter(|(upload, _)| upload.call.is_finished()) {
                    let ended = std::mem::replace(upload, begin(&app, last, &session));
                    assert_eq!(refused(ended.call.await.expect("the call ends")).code, Code::ResourceExhausted);
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        })
        .await;
        assert_eq!(open.iter().filter(|upload| !upload.call.is_finished()).count(), 4 - refusals);
    }
}
