//! Extracts data from requests for handlers: the caller, the account, and the data that makes a change idempotent.

use std::sync::Arc;

use bytes::Bytes;
use parley_domain::{
    auth::caller::Caller,
    write::{
        call::{Call, IdempotencyKey},
        key_owner::KeyOwner,
    },
};
use parley_eventlog::conversion::FromStored;
use parley_fault::Protection;
use parley_proto::rpc::{AccountRequest, ResourceResponse, UnaryRequest, WriteRequest};
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

use super::{
    idempotency::fingerprint,
    response::{encode, with_resource},
};

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

/// Returns the account that a request names.
pub(super) fn account<R: AccountRequest>(request: &Request<R>) -> AccountId {
    AccountId(request.get_ref().account_id())
}

/// Returns the caller and the account of a request that reads data in the account.
///
/// # Errors
/// Returns [`Error::NotMember`] if the caller has no access to the account.
pub(super) fn reader<R: AccountRequest>(request: &Request<R>) -> Result<(Arc<Caller>, AccountId)> {
    let (caller, account) = (caller(request)?, account(request));
    caller.access(account)?;
    Ok((caller, account))
}

/// Checks that the caller may write in the account that a request names.
///
/// # Errors
/// Returns [`Error::NotMember`] or [`Error::Denied`] if the caller is not allowed to write in the account.
pub(super) fn authorize_write<R: AccountRequest>(request: &Request<R>) -> Result<()> {
    caller(request)?.write_access(account(request)).map(drop)
}

/// Like [`idempotent_call`], but uses the account that the request names, and builds a response that contains the resource and the cursor,
/// or only the cursor; see [`resource_response`](super::response::resource_response).
///
/// # Errors
/// Returns [`Error::Internal`] if the service runs without its middleware.
pub(super) fn resource_call<R, T>(fields: &mut Validator, request: &Request<R>) -> Result<Call<T>>
where
    R: WriteRequest + AccountRequest + UnaryRequest<Response: ResourceResponse<Resource: for<'a> FromStored<&'a T>>>,
    T: 'static,
{
    resource_call_in(account(request), fields, request)
}

/// Like [`resource_call`], but stores the response under the given account.
///
/// # Errors
/// Returns [`Error::Internal`] if the service runs without its middleware.
pub(super) fn resource_call_in<R, T>(account: AccountId, fields: &mut Validator, request: &Request<R>) -> Result<Call<T>>
where
    R: WriteRequest + UnaryRequest<Response: ResourceResponse<Resource: for<'a> FromStored<&'a T>>>,
    T: 'static,
{
    idempotent_call(fields, request, account, with_resource::<T, R::Response>)
}

/// Creates the [`Call`] for a request that changes something. `respond` builds its response, which is also stored for retries of an
/// idempotent request. A `request_id` that is not a UUID is reported in `fields`.
///
/// # Errors
/// Returns [`Error::Internal`] if the service runs without its middleware.
pub(super) fn idempotent_call<R: WriteRequest, T: 'static, M: Message + 'static>(
    fields: &mut Validator,
    request: &Request<R>,
    account: AccountId,
    respond: fn(&T, Bytes) -> M,
) -> Result<Call<T>> {
    let identity = identity(request)?;
    identity.set_audit_target(Some(account), request.get_ref().audit_target());
    let caller = identity.caller;
    Ok(idempotent_call_as(fields, request, caller, account, respond))
}

/// Like [`idempotent_call`], but for a request that identifies its caller without a token.
pub(super) fn idempotent_call_as<R: WriteRequest, T: 'static, M: Message + 'static>(
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
            fingerprint: fingerprint(request.get_ref()),
            encode: Box::new(move |value, cursor| respond(value, encode(cursor)).encode_to_vec()),
        });
    Call {
        caller,
        account,
        key,
        traceparent: traceparent(request),
    }
}
