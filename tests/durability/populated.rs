//! Databases filled by earlier releases, migrated and served by this version. `efb66ab` stored data beyond today's limits; later releases
//! store the largest data that they accept.

mod additions;

use std::{
    fs,
    io::{Read as _, Write as _},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use parley_proto::{
    self as pb, AttachmentDraft, CreateTokenRequest, FileHeader, GetConsumerRequest, TokenKind, UploadFileRequest,
    accounts_service_client::AccountsServiceClient, attachment_draft, files_service_client::FilesServiceClient, subscribe_request::Start,
    upload_file_request::Part,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use additions::Additions;

use crate::{
    release::Release,
    support::{
        api_fixture::outgoing,
        app::{Builder, TestApp},
        clients::Clients,
        cluster::client_program,
        consumer::{Session, plenty},
        database::{Backend, Database},
        http::Http,
        reader::{Reader, event, everything, log_info},
        server::{limited, program_at},
    },
};

const INBOX: &str = "inbox-a";

/// The name of a session, and an idempotency key.
const VISITOR: &str = "visitor-of-the-release-before";
const KEY: &str = "4f6c1c39-3df5-4a0e-8a3c-1f1f6f1f9b11";

/// A text larger than an attribute map has been allowed to be since 0.1.0.
const LARGE: usize = 200 << 10;

/// What was stored, and how it is requested.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    /// When the data was stored, in seconds since 1970.
    recorded_at: u64,
    contact: i64,
    conversation: i64,
    service_token: String,
    reply: Json,
    cursor: Vec<u8>,
    events: u64,
    committed: u64,
    upload: String,
    /// Absent for `efb66ab`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    additions: Option<Additions>,
}

/// The program of an earlier release fills a database. This version migrates it, serves it and writes to it. The earlier program then
/// serves it again, as after a rollback.
pub async fn is_served(previous: &str, release: &Release, backend: Backend) {
    let mut app = previous_server(previous, release, backend).start().await;
    let stored = fill(&app, release).await;
    stop(&mut app).await;
    if std::env::var_os("PARLEY_RECORD").is_some() {
        record(&app, release, backend, &stored);
    }
    app.start_again().await;
    check(&app, &stored).await;

    let written = log_info(&app.clients(), 1).await.head_seq;
    stop(&mut app).await;
    let home = tempfile::tempdir().expect("a temporary directory");
    copy(app.home(), home.path());
    let TestApp { database, .. } = app;
    let app = previous_server(previous, release, backend)
        .database(database)
        .home(home)
        .start()
        .await;
    assert!(written > stored.events, "this version wrote events");
    check_again(&app, &stored).await;
    let mut reader = Reader::open(&app.clients(), everything(1, Start::After(stored.cursor.clone().into()))).await;
    let read = reader.until(written).await;
    assert_eq!(
        read.len() as u64,
        written - stored.committed,
        "the earlier program sends the events of this version"
    );
}

/// A server that runs the program of an earlier release.
fn previous_server(previous: &str, release: &Release, backend: Backend) -> Builder {
    TestApp::builder(backend)
        .previous(program_at(previous), release.limits_off())
        .platform()
        .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", INBOX)
        .env("PARLEY_EVENTS_TRIM_INTERVAL_SECONDS", "1")
}

async fn stop(app: &mut TestApp) {
    app.server.terminate();
    assert!(app.server.wait().await.success(), "{}", app.server.log());
}

/// This version migrates and serves a recorded database.
pub async fn recorded_is_served(release: &Release, backend: Backend) {
    let folder = release.database(backend);
    let stored = fs::read(folder.join("stored.json")).expect("it was recorded");
    let stored: Stored = serde_json::from_slice(&stored).expect("what was stored");
    let mut data = Vec::new();
    GzDecoder::new(fs::File::open(folder.join("database.gz")).expect("it was recorded"))
        .read_to_end(&mut data)
        .expect("it is compressed");
    let database = Database::create(backend).await;
    match backend {
        Backend::Sqlite => fs::write(database.file(), data).expect("there is room"),
        Backend::Postgres => load(&database.url(), &data),
    }
    let home = tempfile::tempdir().expect("a temporary directory");
    copy(&folder.join("home"), home.path());
    // Set the clock to a minute after the recording, so that what is kept for a day has not expired.
    let clock = home.path().join("clock");
    fs::write(
        &clock,
        format!("{:+}", (stored.recorded_at + 60).cast_signed() - now().cast_signed()),
    )
    .expect("there is room");
    let app = TestApp::builder(backend)
        .database(database)
        .home(home)
        .platform()
        .env("FAKETIME_TIMESTAMP_FILE", &clock.display().to_string())
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .program(limited(
            "LD_PRELOAD=$(ls /usr/lib/*/faketime/libfaketimeMT.so.1); export LD_PRELOAD",
        ))
        .start()
        .await;
    check(&app, &stored).await;
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("it is after 1970").as_secs()
}

/// Stores what a stopped server left behind in the repository.
fn record(app: &TestApp, release: &Release, backend: Backend, stored: &Stored) {
    let folder = release.database(backend);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("there is room");
    let data = match backend {
        Backend::Sqlite => fs::read(app.database.file()).expect("the server closed it"),
        Backend::Postgres => {
            let mut dump = client_program("pg_dump");
            dump.args(["--no-owner", "--no-privileges"]).arg(plain(&app.database.url()));
            let dump = dump.output().expect("pg_dump runs");
            assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
            dump.stdout
        }
    };
    let mut database = GzEncoder::new(Vec::new(), Compression::best());
    database.write_all(&data).expect("it is in memory");
    fs::write(folder.join("database.gz"), database.finish().expect("it is in memory")).expect("there is room");
    let stored = serde_json::to_vec_pretty(stored).expect("it is JSON");
    fs::write(folder.join("stored.json"), stored).expect("there is room");
    copy(app.home(), &folder.join("home"));
}

/// The URL without its parameters, which PostgreSQL's own tools do not accept.
fn plain(url: &str) -> &str {
    url.split('?').next().unwrap_or(url)
}

/// Loads a dump with PostgreSQL's command line client.
fn load(url: &str, dump: &[u8]) {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(dump).expect("there is room");
    std::io::Seek::rewind(&mut file).expect("it is a file");
    let mut client = client_program("psql");
    client
        .args(["--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1"])
        .arg(plain(url))
        .stdin(file);
    let loaded = client.output().expect("psql runs");
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
}

/// Copies a folder recursively.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("there is room");
    for entry in fs::read_dir(from).expect("the folder is there") {
        let (path, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).expect("an entry");
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).expect("there is room");
        }
    }
}

