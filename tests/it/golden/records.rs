//! The golden exchanges of the members of an account and the records that they maintain.

use serde_json::{Value as Json, json};

use super::{
    application::{ACCOUNT, a_conversation, begin},
    sharing::each,
};
use crate::support::{database::Backend, on_both};

on_both!(
    agent_exchanges_match_the_snapshot,
    team_exchanges_match_the_snapshot,
    inbox_member_exchanges_match_the_snapshot,
    label_exchanges_match_the_snapshot,
    attribute_definition_exchanges_match_the_snapshot,
    canned_response_exchanges_match_the_snapshot,
    contact_note_exchanges_match_the_snapshot,
    audit_log_exchanges_match_the_snapshot
);

async fn agent_exchanges_match_the_snapshot(backend: Backend) {
    let (_app, mut golden) = begin(backend).await;
    let agents = format!("{ACCOUNT}/agents");
    let made = golden
        .exchange(
            "POST",
            &agents,
            json!({"email": "Mina@Okafor.example", "name": "Mina Okafor", "role": "agent", "availability": "busy", "auto_offline": false}),
        )
        .await;
    let one = format!("{agents}/{}", made["id"]);
    for body in [
        json!({"agent": {"email": "mina@okafor.example", "name": "Another"}}),
        json!({"email": "mina", "name": ""}),
        json!({"email": "ola@okafor.example", "name": "Ola", "role": "owner"}),
        json!({}),
    ] {
        golden.exchange("POST", &agents, body).await;
    }
    each(
        &mut golden,
        &[
            ("GET", agents.clone(), Json::Null),
            (
                "PATCH",
                one.clone(),
                json!({"name": "Mina O.", "role": "administrator", "availability": null}),
            ),
            (
                "POST",
                format!("{agents}/bulk_create"),
                json!({"emails": ["pia@okafor.example", "mina@okafor.example"]}),
            ),
        ],
    )
    .await;
    golden
        .exchange("POST", &format!("{agents}/bulk_create"), json!({"emails": ["none"]}))
        .await;
    golden.exchange("PATCH", &format!("{agents}/99"), json!({"name": "Nobody"})).await;
    golden.exchange("DELETE", &one, Json::Null).await;
    golden.exchange("DELETE", &one, Json::Null).await;
    golden.end("agents");
}

async fn team_exchanges_match_the_snapshot(backend: Backend) {
    let (_app, mut golden) = begin(backend).await;
    let teams = format!("{ACCOUNT}/teams");
    let made = golden
        .exchange("POST", &teams, json!({"name": "Billing", "description": "Invoices"}))
        .await;
    let one = format!("{teams}/{}", made["id"]);
    for body in [
        json!({"team": {"name": "BILLING"}}),
        json!({"name": " "}),
        json!({"team": {}}),
        Json::Null,
    ] {
        golden.exchange("POST", &teams, body).await;
    }
    let members = format!("{one}/team_members");
    each(
        &mut golden,
        &[
            ("GET", teams.clone(), Json::Null),
            ("GET", one.clone(), Json::Null),
            (
                "PATCH",
                one.clone(),
                json!({"team": {"allow_auto_assign": false, "description": null}}),
            ),
            ("POST", members.clone(), json!({"user_ids": [1]})),
            ("POST", members.clone(), json!({"user_ids": [1]})),
            ("GET", members.clone(), Json::Null),
            ("PATCH", members.clone(), json!({"user_ids": [1]})),
            ("DELETE", members.clone(), json!({"user_ids": [1]})),
        ],
    )
    .await;
    golden.exchange("POST", &members, json!({"user_ids": [1, 99]})).await;
    golden.exchange("POST", &members, json!({})).await;
    golden.exchange("DELETE", &one, Json::Null).await;
    golden.exchange("DELETE", &one, Json::Null).await;
    golden.end("teams");
}

