//! Authorizes the caller before a large body is read.
//!
//! Normally the service authorizes the caller after the body has been read and parsed, which is fine for small bodies. Large bodies, bodies
//! of unknown length, and multipart forms (whose files are stored while the form is read) are read only after the caller has been
//! authorized. In addition, a form is read only if the resource to which it is sent exists.

use axum::{
    body::HttpBody as _,
    extract::{FromRequestParts as _, RawPathParams, Request, State},
    http::request::Parts,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use parley_fault::Protection;
use parley_proto as pb;
use tonic::{Code, Status, service::Routes};
use tonic_types::StatusExt as _;

use crate::{call::Call, errors::ApiError, openapi::Caller, params::multipart};

/// Maximum bytes of a body that is read before the caller is authorized.
const SMALL: u64 = 64 * 1024;

/// Rejects a request without reading its body if the service would reject the caller. A multipart form is also rejected if the resource
/// that it is sent to does not exist.
pub async fn check(State((services, caller)): State<(Routes, Caller)>, request: Request, next: Next) -> Response {
    let body = request.body();
    let is_small = body.is_end_stream() || body.size_hint().exact().is_some_and(|bytes| bytes <= SMALL);
    let is_form = multipart::boundary(request.headers()).is_some();
    if (is_small && !is_form) || !parley_fault::is_on(Protection::CheckBeforeBody) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let Ok(call) = Call::from_request_parts(&mut parts, &services).await;
    let resource = Resource::of_path(&mut parts).await;
    match resource.check(&call, caller, is_form).await {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(refused) => refused.into_response(),
    }
}

/// The resource ids in the path of a request.
#[derive(Debug, Default)]
struct Resource {
    account: Option<i64>,
    conversation: Option<i64>,
    contact: Option<i64>,
    inbox: Option<i64>,
    inbox_identifier: Option<String>,
    source_id: Option<String>,
}

impl Resource {
    async fn of_path(parts: &mut Parts) -> Self {
        let mut resource = Self::default();
        let Ok(path) = RawPathParams::from_request_parts(parts, &()).await else {
            return resource;
        };
        for (name, value) in &path {
            // Replace a path segment that is not a valid id with an id that no resource has, so that the checks treat the resource as
            // nonexistent.
            let id = || Some(value.parse().ok().filter(|id| *id > 0).unwrap_or(i64::MAX));
            match name {
                "account_id" => resource.account = id(),
                "conversation_id" => resource.conversation = id(),
                "contact_id" => resource.contact = id(),
                "inbox_id" => resource.inbox = id(),
                "inbox_identifier" => resource.inbox_identifier = Some(value.to_owned()),
                "contact_identifier" => resource.source_id = Some(value.to_owned()),
                _ => {}
            }
        }
        resource
    }

    async fn check(self, call: &Call, caller: Caller, is_form: bool) -> Result<(), ApiError> {
        match caller {
            Caller::Anyone => self.check_session(call).await,
            Caller::Platform => self
                .check_access(call, false)
                .await
                .map_err(|status| ApiError::from_platform(&status)),
            Caller::User => self.check_access(call, false).await.map_err(ApiError::from),
            Caller::Member | Caller::Administrator => {
                self.check_access(call, true).await?;
                if is_form { Ok(self.check_exists(call).await?) } else { Ok(()) }
            }
        }
    }

    /// Checks the caller's token and, if `of_account` is set, that the caller is allowed to access the account.
    async fn check_access(&self, call: &Call, of_account: bool) -> Result<(), Status> {
        let access = call.access(self.account.unwrap_or_default()).await;
        let of_account = of_account && self.account.is_some();
        final_error(access, |status| status.code() == Code::PermissionDenied && of_account)
    }

    /// Checks that the resource to which a form is sent exists.
    async fn check_exists(&self, call: &Call) -> Result<(), Status> {
        let account_id = self.account.unwrap_or_default();
        // Agent bots can write to conversations that they are not allowed to read, so a read that fails because of the kind of the token
        // does not mean that the write would fail.
        let may_not_ask = |status: &Status| {
            status
                .get_details_error_info()
                .is_some_and(|info| info.reason == "WRONG_TOKEN_KIND")
        };
        let is_hidden = |status: &Status| match status.code() {
            Code::NotFound => true,
            Code::PermissionDenied => !may_not_ask(status),
            _ => false,
        };
        if let Some(conversation_id) = self.conversation {
            let request = pb::GetConversationRequest {
                account_id,
                conversation_id,
            };
            return final_error(call.send(request).await, is_hidden);
        }
        if let Some(contact_id) = self.contact {
            let request = pb::GetContactRequest { account_id, contact_id };
            return final_error(call.send(request).await, is_hidden);
        }
        if let Some(inbox_id) = self.inbox {
            let request = pb::GetInboxRequest { account_id, inbox_id };
            return final_error(call.send(request).await, is_hidden);
        }
        Ok(())
    }

    /// Checks that the inbox, session and conversation in a path of the client API exist.
    async fn check_session(self, call: &Call) -> Result<(), ApiError> {
        let Some(inbox_identifier) = self.inbox_identifier else {
            return Ok(());
        };
        let is_hidden = |status: &Status| status.code() == Code::NotFound;
        let checked = match (self.source_id, self.conversation) {
            (None, _) => {
                let request = pb::GetClientInboxRequest { inbox_identifier };
                final_error(call.send(request).await, is_hidden)
            }
            (Some(source_id), conversation) => {
                let session = Some(pb::ClientSession {
                    inbox_identifier,
                    source_id,
                });
                if let Some(conversation_id) = conversation {
                    let request = pb::ListClientMessagesRequest {
                        session,
                        conversation_id,
                        page_size: 1,
                        ..Default::default()
                    };
                    final_error(call.send(request).await, is_hidden)
                } else {
                    let request = pb::GetClientSessionRequest {
                        session,
                        ..Default::default()
                    };
                    final_error(call.send(request).await, is_hidden)
                }
            }
        };
        checked.map_err(|status| ApiError::from_client(&status))
    }
}

/// Returns an error only if the handler's own call would fail with the same error: authentication failures, exhausted limits, outages, and
/// the errors that `is_final` selects. All other errors are dropped, so that the handler's own call determines the response.
fn final_error<T>(answer: Result<T, Status>, is_final: impl Fn(&Status) -> bool) -> Result<(), Status> {
    match answer {
        Err(status)
            if is_final(&status) || matches!(status.code(), Code::Unauthenticated | Code::ResourceExhausted | Code::Unavailable) =>
        {
            Err(status)
        }
        _ => Ok(()),
    }
}
