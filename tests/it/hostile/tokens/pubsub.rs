//! Pubsub tokens have the limits of what they belong to, and end with it.

use std::collections::BTreeMap;

use parley_proto::{
    ClientSession, CreateTokenRequest, DeleteContactRequest, GetClientSessionRequest, GetProfileRequest, PubsubKey,
    ReportPubsubPresenceRequest, RevokeTokenRequest, Role, RotatePubsubTokenRequest, SubscribePubsubRequest, SubscribePubsubResponse,
    pubsub_service_client::PubsubServiceClient,
};
use serde_json::Value as Json;
use tonic::{Code, Status, Streaming};

use super::{create, from_now, of_user, secret};
use crate::support::{
    app::TestApp,
    clients::Clients,
    database::{Backend, Database},
    fault::assert_refused,
    in_time,
    office::{other_account, worker},
    on_both,
};

on_both!(
    pubsub_token_has_the_limits_of_its_token,
    pubsub_token_ends_with_its_token,
    pubsub_token_can_be_rotated,
    pubsub_token_of_a_session_rotates_and_ends_with_it,
    pubsub_token_cannot_be_forged,
    without_the_signature_any_id_is_a_pubsub_token,
    pubsub_tokens_can_be_rotated_over_json
);

type Stream = Streaming<SubscribePubsubResponse>;

async fn subscribe(app: &TestApp, key: &PubsubKey) -> Result<Stream, Status> {
    let clients = Clients::new(&app.server.listeners.grpc, None);
    let request = SubscribePubsubRequest { key: Some(key.clone()) };
    let mut stream = PubsubServiceClient::new(clients.service)
        .subscribe_pubsub(request)
        .await?
        .into_inner();
    // A refusal may arrive as the first item of the stream. An open stream begins with a bookmark, at the latest after a heartbeat.
    match tokio::time::timeout(std::time::Duration::from_millis(300), stream.message()).await {
        Ok(Err(status)) => Err(status),
        _ => Ok(stream),
    }
}

async fn report(app: &TestApp, key: &PubsubKey) -> BTreeMap<i64, String> {
    let clients = Clients::new(&app.server.listeners.grpc, None);
    let request = ReportPubsubPresenceRequest {
        key: Some(key.clone()),
        ..ReportPubsubPresenceRequest::default()
    };
    let answer = PubsubServiceClient::new(clients.service).report_pubsub_presence(request).await;
    answer.expect("who is there").into_inner().users.into_iter().collect()
}

async fn rotate(app: &TestApp, key: &PubsubKey) -> Result<String, Status> {
    let clients = Clients::new(&app.server.listeners.grpc, None);
    let request = RotatePubsubTokenRequest {
        key: Some(key.clone()),
        ..RotatePubsubTokenRequest::default()
    };
    let answer = PubsubServiceClient::new(clients.service).rotate_pubsub_token(request).await?;
    Ok(answer.into_inner().pubsub_token)
}

/// The status of a stream that must end by itself.
async fn end(mut stream: Stream) -> Status {
    in_time("the end of the stream", async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended without a status"),
                Err(status) => return status,
            }
        }
    })
    .await
}

/// The pubsub key that belongs to the token of these clients.
async fn key(clients: &Clients, user: i64, account: i64) -> PubsubKey {
    let profile = clients.accounts.clone().get_profile(GetProfileRequest {}).await.expect("a profile");
    PubsubKey {
        pubsub_token: profile.into_inner().pubsub_token,
        account_id: Some(account),
        user_id: Some(user),
    }
}

