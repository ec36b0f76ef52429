//! A service that is limited to some inboxes does not gain access to a contact when an anonymous session in one of them submits the
//! contact's address.

use std::fmt::Write as _;

use parley_proto::{
    BatchCreateMessagesRequest, BatchMessage, GetContactBySessionRequest, GetContactRequest, GetConversationRequest, GetMessageRequest,
    ListContactsRequest, ListConversationsRequest, ListMessagesRequest, SearchMessagesRequest, SubscribeRequest, subscribe_request::Start,
};
use reqwest::Method;
use serde_json::{Value as Json, json};
use tonic::{Code, Status};

use super::{Public, Service, contact, start};
use crate::support::{
    api_fixture::{incoming, outgoing},
    app::TestApp,
    database::Backend,
    in_time,
    office::inbox,
    on_both,
    reader::{Reader, everything, log_info},
};

on_both!(
    anonymous_session_grants_no_access_to_a_limited_service,
    session_created_by_a_member_grants_access_to_its_contact,
    attaching_a_session_leaves_member_sessions_in_place
);

/// Data stored about the contact that the session did not submit.
const STORED: [&str; 5] = ["Alice Stored", "+351912345678", "alice-identifier", "platinum-plan", "Secret Ltd"];

/// Everything that a limited service receives after a stranger submitted a contact's address in the service's inbox.
struct Received {
    statuses: Vec<(String, u16)>,
    codes: Vec<Code>,
    all: String,
}

fn noted<T: std::fmt::Debug>(all: &mut String, answer: Result<tonic::Response<T>, Status>) -> Code {
    match answer {
        Ok(answer) => {
            let _ = writeln!(all, "{:?}", answer.into_inner());
            Code::Ok
        }
        Err(status) => status.code(),
    }
}

async fn guess(app: &TestApp) -> Received {
    let elsewhere = inbox(&app.clients(), 1, "Elsewhere").await;
    let alice = json!({
        "name": "Alice Stored", "email": "alice@x.org", "phone_number": "+351912345678", "identifier": "alice-identifier",
        "custom_attributes": {"plan": "platinum-plan"}, "additional_attributes": {"company_name": "Secret Ltd"},
    });
    let alice = contact(app, elsewhere, alice).await;
    let public = Public::of(app, 1).await;
    public.create("s", json!({"email": "alice@x.org", "name": "guesser"})).await;
    let talk = public.talk("s").await;
    let said = json!({"content": "hello from the session"});
    let sent = public
        .ask(Method::POST, &format!("/s/conversations/{talk}/messages"), Some(&said))
        .await;
    let message = sent.body["id"].as_i64().expect("a number");
    let service = Service::limited(app, &[1]).await;
    let mut received = Received {
        statuses: Vec::new(),
        codes: Vec::new(),
        all: String::new(),
    };
    over_grpc(&service, (alice, talk, message), &mut received).await;
    for (method, path, body) in [
        (Method::GET, format!("/contacts/{alice}"), None),
        (
            Method::PATCH,
            format!("/contacts/{alice}"),
            Some(json!({"custom_attributes": {"a": 1}})),
        ),
        (Method::GET, format!("/contacts/{alice}/conversations"), None),
        (Method::GET, "/contacts".to_owned(), None),
        (Method::GET, "/contacts/search?q=alice".to_owned(), None),
        (Method::GET, format!("/conversations/{talk}"), None),
        (Method::GET, "/conversations".to_owned(), None),
        (Method::GET, format!("/conversations/{talk}/messages"), None),
        (
            Method::POST,
            format!("/conversations/{talk}/messages"),
            Some(json!({"content": "as the contact", "message_type": "incoming"})),
        ),
        (
            Method::POST,
            format!("/conversations/{talk}/toggle_status"),
            Some(json!({"status": "resolved"})),
        ),
        (
            Method::POST,
            format!("/conversations/{talk}/toggle_priority"),
            Some(json!({"priority": "high"})),
        ),
        (
            Method::POST,
            "/conversations".to_owned(),
            Some(json!({"source_id": "s", "inbox_id": 1})),
        ),
        (Method::GET, "/search/messages?q=hello".to_owned(), None),
    ] {
        let answer = service.send(method.clone(), &path, body.as_ref()).await;
        received.statuses.push((format!("{method} {path}"), answer.status));
        let _ = writeln!(received.all, "{method} {path} {}", answer.body);
    }
    streamed(&service, &mut received.all).await;
    received
}

