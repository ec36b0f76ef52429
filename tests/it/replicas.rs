//! Several servers on one PostgreSQL database: one changes what another has cached.

use std::collections::HashMap;

use parley_proto::{
    Conversation, ConversationPriority, CreateContactRequest, EventDelivery, GetConversationRequest, MarkConversationSeenRequest,
    UpdateConversationLabelsRequest, UpdateConversationPriorityRequest,
};

use crate::support::{
    api_fixture::{ApiFixture, incoming},
    app::TestApp,
    chain::{assert_dense, assert_whole_writes},
    database::Backend,
    reader::{event, log_info, whole_log},
    told::Told as _,
};

/// What the other replica does to a conversation.
#[derive(Clone, Copy, Debug)]
enum Elsewhere {
    Hears,
    Looks,
    Hurries,
}

/// A call that leaves no event.
#[derive(Clone, Copy, Debug)]
enum Idle {
    RepeatedContact,
    RepeatedMessage,
    UnchangedLabels,
}

/// Every combination of a write on the other replica and a call here that leaves no event, each followed by a message here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_without_events_do_not_hide_writes_of_another_replica() {
    let app = TestApp::builder(Backend::Postgres).replicas(1).start().await;
    let here = app.fixture();
    let there = here.through(app.clients_of_replica(0));
    for elsewhere in [Elsewhere::Hears, Elsewhere::Looks, Elsewhere::Hurries] {
        for idle in [Idle::RepeatedContact, Idle::RepeatedMessage, Idle::UnchangedLabels] {
            Box::pin(round(&here, &there, elsewhere, idle)).await;
        }
    }
    let log = whole_log(&here.clients, 1).await;
    assert_dense(&log, 1);
    assert_whole_writes(&log);
    assert_versions_rise(&log);
    assert_eq!(whole_log(&there.clients, 1).await, log, "both servers tell the same story");
}

async fn round(here: &ApiFixture, there: &ApiFixture, elsewhere: Elsewhere, idle: Idle) {
    let what = format!("{elsewhere:?} there, {idle:?} here");
    let contact = CreateContactRequest {
        account_id: 1,
        request_id: uuid::Uuid::new_v4().to_string(),
        ..CreateContactRequest::default()
    };
    let made = create_contact(here, contact.clone()).await;
    let conversation = here.talk().await;
    let first = here.request(conversation, incoming("first"));
    let mut messages = here.clients.messages.clone();
    let answer = messages.create_message(first.clone()).await.expect("it is taken").into_inner();
    // This server has cached the conversation, and the other one changes it.
    match elsewhere {
        Elsewhere::Hears => assert_eq!(there.hear(conversation, "second").await.number, 2),
        Elsewhere::Looks => look(there, conversation).await,
        Elsewhere::Hurries => hurry(there, conversation).await,
    }
    match idle {
        Idle::RepeatedContact => assert_eq!(create_contact(here, contact).await, made, "{what}: the same answer"),
        Idle::RepeatedMessage => {
            let again = messages.create_message(first).await.expect("it is answered").into_inner();
            assert_eq!(again, answer, "{what}: the same answer");
        }
        Idle::UnchangedLabels => keep_labels(here, conversation).await,
    }
    let before = get(here, conversation).await;
    let said = here.hear(conversation, "and another").await;
    let after = get(here, conversation).await;
    assert_eq!(said.number, before.message_count + 1, "{what}: the number of the message");
    assert_eq!(after.message_count, before.message_count + 1, "{what}: messages");
    assert_eq!(after.unread_count, before.unread_count + 1, "{what}: unread messages");
    assert!(after.version > before.version, "{what}: the version rises");
    assert_eq!(after.priority, before.priority, "{what}: the priority");
    let log = whole_log(&there.clients, 1).await;
    let told = log.iter().map(event).rev().find_map(|event| event.message());
    let told = told.expect("message.created");
    let within = told.conversation.as_ref().expect("always set");
    assert_eq!(
        told.message.as_ref().map(|message| message.id),
        Some(said.id),
        "{what}: the last message"
    );
    assert_eq!(
        (
            within.message_count,
            within.unread_count,
            within.priority,
            within.agent_last_seen_at
        ),
        (after.message_count, after.unread_count, after.priority, after.agent_last_seen_at),
        "{what}: the event tells of the conversation as it is stored"
    );
}

