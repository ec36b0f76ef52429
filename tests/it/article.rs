//! The three steps of the help article that this project started from, over plain HTTP, and the events that they produce.

use parley_proto::{EventKind, MessageType, subscribe_request::Start};
use serde_json::{Value, json};

use crate::support::{
    app::TestApp,
    chain::{assert_dense, assert_whole_writes},
    database::Backend,
    on_both,
    raw::raw_log,
    reader::{Reader, event, everything, log_info, whole_log},
    told::Told as _,
};

on_both!(events_of_the_three_steps_arrive_in_order, log_is_identical_after_a_restart);

/// The keys of `contact_inboxes[].inbox` in the samples of the article.
const INBOX_KEYS: [&str; 13] = [
    "id",
    "name",
    "website_url",
    "channel_type",
    "avatar_url",
    "widget_color",
    "website_token",
    "enable_auto_assignment",
    "web_widget_script",
    "welcome_title",
    "welcome_tagline",
    "greeting_enabled",
    "greeting_message",
];

/// Values from the responses to the steps.
struct Steps {
    contact: i64,
    source: String,
    conversation: i64,
    incoming: i64,
    outgoing: i64,
}

async fn three_steps(app: &TestApp) -> Steps {
    let http = app.http();
    let answer = http
        .post(
            "/contacts",
            &json!({"inbox_id": 1, "name": "Asha Rao", "email": "asha@rao.example", "phone_number": "+919800000001"}),
        )
        .await;
    let contact = &answer["payload"]["contact"];
    let session = &contact["contact_inboxes"][0];
    let source = session["source_id"].as_str().expect("the session has a name").to_owned();
    assert_eq!(answer["payload"]["contact_inbox"]["source_id"], json!(source), "{answer}");
    for key in INBOX_KEYS {
        assert!(
            session["inbox"].get(key).is_some(),
            "contact_inboxes[].inbox has no {key}: {answer}"
        );
    }

    let conversation = http.post("/conversations", &json!({"source_id": source, "inbox_id": 1})).await;
    let number = conversation["id"].as_i64().expect("a conversation has a number");
    assert_eq!(conversation["inbox_id"], 1, "{conversation}");

    let path = format!("/conversations/{number}/messages");
    let incoming = http
        .post(&path, &json!({"content": "Where is my order?", "message_type": "incoming"}))
        .await;
    assert_eq!(
        (&incoming["message_type"], &incoming["content_type"], &incoming["sender"]["type"]),
        (&json!(0), &json!("text"), &json!("contact")),
        "{incoming}"
    );
    let outgoing = http
        .post(&path, &json!({"content": "It left today.", "message_type": "outgoing"}))
        .await;
    assert_eq!(outgoing["message_type"], 1, "{outgoing}");
    assert_eq!(outgoing["conversation_id"], json!(number), "{outgoing}");
    let id = |value: &Value| value["id"].as_i64().expect("it has an id");
    Steps {
        contact: id(contact),
        source,
        conversation: number,
        incoming: id(&incoming),
        outgoing: id(&outgoing),
    }
}

async fn events_of_the_three_steps_arrive_in_order(backend: Backend) {
    let app = TestApp::start(backend).await;
    let clients = app.clients();
    let before = log_info(&clients, 1).await.head_seq;
    let mut reader = Reader::open(&clients, everything(1, Start::Latest(()))).await;

    let steps = three_steps(&app).await;

    let head = log_info(&clients, 1).await.head_seq;
    let events = reader.until(head).await;
    assert_dense(&events, before + 1);
    assert_whole_writes(&events);
    let of_kind = |kind: EventKind| events.iter().map(event).filter(move |event| event.kind == i32::from(kind));

    let contact = of_kind(EventKind::ContactCreated).next().expect("contact.created comes");
    let conversation = of_kind(EventKind::ConversationCreated).next().expect("conversation.created comes");
    let messages: Vec<_> = of_kind(EventKind::MessageCreated).collect();
    assert_eq!(messages.len(), 2, "two messages were made");
    assert!(contact.seq < conversation.seq && conversation.seq < messages[0].seq && messages[0].seq < messages[1].seq);

    let resource = contact.contact().expect("a contact event holds the contact");
    assert_eq!(resource.contact.as_ref().expect("always set").id, steps.contact);
    let told = conversation
        .conversation()
        .and_then(|resource| resource.conversation.as_ref())
        .expect("a conversation event holds the conversation");
    assert_eq!(told.id, steps.conversation);
    assert_eq!(told.contact_inbox.as_ref().expect("always set").source_id, steps.source);
    for (told, (id, kind)) in messages
        .iter()
        .zip([(steps.incoming, MessageType::Incoming), (steps.outgoing, MessageType::Outgoing)])
    {
        let resource = told.message().expect("a message event holds the message");
        let message = resource.message.as_ref().expect("always set");
        assert_eq!((message.id, message.r#type()), (id, kind));
        assert_eq!(resource.conversation.as_ref().expect("always set").id, steps.conversation);
    }
}

async fn log_is_identical_after_a_restart(backend: Backend) {
    let mut app = TestApp::start(backend).await;
    three_steps(&app).await;
    let bytes = raw_log(&app.clients(), 1).await;
    let log = whole_log(&app.clients(), 1).await;
    assert_dense(&log, 1);

    app.restart().await;
    assert_eq!(
        whole_log(&app.clients(), 1).await,
        log,
        "the same seqs, ids, cursors and contents after draining"
    );
    app.crash_and_restart().await;
    assert_eq!(raw_log(&app.clients(), 1).await, bytes, "the same bytes after a crash");
}
