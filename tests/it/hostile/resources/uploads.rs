//! Uploads that no message takes: those of refused forms, their quota of bytes, and their lifetime.

use bytes::Bytes;
use parley_proto::{
    ClientSession, CreateClientMessageRequest, FileHeader, UploadClientFileRequest, UploadFileRequest,
    files_service_client::FilesServiceClient, upload_client_file_request, upload_file_request,
};
use reqwest::multipart::{Form, Part};
use serde_json::json;
use tonic::{Code, Status};

use super::{INBOX, Visitor};
use crate::{
    files::{place::Place, with_uploads},
    support::{
        app::{Builder, TestApp},
        clients::Clients,
        database::{Backend, Database},
        fault::{assert_bad_fields, assert_refused},
        on_both,
    },
};

on_both!(
    files_of_refused_forms_are_removed,
    files_of_repeated_forms_are_removed,
    unattached_uploads_have_quotas,
    unattached_uploads_expire
);

fn builder(backend: Backend) -> Builder {
    TestApp::builder(backend).env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", INBOX)
}

fn file(size: usize) -> Part {
    Part::bytes(vec![7; size]).file_name("a.bin")
}

/// The number of rows of files in any state.
async fn rows(app: &TestApp) -> i64 {
    Database::number(&app.database.url(), "SELECT count(*) FROM attachments").await
}

/// A contact session, and the path of the messages of its conversation.
async fn session(app: &TestApp) -> (ClientSession, String) {
    let visitor = Visitor::at(app, 1);
    let (source_id, _) = visitor.session().await;
    let made = visitor.post(&format!("/{source_id}/conversations"), json!({})).await;
    let made: serde_json::Value = made.json().await.expect("JSON");
    let messages = format!(
        "/public/api/v1/inboxes/{INBOX}/contacts/{source_id}/conversations/{}/messages",
        made["id"]
    );
    let session = ClientSession {
        inbox_identifier: INBOX.to_owned(),
        source_id,
    };
    (session, messages)
}

/// Posts a form with the administrator's token, or without a token to the client API.
async fn post(app: &TestApp, path: &str, form: Form) -> u16 {
    let http = if path.starts_with("/public/") {
        app.http().with_token("")
    } else {
        app.http()
    };
    http.answer(http.request("POST", path).multipart(form)).await.status
}

async fn files_of_refused_forms_are_removed(backend: Backend) {
    for (switch, visitor_statuses) in [("", [422, 422, 422]), ("refused_uploads", [422, 429, 429])] {
        let app = builder(backend)
            .env("PARLEY_FILES_UNATTACHED_BYTES_PER_SESSION", "150000")
            .env("PARLEY_FAULT_SWITCH", switch)
            .start()
            .await;
        let place = Place::folder(&app);
        let (_, messages) = session(&app).await;
        let mut statuses = Vec::new();
        for _ in 0..3 {
            // The content, which follows the file, is too long.
            let form = Form::new()
                .part("attachments[]", file(100_000))
                .text("content", "x".repeat(160_000));
            statuses.push(post(&app, &messages, form).await);
        }
        assert_eq!(statuses, visitor_statuses, "{switch:?}");
        if !switch.is_empty() {
            assert!(place.objects().await > 0);
            continue;
        }
        let talk = app.fixture().talk().await;
        let messages = format!("/api/v1/accounts/1/conversations/{talk}/messages");
        let too_many = (0..16).fold(Form::new(), |form, _| form.part("attachments[]", file(100)));
        assert_eq!(post(&app, &messages, too_many).await, 422);
        let no_picture = Form::new().text("name", "Asha").part("avatar", file(100));
        assert_eq!(post(&app, "/api/v1/accounts/1/contacts", no_picture).await, 422);
        // The first file is complete when the form breaks off within a header.
        let part = "--x\r\nContent-Disposition: form-data; name=\"attachments[]\"; filename=\"a.txt\"\r\n\r\na file\r\n--x\r\nContent-";
        let broken = app
            .http()
            .request("POST", &messages)
            .header("content-type", "multipart/form-data; boundary=x")
            .body(part);
        assert_eq!(app.http().answer(broken).await.status, 400);
        assert_eq!(
            (rows(&app).await, place.objects().await),
            (0, 0),
            "at once, and not by a later sweep"
        );
        let taken = Form::new().part("attachments[]", file(100));
        assert_eq!(post(&app, &messages, taken).await, 200);
        assert_eq!((rows(&app).await, place.objects().await), (1, 1), "what is taken stays");
    }
}

