//! A service that is limited to some inboxes sees and changes only contacts with a session there.

use parley_proto::{
    ContactNote, CreateContactNoteRequest, Role, contact_notes_service_client::ContactNotesServiceClient, subscribe_request::Start,
};
use reqwest::Method;
use serde_json::{Value as Json, json};
use tonic::Code;

use super::{Service, begin, contact, shown, start};
use crate::support::{
    app::TestApp,
    database::Backend,
    fault::assert_refused,
    office::{inbox, set_members, worker},
    on_both,
    reader::{Reader, everything, log_info},
};

on_both!(
    limited_service_reaches_contacts_of_its_inboxes_only,
    limited_service_creates_contacts_in_its_inboxes_only,
    limited_service_receives_no_events_of_other_contacts
);

async fn elsewhere(app: &TestApp) -> (i64, i64) {
    let third = inbox(&app.clients(), 1, "Third").await;
    let hidden = json!({"name": "Hidden Person", "email": "hidden@x.org", "phone_number": "+351912345678"});
    (contact(app, third, hidden).await, third)
}

/// Requests about one contact, which a caller with full access may make.
fn requests(contact: i64, talk: i64) -> Vec<(Method, String, Option<Json>)> {
    let one = format!("/contacts/{contact}");
    vec![
        (Method::GET, one.clone(), None),
        (Method::PATCH, one.clone(), Some(json!({"custom_attributes": {"a": 1}}))),
        (Method::GET, format!("{one}/labels"), None),
        (Method::POST, format!("{one}/labels"), Some(json!({"labels": ["vip"]}))),
        (Method::GET, format!("{one}/notes"), None),
        (Method::POST, format!("{one}/notes"), Some(json!({"content": "hm"}))),
        (Method::GET, format!("{one}/conversations"), None),
        (Method::GET, format!("{one}/contactable_inboxes"), None),
        (Method::POST, format!("{one}/contact_inboxes"), Some(json!({"inbox_id": 1}))),
        (
            Method::POST,
            "/conversations".to_owned(),
            Some(json!({"inbox_id": 1, "contact_id": contact})),
        ),
        (Method::GET, format!("/conversations/{talk}"), None),
    ]
}

async fn limited_service_reaches_contacts_of_its_inboxes_only(backend: Backend) {
    let app = start(backend, "").await;
    let (hidden, third) = elsewhere(&app).await;
    let own = contact(&app, 1, json!({"name": "Own Person", "email": "own@x.org"})).await;
    let (theirs, mine) = (begin(&app, third, hidden).await, begin(&app, 1, own).await);
    let service = Service::limited(&app, &[1]).await;
    for (method, path, body) in requests(own, mine) {
        let answer = service.send(method.clone(), &path, body.as_ref()).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.body);
    }
    for (method, path, body) in requests(hidden, theirs) {
        let answer = service.send(method.clone(), &path, body.as_ref()).await;
        let expected = if path.starts_with("/conversations/") { 401 } else { 404 };
        assert_eq!(answer.status, expected, "{method} {path}: {}", answer.body);
    }
    let filter =
        json!({"payload": [{"attribute_key": "name", "filter_operator": "contains", "values": ["Person"], "query_operator": null}]});
    for (method, path, body) in [
        (Method::GET, "/contacts", None),
        (Method::GET, "/contacts/search?q=Person", None),
        (Method::POST, "/contacts/filter", Some(filter)),
    ] {
        let answer = service.send(method, path, body.as_ref()).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert_eq!(answer.body["meta"]["count"], 1, "{path}: {}", answer.body);
        assert!(!answer.body.to_string().contains("Hidden"), "{path}");
    }
    let stored = shown(&app, hidden).await;
    assert_eq!(
        (&stored["name"], &stored["custom_attributes"]),
        (&json!("Hidden Person"), &json!({}))
    );
    // An agent of the same inbox sees all contacts, as in Chatwoot.
    let agent = worker(&app, 1, Role::Agent, "Agent").await;
    set_members(&app.clients(), 1, 1, &[agent.user]).await;
    let request = parley_proto::GetContactRequest {
        account_id: 1,
        contact_id: hidden,
    };
    agent
        .clients
        .contacts
        .clone()
        .get_contact(request)
        .await
        .expect("agents see all contacts");
}

