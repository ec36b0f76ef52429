//! The client API, for programs of contacts: inboxes and sessions. It requires no token.

use parley_proto as pb;
use tonic::Status;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    errors::ApiError,
    json,
    openapi::{
        Caller, RouteDescription, describe,
        schema::{attributes, text},
    },
    params::{Params, fields::ParamReader},
};

/// The base path of contact sessions.
pub(crate) const CONTACTS: &str = "/public/api/v1/inboxes/{inbox_identifier}/contacts";

/// The routes of inboxes and sessions. Pages of any origin may call them.
pub fn routes() -> ApiRouter {
    let one = format!("{CONTACTS}/{{contact_identifier}}");
    ApiRouter::new("Client side")
        .get(
            "/public/api/v1/inboxes/{inbox_identifier}",
            inbox,
            client_route("showClientInbox", "ClientService.GetClientInbox").returns(json::client::inbox_schema()),
        )
        .post(
            CONTACTS,
            create,
            person(signed(client_route("createClientSession", "ClientService.CreateClientSession")))
                .body("source_id", text().or_null())
                .returns(json::client::session_schema()),
        )
        .get(
            &one,
            show,
            client_route("showClientSession", "ClientService.GetClientSession")
                .query("identifier", text())
                .query("identifier_hash", text())
                .returns(json::client::session_schema()),
        )
        .update(
            &one,
            update,
            person(signed(client_route("updateClientSession", "ClientService.UpdateClientSession"))).returns(json::client::record_schema()),
        )
        .post(
            &format!("{one}/rotate_pubsub_token"),
            rotate,
            signed(client_route("rotateClientPubsubToken", "PubsubService.RotatePubsubToken")).returns(json::client::session_schema()),
        )
}

/// Describes a route that requires no token.
pub(crate) fn client_route(operation: &'static str, rpc: &'static str) -> RouteDescription {
    describe(operation, rpc).caller(Caller::Anyone).fails_with(
        axum::http::StatusCode::UNAUTHORIZED,
        "The hash does not sign the identifier of the session's contact.",
    )
}

fn signed(description: RouteDescription) -> RouteDescription {
    description.bodies(&["identifier", "identifier_hash"], &text().or_null())
}

fn person(description: RouteDescription) -> RouteDescription {
    description
        .bodies(&["email", "name", "phone_number", "avatar_url"], &text().or_null())
        .body("custom_attributes", attributes())
}

/// Converts an error of a client API call.
#[allow(clippy::needless_pass_by_value)] // the signature that `map_err` requires
pub(crate) fn refused(status: Status) -> ApiError {
    ApiError::from_client(&status)
}

/// The session in the path.
pub(crate) fn session(fields: &mut ParamReader<'_>) -> pb::ClientSession {
    pb::ClientSession {
        inbox_identifier: fields.text("inbox_identifier").unwrap_or_default(),
        source_id: fields.text("contact_identifier").unwrap_or_default(),
    }
}

fn signature(fields: &mut ParamReader<'_>) -> Option<pb::ClientSignature> {
    let (identifier, hash) = (fields.text("identifier"), fields.text("identifier_hash"));
    (identifier.is_some() || hash.is_some()).then(|| pb::ClientSignature {
        identifier: identifier.unwrap_or_default(),
        identifier_hash: hash.unwrap_or_default(),
    })
}

async fn inbox(call: Call, params: Params) -> ApiResult {
    let request = pb::GetClientInboxRequest {
        inbox_identifier: params.fields().text("inbox_identifier").unwrap_or_default(),
    };
    let found = call.send(request).await.map_err(refused)?;
    Ok(json::ok(&json::client::inbox(&found.inbox.unwrap_or_default())))
}

async fn create(call: Call, params: Params) -> ApiResult {
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
    fields.finish()?;
    let made = call.send(request).await;
    let made = made.map_err(refused)?;
    Ok(json::ok(&json::client::session(&made.session.unwrap_or_default())))
}

async fn show(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let request = pb::GetClientSessionRequest {
        session: Some(session(&mut fields)),
        signature: signature(&mut fields),
    };
    fields.finish()?;
    let found = call.send(request).await.map_err(refused)?;
    Ok(json::ok(&json::client::session(&found.session.unwrap_or_default())))
}

async fn rotate(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let request = pb::GetClientSessionRequest {
        session: Some(session(&mut fields)),
        signature: signature(&mut fields),
    };
    fields.finish()?;
    let found = call.send(request).await;
    let mut session = found.map_err(refused)?.session.unwrap_or_default();
    let request = pb::RotatePubsubTokenRequest {
        key: Some(pb::PubsubKey {
            pubsub_token: std::mem::take(&mut session.pubsub_token),
            ..Default::default()
        }),
        request_id: call.request_id(),
    };
    let rotated = call.send(request).await.map_err(refused)?;
    session.pubsub_token = rotated.pubsub_token;
    Ok(json::ok(&json::client::session(&session)))
}

async fn update(call: Call, params: Params) -> ApiResult {
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
    fields.finish()?;
    let changed = call.send(request).await;
    let changed = changed.map_err(refused)?;
    let contact = changed.session.and_then(|session| session.contact).unwrap_or_default();
    Ok(json::ok(&json::client::record(&contact)))
}