async fn inbox_member_exchanges_match_the_snapshot(backend: Backend) {
    let (_app, mut golden) = begin(backend).await;
    let members = format!("{ACCOUNT}/inbox_members");
    let whom = json!({"inbox_id": 1, "user_ids": [1]});
    each(
        &mut golden,
        &[
            ("POST", members.clone(), whom.clone()),
            ("GET", format!("{members}/1"), Json::Null),
            ("PATCH", members.clone(), whom.clone()),
            ("GET", format!("{ACCOUNT}/assignable_agents?inbox_ids[]=1"), Json::Null),
            ("DELETE", members.clone(), whom),
        ],
    )
    .await;
    golden.exchange("POST", &members, json!({"inbox_id": 99, "user_ids": [1]})).await;
    golden.exchange("POST", &members, json!({"inbox_id": 1, "user_ids": [99]})).await;
    golden.exchange("POST", &members, json!({"inbox_id": 1})).await;
    golden
        .exchange("GET", &format!("{ACCOUNT}/assignable_agents?inbox_ids[]=99"), Json::Null)
        .await;
    golden.end("inbox_members");
}

async fn label_exchanges_match_the_snapshot(backend: Backend) {
    let (_app, mut golden) = begin(backend).await;
    let conversation = a_conversation(&golden).await;
    let labels = format!("{ACCOUNT}/labels");
    let made = golden
        .exchange("POST", &labels, json!({"title": "VIP", "description": "Important"}))
        .await;
    let one = format!("{labels}/{}", made["id"]);
    for body in [
        json!({"label": {"title": "vip"}}),
        json!({"title": ""}),
        json!({"title": "v"}),
        json!({"title": "-vip"}),
        json!({}),
    ] {
        golden.exchange("POST", &labels, body).await;
    }
    golden
        .exchange("POST", &format!("{conversation}/labels"), json!({"labels": ["vip"]}))
        .await;
    each(
        &mut golden,
        &[
            ("GET", labels.clone(), Json::Null),
            ("GET", one.clone(), Json::Null),
            (
                "PATCH",
                one.clone(),
                json!({"label": {"title": "Gold", "color": "#ff0000", "show_on_sidebar": true}}),
            ),
        ],
    )
    .await;
    golden.exchange("GET", &format!("{conversation}/labels"), Json::Null).await;
    golden.exchange("DELETE", &one, Json::Null).await;
    golden.exchange("DELETE", &one, Json::Null).await;
    golden.exchange("GET", &format!("{conversation}/labels"), Json::Null).await;
    golden.end("labels");
}

async fn attribute_definition_exchanges_match_the_snapshot(backend: Backend) {
    let (_app, mut golden) = begin(backend).await;
    let definitions = format!("{ACCOUNT}/custom_attribute_definitions");
    let body = json!({
        "attribute_display_name": "Plan", "attribute_display_type": "list", "attribute_description": "Billing plan",
        "attribute_key": "plan", "attribute_values": ["gold", "basic"], "attribute_model": 1,
    });
    let made = golden.exchange("POST", &definitions, body.clone()).await;
    let one = format!("{definitions}/{}", made["id"]);
    for body in [
        body,
        json!({"attribute_display_name": "", "attribute_key": ""}),
        json!({"attribute_display_name": "Status", "attribute_key": "status"}),
        json!({"attribute_display_name": "Plan", "attribute_key": "plan", "attribute_display_type": 9}),
        json!({}),
    ] {
        golden.exchange("POST", &definitions, body).await;
    }
    each(
        &mut golden,
        &[
            ("GET", definitions.clone(), Json::Null),
            ("GET", format!("{definitions}?attribute_model=conversation_attribute"), Json::Null),
            ("GET", one.clone(), Json::Null),
            (
                "PATCH",
                one.clone(),
                json!({"attribute_values": ["gold"], "attribute_display_type": 6, "attribute_description": null}),
            ),
        ],
    )
    .await;
    let filter = json!({"payload": [{"attribute_key": "plan", "filter_operator": "equal_to", "values": ["GOLD"], "query_operator": null}]});
    let contact = json!({"name": "Asha Rao", "email": "asha@rao.example", "custom_attributes": {"plan": "gold"}});
    golden.exchange("POST", &format!("{ACCOUNT}/contacts"), contact).await;
    golden.exchange("POST", &format!("{ACCOUNT}/contacts/filter"), filter.clone()).await;
    golden.exchange("DELETE", &one, Json::Null).await;
    golden.exchange("DELETE", &one, Json::Null).await;
    golden.exchange("POST", &format!("{ACCOUNT}/contacts/filter"), filter).await;
    golden.end("custom_attribute_definitions");
}

