//! The golden exchanges of the client API and the platform API, route by route.

use serde_json::{Value as Json, json};

use super::Exchanges;
use crate::support::{
    app::{PLATFORM, TestApp},
    database::Backend,
    on_both,
};

on_both!(client_api_exchanges_match_the_snapshot, platform_api_exchanges_match_the_snapshot);

async fn client_api_exchanges_match_the_snapshot(backend: Backend) {
    let app = TestApp::builder(backend)
        .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", "the-first-inbox")
        .start()
        .await;
    let mut golden = Exchanges::new(&app, app.http().with_token(""));
    let (inbox, nowhere) = ("/public/api/v1/inboxes/the-first-inbox", "/public/api/v1/inboxes/no-such-inbox");
    let body = json!({"source_id": "asha", "name": "Asha Rao", "email": "asha@rao.example", "custom_attributes": {"plan": "gold"}});
    let steps = [
        ("GET", "", Json::Null),
        ("POST", "/contacts", body),
        ("GET", "/contacts/asha", Json::Null),
        ("PATCH", "/contacts/asha", json!({"name": "Asha"})),
        (
            "POST",
            "/contacts/asha/conversations",
            json!({"custom_attributes": {"topic": "parcel"}}),
        ),
        ("GET", "/contacts/asha/conversations", Json::Null),
        ("GET", "/contacts/asha/conversations/1", Json::Null),
        (
            "POST",
            "/contacts/asha/conversations/1/messages",
            json!({"content": "Where is my parcel?", "echo_id": "e-1"}),
        ),
        ("GET", "/contacts/asha/conversations/1/messages", Json::Null),
        (
            "PATCH",
            "/contacts/asha/conversations/1/messages/1",
            json!({"submitted_values": [{"name": "size", "title": "Small", "value": "s"}]}),
        ),
        (
            "POST",
            "/contacts/asha/conversations/1/toggle_typing",
            json!({"typing_status": "on"}),
        ),
        ("POST", "/contacts/asha/conversations/1/update_last_seen", Json::Null),
        ("POST", "/contacts/asha/conversations/1/toggle_status", Json::Null),
        ("POST", "/contacts/asha/rotate_pubsub_token", Json::Null),
    ];
    for (method, path, body) in steps {
        golden.exchange(method, &format!("{inbox}{path}"), body.clone()).await;
        golden.exchange(method, &format!("{nowhere}{path}"), body).await;
    }
    golden
        .exchange(
            "GET",
            &format!("{inbox}/contacts/asha?identifier=crm-7&identifier_hash=00"),
            Json::Null,
        )
        .await;
    golden
        .exchange("POST", &format!("{inbox}/contacts"), json!({"source_id": "ben", "email": "none"}))
        .await;
    golden.end("client_side");
}

async fn platform_api_exchanges_match_the_snapshot(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let user = app.http();
    let mut golden = Exchanges::new(&app, user.with_token(PLATFORM));
    let body = json!({"name": "Ravi K", "email": "ravi@acme.example", "password": "Secret-1!", "display_name": "Ravi"});
    let steps = [
        ("POST", "accounts", json!({"name": "Acme"})),
        ("GET", "accounts", Json::Null),
        ("GET", "accounts/2", Json::Null),
        ("PATCH", "accounts/2", json!({"name": "Acme Tools", "status": "active"})),
        ("POST", "users", body),
        ("GET", "users/USER", Json::Null),
        ("PATCH", "users/USER", json!({"display_name": "R. K."})),
        ("POST", "users/USER/token", Json::Null),
        ("GET", "users/USER/login", Json::Null),
        ("POST", "accounts/2/account_users", json!({"user_id": "USER", "role": "agent"})),
        ("GET", "accounts/2/account_users", Json::Null),
        ("DELETE", "accounts/2/account_users", json!({"user_id": "USER"})),
        (
            "POST",
            "agent_bots",
            json!({"name": "Order bot", "description": "Answers", "outgoing_url": "https://bot.example/hook"}),
        ),
        ("GET", "agent_bots", Json::Null),
        ("GET", "agent_bots/1", Json::Null),
        ("PATCH", "agent_bots/1", json!({"description": "Answers at once"})),
        ("DELETE", "agent_bots/1/avatar", Json::Null),
        ("DELETE", "agent_bots/1", Json::Null),
        ("DELETE", "users/USER", Json::Null),
        ("DELETE", "accounts/2", Json::Null),
    ];
    let mut made = String::new();
    for (method, path, mut body) in steps {
        let path = format!("/platform/api/v1/{path}").replace("USER", &made);
        if body["user_id"] == "USER" {
            body["user_id"] = made.parse::<i64>().expect("a number").into();
        }
        let answer = golden.exchange(method, &path, body.clone()).await;
        if (method, path.ends_with("/users")) == ("POST", true) {
            made = answer["id"].to_string();
        }
        golden.exchange_by(&user, method, &path, body).await;
    }
    golden.exchange("GET", "/platform/api/v1/accounts/99", Json::Null).await;
    golden
        .exchange(
            "POST",
            "/platform/api/v1/users",
            json!({"name": "", "email": "none", "password": "short"}),
        )
        .await;
    golden.end("platform_side");
}
