//! Changes of conversations: status, priority, assignee, labels, read state, typing.

use parley_proto::{
    Conversation, ConversationPriority, ConversationStatus, EventKind, GetConversationRequest, MarkConversationSeenRequest,
    SetTypingRequest, SubscribeRequest, UpdateConversationAssigneeRequest, UpdateConversationLabelsRequest,
    UpdateConversationPriorityRequest, UpdateConversationStatusRequest,
};
use tonic::Code;

use crate::support::{
    api_fixture::ApiFixture,
    app::TestApp,
    database::Backend,
    fault::assert_refused,
    in_time, on_both,
    reader::{event, log_info, whole_log},
};

on_both!(
    incoming_message_reopens_a_conversation,
    changes_leave_activity_messages,
    marking_as_seen_resets_the_unread_count,
    typing_is_published_but_not_stored
);

async fn get(fixture: &ApiFixture, conversation_id: i64) -> Conversation {
    let request = GetConversationRequest {
        account_id: 1,
        conversation_id,
    };
    let answer = fixture
        .clients
        .conversations
        .clone()
        .get_conversation(request)
        .await
        .expect("it is there");
    answer.into_inner().conversation.expect("always set")
}

async fn resolve(fixture: &ApiFixture, conversation_id: i64) -> Conversation {
    let request = UpdateConversationStatusRequest {
        account_id: 1,
        conversation_id,
        status: ConversationStatus::Resolved.into(),
        ..UpdateConversationStatusRequest::default()
    };
    let answer = fixture
        .clients
        .conversations
        .clone()
        .update_conversation_status(request)
        .await
        .expect("it is resolved");
    answer.into_inner().conversation.expect("always set")
}

async fn incoming_message_reopens_a_conversation(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    assert_eq!(resolve(&fixture, conversation).await.status(), ConversationStatus::Resolved);
    fixture.say(conversation, "anything else?").await;
    assert_eq!(
        get(&fixture, conversation).await.status(),
        ConversationStatus::Resolved,
        "an agent's word does not"
    );
    fixture.hear(conversation, "yes").await;
    assert_eq!(get(&fixture, conversation).await.status(), ConversationStatus::Open);
    let log = whole_log(&fixture.clients, 1).await;
    let changes = log
        .iter()
        .map(event)
        .filter(|event| event.kind() == EventKind::ConversationStatusChanged)
        .count();
    assert_eq!(changes, 2, "resolved, and opened again");
}

async fn changes_leave_activity_messages(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation_id = fixture.talk().await;
    let mut conversations = fixture.clients.conversations.clone();
    let priority = UpdateConversationPriorityRequest {
        account_id: 1,
        conversation_id,
        priority: ConversationPriority::Urgent.into(),
        ..UpdateConversationPriorityRequest::default()
    };
    conversations
        .update_conversation_priority(priority.clone())
        .await
        .expect("the priority changes");
    let assignee = UpdateConversationAssigneeRequest {
        account_id: 1,
        conversation_id,
        assignee_id: Some(1),
        ..UpdateConversationAssigneeRequest::default()
    };
    conversations
        .update_conversation_assignee(assignee.clone())
        .await
        .expect("the assignee changes");
    let labels = UpdateConversationLabelsRequest {
        account_id: 1,
        conversation_id,
        labels: vec![" billing ".to_owned(), "vip".to_owned(), "vip".to_owned()],
        ..UpdateConversationLabelsRequest::default()
    };
    conversations
        .update_conversation_labels(labels.clone())
        .await
        .expect("the labels change");
    let resolved = resolve(&fixture, conversation_id).await;
    assert_eq!(resolved.labels, ["billing", "vip"], "trimmed, each once");
    assert_eq!(
        (resolved.priority(), resolved.assignee.map(|agent| agent.id)),
        (ConversationPriority::Urgent, Some(1))
    );

    let head = log_info(&fixture.clients, 1).await.head_seq;
    conversations.update_conversation_priority(priority).await.expect("it stays");
    conversations
        .update_conversation_assignee(assignee.clone())
        .await
        .expect("it stays");
    conversations.update_conversation_labels(labels).await.expect("they stay");
    resolve(&fixture, conversation_id).await;
    assert_eq!(
        log_info(&fixture.clients, 1).await.head_seq,
        head,
        "what stays leaves no event and no line"
    );

    let nobody = UpdateConversationAssigneeRequest {
        assignee_id: Some(999),
        ..assignee
    };
    let fault = assert_refused(
        conversations.update_conversation_assignee(nobody).await,
        Code::InvalidArgument,
        "INVALID_FIELD",
    );
    assert!(fault.fields.contains("assignee_id: UNKNOWN"), "{fault:?}");
    let log = whole_log(&fixture.clients, 1).await;
    crate::support::chain::assert_whole_writes(&log);
    let lines = log
        .iter()
        .map(event)
        .filter(|event| event.kind() == EventKind::MessageCreated)
        .count();
    assert!(lines >= 4, "a line for priority, assignee, labels and status, not {lines}");
    let changed = log
        .iter()
        .map(event)
        .filter(|event| event.kind() == EventKind::AssigneeChanged)
        .count();
    assert_eq!(changed, 1);
}

async fn marking_as_seen_resets_the_unread_count(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation_id = fixture.talk().await;
    for _ in 0..12 {
        fixture.hear(conversation_id, "hello?").await;
    }
    assert_eq!(get(&fixture, conversation_id).await.unread_count, 12, "not capped here");
    let request = MarkConversationSeenRequest {
        account_id: 1,
        conversation_id,
        ..MarkConversationSeenRequest::default()
    };
    let seen = fixture
        .clients
        .conversations
        .clone()
        .mark_conversation_seen(request)
        .await
        .expect("it is seen")
        .into_inner();
    let seen = seen.conversation.expect("always set");
    assert_eq!(seen.unread_count, 0);
    assert!(seen.agent_last_seen_at.is_some());
    fixture.hear(conversation_id, "one more").await;
    assert_eq!(get(&fixture, conversation_id).await.unread_count, 1);
}

async fn typing_is_published_but_not_stored(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation_id = fixture.talk().await;
    let head = log_info(&fixture.clients, 1).await;
    let request = SubscribeRequest {
        account_id: 1,
        ephemeral: true,
        ..SubscribeRequest::default()
    };
    let mut stream = fixture
        .clients
        .events
        .clone()
        .subscribe(request)
        .await
        .expect("the stream opens")
        .into_inner();
    // The first bookmark shows that the stream has reached the head, so it receives typing events from here on.
    let first = in_time("a bookmark", stream.message())
        .await
        .expect("the stream goes on")
        .expect("no end");
    assert!(first.bookmark.is_some(), "{first:?}");
    let typing = SetTypingRequest {
        account_id: 1,
        conversation_id,
        typing: true,
        ..SetTypingRequest::default()
    };
    let answer = fixture
        .clients
        .conversations
        .clone()
        .set_typing(typing)
        .await
        .expect("it is told")
        .into_inner();
    assert_eq!(answer.cursor, head.head_cursor, "typing leaves no event of its own");
    loop {
        let response = in_time("typing", stream.message())
            .await
            .expect("the stream goes on")
            .expect("no end");
        if let Some(told) = response.ephemeral.first() {
            assert_eq!(
                (told.kind_name.as_str(), told.conversation_id),
                ("conversation.typing_on", Some(conversation_id))
            );
            break;
        }
    }
    assert_eq!(log_info(&fixture.clients, 1).await.head_seq, head.head_seq);
}
