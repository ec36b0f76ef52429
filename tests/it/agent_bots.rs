//! Agent bots: managing them, what they may call, and how an inbox with a bot behaves.

use parley_proto::{
    AgentBot, ConversationStatus, CreateAgentBotRequest, CreateTokenRequest, DeleteAgentBotRequest, EventFilter, EventKind,
    GetAgentBotRequest, GetConversationRequest, GetInboxAgentBotRequest, ListAgentBotsRequest, MessageDraft, SenderType,
    SetInboxAgentBotRequest, TokenKind, UpdateAgentBotRequest, UpdateConversationStatusRequest, subscribe_request::Start,
};
use prost_types::FieldMask;
use serde_json::json;
use tonic::Code;

use crate::support::{
    api_fixture::{ApiFixture, outgoing},
    app::TestApp,
    clients::Clients,
    consumer::{Session, plenty},
    database::Backend,
    fault::{assert_bad_fields, assert_refused},
    office::inbox,
    office::other_account,
    on_both,
    reader::{Reader, event, everything, filtered, log_info, whole_log},
};

on_both!(
    account_manages_its_own_bots,
    only_the_operator_manages_installation_wide_bots,
    bot_may_make_only_some_calls,
    bot_receives_validation_errors,
    conversations_start_pending_in_an_inbox_with_a_bot,
    message_can_be_sent_on_behalf_of_a_bot,
    deleting_a_bot_disconnects_it_from_its_inboxes,
    bot_receives_events_of_its_inboxes_only,
    bot_may_open_only_its_own_consumer
);

/// Creates a bot.
pub async fn bot(clients: &Clients, account_id: Option<i64>, name: &str) -> AgentBot {
    let request = CreateAgentBotRequest {
        account_id,
        name: name.to_owned(),
        ..CreateAgentBotRequest::default()
    };
    let answer = clients.agent_bots.clone().create_agent_bot(request).await.expect("the bot is made");
    answer.into_inner().agent_bot.expect("always set")
}

/// Connects a bot to an inbox, or disconnects it.
pub async fn connect(clients: &Clients, inbox_id: i64, agent_bot_id: Option<i64>) {
    let request = SetInboxAgentBotRequest {
        account_id: 1,
        inbox_id,
        agent_bot_id,
        ..SetInboxAgentBotRequest::default()
    };
    clients
        .agent_bots
        .clone()
        .set_inbox_agent_bot(request)
        .await
        .expect("the bot is set");
}

async fn token(clients: &Clients, bot: i64) -> String {
    let request = CreateTokenRequest {
        kind: TokenKind::AgentBot.into(),
        agent_bot_id: Some(bot),
        ..CreateTokenRequest::default()
    };
    let answer = clients.accounts.clone().create_token(request).await.expect("the token is made");
    answer.into_inner().secret
}

async fn account_manages_its_own_bots(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let clients = app.clients();
    let mut bots = clients.agent_bots.clone();
    let made = bot(&clients, Some(1), "Order bot").await;
    assert_eq!((made.account_id, made.name.as_str()), (Some(1), "Order bot"));
    let request = UpdateAgentBotRequest {
        account_id: Some(1),
        agent_bot: Some(AgentBot {
            id: made.id,
            name: "Helper".to_owned(),
            ..AgentBot::default()
        }),
        update_mask: Some(FieldMask {
            paths: vec!["name".to_owned()],
        }),
        ..UpdateAgentBotRequest::default()
    };
    let changed = bots.update_agent_bot(request).await.expect("it changes").into_inner();
    assert_eq!(changed.agent_bot.expect("always set").name, "Helper");
    let bad = CreateAgentBotRequest {
        account_id: Some(1),
        outgoing_url: "nowhere".to_owned(),
        ..CreateAgentBotRequest::default()
    };
    let bad = bots.create_agent_bot(bad).await;
    assert_bad_fields(bad, &["name: REQUIRED", "outgoing_url: INVALID"]);
    let theirs = other_account(&app, "Theirs").await;
    let foreign = GetAgentBotRequest {
        account_id: Some(theirs.account),
        agent_bot_id: made.id,
    };
    let foreign = theirs.clients.agent_bots.clone().get_agent_bot(foreign).await;
    assert_refused(foreign, Code::NotFound, "NOT_FOUND");
    let kinds: Vec<EventKind> = whole_log(&clients, 1)
        .await
        .iter()
        .map(|event| event.event.as_ref().expect("always set").kind())
        .collect();
    assert_eq!(kinds, [EventKind::AgentBotCreated, EventKind::AgentBotUpdated]);
}

