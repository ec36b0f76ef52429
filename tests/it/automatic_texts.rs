//! Liquid templates in messages, the messages that Parley sends itself (greeting, out of office, survey), and the read status after a
//! contact views a conversation.

use parley_proto::{
    ContentType, ConversationStatus, EventKind, Inbox, ListMessagesRequest, MarkConversationSeenRequest, Message, MessageDraft,
    MessageStatus, MessageType, RetryMessageRequest, UpdateConversationLabelsRequest, UpdateConversationStatusRequest, UpdateInboxRequest,
    UpdateMessageRequest, WorkingHours,
};
use prost_types::FieldMask;
use serde_json::json;
use tonic::Code;

use crate::support::{
    api_fixture::{ApiFixture, incoming, note, outgoing},
    app::TestApp,
    database::Backend,
    fault::assert_refused,
    on_both,
    reader::{event, whole_log},
};

on_both!(
    templates_in_outgoing_messages_are_rendered,
    new_contact_is_greeted_once,
    out_of_office_message_is_sent_once_a_day,
    survey_follows_the_first_resolution,
    messages_seen_by_the_contact_are_marked_as_read,
    automated_messages_do_not_count_as_a_reply,
    failed_message_can_be_retried
);

async fn templates_in_outgoing_messages_are_rendered(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let text = "Dear {{contact.first_name}}, #{{conversation.display_id}}: `{{contact.name}}`{{contact.custom_attribute.plan}}";
    let said = fixture.say(conversation, text).await;
    let wanted = format!("Dear Asha, #{conversation}: `{{{{contact.name}}}}`");
    assert_eq!(said.content.as_deref(), Some(wanted.as_str()));
    let broken = fixture.say(conversation, "Dear {{contact.name").await;
    assert_eq!(broken.content.as_deref(), Some("Dear {{contact.name"));
    let heard = fixture.hear(conversation, "{{contact.name}}").await;
    assert_eq!(
        heard.content.as_deref(),
        Some("{{contact.name}}"),
        "only what is said to the contact is a template"
    );
}

async fn set(fixture: &ApiFixture, inbox: Inbox, paths: &[&str]) {
    let request = UpdateInboxRequest {
        account_id: 1,
        inbox: Some(Inbox {
            id: fixture.inbox,
            ..inbox
        }),
        update_mask: Some(FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }),
        ..UpdateInboxRequest::default()
    };
    fixture
        .clients
        .inboxes
        .clone()
        .update_inbox(request)
        .await
        .expect("the inbox is changed");
}

async fn messages(fixture: &ApiFixture, conversation_id: i64) -> Vec<Message> {
    let request = ListMessagesRequest {
        account_id: 1,
        conversation_id,
        page_size: 100,
        ..ListMessagesRequest::default()
    };
    let answer = fixture
        .clients
        .messages
        .clone()
        .list_messages(request)
        .await
        .expect("they are there");
    answer.into_inner().messages
}