async fn pubsub_token_has_the_limits_of_its_token(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let other = other_account(&app, "Other").await;
    let user = worker(&app, other.account, Role::Administrator, "Both").await;
    super::members::join(&app, 1, user.user, Role::Administrator).await;
    let request = CreateTokenRequest {
        account_id: Some(other.account),
        read_only: true,
        ..of_user(user.user)
    };
    let limited = app.clients_with(&secret(&app.platform(), request).await);
    let key = key(&limited, user.user, other.account).await;
    subscribe(&app, &key).await.expect("its account");
    let elsewhere = PubsubKey {
        account_id: Some(1),
        ..key.clone()
    };
    assert_refused(subscribe(&app, &elsewhere).await, Code::PermissionDenied, "NOT_A_MEMBER");
    // The token is read-only, so its user does not appear as present. The user of a token that may write does.
    assert_eq!(report(&app, &key).await.get(&user.user), None);
    assert_refused(rotate(&app, &key).await, Code::PermissionDenied, "NOT_ALLOWED");
    let whole = self::key(&user.clients, user.user, 1).await;
    assert_ne!(whole.pubsub_token, key.pubsub_token);
    subscribe(&app, &whole).await.expect("each account of the user");
    assert_eq!(report(&app, &whole).await.get(&user.user).map(String::as_str), Some("online"));
}

async fn pubsub_token_ends_with_its_token(backend: Backend) {
    let app = TestApp::builder(backend)
        .platform()
        .env("PARLEY_AUTH_CACHE_SECONDS", "1")
        .start()
        .await;
    let user = worker(&app, 1, Role::Administrator, "Somebody").await;
    let made = create(&app.platform(), of_user(user.user)).await.expect("a token");
    let key = key(&app.clients_with(&made.secret), user.user, 1).await;
    let stream = subscribe(&app, &key).await.expect("the token is good");
    let revoke = RevokeTokenRequest {
        token_id: made.token.expect("always set").id,
        ..RevokeTokenRequest::default()
    };
    app.platform().accounts.revoke_token(revoke).await.expect("revoked");
    assert_eq!(end(stream).await.code(), Code::Unauthenticated);
    assert_refused(subscribe(&app, &key).await, Code::Unauthenticated, "TOKEN_INVALID");
    // The pubsub token of an expired token ends with it.
    let request = CreateTokenRequest {
        expires_at: Some(from_now(3)),
        ..of_user(user.user)
    };
    let clients = app.clients_with(&secret(&app.platform(), request).await);
    let key = self::key(&clients, user.user, 1).await;
    let stream = subscribe(&app, &key).await.expect("the token is good");
    assert_eq!(end(stream).await.code(), Code::Unauthenticated);
    assert_refused(subscribe(&app, &key).await, Code::Unauthenticated, "TOKEN_INVALID");
}

async fn pubsub_token_can_be_rotated(backend: Backend) {
    let app = TestApp::builder(backend)
        .platform()
        .env("PARLEY_AUTH_CACHE_SECONDS", "1")
        .start()
        .await;
    let user = worker(&app, 1, Role::Administrator, "Somebody").await;
    let another = app.clients_with(&secret(&app.platform(), of_user(user.user)).await);
    let (old, another) = (key(&user.clients, user.user, 1).await, key(&another, user.user, 1).await);
    let stream = subscribe(&app, &old).await.expect("the token is good");
    let new = PubsubKey {
        pubsub_token: rotate(&app, &old).await.expect("rotated"),
        ..old.clone()
    };
    assert_eq!(end(stream).await.code(), Code::Unauthenticated);
    assert_refused(subscribe(&app, &old).await, Code::Unauthenticated, "TOKEN_INVALID");
    subscribe(&app, &new).await.expect("the new one is good");
    assert_eq!(key(&user.clients, user.user, 1).await, new, "the profile shows it");
    subscribe(&app, &another).await.expect("that of another token stays");
}

async fn pubsub_token_of_a_session_rotates_and_ends_with_it(backend: Backend) {
    let app = TestApp::builder(backend)
        .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", "inbox-a")
        .start()
        .await;
    let person = app.fixture().person("Asha Rao").await;
    let session = async || {
        let request = GetClientSessionRequest {
            session: Some(ClientSession {
                inbox_identifier: "inbox-a".to_owned(),
                source_id: person.source.clone(),
            }),
            ..GetClientSessionRequest::default()
        };
        let answer = app.clients().client.get_client_session(request).await.expect("the session");
        PubsubKey {
            pubsub_token: answer.into_inner().session.expect("always set").pubsub_token,
            ..PubsubKey::default()
        }
    };
    let old = session().await;
    subscribe(&app, &old).await.expect("the session is there");
    let new = PubsubKey {
        pubsub_token: rotate(&app, &old).await.expect("rotated"),
        ..PubsubKey::default()
    };
    assert_refused(subscribe(&app, &old).await, Code::Unauthenticated, "TOKEN_INVALID");
    subscribe(&app, &new).await.expect("the new one is good");
    assert_eq!(session().await, new);
    let gone = DeleteContactRequest {
        account_id: 1,
        contact_id: person.contact,
        ..DeleteContactRequest::default()
    };
    app.clients().contacts.delete_contact(gone).await.expect("deleted");
    assert_refused(subscribe(&app, &new).await, Code::Unauthenticated, "TOKEN_INVALID");
}

