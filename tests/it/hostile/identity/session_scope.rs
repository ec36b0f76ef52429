//! The source id of a session is a credential, and only callers who can see the session's inbox see it.

use std::fmt::Write as _;

use parley_proto::{
    CreateContactSessionRequest, FilterContactsRequest, GetContactBySessionRequest, GetContactRequest, ListContactSessionsRequest,
    ListContactsRequest, Role, SearchContactsRequest, SubscribeRequest, UpdateContactRequest, subscribe_request::Start,
};
use reqwest::Method;
use serde_json::json;

use super::{Service, contact, start};
use crate::support::{
    app::TestApp,
    clients::Clients,
    database::Backend,
    in_time,
    office::{inbox, set_members, worker},
    on_both,
    reader::{Reader, everything, log_info},
};

on_both!(sessions_of_other_inboxes_are_never_visible);

/// The source id of a session in an inbox that the caller cannot see.
const SECRET: &str = "the-session-of-another-inbox";

/// The source id of a session in the caller's own inbox.
const OWN: &str = "the-session-of-its-own-inbox";

async fn add_session(app: &TestApp, contact_id: i64, inbox_id: i64, source_id: &str) {
    let request = CreateContactSessionRequest {
        account_id: 1,
        contact_id,
        inbox_id,
        source_id: Some(source_id.to_owned()),
        ..CreateContactSessionRequest::default()
    };
    app.clients().contacts.create_contact_session(request).await.expect("made");
}

/// Everything that a caller receives about a contact with sessions in two inboxes, as one text.
async fn all_received(clients: &Clients, contact_id: i64) -> String {
    let mut all = String::new();
    let mut contacts = clients.contacts.clone();
    let mut note = |answer: &dyn std::fmt::Debug| write!(all, "{answer:?}").expect("a String takes everything");
    note(&contacts.get_contact(GetContactRequest { account_id: 1, contact_id }).await);
    note(
        &contacts
            .list_contacts(ListContactsRequest {
                account_id: 1,
                ..ListContactsRequest::default()
            })
            .await,
    );
    let search = SearchContactsRequest {
        account_id: 1,
        query: "asha".to_owned(),
        ..SearchContactsRequest::default()
    };
    note(&contacts.search_contacts(search).await);
    let filter = FilterContactsRequest {
        account_id: 1,
        ..FilterContactsRequest::default()
    };
    note(&contacts.filter_contacts(filter).await);
    let sessions = ListContactSessionsRequest {
        account_id: 1,
        contact_id,
        ..ListContactSessionsRequest::default()
    };
    note(&contacts.list_contact_sessions(sessions).await);
    let own = GetContactBySessionRequest {
        account_id: 1,
        inbox_id: 1,
        source_id: OWN.to_owned(),
    };
    note(&contacts.get_contact_by_session(own).await);
    let change = UpdateContactRequest {
        account_id: 1,
        contact: Some(parley_proto::Contact {
            id: contact_id,
            name: "Asha Rao".to_owned(),
            ..parley_proto::Contact::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["name".to_owned()],
        }),
        ..UpdateContactRequest::default()
    };
    note(&contacts.update_contact(change).await);
    let head = log_info(clients, 1).await.head_seq;
    let mut reader = Reader::open(clients, everything(1, Start::Earliest(()))).await;
    let events = reader.until(head).await;
    assert!(
        events
            .iter()
            .filter_map(|delivery| delivery.event.as_ref())
            .any(|event| event.kind_name == "contact.created")
    );
    note(&events);
    note(&snapshot(clients).await);
    all
}

/// The upserts of a snapshot, in order.
async fn snapshot(clients: &Clients) -> Vec<parley_proto::Upsert> {
    let request: SubscribeRequest = everything(1, Start::Snapshot(()));
    let mut stream = clients.events.clone().subscribe(request).await.expect("it opens").into_inner();
    let mut upserts = Vec::new();
    loop {
        let response = in_time("the snapshot", stream.message())
            .await
            .expect("no refusal")
            .expect("no end");
        upserts.extend(response.upserts);
        if response.snapshot_complete.is_some() {
            return upserts;
        }
    }
}

async fn with_two_sessions(app: &TestApp) -> i64 {
    let third = inbox(&app.clients(), 1, "Third").await;
    let asha = contact(app, 1, json!({"name": "Asha", "email": "asha@x.org"})).await;
    add_session(app, asha, 1, OWN).await;
    add_session(app, asha, third, SECRET).await;
    asha
}

async fn sessions_of_other_inboxes_are_never_visible(backend: Backend) {
    let app = start(backend, "").await;
    let asha = with_two_sessions(&app).await;
    let agent = worker(&app, 1, Role::Agent, "Agent").await;
    set_members(&app.clients(), 1, 1, &[agent.user]).await;
    let service = Service::limited(&app, &[1]).await;
    for clients in [&agent.clients, &service.clients] {
        let received = all_received(clients, asha).await;
        assert!(!received.contains(SECRET), "{received}");
        // Six responses, the session's event, two changes of the contact, and the snapshot.
        assert!(received.matches(OWN).count() >= 9, "{received}");
        let foreign = GetContactBySessionRequest {
            account_id: 1,
            inbox_id: 2,
            source_id: SECRET.to_owned(),
        };
        let refused = clients
            .contacts
            .clone()
            .get_contact_by_session(foreign)
            .await
            .expect_err("not shown");
        assert_eq!(refused.code(), tonic::Code::NotFound);
    }
    // The administrator sees both.
    assert!(all_received(&app.clients(), asha).await.contains(SECRET));
    // Over REST.
    let shown = service.send(Method::GET, &format!("/contacts/{asha}"), None).await.body.to_string();
    assert!(shown.contains(OWN) && !shown.contains(SECRET), "{shown}");
    let listed = service.send(Method::GET, "/contacts", None).await.body.to_string();
    assert!(listed.contains(OWN) && !listed.contains(SECRET), "{listed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_protection_a_limited_service_sees_all_sessions() {
    let app = start(Backend::Sqlite, "session_scope").await;
    let asha = with_two_sessions(&app).await;
    let service = Service::limited(&app, &[1]).await;
    assert!(all_received(&service.clients, asha).await.contains(SECRET));
}
