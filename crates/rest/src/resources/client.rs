//! The part of the client API that reads inboxes, and creates, reads and updates contact sessions. It requires no token.

use parley_proto as pb;
use tonic::Status;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    errors::ApiError,
    json::{
        self,
        client::{ClientInbox, ClientSession, ContactRecord},
    },
    openapi::{Caller, RouteDescription, describe},
    params::{Params, attributes::Attributes, declaration::params, fields::ParamReader},
};

params! {
    struct SignatureParams { identifier: Option<String>, identifier_hash: Option<String> }
    struct PersonParams {
        email: Option<String>, name: Option<String>, phone_number: Option<String>, avatar_url: Option<String>,
        custom_attributes: Attributes,
    }
    struct SessionParams { source_id: Option<String> }
}

/// The base path of contact sessions.
pub(crate) const CONTACTS: &str = "/public/api/v1/inboxes/{inbox_identifier}/contacts";

/// The routes of inboxes and sessions. Pages of any origin may call them.
pub fn routes() -> ApiRouter {
    let one = format!("{CONTACTS}/{{contact_identifier}}");
    ApiRouter::new("Client side")
        .get(
            "/public/api/v1/inboxes/{inbox_identifier}",
            inbox,
            client_route("showClientInbox", "ClientService.GetClientInbox").returns::<ClientInbox>(),
        )
        .post(
            CONTACTS,
            create,
            client_route("createClientSession", "ClientService.CreateClientSession")
                .params::<SignatureParams>()
                .params::<PersonParams>()
                .params::<SessionParams>()
                .returns::<ClientSession>(),
        )
        .get(
            &one,
            show,
            client_route("showClientSession", "ClientService.GetClientSession")
                .query::<String>("identifier")
                .query::<String>("identifier_hash")
                .returns::<ClientSession>(),
        )
        .update(
            &one,
            update,
            client_route("updateClientSession", "ClientService.UpdateClientSession")
                .params::<SignatureParams>()
                .params::<PersonParams>()
                .returns::<ContactRecord>(),
        )
        .post(
            &format!("{one}/rotate_pubsub_token"),
            rotate,
            client_route("rotateClientPubsubToken", "PubsubService.RotatePubsubToken")
                .params::<SignatureParams>()
                .returns::<ClientSession>(),
        )
}

/// Describes a route that requires no token.
pub(crate) fn client_route(operation: &'static str, rpc: &'static str) -> RouteDescription {
    describe(operation, rpc).caller(Caller::Anyone).fails_with(
        axum::http::StatusCode::UNAUTHORIZED,
        "The hash does not sign the identifier of the session's contact.",
    )
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
    let sent = fields.read::<SignatureParams>();
    (sent.identifier.is_some() || sent.identifier_hash.is_some()).then(|| pb::ClientSignature {
        identifier: sent.identifier.unwrap_or_default(),
        identifier_hash: sent.identifier_hash.unwrap_or_default(),
    })
}

async fn inbox(call: Call, params: Params) -> ApiResult {
    let request = pb::GetClientInboxRequest {
        inbox_identifier: params.fields().text("inbox_identifier").unwrap_or_default(),
    };
    let found = call
        .client()
        .get_client_inbox(call.request(request))
        .await
        .map_err(refused)?
        .into_inner();
    Ok(json::ok(&ClientInbox::from(found.inbox.unwrap_or_default())))
}

async fn create(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let (signature, person) = (signature(&mut fields), fields.read::<PersonParams>());
    let request = pb::CreateClientSessionRequest {
        inbox_identifier: fields.text("inbox_identifier").unwrap_or_default(),
        request_id: call.request_id(),
        signature,
        email: person.email,
        name: person.name,
        phone_number: person.phone_number,
        avatar_url: person.avatar_url,
        custom_attributes: person.custom_attributes,
        source_id: fields.read::<SessionParams>().source_id,
    };
    fields.finish()?;
    let made = call.client().create_client_session(call.request(request)).await;
    let made = made.map_err(refused)?.into_inner();
    Ok(json::ok(&ClientSession::from(made.session.unwrap_or_default())))
}

async fn show(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let request = pb::GetClientSessionRequest {
        session: Some(session(&mut fields)),
        signature: signature(&mut fields),
    };
    fields.finish()?;
    let found = call
        .client()
        .get_client_session(call.request(request))
        .await
        .map_err(refused)?
        .into_inner();
    Ok(json::ok(&ClientSession::from(found.session.unwrap_or_default())))
}

async fn rotate(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let request = pb::GetClientSessionRequest {
        session: Some(session(&mut fields)),
        signature: signature(&mut fields),
    };
    fields.finish()?;
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
    Ok(json::ok(&ClientSession::from(session)))
}

async fn update(call: Call, params: Params) -> ApiResult {
    let mut fields = params.fields();
    let (signature, person) = (signature(&mut fields), fields.read::<PersonParams>());
    let request = pb::UpdateClientSessionRequest {
        session: Some(session(&mut fields)),
        request_id: call.request_id(),
        signature,
        email: person.email,
        name: person.name,
        phone_number: person.phone_number,
        avatar_url: person.avatar_url,
        custom_attributes: person.custom_attributes,
    };
    fields.finish()?;
    let changed = call.client().update_client_session(call.request(request)).await;
    let changed = changed.map_err(refused)?.into_inner();
    let contact = changed.session.and_then(|session| session.contact).unwrap_or_default();
    Ok(json::ok(&ContactRecord::from(contact)))
}