async fn templates(fixture: &ApiFixture, conversation: i64) -> Vec<String> {
    let all = messages(fixture, conversation).await.into_iter();
    let templates = all.filter(|message| message.r#type() == MessageType::Template);
    templates.filter_map(|message| message.content).collect()
}

async fn new_contact_is_greeted_once(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let inbox = Inbox {
        greeting_enabled: true,
        greeting_message: Some("Hello {{contact.first_name}}".to_owned()),
        ..Inbox::default()
    };
    set(&fixture, inbox, &["greeting_enabled", "greeting_message"]).await;
    let conversation = fixture.talk().await;
    fixture.hear(conversation, "one").await;
    fixture.hear(conversation, "two").await;
    assert_eq!(templates(&fixture, conversation).await, ["Hello Asha"]);
    let greeting = messages(&fixture, conversation).await.swap_remove(1);
    assert_eq!((greeting.r#type(), greeting.sender), (MessageType::Template, None));
    let log = whole_log(&fixture.clients, 1).await;
    let told = log.iter().filter(|frame| event(frame).kind() == EventKind::MessageCreated);
    assert_eq!(told.count(), 3, "the greeting is told as any message");
    let answered = fixture.talk().await;
    fixture.sent(answered, note("a note is no answer")).await;
    fixture.say(answered, "May I help?").await;
    fixture.hear(answered, "yes").await;
    assert!(templates(&fixture, answered).await.is_empty(), "who was spoken to is not greeted");
}

async fn out_of_office_message_is_sent_once_a_day(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let closed = |day_of_week| WorkingHours {
        day_of_week,
        closed_all_day: true,
        ..WorkingHours::default()
    };
    let inbox = Inbox {
        working_hours_enabled: true,
        working_hours: (0..7).map(closed).collect(),
        out_of_office_message: Some("We are out".to_owned()),
        greeting_enabled: true,
        greeting_message: Some("Hello".to_owned()),
        ..Inbox::default()
    };
    let paths = [
        "working_hours_enabled",
        "working_hours",
        "out_of_office_message",
        "greeting_enabled",
        "greeting_message",
    ];
    set(&fixture, inbox, &paths).await;
    let conversation = fixture.talk().await;
    fixture.hear(conversation, "anybody?").await;
    assert_eq!(templates(&fixture, conversation).await, ["We are out"], "in place of the greeting");
    let answered = fixture.talk().await;
    fixture.say(answered, "I am here").await;
    fixture.hear(answered, "good").await;
    assert!(templates(&fixture, answered).await.is_empty(), "an agent who just replied is there");
}

async fn resolve(fixture: &ApiFixture, conversation_id: i64, status: ConversationStatus) {
    let request = UpdateConversationStatusRequest {
        account_id: 1,
        conversation_id,
        status: status.into(),
        ..UpdateConversationStatusRequest::default()
    };
    let answer = fixture.clients.conversations.clone().update_conversation_status(request).await;
    answer.expect("the status is set");
}

async fn survey_follows_the_first_resolution(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let rules =
        json!({"message": "How was it?", "display_type": "star", "survey_rules": {"operator": "does_not_contain", "values": ["spam"]}});
    let inbox = Inbox {
        csat_survey_enabled: true,
        csat_config: parley_proto::value::structure(&rules),
        ..Inbox::default()
    };
    set(&fixture, inbox, &["csat_survey_enabled", "csat_config"]).await;
    let conversation = fixture.talk().await;
    fixture.hear(conversation, "thanks").await;
    for status in [ConversationStatus::Resolved, ConversationStatus::Open, ConversationStatus::Resolved] {
        resolve(&fixture, conversation, status).await;
    }
    assert_eq!(templates(&fixture, conversation).await, ["How was it?"]);
    let survey = messages(&fixture, conversation).await;
    let survey = survey
        .iter()
        .find(|message| message.content_type() == ContentType::InputCsat)
        .expect("it is a survey");
    let attributes = parley_proto::value::object(survey.content_attributes.as_ref().expect("they are there")).expect("an object");
    assert_eq!(json!(attributes), json!({"display_type": "star"}));

    let spam = fixture.talk().await;
    let request = UpdateConversationLabelsRequest {
        account_id: 1,
        conversation_id: spam,
        labels: vec!["spam".to_owned()],
        ..UpdateConversationLabelsRequest::default()
    };
    let labelled = fixture.clients.conversations.clone().update_conversation_labels(request).await;
    labelled.expect("the label is set");
    resolve(&fixture, spam, ConversationStatus::Resolved).await;
    assert!(templates(&fixture, spam).await.is_empty());
}

async fn messages_seen_by_the_contact_are_marked_as_read(backend: Backend) {
    use MessageStatus::{Read, Sent};
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    for draft in [incoming("a"), outgoing("b"), note("c"), outgoing("d")] {
        fixture.sent(conversation, draft).await;
    }
    let request = MarkConversationSeenRequest {
        account_id: 1,
        conversation_id: conversation,
        by_contact: true,
        ..MarkConversationSeenRequest::default()
    };
    let seen = fixture.clients.conversations.clone().mark_conversation_seen(request).await;
    seen.expect("the look is kept");
    let statuses: Vec<_> = messages(&fixture, conversation).await.iter().map(Message::status).collect();
    assert_eq!(statuses, [Sent, Read, Read, Read]);
    let log = whole_log(&fixture.clients, 1).await;
    let told = log.iter().filter(|frame| event(frame).kind() == EventKind::MessageUpdated);
    assert_eq!(told.count(), 3);
    // The copy cached by the writer shard is not stale.
    let next = fixture.say(conversation, "e").await;
    assert_eq!(next.number, 5);
}

async fn automated_messages_do_not_count_as_a_reply(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    fixture.hear(conversation, "is anybody there?").await;
    let http = app.http();
    let path = format!("/conversations/{conversation}/messages");
    let waits = async || {
        let (_, shown) = http.ask(&format!("/conversations/{conversation}")).await;
        (shown["waiting_since"] != 0, shown["first_reply_created_at"] != 0)
    };
    for by_itself in [
        json!({"content": "soon", "content_attributes": {"automation_rule_id": 7}}),
        json!({"content": "now cheaper", "campaign_id": 3}),
    ] {
        http.post(&path, &by_itself).await;
        assert_eq!(waits().await, (true, false), "{by_itself}");
    }
    http.post(
        &path,
        &json!({"content": "here I am", "content_attributes": {"automation_rule_id": null}}),
    )
    .await;
    assert_eq!(waits().await, (false, true));
}

async fn failed_message_can_be_retried(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let said = fixture.sent(conversation, MessageDraft { ..outgoing("a") }).await.0;
    let failed = UpdateMessageRequest {
        account_id: 1,
        conversation_id: conversation,
        message_id: said.id,
        status: MessageStatus::Failed.into(),
        external_error: Some("no network".to_owned()),
        ..UpdateMessageRequest::default()
    };
    let mut client = fixture.clients.messages.clone();
    client.update_message(failed).await.expect("the failure is kept");
    let again = RetryMessageRequest {
        account_id: 1,
        conversation_id: conversation,
        message_id: said.id,
        ..RetryMessageRequest::default()
    };
    let sent = client
        .retry_message(again.clone())
        .await
        .expect("it is sent again")
        .into_inner()
        .message;
    let sent = sent.expect("always set");
    assert_eq!(sent.status(), MessageStatus::Sent);
    assert!(sent.content_attributes.is_none_or(|attributes| attributes.fields.is_empty()));
    let unknown = RetryMessageRequest { message_id: 99, ..again };
    assert_refused(client.retry_message(unknown).await, Code::NotFound, "NOT_FOUND");
    let http = app.http();
    let path = format!("/conversations/{conversation}/messages");
    let (status, body) = http.try_post(&format!("{path}/{}/retry", said.id), &json!({})).await;
    assert_eq!(
        (status, &body["status"], &body["content_attributes"]),
        (200, &json!("sent"), &json!({}))
    );
    let (status, body) = http.try_post(&format!("{path}/99/retry"), &json!({})).await;
    assert_eq!((status, body), (422, json!({"error": "Couldn't find Message with 'id'=99"})));
    let (status, _) = http.try_post("/conversations/99/messages/1/retry", &json!({})).await;
    assert_eq!(status, 404);
}
