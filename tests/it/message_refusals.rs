//! The error table for creating messages in section 8.5 of the JSON contract, row by row.

use serde_json::{Value, json};

use crate::support::{app::TestApp, database::Backend, on_both};

on_both!(every_row_of_the_error_table_holds);

fn with(content_type: &str, items: &Value) -> Value {
    json!({"content": "a", "content_type": content_type, "content_attributes": {"items": items}})
}

async fn every_row_of_the_error_table_holds(backend: Backend) {
    let app = TestApp::start(backend).await;
    let http = app.http();
    let talk = app.fixture().talk().await;
    let path = format!("/conversations/{talk}/messages");
    let needed = "Validation failed: Content attributes At least one item is required.";
    let card = |key: &str, action: Value| with("cards", &json!([{"title": "Kettle", key: [action]}]));
    let rows = [
        (
            json!({"content": "x".repeat(150_001)}),
            "Validation failed: Content is too long (maximum is 150000 characters)",
        ),
        (with("input_select", &json!([])), needed),
        (json!({"content_type": "article"}), needed),
        (
            with("form", &json!(["a"])),
            "Validation failed: Content attributes Items should be a hash.",
        ),
        (
            with("input_select", &json!([{"title": "S", "value": "s", "foo": 1}])),
            "Validation failed: Content attributes contains invalid keys for items : [:foo]",
        ),
        (
            with("cards", &json!([{"title": "Kettle"}])),
            "Validation failed: Content attributes contains items missing actions",
        ),
        (
            card("actions", json!({"type": "link", "foo": 1})),
            "Validation failed: Content attributes contains invalid keys for actions:  [:foo]",
        ),
        (json!({"message_type": "foo"}), "'foo' is not a valid message_type"),
        (json!({"content_type": "foo"}), "'foo' is not a valid content_type"),
        (
            json!({"template_params": {"language": "en"}}),
            "Validation failed: Name is required",
        ),
    ];
    for (body, text) in rows {
        assert_eq!(http.try_post(&path, &body).await, (422, json!({"error": text})));
    }
    let missing = http.try_post("/conversations/99/messages", &json!({"content": "a"})).await;
    assert_eq!(missing, (404, json!({"error": "Resource could not be found"})));
    // Nothing was stored, and valid items are accepted.
    assert_eq!(http.ask(&path).await.1["payload"], json!([]));
    for (content_type, items) in [
        ("input_select", json!([{"title": "Small", "value": "s"}])),
        (
            "cards",
            json!([{"title": "Kettle", "actions": [{"type": "link", "text": "View", "uri": "https://shop.example.org"}]}]),
        ),
        (
            "article",
            json!([{"title": "How", "description": "to", "link": "https://shop.example.org"}]),
        ),
    ] {
        let (status, body) = http.try_post(&path, &with(content_type, &items)).await;
        assert_eq!((status, &body["content_attributes"]["items"]), (200, &items));
    }
}
