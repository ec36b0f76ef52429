//! Files over gRPC: upload and download, use in a single message, and links that expire.

use bytes::Bytes;
use parley_proto::{
    AttachmentType, CreateConversationRequest, GetFileLinkRequest, UploadFileRequest, event::Resource,
    files_service_client::FilesServiceClient, upload_file_request::Part,
};
use serde_json::json;
use tonic::Code;

use super::{download, fetch, path, png, try_upload, upload, with_uploads};
use crate::support::{
    app::TestApp,
    database::Backend,
    fault::{assert_bad_fields, assert_refused},
    office::other_account,
    on_both,
    reader::{event, whole_log},
};

on_both!(
    file_is_uploaded_and_downloaded_over_grpc,
    upload_is_used_by_one_message_only,
    file_links_expire_and_cannot_be_forged
);

async fn file_is_uploaded_and_downloaded_over_grpc(backend: Backend) {
    Box::pin(goes_in_and_out(&TestApp::start(backend).await)).await;
}

pub async fn goes_in_and_out(app: &TestApp) {
    let clients = app.clients();
    let fixture = app.fixture();
    let talk = fixture.talk().await;
    let picture = png(1000, 400);
    let stored = try_upload(&clients, 1, "../Plän 1.PNG", "text/html", &picture)
        .await
        .expect("it is stored");
    assert_eq!((stored.name.as_str(), stored.content_type.as_str()), ("Plän 1.PNG", "image/png"));
    assert_eq!(
        (stored.r#type(), stored.size),
        (AttachmentType::Image, i64::try_from(picture.len()).expect("small"))
    );
    assert_eq!((stored.width, stored.height), (Some(1000), Some(400)));
    let text = try_upload(&clients, 1, "a.txt", "text/plain", b"0123456789")
        .await
        .expect("it is stored");

    let (message, _) = fixture.sent(talk, with_uploads(&[&text.upload_id, &stored.upload_id])).await;
    let types: Vec<_> = message
        .attachments
        .iter()
        .map(|it| (it.r#type(), it.extension().to_owned()))
        .collect();
    assert_eq!(
        types,
        [(AttachmentType::File, "txt".to_owned()), (AttachmentType::Image, "png".to_owned())]
    );
    assert!(message.attachments.iter().all(|it| it.message_id == message.id));
    let (_, listed) = app.http().ask(&format!("/conversations/{talk}/messages")).await;
    let names = listed["payload"][0]["attachments"].as_array().expect("a list").iter();
    assert_eq!(names.map(|it| it["extension"].clone()).collect::<Vec<_>>(), ["txt", "png"]);
    let told = whole_log(&clients, 1).await;
    let told = told.iter().find_map(|delivery| match &event(delivery).resource {
        Some(Resource::Message(told)) => told.message.clone().filter(|told| told.id == message.id),
        _ => None,
    });
    assert_eq!(told.expect("its event").attachments, message.attachments);

    let (info, content) = download(&clients, &message.attachments[0].data_url, 0, 0)
        .await
        .expect("it is there");
    assert_eq!(
        (info.name.as_str(), info.content_type.as_str(), info.size),
        ("a.txt", "text/plain", 10)
    );
    assert_eq!(content, b"0123456789");
    let (info, content) = download(&clients, &message.attachments[0].data_url, 3, 4)
        .await
        .expect("it is there");
    assert_eq!((info.size, content.as_slice()), (10, b"3456".as_slice()));
    let (_, content) = download(&clients, &message.attachments[1].data_url, 0, 0)
        .await
        .expect("it is there");
    assert_eq!(content, picture);
    let (info, small) = download(&clients, &message.attachments[1].thumb_url, 0, 0)
        .await
        .expect("it is there");
    let small = image::load_from_memory(&small).expect("a picture");
    assert_eq!((info.content_type.as_str(), small.width(), small.height()), ("image/png", 250, 100));

    assert_refused(try_upload(&clients, 2, "a", "", b"a").await, Code::PermissionDenied, "NOT_A_MEMBER");
    let without = vec![UploadFileRequest {
        account_id: 1,
        part: Some(Part::Chunk(Bytes::from_static(b"a"))),
    }];
    let answer = FilesServiceClient::new(clients.service.clone())
        .upload_file(tokio_stream::iter(without))
        .await;
    assert_bad_fields(answer, &["header: REQUIRED"]);
}

async fn upload_is_used_by_one_message_only(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let clients = app.clients();
    let fixture = app.fixture();
    let talk = fixture.talk().await;
    let file = upload(&clients, "a.txt", b"a").await;
    let name = file.upload_id.as_str();
    let tries = (0..20).map(|_| fixture.send(talk, with_uploads(&[name])));
    let outcomes = futures_util::future::join_all(tries).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    for outcome in outcomes.into_iter().filter(Result::is_err) {
        assert_bad_fields(outcome, &["message.attachments[0]: UNKNOWN"]);
    }
    let twice = upload(&clients, "b.txt", b"b").await.upload_id;
    assert_bad_fields(
        fixture.send(talk, with_uploads(&[&twice, &twice])).await,
        &["message.attachments[1]: UNKNOWN"],
    );
    assert_bad_fields(
        fixture.send(talk, with_uploads(&["made up"])).await,
        &["message.attachments[0]: UNKNOWN"],
    );

    let other = other_account(&app, "Other").await;
    let elsewhere = other.talk().await;
    assert_bad_fields(
        other.send(elsewhere, with_uploads(&[&twice])).await,
        &["message.attachments[0]: UNKNOWN"],
    );
    // The refused upload can still be used, also in the first message of a new conversation.
    let person = fixture.person("Asha").await;
    let request = CreateConversationRequest {
        account_id: 1,
        source_id: Some(person.source),
        message: Some(with_uploads(&[&twice])),
        ..CreateConversationRequest::default()
    };
    let made = clients
        .conversations
        .clone()
        .create_conversation(request)
        .await
        .expect("it is made")
        .into_inner();
    let first = made.message.expect("the first message");
    assert_eq!(first.attachments.len(), 1);
    let (_, content) = download(&clients, &first.attachments[0].data_url, 0, 0).await.expect("it is there");
    assert_eq!(content, b"b");
}

async fn file_links_expire_and_cannot_be_forged(backend: Backend) {
    let mut app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let talk = fixture.talk().await;
    let file = upload(&app.clients(), "a.txt", b"content").await;
    let (message, _) = fixture.sent(talk, with_uploads(&[&file.upload_id])).await;
    let lasting = path(&json!(message.attachments[0].data_url));
    // The signing key is stored in the database, so links remain valid after a restart.
    app.crash_and_restart().await;
    assert_eq!(fetch(&app, &lasting, None).await.text().await.expect("it arrives"), "content");
    let clients = app.clients_with("");
    let request = GetFileLinkRequest { link: lasting.clone() };
    let answer = FilesServiceClient::new(clients.service.clone()).get_file_link(request).await;
    let answer = answer.expect("no token is asked for").into_inner();
    let until = answer.expires_at.expect("always set").seconds;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("it is later")
        .as_secs();
    assert!((240..=300).contains(&(until - now.cast_signed())));
    assert!(answer.link.contains("/files/blobs/"));

    let http = app.http().with_token("");
    let mut forged = lasting.clone().into_bytes();
    forged[12] = if forged[12] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).expect("still ASCII");
    assert_eq!(http.send("GET", &forged, None).await.status, 404);
    assert_eq!(http.send("GET", "/files/blobs/x/y", None).await.status, 404);
    let upload_id = format!("/files/{}/a.txt", file.upload_id);
    assert_eq!(http.send("GET", &upload_id, None).await.status, 404);
    assert_refused(download(&clients, "x", 0, 0).await, Code::NotFound, "NOT_FOUND");
    assert_bad_fields(download(&clients, &lasting, -1, 0).await, &["offset: OUT_OF_RANGE"]);
}
