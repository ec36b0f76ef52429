//! CPU time that depends on a caller's text is bounded, and is spent neither on a writer shard nor on a runtime worker.
//!
//! Templates are rendered on compute pools only: a debug build, which these tests run, panics if one is parsed elsewhere.

mod shared;
mod unprotected;

use parley_proto::{
    AttachmentDraft, BatchCreateMessagesRequest, BatchMessage, Contact, CreateContactRequest, Inbox, LocationDraft, MessageDraft,
    SearchContactsRequest, SearchMessagesRequest, SendMessagesRequest, UpdateContactRequest, UpdateInboxRequest, attachment_draft,
};
use prost_types::FieldMask;
use serde_json::json;
use tonic::Code;

use crate::support::{
    api_fixture::{ApiFixture, incoming, outgoing},
    app::TestApp,
    database::{Backend, Database},
    fault::{assert_bad_fields, assert_refused},
    on_both,
};

on_both!(
    stores_nested_templates_unrendered,
    renders_a_template_after_long_white_space,
    stream_stores_templates_in_order,
    validates_templates_in_settings,
    renders_automatic_texts_outside_the_writer,
    limits_the_length_of_indexed_texts,
    indexes_accept_values_of_any_length,
    search_reads_a_bounded_number_of_bytes,
    refused_and_replayed_messages_leave_no_attachment_rows,
    limits_attributes_repeated_by_events_of_a_batch,
    full_batch_with_large_attributes_is_stored_in_order
);

/// A template with nested brackets, each of which costs the template library a level of the stack.
fn nested() -> String {
    let count = 3187;
    format!("{{{{ {}a{} }}}}", "a[".repeat(count), "]".repeat(count))
}

async fn stores_nested_templates_unrendered(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let said = fixture.say(conversation, &nested()).await;
    assert_eq!(said.content.as_deref(), Some(nested().as_str()));
    let path = format!("/conversations/{conversation}/messages");
    let answer = app.http().post(&path, &json!({"content": nested()})).await;
    assert_eq!(answer["content"], nested());
    let first = json!({"inbox_id": 1, "contact_id": 1, "message": {"content": nested()}});
    let made = app.http().post("/conversations", &first).await;
    assert_eq!(made["messages"][0]["content"], nested());
}

/// Shows what the limits are for: without them, one message ends the process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nested_templates_end_the_process_without_limits() {
    let builder = TestApp::builder(Backend::Sqlite).env("PARLEY_FAULT_SWITCH", "template_limits");
    let mut app = builder.start().await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let sent = fixture.send(conversation, outgoing(&nested())).await;
    assert!(sent.is_err(), "{sent:?}");
    assert!(!app.server.wait().await.success());
}

/// The grammar of the template library is quadratic in white space: this text took it minutes.
async fn renders_a_template_after_long_white_space(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let spaces = " ".repeat(149_000);
    let said = fixture.say(conversation, &format!("{spaces}{{{{contact.name}}}}")).await;
    assert_eq!(said.content, Some(format!("{spaces}Asha Rao")));
}

/// A template is rendered before it is queued, and later messages of the stream must not overtake it.
async fn stream_stores_templates_in_order(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let texts: Vec<String> = (0..20)
        .map(|nth| {
            if nth % 3 == 0 {
                format!("{nth} {{{{contact.name}}}}")
            } else {
                nth.to_string()
            }
        })
        .collect();
    let requests: Vec<SendMessagesRequest> = texts
        .iter()
        .map(|text| SendMessagesRequest {
            account_id: 1,
            conversation_id: conversation,
            message: Some(outgoing(text)),
            ..SendMessagesRequest::default()
        })
        .collect();
    let answers = fixture.clients.messages.clone().send_messages(tokio_stream::iter(requests)).await;
    let mut answers = answers.expect("the stream opens").into_inner();
    let mut numbers = Vec::new();
    while let Some(answer) = answers.message().await.expect("the stream goes on") {
        numbers.extend(answer.results.iter().map(|result| result.number));
    }
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    let (_, shown) = app.http().ask(&format!("/conversations/{conversation}/messages")).await;
    let stored: Vec<String> = shown["payload"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|message| message["content"].as_str().map(str::to_owned))
        .collect();
    let wanted: Vec<String> = texts.iter().map(|text| text.replace("{{contact.name}}", "Asha Rao")).collect();
    assert_eq!(stored, wanted);
}

async fn set(fixture: &ApiFixture, inbox: Inbox, paths: &[&str]) -> Result<(), tonic::Status> {
    let request = UpdateInboxRequest {
        account_id: 1,
        inbox: Some(Inbox {
            id: fixture.inbox,
            ..inbox
        }),
        update_mask: Some(FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }),
        ..UpdateInboxRequest::default()
    };
    fixture.clients.inboxes.clone().update_inbox(request).await.map(drop)
}

