//! Pages from other origins: preflights, and the CORS headers of every response.

use reqwest::{Client, Method, Response, header::HeaderMap};
use serde_json::json;

use crate::support::{
    app::{ADMINISTRATOR, TestApp},
    database::Backend,
    http::client,
};

const INBOX: &str = "inbox-of-the-page";
const DESK: &str = "https://desk.example.org";
const OTHER: &str = "https://elsewhere.example.org";

struct Page {
    client: Client,
    root: String,
    origin: &'static str,
}

impl Page {
    fn new(app: &TestApp, origin: &'static str) -> Self {
        Self {
            client: client(),
            root: format!("http://{}", app.server.listeners.http),
            origin,
        }
    }

    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        self.client
            .request(method, format!("{}{path}", self.root))
            .header("origin", self.origin)
    }

    async fn preflight(&self, path: &str, method: &str) -> Response {
        let request = self
            .request("OPTIONS", path)
            .header("access-control-request-method", method)
            .header("access-control-request-headers", "authorization,content-type,idempotency-key");
        request.send().await.expect("an answer")
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn assert_allowed(response: &Response, origin: &str, method: &str, what: &str) {
    assert_eq!(response.status(), 200, "{what}");
    let headers = response.headers();
    assert_eq!(header(headers, "access-control-allow-origin"), origin, "{what}");
    assert_eq!(header(headers, "access-control-allow-methods"), method, "{what}");
    assert_eq!(
        header(headers, "access-control-allow-headers"),
        "authorization,content-type,idempotency-key",
        "{what}"
    );
    assert_eq!(header(headers, "access-control-max-age"), "3600", "{what}");
    assert!(!headers.contains_key("access-control-allow-credentials"), "{what}");
}

#[tokio::test]
async fn every_client_api_route_answers_preflights() {
    let app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", INBOX)
        .start()
        .await;
    let page = Page::new(&app, OTHER);
    let mut seen = 0;
    for (method, template) in app.http().description().await.operations() {
        let path = template.replace("{inbox_identifier}", INBOX).replace(['{', '}'], "");
        let answer = page.preflight(&path, &method).await;
        if path.starts_with("/public/api/") {
            seen += 1;
            assert_allowed(&answer, "*", &method, &path);
            assert_allowed(&page.preflight(&format!("/{path}/"), &method).await, "*", &method, &path);
        } else {
            assert_eq!(answer.status(), 404, "{path}: no origin is configured");
            assert!(!answer.headers().contains_key("access-control-allow-origin"), "{path}");
        }
    }
    assert!(seen > 10, "{seen}");
    // An OPTIONS request that is not a preflight has no route.
    let plain = page
        .request("OPTIONS", &format!("/public/api/v1/inboxes/{INBOX}"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(plain.status(), 404);
}

#[tokio::test]
async fn pages_can_read_refusals_of_the_client_api() {
    let app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", INBOX)
        .env("PARLEY_HTTP_MAX_BODY_BYTES", "1024")
        .env("PARLEY_LIMITS_ANONYMOUS_CALLS_PER_MINUTE_PER_ADDRESS", "7")
        .start()
        .await;
    let page = Page::new(&app, OTHER);
    let inbox = format!("/public/api/v1/inboxes/{INBOX}");
    let contacts = format!("{inbox}/contacts");
    let long = json!({"name": "x".repeat(2000)}).to_string();
    let wrong = json!({"email": "nobody"}).to_string();
    let unsigned = json!({"identifier": "a", "identifier_hash": "00"}).to_string();
    for (status, method, path, body) in [
        (200, "GET", inbox.as_str(), String::new()),
        (404, "GET", "/public/api/v1/inboxes/nowhere", String::new()),
        (400, "POST", &contacts, "{".to_owned()),
        (401, "POST", &contacts, unsigned),
        (413, "POST", &contacts, long),
        (422, "POST", &contacts, wrong),
        (404, "POST", &inbox, String::new()),
    ] {
        let request = page.request(method, path).header("content-type", "application/json").body(body);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), status, "{method} {path}");
        assert_eq!(header(answer.headers(), "access-control-allow-origin"), "*", "{status}");
        assert!(
            header(answer.headers(), "access-control-expose-headers").contains("retry-after"),
            "{status}"
        );
    }
    let mut last = None;
    for _ in 0..8 {
        let answer = page.request("GET", &inbox).send().await.expect("an answer");
        if answer.status() == 429 {
            last = Some(answer);
            break;
        }
    }
    let limited = last.expect("the limit of the address is reached");
    assert_eq!(header(limited.headers(), "access-control-allow-origin"), "*");
    assert!(limited.headers().contains_key("retry-after"));
    // Preflights are not charged: otherwise the page could not read the refusal.
    assert_allowed(&page.preflight(&contacts, "POST").await, "*", "POST", "limited");
}

#[tokio::test]
async fn configured_origins_may_call_token_apis() {
    let app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_HTTP_CORS_ALLOWED_ORIGINS", &format!("http://localhost:3000, {DESK}"))
        .start()
        .await;
    let (desk, other) = (Page::new(&app, DESK), Page::new(&app, OTHER));
    let account = "/api/v1/accounts/1";
    for (method, path) in [
        ("GET", "/events"),
        ("POST", "/contacts"),
        ("PATCH", "/inboxes/1/"),
        ("DELETE", "/contacts/1.json"),
    ] {
        let path = format!("{account}{path}");
        assert_allowed(&desk.preflight(&path, method).await, DESK, method, &path);
        let refused = other.preflight(&path, method).await;
        assert!(!refused.headers().contains_key("access-control-allow-origin"), "{path}");
    }
    // The platform API is for servers.
    for path in ["/platform/api/v1/users", "/openapi.json", "/files/a/b"] {
        let answer = desk.preflight(path, "GET").await;
        assert!(!answer.headers().contains_key("access-control-allow-origin"), "{path}");
    }
    for (page, allowed) in [(&desk, DESK), (&other, "")] {
        for (path, status, token) in [
            ("/contacts", 200, ADMINISTRATOR),
            ("/contacts/99", 404, ADMINISTRATOR),
            ("/contacts", 401, "nobody"),
            ("/events?start=latest", 200, ADMINISTRATOR),
            ("/events?start=never", 422, ADMINISTRATOR),
        ] {
            let request = page.request("GET", &format!("{account}{path}")).bearer_auth(token);
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.status(), status, "{path}");
            assert_eq!(header(answer.headers(), "access-control-allow-origin"), allowed, "{path}");
            let exposed = header(answer.headers(), "access-control-expose-headers");
            for name in ["parley-cursor", "parley-ignored", "ratelimit-remaining", "retry-after"] {
                assert!(exposed.contains(name), "{name}: {exposed:?}");
            }
        }
    }
}
