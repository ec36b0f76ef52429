//! An idempotency key belongs to the caller that used it.

use std::net::IpAddr;

use parley_proto::{Contact, CreateContactRequest, CreateTokenRequest, TokenKind};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::support::{
    app::{ADMINISTRATOR, TestApp},
    clients::Clients,
    database::Backend,
    http::Http,
    on_both,
};

on_both!(
    key_belongs_to_caller,
    key_outlives_token,
    visitors_do_not_share_keys,
    visitors_behind_a_proxy_do_not_share_keys,
    visitor_cannot_occupy_the_key_of_another_caller,
    rows_without_owner_are_honoured
);

const CONTACTS: &str = "/public/api/v1/inboxes/inbox-a/contacts";

async fn app(backend: Backend) -> TestApp {
    let builder = TestApp::builder(backend).platform();
    builder.env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", "inbox-a").start().await
}

/// A client of the JSON API that connects from a loopback address.
fn from(app: &TestApp, address: &str) -> Http {
    let address: IpAddr = address.parse().expect("an address");
    let client = reqwest::Client::builder()
        .no_proxy()
        .local_address(address)
        .build()
        .expect("a client");
    Http::through(client, format!("http://{}", app.server.listeners.http), "")
}

async fn keyed(http: &Http, path: &str, key: &str, body: &Json) -> (u16, Json) {
    let request = http.request("POST", path).header("Idempotency-Key", key).json(body);
    let answer = http.answer(request).await;
    (answer.status, answer.body)
}

async fn token(app: &TestApp, request: CreateTokenRequest) -> Clients {
    let made = app.platform().accounts.create_token(request).await.expect("a token").into_inner();
    app.clients_with(&made.secret)
}

fn service(name: &str) -> CreateTokenRequest {
    CreateTokenRequest {
        kind: TokenKind::Service.into(),
        account_id: Some(1),
        name: name.to_owned(),
        ..CreateTokenRequest::default()
    }
}

fn contact(request_id: &str, name: &str) -> CreateContactRequest {
    CreateContactRequest {
        account_id: 1,
        request_id: request_id.to_owned(),
        name: name.to_owned(),
        ..CreateContactRequest::default()
    }
}

async fn create(clients: &Clients, request: CreateContactRequest) -> Contact {
    let made = clients.contacts.clone().create_contact(request).await.expect("the contact is made");
    made.into_inner().contact.expect("always set")
}

/// A visitor's key does not block callers with tokens, and does not replay their responses. The same holds among callers with tokens.
async fn key_belongs_to_caller(backend: Backend) {
    let app = app(backend).await;
    let http = app.http();
    let (status, _) = keyed(&http.with_token(""), CONTACTS, "order-7", &json!({"name": "x"})).await;
    assert_eq!(status, 200);
    let path = "/api/v1/accounts/1/contacts";
    let body = json!({"name": "integrator"});
    let (status, made) = keyed(&http, path, "order-7", &body).await;
    assert_eq!(status, 200, "{made}");
    let (status, again) = keyed(&http, path, "order-7", &body).await;
    assert_eq!((status, &again), (200, &made), "the caller's own repetition is recognised");
    let (status, _) = keyed(&http, path, "order-7", &json!({"name": "another"})).await;
    assert_eq!(status, 409, "the caller's own key is not used for two requests");

    let id = Uuid::new_v4().to_string();
    let (one, other) = (token(&app, service("one")).await, token(&app, service("other")).await);
    let user = create(&app.clients(), contact(&id, "same")).await;
    let first = create(&one, contact(&id, "same")).await;
    let second = create(&other, contact(&id, "another body")).await;
    let ids = [user.id, first.id, second.id];
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
    for (clients, body, id_before) in [
        (&app.clients(), "same", ids[0]),
        (&one, "same", ids[1]),
        (&other, "another body", ids[2]),
    ] {
        assert_eq!(create(clients, contact(&id, body)).await.id, id_before, "each repeats its own");
    }
}

/// Keys belong to the user or service and not to the token, so a retry with a rotated token gets the stored response.
async fn key_outlives_token(backend: Backend) {
    let app = app(backend).await;
    let of_user = CreateTokenRequest {
        kind: TokenKind::User.into(),
        user_id: Some(1),
        ..CreateTokenRequest::default()
    };
    for request in [of_user, service("crm")] {
        let id = Uuid::new_v4().to_string();
        let (old, new) = (token(&app, request.clone()).await, token(&app, request).await);
        let made = create(&old, contact(&id, "once")).await;
        assert_eq!(create(&new, contact(&id, "once")).await.id, made.id);
    }
}

