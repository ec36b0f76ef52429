//! The client side: what contacts' own programs ask for, without any token.

use axum::{
    Router,
    routing::{get, post},
};
use tonic::{Status, service::Routes};
use tower_http::cors::{Any, CorsLayer};

use super::{Answer, Path as _, call::Call, client_conversations, error::Failure, fields::Fields, json, params::Params};
use crate::pb;

/// Where the client side lies.
pub(super) const CONTACTS: &str = "/public/api/v1/inboxes/{inbox_identifier}/contacts";

/// The routes of this file and of `client_conversations`; pages of any origin may ask.
pub fn routes() -> Router<Routes> {
    Router::new()
        .path("/public/api/v1/inboxes/{inbox_identifier}", get(inbox))
        .path(CONTACTS, post(create))
        .path(&format!("{CONTACTS}/{{contact_identifier}}"), get(show).put(update).patch(update))
        .merge(client_conversations::routes())
        .layer(CorsLayer::new().allow_origin(Any).allow_methods(Any).allow_headers(Any))
}

/// What a refused call of the client side is answered.
#[allow(clippy::needless_pass_by_value)] // as `map_err` gives it
pub(super) fn refused(status: Status) -> Failure {
    Failure::of_client(&status)
}

/// The session that the path names.
pub(super) fn session(fields: &mut Fields<'_>) -> pb::ClientSession {
    pb::ClientSession {
        inbox_identifier: fields.text("inbox_identifier").unwrap_or_default(),
        source_id: fields.text("contact_identifier").unwrap_or_default(),
    }
}

fn signature(fields: &mut Fields<'_>) -> Option<pb::ClientSignature> {
    let (identifier, hash) = (fields.text("identifier"), fields.text("identifier_hash"));
    (identifier.is_some() || hash.is_some()).then(|| pb::ClientSignature {
        identifier: identifier.unwrap_or_default(),
        identifier_hash: hash.unwrap_or_default(),
    })
}

async fn inbox(call: Call, params: Params) -> Answer {
    let request = pb::GetClientInboxRequest {
        inbox_identifier: params.fields().text("inbox_identifier").unwrap_or_default(),
    };
    let found = call
        .client()
        .get_client_inbox(call.request(request))
        .await
        .map_err(refused)?
        .into_inner();
    Ok(json::ok(&json::client::inbox(&found.inbox.unwrap_or_default())))
}

async fn create(call: Call, params: Params) -> Answer {
    let mut fields = params.fields();
    let request = pb::CreateClientSessionRequest {
        inbox_identifier: fields.text("inbox_identifier").unwrap_or_default(),
        request_id: call.request_id(),
        signature: signature(&mut fields),
        email: fields.text("email"),
        name: fields.text("name"),
        phone_number: fields.text("phone_number"),
        avatar_url: fields.text("avatar_url"),
        custom_attributes: fields.object("custom_attributes"),
        source_id: fields.text("source_id"),
    };
    fields.verdict()?;
    let made = call.client().create_client_session(call.request(request)).await;
    let made = made.map_err(refused)?.into_inner();
    Ok(json::ok(&json::client::session(&made.session.unwrap_or_default())))
}

async fn show(call: Call, params: Params) -> Answer {
    let mut fields = params.fields();
    let request = pb::GetClientSessionRequest {
        session: Some(session(&mut fields)),
        signature: signature(&mut fields),
    };
    fields.verdict()?;
    let found = call
        .client()
        .get_client_session(call.request(request))
        .await
        .map_err(refused)?
        .into_inner();
    Ok(json::ok(&json::client::session(&found.session.unwrap_or_default())))
}

async fn update(call: Call, params: Params) -> Answer {
    let mut fields = params.fields();
    let request = pb::UpdateClientSessionRequest {
        session: Some(session(&mut fields)),
        request_id: call.request_id(),
        signature: signature(&mut fields),
        email: fields.text("email"),
        name: fields.text("name"),
        phone_number: fields.text("phone_number"),
        avatar_url: fields.text("avatar_url"),
        custom_attributes: fields.object("custom_attributes"),
    };
    fields.verdict()?;
    let changed = call.client().update_client_session(call.request(request)).await;
    let changed = changed.map_err(refused)?.into_inner();
    let contact = changed.session.and_then(|session| session.contact).unwrap_or_default();
    Ok(json::ok(&json::client::record(&contact)))
}