async fn over_grpc(service: &Service, (alice, talk, message): (i64, i64, i64), received: &mut Received) {
    let (clients, all) = (&service.clients, &mut received.all);
    let (mut contacts, mut conversations, mut messages) =
        (clients.contacts.clone(), clients.conversations.clone(), clients.messages.clone());
    let request = GetContactRequest {
        account_id: 1,
        contact_id: alice,
    };
    received.codes.push(noted(all, contacts.get_contact(request).await));
    let request = GetContactBySessionRequest {
        account_id: 1,
        inbox_id: 1,
        source_id: "s".to_owned(),
    };
    received.codes.push(noted(all, contacts.get_contact_by_session(request).await));
    let request = ListContactsRequest {
        account_id: 1,
        ..ListContactsRequest::default()
    };
    received.codes.push(noted(all, contacts.list_contacts(request).await));
    let request = GetConversationRequest {
        account_id: 1,
        conversation_id: talk,
    };
    received.codes.push(noted(all, conversations.get_conversation(request).await));
    let request = ListConversationsRequest {
        account_id: 1,
        ..ListConversationsRequest::default()
    };
    received.codes.push(noted(all, conversations.list_conversations(request).await));
    let request = ListMessagesRequest {
        account_id: 1,
        conversation_id: talk,
        ..ListMessagesRequest::default()
    };
    received.codes.push(noted(all, messages.list_messages(request).await));
    let request = GetMessageRequest {
        account_id: 1,
        conversation_id: talk,
        message_id: message,
    };
    received.codes.push(noted(all, messages.get_message(request).await));
    let request = SearchMessagesRequest {
        account_id: 1,
        text: "hello".to_owned(),
        ..SearchMessagesRequest::default()
    };
    received.codes.push(noted(all, messages.search_messages(request).await));
    let request = BatchCreateMessagesRequest {
        account_id: 1,
        messages: [incoming("as the contact"), outgoing("to the contact")]
            .into_iter()
            .map(|draft| BatchMessage {
                conversation_id: talk,
                message: Some(draft),
            })
            .collect(),
        ..BatchCreateMessagesRequest::default()
    };
    received.codes.push(noted(all, messages.batch_create_messages(request).await));
}

/// All events in the log, and a snapshot.
async fn streamed(service: &Service, all: &mut String) {
    let clients = &service.clients;
    let head = log_info(clients, 1).await.head_seq;
    let mut reader = Reader::open(clients, everything(1, Start::Earliest(()))).await;
    let _ = writeln!(all, "{:?}", reader.until(head).await);
    let request: SubscribeRequest = everything(1, Start::Snapshot(()));
    let mut stream = clients.events.clone().subscribe(request).await.expect("it opens").into_inner();
    loop {
        let response = in_time("the snapshot", stream.message())
            .await
            .expect("no refusal")
            .expect("no end");
        let _ = writeln!(all, "{:?}", response.upserts);
        if response.snapshot_complete.is_some() {
            return;
        }
    }
}

