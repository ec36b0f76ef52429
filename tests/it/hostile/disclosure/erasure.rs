//! Erasing a contact reaches every copy of its data. The test plants marks in every text that a caller can submit, and afterwards searches
//! for them in every column of every table and in every file.

use std::{collections::BTreeSet, path::Path, time::Duration};

use parley_proto::{
    ContactNote, CreateContactNoteRequest, DeleteContactRequest, MergeContactsRequest, SendTranscriptRequest,
    contact_notes_service_client::ContactNotesServiceClient,
};
use serde_json::{Value as Json, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use crate::support::{
    app::TestApp,
    database::{Backend, Database},
    http::Http,
    in_time, on_both,
};

on_both!(
    erased_contact_leaves_nothing_in_tables_and_files,
    without_the_protection_erasure_leaves_copies
);

/// In every text of the contact that is erased, and in its files.
const MARK: &str = "zqxerased";
/// Its phone number, which cannot contain letters.
const PHONE: &str = "15550001777";
/// In the texts of a contact that stays, to show that the search finds marks.
const KEPT: &str = "zqxkept";

/// The columns that contain a text, as `table.column`.
async fn found(database: &Database, text: &str) -> BTreeSet<String> {
    let mut columns = Vec::new();
    match database {
        Database::Sqlite(_) => {
            let mut connection = SqliteConnection::connect(&database.url()).await.expect("the file is there");
            let named: Vec<(String, String)> = sqlx::query_as(
                "SELECT tables.name, columns.name FROM sqlite_master tables JOIN pragma_table_xinfo(tables.name) columns \
                 WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite_%'",
            )
            .fetch_all(&mut connection)
            .await
            .expect("the tables");
            for (table, column) in named {
                let query = format!("SELECT count(*) FROM \"{table}\" WHERE instr(CAST(\"{column}\" AS BLOB), CAST('{text}' AS BLOB)) > 0");
                // Hidden columns of virtual tables cannot be read.
                let count = sqlx::query_scalar::<_, i64>(AssertSqlSafe(query)).fetch_one(&mut connection).await;
                if count.unwrap_or_default() > 0 {
                    columns.push(format!("{table}.{column}"));
                }
            }
        }
        Database::Postgres { url, .. } => {
            let mut connection = PgConnection::connect(url).await.expect("the server is there");
            let named: Vec<(String, String, String)> = sqlx::query_as(
                "SELECT table_name::text, column_name::text, data_type::text FROM information_schema.columns WHERE table_schema = 'public'",
            )
            .fetch_all(&mut connection)
            .await
            .expect("the tables");
            for (table, column, kind) in named {
                let holds = if kind == "bytea" {
                    format!("position('{text}'::bytea in \"{column}\") > 0")
                } else {
                    format!("position('{text}' in \"{column}\"::text) > 0")
                };
                let query = format!("SELECT count(*) FROM \"{table}\" WHERE {holds}");
                let count = sqlx::query_scalar::<_, i64>(AssertSqlSafe(query)).fetch_one(&mut connection).await;
                if count.unwrap_or_else(|error| panic!("{table}.{column}: {error}")) > 0 {
                    columns.push(format!("{table}.{column}"));
                }
            }
        }
    }
    columns.into_iter().collect()
}

/// The files below a folder that contain a text in their content or name.
fn files_with(folder: &Path, text: &str) -> BTreeSet<String> {
    let mut holding = BTreeSet::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().map_while(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            holding.extend(files_with(&path, text));
        } else if let Ok(bytes) = std::fs::read(&path)
            && (bytes.windows(text.len()).any(|window| window == text.as_bytes()) || path.to_string_lossy().contains(text))
        {
            holding.insert(path.display().to_string());
        }
    }
    holding
}

/// A distinct mark for each place, so that a mark found later says where it was planted.
fn mark(mark: &str, place: &str) -> String {
    format!("{mark}{place}")
}

/// Sends a JSON request with a new idempotency key.
async fn keyed(http: &Http, method: &str, path: &str, body: &Json) -> Json {
    let request = http
        .request(method, path)
        .header("idempotency-key", uuid::Uuid::new_v4().to_string())
        .json(body);
    let answer = http.answer(request).await;
    assert_eq!(answer.status, 200, "{method} {path}: {}", answer.body);
    answer.body
}

