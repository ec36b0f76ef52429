//! The first message of a new conversation is validated like every other message.

use parley_proto::{
    self as pb, ApiChannel, ConversationStatus, CreateConversationRequest, CreateInboxRequest, Inbox, MessageDraft, ReportPresenceRequest,
    Role, UpdateConversationStatusRequest, inbox::Channel, presence_service_client::PresenceServiceClient,
};
use prost_types::{Struct, Value, value::Kind};
use tonic::{Code, Status};

use crate::support::{
    api_fixture::{ApiFixture, Person, incoming},
    app::TestApp,
    database::Backend,
    fault::{assert_refused, fault},
    office::{set_members, worker},
    on_both,
    reader::log_info,
};

on_both!(
    first_message_respects_a_unique_source_id,
    first_message_cannot_reply_to_another_conversation,
    first_message_counts_against_the_conversation_limit,
    first_message_that_reopens_a_conversation_assigns_an_agent
);

/// Creates a conversation of a session with a first message.
async fn begin(fixture: &ApiFixture, person: &Person, message: MessageDraft) -> Result<pb::CreateConversationResponse, Status> {
    let request = CreateConversationRequest {
        account_id: 1,
        inbox_id: Some(fixture.inbox),
        contact_id: Some(person.contact),
        source_id: Some(person.source.clone()),
        message: Some(message),
        ..CreateConversationRequest::default()
    };
    let made = fixture.clients.conversations.clone().create_conversation(request).await?;
    Ok(made.into_inner())
}

async fn locked(app: &TestApp, assigns: bool) -> ApiFixture {
    let request = CreateInboxRequest {
        account_id: 1,
        inbox: Some(Inbox {
            name: "Locked".to_owned(),
            lock_to_single_conversation: true,
            enable_auto_assignment: assigns,
            channel: Some(Channel::ApiChannel(ApiChannel::default())),
            ..Inbox::default()
        }),
        ..CreateInboxRequest::default()
    };
    let made = app.clients().inboxes.create_inbox(request).await.expect("made").into_inner();
    ApiFixture::new(app.clients(), 1, made.inbox.expect("always set").id)
}

async fn first_message_respects_a_unique_source_id(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let person = fixture.person("Asha").await;
    let unique = MessageDraft {
        source_id: Some("mail-7".to_owned()),
        unique_source_id: true,
        ..incoming("once")
    };
    let made = begin(&fixture, &person, unique.clone()).await.expect("the first");
    let head = log_info(&fixture.clients, 1).await.head_seq;
    let refused = begin(&fixture, &person, unique).await;
    let told = assert_refused(refused, Code::AlreadyExists, "ALREADY_TAKEN");
    assert!(told.fields.contains("message.source_id: TAKEN"), "{told:?}");
    assert_eq!(told.metadata["existing_id"], made.message.expect("a message").id.to_string());
    assert_eq!(log_info(&fixture.clients, 1).await.head_seq, head, "nothing of it was stored");
}

async fn first_message_cannot_reply_to_another_conversation(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let elsewhere = fixture.talk().await;
    let foreign = fixture.hear(elsewhere, "not yours").await.id;
    let number = Value {
        kind: Some(Kind::NumberValue(f64::from(i32::try_from(foreign).expect("small")))),
    };
    let reply = MessageDraft {
        content_attributes: Some(Struct {
            fields: [("in_reply_to".to_owned(), number)].into(),
        }),
        ..incoming("a reply")
    };
    let person = fixture.person("Bruno").await;
    let made = begin(&fixture, &person, reply).await.expect("made").message.expect("a message");
    let attributes = made.content_attributes.expect("some").fields;
    for key in ["in_reply_to", "in_reply_to_external_id"] {
        assert_eq!(attributes[key].kind, Some(Kind::NullValue(0)), "{key}");
    }
}

async fn first_message_counts_against_the_conversation_limit(backend: Backend) {
    let app = TestApp::builder(backend)
        .env("PARLEY_LIMITS_MESSAGES_PER_CONVERSATION_PER_MINUTE", "3")
        .start()
        .await;
    let fixture = locked(&app, false).await;
    let person = fixture.person("Asha").await;
    for index in 0..3 {
        begin(&fixture, &person, incoming(&format!("message {index}")))
            .await
            .expect("taken");
    }
    let refused = begin(&fixture, &person, incoming("one too many")).await.expect_err("a flood");
    assert_eq!(
        (refused.code(), fault(&refused).reason.as_str()),
        (Code::ResourceExhausted, "RATE_LIMITED")
    );
}

async fn first_message_that_reopens_a_conversation_assigns_an_agent(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let fixture = locked(&app, true).await;
    let agent = worker(&app, 1, Role::Agent, "Ravi").await;
    set_members(&app.clients(), 1, fixture.inbox, &[agent.user]).await;
    let person = fixture.person("Asha").await;
    let conversation = fixture.conversation(&person).await;
    assert_eq!(conversation.assignee, None, "nobody is there");
    let resolved = UpdateConversationStatusRequest {
        account_id: 1,
        conversation_id: conversation.id,
        status: ConversationStatus::Resolved.into(),
        ..UpdateConversationStatusRequest::default()
    };
    fixture
        .clients
        .conversations
        .clone()
        .update_conversation_status(resolved)
        .await
        .expect("resolved");
    let here = ReportPresenceRequest {
        account_id: 1,
        ..ReportPresenceRequest::default()
    };
    PresenceServiceClient::new(agent.clients.service.clone())
        .report_presence(here)
        .await
        .expect("presence is noted");
    let opened = begin(&fixture, &person, incoming("again")).await.expect("made");
    let opened = opened.conversation.expect("always set");
    assert_eq!(
        (opened.id, opened.status(), opened.assignee.map(|assignee| assignee.id)),
        (conversation.id, ConversationStatus::Open, Some(agent.user))
    );
}
