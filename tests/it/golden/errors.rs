//! Golden errors that need special conditions: other callers, limits, expired times, unavailable services.

use parley_proto::{ReportPresenceRequest, presence_service_client::PresenceServiceClient};
use serde_json::{Value as Json, json};

use super::{
    Exchanges,
    application::{ACCOUNT, a_conversation, begin},
};
use crate::support::{
    app::{PLATFORM, TestApp},
    database::Backend,
    http::Http,
    on_both,
};

on_both!(
    errors_of_callers_match_the_snapshot,
    errors_of_limits_match_the_snapshot,
    errors_of_filters_and_pages_match_the_snapshot,
    errors_of_messages_match_the_snapshot,
    errors_of_records_match_the_snapshot,
    errors_of_the_client_api_match_the_snapshot,
    errors_of_forms_match_the_snapshot
);

/// Makes a platform call that returns an access token. Returns the body, and a client that uses the token.
async fn with_token(operator: &Http, method: &str, path: &str, body: Option<&Json>) -> (Json, Http) {
    let answer = operator.send(method, &format!("/platform/api/v1/{path}"), body).await;
    let token = answer.body["access_token"].as_str().expect("a token is made").to_owned();
    (answer.body, operator.with_token(&token))
}

async fn errors_of_callers_match_the_snapshot(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let mut golden = Exchanges::new(&app, app.http());
    let one = a_conversation(&golden).await;
    let operator = golden.http.with_token(PLATFORM);
    let post = async |path: &str, body: Json| {
        let answer = operator.send("POST", &format!("/platform/api/v1/{path}"), Some(&body)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    };
    let ola = post(
        "users",
        json!({"name": "Ola", "email": "ola@okafor.example", "password": "Secret-1!"}),
    )
    .await;
    post("accounts/1/account_users", json!({"user_id": ola["id"], "role": "agent"})).await;
    let (_, agent) = with_token(&operator, "POST", &format!("users/{}/token", ola["id"]), None).await;
    let body = json!({"name": "Shop", "channel": {"type": "api"}});
    golden.exchange_by(&agent, "POST", &format!("{ACCOUNT}/inboxes"), body).await;
    // The inbox has no members.
    golden.exchange_by(&agent, "GET", &one, Json::Null).await;

    let helper = json!({"name": "Helper", "account_id": 1});
    let (made, bot) = with_token(&operator, "POST", "agent_bots", Some(&helper)).await;
    let toggle = format!("{one}/toggle_status");
    golden.exchange_by(&bot, "POST", &toggle, json!({"status": "open"})).await;
    let connect = json!({"agent_bot": made["id"]});
    golden.http.post("/inboxes/1/set_agent_bot", &connect).await;
    golden.exchange_by(&bot, "POST", &toggle, json!({"status": "open"})).await;
    golden.exchange_by(&bot, "GET", &format!("{ACCOUNT}/contacts"), Json::Null).await;
    golden
        .exchange_by(&operator, "GET", &format!("{ACCOUNT}/contacts"), Json::Null)
        .await;
    golden.end("errors_of_callers");
}

async fn errors_of_limits_match_the_snapshot(backend: Backend) {
    let app = TestApp::builder(backend)
        .env("PARLEY_LIMITS_CALLS_PER_SECOND_PER_TOKEN", "1")
        .env("PARLEY_LIMITS_BURST_PER_TOKEN", "3")
        .start()
        .await;
    let mut golden = Exchanges::new(&app, app.http());
    let one = a_conversation(&golden).await;
    golden.exchange("GET", &format!("{ACCOUNT}/labels"), Json::Null).await;
    golden.exchange("GET", &format!("{ACCOUNT}/labels"), Json::Null).await;
    // The storage of files is unavailable.
    let files = app.home().join("files");
    let _ = std::fs::remove_dir_all(&files);
    std::fs::write(&files, "in the way").expect("the directory is ours");
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    golden
        .exchange_parts(&format!("{one}/messages"), &[["attachments[]", "a.txt", "text/plain", "hello"]])
        .await;
    golden.end("errors_of_limits");
}

async fn errors_of_filters_and_pages_match_the_snapshot(backend: Backend) {
    let (_app, mut golden) = begin(backend).await;
    a_conversation(&golden).await;
    let filter = |key: &str, values: Json, joined: Json| {
        let condition = |values: Json, joined: Json| json!({"attribute_key": key, "filter_operator": "equal_to", "values": values, "query_operator": joined});
        json!({"payload": [condition(values.clone(), joined), condition(values, Json::Null)]})
    };
    for (noun, key, value) in [("contacts", "email", "a@b.example"), ("conversations", "status", "open")] {
        let path = format!("{ACCOUNT}/{noun}/filter");
        golden.exchange("POST", &path, filter(key, json!([]), json!("AND"))).await;
        golden.exchange("POST", &path, filter(key, json!([value]), json!("XOR"))).await;
        golden.exchange("POST", &path, filter(key, json!([value]), Json::Null)).await;
        golden.exchange("POST", &path, json!({})).await;
    }
    for noun in ["contacts", "conversations"] {
        for query in ["cursor=x", "per_page=0", "per_page=101"] {
            golden.exchange("GET", &format!("{ACCOUNT}/{noun}?{query}"), Json::Null).await;
        }
    }
    golden.end("errors_of_filters_and_pages");
}

async fn errors_of_messages_match_the_snapshot(backend: Backend) {
    let (_app, mut golden) = begin(backend).await;
    let one = a_conversation(&golden).await;
    let messages = format!("{one}/messages");
    let of_type = |kind: &str, attributes: Json| json!({"content": "Choose", "content_type": kind, "content_attributes": attributes});
    let card = |keys: Json| json!({"items": [keys]});
    for body in [
        of_type("input_select", json!({})),
        of_type("input_select", json!({"items": []})),
        of_type("input_select", json!({"items": ["a"]})),
        of_type("input_select", card(json!({"title": "A", "value": "a", "colour": "red"}))),
        of_type(
            "cards",
            card(json!({"title": "Tea", "description": "Green", "media_url": "https://a.example/tea.png"})),
        ),
        of_type(
            "cards",
            card(json!({"title": "Tea", "actions": [{"type": "link", "text": "See", "uri": "https://a.example", "size": 1}]})),
        ),
        of_type("hologram", json!({})),
        json!({"content": "x", "message_type": "shouted"}),
        json!({"content": "x".repeat(150_001)}),
        json!({"content": "x", "template_params": {"category": "news"}}),
        json!({"content": "x", "attachments": ["no-such-upload"]}),
        json!({"content": "first", "source_id": "s-1", "unique_source_id": true}),
        json!({"content": "second", "source_id": "s-1", "unique_source_id": true}),
    ] {
        golden.exchange("POST", &messages, body).await;
    }
    golden.exchange("POST", &format!("{one}/transcript"), json!({})).await;
    golden.end("errors_of_messages");
}

async fn errors_of_records_match_the_snapshot(backend: Backend) {
    let (app, mut golden) = begin(backend).await;
    let one = a_conversation(&golden).await;
    let inboxes = format!("{ACCOUNT}/inboxes");
    let channel = |key: &str, value: Json| json!({"name": "Shop", "channel": {"type": "api", key: value}});
    let long = format!("https://a.example/{}", "x".repeat(2048));
    for body in [
        channel("webhook_url", json!(long)),
        channel("additional_attributes", json!({"agent_reply_time_window": 0})),
        json!({"name": "Shop", "channel": {"type": "telegraph"}}),
        json!({"name": "Shop"}),
    ] {
        golden.exchange("POST", &inboxes, body).await;
    }
    let contacts = format!("{ACCOUNT}/contacts");
    let custom = |value: Json| json!({"name": "Ben", "custom_attributes": {"plan": value}});
    for body in [
        custom(json!("x".repeat(1501))),
        custom(json!(99_999_999_999_i64)),
        json!({"name": "x".repeat(256)}),
        json!({"name": "Ben", "additional_attributes": {"city": "x".repeat(1501)}}),
    ] {
        golden.exchange("POST", &contacts, body).await;
    }
    let conversations = format!("{ACCOUNT}/conversations");
    let attributes = json!({"source_id": "asha", "inbox_id": 1, "custom_attributes": {"plan": "x".repeat(1501)}});
    golden.exchange("POST", &conversations, attributes).await;
    let foreign = golden.http.post("/contacts", &json!({"name": "Ben"})).await;
    let body = json!({"source_id": "asha", "inbox_id": 1, "contact_id": foreign["payload"]["contact"]["id"]});
    golden.exchange("POST", &conversations, body).await;
    golden
        .exchange(
            "POST",
            &format!("{one}/toggle_status"),
            json!({"status": "snoozed", "snoozed_until": "soon"}),
        )
        .await;
    let report = ReportPresenceRequest {
        account_id: 1,
        contact_id: Some(1),
        ..ReportPresenceRequest::default()
    };
    let mut presence = PresenceServiceClient::new(app.clients().service);
    presence.report_presence(report).await.expect("presence is noted");
    golden.exchange("DELETE", &format!("{contacts}/1"), Json::Null).await;
    golden.end("errors_of_records");
}

async fn errors_of_the_client_api_match_the_snapshot(backend: Backend) {
    let app = TestApp::builder(backend)
        .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", "the-first-inbox")
        .start()
        .await;
    let mut golden = Exchanges::new(&app, app.http());
    let one = a_conversation(&golden).await;
    let survey = json!({"content": "How was it?", "content_type": "input_csat"});
    golden.http.send("POST", &format!("{one}/messages"), Some(&survey)).await;
    let nobody = golden.http.with_token("");
    let inbox = "/public/api/v1/inboxes/the-first-inbox";
    let answer = json!({"submitted_values": {"csat_survey_response": {"rating": 5}}});
    let path = format!("{inbox}/contacts/asha/conversations/1/messages/1");
    golden.exchange_by(&nobody, "PATCH", &path, answer.clone()).await;
    // Simulate that fifteen days pass.
    app.database
        .run("UPDATE messages SET created_at = created_at - 1296000000000")
        .await;
    golden.exchange_by(&nobody, "PATCH", &path, answer).await;
    golden
        .http
        .send(
            "PATCH",
            &format!("{ACCOUNT}/inboxes/1"),
            Some(&json!({"channel": {"hmac_mandatory": true}})),
        )
        .await;
    let unsigned = json!({"source_id": "ben", "identifier": "crm-7"});
    golden.exchange_by(&nobody, "POST", &format!("{inbox}/contacts"), unsigned).await;
    golden.end("errors_of_the_client_side");
}

async fn errors_of_forms_match_the_snapshot(backend: Backend) {
    let (_app, mut golden) = begin(backend).await;
    let one = a_conversation(&golden).await;
    let messages = format!("{one}/messages");
    let note = ["attachments[]", "note.txt", "text/plain", "hello"];
    let gif = "GIF89a\u{1}\0\u{1}\0\0\0\0;";
    golden
        .exchange_parts(&messages, &[["content", "", "", "See this"], ["private", "", "", "true"], note])
        .await;
    golden.exchange_parts(&messages, &[note; 16]).await;
    golden.exchange_parts(&messages, &[["message_type", "", "", "shouted"], note]).await;
    golden
        .exchange_parts(&format!("{ACCOUNT}/conversations/99/messages"), &[note])
        .await;
    let contacts = format!("{ACCOUNT}/contacts");
    golden
        .exchange_parts(&contacts, &[["name", "", "", "Ben"], ["avatar", "ben.gif", "image/gif", gif]])
        .await;
    golden
        .exchange_parts(
            &contacts,
            &[["name", "", "", "Cy"], ["avatar", "cy.txt", "text/plain", "no picture"]],
        )
        .await;
    let large = format!("{gif}{}", " ".repeat(15 * 1024 * 1024));
    golden
        .exchange_parts(&contacts, &[["name", "", "", "Di"], ["avatar", "di.gif", "image/gif", &large]])
        .await;
    golden
        .exchange_parts(&format!("{ACCOUNT}/labels"), &[["title", "vip.txt", "text/plain", "vip"]])
        .await;
    golden.end("forms");
}
