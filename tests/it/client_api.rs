//! The client API over gRPC: what contacts' clients do through their sessions.

use std::collections::HashSet;

use hmac::{Hmac, KeyInit as _, Mac as _};
use parley_proto::{
    ActorType, ApiChannel, ClientContact, ClientSession, ClientSignature, CreateClientConversationRequest, CreateClientMessageRequest,
    CreateClientSessionRequest, CreateContactRequest, GetClientConversationRequest, GetClientSessionRequest, GetInboxRequest, Inbox,
    ListClientMessagesRequest, ListMessagesRequest, MarkClientConversationSeenRequest, MessageStatus, SenderType,
    UpdateClientSessionRequest, UpdateInboxRequest, inbox::Channel,
};
use sha2::Sha256;
use tonic::{Code, Status};

use crate::support::{
    api_fixture::note,
    app::TestApp,
    chain::{assert_dense, assert_whole_writes},
    clients::Clients,
    database::{Backend, Database},
    fault::{assert_bad_fields, assert_refused},
    office::inbox,
    on_both,
    reader::whole_log,
};

on_both!(
    session_is_found_or_created,
    signature_binds_a_session_to_its_contact,
    session_reaches_its_own_conversations_only,
    viewing_a_conversation_marks_messages_as_read,
    submitting_an_address_attaches_to_its_contact,
    concurrent_calls_create_one_session_and_one_contact
);

async fn channel(clients: &Clients, inbox_id: i64) -> ApiChannel {
    let request = GetInboxRequest { account_id: 1, inbox_id };
    let found = clients.inboxes.clone().get_inbox(request).await.expect("it is there").into_inner();
    let Some(Channel::ApiChannel(channel)) = found.inbox.expect("always set").channel else {
        panic!("an API channel");
    };
    channel
}

/// The public identifier of an inbox.
pub async fn identifier(clients: &Clients, inbox_id: i64) -> String {
    channel(clients, inbox_id).await.identifier.expect("administrators see it")
}

fn signed(key: &str, identifier: &str) -> ClientSignature {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("any length is a key");
    mac.update(identifier.as_bytes());
    ClientSignature {
        identifier: identifier.to_owned(),
        identifier_hash: hex::encode(mac.finalize().into_bytes()),
    }
}

fn stranger(app: &TestApp) -> Clients {
    Clients::new(&app.server.listeners.grpc, None)
}

fn named(inbox: &str, source_id: &str) -> CreateClientSessionRequest {
    CreateClientSessionRequest {
        inbox_identifier: inbox.to_owned(),
        source_id: Some(source_id.to_owned()),
        ..CreateClientSessionRequest::default()
    }
}

async fn session(clients: &Clients, request: CreateClientSessionRequest) -> ClientContact {
    let answer = clients
        .client
        .clone()
        .create_client_session(request)
        .await
        .expect("the session is made");
    answer.into_inner().session.expect("always set")
}

fn at(inbox: &str, source_id: &str) -> ClientSession {
    ClientSession {
        inbox_identifier: inbox.to_owned(),
        source_id: source_id.to_owned(),
    }
}

async fn talk(clients: &Clients, session: &ClientSession) -> i64 {
    let request = CreateClientConversationRequest {
        session: Some(session.clone()),
        ..CreateClientConversationRequest::default()
    };
    let answer = clients
        .client
        .clone()
        .create_client_conversation(request)
        .await
        .expect("it is made");
    answer.into_inner().conversation.expect("always set").id
}

