//! Shared conversations over the JSON API: assignments, participants, read state, and their responses.

use parley_proto::{
    CreateAgentBotRequest, CreateMembershipRequest, CreateTokenRequest, EventKind, ReportPresenceRequest, Role, SetInboxAgentBotRequest,
    TokenKind, presence_service_client::PresenceServiceClient,
};
use reqwest::Method;
use serde_json::{Value as Json, json};

use crate::support::{
    app::TestApp,
    database::Backend,
    office::{other_account, set_members, worker},
    on_both,
    reader::{event, whole_log},
};

on_both!(
    assignments_return_the_agent_or_null,
    participants_are_returned_as_agents,
    read_state_calls_respond_as_documented,
    snoozing_and_hand_off_are_distinguished,
    profile_contains_availability_and_active_account,
    online_contacts_are_listed
);

/// Sends a request. Returns the status and the body, which is null if empty.
async fn send(app: &TestApp, method: Method, path: &str, body: Option<Json>) -> (u16, Json) {
    let path = format!("/api/v1/accounts/1{path}");
    let answer = app.http().send(method.as_str(), &path, body.as_ref()).await;
    (answer.status, answer.body)
}

async fn post(app: &TestApp, path: &str, body: Json) -> (u16, Json) {
    send(app, Method::POST, path, Some(body)).await
}

fn ids(agents: &Json) -> Vec<i64> {
    let agents = agents.as_array().expect("an array, not wrapped");
    agents.iter().map(|agent| agent["id"].as_i64().expect("an id")).collect()
}

async fn assignments_return_the_agent_or_null(backend: Backend) {
    let app = TestApp::start(backend).await;
    let id = app.fixture().talk().await;
    let path = format!("/conversations/{id}/assignments");
    let (status, agent) = post(&app, &path, json!({"assignee_id": 1})).await;
    assert_eq!((status, &agent["id"], &agent["role"]), (200, &json!(1), &json!("administrator")));
    for nobody in [json!(999), json!(0), Json::Null] {
        post(&app, &path, json!({"assignee_id": 1})).await;
        assert_eq!(
            post(&app, &path, json!({ "assignee_id": nobody })).await,
            (200, Json::Null),
            "{nobody}"
        );
        let (_, conversation) = send(&app, Method::GET, &format!("/conversations/{id}"), None).await;
        assert_eq!(conversation["meta"].get("assignee"), None, "{nobody} unassigns");
    }
    assert_eq!(post(&app, &path, json!({})).await, (200, Json::Null));
    assert_eq!(post(&app, "/conversations/999/assignments", json!({"assignee_id": 1})).await.0, 404);
}

async fn participants_are_returned_as_agents(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let fixture = app.fixture();
    let (inside, outside) = (
        worker(&app, 1, Role::Agent, "Ana").await.user,
        worker(&app, 1, Role::Agent, "Bea").await.user,
    );
    set_members(&fixture.clients, 1, 1, &[inside]).await;
    let path = format!("/conversations/{}/participants", fixture.talk().await);
    let (status, added) = post(&app, &path, json!({"user_ids": [inside, 1]})).await;
    assert_eq!((status, ids(&added)), (200, vec![1, inside]));
    let (status, added) = post(&app, &path, json!({"user_ids": [inside]})).await;
    assert_eq!((status, added), (200, json!([])), "only those who are new");
    assert_eq!(post(&app, &path, json!({"user_ids": [999]})).await.0, 422);
    let (status, refused) = post(&app, &path, json!({})).await;
    assert_eq!(
        (status, &refused["error"]),
        (422, &json!("param is missing or the value is empty: user_ids"))
    );
    let (status, set) = send(&app, Method::PATCH, &path, Some(json!({"user_ids": [inside.to_string(), outside]}))).await;
    assert_eq!((status, ids(&set)), (200, vec![inside]), "who has no access is left out");
    let (status, body) = send(&app, Method::DELETE, &path, Some(json!({"user_ids": [inside]}))).await;
    assert_eq!((status, body), (200, Json::Null));
    assert_eq!(send(&app, Method::GET, &path, None).await, (200, json!([])));
}

async fn read_state_calls_respond_as_documented(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let id = fixture.talk().await;
    fixture.hear(id, "hello").await;
    let one = |path: &str| format!("/conversations/{id}{path}");
    post(&app, &one("/update_last_seen"), json!({})).await;
    let (status, unread) = post(&app, &one("/unread"), json!({})).await;
    assert_eq!((status, &unread["unread_count"], &unread["id"]), (200, &json!(1), &json!(id)));
    assert_eq!(post(&app, &one("/mute"), json!({})).await, (200, Json::Null));
    let (_, muted) = send(&app, Method::GET, &one(""), None).await;
    assert_eq!((&muted["muted"], &muted["status"]), (&json!(true), &json!("resolved")));
    assert_eq!(post(&app, &one("/unmute"), json!({})).await, (200, Json::Null));
    let attachments = send(&app, Method::GET, &one("/attachments"), None).await;
    assert_eq!(attachments, (200, json!({"meta": {"total_count": 0}, "payload": []})));
    for kind in ["mention", "participating"] {
        let (status, list) = send(
            &app,
            Method::GET,
            &format!("/conversations?status=all&conversation_type={kind}"),
            None,
        )
        .await;
        assert_eq!((status, &list["data"]["meta"]["all_count"]), (200, &json!(0)), "{kind}");
    }
    assert_eq!(send(&app, Method::DELETE, &one(""), None).await, (200, Json::Null));
    for (method, path) in [
        (Method::GET, one("")),
        (Method::POST, one("/mute")),
        (Method::POST, one("/unread")),
        (Method::GET, one("/attachments")),
        (Method::GET, one("/participants")),
        (Method::DELETE, one("")),
    ] {
        let (status, body) = send(&app, method.clone(), &path, None).await;
        assert_eq!(
            (status, &body["error"]),
            (404, &json!("Resource could not be found")),
            "{method} {path}"
        );
    }
}