async fn validates_templates_in_settings(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let greeting = |text: &str| Inbox {
        greeting_message: Some(text.to_owned()),
        ..Inbox::default()
    };
    for broken in [
        nested().as_str(),
        "Hello {{contact.name",
        "{% if contact.name %}",
        "{% include 'a' %}",
    ] {
        let refused = set(&fixture, greeting(broken), &["greeting_message"]).await;
        assert_bad_fields(refused, &["inbox.greeting_message: INVALID"]);
    }
    let out_of_office = Inbox {
        out_of_office_message: Some("{{".to_owned()),
        ..Inbox::default()
    };
    let refused = set(&fixture, out_of_office, &["out_of_office_message"]).await;
    assert_bad_fields(refused, &["inbox.out_of_office_message: INVALID"]);
    let survey = Inbox {
        csat_config: parley_proto::value::structure(&json!({"message": "{{"})),
        ..Inbox::default()
    };
    let refused = set(&fixture, survey, &["csat_config"]).await;
    assert_bad_fields(refused, &["inbox.csat_config.message: INVALID"]);
    let body = json!({"greeting_message": nested()});
    let answer = app.http().send("PATCH", "/api/v1/accounts/1/inboxes/1", Some(&body)).await;
    assert_eq!(answer.status, 422, "{}", answer.body);
    let kept = set(
        &fixture,
        greeting("Hello {{ contact.first_name | default: 'you' }}"),
        &["greeting_message"],
    )
    .await;
    kept.expect("a template that can be rendered is saved");
}

async fn renders_automatic_texts_outside_the_writer(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let inbox = Inbox {
        greeting_enabled: true,
        greeting_message: Some("Hello {{contact.first_name}} of #{{conversation.display_id}}".to_owned()),
        ..Inbox::default()
    };
    let saved = set(&fixture, inbox, &["greeting_enabled", "greeting_message"]).await;
    saved.expect("the greeting is saved");
    let http = app.http();
    let greeting = async |conversation: i64| {
        let (_, shown) = http.ask(&format!("/conversations/{conversation}/messages")).await;
        let messages = shown["payload"].as_array().cloned().unwrap_or_default();
        let templates: Vec<_> = messages.iter().filter(|message| message["message_type"] == 3).cloned().collect();
        assert_eq!(templates.len(), 1, "{shown}");
        templates[0]["content"].clone()
    };
    let conversation = fixture.talk().await;
    fixture.hear(conversation, "hi").await;
    assert_eq!(greeting(conversation).await, format!("Hello Asha of #{conversation}"));
    // In the write that creates the conversation.
    let first = json!({"inbox_id": 1, "contact_id": 1, "message": {"content": "hi", "message_type": "incoming"}});
    let made = http.post("/conversations", &first).await;
    let opened = made["id"].as_i64().expect("a number");
    assert_eq!(greeting(opened).await, format!("Hello Asha of #{opened}"));
    // A text that was saved before settings were validated.
    app.database
        .run(&format!("UPDATE inboxes SET greeting_message = '{}'", nested()))
        .await;
    let other = set(
        &fixture,
        Inbox {
            name: "Other".to_owned(),
            ..Inbox::default()
        },
        &["name"],
    )
    .await;
    other.expect("the writer reads the inbox anew");
    let conversation = fixture.talk().await;
    fixture.hear(conversation, "hi").await;
    assert_eq!(greeting(conversation).await, nested());
}

async fn limits_the_length_of_indexed_texts(backend: Backend) {
    let app = TestApp::start(backend).await;
    let clients = app.clients();
    let long = "x".repeat(256);
    let company = |name: &str| parley_proto::value::structure(&json!({"company_name": name, "note": "x".repeat(10_000)}));
    let request = |name: &str| CreateContactRequest {
        account_id: 1,
        email: Some("q@example.org".to_owned()),
        additional_attributes: company(name),
        ..CreateContactRequest::default()
    };
    let refused = clients.contacts.clone().create_contact(request(&long)).await;
    assert_bad_fields(refused, &["additional_attributes.company_name: TOO_LONG"]);
    let made = clients.contacts.clone().create_contact(request("Example & Sons")).await;
    let contact = made
        .expect("other attributes have no such limit")
        .into_inner()
        .contact
        .expect("always set");
    let update = UpdateContactRequest {
        account_id: 1,
        contact: Some(Contact {
            id: contact.id,
            additional_attributes: company(&long),
            ..Contact::default()
        }),
        update_mask: Some(FieldMask {
            paths: vec!["additional_attributes.company_name".to_owned()],
        }),
        ..UpdateContactRequest::default()
    };
    let refused = clients.contacts.clone().update_contact(update).await;
    assert_bad_fields(refused, &["contact.additional_attributes.company_name: TOO_LONG"]);
    let body = json!({"email": "r@example.org", "additional_attributes": {"company_name": long}});
    let (status, body) = app.http().try_post("/contacts", &body).await;
    assert_eq!(status, 422, "{body}");
}