async fn write(clients: &Clients, session: &ClientSession, conversation_id: i64, text: &str) -> Result<i64, Status> {
    let request = CreateClientMessageRequest {
        session: Some(session.clone()),
        conversation_id,
        content: Some(text.to_owned()),
        ..CreateClientMessageRequest::default()
    };
    let answer = clients.client.clone().create_client_message(request).await?;
    let message = answer.into_inner().message.expect("always set");
    assert_eq!(message.sender.expect("the contact").r#type(), SenderType::Contact);
    Ok(message.id)
}

async fn session_is_found_or_created(backend: Backend) {
    let app = TestApp::start(backend).await;
    let inbox = identifier(&app.clients(), 1).await;
    let clients = stranger(&app);
    let first = session(&clients, named(&inbox, "one")).await;
    let made = first.contact.clone().expect("always set");
    assert_eq!(made.name.split('-').count(), 3, "a made-up name: {}", made.name);
    let again = CreateClientSessionRequest {
        name: Some("Asha".to_owned()),
        ..named(&inbox, "one")
    };
    assert_eq!(session(&clients, again).await, first, "what is found stays as it is");
    let by_email = CreateClientSessionRequest {
        email: Some("Asha@Example.com".to_owned()),
        source_id: None,
        ..named(&inbox, "")
    };
    let (one, two) = (session(&clients, by_email.clone()).await, session(&clients, by_email).await);
    assert_ne!(one.source_id, two.source_id);
    let (fixture, [first, second]) = (app.fixture(), [&one, &two].map(|session| session.source_id.clone()));
    assert_eq!(
        fixture.contact_of(&first).await,
        fixture.contact_of(&second).await,
        "the contact that has the address"
    );
    let (one, two) = (one.contact.expect("always set"), two.contact.expect("always set"));
    assert_ne!(one.id, two.id, "each session is shown an id of its own");
    assert_ne!(one.name, two.name, "what is stored of it is not shown");
    assert_eq!(two.email.as_deref(), Some("asha@example.com"), "what the session itself said");
    let bad = CreateClientSessionRequest {
        phone_number: Some("12".to_owned()),
        ..named(&inbox, "three")
    };
    assert_bad_fields(clients.client.clone().create_client_session(bad).await, &["phone_number: INVALID"]);
    let nowhere = clients.client.clone().create_client_session(named("nowhere", "one")).await;
    assert_refused(nowhere, Code::NotFound, "NOT_FOUND");
    let unknown = GetClientSessionRequest {
        session: Some(at(&inbox, "unknown")),
        signature: None,
    };
    assert_refused(
        clients.client.clone().get_client_session(unknown).await,
        Code::NotFound,
        "NOT_FOUND",
    );
    let log = whole_log(&app.clients(), 1).await;
    assert_dense(&log, 1);
    assert_whole_writes(&log);
    let actor = log[0]
        .event
        .as_ref()
        .and_then(|event| event.actor.as_ref())
        .expect("somebody did it");
    assert_eq!(actor.r#type(), ActorType::Contact);
}

async fn signature_binds_a_session_to_its_contact(backend: Backend) {
    let app = TestApp::start(backend).await;
    let channel = channel(&app.clients(), 1).await;
    let (inbox, key) = (
        channel.identifier.clone().expect("shown"),
        channel.hmac_token.clone().expect("shown"),
    );
    let request = UpdateInboxRequest {
        account_id: 1,
        inbox: Some(Inbox {
            id: 1,
            channel: Some(Channel::ApiChannel(ApiChannel {
                hmac_mandatory: true,
                ..ApiChannel::default()
            })),
            ..Inbox::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["api_channel.hmac_mandatory".to_owned()],
        }),
        ..UpdateInboxRequest::default()
    };
    app.clients().inboxes.update_inbox(request).await.expect("it changes");
    let clients = stranger(&app);
    let mut calls = clients.client.clone();
    let unsigned = calls.create_client_session(named(&inbox, "asha")).await;
    assert_refused(unsigned, Code::Unauthenticated, "IDENTIFIER_UNSIGNED");
    let asha = CreateClientSessionRequest {
        signature: Some(signed(&key, "asha-7")),
        ..named(&inbox, "asha")
    };
    let made = session(&clients, asha).await;
    assert!(!made.hmac_verified, "a fresh session is not verified by its creation");
    assert_eq!(made.contact.expect("always set").identifier.as_deref(), Some("asha-7"));
    let show = |signature| GetClientSessionRequest {
        session: Some(at(&inbox, "asha")),
        signature,
    };
    for wrong in [None, Some(signed("another key", "asha-7")), Some(signed(&key, "ravi-8"))] {
        assert_refused(
            calls.get_client_session(show(wrong)).await,
            Code::Unauthenticated,
            "IDENTIFIER_UNSIGNED",
        );
    }
    let shown = calls
        .get_client_session(show(Some(signed(&key, "asha-7"))))
        .await
        .expect("it is hers");
    assert!(shown.into_inner().session.expect("always set").hmac_verified);
    // Conversations require no signature.
    talk(&clients, &at(&inbox, "asha")).await;
}

async fn session_reaches_its_own_conversations_only(backend: Backend) {
    let app = TestApp::start(backend).await;
    let office = app.clients();
    let elsewhere = inbox(&office, 1, "Other").await;
    let (first, second) = (identifier(&office, 1).await, identifier(&office, elsewhere).await);
    let key = channel(&office, 1).await.hmac_token.expect("shown");
    let their_key = channel(&office, elsewhere).await.hmac_token.expect("shown");
    let clients = stranger(&app);
    for (inbox, source) in [(&first, "here"), (&second, "there")] {
        let request = CreateClientSessionRequest {
            signature: Some(ClientSignature {
                identifier: "asha-7".to_owned(),
                identifier_hash: String::new(),
            }),
            ..named(inbox, source)
        };
        session(&clients, request).await;
    }
    session(&clients, named(&first, "somebody else")).await;
    let (here, there, other) = (at(&first, "here"), at(&second, "there"), at(&first, "somebody else"));
    let conversation = talk(&clients, &there).await;
    let mut calls = clients.client.clone();
    for session in [&here, &other] {
        let request = GetClientConversationRequest {
            session: Some(session.clone()),
            conversation_id: conversation,
        };
        assert_refused(calls.get_client_conversation(request).await, Code::NotFound, "NOT_FOUND");
        let said = write(&clients, session, conversation, "not mine").await;
        assert_refused(said, Code::NotFound, "NOT_FOUND");
    }
    write(&clients, &there, conversation, "mine").await.expect("it is taken");
    for (session, reaches) in [(&here, false), (&there, true)] {
        let verify = GetClientSessionRequest {
            session: Some(session.clone()),
            signature: Some(signed(if reaches { &their_key } else { &key }, "asha-7")),
        };
        calls.get_client_session(verify).await.expect("it is hers");
        let said = write(&clients, &here, conversation, "mine too").await;
        assert_eq!(
            said.is_ok(),
            reaches,
            "a verified session reaches those of the contact's other verified sessions"
        );
    }
    // Private notes are not visible to the contact.
    let fixture = app.fixture();
    fixture.sent(conversation, note("between us")).await;
    let request = ListClientMessagesRequest {
        session: Some(there),
        conversation_id: conversation,
        ..ListClientMessagesRequest::default()
    };
    let listed = calls.list_client_messages(request).await.expect("listed").into_inner().messages;
    let texts: Vec<&str> = listed.iter().filter_map(|message| message.content.as_deref()).collect();
    assert_eq!(texts, ["mine", "mine too"]);
}

async fn viewing_a_conversation_marks_messages_as_read(backend: Backend) {
    let app = TestApp::start(backend).await;
    let inbox = identifier(&app.clients(), 1).await;
    let clients = stranger(&app);
    session(&clients, named(&inbox, "one")).await;
    let me = at(&inbox, "one");
    let conversation = talk(&clients, &me).await;
    write(&clients, &me, conversation, "hello?").await.expect("it is taken");
    let fixture = app.fixture();
    fixture.say(conversation, "hello").await;
    fixture.say(conversation, "how are you").await;
    let request = MarkClientConversationSeenRequest {
        session: Some(me),
        conversation_id: conversation,
        ..MarkClientConversationSeenRequest::default()
    };
    clients
        .client
        .clone()
        .mark_client_conversation_seen(request)
        .await
        .expect("it is noted");
    let request = ListMessagesRequest {
        account_id: 1,
        conversation_id: conversation,
        ..ListMessagesRequest::default()
    };
    let listed = fixture
        .clients
        .messages
        .clone()
        .list_messages(request)
        .await
        .expect("listed")
        .into_inner();
    let statuses: Vec<MessageStatus> = listed.messages.iter().map(parley_proto::Message::status).collect();
    assert_eq!(statuses, [MessageStatus::Sent, MessageStatus::Read, MessageStatus::Read]);
    assert!(listed.conversation.expect("always set").contact_last_seen_at.is_some());
    // No cached row is older than the stored one.
    fixture.say(conversation, "and now?").await;
    let log = whole_log(&fixture.clients, 1).await;
    assert_dense(&log, 1);
    assert_whole_writes(&log);
}

async fn submitting_an_address_attaches_to_its_contact(backend: Backend) {
    let app = TestApp::start(backend).await;
    let office = app.clients();
    let inbox = identifier(&office, 1).await;
    let known = CreateContactRequest {
        account_id: 1,
        name: "Asha Rao".to_owned(),
        email: Some("asha@example.com".to_owned()),
        ..CreateContactRequest::default()
    };
    let known = office.contacts.clone().create_contact(known).await.expect("made").into_inner();
    let known = known.contact.expect("always set").id;
    let clients = stranger(&app);
    let fresh = session(&clients, named(&inbox, "one")).await.contact.expect("always set");
    assert_ne!(app.fixture().contact_of("one").await, known);
    let me = at(&inbox, "one");
    let conversation = talk(&clients, &me).await;
    write(&clients, &me, conversation, "hello?").await.expect("it is taken");
    let request = UpdateClientSessionRequest {
        session: Some(me.clone()),
        email: Some("asha@example.com".to_owned()),
        name: Some(" ".to_owned()),
        ..UpdateClientSessionRequest::default()
    };
    let changed = clients
        .client
        .clone()
        .update_client_session(request)
        .await
        .expect("it changes")
        .into_inner();
    let contact = changed.session.expect("always set").contact.expect("always set");
    assert_eq!(
        (app.fixture().contact_of("one").await, contact.name, contact.id),
        (known, fresh.name, fresh.id),
        "neither the stored name nor the stored id is shown to it"
    );
    write(&clients, &me, conversation, "still me")
        .await
        .expect("the session moved along");
    let log = whole_log(&office, 1).await;
    assert_dense(&log, 1);
    assert_whole_writes(&log);
}

async fn concurrent_calls_create_one_session_and_one_contact(backend: Backend) {
    let replicas = usize::from(backend == Backend::Postgres);
    let app = TestApp::builder(backend).replicas(replicas).start().await;
    let inbox = identifier(&app.clients(), 1).await;
    let mut endpoints = vec![stranger(&app)];
    endpoints.extend(app.replicas.iter().map(|server| Clients::new(&server.listeners.grpc, None)));
    let same_source = race(&endpoints, named(&inbox, "one")).await;
    let sources: HashSet<&str> = same_source.iter().map(|one| one.pubsub_token.as_str()).collect();
    assert_eq!(sources.len(), 1, "one session");
    let by_email = CreateClientSessionRequest {
        email: Some("asha@example.com".to_owned()),
        source_id: None,
        ..named(&inbox, "")
    };
    let same_address = race(&endpoints, by_email).await;
    let sources: HashSet<&str> = same_address.iter().map(|one| one.source_id.as_str()).collect();
    let contacts = "SELECT count(DISTINCT contact_id) FROM contact_inboxes WHERE source_id <> 'one'";
    let contacts = Database::number(&app.database.url(), contacts).await;
    assert_eq!((sources.len(), contacts), (64, 1), "64 sessions of one contact");
    let log = whole_log(&app.clients(), 1).await;
    assert_dense(&log, 1);
    assert_whole_writes(&log);
}

async fn race(endpoints: &[Clients], request: CreateClientSessionRequest) -> Vec<ClientContact> {
    let calls = (0..64).map(|nth| session(&endpoints[nth % endpoints.len()], request.clone()));
    futures_util::future::join_all(calls).await
}