async fn only_the_operator_manages_installation_wide_bots(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let clients = app.clients();
    let made = bot(&app.platform(), None, "For all").await;
    let request = ListAgentBotsRequest {
        account_id: Some(1),
        ..ListAgentBotsRequest::default()
    };
    let listed = clients
        .agent_bots
        .clone()
        .list_agent_bots(request)
        .await
        .expect("listed")
        .into_inner();
    assert_eq!(listed.agent_bots, std::slice::from_ref(&made));
    let request = DeleteAgentBotRequest {
        account_id: Some(1),
        agent_bot_id: made.id,
        ..DeleteAgentBotRequest::default()
    };
    let refused = clients.agent_bots.clone().delete_agent_bot(request.clone()).await;
    assert_refused(refused, Code::PermissionDenied, "NOT_ALLOWED");
    connect(&clients, 1, Some(made.id)).await;
    let request = DeleteAgentBotRequest {
        account_id: None,
        ..request
    };
    app.platform().agent_bots.delete_agent_bot(request).await.expect("the operator may");
    let request = GetInboxAgentBotRequest {
        account_id: 1,
        inbox_id: 1,
    };
    let left = clients
        .agent_bots
        .clone()
        .get_inbox_agent_bot(request)
        .await
        .expect("it is read")
        .into_inner();
    assert_eq!(left.agent_bot, None);
}

