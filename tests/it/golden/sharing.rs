//! The golden exchanges of shared conversations and of search.

use serde_json::{Value as Json, json};

use super::{
    Exchanges,
    application::{ACCOUNT, a_conversation, begin},
};
use crate::support::{database::Backend, on_both};

on_both!(
    shared_conversation_exchanges_match_the_snapshot,
    search_exchanges_match_the_snapshot,
    filter_and_merge_exchanges_match_the_snapshot,
    inbox_bot_exchanges_match_the_snapshot
);

/// Each of these calls succeeds, and is refused to a caller without a token.
pub(super) async fn each(golden: &mut Exchanges, exchanges: &[(&str, String, Json)]) {
    let nobody = golden.http.with_token("");
    for (method, path, body) in exchanges {
        golden.exchange(method, path, body.clone()).await;
        golden.exchange_by(&nobody, method, path, body.clone()).await;
    }
}

async fn shared_conversation_exchanges_match_the_snapshot(backend: Backend) {
    let (_app, mut golden) = begin(backend).await;
    let one = a_conversation(&golden).await;
    let at = |path: &str| format!("{one}/{path}");
    let message = golden.http.send("POST", &at("messages"), Some(&json!({"content": "Hello"}))).await;
    let team = golden
        .http
        .post("/teams", &json!({"name": "billing", "allow_auto_assign": false}))
        .await;
    let retry = at(&format!("messages/{}/retry", message.body["id"]));
    each(
        &mut golden,
        &[
            ("POST", at("assignments"), json!({"assignee_id": 1})),
            ("POST", at("assignments"), json!({"team_id": team["id"]})),
            ("GET", one.clone(), Json::Null),
            ("GET", format!("{ACCOUNT}/conversations?team_id={}", team["id"]), Json::Null),
            ("POST", at("assignments"), json!({"team_id": 99})),
            ("POST", at("assignments"), json!({"assignee_id": null})),
            ("POST", at("participants"), json!({"user_ids": [1]})),
            ("GET", at("participants"), Json::Null),
            ("PATCH", at("participants"), json!({"user_ids": [1]})),
            ("DELETE", at("participants"), json!({"user_ids": [1]})),
            ("GET", at("attachments"), Json::Null),
            ("POST", at("mute"), Json::Null),
            ("POST", at("unmute"), Json::Null),
            ("POST", at("unread"), Json::Null),
            ("POST", retry, Json::Null),
        ],
    )
    .await;
    golden.exchange("POST", &at("participants"), json!({})).await;
    golden.exchange("POST", &at("participants"), json!({"user_ids": [99]})).await;
    golden.exchange("POST", &at("messages/99/retry"), Json::Null).await;
    each(&mut golden, &[("DELETE", one.clone(), Json::Null)]).await;
    golden.exchange("DELETE", &one, Json::Null).await;
    golden.end("shared_conversations");
}

async fn search_exchanges_match_the_snapshot(backend: Backend) {
    let (_app, mut golden) = begin(backend).await;
    let one = a_conversation(&golden).await;
    let said = json!({"content": "A refund please", "message_type": "incoming"});
    golden.http.send("POST", &format!("{one}/messages"), Some(&said)).await;
    let at = |path: &str| format!("{ACCOUNT}/{path}");
    each(
        &mut golden,
        &[
            ("GET", at("conversations/search?q=refund"), Json::Null),
            ("GET", at("search?q=refund"), Json::Null),
            ("GET", at("search/contacts?q=asha"), Json::Null),
            ("GET", at("search/conversations?q=refund"), Json::Null),
            ("GET", at("search/messages?q=refund"), Json::Null),
        ],
    )
    .await;
    golden.end("found");
}

async fn filter_and_merge_exchanges_match_the_snapshot(backend: Backend) {
    let (_app, mut golden) = begin(backend).await;
    a_conversation(&golden).await;
    golden
        .http
        .post(
            "/contacts",
            &json!({"name": "Ben", "email": "ben@rao.example", "custom_attributes": {"plan": "gold"}}),
        )
        .await;
    let at = |path: &str| format!("{ACCOUNT}/{path}");
    let filter = |key: &str, value: &str| json!({"payload": [{"attribute_key": key, "filter_operator": "equal_to", "values": [value], "query_operator": null}]});
    each(
        &mut golden,
        &[
            ("POST", at("contacts/filter"), filter("email", "ben@rao.example")),
            ("POST", at("conversations/filter"), filter("status", "open")),
            ("GET", at("contacts/active"), Json::Null),
            ("GET", at("contacts/1/contactable_inboxes"), Json::Null),
            ("POST", at("contact_inboxes/filter"), json!({"inbox_id": 1, "source_id": "asha"})),
            (
                "POST",
                at("actions/contact_merge"),
                json!({"base_contact_id": 1, "mergee_contact_id": 2}),
            ),
        ],
    )
    .await;
    golden.exchange("POST", &at("contacts/filter"), filter("shoe_size", "7")).await;
    golden.exchange("POST", &at("conversations/filter"), filter("shoe_size", "7")).await;
    golden
        .exchange(
            "POST",
            &at("conversations/filter"),
            json!({"payload": [{"attribute_key": "status", "filter_operator": "contains", "values": ["x"]}]}),
        )
        .await;
    golden
        .exchange("POST", &at("contact_inboxes/filter"), json!({"inbox_id": 1, "source_id": "nobody"}))
        .await;
    golden
        .exchange(
            "POST",
            &at("actions/contact_merge"),
            json!({"base_contact_id": 1, "mergee_contact_id": 99}),
        )
        .await;
    golden.end("filtered_and_merged");
}

async fn inbox_bot_exchanges_match_the_snapshot(backend: Backend) {
    let (_app, mut golden) = begin(backend).await;
    let at = |path: &str| format!("{ACCOUNT}/{path}");
    each(
        &mut golden,
        &[
            ("GET", at("agent_bots"), Json::Null),
            ("GET", at("inboxes/1/agent_bot"), Json::Null),
            ("POST", at("inboxes/1/set_agent_bot"), json!({"agent_bot": null})),
        ],
    )
    .await;
    golden
        .exchange("POST", &at("inboxes/1/set_agent_bot"), json!({"agent_bot": 99}))
        .await;
    golden.end("bots_of_inboxes");
}
