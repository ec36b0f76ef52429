//! What handlers extract from a request: its caller, and the data that makes a change idempotent.

use std::sync::Arc;

use bytes::Bytes;
use parley_domain::{
    auth::caller::Caller,
    write::{
        call::{Call, IdempotencyKey},
        key_owner::KeyOwner,
    },
};
use parley_fault::Protection;
use parley_types::{
    error::{Error, Result},
    id::AccountId,
};
use prost::Message;
use tonic::Request;

use crate::{
    middleware::{call_span::traceparent, identity::Identity},
    validation::fields::Validator,
};

use super::{idempotency::IdempotentRequest, response::encode};

/// Returns the identity of the caller.
///
/// # Errors
/// Returns [`Error::Internal`] if the service runs without its middleware.
pub(super) fn identity<R>(request: &Request<R>) -> Result<Identity> {
    let identity = request.extensions().get::<Identity>();
    identity
        .cloned()
        .ok_or_else(|| Error::Internal("a service was called without its middleware".to_owned()))
}

pub(super) fn caller<R>(request: &Request<R>) -> Result<Arc<Caller>> {
    identity(request).map(|identity| identity.caller)
}

/// Creates the [`Call`] of a request that changes something. `respond` builds its response, which is also stored for retries of an
/// idempotent request. A `request_id` that is not a UUID is reported in `fields`.
///
/// # Errors
/// Returns [`Error::Internal`] if the service runs without its middleware.
pub(super) fn idempotent_call<R: IdempotentRequest, T: 'static, M: Message + 'static>(
    fields: &mut Validator,
    request: &Request<R>,
    account: AccountId,
    respond: fn(&T, Bytes) -> M,
) -> Result<Call<T>> {
    let identity = identity(request)?;
    identity.set_audit_target(Some(account), request.get_ref().resource());
    let caller = identity.caller;
    Ok(idempotent_call_as(fields, request, caller, account, respond))
}

/// Like [`idempotent_call`], for a caller that is identified by the request itself.
pub(super) fn idempotent_call_as<R: IdempotentRequest, T: 'static, M: Message + 'static>(
    fields: &mut Validator,
    request: &Request<R>,
    caller: Arc<Caller>,
    account: AccountId,
    respond: impl Fn(&T, Bytes) -> M + Send + Sync + 'static,
) -> Call<T> {
    let request_id = fields.request_id(request.get_ref().request_id());
    let key = request_id
        .filter(|_| parley_fault::is_on(Protection::IdempotencyKey))
        .map(|request_id| IdempotencyKey {
            request_id,
            owner: KeyOwner::of(&caller, account),
            fingerprint: request.get_ref().fingerprint(),
            encode: Box::new(move |value, cursor| respond(value, encode(cursor)).encode_to_vec()),
        });
    Call {
        caller,
        account,
        key,
        traceparent: traceparent(request),
    }
}
