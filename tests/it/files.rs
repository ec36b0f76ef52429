//! Files: in and out through both doors, taken once, and gone when nothing needs them.

use std::{io::Cursor, path::Path, time::Duration};

use bytes::Bytes;
use parley::pb::{
    AttachmentDraft, AttachmentType, ContactCardDraft, CreateClientMessageRequest, CreateClientSessionRequest, CreateConversationRequest,
    DeleteMessageRequest, DownloadFileRequest, FallbackDraft, File, FileHeader, GetFileLinkRequest, LocationDraft, MessageDraft,
    UploadFileRequest, attachment_draft::Kind, download_file_response, event::Resource, files_service_client::FilesServiceClient,
    upload_file_request::Part,
};
use reqwest::multipart;
use serde_json::{Value, json};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::support::{
    app::TestApp,
    clients::Clients,
    database::Backend,
    fault::{assert_bad_fields, assert_refused},
    http::{HttpAnswer, client},
    office::other_account,
    on_both,
    reader::{event, whole_log},
};

on_both!(
    a_file_goes_in_and_out_by_grpc,
    files_go_in_and_out_by_forms,
    an_upload_is_taken_once,
    a_repeated_form_makes_one_message,
    what_has_no_file_hangs_on_messages_too,
    a_large_file_stays_out_of_memory,
    what_breaks_off_leaves_nothing,
    links_end_and_cannot_be_made_up,
    what_goes_takes_its_files_along,
    contacts_send_files,
    pictures_of_contacts_and_inboxes
);

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

async fn upload(clients: &Clients, name: &str, content: &[u8]) -> File {
    try_upload(clients, 1, name, "", content).await.expect("the file is stored")
}

