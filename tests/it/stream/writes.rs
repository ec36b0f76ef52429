//! Statements 4 and 5: the events of a write arrive completely, and never without their rows.

use std::collections::BTreeMap;

use parley_proto::{
    BatchCreateMessagesRequest, BatchMessage, CreateContactRequest, CreateConversationRequest, EventKind, GetContactRequest,
    GetConversationRequest, GetMessageRequest, Message, MessageDraft, subscribe_request::Start,
};
use tonic::Code;

use crate::support::{
    api_fixture::{incoming, outgoing},
    app::TestApp,
    chain::{assert_whole_writes, writes},
    database::Backend,
    fault::assert_refused,
    on_both,
    reader::{Reader, event, everything, log_info, whole_log},
    told::Told as _,
};

on_both!(
    statement_04_writes_are_delivered_atomically,
    statement_05_delivered_events_have_their_rows,
    statement_05_failed_write_leaves_no_event
);

async fn statement_04_writes_are_delivered_atomically(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (fixture, clients) = (app.fixture(), app.clients());
    let person = fixture.person("Asha Rao").await;
    let before = log_info(&clients, 1).await.head_seq;
    let mut live = Reader::open(&clients, everything(1, Start::Latest(()))).await;

    let request = CreateConversationRequest {
        account_id: 1,
        source_id: Some(person.source.clone()),
        message: Some(incoming("Where is my order?")),
        ..CreateConversationRequest::default()
    };
    let answer = clients.conversations.clone().create_conversation(request).await;
    let conversation = answer
        .expect("the conversation is made")
        .into_inner()
        .conversation
        .expect("always set")
        .id;
    fixture.say(conversation, "It left today.").await;
    let batch = BatchCreateMessagesRequest {
        account_id: 1,
        messages: (0..3)
            .map(|index| BatchMessage {
                conversation_id: conversation,
                message: Some(outgoing(&format!("parcel {index}"))),
            })
            .collect(),
        ..BatchCreateMessagesRequest::default()
    };
    clients
        .messages
        .clone()
        .batch_create_messages(batch)
        .await
        .expect("the batch is taken");

    let head = log_info(&clients, 1).await.head_seq;
    let events = live.until(head).await;
    assert_whole_writes(&events);
    let told: Vec<Vec<&str>> = writes(&events)
        .into_iter()
        .map(|write| write.into_iter().map(|delivery| event(delivery).kind_name.as_str()).collect())
        .collect();
    assert_eq!(told.len(), 3, "three writes from {before} to {head}: {told:?}");
    assert_eq!(told[0][..2], ["conversation.created", "message.created"], "{told:?}");
    assert_eq!(told[1], ["message.created", "first.reply.created", "conversation.updated"]);
    assert_eq!(told[2].iter().filter(|kind| **kind == "message.created").count(), 3, "{told:?}");
    assert_whole_writes(&whole_log(&clients, 1).await);
}

async fn statement_05_delivered_events_have_their_rows(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (fixture, clients) = (app.fixture(), app.clients());
    let mut tasks = Vec::new();
    for writer in 0..4 {
        let fixture = fixture.clone();
        tasks.push(tokio::spawn(async move {
            let conversation = fixture.talk().await;
            for index in 0..10 {
                fixture.hear(conversation, &format!("{writer}: {index}")).await;
            }
        }));
    }
    // Reads during the writes: the rows of a delivered event already exist.
    let mut live = Reader::open(&clients, everything(1, Start::Earliest(()))).await;
    let mut told: BTreeMap<i64, Message> = BTreeMap::new();
    while told.len() < 40 {
        let delivery = live.next().await;
        let event = event(&delivery);
        let id = |kind| (event.kind() == kind).then(|| (event.contact_id(), event.conversation_id()));
        if let Some((Some(contact_id), _)) = id(EventKind::ContactCreated) {
            let request = GetContactRequest { account_id: 1, contact_id };
            clients.contacts.clone().get_contact(request).await.expect("the contact is there");
        }
        if let Some((_, Some(conversation_id))) = id(EventKind::ConversationCreated) {
            let request = GetConversationRequest {
                account_id: 1,
                conversation_id,
            };
            clients
                .conversations
                .clone()
                .get_conversation(request)
                .await
                .expect("the conversation is there");
        }
        if event.kind() == EventKind::MessageCreated {
            let message = event.message().and_then(|told| told.message.clone()).expect("a message");
            let request = GetMessageRequest {
                account_id: 1,
                conversation_id: message.conversation_id,
                message_id: message.id,
            };
            let answer = clients.messages.clone().get_message(request).await.expect("the message is there");
            let row = answer.into_inner().message.expect("always set");
            assert_eq!((row.content.as_ref(), row.number), (message.content.as_ref(), message.number));
            assert!(told.insert(message.id, message).is_none(), "one event for each message");
        }
    }
    for task in tasks {
        task.await.expect("the writer does not panic");
    }
}

async fn statement_05_failed_write_leaves_no_event(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (fixture, clients) = (app.fixture(), app.clients());
    let conversation = fixture.talk().await;
    let unique = MessageDraft {
        source_id: Some("order-1".to_owned()),
        unique_source_id: true,
        ..incoming("first")
    };
    fixture.sent(conversation, unique.clone()).await;
    let before = log_info(&clients, 1).await;

    assert_refused(fixture.send(999_999, incoming("to nobody")).await, Code::NotFound, "NOT_FOUND");
    assert_refused(
        fixture.send(conversation, unique.clone()).await,
        Code::AlreadyExists,
        "ALREADY_TAKEN",
    );
    assert_refused(
        fixture.send(conversation, incoming(&"x".repeat(150_001))).await,
        Code::InvalidArgument,
        "INVALID_FIELD",
    );
    let batch = BatchCreateMessagesRequest {
        account_id: 1,
        messages: [incoming("would be good"), unique]
            .into_iter()
            .map(|draft| BatchMessage {
                conversation_id: conversation,
                message: Some(draft),
            })
            .collect(),
        ..BatchCreateMessagesRequest::default()
    };
    assert_refused(
        clients.messages.clone().batch_create_messages(batch).await,
        Code::AlreadyExists,
        "ALREADY_TAKEN",
    );
    let contact = CreateContactRequest {
        account_id: 1,
        email: Some("not an address".to_owned()),
        ..CreateContactRequest::default()
    };
    assert_refused(
        clients.contacts.clone().create_contact(contact).await,
        Code::InvalidArgument,
        "INVALID_FIELD",
    );

    let after = log_info(&clients, 1).await;
    assert_eq!(after.head_seq, before.head_seq, "no event of a refused write");
    let next = fixture.hear(conversation, "second").await;
    assert_eq!(next.number, 2, "no row of a refused write");
}