async fn bot_may_make_only_some_calls(backend: Backend) {
    let app = TestApp::builder(backend).env("PARLEY_AUTH_CACHE_SECONDS", "0").start().await;
    let fixture = app.fixture();
    let made = bot(&fixture.clients, Some(1), "Helper").await;
    let conversation = fixture.talk().await;
    let machine = fixture.through(app.clients_with(&token(&fixture.clients, made.id).await));
    let outside = machine.send(conversation, outgoing("hello")).await;
    assert_refused(outside, Code::PermissionDenied, "BOT_NOT_CONNECTED");
    connect(&fixture.clients, 1, Some(made.id)).await;
    let said = machine.say(conversation, "hello").await;
    let sender = said.sender.expect("the bot");
    assert_eq!(
        (sender.r#type(), sender.id, sender.name.as_str()),
        (SenderType::AgentBot, made.id, "Helper")
    );
    let read = GetConversationRequest {
        account_id: 1,
        conversation_id: conversation,
    };
    let refused = machine.clients.conversations.clone().get_conversation(read).await;
    assert_refused(refused, Code::PermissionDenied, "WRONG_TOKEN_KIND");
    let seen = fixture
        .clients
        .conversations
        .clone()
        .get_conversation(read)
        .await
        .expect("it is read");
    let seen = seen.into_inner().conversation.expect("always set");
    assert!(
        seen.waiting_since.is_some() && seen.first_reply_created_at.is_none(),
        "a bot's answer is no reply"
    );
}

/// The REST gateway refuses some requests itself. A caller that may use the route receives the reason.
async fn bot_receives_validation_errors(backend: Backend) {
    let app = TestApp::builder(backend).env("PARLEY_AUTH_CACHE_SECONDS", "0").start().await;
    let fixture = app.fixture();
    let made = bot(&fixture.clients, Some(1), "Helper").await;
    let conversation = fixture.talk().await;
    let http = app.http().with_token(&token(&fixture.clients, made.id).await);
    let one = format!("/conversations/{conversation}");
    let error = |text: &str| (401, json!({ "error": text }));
    let bad = json!({"status": "closed"});
    assert_eq!(
        http.try_post(&format!("{one}/toggle_status"), &bad).await,
        error("Bot is not authorized to access this account")
    );
    connect(&fixture.clients, 1, Some(made.id)).await;
    for (path, body, status, told) in [
        (format!("{one}/toggle_status"), bad, 422, "is not a valid status"),
        (
            format!("{one}/toggle_priority"),
            json!({"priority": "none"}),
            422,
            "is not a valid priority",
        ),
        (format!("{one}/custom_attributes"), json!({}), 422, "custom_attributes"),
        (
            format!("{one}/messages"),
            json!({"content_type": "foo"}),
            422,
            "'foo' is not a valid content_type",
        ),
        (format!("{one}/assignments"), json!({}), 200, "null"),
        (
            "/conversations/99/assignments".to_owned(),
            json!({}),
            404,
            "Resource could not be found",
        ),
        (
            "/conversations".to_owned(),
            json!({"status": "closed"}),
            422,
            "is not a valid status",
        ),
    ] {
        let answer = http.try_post(&path, &body).await;
        assert!(answer.0 == status && answer.1.to_string().contains(told), "{path}: {answer:?}");
    }
    let path = format!("/api/v1/accounts/1{one}");
    let same = http.send("PATCH", &path, Some(&json!({}))).await;
    assert_eq!((same.status, &same.body["id"]), (200, &json!(conversation)), "{}", same.body);
    // Routes that bots may not call refuse them, whether or not the request is valid.
    let closed = error("Access to this endpoint is not authorized for bots");
    assert_eq!(http.ask(&one).await, closed);
    for path in ["/labels".to_owned(), format!("{one}/labels"), format!("{one}/participants")] {
        assert_eq!(http.try_post(&path, &json!({"labels": 1})).await, closed, "{path}");
    }
}

async fn conversations_start_pending_in_an_inbox_with_a_bot(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let made = bot(&fixture.clients, Some(1), "Helper").await;
    connect(&fixture.clients, 1, Some(made.id)).await;
    let person = fixture.person("Asha Rao").await;
    let conversation = fixture.conversation(&person).await;
    assert_eq!(conversation.status(), ConversationStatus::Pending);
    let resolve = UpdateConversationStatusRequest {
        account_id: 1,
        conversation_id: conversation.id,
        status: ConversationStatus::Resolved.into(),
        ..UpdateConversationStatusRequest::default()
    };
    let status = async || {
        let request = GetConversationRequest {
            account_id: 1,
            conversation_id: conversation.id,
        };
        let answer = fixture
            .clients
            .conversations
            .clone()
            .get_conversation(request)
            .await
            .expect("it is read");
        answer.into_inner().conversation.expect("always set").status()
    };
    let mut conversations = fixture.clients.conversations.clone();
    conversations
        .update_conversation_status(resolve.clone())
        .await
        .expect("it is resolved");
    fixture.hear(conversation.id, "one more thing").await;
    assert_eq!(status().await, ConversationStatus::Pending);
    connect(&fixture.clients, 1, None).await;
    conversations.update_conversation_status(resolve).await.expect("it is resolved");
    fixture.hear(conversation.id, "and another").await;
    assert_eq!(status().await, ConversationStatus::Open);
    // An activity message reports the reopened conversation, but not its return to the bot.
    let lines = whole_log(&fixture.clients, 1).await;
    let reopened = lines
        .iter()
        .filter(|line| format!("{line:?}").contains("System reopened") && event(line).kind() == EventKind::MessageCreated);
    assert_eq!(reopened.count(), 1);
}

async fn message_can_be_sent_on_behalf_of_a_bot(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let made = bot(&fixture.clients, Some(1), "Helper").await;
    let conversation = fixture.talk().await;
    let draft = |id| MessageDraft {
        agent_bot_id: Some(id),
        ..outgoing("in whose name?")
    };
    let (said, _) = fixture.sent(conversation, draft(made.id)).await;
    assert_eq!(said.sender.expect("the bot").r#type(), SenderType::AgentBot);
    let (said, _) = fixture.sent(conversation, draft(made.id + 1)).await;
    assert_eq!(said.sender.expect("the caller").r#type(), SenderType::User);
}

async fn deleting_a_bot_disconnects_it_from_its_inboxes(backend: Backend) {
    let app = TestApp::builder(backend).env("PARLEY_AUTH_CACHE_SECONDS", "0").start().await;
    let fixture = app.fixture();
    let made = bot(&fixture.clients, Some(1), "Helper").await;
    connect(&fixture.clients, 1, Some(made.id)).await;
    let conversation = fixture.talk().await;
    let machine = fixture.through(app.clients_with(&token(&fixture.clients, made.id).await));
    machine.say(conversation, "hello").await;
    let request = DeleteAgentBotRequest {
        account_id: Some(1),
        agent_bot_id: made.id,
        ..DeleteAgentBotRequest::default()
    };
    fixture
        .clients
        .agent_bots
        .clone()
        .delete_agent_bot(request)
        .await
        .expect("it is deleted");
    let refused = machine.send(conversation, outgoing("still here?")).await;
    assert_refused(refused, Code::Unauthenticated, "TOKEN_INVALID");
    let person = fixture.person("Ravi").await;
    assert_eq!(fixture.conversation(&person).await.status(), ConversationStatus::Open);
}

/// A bot that is connected to the first of two inboxes. Both inboxes have conversations, and the account has events that belong to no
/// inbox. Returns the bot's clients and its id.
pub async fn connected(app: &TestApp) -> (Clients, i64) {
    let fixture = app.fixture();
    let made = bot(&fixture.clients, Some(1), "Helper").await;
    connect(&fixture.clients, 1, Some(made.id)).await;
    let talk = fixture.talk().await;
    fixture.hear(talk, "in the inbox of the bot").await;
    let other = inbox(&fixture.clients, 1, "Not the bot's").await;
    let elsewhere = ApiFixture::new(fixture.clients.clone(), 1, other);
    let talk = elsewhere.talk().await;
    elsewhere.hear(talk, "somewhere else").await;
    app.http().post("/labels", &json!({"title": "vip"})).await;
    (app.clients_with(&token(&fixture.clients, made.id).await), made.id)
}

/// The sequence numbers of the events of the first inbox, as received by an administrator who filters for that inbox.
async fn of_its_inbox(app: &TestApp) -> Vec<u64> {
    let clients = app.clients();
    let filter = EventFilter {
        inbox_ids: vec![1],
        ..EventFilter::default()
    };
    let head = log_info(&clients, 1).await.head_seq;
    let mut reader = Reader::open(&clients, filtered(1, Start::Earliest(()), filter)).await;
    reader.until(head).await.iter().map(|delivery| event(delivery).seq).collect()
}

async fn bot_receives_events_of_its_inboxes_only(backend: Backend) {
    for switch in ["", "bot_scope"] {
        let app = TestApp::builder(backend).env("PARLEY_FAULT_SWITCH", switch).start().await;
        let (machine, _) = connected(&app).await;
        let head = log_info(&machine, 1).await.head_seq;
        let all = whole_log(&app.clients(), 1).await;
        let own = of_its_inbox(&app).await;
        assert!(own.len() < all.len());
        let mut reader = Reader::open(&machine, everything(1, Start::Earliest(()))).await;
        let received: Vec<u64> = reader.until(head).await.iter().map(|delivery| event(delivery).seq).collect();
        if switch.is_empty() {
            assert_eq!(received, own);
        } else {
            assert!(received.len() > own.len(), "without the protection it receives more");
        }
    }
}

async fn bot_may_open_only_its_own_consumer(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (machine, id) = connected(&app).await;
    let refused = Session::try_open(&machine, plenty(1, "worker")).await;
    assert_bad_fields(refused, &["open.consumer: INVALID"]);
    let mut session = Session::open(&machine, plenty(1, &format!("agent_bot/{id}"))).await;
    let first = session.next().await;
    assert_eq!(event(&first).seq, of_its_inbox(&app).await[0]);
}
