//! Responses, events and pages stay within what a default client accepts: 4 MiB per message and 100 levels of nesting.

mod attributes;
mod pages;
mod stored;

use parley_proto::{ClientSession, Contact, CreateClientSessionRequest, CreateContactRequest, UpdateClientSessionRequest};
use prost_types::Struct;
use serde_json::{Value as Json, json};
use tonic::Status;

use crate::support::{app::TestApp, clients::Clients};

/// One character of four bytes, which makes the most of limits in characters.
const WIDE: &str = "😀";

/// The largest message that a client with default settings receives.
const RECEIVED: usize = 4 * 1024 * 1024;

/// A JSON object as a protobuf `Struct`.
fn object(json: &Json) -> Struct {
    parley_proto::value::structure(json).expect("an object that is not empty")
}

/// An object with this many levels, including the outermost.
fn nested(levels: usize) -> Json {
    (1..levels).fold(json!({"a": 1}), |inner, _| json!({ "a": inner }))
}

/// An object with a text of this many bytes.
fn large(bytes: usize) -> Json {
    json!({ "a": "x".repeat(bytes) })
}

/// An object with this many keys.
fn keys(count: usize) -> Json {
    Json::Object((0..count).map(|nth| (format!("k{nth}"), Json::from(1))).collect())
}

/// A visitor's session in the first inbox.
async fn visitor(app: &TestApp, source_id: &str) -> (Clients, ClientSession) {
    let inbox_identifier = crate::client_api::identifier(&app.clients(), 1).await;
    let clients = Clients::new(&app.server.listeners.grpc, None);
    let request = CreateClientSessionRequest {
        inbox_identifier: inbox_identifier.clone(),
        source_id: Some(source_id.to_owned()),
        ..CreateClientSessionRequest::default()
    };
    clients
        .client
        .clone()
        .create_client_session(request)
        .await
        .expect("the session is made");
    let session = ClientSession {
        inbox_identifier,
        source_id: source_id.to_owned(),
    };
    (clients, session)
}

/// Updates the custom attributes as a visitor.
async fn visitor_sets(clients: &Clients, session: &ClientSession, attributes: &Json) -> Result<(), Status> {
    let request = UpdateClientSessionRequest {
        session: Some(session.clone()),
        custom_attributes: Some(object(attributes)),
        ..UpdateClientSessionRequest::default()
    };
    clients.client.clone().update_client_session(request).await.map(drop)
}

/// Creates a contact with these attributes.
async fn contact(clients: &Clients, name: &str, custom: &Json) -> Result<Contact, Status> {
    let request = CreateContactRequest {
        account_id: 1,
        name: name.to_owned(),
        email: Some(format!("{}@example.org", uuid::Uuid::new_v4())),
        custom_attributes: parley_proto::value::structure(custom),
        ..CreateContactRequest::default()
    };
    let answer = clients.contacts.clone().create_contact(request).await?;
    Ok(answer.into_inner().contact.expect("always set"))
}
