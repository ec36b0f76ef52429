//! Rates, quotas, streams and descriptors that one stranger can use.

mod connections;
mod descriptors;
mod page;
mod proxies;
mod rates;
mod stalled;
mod unread;
mod uploads;
mod window;

use std::net::IpAddr;

use parley_proto::{CreateTokenRequest, TokenKind};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::support::app::{Builder, TestApp};

/// The public identifier of the inbox in these tests.
const INBOX: &str = "inbox-a";

/// A server with the default limits.
fn with_product_limits(mut builder: Builder) -> Builder {
    let defaults: toml::Table = include_str!("../../../../src/config.default.toml")
        .parse()
        .expect("the defaults are TOML");
    for (key, value) in defaults["limits"].as_table().expect("a table") {
        if let Some(number) = value.as_integer() {
            builder = builder.env(&format!("PARLEY_LIMITS_{}", key.to_uppercase()), &number.to_string());
        }
    }
    builder.env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", INBOX)
}

/// A visitor's browser with its own address.
#[derive(Clone)]
struct Visitor {
    client: reqwest::Client,
    root: String,
    headers: HeaderMap,
}

impl Visitor {
    /// A visitor at 127.0.0.`last`.
    fn at(app: &TestApp, last: u8) -> Self {
        // An error means that another test has already installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().local_address(IpAddr::from([127, 0, 0, last]));
        Self {
            client: client.build().expect("a client"),
            root: format!("http://{}", app.server.listeners.http),
            headers: HeaderMap::new(),
        }
    }

    /// The same visitor with one more header.
    fn with(&self, name: &'static str, value: &str) -> Self {
        let mut visitor = self.clone();
        visitor.headers.insert(name, value.parse().expect("a header"));
        visitor
    }

    async fn send(&self, method: &str, path: &str, body: Option<Value>) -> reqwest::Response {
        let method = method.parse().expect("a method");
        let request = self
            .client
            .request(method, format!("{}{path}", self.root))
            .headers(self.headers.clone());
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        request.send().await.expect("an answer")
    }

    async fn post(&self, path: &str, body: Value) -> reqwest::Response {
        self.send("POST", &format!("/public/api/v1/inboxes/{INBOX}/contacts{path}"), Some(body))
            .await
    }

    /// Creates a session. Returns its source id and its pubsub token.
    async fn session(&self) -> (String, String) {
        let answer = self.post("", json!({})).await;
        assert_eq!(answer.status(), 200);
        let body: Value = answer.json().await.expect("JSON");
        let text = |key: &str| body[key].as_str().expect("a text").to_owned();
        (text("source_id"), text("pubsub_token"))
    }

    /// How many of `tries` new sessions are created; the others are refused with a retry delay.
    async fn sessions(&self, tries: usize) -> usize {
        let mut made = 0;
        for _ in 0..tries {
            let answer = self.post("", json!({})).await;
            match answer.status().as_u16() {
                200 => made += 1,
                429 => assert!(retry_after(&answer) >= 1),
                other => panic!("{other}"),
            }
        }
        made
    }
}

/// The seconds of a `Retry-After` header.
fn retry_after(answer: &reqwest::Response) -> u64 {
    let header = answer.headers().get("retry-after").expect("says when to come again");
    header.to_str().expect("ASCII").parse().expect("a number")
}

/// The secret of a new service token of account 1.
async fn service_token(app: &TestApp) -> String {
    let request = CreateTokenRequest {
        kind: TokenKind::Service.into(),
        account_id: Some(1),
        name: "integrator".to_owned(),
        ..CreateTokenRequest::default()
    };
    let made = app.clients().accounts.create_token(request).await.expect("a token");
    made.into_inner().secret
}