async fn snoozing_and_hand_off_are_distinguished(backend: Backend) {
    let app = TestApp::start(backend).await;
    let id = app.fixture().talk().await;
    let path = format!("/conversations/{id}/toggle_status");
    let (status, snoozed) = post(&app, &path, json!({"status": "snoozed", "snoozed_until": 4_102_444_800_i64})).await;
    assert_eq!(status, 200, "{snoozed}");
    assert_eq!(
        snoozed,
        json!({"payload": {"success": true, "conversation_id": id, "current_status": "snoozed",
            "snoozed_until": "2100-01-01T00:00:00.000Z"}})
    );
    let (_, opened) = post(&app, &path, json!({})).await;
    assert_eq!(
        (&opened["payload"]["current_status"], &opened["payload"]["snoozed_until"]),
        (&json!("open"), &Json::Null)
    );
    let clients = app.clients();
    let bot = CreateAgentBotRequest {
        account_id: Some(1),
        name: "Helper".to_owned(),
        ..CreateAgentBotRequest::default()
    };
    let bot = clients
        .agent_bots
        .clone()
        .create_agent_bot(bot)
        .await
        .expect("the bot is made")
        .into_inner();
    let agent_bot_id = bot.agent_bot.map(|bot| bot.id);
    let connect = SetInboxAgentBotRequest {
        account_id: 1,
        inbox_id: 1,
        agent_bot_id,
        ..SetInboxAgentBotRequest::default()
    };
    clients
        .agent_bots
        .clone()
        .set_inbox_agent_bot(connect)
        .await
        .expect("the bot is set");
    let token = CreateTokenRequest {
        kind: TokenKind::AgentBot.into(),
        agent_bot_id,
        ..CreateTokenRequest::default()
    };
    let token = clients
        .accounts
        .clone()
        .create_token(token)
        .await
        .expect("the token is made")
        .into_inner();
    let pending = app.fixture().talk().await;
    let path = format!("/api/v1/accounts/1/conversations/{pending}/toggle_status");
    let bot = app.http().with_token(&token.secret);
    let handed = bot.send("POST", &path, Some(&json!({"status": "open"}))).await;
    assert_eq!(
        handed.body,
        json!({"payload": {"success": null, "conversation_id": pending, "current_status": "open", "snoozed_until": null}})
    );
    let log = whole_log(&clients, 1).await;
    assert!(
        log.iter()
            .any(|delivery| event(delivery).kind() == EventKind::ConversationBotHandoff)
    );
}

async fn online_contacts_are_listed(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let (there, away) = (fixture.person("aNA").await, fixture.person("Bea").await);
    let none = send(&app, Method::GET, "/contacts/active", None).await.1;
    assert_eq!((&none["meta"]["count"], &none["payload"]), (&json!(0), &json!([])));
    let report = ReportPresenceRequest {
        account_id: 1,
        contact_id: Some(there.contact),
        ..ReportPresenceRequest::default()
    };
    let mut presence = PresenceServiceClient::new(fixture.clients.service.clone());
    presence.report_presence(report).await.expect("presence is noted");
    let (status, active) = send(&app, Method::GET, "/contacts/active", None).await;
    assert_eq!((status, ids(&active["payload"])), (200, vec![there.contact]), "{active}");
    assert_eq!(active["payload"][0]["availability_status"], "online");
    let refused = send(&app, Method::DELETE, &format!("/contacts/{}", there.contact), None).await;
    assert_eq!(refused, (422, json!({"message": "Ana is Online, please try again later"})));
    let gone = send(&app, Method::DELETE, &format!("/contacts/{}", away.contact), None).await;
    assert_eq!(gone, (200, Json::Null));
}

async fn profile_contains_availability_and_active_account(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let other = other_account(&app, "Another").await;
    let request = CreateMembershipRequest {
        account_id: other.account,
        user_id: 1,
        role: Role::Agent.into(),
        ..CreateMembershipRequest::default()
    };
    app.platform().accounts.create_membership(request).await.expect("a member");
    let profile = async || app.http().send("GET", "/api/v1/profile", None).await.body;
    let before = profile().await;
    assert_eq!(
        (&before["account_id"], &before["accounts"][0]["availability_status"]),
        (&json!(1), &json!("offline"))
    );
    let mut presence = PresenceServiceClient::new(app.clients().service.clone());
    let report = ReportPresenceRequest {
        account_id: 1,
        ..ReportPresenceRequest::default()
    };
    presence.report_presence(report).await.expect("presence is noted");
    // An account that was never active sorts first, as in Chatwoot.
    let after = profile().await;
    assert_eq!((&after["account_id"], &after["role"]), (&json!(other.account), &json!("agent")));
    let told: Vec<_> = ["availability_status", "active_at"]
        .map(|key| after["accounts"][1][key].clone())
        .into();
    assert_eq!(told[0], "online");
    assert!(told[1].is_string(), "{after}");
    let listed = app.http().ask("/agents").await.1;
    assert_eq!(listed[0]["availability_status"], "online");
}
