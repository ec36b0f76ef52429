//! Calls every route as each caller that may not use it.

use parley_proto::{CreateAgentBotRequest, CreateTokenRequest, Role, SetInboxAgentBotRequest, TokenKind};
use serde_json::{Value as Json, json};

use super::{body_schema, plain};
use crate::{
    roles::policy,
    support::{
        app::{PLATFORM, TestApp},
        database::Backend,
        http::Http,
        office::{other_account, worker},
        on_both,
    },
};

on_both!(every_route_refuses_unauthorized_callers);

/// The callers, each with a token of its kind.
struct Callers {
    nobody: Http,
    unknown: Http,
    stranger: Http,
    agent: Http,
    reader: Http,
    bot: Http,
    operator: Http,
}

async fn token(app: &TestApp, request: CreateTokenRequest) -> Http {
    let made = app
        .platform()
        .accounts
        .create_token(request)
        .await
        .expect("the token is made")
        .into_inner();
    app.http().with_token(&made.secret)
}

async fn callers(app: &TestApp) -> Callers {
    let of_user = |user| CreateTokenRequest {
        kind: TokenKind::User.into(),
        user_id: Some(user),
        ..CreateTokenRequest::default()
    };
    let bot = CreateAgentBotRequest {
        account_id: Some(1),
        name: "Helper".to_owned(),
        ..CreateAgentBotRequest::default()
    };
    let bot = app
        .platform()
        .agent_bots
        .create_agent_bot(bot)
        .await
        .expect("the bot is made")
        .into_inner();
    let bot = bot.agent_bot.expect("always set").id;
    let connect = SetInboxAgentBotRequest {
        account_id: 1,
        inbox_id: 1,
        agent_bot_id: Some(bot),
        inactive: true,
        ..SetInboxAgentBotRequest::default()
    };
    app.clients()
        .agent_bots
        .set_inbox_agent_bot(connect)
        .await
        .expect("the bot is connected");
    let of_bot = CreateTokenRequest {
        kind: TokenKind::AgentBot.into(),
        agent_bot_id: Some(bot),
        ..CreateTokenRequest::default()
    };
    let stranger = other_account(app, "Other").await;
    let strange = worker(app, stranger.account, Role::Administrator, "Stranger").await;
    let agent = worker(app, 1, Role::Agent, "Ola").await;
    let reader = CreateTokenRequest {
        read_only: true,
        ..of_user(1)
    };
    Callers {
        nobody: app.http().with_token(""),
        unknown: app.http().with_token("a-token-nobody-was-given"),
        stranger: token(app, of_user(strange.user)).await,
        agent: token(app, of_user(agent.user)).await,
        reader: token(app, reader).await,
        bot: token(app, of_bot).await,
        operator: app.http().with_token(PLATFORM),
    }
}

async fn every_route_refuses_unauthorized_callers(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let conversation = app.fixture().talk().await;
    app.fixture().hear(conversation, "hello").await;
    let callers = callers(&app).await;
    let http = app.http();
    for (path, body) in [
        ("/teams", json!({"name": "billing"})),
        ("/labels", json!({"title": "vip"})),
        ("/canned_responses", json!({"short_code": "hi", "content": "Hello"})),
        ("/contacts/1/notes", json!({"content": "called"})),
        (
            "/custom_attribute_definitions",
            json!({"attribute_display_name": "Plan", "attribute_key": "plan"}),
        ),
    ] {
        http.post(path, &body).await;
    }
    let attributes = json!({"custom_attributes": {"x": "there"}});
    http.send("PATCH", "/api/v1/accounts/1/contacts/1", Some(&attributes)).await;
    let document = http.description().await.document().clone();
    let (mut wrong, mut asked) = (Vec::new(), 0);
    for (method, path) in http.description().await.operations() {
        let operation = &document["paths"][&path][method.to_ascii_lowercase()];
        let (caller, writes) = (
            operation["x-parley-caller"].as_str().expect("it is told"),
            operation["x-parley-writes"] == true,
        );
        let body = Some(plain(body_schema(operation), &document["components"], method != "POST")).filter(Json::is_object);
        // With an empty body these routes do nothing, which any caller may do.
        let body = match path.rsplit('/').next() {
            Some("destroy_custom_attributes") => Some(json!({"custom_attributes": ["x"]})),
            Some("assignments") => Some(json!({"assignee_id": 1})),
            Some("toggle_typing_status") => Some(json!({"typing_status": "on"})),
            _ => body,
        };
        // All ids exist, so that no request is refused for another reason.
        let url: String = path
            .split('/')
            .map(|part| if part.starts_with('{') { "1" } else { part })
            .collect::<Vec<_>>()
            .join("/");
        let for_bots = operation["x-parley-rpc"].as_str().is_some_and(|rpc| policy::named(rpc).bots);
        for (who, http, answer) in expected(&callers, caller, writes, for_bots) {
            let answered = http.send(&method, &url, body.as_ref()).await;
            asked += 1;
            if (answered.status, &answered.body) != (401, &answer) {
                wrong.push(format!("{method} {path} by {who}: {} {}", answered.status, answered.body));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {asked} were answered otherwise:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(asked > 500, "only {asked} requests were made");
    // None of the requests had an effect.
    assert_eq!(
        http.send("GET", &format!("/api/v1/accounts/1/conversations/{conversation}"), None)
            .await
            .status,
        200
    );
}

/// The callers that a kind of route refuses, each with the expected response.
fn expected<'a>(callers: &'a Callers, caller: &str, writes: bool, for_bots: bool) -> Vec<(&'static str, &'a Http, Json)> {
    let error = |text: &str| json!({ "error": text });
    let (bots, role) = (
        error("Access to this endpoint is not authorized for bots"),
        error("You are not authorized to do this action"),
    );
    let everyone = json!({"errors": ["You need to sign in or sign up before continuing."]});
    let mut all = match caller {
        "platform" => {
            let text = error("Invalid access_token");
            let others = [
                ("nobody", &callers.nobody),
                ("somebody unknown", &callers.unknown),
                ("a stranger", &callers.stranger),
                ("an agent", &callers.agent),
                ("a bot", &callers.bot),
            ];
            return others.into_iter().map(|(who, http)| (who, http, text.clone())).collect();
        }
        "anyone" => return Vec::new(),
        _ => vec![
            ("nobody", &callers.nobody, everyone),
            ("somebody unknown", &callers.unknown, error("Invalid Access Token")),
            ("the operator", &callers.operator, bots.clone()),
        ],
    };
    if !for_bots {
        all.push(("a bot", &callers.bot, bots));
    }
    if caller != "user" {
        all.push((
            "a stranger",
            &callers.stranger,
            error("You are not authorized to access this account"),
        ));
    }
    if writes && caller != "user" {
        all.push(("a token that may only read", &callers.reader, role.clone()));
    }
    if caller == "administrator" {
        all.push(("an agent", &callers.agent, role));
    }
    all
}
