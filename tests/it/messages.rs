//! Creating, reading, listing, updating and deleting messages.

use parley_proto::{
    DeleteMessageRequest, EventKind, GetMessageRequest, ListMessagesRequest, MessageDraft, MessageStatus, MessageType, SenderType,
    UpdateMessageRequest,
};
use tonic::Code;

use crate::support::{
    api_fixture::{incoming, note},
    app::TestApp,
    database::Backend,
    fault::{assert_bad_fields, assert_refused},
    on_both,
    reader::{event, whole_log},
};

on_both!(
    message_is_returned_as_created,
    invalid_message_fields_are_reported,
    unique_source_id_is_used_once,
    messages_are_listed_before_and_after_an_id,
    deleted_message_keeps_its_number
);

async fn message_is_returned_as_created(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let draft = MessageDraft {
        echo_id: Some("client-7".to_owned()),
        source_id: Some("order-7".to_owned()),
        ..incoming("Where is my order? ☃")
    };
    let (made, _) = fixture.sent(conversation, draft).await;
    assert_eq!(
        (made.number, made.r#type(), made.status()),
        (1, MessageType::Incoming, MessageStatus::Sent)
    );
    assert_eq!(made.echo_id.as_deref(), Some("client-7"));
    assert_eq!(made.sender.as_ref().expect("the contact").r#type(), SenderType::Contact);
    let reply = fixture.sent(conversation, note("he waits since Monday")).await.0;
    assert_eq!((reply.number, reply.private), (2, true));
    let sender = reply.sender.expect("the user");
    assert_eq!((sender.r#type(), sender.id), (SenderType::User, 1));

    let request = GetMessageRequest {
        account_id: 1,
        conversation_id: conversation,
        message_id: made.id,
    };
    let read = fixture
        .clients
        .messages
        .clone()
        .get_message(request)
        .await
        .expect("it is there")
        .into_inner()
        .message;
    let read = read.expect("always set");
    assert_eq!(read.echo_id, None, "an echo is not stored");
    assert_eq!(
        (read.content, read.source_id, read.version),
        (made.content, made.source_id, made.version)
    );
    let request = GetMessageRequest {
        conversation_id: fixture.talk().await,
        ..request
    };
    let elsewhere = fixture.clients.messages.clone().get_message(request).await;
    assert_refused(elsewhere, Code::NotFound, "NOT_FOUND");
}

async fn invalid_message_fields_are_reported(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let draft = MessageDraft {
        content: Some("x".repeat(150_001)),
        source_id: Some("s".repeat(256)),
        echo_id: Some("e".repeat(256)),
        ..MessageDraft::default()
    };
    let fault = assert_bad_fields(
        fixture.send(conversation, draft).await,
        &[
            "message.content: TOO_LONG",
            "message.source_id: TOO_LONG",
            "message.echo_id: TOO_LONG",
        ],
    );
    assert_eq!(fault.metadata["limit.message.content"], "150000");
    let unknown = MessageDraft {
        r#type: 99,
        content_type: 99,
        ..incoming("hello")
    };
    let fault = assert_refused(fixture.send(conversation, unknown).await, Code::InvalidArgument, "INVALID_FIELD");
    assert_eq!(fault.fields.len(), 2, "{fault:?}");
    let mut request = fixture.request(conversation, incoming("hello"));
    request.message = None;
    assert_bad_fields(
        fixture.clients.messages.clone().create_message(request).await,
        &["message: REQUIRED"],
    );
    let (longest, _) = fixture.sent(conversation, incoming(&"ß".repeat(150_000))).await;
    assert_eq!(
        longest.content.expect("it has one").chars().count(),
        150_000,
        "characters count, not bytes"
    );
}

async fn unique_source_id_is_used_once(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversations = [fixture.talk().await, fixture.talk().await];
    let unique = MessageDraft {
        source_id: Some("order-1".to_owned()),
        unique_source_id: true,
        ..incoming("hello")
    };
    let mut tasks = Vec::new();
    for index in 0..16 {
        let (fixture, draft) = (fixture.clone(), unique.clone());
        tasks.push(tokio::spawn(async move { fixture.send(conversations[index % 2], draft).await }));
    }
    let (mut made, mut named) = (Vec::new(), Vec::new());
    for task in tasks {
        match task.await.expect("no panic") {
            Ok(answer) => made.push(answer.message.expect("always set").id),
            refused => {
                let fault = assert_refused(refused, Code::AlreadyExists, "ALREADY_TAKEN");
                named.push(fault.metadata["existing_id"].clone());
            }
        }
    }
    assert_eq!(made.len(), 1);
    assert!(named.iter().all(|id| *id == made[0].to_string()), "{named:?} for {made:?}");
    // Uniqueness applies only to drafts that ask for it.
    let plain = MessageDraft {
        unique_source_id: false,
        ..unique
    };
    fixture.sent(conversations[0], plain.clone()).await;
    fixture.sent(conversations[0], plain).await;
}

async fn messages_are_listed_before_and_after_an_id(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let mut ids = Vec::new();
    for index in 0..30 {
        let draft = if index % 10 == 9 {
            note("between us")
        } else {
            incoming(&format!("message {index}"))
        };
        ids.push(fixture.sent(conversation, draft).await.0.id);
    }
    let list = async |before: Option<i64>, after: Option<i64>, page_size: i32, public_only: bool| {
        let request = ListMessagesRequest {
            account_id: 1,
            conversation_id: conversation,
            page_size,
            before,
            after,
            public_only,
            ..ListMessagesRequest::default()
        };
        let answer = fixture
            .clients
            .messages
            .clone()
            .list_messages(request)
            .await
            .expect("they are listed")
            .into_inner();
        answer.messages.into_iter().map(|message| message.id).collect::<Vec<_>>()
    };
    assert_eq!(list(None, None, 0, false).await, ids[10..], "the newest twenty, oldest first");
    assert_eq!(list(Some(ids[10]), None, 5, false).await, ids[5..10]);
    assert_eq!(list(None, Some(ids[9]), 5, false).await, ids[10..15]);
    assert_eq!(
        list(Some(ids[20]), Some(ids[9]), 0, false).await,
        ids[9..20],
        "with before, after itself is included"
    );
    let public: Vec<i64> = ids
        .iter()
        .enumerate()
        .filter(|(index, _)| index % 10 != 9)
        .map(|(_, &id)| id)
        .collect();
    assert_eq!(list(None, None, 1_000, true).await, public);
}

async fn deleted_message_keeps_its_number(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let said = fixture.say(conversation, "It left today.").await;
    let mut messages = fixture.clients.messages.clone();
    let mut set = async |status: MessageStatus, error: Option<&str>| {
        let request = UpdateMessageRequest {
            account_id: 1,
            conversation_id: conversation,
            message_id: said.id,
            status: status.into(),
            external_error: error.map(str::to_owned),
            ..UpdateMessageRequest::default()
        };
        messages
            .update_message(request)
            .await
            .expect("it is updated")
            .into_inner()
            .message
            .expect("always set")
            .status()
    };
    assert_eq!(set(MessageStatus::Read, None).await, MessageStatus::Read);
    assert_eq!(
        set(MessageStatus::Delivered, None).await,
        MessageStatus::Read,
        "delivered after read is ignored"
    );
    assert_eq!(
        set(MessageStatus::Failed, Some("no such number")).await,
        MessageStatus::Read,
        "so is failed after read"
    );

    let request = DeleteMessageRequest {
        account_id: 1,
        conversation_id: conversation,
        message_id: said.id,
        ..DeleteMessageRequest::default()
    };
    let deleted = fixture
        .clients
        .messages
        .clone()
        .delete_message(request)
        .await
        .expect("it is deleted")
        .into_inner()
        .message;
    let deleted = deleted.expect("always set");
    assert_eq!((deleted.id, deleted.number), (said.id, said.number), "it keeps its place");
    assert_ne!(deleted.content, said.content);
    let log = whole_log(&fixture.clients, 1).await;
    let updates = log
        .iter()
        .map(event)
        .filter(|event| event.kind() == EventKind::MessageUpdated)
        .count();
    assert_eq!(updates, 2, "read, deleted; what changed nothing left no event");
}