async fn canned_response_exchanges_match_the_snapshot(backend: Backend) {
    let (_app, mut golden) = begin(backend).await;
    let responses = format!("{ACCOUNT}/canned_responses");
    for (code, content) in [
        ("bye", "Oh, goodbye"),
        ("ahoy", "Ahoy"),
        ("Oh", "Hello {{contact.name}}"),
        ("no%", "100 % no"),
    ] {
        golden
            .exchange("POST", &responses, json!({"short_code": code, "content": content}))
            .await;
    }
    let one = format!("{responses}/1");
    golden
        .exchange("POST", &responses, json!({"short_code": "bye", "content": "Bye"}))
        .await;
    golden
        .exchange("POST", &responses, json!({"canned_response": {"short_code": "", "content": ""}}))
        .await;
    golden.exchange("POST", &responses, json!({"text": "x"})).await;
    each(
        &mut golden,
        &[
            ("GET", responses.clone(), Json::Null),
            ("GET", format!("{responses}?search=OH"), Json::Null),
            ("GET", format!("{responses}?search=%25"), Json::Null),
            ("PATCH", one.clone(), json!({"content": "Goodbye"})),
        ],
    )
    .await;
    golden.exchange("PATCH", &one, json!({"short_code": "Oh"})).await;
    golden.exchange("DELETE", &one, Json::Null).await;
    golden.exchange("DELETE", &one, Json::Null).await;
    golden.end("canned_responses");
}

async fn contact_note_exchanges_match_the_snapshot(backend: Backend) {
    let (_app, mut golden) = begin(backend).await;
    a_conversation(&golden).await;
    let notes = format!("{ACCOUNT}/contacts/1/notes");
    let made = golden.exchange("POST", &notes, json!({"content": "called"})).await;
    golden.exchange("POST", &notes, json!({"note": {"content": "called again"}})).await;
    let one = format!("{notes}/{}", made["id"]);
    golden.exchange("POST", &notes, json!({"content": " "})).await;
    golden.exchange("POST", &notes, json!({})).await;
    golden
        .exchange("POST", &format!("{ACCOUNT}/contacts/99/notes"), json!({"content": "nobody"}))
        .await;
    each(
        &mut golden,
        &[
            ("GET", notes.clone(), Json::Null),
            ("GET", one.clone(), Json::Null),
            ("PATCH", one.clone(), json!({"content": "called twice"})),
        ],
    )
    .await;
    golden.exchange("DELETE", &one, Json::Null).await;
    golden.exchange("DELETE", &one, Json::Null).await;
    golden.end("contact_notes");
}

async fn audit_log_exchanges_match_the_snapshot(backend: Backend) {
    let (_app, mut golden) = begin(backend).await;
    let made = golden.exchange("POST", &format!("{ACCOUNT}/labels"), json!({"title": "vip"})).await;
    let missing = format!("{ACCOUNT}/labels/{}", made["id"].as_i64().expect("an id") + 99);
    golden.exchange("DELETE", &missing, Json::Null).await;
    golden.exchange("GET", &format!("{ACCOUNT}/audit_logs"), Json::Null).await;
    golden.exchange("GET", &format!("{ACCOUNT}/audit_logs?page=2"), Json::Null).await;
    golden.exchange("GET", "/api/v1/accounts/99/audit_logs", Json::Null).await;
    golden.end("audit_logs");
}