/// For values that were stored before texts had limits: writing such a row again must neither fail nor take forever.
async fn indexes_accept_values_of_any_length(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let long = match backend {
        // Not one repeated letter, which PostgreSQL would compress before it indexes it.
        Backend::Postgres => "(SELECT string_agg(md5(CAST(n AS text)), '') FROM generate_series(1, 32768) AS n)",
        Backend::Sqlite => "lower(hex(randomblob(524288)))",
    };
    let object = match backend {
        Backend::Postgres => "jsonb_build_object",
        Backend::Sqlite => "json_object",
    };
    let of = |keys: &[&str]| {
        let pairs: Vec<String> = keys.iter().map(|key| format!("'{key}', {long}")).collect();
        format!("{object}({})", pairs.join(", "))
    };
    let contact = of(&["company_name", "company", "city", "country", "country_code"]);
    let about = of(&["referer", "mail_subject", "browser_language", "conversation_language"]);
    let custom = format!("{object}('value', {long}, {long}, 'key')");
    for statement in [
        "UPDATE contacts SET email = 'q@example.org', name = 'Quentin'".to_owned(),
        format!("UPDATE contacts SET additional_attributes = {contact}"),
        format!("UPDATE contacts SET custom_attributes = {custom}"),
        format!("UPDATE conversations SET additional_attributes = {about}, custom_attributes = {custom}"),
    ] {
        app.database.run(&statement).await;
    }
    // Three characters are found by trigrams, two by n-grams, of which the long text has a bounded number.
    for text in ["Quentin", "Qu", "uE"] {
        let request = SearchContactsRequest {
            account_id: 1,
            query: text.to_owned(),
            ..SearchContactsRequest::default()
        };
        let found = fixture
            .clients
            .contacts
            .clone()
            .search_contacts(request)
            .await
            .expect("it is searched");
        assert_eq!(found.into_inner().contacts.len(), 1, "{text}");
    }
    let _ = conversation;
    if backend == Backend::Sqlite {
        readable_by_older_sqlite(&app);
    }
}