/// Tokens stored by earlier releases are no longer valid, and a signature is valid for its own token only.
async fn pubsub_token_cannot_be_forged(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let limited = CreateTokenRequest {
        read_only: true,
        ..of_user(1)
    };
    let limited = app.clients_with(&secret(&app.platform(), limited).await);
    let (whole, limited) = (key(&app.clients(), 1, 1).await, key(&limited, 1, 1).await);
    let (id, _) = whole.pubsub_token.split_once('.').expect("an id and a signature");
    let (_, signature) = limited.pubsub_token.split_once('.').expect("an id and a signature");
    app.database
        .run("UPDATE users SET pubsub_token = 'stored-by-an-earlier-release' WHERE id = 1")
        .await;
    let stored = "SELECT CAST(count(*) AS bigint) FROM users WHERE pubsub_token = 'stored-by-an-earlier-release'";
    assert_eq!(Database::number(&app.database.url(), stored).await, 1);
    let forged = [
        "stored-by-an-earlier-release".to_owned(),
        format!("{id}.{signature}"),
        format!("{id}."),
        format!("{id}.00"),
        ".".to_owned(),
        String::new(),
    ];
    for pubsub_token in forged {
        let key = PubsubKey {
            pubsub_token,
            ..whole.clone()
        };
        assert_refused(subscribe(&app, &key).await, Code::Unauthenticated, "TOKEN_INVALID");
    }
    subscribe(&app, &whole).await.expect("the real one is good");
}

/// Shows what the signature is for: without it, the id of a token suffices.
async fn without_the_signature_any_id_is_a_pubsub_token(backend: Backend) {
    for switch in ["", "pubsub_signature"] {
        let app = TestApp::builder(backend).env("PARLEY_FAULT_SWITCH", switch).start().await;
        let mut forged = key(&app.clients(), 1, 1).await;
        let (id, _) = forged.pubsub_token.split_once('.').expect("an id and a signature");
        forged.pubsub_token = format!("{id}.00");
        assert_eq!(subscribe(&app, &forged).await.is_ok(), switch == "pubsub_signature", "{switch}");
    }
}

async fn pubsub_tokens_can_be_rotated_over_json(backend: Backend) {
    let app = TestApp::builder(backend)
        .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", "inbox-a")
        .start()
        .await;
    let sessions = "/public/api/v1/inboxes/inbox-a/contacts";
    let visitor = app.http().with_token("");
    let made = visitor.send("POST", sessions, None).await.body;
    let session = format!("{sessions}/{}", made["source_id"].as_str().expect("a text"));
    for (http, path, user, account) in [
        (app.http(), "/api/v1/profile".to_owned(), Some(1), Some(1)),
        (visitor, session, None, None),
    ] {
        let key = |body: &Json| PubsubKey {
            pubsub_token: body["pubsub_token"].as_str().expect("a text").to_owned(),
            account_id: account,
            user_id: user,
        };
        let old = key(&http.send("GET", &path, None).await.body);
        let rotated = http.send("POST", &format!("{path}/rotate_pubsub_token"), None).await;
        assert_eq!(rotated.status, 200, "{}", rotated.body);
        let new = key(&rotated.body);
        assert_ne!(new, old);
        assert_eq!(key(&http.send("GET", &path, None).await.body), new);
        assert_refused(subscribe(&app, &old).await, Code::Unauthenticated, "TOKEN_INVALID");
        subscribe(&app, &new).await.expect("the new one is good");
    }
}