/// An object with this many keys.
fn keys(count: usize) -> Json {
    (0..count).map(|nth| (format!("key_{nth}"), json!(nth))).collect()
}

/// An object nested this deep.
fn nested(depth: usize) -> Json {
    (0..depth).fold(json!("end"), |inner, _| json!({ "a": inner }))
}

async fn request(http: &Http, key: Option<&str>, method: &str, path: &str, body: &Json) -> (u16, Json) {
    // `Http::send` validates responses against the OpenAPI description of this version, which an older program does not follow.
    let mut request = http.request(method, path).json(body);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let answer = request.send().await.expect("the server answers");
    let status = answer.status().as_u16();
    let text = answer.text().await.expect("the body arrives");
    (status, serde_json::from_str(&text).unwrap_or(Json::String(text)))
}

/// Sends the request whose response is stored under [`KEY`].
async fn repeated(http: &Http) -> (u16, Json) {
    let body = json!({"name": "Repeated", "email": "repeated@example.org"});
    request(http, Some(KEY), "POST", "/api/v1/accounts/1/contacts", &body).await
}

fn contact_id(reply: &Json) -> i64 {
    reply["payload"]["contact"]["id"]
        .as_i64()
        .unwrap_or_else(|| panic!("a contact: {reply}"))
}

async fn done(http: &Http, method: &str, path: &str, body: &Json) -> Json {
    let (status, answer) = request(http, None, method, path, body).await;
    assert_eq!(status, 200, "{method} {path}: {answer}");
    answer
}