/// The system's tools must be able to open the file: Debian 12 has SQLite 3.40.
fn readable_by_older_sqlite(app: &TestApp) {
    let ran = std::process::Command::new("sqlite3")
        .arg(app.database.file())
        .arg("SELECT count(*) FROM contacts; SELECT count(*) FROM contact_pieces WHERE contact_pieces MATCH '\"\u{1}q\u{1}\"'")
        .output();
    let Ok(ran) = ran else {
        eprintln!("there is no sqlite3 here to open the file with");
        return;
    };
    assert_eq!(
        String::from_utf8_lossy(&ran.stdout),
        "1\n1\n",
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

/// No index covers two characters, so a search reads the messages themselves, up to a limit of bytes per page.
async fn search_reads_a_bounded_number_of_bytes(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    // 66 messages of 149,000 bytes exceed the 8 MiB of one page, but not those of two.
    assert_eq!(pages_until_found(&fixture).await, 2);
    // An indexed search finds the message at once, however many bytes are in between.
    let by_index = SearchMessagesRequest {
        account_id: 1,
        text: "the zq is".to_owned(),
        ..SearchMessagesRequest::default()
    };
    let mut client = fixture.clients.messages.clone();
    let mut found = Vec::new();
    for _ in 0..8 {
        // A search indexes only a bounded part of the backlog before it runs.
        found = client
            .search_messages(by_index.clone())
            .await
            .expect("it is searched")
            .into_inner()
            .messages;
        if !found.is_empty() {
            break;
        }
    }
    assert_eq!(found.len(), 1);
    let texts = app.http().ask("/search/conversations?q=zq").await;
    assert_eq!(texts.0, 200, "{}", texts.1);
}

/// Sends a message and 66 long ones after it, and searches for the first by a text that no index covers. Returns the number of pages.
async fn pages_until_found(fixture: &ApiFixture) -> usize {
    let conversation = fixture.talk().await;
    fixture.hear(conversation, "the zq is here").await;
    for _ in 0..3 {
        let long = vec![incoming(&"x".repeat(149_000)); 22];
        for draft in long {
            fixture.sent(conversation, draft).await;
        }
    }
    let mut request = SearchMessagesRequest {
        account_id: 1,
        text: "zq".to_owned(),
        page_size: 10,
        ..SearchMessagesRequest::default()
    };
    let mut pages = 0;
    loop {
        pages += 1;
        let found = fixture.clients.messages.clone().search_messages(request.clone()).await;
        let found = found.expect("it is searched").into_inner();
        if let Some(message) = found.messages.first() {
            assert_eq!(message.content.as_deref(), Some("the zq is here"));
            break;
        }
        assert_ne!(found.next_page_token, "", "not everything was read");
        request.page_token = found.next_page_token;
    }
    pages
}

/// A message with two attachments without files.
fn places() -> MessageDraft {
    let place = AttachmentDraft {
        kind: Some(attachment_draft::Kind::Location(LocationDraft {
            latitude: 48.2,
            longitude: 16.4,
            ..LocationDraft::default()
        })),
    };
    MessageDraft {
        attachments: vec![place.clone(), place],
        ..outgoing("here")
    }
}

async fn refused_and_replayed_messages_leave_no_attachment_rows(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let draft = places();
    let request = fixture.request(conversation, draft.clone());
    let mut ids = Vec::new();
    for _ in 0..3 {
        let answer = fixture.clients.messages.clone().create_message(request.clone()).await;
        let message = answer.expect("it is stored").into_inner().message.expect("always set");
        ids.push(message.attachments.iter().map(|attachment| attachment.id).collect::<Vec<_>>());
    }
    assert!(
        ids.iter().all(|these| *these == ids[0]) && ids[0].len() == 2 && ids[0][0] < ids[0][1],
        "{ids:?}"
    );
    assert_refused(fixture.send(999, draft.clone()).await, Code::NotFound, "NOT_FOUND");
    let first = fixture.sent(conversation, draft).await.0;
    assert_eq!(first.attachments.len(), 2);
    let stored = "SELECT count(*) FROM attachments WHERE state = 1 AND message_id <> 0 AND latitude > 48";
    assert_eq!(Database::number(&app.database.url(), "SELECT count(*) FROM attachments").await, 4);
    assert_eq!(Database::number(&app.database.url(), stored).await, 4);
}

/// A conversation with about 60,000 bytes of attributes.
async fn heavy(app: &TestApp) -> i64 {
    let conversation = app.fixture().talk().await;
    let attributes: serde_json::Map<_, _> = (0..240).map(|nth| (format!("key-{nth}"), json!("v".repeat(235)))).collect();
    let path = format!("/conversations/{conversation}/custom_attributes");
    app.http().post(&path, &json!({"custom_attributes": attributes})).await;
    conversation
}

async fn limits_attributes_repeated_by_events_of_a_batch(backend: Backend) {
    let app = TestApp::start(backend).await;
    let conversation = heavy(&app).await;
    let batch = |count: usize| BatchCreateMessagesRequest {
        account_id: 1,
        messages: (0..count)
            .map(|_| BatchMessage {
                conversation_id: conversation,
                message: Some(incoming("hello")),
            })
            .collect(),
        ..BatchCreateMessagesRequest::default()
    };
    let mut client = app.clients().messages;
    let refused = client.batch_create_messages(batch(500)).await;
    assert_bad_fields(refused, &["messages: TOO_MANY"]);
    let made = client.batch_create_messages(batch(60)).await.expect("it fits").into_inner();
    assert_eq!(made.messages.len(), 60);
}

/// A batch larger than one transaction may be: the rest is stored in the next one, in order.
async fn full_batch_with_large_attributes_is_stored_in_order(backend: Backend) {
    let app = TestApp::start(backend).await;
    let conversation = heavy(&app).await;
    let texts: Vec<String> = (0..300).map(|nth| format!("message {nth}")).collect();
    let requests: Vec<_> = texts
        .iter()
        .map(|text| SendMessagesRequest {
            account_id: 1,
            request_id: String::new(),
            conversation_id: conversation,
            message: Some(incoming(text)),
        })
        .collect();
    let mut answers = app
        .clients()
        .messages
        .send_messages(tokio_stream::iter(requests))
        .await
        .expect("a stream")
        .into_inner();
    let mut ids = Vec::new();
    while let Some(answer) = answers.message().await.expect("the stream goes on") {
        for result in answer.results {
            assert_eq!(result.error, None);
            ids.push(result.message_id);
        }
    }
    assert_eq!(ids.len(), texts.len());
    assert!(ids.is_sorted());
}
