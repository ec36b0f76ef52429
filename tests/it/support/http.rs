//! The JSON API as any HTTP client sees it. Every response is validated against the server's own `OpenAPI` description.

use reqwest::{Method, header::HeaderMap};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::description::Description;

/// A client of the JSON API with one token.
#[derive(Clone, Debug)]
pub struct Http {
    client: reqwest::Client,
    root: String,
    token: String,
}

/// A response.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    pub status: u16,
    pub headers: HeaderMap,
    /// The body: JSON as it is, other content as a string, null if empty.
    pub body: Value,
}

impl Http {
    /// A client of the REST gateway at `address` (`host:port`), without a token if that is empty.
    pub fn new(address: &str, token: &str) -> Self {
        Self::through(client(), format!("http://{address}"), token)
    }

    /// Like [`Self::new`], with the caller's HTTP client and the root URL `https://host:port`.
    pub fn through(client: reqwest::Client, root: String, token: &str) -> Self {
        Self {
            client,
            root,
            token: token.to_owned(),
        }
    }

    /// The same client with another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: token.to_owned(),
            ..self.clone()
        }
    }

    /// The description of the REST gateway. It is the same for every server of one program, whatever its settings, so it is fetched once
    /// and its compiled schemas serve all tests.
    pub async fn description(&self) -> &'static Description {
        static TOLD: OnceCell<Description> = OnceCell::const_new();
        TOLD.get_or_init(|| Description::read(&self.client, &self.root)).await
    }

    /// A request to a complete path such as `/api/v1/profile`, with the token. Send it with [`Self::answer`].
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let request = self.client.request(method, format!("{}{path}", self.root));
        if self.token.is_empty() {
            request
        } else {
            request.header("api_access_token", &self.token)
        }
    }

    /// Sends a request, and validates the response against the description.
    pub async fn answer(&self, request: reqwest::RequestBuilder) -> HttpAnswer {
        let request = request.build().expect("the request can be built");
        let (method, url) = (request.method().clone(), request.url().clone());
        let response = self.client.execute(request).await.expect("the server responds");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("the body arrives");
        let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let sent = (!text.is_empty()).then_some(text.as_str());
        self.description().await.check(method.as_str(), url.path(), status, kind, sent);
        let body = match sent {
            None => Value::Null,
            Some(text) if kind.starts_with("application/json") => serde_json::from_str(text).expect("the body is JSON"),
            Some(text) => Value::from(text),
        };
        HttpAnswer { status, headers, body }
    }

    /// Sends JSON, or no body, to a complete path.
    pub async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> HttpAnswer {
        let request = self.request(method, path);
        self.answer(match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
    }

    /// Posts JSON to a path of account 1. Panics unless the status is 200.
    pub async fn post(&self, path: &str, body: &Value) -> Value {
        let path = format!("/api/v1/accounts/1{path}");
        let answer = self.send("POST", &path, Some(body)).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    }
}

/// Reads and requests that may be refused.
impl Http {
    /// Reads a path of account 1. Returns the status and the body.
    pub async fn ask(&self, path: &str) -> (u16, Value) {
        let answer = self.send("GET", &format!("/api/v1/accounts/1{path}"), None).await;
        (answer.status, answer.body)
    }

    /// Posts JSON to a path of account 1. Returns the status and the body.
    pub async fn try_post(&self, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.send("POST", &format!("/api/v1/accounts/1{path}"), Some(body)).await;
        (answer.status, answer.body)
    }
}

/// A plain HTTP client.
pub fn client() -> reqwest::Client {
    // An error means that another test has already installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        // Loading the system's root certificates takes longer than most tests.
        .tls_certs_only([])
        .build()
        .expect("a client without TLS roots is always made")
}