async fn fill(app: &TestApp, release: &Release) -> Stored {
    let http = app.http();
    let account = "/api/v1/accounts/1";
    let (attributes, texts) = if release.has_limits() {
        (json!({"large": "x".repeat(additions::TEXT)}), 45)
    } else {
        (json!({"large": "x".repeat(LARGE), "deep": nested(20)}), 100)
    };
    let made = done(
        &http,
        "POST",
        &format!("{account}/contacts"),
        &json!({
            "inbox_id": 1, "name": "Large", "email": "large@example.org", "identifier": "large-1", "source_id": VISITOR,
            "custom_attributes": attributes,
            "additional_attributes": {"company_name": "A company"},
        }),
    )
    .await;
    let contact = contact_id(&made);
    if !release.has_limits() {
        done(
            &http,
            "PATCH",
            &format!("{account}/contacts/{contact}"),
            &json!({"custom_attributes": keys(400)}),
        )
        .await;
    }
    // A string among the attributes of a conversation has at most 1,500 characters.
    let texts: serde_json::Map<String, Json> = (0..texts).map(|nth| (format!("key_{nth}"), json!("y".repeat(1400)))).collect();
    let talk = json!({
        "inbox_id": 1, "contact_id": contact, "source_id": VISITOR,
        "custom_attributes": texts, "message": {"content": "hello"},
    });
    let talk = done(&http, "POST", &format!("{account}/conversations"), &talk).await;
    let conversation = talk["id"].as_i64().expect("a number");
    for nth in 0..30 {
        let message = json!({"content": format!("{nth} {}", "字".repeat(40_000)), "message_type": "incoming"});
        done(&http, "POST", &format!("{account}/conversations/{conversation}/messages"), &message).await;
    }
    let (status, reply) = repeated(&http).await;
    assert_eq!(status, 200, "{reply}");
    let service = CreateTokenRequest {
        account_id: Some(1),
        kind: TokenKind::Service.into(),
        name: "importer".to_owned(),
        inbox_ids: vec![1],
        ..CreateTokenRequest::default()
    };
    let service = app.clients().accounts.create_token(service).await.expect("made").into_inner();
    let upload = upload(app).await;
    let additions = if release.has_limits() {
        Some(additions::fill(app, contact, &service.secret).await)
    } else {
        None
    };

    // A consumer with uncommitted events, and a cursor in the middle of the log.
    let mut session = Session::open(&app.clients(), plenty(1, "crm")).await;
    let (first, second) = (session.next().await, session.next().await);
    session.commit(&second.cursor).await.expect("it is committed");
    assert!(event(&first).seq < event(&second).seq);
    Stored {
        recorded_at: now(),
        contact,
        conversation,
        service_token: service.secret,
        reply,
        cursor: second.cursor.to_vec(),
        events: log_info(&app.clients(), 1).await.head_seq,
        committed: event(&second).seq,
        upload,
        additions,
    }
}

/// Uploads a file that no message has taken yet. Returns its name.
async fn upload(app: &TestApp) -> String {
    let header = FileHeader {
        file_name: "a.txt".to_owned(),
        content_type: String::new(),
    };
    let parts = [Part::Header(header), Part::Chunk(Bytes::from_static(b"a file"))].map(|part| UploadFileRequest {
        account_id: 1,
        part: Some(part),
    });
    let mut files = FilesServiceClient::new(app.clients().service);
    let answer = files
        .upload_file(tokio_stream::iter(parts))
        .await
        .expect("it is stored")
        .into_inner();
    answer.file.expect("always set").upload_id
}

