//! The golden exchanges of the application API, route by route: successful responses and errors.

use serde_json::{Value as Json, json};

use super::Exchanges;
use crate::support::{
    app::{PLATFORM, TestApp},
    database::Backend,
    on_both,
};

pub(super) const ACCOUNT: &str = "/api/v1/accounts/1";

on_both!(
    caller_exchanges_match_the_snapshot,
    common_errors_match_the_snapshot,
    inbox_exchanges_match_the_snapshot,
    contact_exchanges_match_the_snapshot,
    contact_relation_exchanges_match_the_snapshot,
    conversation_exchanges_match_the_snapshot,
    conversation_change_exchanges_match_the_snapshot,
    message_exchanges_match_the_snapshot
);

pub(super) async fn begin(backend: Backend) -> (TestApp, Exchanges) {
    // Emails are only queued: nothing listens on port 9, which these tests do not observe.
    let app = TestApp::builder(backend).env("PARLEY_MAIL_URL", "smtp://127.0.0.1:9").start().await;
    let exchanges = Exchanges::new(&app, app.http());
    (app, exchanges)
}

/// A contact with a session in the first inbox and a conversation. Returns the path of the conversation.
pub(super) async fn a_conversation(golden: &Exchanges) -> String {
    let contact = golden
        .http
        .post("/contacts", &json!({"name": "Asha Rao", "inbox_id": 1, "source_id": "asha"}))
        .await;
    assert_eq!(contact["payload"]["contact"]["id"], 1, "{contact}");
    let conversation = golden
        .http
        .post("/conversations", &json!({"source_id": "asha", "inbox_id": 1}))
        .await;
    format!("{ACCOUNT}/conversations/{}", conversation["id"])
}

async fn caller_exchanges_match_the_snapshot(backend: Backend) {
    let (_app, mut golden) = begin(backend).await;
    golden.exchange("GET", "/api/v1/profile", Json::Null).await;
    let (nobody, stranger) = (golden.http.with_token(""), golden.http.with_token("a-token-nobody-was-given"));
    golden.exchange_by(&nobody, "GET", "/api/v1/profile", Json::Null).await;
    golden.exchange_by(&stranger, "GET", "/api/v1/profile", Json::Null).await;
    golden.exchange("GET", "/api/v1/accounts/2/inboxes", Json::Null).await;
    golden.exchange("GET", "/api/v1/nothing", Json::Null).await;
    let rotate = "/api/v1/profile/rotate_pubsub_token";
    golden.exchange("POST", rotate, Json::Null).await;
    golden.exchange_by(&nobody, "POST", rotate, Json::Null).await;
    golden.end("callers");
}

/// Errors that any route may return.
async fn common_errors_match_the_snapshot(backend: Backend) {
    let app = TestApp::builder(backend)
        .platform()
        .env("PARLEY_LIMITS_MESSAGES_PER_CONVERSATION_PER_MINUTE", "1")
        .start()
        .await;
    let mut golden = Exchanges::new(&app, app.http());
    let contacts = format!("{ACCOUNT}/contacts");
    let plain = ("x-plain", "1");
    golden.exchange_raw("POST", &contacts, plain, "{\"name\":".to_owned()).await;
    let long = json!({"name": "x".repeat(5_000_000)}).to_string();
    golden.exchange_raw("POST", &contacts, plain, long).await;
    let key = ("idempotency-key", "order-7");
    for name in ["Asha", "Asha", "Ben"] {
        golden.exchange_raw("POST", &contacts, key, json!({"name": name}).to_string()).await;
    }
    let one = a_conversation_of(&golden, 1).await;
    for text in ["one", "two"] {
        golden.exchange("POST", &format!("{one}/messages"), json!({"content": text})).await;
    }
    let operator = golden.http.with_token(PLATFORM);
    let suspend = json!({"status": "suspended"});
    operator.send("PATCH", "/platform/api/v1/accounts/1", Some(&suspend)).await;
    golden.exchange("GET", &contacts, Json::Null).await;
    golden.end("refusals");
}

/// A conversation of a contact in the first inbox. Returns its path.
async fn a_conversation_of(golden: &Exchanges, contact: i64) -> String {
    let made = golden
        .http
        .post("/conversations", &json!({"contact_id": contact, "inbox_id": 1}))
        .await;
    format!("{ACCOUNT}/conversations/{}", made["id"])
}