/// Creates a contact with a mark in everything that it and others can submit about it. Returns its id.
async fn plant(app: &TestApp, word: &str, phone: Option<&str>) -> i64 {
    let http = app.http();
    let account = "/api/v1/accounts/1";
    let contact = json!({
        "inbox_id": 1,
        "name": mark(word, "name"),
        "email": format!("{}@example.org", mark(word, "mail")),
        "phone_number": phone.map(|phone| format!("+{phone}")),
        "identifier": mark(word, "identifier"),
        "avatar_url": format!("https://example.org/{}", mark(word, "avatar")),
        "source_id": mark(word, "source"),
        "additional_attributes": {"company_name": mark(word, "company"), "city": mark(word, "city"), "more": {"deep": mark(word, "deep")}},
        "custom_attributes": {"plan": mark(word, "plan"), mark(word, "key"): [mark(word, "list")]},
    });
    let made = keyed(&http, "POST", &format!("{account}/contacts"), &contact).await;
    let id = made["payload"]["contact"]["id"].as_i64().expect("an id");
    keyed(
        &http,
        "PATCH",
        &format!("{account}/contacts/{id}"),
        &json!({"name": mark(word, "renamed")}),
    )
    .await;
    let conversation = json!({
        "inbox_id": 1, "contact_id": id, "source_id": mark(word, "source"),
        "additional_attributes": {"referer": mark(word, "referer")},
        "custom_attributes": {"order": mark(word, "order")},
        "message": {"content": mark(word, "first")},
    });
    let talk = keyed(&http, "POST", &format!("{account}/conversations"), &conversation).await;
    let talk = talk["id"].as_i64().expect("a number");
    let messages = format!("{account}/conversations/{talk}/messages");
    for (content, kind, private) in [
        ("incoming", "incoming", false),
        ("outgoing", "outgoing", false),
        ("note", "outgoing", true),
    ] {
        let message = json!({
            "content": format!("a text {}", mark(word, content)), "message_type": kind, "private": private,
            "source_id": mark(word, &format!("message{content}")), "echo_id": mark(word, "echo"),
            "content_attributes": {"anything": mark(word, "attribute")},
        });
        keyed(&http, "POST", &messages, &message).await;
    }
    let part = reqwest::multipart::Part::bytes(mark(word, "filecontent").into_bytes()).file_name(format!("{}.txt", mark(word, "filename")));
    let form = reqwest::multipart::Form::new()
        .text("content", mark(word, "withfile"))
        .part("attachments[]", part);
    let sent = http.answer(http.request("POST", &messages).multipart(form)).await;
    assert_eq!(sent.status, 200, "{}", sent.body);
    // As a visitor, with idempotency keys too. What such a session may do is tested elsewhere.
    let visitor = http.with_token("");
    let session = format!("/public/api/v1/inboxes/inbox-a/contacts/{}", mark(word, "source"));
    keyed(
        &visitor,
        "PATCH",
        &session,
        &json!({"custom_attributes": {"visitor": mark(word, "visitor")}}),
    )
    .await;
    let said = json!({"content": mark(word, "visitorsaid")});
    keyed(&visitor, "POST", &format!("{session}/conversations/{talk}/messages"), &said).await;
    let note = CreateContactNoteRequest {
        account_id: 1,
        contact_id: id,
        contact_note: Some(ContactNote {
            content: mark(word, "contactnote"),
            ..ContactNote::default()
        }),
        request_id: uuid::Uuid::new_v4().to_string(),
    };
    let mut notes = ContactNotesServiceClient::new(app.clients().service);
    notes.create_contact_note(note).await.expect("the note is made");
    let transcript = SendTranscriptRequest {
        account_id: 1,
        conversation_id: talk,
        email: format!("{}@example.org", mark(word, "recipient")),
        ..SendTranscriptRequest::default()
    };
    app.clients()
        .conversations
        .send_transcript(transcript)
        .await
        .expect("the mail waits");
    // The search brings the message index up to date.
    app.http().send("GET", &format!("{account}/search/messages?q={word}"), None).await;
    id
}

async fn start(backend: Backend, switch: &str) -> TestApp {
    TestApp::builder(backend)
        .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", "inbox-a")
        .env("PARLEY_EVENTS_TRIM_INTERVAL_SECONDS", "1")
        // Nothing accepts the emails, so they stay queued.
        .env("PARLEY_MAIL_URL", "smtp://127.0.0.1:1")
        .env("PARLEY_FAULT_SWITCH", switch)
        .start()
        .await
}