async fn limited_service_creates_contacts_in_its_inboxes_only(backend: Backend) {
    let app = start(backend, "").await;
    let (hidden, third) = elsewhere(&app).await;
    let service = Service::limited(&app, &[1]).await;
    for (body, status) in [
        (json!({"name": "New"}), 422),
        (json!({"name": "New", "inbox_id": third}), 401),
        (json!({"name": "New", "inbox_id": 1}), 200),
        (json!({"name": "New", "inbox_id": 1, "email": "hidden@x.org"}), 422),
    ] {
        let answer = service.send(Method::POST, "/contacts", Some(&body)).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        assert!(answer.body.get("existing_id").is_none(), "{}", answer.body);
    }
    // The service learns that an address is taken, and nothing else about a contact that it cannot see.
    let taken = json!({"message": "Email has already been taken", "attributes": ["email"]});
    let own = service
        .send(Method::POST, "/contacts", Some(&json!({"name": "Own", "inbox_id": 1})))
        .await;
    let own = own.body["payload"]["contact"]["id"].as_i64().expect("an id");
    for (method, path, body) in [
        (
            Method::POST,
            "/contacts".to_owned(),
            json!({"inbox_id": 1, "email": "hidden@x.org"}),
        ),
        (Method::PATCH, format!("/contacts/{own}"), json!({"email": "HIDDEN@x.org"})),
    ] {
        let answer = service.send(method, &path, Some(&body)).await;
        assert_eq!((answer.status, &answer.body), (422, &taken), "{path}");
    }
    let request = parley_proto::CreateContactRequest {
        account_id: 1,
        email: Some("hidden@x.org".to_owned()),
        inbox_id: Some(1),
        ..parley_proto::CreateContactRequest::default()
    };
    let fault = assert_refused(
        service.clients.contacts.clone().create_contact(request).await,
        Code::AlreadyExists,
        "ALREADY_TAKEN",
    );
    assert_eq!(fault.fields.iter().collect::<Vec<_>>(), ["email: TAKEN"]);
    assert!(!fault.metadata.contains_key("existing_id"), "{fault:?}");
    let service = Service::limited(&app, &[]).await;
    let taken = service
        .send(Method::POST, "/contacts", Some(&json!({"email": "hidden@x.org"})))
        .await;
    assert_eq!(taken.body["existing_id"], hidden, "{}", taken.body);
}

/// Changes a contact of another inbox. Returns its id and the contact events that a limited service receives.
async fn streamed(app: &TestApp) -> (i64, Vec<parley_proto::Event>) {
    let (hidden, _) = elsewhere(app).await;
    let path = format!("/api/v1/accounts/1/contacts/{hidden}");
    app.http().send("PATCH", &path, Some(&json!({"name": "Hidden Again"}))).await;
    let request = CreateContactNoteRequest {
        account_id: 1,
        contact_id: hidden,
        contact_note: Some(ContactNote {
            content: "Hidden note".to_owned(),
            ..ContactNote::default()
        }),
        ..CreateContactNoteRequest::default()
    };
    let mut notes = ContactNotesServiceClient::new(app.clients().service);
    notes.create_contact_note(request).await.expect("made");
    let service = Service::limited(app, &[1]).await;
    let head = log_info(&service.clients, 1).await.head_seq;
    let mut reader = Reader::open(&service.clients, everything(1, Start::Earliest(()))).await;
    let events = reader.until(head).await;
    let events = events.into_iter().filter_map(|delivery| delivery.event);
    let about = events.filter(|event| event.kind_name.starts_with("contact"));
    (hidden, about.collect())
}

async fn limited_service_receives_no_events_of_other_contacts(backend: Backend) {
    use parley_proto::event::Resource;
    let app = start(backend, "").await;
    let (hidden, events) = streamed(&app).await;
    let kinds: Vec<&str> = events.iter().map(|event| event.kind_name.as_str()).collect();
    assert_eq!(
        kinds,
        ["contact.created", "contact.updated", "contact_note.created"],
        "the chain has no hole"
    );
    assert!(!format!("{events:?}").contains("Hidden"), "{events:?}");
    for event in &events {
        let id = match &event.resource {
            Some(Resource::Contact(about)) => about.contact.as_ref().map(|contact| contact.id),
            Some(Resource::ContactNote(note)) => Some(note.contact_id),
            _ => None,
        };
        assert_eq!(id, Some(hidden));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_protection_a_limited_service_sees_all_contacts() {
    let app = start(Backend::Sqlite, "contact_scope").await;
    let (hidden, events) = streamed(&app).await;
    assert!(format!("{events:?}").contains("Hidden note"));
    let service = Service::limited(&app, &[1]).await;
    let body = json!({"name": "hijacked"});
    let answer = service.send(Method::PATCH, &format!("/contacts/{hidden}"), Some(&body)).await;
    assert_eq!((answer.status, &shown(&app, hidden).await["name"]), (200, &json!("hijacked")));
}