async fn inbox_exchanges_match_the_snapshot(backend: Backend) {
    let (_app, mut golden) = begin(backend).await;
    let inboxes = format!("{ACCOUNT}/inboxes");
    let body = json!({"name": "Shop", "channel": {"type": "api", "webhook_url": "https://shop.example/hook"}, "greeting_enabled": true});
    let made = golden.exchange("POST", &inboxes, body).await;
    let one = format!("{inboxes}/{}", made["id"]);
    golden
        .exchange("POST", &inboxes, json!({"name": "", "channel": {"type": "email"}}))
        .await;
    golden.exchange("GET", &inboxes, Json::Null).await;
    golden.exchange("GET", "/api/v1/accounts/2/inboxes", Json::Null).await;
    golden.exchange("GET", &one, Json::Null).await;
    golden.exchange("GET", &format!("{inboxes}/99"), Json::Null).await;
    let body = json!({"greeting_message": "Hello", "working_hours": [{"day_of_week": 1, "closed_all_day": true}]});
    golden.exchange("PATCH", &one, body).await;
    golden
        .exchange("PATCH", &one, json!({"timezone": "Nowhere/Atall", "channel": []}))
        .await;
    golden.exchange("PATCH", &one, json!({"timezone": "Nowhere/Atall"})).await;
    golden.exchange("DELETE", &one, Json::Null).await;
    golden.exchange("DELETE", &format!("{inboxes}/99"), Json::Null).await;
    golden.end("inboxes");
}

async fn contact_exchanges_match_the_snapshot(backend: Backend) {
    let (_app, mut golden) = begin(backend).await;
    let contacts = format!("{ACCOUNT}/contacts");
    let body = json!({
        "name": "Asha Rao", "email": "Asha@Rao.example", "phone_number": "+919800000001", "identifier": "crm-7", "inbox_id": 1,
        "custom_attributes": {"plan": "gold", "seats": 3},
    });
    let made = golden.exchange("POST", &contacts, body).await;
    let one = format!("{contacts}/{}", made["payload"]["contact"]["id"]);
    golden.exchange("POST", &contacts, json!({"email": "asha@rao.example"})).await;
    golden
        .exchange(
            "POST",
            &contacts,
            json!({"email": "none", "phone_number": "12", "custom_attributes": "x"}),
        )
        .await;
    golden
        .exchange("POST", &contacts, json!({"email": "none", "phone_number": "12"}))
        .await;
    golden.exchange("POST", &contacts, json!({"name": "Ben", "inbox_id": 99})).await;
    golden.exchange("GET", &contacts, Json::Null).await;
    golden
        .exchange("GET", &format!("{contacts}?page=2&include_contact_inboxes=false"), Json::Null)
        .await;
    golden.exchange("GET", "/api/v1/accounts/2/contacts", Json::Null).await;
    golden.exchange("GET", &format!("{contacts}/search?q=RAO"), Json::Null).await;
    golden.exchange("GET", &format!("{contacts}/search"), Json::Null).await;
    golden.exchange("GET", "/api/v1/accounts/2/contacts/search?q=a", Json::Null).await;
    golden.exchange("GET", &one, Json::Null).await;
    golden.exchange("GET", &format!("{contacts}/99"), Json::Null).await;
    golden
        .exchange("PATCH", &one, json!({"name": "Asha", "custom_attributes": {"city": "Pune"}}))
        .await;
    golden.exchange("PATCH", &one, json!({"phone_number": "12"})).await;
    golden
        .exchange(
            "POST",
            &format!("{one}/destroy_custom_attributes"),
            json!({"custom_attributes": ["plan"]}),
        )
        .await;
    golden
        .exchange(
            "POST",
            &format!("{contacts}/99/destroy_custom_attributes"),
            json!({"custom_attributes": ["plan"]}),
        )
        .await;
    golden.exchange("DELETE", &one, Json::Null).await;
    golden.exchange("DELETE", &one, Json::Null).await;
    golden.end("contacts");
}

async fn contact_relation_exchanges_match_the_snapshot(backend: Backend) {
    let (_app, mut golden) = begin(backend).await;
    a_conversation(&golden).await;
    let (one, other) = (format!("{ACCOUNT}/contacts/1"), format!("{ACCOUNT}/contacts/99"));
    golden.http.post("/contacts", &json!({"name": "Ben"})).await;
    let ben = format!("{ACCOUNT}/contacts/2/contact_inboxes");
    golden.exchange("POST", &ben, json!({"inbox_id": 1, "source_id": "ben"})).await;
    golden.exchange("POST", &ben, json!({"inbox_id": 1, "source_id": "asha"})).await;
    golden.exchange("POST", &ben, json!({})).await;
    golden
        .exchange("POST", &format!("{one}/labels"), json!({"labels": ["vip", "lead"]}))
        .await;
    golden.exchange("GET", &format!("{one}/labels"), Json::Null).await;
    golden
        .exchange("POST", &format!("{other}/labels"), json!({"labels": ["vip"]}))
        .await;
    golden.exchange("GET", &format!("{other}/labels"), Json::Null).await;
    golden.exchange("GET", &format!("{one}/conversations"), Json::Null).await;
    golden.exchange("GET", &format!("{other}/conversations"), Json::Null).await;
    golden.end("contact_relations");
}