async fn files_of_repeated_forms_are_removed(backend: Backend) {
    let app = builder(backend).start().await;
    let talk = app.fixture().talk().await;
    let path = format!("/api/v1/accounts/1/conversations/{talk}/messages");
    let mut ids = Vec::new();
    for _ in 0..3 {
        let request = app.http().request("POST", &path).header("idempotency-key", "order-1");
        let form = Form::new().part("attachments[]", file(1000));
        let answer = app.http().answer(request.multipart(form)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        ids.push(answer.body["attachments"][0]["id"].clone());
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!((rows(&app).await, Place::folder(&app).objects().await), (1, 1));
}

/// Uploads a file as a contact session or as the administrator. Returns its name.
async fn upload(app: &TestApp, session: Option<&ClientSession>, size: usize) -> Result<String, Status> {
    let header = FileHeader {
        file_name: "a.bin".to_owned(),
        ..FileHeader::default()
    };
    let chunk = Bytes::from(vec![7; size]);
    let file = if let Some(session) = session {
        use upload_client_file_request::Part;
        let pieces = [Part::Header(header), Part::Chunk(chunk)].map(|part| UploadClientFileRequest {
            session: Some(session.clone()),
            part: Some(part),
        });
        let clients = Clients::new(&app.server.listeners.grpc, None);
        let stored = clients.client.clone().upload_client_file(tokio_stream::iter(pieces)).await?;
        stored.into_inner().file
    } else {
        use upload_file_request::Part;
        let pieces = [Part::Header(header), Part::Chunk(chunk)].map(|part| UploadFileRequest {
            account_id: 1,
            part: Some(part),
        });
        let stored = FilesServiceClient::new(app.clients().service.clone())
            .upload_file(tokio_stream::iter(pieces))
            .await?;
        stored.into_inner().file
    };
    Ok(file.expect("always set").upload_id)
}

/// Sends a message with an upload as a contact session.
async fn attach(app: &TestApp, (session, messages): &(ClientSession, String), upload_id: String) -> Result<(), Status> {
    let conversation = messages.split('/').rev().nth(1).and_then(|id| id.parse().ok());
    let request = CreateClientMessageRequest {
        session: Some(session.clone()),
        conversation_id: conversation.expect("the path names it"),
        upload_ids: vec![upload_id],
        ..CreateClientMessageRequest::default()
    };
    let clients = Clients::new(&app.server.listeners.grpc, None);
    clients.client.clone().create_client_message(request).await.map(drop)
}

async fn unattached_uploads_have_quotas(backend: Backend) {
    let app = builder(backend)
        .env("PARLEY_FILES_UNATTACHED_BYTES_PER_SESSION", "150000")
        .env("PARLEY_FILES_UNATTACHED_SESSION_BYTES_PER_ACCOUNT", "250000")
        .env("PARLEY_FILES_UNATTACHED_BYTES_PER_ACCOUNT", "350000")
        .start()
        .await;
    let (first, second, third) = (session(&app).await, session(&app).await, session(&app).await);
    let exceeded = |refused: Result<String, Status>, scope: &str| {
        let fault = assert_refused(refused, Code::ResourceExhausted, "RATE_LIMITED");
        assert_eq!((fault.metadata["scope"].as_str(), fault.retry), (scope, true));
    };
    let taken = upload(&app, Some(&first.0), 100_000).await.expect("within the quota");
    exceeded(upload(&app, Some(&first.0), 100_000).await, "session");
    upload(&app, Some(&first.0), 50_000).await.expect("exactly the rest");
    exceeded(upload(&app, Some(&first.0), 1).await, "session");
    upload(&app, Some(&second.0), 100_000).await.expect("another session");
    exceeded(upload(&app, Some(&third.0), 1).await, "account");
    // Neither refused uploads nor those that a message has taken count any more.
    attach(&app, &first, taken).await.expect("a message takes it");
    upload(&app, Some(&third.0), 100_000).await.expect("there is room again");
    exceeded(upload(&app, Some(&third.0), 1).await, "account");
    // Members have their own quota.
    let of_member = upload(&app, None, 300_000).await.expect("within the quota");
    exceeded(upload(&app, None, 100_000).await, "account");
    let talk = app.fixture().talk().await;
    app.fixture().sent(talk, with_uploads(&[&of_member])).await;
    upload(&app, None, 300_000).await.expect("there is room again");
}

async fn unattached_uploads_expire(backend: Backend) {
    let app = builder(backend).start().await;
    let place = Place::folder(&app);
    let visitor = session(&app).await;
    let talk = app.fixture().talk().await;
    let age = async |minutes: i64| {
        let micros = minutes * 60_000_000;
        app.database
            .run(&format!(
                "UPDATE attachments SET created_at = created_at - {micros} WHERE state = 0"
            ))
            .await;
    };
    let unknown = ["message.attachments[0]: UNKNOWN"];

    let early = upload(&app, Some(&visitor.0), 10).await.expect("it is stored");
    age(8).await;
    attach(&app, &visitor, early).await.expect("8 minutes are in time");
    let late = upload(&app, Some(&visitor.0), 10).await.expect("it is stored");
    let of_member = upload(&app, None, 10).await.expect("it is stored");
    assert_eq!(rows(&app).await, 3);
    // Uploads are kept for 10 minutes, because a message that took one in time may still be in flight.
    app.database
        .run("UPDATE attachments SET created_at = created_at - 570000000 WHERE state = 0")
        .await;
    assert_bad_fields(attach(&app, &visitor, late).await, &unknown);
    assert_eq!(rows(&app).await, 3);
    age(1).await;
    in_time_rows(&app, 2).await;

    age(22 * 60).await;
    app.fixture().sent(talk, with_uploads(&[&of_member])).await;
    let late = upload(&app, None, 10).await.expect("it is stored");
    age(23 * 60 + 30).await;
    assert_bad_fields(app.fixture().send(talk, with_uploads(&[&late])).await, &unknown);
    assert_eq!(rows(&app).await, 3);
    age(31).await;
    in_time_rows(&app, 2).await;
    assert_eq!(place.objects().await, 2, "the files of both messages");
}

/// Waits until the cleanup has left this many rows.
async fn in_time_rows(app: &TestApp, count: i64) {
    crate::support::in_time("a sweep", async {
        while rows(app).await != count {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    })
    .await;
}