async fn download(clients: &Clients, link: &str, offset: i64, limit: i64) -> Result<(parley::pb::FileInfo, Vec<u8>), Status> {
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

fn with_uploads(ids: &[&str]) -> MessageDraft {
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
fn path(link: &Value) -> String {
    let link = link.as_str().expect("a link is a text");
    format!("/files/{}", link.split_once("/files/").expect("a link of ours").1)
}

/// Follows a lasting link to the bytes.
async fn fetch(app: &TestApp, lasting: &str, range: Option<&str>) -> reqwest::Response {
    let http = app.http().with_token("");
    let led = http.send("GET", lasting, None).await;
    assert_eq!(led.status, 302, "{}", led.body);
    let place = led.headers["location"].to_str().expect("a location is ASCII");
    let place = place.strip_prefix("..").expect("beside the lasting link");
    let mut request = client().get(format!("http://{}/files{place}", app.server.doors.http));
    if let Some(range) = range {
        request = request.header("range", range);
    }
    request.send().await.expect("the door answers")
}

async fn a_file_goes_in_and_out_by_grpc(backend: Backend) {
    let app = TestApp::start(backend).await;
    let clients = app.clients();
    let scene = app.scene();
    let talk = scene.talk().await;
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

    let (message, _) = scene.sent(talk, with_uploads(&[&text.upload_id, &stored.upload_id])).await;
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

async fn files_go_in_and_out_by_forms(backend: Backend) {
    let app = TestApp::start(backend).await;
    let talk = app.scene().talk().await;
    let messages = format!("/api/v1/accounts/1/conversations/{talk}/messages");
    let form = multipart::Form::new()
        .text("content", "two files")
        .part("attachments[]", part("a.png", "image/png", png(300, 30)))
        .text("content_attributes", "{}")
        .part(
            "attachments[]",
            part("page.html", "text/html", b"<script>alert(1)</script>".to_vec()),
        );
    let answer = post_form(&app, &messages, form, "").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let (image, page) = (&answer.body["attachments"][0], &answer.body["attachments"][1]);
    assert_eq!(
        (&image["file_type"], &image["width"], &image["height"]),
        (&json!("image"), &json!(300), &json!(30))
    );
    assert_eq!(
        (&page["file_type"], &page["file_size"], &page["thumb_url"]),
        (&json!("file"), &json!(25), &json!(""))
    );
    assert_eq!(page["message_id"], answer.body["id"]);

    let shown = fetch(&app, &path(&image["data_url"]), None).await;
    assert_eq!(
        shown.headers()["content-disposition"],
        "inline; filename=\"a.png\"; filename*=UTF-8''a%2Epng"
    );
    assert_eq!(shown.headers()["x-content-type-options"], "nosniff");
    assert_eq!(shown.bytes().await.expect("they arrive"), png(300, 30));
    let saved = fetch(&app, &path(&page["data_url"]), Some("bytes=1-6")).await;
    assert_eq!(saved.status(), 206);
    assert_eq!(saved.headers()["content-range"], "bytes 1-6/25");
    assert!(
        saved.headers()["content-disposition"]
            .to_str()
            .expect("ASCII")
            .starts_with("attachment")
    );
    assert_eq!(saved.bytes().await.expect("they arrive"), "script");
    let end = fetch(&app, &path(&page["data_url"]), Some("bytes=-9")).await;
    assert_eq!(end.bytes().await.expect("they arrive"), "</script>");
    assert_eq!(fetch(&app, &path(&page["data_url"]), Some("bytes=25-")).await.status(), 416);

    let (status, listed) = app.http().ask(&format!("/conversations/{talk}/attachments")).await;
    assert_eq!((status, &listed["meta"]["total_count"]), (200, &json!(2)));
    assert_eq!(listed["payload"][0]["data_url"], page["data_url"]);

    let mut form = multipart::Form::new();
    for nth in 0..16 {
        form = form.part("attachments[]", part(&format!("{nth}.txt"), "text/plain", vec![b'a']));
    }
    let answer = post_form(&app, &messages, form, "").await;
    assert_eq!(answer.status, 422);
    assert_eq!(answer.body["error"], "Validation failed: Attachments exceeded maximum allowed");
    let form = multipart::Form::new().part("avatar", part("a.png", "image/png", png(3, 3)));
    assert_eq!(post_form(&app, "/api/v1/accounts/1/labels", form, "").await.status, 422);
    let form = multipart::Form::new().part("attachments[]", part("a.txt", "text/plain", vec![b'a']));
    let stranger = app.http().with_token("nobody").request("POST", &messages).multipart(form);
    assert_eq!(app.http().answer(stranger).await.status, 401);
}

async fn an_upload_is_taken_once(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let clients = app.clients();
    let scene = app.scene();
    let talk = scene.talk().await;
    let file = upload(&clients, "a.txt", b"a").await;
    let name = file.upload_id.as_str();
    let tries = (0..20).map(|_| scene.send(talk, with_uploads(&[name])));
    let outcomes = futures_util::future::join_all(tries).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    for outcome in outcomes.into_iter().filter(Result::is_err) {
        assert_bad_fields(outcome, &["message.attachments[0]: UNKNOWN"]);
    }
    let twice = upload(&clients, "b.txt", b"b").await.upload_id;
    assert_bad_fields(
        scene.send(talk, with_uploads(&[&twice, &twice])).await,
        &["message.attachments[1]: UNKNOWN"],
    );
    assert_bad_fields(
        scene.send(talk, with_uploads(&["made up"])).await,
        &["message.attachments[0]: UNKNOWN"],
    );

    let other = other_account(&app, "Other").await;
    let elsewhere = other.talk().await;
    assert_bad_fields(
        other.send(elsewhere, with_uploads(&[&twice])).await,
        &["message.attachments[0]: UNKNOWN"],
    );
    // What was refused is still there to be taken, with a conversation too.
    let person = scene.person("Asha").await;
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

async fn a_repeated_form_makes_one_message(backend: Backend) {
    let app = TestApp::start(backend).await;
    let talk = app.scene().talk().await;
    let messages = format!("/api/v1/accounts/1/conversations/{talk}/messages");
    let form = |content: &str| {
        let part = part("a.txt", "text/plain", content.as_bytes().to_vec());
        multipart::Form::new().text("content", "see").part("attachments[]", part)
    };
    let first = post_form(&app, &messages, form("same"), "order-1").await;
    let again = post_form(&app, &messages, form("same"), "order-1").await;
    assert_eq!((first.status, &first.body), (200, &again.body));
    assert_eq!(post_form(&app, &messages, form("other"), "order-1").await.status, 409);
}

async fn what_has_no_file_hangs_on_messages_too(backend: Backend) {
    let app = TestApp::start(backend).await;
    let scene = app.scene();
    let talk = scene.talk().await;
    let draft = |kinds: Vec<Kind>| MessageDraft {
        attachments: kinds.into_iter().map(|kind| AttachmentDraft { kind: Some(kind) }).collect(),
        ..MessageDraft::default()
    };
    let place = LocationDraft {
        latitude: 38.7,
        longitude: -9.1,
        title: "Lisboa".to_owned(),
        ..LocationDraft::default()
    };
    let card = ContactCardDraft {
        title: "+351912345678".to_owned(),
        meta: None,
    };
    let link = FallbackDraft {
        title: "A page".to_owned(),
        url: "https://shop.example.org/a".to_owned(),
    };
    let kinds = vec![Kind::Location(place), Kind::Contact(card), Kind::Fallback(link)];
    let (message, _) = scene.sent(talk, draft(kinds)).await;
    let (_, shown) = app.http().ask(&format!("/conversations/{talk}/messages")).await;
    let shown = &shown["payload"][0]["attachments"];
    let id = |nth: usize| message.attachments[nth].id;
    let same = |nth: usize, kind: &str| json!({"id": id(nth), "message_id": message.id, "file_type": kind, "account_id": 1});
    let merged = |mut one: Value, more: Value| {
        let object = one.as_object_mut().expect("an object");
        object.extend(more.as_object().expect("an object").clone());
        one
    };
    assert_eq!(
        *shown,
        json!([
            merged(
                same(0, "location"),
                json!({"coordinates_lat": 38.7, "coordinates_long": -9.1, "fallback_title": "Lisboa", "data_url": ""})
            ),
            merged(same(1, "contact"), json!({"fallback_title": "+351912345678", "meta": {}})),
            merged(
                same(2, "fallback"),
                json!({"fallback_title": "A page", "data_url": "https://shop.example.org/a"})
            ),
        ])
    );
    let far = LocationDraft {
        latitude: 91.0,
        ..LocationDraft::default()
    };
    let wrong = vec![Kind::Location(far), Kind::Fallback(FallbackDraft::default())];
    assert_bad_fields(
        scene.send(talk, draft(wrong)).await,
        &[
            "message.attachments[0].location.latitude: OUT_OF_RANGE",
            "message.attachments[1].fallback.title: REQUIRED",
        ],
    );
}

/// The most memory that the server ever had, in kB.
fn peak(app: &TestApp) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", app.server.id())).expect("the server runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("Linux tells it");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("a number")
}

async fn a_large_file_stays_out_of_memory(backend: Backend) {
    const SIZE: usize = 300 * 1024 * 1024;
    let app = TestApp::builder(backend).env("PARLEY_FILES_MAX_BYTES", "400000000").start().await;
    let talk = app.scene().talk().await;
    let messages = format!("/api/v1/accounts/1/conversations/{talk}/messages");
    let small = multipart::Form::new().part("attachments[]", part("a.bin", "application/x-a", vec![0]));
    assert_eq!(post_form(&app, &messages, small, "").await.status, 200);
    let before = peak(&app);
    let chunk = Bytes::from(vec![7_u8; 1024 * 1024]);
    let chunks = tokio_stream::iter((0..SIZE / chunk.len()).map(move |_| Ok::<_, std::io::Error>(chunk.clone())));
    let large = multipart::Part::stream(reqwest::Body::wrap_stream(chunks)).file_name("large.bin");
    let answer = post_form(&app, &messages, multipart::Form::new().part("attachments[]", large), "").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body["attachments"][0]["file_size"], SIZE);
    let mut shown = fetch(&app, &path(&answer.body["attachments"][0]["data_url"]), None).await;
    let mut size = 0;
    while let Some(chunk) = shown.chunk().await.expect("they arrive") {
        size += chunk.len();
    }
    assert_eq!(size, SIZE);
    let grown = peak(&app) - before;
    println!("a file of {} kB made the server grow by {grown} kB at most", SIZE / 1024);
    // A few pieces of 5 MiB on their way, and what the allocator keeps of them.
    assert!(grown < 80 * 1024, "grew by {grown} kB");
}

fn files_in(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let count = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.expect("the directory is ours").path();
        if path.is_dir() { files_in(&path) } else { 1 }
    };
    entries.map(count).sum()
}

async fn empties(app: &TestApp) {
    for _ in 0..400 {
        if files_in(&app.home().join("files")) == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{} files are left", files_in(&app.home().join("files")));
}

async fn what_breaks_off_leaves_nothing(backend: Backend) {
    let app = TestApp::builder(backend).env("PARLEY_FILES_MAX_BYTES", "10000000").start().await;
    let clients = app.clients();
    let refused = try_upload(&clients, 1, "a.bin", "", &vec![1; 10_000_001]).await;
    assert_bad_fields(refused, &["file: OUT_OF_RANGE"]);
    // The sender hangs up in the middle.
    let (sender, chunks) = tokio::sync::mpsc::channel(4);
    let stream = tokio_stream::wrappers::ReceiverStream::new(chunks);
    let mut files = FilesServiceClient::new(clients.service.clone());
    let call = tokio::spawn(async move { files.upload_file(stream).await });
    for piece in pieces(1, "b.bin", "", &vec![2; 6_000_000]) {
        sender.send(piece).await.expect("the server takes it");
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    call.abort();
    empties(&app).await;
    let talk = app.scene().talk().await;
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
}

async fn links_end_and_cannot_be_made_up(backend: Backend) {
    let mut app = TestApp::start(backend).await;
    let scene = app.scene();
    let talk = scene.talk().await;
    let file = upload(&app.clients(), "a.txt", b"content").await;
    let (message, _) = scene.sent(talk, with_uploads(&[&file.upload_id])).await;
    let lasting = path(&json!(message.attachments[0].data_url));
    // The key is the database's, and so outlives the program.
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

async fn what_goes_takes_its_files_along(backend: Backend) {
    let app = TestApp::start(backend).await;
    let clients = app.clients();
    let scene = app.scene();
    let talk = scene.talk().await;
    let file = upload(&clients, "a.png", &png(600, 600)).await;
    let (message, _) = scene.sent(talk, with_uploads(&[&file.upload_id])).await;
    assert_eq!(files_in(&app.home().join("files")), 2);
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
    empties(&app).await;

    let waiting = upload(&clients, "b.txt", b"b").await;
    // A day goes by.
    app.database
        .run("UPDATE attachments SET created_at = created_at - 86401000000")
        .await;
    assert_bad_fields(
        scene.send(talk, with_uploads(&[&waiting.upload_id])).await,
        &["message.attachments[0]: UNKNOWN"],
    );
    empties(&app).await;
}

async fn contacts_send_files(backend: Backend) {
    let app = TestApp::start(backend).await;
    let identifier = app.http().ask("/inboxes/1").await.1["inbox_identifier"].clone();
    let identifier = identifier.as_str().expect("an API inbox has one");
    let clients = app.clients();
    let request = CreateClientSessionRequest {
        inbox_identifier: identifier.to_owned(),
        name: Some("Asha".to_owned()),
        ..CreateClientSessionRequest::default()
    };
    let session = clients
        .client
        .clone()
        .create_client_session(request)
        .await
        .expect("it is made")
        .into_inner();
    let source = session.session.expect("always set").source_id;
    let http = app.http().with_token("");
    let root = format!("/public/api/v1/inboxes/{identifier}/contacts/{source}/conversations");
    let talk = http.send("POST", &root, Some(&json!({}))).await.body["id"].clone();
    let form = multipart::Form::new()
        .text("content", "my receipt")
        .part("attachments[]", part("receipt.png", "image/png", png(400, 400)));
    let answer = http
        .answer(http.request("POST", &format!("{root}/{talk}/messages")).multipart(form))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let shown = &answer.body["attachments"][0];
    assert_eq!((&shown["file_type"], &shown["width"]), (&json!("image"), &json!(400)));
    assert_eq!(
        fetch(&app, &path(&shown["data_url"]), None)
            .await
            .bytes()
            .await
            .expect("they arrive"),
        png(400, 400)
    );
    // A stranger may not even upload.
    let form = multipart::Form::new().part("attachments[]", part("a.txt", "text/plain", vec![b'a']));
    let elsewhere = root.replace(&source, &Uuid::new_v4().to_string());
    let answer = http
        .answer(http.request("POST", &format!("{elsewhere}/{talk}/messages")).multipart(form))
        .await;
    assert_eq!(answer.status, 404);
    let request = CreateClientMessageRequest {
        session: Some(parley::pb::ClientSession {
            inbox_identifier: identifier.to_owned(),
            source_id: source,
        }),
        conversation_id: talk.as_i64().expect("a number"),
        upload_ids: vec!["made up".to_owned()],
        ..CreateClientMessageRequest::default()
    };
    assert_bad_fields(
        clients.client.clone().create_client_message(request).await,
        &["message.attachments[0]: UNKNOWN"],
    );
}

async fn pictures_of_contacts_and_inboxes(backend: Backend) {
    let app = TestApp::start(backend).await;
    let contacts = "/api/v1/accounts/1/contacts";
    let form = |kind: &str, content: Vec<u8>| {
        let part = part("me.png", kind, content);
        multipart::Form::new().text("name", "Asha").part("avatar", part)
    };
    let made = post_form(&app, contacts, form("image/png", png(500, 500)), "asha-1").await;
    assert_eq!(made.status, 200, "{}", made.body);
    let contact = &made.body["payload"]["contact"];
    let shown = fetch(&app, &path(&contact["thumbnail"]), None)
        .await
        .bytes()
        .await
        .expect("they arrive");
    assert_eq!(image::load_from_memory(&shown).expect("a picture").width(), 250);
    let again = post_form(&app, contacts, form("image/png", png(500, 500)), "asha-1").await;
    assert_eq!(again.body, made.body);

    let refused = post_form(&app, contacts, form("text/plain", b"no picture".to_vec()), "").await;
    assert_eq!(
        (refused.status, &refused.body["message"]),
        (422, &json!("Avatar filetype not supported"))
    );
    let strange = multipart::Form::new().part("name", part("a.txt", "text/plain", vec![b'a']));
    assert_eq!(post_form(&app, contacts, strange, "").await.status, 422);

    // Another contact cannot have the same file, and so cannot take it away.
    let other = json!({"name": "Ravi", "avatar_url": contact["thumbnail"]});
    let stolen = app.http().try_post("/contacts", &other).await;
    assert_eq!(stolen.0, 422, "{}", stolen.1);
    let one = format!("{contacts}/{}", contact["id"]);
    let kept = app
        .http()
        .send("PUT", &one, Some(&json!({"avatar_url": contact["thumbnail"], "name": "Asha Rao"})))
        .await;
    assert_eq!(kept.body["payload"]["thumbnail"], contact["thumbnail"]);
    // The picture that was uploaded for nobody is small: it is its own thumbnail, and the old one goes.
    let next = app.http().request("PUT", &one).multipart(form("image/png", png(50, 50)));
    let next = app.http().answer(next).await;
    assert_ne!(next.body["payload"]["thumbnail"], contact["thumbnail"]);
    let gone = app.http().with_token("").send("GET", &path(&contact["thumbnail"]), None).await;
    assert_eq!(gone.status, 404);

    let inbox = app.http().request("PATCH", "/api/v1/accounts/1/inboxes/1");
    let inbox = app.http().answer(inbox.multipart(form("image/png", png(50, 50)))).await;
    assert_eq!(inbox.status, 200, "{}", inbox.body);
    let shown = fetch(&app, &path(&inbox.body["avatar_url"]), None).await;
    assert_eq!(shown.bytes().await.expect("they arrive"), png(50, 50));
    assert_eq!(app.http().send("DELETE", &one, None).await.status, 200);
    let gone = app
        .http()
        .with_token("")
        .send("GET", &path(&next.body["payload"]["thumbnail"]), None)
        .await;
    assert_eq!(gone.status, 404);
}