async fn anonymous_session_grants_no_access_to_a_limited_service(backend: Backend) {
    let app = start(backend, "").await;
    let received = guess(&app).await;
    for stored in STORED {
        let lines: Vec<&str> = received.all.lines().filter(|line| line.contains(stored)).collect();
        assert!(lines.is_empty(), "{stored} is in {lines:#?}");
    }
    assert!(received.all.contains("guesser"), "the session's own words are shown");
    let ok = Code::Ok;
    assert_eq!(received.codes, [Code::NotFound, Code::NotFound, ok, ok, ok, ok, ok, ok, ok]);
    for (what, status) in &received.statuses {
        let expected = if what.contains("/contacts/") && !what.contains("search") {
            404
        } else {
            200
        };
        assert_eq!(*status, expected, "{what}");
    }
    // Administrators see a single contact.
    let (_, shown) = app.http().ask("/conversations").await;
    assert!(shown.to_string().contains("Alice Stored"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_protection_a_guessed_address_grants_access() {
    let app = start(Backend::Sqlite, "matched_sessions").await;
    let received = guess(&app).await;
    for stored in STORED {
        assert!(received.all.contains(stored), "{stored}");
    }
    assert!(received.codes.iter().all(|code| *code == Code::Ok), "{:?}", received.codes);
}

async fn session_created_by_a_member_grants_access_to_its_contact(backend: Backend) {
    let app = start(backend, "").await;
    let elsewhere = inbox(&app.clients(), 1, "Elsewhere").await;
    let alice = contact(
        &app,
        elsewhere,
        json!({"name": "Alice Stored", "email": "alice@x.org", "identifier": "alice-identifier"}),
    )
    .await;
    let service = Service::limited(&app, &[1]).await;
    let path = format!("/contacts/{alice}");
    let public = Public::of(&app, 1).await;
    public.create("s", json!({"email": "alice@x.org"})).await;
    assert_eq!(service.send(Method::GET, &path, None).await.status, 404);
    // A valid signature grants access, and so does a session that a member creates.
    public.create("v", public.signed("alice-identifier", json!({}))).await;
    assert_eq!(service.send(Method::GET, &path, None).await.status, 404);
    public.prove("v", "alice-identifier").await;
    let seen = service.send(Method::GET, &path, None).await;
    assert_eq!((seen.status, &seen.body["payload"]["name"]), (200, &json!("Alice Stored")));
    let bob = contact(&app, elsewhere, json!({"name": "Bob", "email": "bob@x.org"})).await;
    let path = format!("/contacts/{bob}");
    assert_eq!(service.send(Method::GET, &path, None).await.status, 404);
    app.http().post(&format!("{path}/contact_inboxes"), &json!({"inbox_id": 1})).await;
    assert_eq!(service.send(Method::GET, &path, None).await.status, 200);
    // A contact that a session created belongs to the inbox.
    public.create("new", json!({"email": "new@x.org"})).await;
    let listed: Json = service.send(Method::GET, "/contacts", None).await.body;
    assert!(listed.to_string().contains("new@x.org"), "{listed}");
}

/// A service creates two sessions of its own contact, and one of them submits the address.
async fn attaching_a_session_leaves_member_sessions_in_place(backend: Backend) {
    let app = start(backend, "").await;
    let elsewhere = inbox(&app.clients(), 1, "Elsewhere").await;
    let alice = contact(&app, elsewhere, json!({"name": "Alice Stored", "email": "alice@x.org"})).await;
    let service = Service::limited(&app, &[1]).await;
    let body = json!({"name": "Mine", "inbox_id": 1, "source_id": "first"});
    let mine = service.send(Method::POST, "/contacts", Some(&body)).await.body["payload"]["contact"]["id"]
        .as_i64()
        .expect("a number");
    let body = json!({"inbox_id": 1, "source_id": "second"});
    let added = service
        .send(Method::POST, &format!("/contacts/{mine}/contact_inboxes"), Some(&body))
        .await;
    assert_eq!(added.status, 200, "{}", added.body);
    let public = Public::of(&app, 1).await;
    public.update("first", json!({"email": "alice@x.org"})).await;
    for source in ["first", "second"] {
        assert_eq!(app.fixture().contact_of(source).await, mine, "{source}");
    }
    assert_eq!(service.send(Method::GET, &format!("/contacts/{alice}"), None).await.status, 404);
    assert_eq!(super::shown(&app, alice).await["name"], "Alice Stored");
}