/// The same key and body from another visitor create another session: the stored response contains the credential of the first session.
async fn visitors_do_not_share_keys(backend: Backend) {
    let app = app(backend).await;
    let (one, other) = (from(&app, "127.0.0.2"), from(&app, "127.0.0.3"));
    let body = json!({"name": "x"});
    let (status, first) = keyed(&one, CONTACTS, "order-7", &body).await;
    assert_eq!(status, 200, "{first}");
    let (_, again) = keyed(&one, CONTACTS, "order-7", &body).await;
    assert_eq!(again["source_id"], first["source_id"], "the visitor's own repetition is recognised");
    let (status, second) = keyed(&other, CONTACTS, "order-7", &body).await;
    assert_eq!(status, 200, "{second}");
    assert_ne!(second["source_id"], first["source_id"]);
    assert_ne!(second["pubsub_token"], first["pubsub_token"]);

    // A session owns its keys, wherever it calls from.
    let session = |contact: &Json| format!("{CONTACTS}/{}/conversations", contact["source_id"].as_str().expect("a name"));
    let (_, talk) = keyed(&one, &session(&first), "talk-1", &json!({})).await;
    let (_, again) = keyed(&other, &session(&first), "talk-1", &json!({})).await;
    assert_eq!(again["id"], talk["id"]);
    let (status, different) = keyed(&one, &session(&second), "talk-1", &json!({})).await;
    assert_eq!(status, 200, "{different}");
    assert_ne!(different["id"], talk["id"]);
}

/// The previous release stores no owner. Its rows are honoured for callers with a token, and never for visitors.
async fn rows_without_owner_are_honoured(backend: Backend) {
    let app = app(backend).await;
    let id = Uuid::new_v4().to_string();
    let visitor = app.http().with_token("");
    let made = create(&app.clients(), contact(&id, "once")).await;
    let key = Uuid::new_v4();
    let (_, session) = keyed(&visitor, CONTACTS, &key.to_string(), &json!({"name": "x"})).await;
    let literal = |id: &str| match backend {
        Backend::Sqlite => format!("x'{}'", id.replace('-', "")),
        Backend::Postgres => format!("'{id}'::uuid"),
    };
    // The previous release stores each response under the key itself.
    let (kept, visitors) = (literal(&id), literal(&key.to_string()));
    let downgrade = format!(
        "UPDATE idempotency_keys SET owner = NULL, contact_id = NULL, \
         request_id = CASE WHEN request_id = {kept} THEN request_id ELSE {visitors} END"
    );
    app.database.run(&downgrade).await;
    let again = create(&app.clients_with(ADMINISTRATOR), contact(&id, "once")).await;
    assert_eq!(again.id, made.id);
    let (status, other) = keyed(&visitor, CONTACTS, &key.to_string(), &json!({"name": "x"})).await;
    assert_eq!(status, 200);
    assert_ne!(other["source_id"], session["source_id"]);
    // A different request under the key is executed as the owner's first one, because the owner of the row is unknown.
    let different = create(&app.clients(), contact(&id, "different")).await;
    assert_ne!(different.id, made.id);
}

/// With the protection turned off, a visitor's key blocks an integration.
#[tokio::test]
async fn without_owners_a_stranger_blocks_a_key() {
    let builder = TestApp::builder(Backend::Sqlite).env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", "inbox-a");
    let app = builder.env("PARLEY_FAULT_SWITCH", "idempotency_owner").start().await;
    keyed(&app.http().with_token(""), CONTACTS, "order-7", &json!({"name": "x"})).await;
    let (status, _) = keyed(
        &app.http(),
        "/api/v1/accounts/1/contacts",
        "order-7",
        &json!({"name": "integrator"}),
    )
    .await;
    assert_eq!(status, 409);
}

/// Without `limits.trusted_proxies`, all callers behind a proxy share an address. A response to one of them is not replayed to another.
async fn visitors_behind_a_proxy_do_not_share_keys(backend: Backend) {
    let app = app(backend).await;
    let http = app.http().with_token("");
    let mut sources = Vec::new();
    for client in ["192.0.2.1", "192.0.2.2", "192.0.2.1"] {
        let request = http.request("POST", CONTACTS).header("X-Forwarded-For", client);
        let answer = http
            .answer(request.header("Idempotency-Key", "same").json(&json!({"name": "x"})))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        sources.push(answer.body["source_id"].as_str().expect("a session").to_owned());
    }
    sources.sort_unstable();
    sources.dedup();
    assert_eq!(sources.len(), 3, "{sources:?}");
}

/// The id under which a response to user 1 for the key `order-7` is stored if another caller already uses the key. Anyone can compute it.
const STORED_FOR_USER_1: &str = "45b7d137-23c4-8db9-9b6a-58fbfd1a89b2";

async fn visitor_cannot_occupy_the_key_of_another_caller(backend: Backend) {
    let app = app(backend).await;
    let http = app.http();
    let visitor = http.with_token("");
    for key in [STORED_FOR_USER_1, "order-7"] {
        let (status, _) = keyed(&visitor, CONTACTS, key, &json!({"name": "x"})).await;
        assert_eq!(status, 200);
    }
    let path = "/api/v1/accounts/1/contacts";
    let body = json!({"name": "integrator"});
    let (status, made) = keyed(&http, path, "order-7", &body).await;
    assert_eq!(status, 200, "{made}");
    let (_, again) = keyed(&http, path, "order-7", &body).await;
    assert_eq!(again, made, "the caller's own repetition is recognised");
}
