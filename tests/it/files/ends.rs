//! Resources that files use during a transfer, and cleanup after deletions and incomplete uploads.

use std::time::Duration;

use bytes::Bytes;
use parley_proto::{DeleteMessageRequest, UploadFileRequest, files_service_client::FilesServiceClient};
use prost::Message as _;
use reqwest::{header::HeaderValue, multipart};
use serde_json::json;
use tokio_stream::StreamExt as _;
use tonic::Code;

use super::{download, fetch, part, path, peak, pieces, place::Place, png, post_form, try_upload, upload, with_uploads};
use crate::support::{
    app::{ADMINISTRATOR, TestApp},
    database::Backend,
    fault::{assert_bad_fields, assert_refused},
    http::client,
    in_time, on_both,
};

on_both!(
    large_file_is_streamed_with_bounded_memory,
    incomplete_uploads_leave_nothing,
    deletions_remove_their_files
);

async fn large_file_is_streamed_with_bounded_memory(backend: Backend) {
    let app = TestApp::builder(backend).env("PARLEY_FILES_MAX_BYTES", "400000000").start().await;
    stays_out_of_memory(&app).await;
}

pub async fn stays_out_of_memory(app: &TestApp) {
    const SIZE: usize = 300 * 1024 * 1024;
    let talk = app.fixture().talk().await;
    let messages = format!("/api/v1/accounts/1/conversations/{talk}/messages");
    let small = multipart::Form::new().part("attachments[]", part("a.bin", "application/x-a", vec![0]));
    assert_eq!(post_form(app, &messages, small, "").await.status, 200);
    let before = peak(app);
    let chunk = Bytes::from(vec![7_u8; 1024 * 1024]);
    let chunks = tokio_stream::iter((0..SIZE / chunk.len()).map(move |_| Ok::<_, std::io::Error>(chunk.clone())));
    let large = multipart::Part::stream(reqwest::Body::wrap_stream(chunks)).file_name("large.bin");
    let answer = post_form(app, &messages, multipart::Form::new().part("attachments[]", large), "").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body["attachments"][0]["file_size"], SIZE);
    let mut shown = fetch(app, &path(&answer.body["attachments"][0]["data_url"]), None).await;
    let mut size = 0;
    while let Some(chunk) = shown.chunk().await.expect("they arrive") {
        size += chunk.len();
    }
    assert_eq!(size, SIZE);
    let grown = peak(app) - before;
    println!("a file of {} kB made the server grow by {grown} kB at most", SIZE / 1024);
    // A few chunks of 5 MiB in transit, and what the allocator retains of them.
    assert!(grown < 80 * 1024, "grew by {grown} kB");
}

async fn incomplete_uploads_leave_nothing(backend: Backend) {
    let app = TestApp::builder(backend).env("PARLEY_FILES_MAX_BYTES", "10000000").start().await;
    let place = Place::folder(&app);
    Box::pin(leaves_nothing(&app, &place)).await;
}

