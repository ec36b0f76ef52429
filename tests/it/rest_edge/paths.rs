//! Paths that Rails routes to the same action are routed to the same route, without a redirect.

use reqwest::{Client, Method};
use serde_json::{Value as Json, json};

use crate::{
    client_api::identifier,
    routes::{body_schema, plain},
    support::{
        app::{ADMINISTRATOR, TestApp},
        database::Backend,
        http::client,
        on_both,
    },
};

on_both!(every_spelling_of_a_path_accepts_bodies, percent_encoded_segments_are_data);

/// A client that sends paths without normalizing them.
struct Raw {
    client: Client,
    root: String,
    token: &'static str,
}

impl Raw {
    fn new(app: &TestApp, token: &'static str) -> Self {
        Self {
            client: client(),
            root: format!("http://{}", app.server.listeners.http),
            token,
        }
    }

    async fn send(&self, method: &str, path: &str, body: Option<&Json>) -> (u16, String) {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.client.request(method, format!("{}{path}", self.root));
        if !self.token.is_empty() {
            request = request.header("api_access_token", self.token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        (status, response.text().await.expect("the body arrives"))
    }
}

/// Other spellings of the same path.
fn spellings(path: &str) -> Vec<String> {
    let mut all = vec![
        format!("{path}/"),
        format!("{path}//"),
        format!("/{path}"),
        path.replace('/', "//"),
        format!("{}/", path.replace('/', "///")),
    ];
    if ["/api/", "/public/api/", "/platform/api/"]
        .iter()
        .any(|root| path.starts_with(root))
    {
        all.extend([format!("{path}.json"), format!("{path}.json/"), format!("/{path}.json//")]);
    }
    all
}

fn filled(template: &str, inbox: &str) -> String {
    let parts = template.split('/').map(|part| match part {
        "{inbox_identifier}" => inbox,
        "{account_id}" => "1",
        part if part.starts_with('{') => "77",
        part => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Without a token, so that no call changes anything between two spellings, and each route refuses in its own way: with 401, or with the
/// client API's response.
#[tokio::test]
async fn every_route_is_found_in_each_spelling() {
    let app = TestApp::start(Backend::Sqlite).await;
    let description = app.http().description().await;
    let inbox = identifier(&app.clients(), 1).await;
    let raw = Raw::new(&app, "");
    let unknown = r#"{"status":404,"error":"Not Found"}"#.to_owned();
    let mut found = 0;
    for (method, template) in description.operations() {
        let path = filled(&template, &inbox);
        let operation = &description.document()["paths"][&template][method.to_ascii_lowercase()];
        let schema = body_schema(operation);
        let body = (!schema.is_null()).then(|| plain(schema, &description.document()["components"], false));
        let expected = raw.send(&method, &path, body.as_ref()).await;
        // Creating a session returns new identifiers each time, and the version contains the time.
        let is_other = expected.0 == 200 && (method == "POST" || template == "/api");
        for spelling in spellings(&path) {
            let answer = raw.send(&method, &spelling, body.as_ref()).await;
            assert_eq!(answer.0, expected.0, "{method} {spelling}: {}", answer.1);
            assert!(
                is_other || answer.1 == expected.1,
                "{method} {spelling}: {} and not {}",
                answer.1,
                expected.1
            );
            if method == "GET" {
                assert_eq!(
                    raw.send("HEAD", &spelling, None).await,
                    (expected.0, String::new()),
                    "HEAD {spelling}"
                );
            }
        }
        found += usize::from(expected.1 != unknown);
    }
    assert!(found > 100, "most routes refuse for want of a token: {found}");
    for path in [
        "/api/v1/profile/.json",
        "/api/v1/profile.json.json",
        "/api/v1/accounts/1/contacts.json/7",
        "/apis//",
    ] {
        assert_eq!(raw.send("GET", path, None).await, (404, unknown.clone()), "{path}");
    }
    // A WebSocket path in another spelling is refused because the upgrade is missing, and not as an unknown route.
    for path in ["/cable", "/cable/", "//cable"] {
        assert_ne!(raw.send("GET", path, None).await.0, 404, "{path}");
    }
}

async fn every_spelling_of_a_path_accepts_bodies(backend: Backend) {
    let app = TestApp::start(backend).await;
    let raw = Raw::new(&app, ADMINISTRATOR);
    let read = |answer: (u16, String)| -> Json {
        assert_eq!(answer.0, 200, "{}", answer.1);
        serde_json::from_str(&answer.1).expect("JSON")
    };
    let inboxes = "/api/v1/accounts/1/inboxes";
    for (number, spelling) in spellings(inboxes).iter().enumerate() {
        let name = format!("Shop {number}");
        let made = read(
            raw.send("POST", spelling, Some(&json!({"name": name, "channel": {"type": "api"}})))
                .await,
        );
        assert_eq!(made["name"], name.as_str(), "{spelling}");
    }
    for (number, spelling) in spellings(&format!("{inboxes}/2")).iter().enumerate() {
        for method in ["PATCH", "PUT"] {
            let name = format!("{method} {number}");
            let changed = read(raw.send(method, spelling, Some(&json!({ "name": name }))).await);
            assert_eq!((&changed["id"], &changed["name"]), (&json!(2), &json!(name)), "{spelling}");
        }
    }
    raw.send(
        "POST",
        "/api/v1/accounts/1/contacts",
        Some(&json!({"name": "Asha", "email": "asha@example.com"})),
    )
    .await;
    let found = read(
        raw.send("GET", "//api/v1/accounts/1/contacts/search.json/?q=asha@example.com", None)
            .await,
    );
    assert_eq!(found["payload"].as_array().map(Vec::len), Some(1));
    read(raw.send("DELETE", "/api/v1//accounts/1/inboxes/3.json/", None).await);
    assert_eq!(raw.send("GET", &format!("{inboxes}/3"), None).await.0, 404);
    // Ids may be strings, in bodies as in paths.
    let asked = json!({"inbox_id": "2", "contact_id": "1", "assignee_id": "1"});
    let made = read(raw.send("POST", "/api/v1/accounts/1/conversations/", Some(&asked)).await);
    assert_eq!((&made["inbox_id"], &made["meta"]["assignee"]["id"]), (&json!(2), &json!(1)));
}

async fn percent_encoded_segments_are_data(backend: Backend) {
    let app = TestApp::start(backend).await;
    let contacts = format!("/public/api/v1/inboxes/{}/contacts", identifier(&app.clients(), 1).await);
    let raw = Raw::new(&app, "");
    for id in ["a/b", "a//b/", "x.json"] {
        let (status, made) = raw.send("POST", &contacts, Some(&json!({"source_id": id}))).await;
        assert_eq!(status, 200, "{made}");
    }
    for (segment, id) in [
        ("a%2Fb", "a/b"),
        ("a%2fb", "a/b"),
        ("a%2F%2Fb%2F", "a//b/"),
        ("x%2Ejson", "x.json"),
        ("x%2ejson.json/", "x.json"),
    ] {
        for end in ["", "/"] {
            let (status, shown) = raw.send("GET", &format!("{contacts}//{segment}{end}"), None).await;
            assert_eq!(status, 200, "{segment}: {shown}");
            let shown: Json = serde_json::from_str(&shown).expect("JSON");
            assert_eq!(shown["source_id"], id, "{segment}");
        }
    }
    for other in ["a/b", "x.json"] {
        assert_eq!(raw.send("GET", &format!("{contacts}/{other}"), None).await.0, 404, "{other}");
    }
}
