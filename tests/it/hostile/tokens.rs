//! Scopes of tokens, users of other tenants, and secrets in responses.

mod consumers;
mod kinds;
mod limits;
mod links;
mod members;
mod names;
mod pubsub;
mod secrets;
mod tenants;
mod unconfirmed;

use parley_proto::{Agent, CreateAgentRequest, CreateTokenRequest, CreateTokenResponse, CreateUserRequest, TokenKind, User};
use prost_types::{Struct, Timestamp, Value, value::Kind};
use tonic::Status;

use crate::support::{app::TestApp, clients::Clients};

/// Creates a token with these clients.
async fn create(by: &Clients, request: CreateTokenRequest) -> Result<CreateTokenResponse, Status> {
    let made = by.accounts.clone().create_token(request).await;
    made.map(tonic::Response::into_inner)
}

/// Creates a token with these clients, which must succeed. Returns its secret.
async fn secret(by: &Clients, request: CreateTokenRequest) -> String {
    create(by, request).await.expect("the token is created").secret
}

/// A service token of account 1, limited to these inboxes unless the list is empty.
fn service(read_only: bool, inbox_ids: Vec<i64>) -> CreateTokenRequest {
    CreateTokenRequest {
        kind: TokenKind::Service.into(),
        account_id: Some(1),
        name: "service".to_owned(),
        read_only,
        inbox_ids,
        ..CreateTokenRequest::default()
    }
}

/// A token of a user.
fn of_user(user: i64) -> CreateTokenRequest {
    CreateTokenRequest {
        kind: TokenKind::User.into(),
        user_id: Some(user),
        ..CreateTokenRequest::default()
    }
}

/// Clients with a new service token of account 1.
async fn service_clients(app: &TestApp, read_only: bool, inbox_ids: Vec<i64>) -> Clients {
    app.clients_with(&secret(&app.clients(), service(read_only, inbox_ids)).await)
}

/// The time this many seconds from now.
fn from_now(seconds: i64) -> Timestamp {
    Timestamp {
        seconds: chrono::Utc::now().timestamp() + seconds,
        nanos: 0,
    }
}

/// A user created by the operator, with a mark in every field that could leak.
async fn stranger(app: &TestApp, email: &str) -> User {
    let planted = Value {
        kind: Some(Kind::StringValue("planted-attribute".to_owned())),
    };
    let request = CreateUserRequest {
        name: "Planted Name".to_owned(),
        email: email.to_owned(),
        display_name: Some("Planted Display".to_owned()),
        custom_attributes: Some(Struct {
            fields: [("plan".to_owned(), planted)].into(),
        }),
        ..CreateUserRequest::default()
    };
    let made = app.platform().accounts.create_user(request).await.expect("the user is created");
    made.into_inner().user.expect("always set")
}

/// Adds a user to account 1 by email address, as its administrator.
async fn add_agent(app: &TestApp, email: &str, name: &str) -> Agent {
    let request = CreateAgentRequest {
        account_id: 1,
        email: email.to_owned(),
        name: name.to_owned(),
        ..CreateAgentRequest::default()
    };
    let made = app.clients().accounts.create_agent(request).await.expect("the agent is added");
    made.into_inner().agent.expect("always set")
}