/// Expects a server with a file size limit of 10 MB.
pub async fn leaves_nothing(app: &TestApp, place: &Place) {
    let clients = app.clients();
    let refused = try_upload(&clients, 1, "a.bin", "", &vec![1; 10_000_001]).await;
    assert_bad_fields(refused, &["file: OUT_OF_RANGE"]);
    // The client disconnects in the middle of the upload.
    let (sender, chunks) = tokio::sync::mpsc::channel(4);
    let stream = tokio_stream::wrappers::ReceiverStream::new(chunks);
    let mut files = FilesServiceClient::new(clients.service.clone());
    let call = tokio::spawn(async move { files.upload_file(stream).await });
    for piece in pieces(1, "b.bin", "", &vec![2; 6_000_000]) {
        sender.send(piece).await.expect("the server takes it");
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    call.abort();
    place.empties().await;
    let talk = app.fixture().talk().await;
    let messages = format!("/api/v1/accounts/1/conversations/{talk}/messages");
    let broken = "--x\r\nContent-Disposition: form-data; name=\"attachments[]\"; filename=\"a.txt\"\r\n\r\nhalf a fi";
    let request = app
        .http()
        .request("POST", &messages)
        .header("content-type", "multipart/form-data; boundary=x")
        .body(broken);
    assert_eq!(app.http().answer(request).await.status, 400);
    assert_eq!(
        app.http().ask(&format!("/conversations/{talk}/messages")).await.1["payload"],
        json!([])
    );
    place.empties().await;
}

/// Endless uploads end at their deadlines, with so many at once that the server is late. They use gRPC-Web, because this client does not
/// enforce deadlines itself.
#[tokio::test]
async fn uploads_end_at_their_deadlines() {
    let app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_FILES_CONCURRENT_UPLOADS", "200")
        .start()
        .await;
    let place = Place::folder(&app);
    let codes = futures_util::future::join_all((1..=100).map(|nth| endless(&app, 5 * nth))).await;
    let ended: Vec<_> = codes.iter().map(|code| code.to_str().expect("a number")).collect();
    assert_eq!(ended, ["4"; 100], "DEADLINE_EXCEEDED is 4");
    place.empties().await;
}

/// Uploads one small chunk after another without end. Returns the `grpc-status` with which the upload ends.
async fn endless(app: &TestApp, milliseconds: u64) -> HeaderValue {
    let frame = |piece: &UploadFileRequest| {
        let mut frame = vec![0];
        frame.extend(u32::try_from(piece.encoded_len()).expect("small").to_be_bytes());
        frame.extend(piece.encode_to_vec());
        Ok::<_, std::io::Error>(frame)
    };
    let begin: Vec<_> = pieces(1, "a.bin", "", &[1]).iter().map(frame).collect();
    let more = pieces(1, "a.bin", "", &[1]).pop().expect("a chunk");
    let trickle = futures_util::stream::unfold((), move |()| {
        let next = frame(&more);
        async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Some((next, ()))
        }
    });
    let request = client()
        .post(format!("http://{}/parley.v1.FilesService/UploadFile", app.server.listeners.grpc))
        .header("content-type", "application/grpc-web+proto")
        .header("api_access_token", ADMINISTRATOR)
        .header("grpc-timeout", format!("{milliseconds}m"))
        .body(reqwest::Body::wrap_stream(tokio_stream::iter(begin).chain(trickle)));
    let answer = in_time("the deadline", request.send()).await.expect("an answer");
    answer.headers()["grpc-status"].clone()
}

async fn deletions_remove_their_files(backend: Backend) {
    let app = TestApp::start(backend).await;
    let place = Place::folder(&app);
    Box::pin(takes_its_files_along(&app, &place)).await;
}

pub async fn takes_its_files_along(app: &TestApp, place: &Place) {
    let clients = app.clients();
    let fixture = app.fixture();
    let talk = fixture.talk().await;
    let file = upload(&clients, "a.png", &png(600, 600)).await;
    let (message, _) = fixture.sent(talk, with_uploads(&[&file.upload_id])).await;
    assert_eq!(place.objects().await, 2);
    let request = DeleteMessageRequest {
        account_id: 1,
        conversation_id: talk,
        message_id: message.id,
        ..DeleteMessageRequest::default()
    };
    let deleted = clients
        .messages
        .clone()
        .delete_message(request)
        .await
        .expect("it is deleted")
        .into_inner();
    assert_eq!(deleted.message.expect("always set").attachments, []);
    let lost = download(&clients, &message.attachments[0].data_url, 0, 0).await;
    assert_refused(lost, Code::NotFound, "NOT_FOUND");
    place.empties().await;

    let waiting = upload(&clients, "b.txt", b"b").await;
    // Simulate that a day passes.
    app.database
        .run("UPDATE attachments SET created_at = created_at - 86401000000")
        .await;
    assert_bad_fields(
        fixture.send(talk, with_uploads(&[&waiting.upload_id])).await,
        &["message.attachments[0]: UNKNOWN"],
    );
    place.empties().await;
}