/// Each replica counts the messages that the other accepted, whether it reads them in the log or in the table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_share_the_limit_of_a_conversation_on_postgres() {
    let app = TestApp::builder(Backend::Postgres)
        .env("PARLEY_LIMITS_MESSAGES_PER_CONVERSATION_PER_MINUTE", "30")
        .replicas(1)
        .start()
        .await;
    let here = app.fixture();
    let there = here.through(app.clients_of_replica(0));
    let conversation = here.talk().await;
    let mut taken = 0;
    for number in 0..50 {
        for fixture in [&here, &there] {
            match fixture.send(conversation, incoming(&format!("message {number}"))).await {
                Ok(_) => taken += 1,
                Err(status) => assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status:?}"),
            }
        }
    }
    assert_eq!(taken, 30);
}

/// No event shows an older version of a conversation than the event before it, and the numbers of its messages have no gaps.
fn assert_versions_rise(log: &[EventDelivery]) {
    let mut seen: HashMap<i64, (u64, u64)> = HashMap::new();
    for event in log.iter().map(event) {
        let of_message = event.message().and_then(|told| told.conversation.as_ref());
        let Some(conversation) = of_message.or_else(|| event.conversation().and_then(|told| told.conversation.as_ref())) else {
            continue;
        };
        let (version, count) = seen.entry(conversation.id).or_default();
        assert!(conversation.version > *version, "conversation {} at {}", conversation.id, event.seq);
        *version = conversation.version;
        if let Some(message) = event.message().and_then(|told| told.message.as_ref()) {
            *count += 1;
            assert_eq!(message.number, *count, "message {} of conversation {}", message.id, conversation.id);
        }
    }
}

async fn create_contact(fixture: &ApiFixture, request: CreateContactRequest) -> parley_proto::CreateContactResponse {
    let answer = fixture.clients.contacts.clone().create_contact(request).await;
    answer.expect("it is answered").into_inner()
}

async fn get(fixture: &ApiFixture, conversation_id: i64) -> Conversation {
    let request = GetConversationRequest {
        account_id: 1,
        conversation_id,
    };
    let answer = fixture.clients.conversations.clone().get_conversation(request).await;
    answer.expect("it is there").into_inner().conversation.expect("always set")
}

async fn look(fixture: &ApiFixture, conversation_id: i64) {
    let request = MarkConversationSeenRequest {
        account_id: 1,
        conversation_id,
        ..MarkConversationSeenRequest::default()
    };
    let answer = fixture.clients.conversations.clone().mark_conversation_seen(request).await;
    let seen = answer.expect("it is seen").into_inner().conversation.expect("always set");
    assert_eq!(seen.unread_count, 0);
}

async fn hurry(fixture: &ApiFixture, conversation_id: i64) {
    let request = UpdateConversationPriorityRequest {
        account_id: 1,
        conversation_id,
        priority: ConversationPriority::Urgent.into(),
        ..UpdateConversationPriorityRequest::default()
    };
    let answer = fixture.clients.conversations.clone().update_conversation_priority(request).await;
    answer.expect("the priority changes");
}

/// Sets the empty list of labels that the conversation already has.
async fn keep_labels(fixture: &ApiFixture, conversation_id: i64) {
    let request = UpdateConversationLabelsRequest {
        account_id: 1,
        conversation_id,
        ..UpdateConversationLabelsRequest::default()
    };
    let head = log_info(&fixture.clients, 1).await.head_seq;
    let answer = fixture.clients.conversations.clone().update_conversation_labels(request).await;
    answer.expect("nothing changes");
    let after = log_info(&fixture.clients, 1).await.head_seq;
    assert_eq!(after, head, "no event");
}
