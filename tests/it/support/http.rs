//! The JSON API as any HTTP client sees it.

use serde_json::Value;

/// A client of the JSON door that shows one token.
#[derive(Clone, Debug)]
pub struct Http {
    client: reqwest::Client,
    base: String,
    token: String,
}

impl Http {
    /// A client of the door at `address` (`host:port`).
    pub fn new(address: &str, token: &str) -> Self {
        Self {
            client: client(),
            base: format!("http://{address}/api/v1/accounts/1"),
            token: token.to_owned(),
        }
    }

    /// Posts JSON to a path of account 1, and fails unless it is answered with 200.
    pub async fn post(&self, path: &str, body: &Value) -> Value {
        let request = self.client.post(format!("{}{path}", self.base)).json(body);
        answer(request.header("api_access_token", &self.token)).await
    }
}

/// Reads and plain refusals.
impl Http {
    /// Gets a path of account 1: the status and the body.
    pub async fn ask(&self, path: &str) -> (u16, Value) {
        let request = self.client.get(format!("{}{path}", self.base));
        told(request.header("api_access_token", &self.token)).await
    }

    /// Posts JSON to a path of account 1: the status and the body.
    pub async fn try_post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.client.post(format!("{}{path}", self.base)).json(body);
        told(request.header("api_access_token", &self.token)).await
    }
}

async fn told(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.expect("the door answers");
    let status = response.status().as_u16();
    let body = response.text().await.expect("the body arrives");
    (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

/// A plain HTTP client.
pub fn client() -> reqwest::Client {
    // An error says that another test was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client without TLS roots is always made")
}

async fn answer(request: reqwest::RequestBuilder) -> Value {
    let response = request.send().await.expect("the door answers");
    let (status, url) = (response.status(), response.url().clone());
    let body = response.text().await.expect("the body arrives");
    assert_eq!(status, 200, "{url}: {body}");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{url}: {error} in {body}"))
}