async fn check(app: &TestApp, stored: &Stored) {
    check_again(app, stored).await;
    let mut with_file = outgoing("with a file");
    with_file.attachments.push(AttachmentDraft {
        kind: Some(attachment_draft::Kind::UploadId(stored.upload.clone())),
    });
    app.fixture().sent(stored.conversation, with_file).await;
    if let Some(additions) = &stored.additions {
        additions.check_once(app).await;
    }
}

/// Checks that can be repeated on the same database.
async fn check_again(app: &TestApp, stored: &Stored) {
    let http = app.http();
    let account = "/api/v1/accounts/1";
    // Data beyond today's limits can still be read, by both APIs, alone and in lists.
    for path in [
        format!("{account}/contacts/{}", stored.contact),
        format!("{account}/contacts?page=1"),
        format!("{account}/contacts/search?q=large"),
        format!("{account}/conversations/{}", stored.conversation),
        format!("{account}/conversations?status=all"),
        format!("{account}/conversations/{}/messages", stored.conversation),
        format!("/public/api/v1/inboxes/{INBOX}/contacts/{VISITOR}"),
        format!("/public/api/v1/inboxes/{INBOX}/contacts/{VISITOR}/conversations"),
    ] {
        done(&http, "GET", &path, &Json::Null).await;
    }
    let clients = app.clients();
    let contact = pb::GetContactRequest {
        account_id: 1,
        contact_id: stored.contact,
    };
    let contact = clients
        .contacts
        .clone()
        .get_contact(contact)
        .await
        .expect("it is received")
        .into_inner();
    assert_eq!(contact.contact.expect("always set").email(), "large@example.org");
    // A write that does not touch an oversized value leaves it unchanged; one that shrinks it is accepted.
    done(
        &http,
        "PATCH",
        &format!("{account}/contacts/{}", stored.contact),
        &json!({"name": "Still large"}),
    )
    .await;
    let message = json!({"content": "and on it goes", "message_type": "incoming"});
    done(
        &http,
        "POST",
        &format!("{account}/conversations/{}/messages", stored.conversation),
        &message,
    )
    .await;

    // Tokens, a session and a stored response.
    let limited = Clients::new(&app.server.listeners.grpc, Some(&stored.service_token));
    let conversation = pb::GetConversationRequest {
        account_id: 1,
        conversation_id: stored.conversation,
    };
    limited
        .conversations
        .clone()
        .get_conversation(conversation)
        .await
        .expect("the token is good");
    AccountsServiceClient::new(app.platform().service)
        .list_accounts(pb::ListAccountsRequest::default())
        .await
        .expect("the platform token is good");
    let path = format!(
        "/public/api/v1/inboxes/{INBOX}/contacts/{VISITOR}/conversations/{}/messages",
        stored.conversation
    );
    done(&http.with_token(""), "POST", &path, &json!({"content": "the session is good"})).await;
    let (status, repeated) = repeated(&http).await;
    assert_eq!(status, 200, "{repeated}");
    assert_eq!(contact_id(&repeated), contact_id(&stored.reply), "the stored reply is replayed");
    if let Some(additions) = &stored.additions {
        additions.check(app, stored.contact, &stored.service_token).await;
    }

    // The cursor and the consumer resume where they were, through events of the previous release.
    let mut reader = Reader::open(&clients, everything(1, Start::After(stored.cursor.clone().into()))).await;
    let read = reader.until(stored.events).await;
    assert_eq!(read.len() as u64, stored.events - stored.committed, "every event is received");
    let consumer = GetConsumerRequest {
        account_id: 1,
        name: "crm".to_owned(),
    };
    let consumer = clients
        .consumers
        .clone()
        .get_consumer(consumer)
        .await
        .expect("it is there")
        .into_inner();
    assert_eq!(consumer.consumer.expect("always set").shards[0].seq, stored.committed);
    let mut session = Session::open(&clients, plenty(1, "crm")).await;
    assert_eq!(
        event(&session.next().await).seq,
        stored.committed + 1,
        "the consumer goes on after its position"
    );
}
