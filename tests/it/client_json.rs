//! The client API as JSON: the calls of contacts' clients to `/public/api/v1`.

use parley_proto::ListMessagesRequest;
use serde_json::{Value, json};

use crate::{
    client_api::identifier,
    support::{app::TestApp, database::Backend, on_both},
};

on_both!(client_api_returns_the_documented_json);

async fn ask(app: &TestApp, method: reqwest::Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let http = app.http().with_token("");
    let mut request = http.request(method.as_str(), &format!("/public/api/v1/inboxes/{path}"));
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = http.answer(request.header("origin", "https://shop.example")).await;
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
    (answer.status, answer.body)
}

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = object.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

async fn client_api_returns_the_documented_json(backend: Backend) {
    use reqwest::Method;
    let app = TestApp::start(backend).await;
    let inbox_path = identifier(&app.clients(), 1).await;
    let (status, inbox) = ask(&app, Method::GET, &inbox_path, None).await;
    assert_eq!((status, inbox["working_hours"].as_array().map(Vec::len)), (200, Some(7)));
    let (status, missing) = ask(&app, Method::GET, "nowhere", None).await;
    assert_eq!((status, missing), (404, json!({"status": 404, "error": "Not Found"})));
    let made = json!({"source_id": "one", "name": "Asha Rao", "email": "Asha@example.com", "custom_attributes": {"a": {"b": 1}}});
    let (status, made) = ask(&app, Method::POST, &format!("{inbox_path}/contacts"), Some(made)).await;
    assert_eq!(status, 200);
    assert_eq!(keys(&made), ["email", "id", "name", "phone_number", "pubsub_token", "source_id"]);
    let me = format!("{inbox_path}/contacts/one");
    assert_eq!(ask(&app, Method::GET, &me, None).await, (200, made.clone()));
    let (status, wrong) = ask(&app, Method::GET, &format!("{me}?identifier=x&identifier_hash=00"), None).await;
    assert_eq!((status, wrong), (401, json!({"status": 401, "error": "Unauthorized"})));
    let (status, record) = ask(
        &app,
        Method::PATCH,
        &me,
        Some(json!({"name": "", "custom_attributes": {"a": {"c": 2}}})),
    )
    .await;
    assert_eq!(
        (status, &record["name"], &record["custom_attributes"]),
        (200, &json!("Asha Rao"), &json!({"a": {"b": 1, "c": 2}}))
    );
    assert_eq!(
        (&record["contact_type"], &record["last_activity_at"]),
        (&json!("lead"), &Value::Null)
    );
    let (status, bad) = ask(&app, Method::PATCH, &me, Some(json!({"email": "nobody"}))).await;
    assert_eq!(
        (status, bad),
        (422, json!({"message": "Email Invalid email", "attributes": ["email"]}))
    );

    let all = format!("{me}/conversations");
    assert_eq!(ask(&app, Method::GET, &all, None).await, (200, json!([])));
    let (status, conversation) = ask(&app, Method::POST, &all, Some(json!({"status": "resolved"}))).await;
    assert_eq!(
        (status, &conversation["status"], &conversation["messages"]),
        (200, &json!("open"), &json!([]))
    );
    assert_eq!(conversation["contact_last_seen_at"], 0);
    let one = format!("{all}/{}", conversation["id"]);
    let messages = format!("{one}/messages");
    let said = json!({"content": "Where is my order?", "echo_id": "e", "message_type": "outgoing", "private": true});
    let (status, said) = ask(&app, Method::POST, &messages, Some(said)).await;
    assert_eq!(
        (status, &said["message_type"], &said["sender"]["type"]),
        (200, &json!(0), &json!("contact"))
    );
    assert_eq!(
        keys(&said),
        [
            "content",
            "content_attributes",
            "content_type",
            "conversation_id",
            "created_at",
            "id",
            "message_type",
            "sender"
        ]
    );
    assert_eq!(
        ask(&app, Method::POST, &messages, Some(json!({}))).await.0,
        200,
        "an empty message is taken"
    );
    let values = json!({"submitted_values": [{"name": "n", "title": "t", "value": "v"}]});
    let (status, submitted) = ask(&app, Method::PATCH, &format!("{messages}/{}", said["id"]), Some(values.clone())).await;
    assert_eq!((status, &submitted["content_attributes"]), (200, &values));
    assert_eq!(ask(&app, Method::PATCH, &format!("{messages}/999"), Some(values)).await.0, 404);
    let (_, listed) = ask(&app, Method::GET, &messages, None).await;
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
    for (path, body) in [
        ("toggle_typing?typing_status=on", None),
        ("toggle_typing", Some(json!({"typing_status": "?"}))),
        ("update_last_seen", None),
    ] {
        assert_eq!(ask(&app, Method::POST, &format!("{one}/{path}"), body).await, (200, Value::Null));
    }
    for _ in 0..2 {
        let (status, resolved) = ask(&app, Method::POST, &format!("{one}/toggle_status"), None).await;
        assert_eq!((status, &resolved["status"]), (200, &json!("resolved")));
        assert_eq!(resolved["messages"].as_array().map(Vec::len), Some(2));
    }
    assert_eq!(ask(&app, Method::GET, &format!("{all}/999"), None).await.0, 404);
    let (_, listed) = ask(&app, Method::GET, &all, None).await;
    assert_eq!(listed[0]["messages"].as_array().map(Vec::len), Some(2));
    assert!(listed[0]["contact_last_seen_at"].as_i64() > Some(0));
    let lines: Vec<String> = app
        .fixture()
        .clients
        .messages
        .clone()
        .list_messages(ListMessagesRequest {
            account_id: 1,
            conversation_id: 1,
            ..ListMessagesRequest::default()
        })
        .await
        .expect("listed")
        .into_inner()
        .messages
        .into_iter()
        .filter_map(|message| message.content)
        .collect();
    assert!(lines.contains(&"Conversation was resolved by Asha Rao".to_owned()), "{lines:?}");
}
