//! Visitors and sessions: what an unverified identity can reach, read and change.

mod contact_ids;
mod contact_scope;
mod matched_contacts;
mod planted;
mod session_scope;
mod texts;
mod visitor_view;
mod visitors;
mod vouching;

use hmac::{Hmac, KeyInit as _, Mac as _};
use parley_proto::{ClientSession, CreateTokenRequest, TokenKind};
use reqwest::Method;
use serde_json::{Value as Json, json};
use sha2::Sha256;

use crate::support::{
    app::TestApp,
    clients::Clients,
    database::Backend,
    http::{Http, HttpAnswer},
};

/// A server with this protection turned off; an empty name turns off none.
async fn start(backend: Backend, off: &str) -> TestApp {
    TestApp::builder(backend).platform().env("PARLEY_FAULT_SWITCH", off).start().await
}

/// The client API of an inbox, as a visitor uses it over REST.
struct Public {
    http: Http,
    contacts: String,
    key: String,
}

impl Public {
    async fn of(app: &TestApp, inbox: i64) -> Self {
        let (_, shown) = app.http().ask(&format!("/inboxes/{inbox}")).await;
        let text = |key: &str| shown[key].as_str().expect("administrators see it").to_owned();
        Self {
            http: app.http().with_token(""),
            contacts: format!("/public/api/v1/inboxes/{}/contacts", text("inbox_identifier")),
            key: text("hmac_token"),
        }
    }

    fn hash(&self, identifier: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.as_bytes()).expect("any length is a key");
        mac.update(identifier.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }

    /// `body` with an identifier and its signature.
    fn signed(&self, identifier: &str, mut body: Json) -> Json {
        body["identifier"] = json!(identifier);
        body["identifier_hash"] = json!(self.hash(identifier));
        body
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Json>) -> HttpAnswer {
        self.http.send(method.as_str(), &format!("{}{path}", self.contacts), body).await
    }

    /// Creates a session with this source id.
    async fn create(&self, source: &str, mut body: Json) -> Json {
        body["source_id"] = json!(source);
        let answer = self.ask(Method::POST, "", Some(&body)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    /// Updates the session.
    async fn update(&self, source: &str, body: Json) -> Json {
        let answer = self.ask(Method::PATCH, &format!("/{source}"), Some(&body)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    /// Reads the session with a signature, which marks it as verified.
    async fn prove(&self, source: &str, identifier: &str) -> HttpAnswer {
        let query = format!("/{source}?identifier={identifier}&identifier_hash={}", self.hash(identifier));
        self.ask(Method::GET, &query, None).await
    }

    /// Creates a conversation of the session.
    async fn talk(&self, source: &str) -> i64 {
        let answer = self.ask(Method::POST, &format!("/{source}/conversations"), Some(&json!({}))).await;
        answer.body["id"].as_i64().expect("a number")
    }

    /// The numbers of the conversations that the session lists.
    async fn listed(&self, source: &str) -> Vec<i64> {
        let answer = self.ask(Method::GET, &format!("/{source}/conversations"), None).await;
        let rows = answer.body.as_array().cloned().unwrap_or_default();
        rows.iter().filter_map(|row| row["id"].as_i64()).collect()
    }

    /// The session as gRPC requests identify it.
    fn session(&self, source: &str) -> ClientSession {
        ClientSession {
            inbox_identifier: self.contacts.split('/').nth(5).expect("an identifier").to_owned(),
            source_id: source.to_owned(),
        }
    }

    /// The statuses of reading a conversation and of sending a message to it.
    async fn reach(&self, source: &str, conversation: i64) -> (u16, u16) {
        let one = format!("/{source}/conversations/{conversation}");
        let read = self.ask(Method::GET, &one, None).await;
        let said = json!({"content": "as the contact"});
        let written = self.ask(Method::POST, &format!("{one}/messages"), Some(&said)).await;
        (read.status, written.status)
    }
}

/// Creates a contact with a session as a member.
async fn contact(app: &TestApp, inbox: i64, mut body: Json) -> i64 {
    body["inbox_id"] = json!(inbox);
    let made = app.http().post("/contacts", &body).await;
    made["payload"]["contact"]["id"].as_i64().expect("a number")
}

/// A contact as an administrator sees it.
async fn shown(app: &TestApp, contact: i64) -> Json {
    app.http().ask(&format!("/contacts/{contact}")).await.1["payload"].clone()
}

/// Starts a conversation with a contact as a member.
async fn begin(app: &TestApp, inbox: i64, contact: i64) -> i64 {
    let body = json!({"inbox_id": inbox, "contact_id": contact});
    app.http().post("/conversations", &body).await["id"].as_i64().expect("a number")
}

/// A service of account 1.
struct Service {
    clients: Clients,
    http: Http,
}

impl Service {
    async fn limited(app: &TestApp, inbox_ids: &[i64]) -> Self {
        Self::with(app, inbox_ids, false).await
    }

    async fn with(app: &TestApp, inbox_ids: &[i64], read_only: bool) -> Self {
        let request = CreateTokenRequest {
            account_id: Some(1),
            kind: TokenKind::Service.into(),
            name: "limited".to_owned(),
            inbox_ids: inbox_ids.to_vec(),
            read_only,
            ..CreateTokenRequest::default()
        };
        let secret = app
            .clients()
            .accounts
            .create_token(request)
            .await
            .expect("a token")
            .into_inner()
            .secret;
        Self {
            clients: app.clients_with(&secret),
            http: app.http().with_token(&secret),
        }
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Json>) -> HttpAnswer {
        self.http.send(method.as_str(), &format!("/api/v1/accounts/1{path}"), body).await
    }
}
