//! Names that a route does not know: they are reported, and an update that contains nothing else is refused.

use serde_json::{Value as Json, json};

use crate::{
    routes::{body_schema, plain},
    support::{
        app::TestApp,
        database::Backend,
        http::{Http, HttpAnswer},
        on_both,
    },
};

on_both!(update_with_only_unknown_names_is_refused, unknown_names_are_reported);

fn ignored(answer: &HttpAnswer) -> &str {
    answer
        .headers
        .get("parley-ignored")
        .map_or("", |value| value.to_str().expect("text"))
}

async fn send(http: &Http, method: &str, path: &str, body: Json) -> HttpAnswer {
    http.send(method, &format!("/api/v1/accounts/1{path}"), Some(&body)).await
}

/// A conversation with one message.
async fn conversation(http: &Http) -> (String, i64) {
    let contact = http.post("/contacts", &json!({"name": "Asha", "inbox_id": 1})).await;
    let asked = json!({"contact_id": contact["payload"]["contact"]["id"], "inbox_id": 1, "message": {"content": "old"}});
    let made = http.post("/conversations", &asked).await;
    let path = format!("/conversations/{}", made["id"]);
    let (_, list) = http.ask(&format!("{path}/messages")).await;
    let message = list["payload"].as_array().and_then(|all| all.last()).expect("a message")["id"].as_i64();
    (path, message.expect("an id"))
}

async fn update_with_only_unknown_names_is_refused(backend: Backend) {
    let app = TestApp::start(backend).await;
    let http = app.http();
    let (conversation, message) = conversation(&http).await;
    let message = format!("{conversation}/messages/{message}");
    let head = crate::support::reader::log_info(&app.clients(), 1).await.head_seq;
    for method in ["PATCH", "PUT"] {
        let edited = send(&http, method, &message, json!({"content": "new text"})).await;
        assert_eq!(edited.status, 422, "{}", edited.body);
        assert_eq!(edited.body["attributes"], json!(["content"]));
        assert_eq!(
            edited.body["message"],
            "content cannot be changed here; these attributes can: status, external_error"
        );
        for (path, body) in [
            (conversation.as_str(), json!({"subject": "x"})),
            ("/inboxes/1", json!({"colour": "red", "size": 1})),
            ("/agents/1", json!({"agent": {"password": "secret"}})),
            ("/contacts/1", json!({"nickname": "A"})),
        ] {
            let names: Vec<_> = match body.get("agent").and_then(Json::as_object) {
                Some(inner) => inner.keys().map(|name| format!("agent[{name}]")).collect(),
                None => body.as_object().expect("an object").keys().cloned().collect(),
            };
            let refused = send(&http, method, path, body).await;
            assert_eq!((refused.status, &refused.body["attributes"]), (422, &json!(names)), "{path}");
        }
    }
    // Without the root key, the contract's own error names the key.
    let bare = send(&http, "PATCH", "/agents/1", json!({"password": "secret"})).await;
    assert_eq!((bare.status, ignored(&bare)), (422, "password"));
    assert_eq!(bare.body["error"], "param is missing or the value is empty: agent");
    assert_eq!(
        crate::support::reader::log_info(&app.clients(), 1).await.head_seq,
        head,
        "nothing happened"
    );
    // Defined by the contract: an unknown status is ignored, and so is an empty body.
    let unknown = send(&http, "PATCH", &message, json!({"status": "unknown"})).await;
    assert_eq!((unknown.status, ignored(&unknown)), (200, ""));
    assert_eq!(send(&http, "PATCH", &message, json!({})).await.status, 200);
    // If the update changes something, the unknown names are reported.
    let both = send(&http, "PATCH", "/inboxes/1", json!({"name": "Shop", "colour": "red"})).await;
    assert_eq!((both.status, ignored(&both), &both.body["name"]), (200, "colour", &json!("Shop")));
    // Authorization is checked first.
    let stranger = send(&http.with_token("nobody"), "PATCH", &message, json!({"content": "x"})).await;
    assert_eq!(stranger.status, 401);
    let other = http
        .send("PATCH", "/api/v1/accounts/2/inboxes/1", Some(&json!({"colour": 1})))
        .await;
    assert_eq!(other.status, 401, "{}", other.body);
}

async fn unknown_names_are_reported(backend: Backend) {
    let app = TestApp::start(backend).await;
    let http = app.http();
    let made = send(
        &http,
        "POST",
        "/contacts?from=import",
        json!({"name": "Asha", "vip": true, "custom_attributes": {"x": 1}}),
    )
    .await;
    assert_eq!((made.status, ignored(&made)), (200, "vip, from"));
    let list = http
        .send("GET", "/api/v1/accounts/1/contacts?page=1&updated_after=5&labels[]=a", None)
        .await;
    assert_eq!((list.status, ignored(&list)), (200, "updated_after"));
    let profile = http.send("GET", "/api/v1/profile?fields[]=id&b=1", None).await;
    assert_eq!((profile.status, ignored(&profile)), (200, "fields, b"));
    let team = send(&http, "POST", "/teams", json!({"team": {"name": "sales", "icon": "x"}, "id": 5})).await;
    assert_eq!((team.status, ignored(&team)), (200, "team[icon], id"));
    let refused = send(&http, "POST", "/contacts", json!({"email": "nobody", "a b,\r\nc": 1})).await;
    assert_eq!((refused.status, ignored(&refused)), (422, "a%20b%2C%0D%0Ac"));
    let many: serde_json::Map<String, Json> = (0..5000).map(|number| (format!("name{number}"), json!(1))).collect();
    let many = send(&http, "POST", "/contacts", Json::Object(many)).await;
    assert!(
        ignored(&many).len() < 1100 && ignored(&many).ends_with(", ..."),
        "{}",
        ignored(&many)
    );
}

/// Names that the description lists for a route are never reported as unknown, whatever the response is.
#[tokio::test]
async fn described_names_are_never_reported_as_unknown() {
    let app = TestApp::builder(Backend::Sqlite).platform().start().await;
    let http = app.http();
    let description = http.description().await;
    let mut seen = 0;
    for (method, template) in description.operations() {
        if template.ends_with("/events") {
            continue;
        }
        let operation = &description.document()["paths"][&template][method.to_ascii_lowercase()];
        let path: Vec<_> = template
            .split('/')
            .map(|part| if part.starts_with('{') { "1" } else { part })
            .collect();
        let in_query = operation["parameters"].as_array().into_iter().flatten();
        let names = in_query
            .filter(|parameter| parameter["in"] == "query")
            .filter_map(|parameter| parameter["name"].as_str());
        let query: Vec<_> = names.map(|name| format!("{name}=1")).collect();
        let path = format!("{}?{}", path.join("/"), query.join("&"));
        let schema = body_schema(operation);
        let body = (!schema.is_null()).then(|| plain(schema, &description.document()["components"], true));
        let answer = http.send(&method, &path, body.as_ref()).await;
        assert_eq!(ignored(&answer), "", "{method} {path}: {}", answer.status);
        seen += 1;
    }
    assert!(seen > 100);
}
