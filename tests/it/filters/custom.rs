//! Custom attributes: a selective filter uses an index, which must find the same rows as a scan of the list.

use serde_json::{Value as Json, json};

use crate::support::{app::TestApp, database::Backend, http::Http};

/// Stored values of `plan`, `seats`, `since` and `happy`: some of the defined type, some of another.
fn stored() -> Vec<Json> {
    // One object with more keys than the index covers; a filter asks for its last key.
    let mut many: Json = (0..150).map(|nth| (format!("a{nth:03}"), json!(nth))).collect();
    many["plan"] = json!("silver");
    vec![
        json!({"plan": "Gold", "seats": 7, "since": "2024-03-01", "happy": true}),
        json!({"plan": "basic", "seats": "12.5", "since": "2024-05-31T10:00:00.000Z", "happy": false}),
        json!({"plan": null, "seats": null, "since": null, "happy": null}),
        json!({}),
        json!({"plan": {"a": 1}, "seats": "1e9", "since": "soon", "happy": "true"}),
        json!({"plan": [1], "seats": "12-5", "since": 5, "happy": "maybe"}),
        json!({"plan": "", "seats": -3, "since": "1999-01-01", "happy": 1}),
        json!({"plan": 7, "seats": 1.5e9, "since": "2024-13-45", "happy": {}}),
        json!({"plan": "gold plus", "since": "2024-03-011"}),
        json!({"plan": "ĞOLD".repeat(80), "seats": -0.5}),
        many,
        json!({"plan": format!("{}x", "ğold".repeat(80)), "a key that goes on and on ".repeat(11): 1}),
    ]
}

/// Keys with values to query with every operator that accepts them.
fn asked() -> Vec<(&'static str, Json)> {
    let mut all = vec![
        ("plan", json!("GOLD")),
        ("plan", json!("c")),
        ("plan", json!("")),
        ("plan", json!("Silver")),
        ("plan", json!(7)),
        ("plan", json!("ğold".repeat(80))),
        ("seats", json!("7")),
        ("seats", json!(12.5)),
        ("seats", json!(-0.5)),
        ("seats", json!("1.5e9")),
        ("since", json!("2024-03-01")),
        ("since", json!("2024-05-31")),
        ("since", json!("1999-01-09")),
        ("happy", json!("true")),
        ("happy", json!(false)),
    ];
    all.extend([("labels", json!("vip")), ("country_code", json!("pt"))]);
    all
}

const OPERATORS: [&str; 10] = [
    "equal_to",
    "not_equal_to",
    "contains",
    "does_not_contain",
    "is_present",
    "is_not_present",
    "is_greater_than",
    "is_less_than",
    "days_before",
    "starts_with",
];

/// The ids that match a filter, or `None` if the filter is refused.
async fn found(http: &Http, noun: &str, conditions: &[Json]) -> Option<Vec<i64>> {
    let body = json!({"payload": conditions});
    let (status, answer) = http.try_post(&format!("/{noun}/filter"), &body).await;
    if status != 200 {
        return None;
    }
    let mut ids: Vec<i64> = answer["payload"].as_array()?.iter().filter_map(|row| row["id"].as_i64()).collect();
    ids.sort_unstable();
    Some(ids)
}

/// Asserts that each condition finds the same rows by index as when it is combined with a condition that has no index and matches nothing.
async fn assert_same_both_ways(http: &Http, noun: &str) {
    let never = match noun {
        "contacts" => json!({"attribute_key": "name", "filter_operator": "contains", "values": ["nobody has this"]}),
        _ => json!({"attribute_key": "display_id", "filter_operator": "contains", "values": ["x"]}),
    };
    let mut found_some = 0;
    for (key, value) in asked() {
        for operator in OPERATORS {
            let values = if operator == "days_before" && key == "since" {
                json!([9000])
            } else {
                json!([value])
            };
            let condition =
                |joiner: Json| json!({"attribute_key": key, "filter_operator": operator, "values": values, "query_operator": joiner});
            let looked_up = found(http, noun, &[condition(Json::Null)]).await;
            let walked = found(http, noun, &[condition(json!("OR")), never.clone()]).await;
            assert_eq!(looked_up, walked, "{noun} by {key} {operator} {value}");
            found_some += usize::from(looked_up.is_some_and(|ids| !ids.is_empty()));
        }
    }
    assert!(found_some > 60, "only {found_some} filters found any of the {noun}");
}

pub async fn indexed_attribute_filters_match_a_scan(backend: Backend) {
    let app = TestApp::start(backend).await;
    let http = app.http();
    for model in [0, 1] {
        for (key, display) in [("plan", 0), ("seats", 1), ("since", 5), ("happy", 7)] {
            let definition =
                json!({"attribute_display_name": key, "attribute_key": key, "attribute_model": model, "attribute_display_type": display});
            http.post("/custom_attribute_definitions", &definition).await;
        }
    }
    let mut contacts = Vec::new();
    for (nth, attributes) in stored().into_iter().enumerate() {
        let additional = if nth % 3 == 0 { json!({"country_code": "PT"}) } else { json!({}) };
        let contact = json!({"inbox_id": 1, "name": "Ana", "email": format!("p{nth}@example.org"), "custom_attributes": attributes,
            "additional_attributes": additional});
        let made = http.post("/contacts", &contact).await;
        let (id, source) = (&made["payload"]["contact"]["id"], &made["payload"]["contact_inbox"]["source_id"]);
        let talk = json!({"source_id": source, "inbox_id": 1, "custom_attributes": attributes, "additional_attributes": additional});
        let talk = http.post("/conversations", &talk).await;
        if nth % 2 == 0 {
            let vip = json!({"labels": ["vip"]});
            http.post(&format!("/contacts/{id}/labels"), &vip).await;
            http.post(&format!("/conversations/{}/labels", talk["id"]), &vip).await;
        }
        contacts.push(id.clone());
    }
    for noun in ["contacts", "conversations"] {
        assert_same_both_ways(&http, noun).await;
    }
    // Update, merge and delete contacts with indexed attributes.
    let gold = json!({"attribute_key": "plan", "filter_operator": "equal_to", "values": ["gold"]});
    assert_eq!(found(&http, "contacts", std::slice::from_ref(&gold)).await, Some(vec![1]));
    let patch = json!({"custom_attributes": {"plan": "basic"}});
    assert_eq!(
        http.send("PATCH", &format!("/api/v1/accounts/1/contacts/{}", contacts[0]), Some(&patch))
            .await
            .status,
        200
    );
    http.post(
        "/actions/contact_merge",
        &json!({"base_contact_id": contacts[3], "mergee_contact_id": contacts[8]}),
    )
    .await;
    let gone = http
        .send("DELETE", &format!("/api/v1/accounts/1/contacts/{}", contacts[1]), None)
        .await;
    assert_eq!(gone.status, 200);
    assert_eq!(found(&http, "contacts", std::slice::from_ref(&gold)).await, Some(vec![]));
    http.post(
        "/conversations/5/custom_attributes",
        &json!({"custom_attributes": {"plan": "GOLD"}}),
    )
    .await;
    assert_eq!(found(&http, "conversations", &[gold]).await, Some(vec![1, 5]));
    for noun in ["contacts", "conversations"] {
        assert_same_both_ways(&http, noun).await;
    }
}
