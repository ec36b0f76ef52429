//! Parameters that narrow a list have an effect, or are reported as ignored.

use serde_json::{Value as Json, json};

use crate::support::{app::TestApp, database::Backend, http::Http, on_both};

on_both!(lists_are_narrowed_by_contact, searches_are_narrowed_by_parameters);

/// A contact with a conversation in an inbox, with one message from the contact and one from an agent.
async fn talk(http: &Http, inbox: i64, name: &str) -> (i64, i64) {
    let contact = http.post("/contacts", &json!({"name": name, "inbox_id": inbox})).await;
    let contact = contact["payload"]["contact"]["id"].as_i64().expect("an id");
    let made = http
        .post("/conversations", &json!({"contact_id": contact, "inbox_id": inbox}))
        .await;
    let conversation = made["id"].as_i64().expect("an id");
    for kind in ["incoming", "outgoing"] {
        let message = json!({"content": format!("hello from {name}"), "message_type": kind});
        http.post(&format!("/conversations/{conversation}/messages"), &message).await;
    }
    (contact, conversation)
}

fn ids(rows: &Json) -> Vec<i64> {
    let mut ids: Vec<_> = rows
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| row["id"].as_i64().expect("an id"))
        .collect();
    ids.sort_unstable();
    ids
}

async fn ask(http: &Http, path: &str) -> Json {
    let (status, body) = http.ask(path).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

async fn lists_are_narrowed_by_contact(backend: Backend) {
    let app = TestApp::start(backend).await;
    let http = app.http();
    let (asha, of_asha) = talk(&http, 1, "Asha").await;
    let (ravi, of_ravi) = talk(&http, 1, "Ravi").await;
    for (contact, expected) in [
        (asha.to_string(), vec![of_asha]),
        (ravi.to_string(), vec![of_ravi]),
        ("999".to_owned(), vec![]),
        ("Asha".to_owned(), vec![]),
    ] {
        let list = ask(&http, &format!("/conversations?status=all&contact_id={contact}")).await;
        assert_eq!(ids(&list["data"]["payload"]), expected, "{contact}");
        let count = ask(&http, &format!("/conversations/meta?status=all&contact_id={contact}")).await;
        assert_eq!(count["meta"]["all_count"], expected.len(), "{contact}");
        let found = ask(&http, &format!("/conversations/search?q=hello&contact_id={contact}")).await;
        assert_eq!(ids(&found["payload"]), expected, "{contact}");
    }
    let filtered = |operator: &str, contact: i64| json!({"payload": [{"attribute_key": "contact_id", "filter_operator": operator, "values": [contact], "query_operator": null}]});
    let found = http.post("/conversations/filter", &filtered("equal_to", asha)).await;
    assert_eq!(ids(&found["payload"]), [of_asha]);
    let found = http.post("/conversations/filter", &filtered("not_equal_to", asha)).await;
    assert_eq!(ids(&found["payload"]), [of_ravi]);
    // A parameter without an effect is reported.
    let path = "/api/v1/accounts/1/conversations?status=all&created_after=4102444800";
    assert_eq!(http.send("GET", path, None).await.headers["parley-ignored"], "created_after");
}

async fn searches_are_narrowed_by_parameters(backend: Backend) {
    let app = TestApp::start(backend).await;
    let http = app.http();
    let inbox = http.post("/inboxes", &json!({"name": "Second", "channel": {"type": "api"}})).await["id"]
        .as_i64()
        .expect("an id");
    let (asha, of_asha) = talk(&http, 1, "Asha").await;
    let (_, of_ravi) = talk(&http, inbox, "Ravi").await;
    let messages = async |narrowing: &str| {
        let mut counts = Vec::new();
        for path in ["/search/messages", "/search"] {
            let found = ask(&http, &format!("{path}?q=hello{narrowing}")).await;
            counts.push(found["payload"]["messages"].as_array().expect("rows").len());
        }
        assert_eq!(counts[0], counts[1], "{narrowing}");
        counts[0]
    };
    let now = chrono::Utc::now().timestamp();
    for (narrowing, count) in [
        (String::new(), 4),
        (format!("&inbox_id={inbox}"), 2),
        ("&inbox_id=99".to_owned(), 0),
        (format!("&contact_id={asha}"), 2),
        (format!("&from=contact:{asha}"), 1),
        (format!("&from=contact:{asha}&inbox_id={inbox}"), 0),
        (format!("&from=contact:{asha}&contact_id=99"), 0),
        (format!("&since={}", now - 3600), 4),
        (format!("&since={}", now + 3600), 0),
        (format!("&until={}", now - 3600), 0),
        (format!("&until={}", now + 3600), 4),
    ] {
        assert_eq!(messages(&narrowing).await, count, "{narrowing}");
    }
    let conversations = ask(&http, &format!("/search/conversations?q=hello&inbox_id={inbox}")).await;
    assert_eq!(ids(&conversations["payload"]["conversations"]), [of_ravi]);
    let conversations = ask(&http, &format!("/search/conversations?q=hello&contact_id={asha}")).await;
    assert_eq!(ids(&conversations["payload"]["conversations"]), [of_asha]);
    // A parameter that cannot be honoured is refused or reported, never dropped silently.
    for wrong in ["from=agent:1", "from=contact:x", "since=yesterday"] {
        assert_eq!(http.ask(&format!("/search/messages?q=hello&{wrong}")).await.0, 422, "{wrong}");
    }
    let named = http
        .send("GET", "/api/v1/accounts/1/search/conversations?q=hello&since=1", None)
        .await;
    assert_eq!(named.headers["parley-ignored"], "since");
}
