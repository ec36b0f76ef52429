//! The client API, for programs of contacts: inboxes and sessions. It requires no token.

use parley_proto as pb;
use tonic::Status;

use crate::{
    Answer,
    call::Call,
    door::Door,
    errors::Failure,
    json,
    openapi::{
        About, Caller, about,
        schema::{attributes, text},
    },
    params::{Params, fields::Fields},
};

/// The base path of contact sessions.
pub(crate) const CONTACTS: &str = "/public/api/v1/inboxes/{inbox_identifier}/contacts";

/// The routes of inboxes and sessions. Pages of any origin may call them.
pub fn routes() -> Door {
    let one = format!("{CONTACTS}/{{contact_identifier}}");
    Door::new("Client side")
        .get(
            "/public/api/v1/inboxes/{inbox_identifier}",
            inbox,
            told("showClientInbox", "ClientService.GetClientInbox").answers(json::client::inbox_schema()),
        )
        .post(
            CONTACTS,
            create,
            person(signed(told("createClientSession", "ClientService.CreateClientSession")))
                .body("source_id", text().or_null())
                .answers(json::client::session_schema()),
        )
        .get(
            &one,
            show,
            told("showClientSession", "ClientService.GetClientSession")
                .query("identifier", text())
                .query("identifier_hash", text())
                .answers(json::client::session_schema()),
        )
        .update(
            &one,
            update,
            person(signed(told("updateClientSession", "ClientService.UpdateClientSession"))).answers(json::client::record_schema()),
        )
        .post(
            &format!("{one}/rotate_pubsub_token"),
            rotate,
            signed(told("rotateClientPubsubToken", "PubsubService.RotatePubsubToken")).answers(json::client::session_schema()),
        )
}

/// Describes a route that requires no token.
pub(crate) fn told(operation: &'static str, rpc: &'static str) -> About {
    about(operation, rpc).caller(Caller::Anyone).refuses(
        axum::http::StatusCode::UNAUTHORIZED,
        "The hash does not sign the identifier of the session's contact.",
    )
}

fn signed(about: About) -> About {
    about.bodies(&["identifier", "identifier_hash"], &text().or_null())
}

fn person(about: About) -> About {
    about
        .bodies(&["email", "name", "phone_number", "avatar_url"], &text().or_null())
        .body("custom_attributes", attributes())
}

/// Converts an error of a client API call.
#[allow(clippy::needless_pass_by_value)] // the signature that `map_err` requires
pub(crate) fn refused(status: Status) -> Failure {
    Failure::of_client(&status)
}

/// The session in the path.
pub(crate) fn session(fields: &mut Fields<'_>) -> pb::ClientSession {
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

async fn rotate(call: Call, params: Params) -> Answer {
    let mut fields = params.fields();
    let request = pb::GetClientSessionRequest {
        session: Some(session(&mut fields)),
        signature: signature(&mut fields),
    };
    fields.verdict()?;
    let found = call.client().get_client_session(call.request(request)).await;
    let mut session = found.map_err(refused)?.into_inner().session.unwrap_or_default();
    let request = pb::RotatePubsubTokenRequest {
        key: Some(pb::PubsubKey {
            pubsub_token: std::mem::take(&mut session.pubsub_token),
            ..Default::default()
        }),
        request_id: call.request_id(),
    };
    let rotated = call.pubsub().rotate_pubsub_token(call.request(request)).await.map_err(refused)?;
    session.pubsub_token = rotated.into_inner().pubsub_token;
    Ok(json::ok(&json::client::session(&session)))
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