async fn conversation_exchanges_match_the_snapshot(backend: Backend) {
    let (_app, mut golden) = begin(backend).await;
    let one = a_conversation(&golden).await;
    let conversations = format!("{ACCOUNT}/conversations");
    let body = json!({
        "source_id": "asha", "inbox_id": 1, "status": "pending", "priority": "high", "assignee_id": 1,
        "additional_attributes": {"referer": "nowhere"}, "message": {"content": "Where is my order?", "message_type": "incoming"},
    });
    golden.exchange("POST", &conversations, body).await;
    golden
        .exchange("POST", &conversations, json!({"source_id": "nobody", "inbox_id": 1}))
        .await;
    golden
        .exchange(
            "POST",
            &conversations,
            json!({"source_id": "asha", "inbox_id": 1, "status": "closed"}),
        )
        .await;
    golden.exchange("GET", &format!("{conversations}?status=all"), Json::Null).await;
    golden.exchange("GET", "/api/v1/accounts/2/conversations", Json::Null).await;
    golden.exchange("GET", &format!("{conversations}/meta"), Json::Null).await;
    golden.exchange("GET", "/api/v1/accounts/2/conversations/meta", Json::Null).await;
    golden.exchange("GET", &one, Json::Null).await;
    golden.exchange("GET", &format!("{conversations}/99"), Json::Null).await;
    golden.exchange("PATCH", &one, json!({"priority": "urgent"})).await;
    golden.exchange("PATCH", &one, json!({"priority": "extreme"})).await;
    golden.end("conversations");
}

async fn conversation_change_exchanges_match_the_snapshot(backend: Backend) {
    let (_app, mut golden) = begin(backend).await;
    let one = a_conversation(&golden).await;
    let missing = format!("{ACCOUNT}/conversations/99");
    for (name, body) in [
        ("toggle_status", json!({"status": "resolved"})),
        ("toggle_status", json!({"status": "snoozed", "snoozed_until": 1_930_000_000})),
        ("toggle_priority", json!({"priority": "low"})),
        ("toggle_typing_status", json!({"typing_status": "on"})),
        ("update_last_seen", json!({})),
        ("custom_attributes", json!({"custom_attributes": {"order": "A-17"}})),
        ("labels", json!({"labels": ["refund"]})),
        ("transcript", json!({"email": "asha@example.org"})),
    ] {
        golden.exchange("POST", &format!("{one}/{name}"), body.clone()).await;
        golden.exchange("POST", &format!("{missing}/{name}"), body).await;
    }
    golden
        .exchange("POST", &format!("{one}/toggle_status"), json!({"status": "closed"}))
        .await;
    golden.exchange("POST", &format!("{one}/custom_attributes"), json!({})).await;
    golden.exchange("GET", &format!("{one}/labels"), Json::Null).await;
    golden.exchange("GET", &format!("{missing}/labels"), Json::Null).await;
    golden.end("conversation_changes");
}

async fn message_exchanges_match_the_snapshot(backend: Backend) {
    let (_app, mut golden) = begin(backend).await;
    let conversation = a_conversation(&golden).await;
    let messages = format!("{conversation}/messages");
    let missing = format!("{ACCOUNT}/conversations/99/messages");
    golden
        .exchange(
            "POST",
            &messages,
            json!({"content": "Where is my order?", "message_type": "incoming", "echo_id": "e-1"}),
        )
        .await;
    let made = golden
        .exchange(
            "POST",
            &messages,
            json!({"content": "It left today.", "content_attributes": {"in_reply_to": 1}}),
        )
        .await;
    golden
        .exchange("POST", &messages, json!({"content": "Between us", "private": true}))
        .await;
    golden
        .exchange("POST", &messages, json!({"content": "x", "message_type": "activity"}))
        .await;
    golden.exchange("POST", &missing, json!({"content": "x"})).await;
    golden.exchange("GET", &messages, Json::Null).await;
    golden
        .exchange("GET", &format!("{messages}?filter_internal_messages=true&after=1"), Json::Null)
        .await;
    golden.exchange("GET", &missing, Json::Null).await;
    let one = format!("{messages}/{}", made["id"]);
    golden
        .exchange("PATCH", &one, json!({"status": "failed", "external_error": "no such number"}))
        .await;
    golden
        .exchange("PATCH", &format!("{messages}/9999"), json!({"status": "read"}))
        .await;
    golden.exchange("DELETE", &one, Json::Null).await;
    golden.exchange("DELETE", &format!("{messages}/9999"), Json::Null).await;
    golden.end("messages");
}