async fn erase(app: &TestApp, contact_id: i64) {
    let request = DeleteContactRequest {
        account_id: 1,
        contact_id,
        request_id: uuid::Uuid::new_v4().to_string(),
    };
    app.clients().contacts.delete_contact(request).await.expect("it is deleted");
    let url = app.database.url();
    in_time("the background work of the erasure", async {
        while Database::number(&url, "SELECT CAST(count(*) AS bigint) FROM erasures WHERE NOT rewritten").await > 0
            || Database::number(&url, "SELECT CAST(count(*) AS bigint) FROM attachments WHERE state = 2").await > 0
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
}

async fn erased_contact_leaves_nothing_in_tables_and_files(backend: Backend) {
    let app = start(backend, "").await;
    plant(&app, KEPT, None).await;
    let contact = plant(&app, MARK, Some(PHONE)).await;
    // A contact that it absorbed in a merge had texts of its own.
    let taken_in = plant(&app, &format!("{MARK}too"), None).await;
    let merge = MergeContactsRequest {
        account_id: 1,
        base_contact_id: contact,
        mergee_contact_id: taken_in,
        request_id: uuid::Uuid::new_v4().to_string(),
    };
    app.clients().contacts.merge_contacts(merge).await.expect("they are merged");

    let (before, kept) = (found(&app.database, MARK).await, found(&app.database, KEPT).await);
    for place in [
        "contacts.name",
        "contacts.custom_attributes",
        "contact_inboxes.source_id",
        "contact_notes.content",
        "conversations.custom_attributes",
        "messages.content",
        "messages.source_id",
        "attachments.file_name",
        "mails.recipient",
        "mails.body",
        "idempotency_keys.response",
        "events.payload",
        "attribute_values.value",
    ] {
        assert!(before.contains(place), "nothing was planted in {place}: {before:?}");
    }
    let folder = app.home().join("files");
    assert!(!files_with(&folder, MARK).is_empty() && !files_with(&folder, KEPT).is_empty());
    assert!(found(&app.database, PHONE).await.contains("contacts.phone_number"));

    erase(&app, contact).await;
    for text in [MARK, PHONE] {
        assert_eq!(found(&app.database, text).await, BTreeSet::new(), "{text} is left");
        assert_eq!(files_with(app.home(), text), BTreeSet::new(), "{text} is left in files");
    }
    let mut still = found(&app.database, KEPT).await;
    // Stored responses that cannot be attributed to a contact are erased with any contact.
    still.extend(["idempotency_keys.response".to_owned()]);
    assert!(still.is_superset(&kept), "what is another contact's stays: {kept:?} {still:?}");
    assert!(!files_with(&folder, KEPT).is_empty());
}

async fn without_the_protection_erasure_leaves_copies(backend: Backend) {
    let app = start(backend, "erased_copies").await;
    let contact = plant(&app, MARK, Some(PHONE)).await;
    erase(&app, contact).await;
    let left = found(&app.database, MARK).await;
    for place in ["mails.body", "idempotency_keys.response"] {
        assert!(left.contains(place), "{left:?}");
    }
}

/// A retry of a request whose stored response was erased is refused, and is not executed again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn response_about_an_erased_contact_is_not_replayed() {
    let app = start(Backend::Sqlite, "").await;
    let http = app.http();
    let key = "0b8a7f0e-58a4-4d53-8b6e-3b4cf3e0a2b1";
    let body = json!({"name": "Erase Me", "email": "erase@example.org"});
    let create = || {
        http.request("POST", "/api/v1/accounts/1/contacts")
            .header("idempotency-key", key)
            .json(&body)
    };
    let made = http.answer(create()).await.body;
    let again = http.answer(create()).await.body;
    assert_eq!(made, again, "the reply is stored");
    erase(&app, made["payload"]["contact"]["id"].as_i64().expect("an id")).await;
    let replayed = http.answer(create()).await;
    assert_eq!(replayed.status, 404, "{}", replayed.body);
    assert!(!replayed.body.to_string().contains("Erase"), "{}", replayed.body);
    assert_eq!(Database::number(&app.database.url(), "SELECT count(*) FROM contacts").await, 0);
}
