//! The fields by which a caller grants trust, and who may set each.

use parley_proto::{
    self as pb, CreateContactSessionRequest, CreateConversationRequest, CreateTokenRequest, MergeContactsRequest, Role, SetTypingRequest,
    TokenKind, UpdateContactRequest,
};
use serde_json::json;
use tonic::{Code, Status};

use super::{Public, Service, begin, contact, shown, start};
use crate::{
    agent_bots::{bot, connect},
    support::{
        app::TestApp,
        clients::Clients,
        database::Backend,
        office::{inbox, set_members, worker},
        on_both,
    },
};

on_both!(
    only_callers_with_full_access_can_verify_identities,
    session_reaches_no_further_than_its_limited_creator
);

/// A contact with sessions in the first inbox and in another one.
struct Known {
    contact: i64,
    talk: i64,
    elsewhere: i64,
}

async fn known(app: &TestApp) -> Known {
    let second = inbox(&app.clients(), 1, "Second").await;
    let one = contact(app, 1, json!({"name": "Asha", "identifier": "asha-7"})).await;
    Known {
        contact: one,
        talk: begin(app, 1, one).await,
        elsewhere: begin(app, second, one).await,
    }
}

/// Whether a caller may set each of the fields, in the order of [`FIELDS`].
async fn accepted(clients: &Clients, known: &Known) -> Vec<bool> {
    let session = CreateContactSessionRequest {
        account_id: 1,
        contact_id: known.contact,
        inbox_id: 1,
        hmac_verified: true,
        ..CreateContactSessionRequest::default()
    };
    let conversation = CreateConversationRequest {
        account_id: 1,
        contact_id: Some(known.contact),
        inbox_id: Some(1),
        hmac_verified: true,
        ..CreateConversationRequest::default()
    };
    let identifier = |value: &str| UpdateContactRequest {
        account_id: 1,
        contact: Some(pb::Contact {
            id: known.contact,
            identifier: Some(value.to_owned()),
            ..pb::Contact::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["identifier".to_owned()],
        }),
        ..UpdateContactRequest::default()
    };
    let merge = MergeContactsRequest {
        account_id: 1,
        base_contact_id: known.contact,
        mergee_contact_id: known.contact,
        ..MergeContactsRequest::default()
    };
    let typing = |conversation_id: i64| SetTypingRequest {
        account_id: 1,
        conversation_id,
        typing: true,
        by_contact: true,
        ..SetTypingRequest::default()
    };
    let (mut contacts, mut conversations) = (clients.contacts.clone(), clients.conversations.clone());
    let token = format!("mallory-{}", uuid::Uuid::new_v4());
    vec![
        allowed(contacts.create_contact_session(session).await),
        allowed(conversations.create_conversation(conversation).await),
        allowed(contacts.update_contact(identifier(&token)).await),
        allowed(contacts.merge_contacts(merge).await),
        allowed(conversations.set_typing(typing(known.talk)).await),
        allowed(conversations.set_typing(typing(known.elsewhere)).await),
    ]
}

const FIELDS: [&str; 6] = [
    "CreateContactSession.hmac_verified",
    "CreateConversation.hmac_verified",
    "UpdateContact.identifier of a contact with a session elsewhere",
    "MergeContacts",
    "SetTyping.by_contact in an inbox of the caller",
    "SetTyping.by_contact elsewhere",
];

fn allowed<T: std::fmt::Debug>(result: Result<T, Status>) -> bool {
    match result {
        Ok(_) => true,
        Err(status) => {
            assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
            false
        }
    }
}

async fn bot_clients(app: &TestApp) -> Clients {
    let clients = app.clients();
    let bot = bot(&clients, Some(1), "Bot").await.id;
    connect(&clients, 1, Some(bot)).await;
    let request = CreateTokenRequest {
        kind: TokenKind::AgentBot.into(),
        agent_bot_id: Some(bot),
        ..CreateTokenRequest::default()
    };
    let secret = app
        .clients()
        .accounts
        .create_token(request)
        .await
        .expect("a token")
        .into_inner()
        .secret;
    app.clients_with(&secret)
}

async fn only_callers_with_full_access_can_verify_identities(backend: Backend) {
    let app = start(backend, "").await;
    let known = known(&app).await;
    let agent = worker(&app, 1, Role::Agent, "Agent").await;
    set_members(&app.clients(), 1, 1, &[agent.user]).await;
    let administrator = worker(&app, 1, Role::Administrator, "Administrator").await;
    let (all, none) = ([true; 6], [false; 6]);
    let limited = [false, false, false, false, true, false];
    for (caller, clients, expected) in [
        ("an administrator", administrator.clients, all),
        ("a service", Service::limited(&app, &[]).await.clients, all),
        ("a service that only reads", Service::with(&app, &[], true).await.clients, none),
        (
            "a service limited to the inbox",
            Service::limited(&app, &[1]).await.clients,
            limited,
        ),
        ("an agent of the inbox", agent.clients, limited),
        ("a bot of the inbox", bot_clients(&app).await, none),
    ] {
        for (field, (accepted, expected)) in FIELDS.iter().zip(accepted(&clients, &known).await.into_iter().zip(expected)) {
            assert_eq!(accepted, expected, "{field} of {caller}");
        }
    }
}

/// A service that is limited to an inbox creates a verified session. Returns the status, and what the session reaches of a conversation in
/// another inbox if it was created.
async fn vouched(app: &TestApp, known: &Known) -> (u16, Option<(u16, u16)>) {
    let body = json!({"inbox_id": 1, "source_id": "evil", "hmac_verified": true});
    let service = Service::limited(app, &[1]).await;
    let made = service
        .send(
            reqwest::Method::POST,
            &format!("/contacts/{}/contact_inboxes", known.contact),
            Some(&body),
        )
        .await;
    let reach = match made.status {
        200 => Some(Public::of(app, 1).await.reach("evil", known.elsewhere).await),
        _ => None,
    };
    (made.status, reach)
}

async fn session_reaches_no_further_than_its_limited_creator(backend: Backend) {
    let app = start(backend, "").await;
    let known = known(&app).await;
    assert_eq!(vouched(&app, &known).await, (401, None));
    let service = Service::limited(&app, &[1]).await;
    let body = json!({"inbox_id": 1, "source_id": "plain"});
    let made = service
        .send(
            reqwest::Method::POST,
            &format!("/contacts/{}/contact_inboxes", known.contact),
            Some(&body),
        )
        .await;
    assert_eq!(made.status, 200, "{}", made.body);
    let public = Public::of(&app, 1).await;
    assert_eq!(public.listed("plain").await, Vec::<i64>::new());
    assert_eq!(public.reach("plain", known.elsewhere).await, (404, 404));
    assert_eq!(
        public.reach("plain", known.talk).await,
        (404, 404),
        "nor another session's in the same inbox"
    );
    assert_eq!(shown(&app, known.contact).await["name"], "Asha");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_protection_a_limited_service_reads_all_inboxes() {
    let app = start(Backend::Sqlite, "vouching").await;
    let known = known(&app).await;
    assert_eq!(vouched(&app, &known).await, (200, Some((200, 200))));
}
