//! A call that writes: its caller, its account and its idempotency key.

use std::sync::Arc;

use parley_eventlog::cursor::Cursor;
use parley_types::id::AccountId;
use uuid::Uuid;

use crate::{auth::caller::Caller, write::key_owner::KeyOwner};

/// A write call whose result has the type `T`.
pub struct Call<T> {
    /// The caller.
    pub caller: Arc<Caller>,
    /// The account that is written to; 0 for a write that belongs to no account.
    pub account: AccountId,
    /// The idempotency key, if the request has one.
    pub key: Option<IdempotencyKey<T>>,
    /// The W3C trace context that is stored with the events; can be empty.
    pub traceparent: String,
}

/// Identifies a request, so that a repetition receives the stored response and is not executed again.
pub struct IdempotencyKey<T> {
    /// The id that the client chose for the request.
    pub request_id: Uuid,
    /// The owner of the key. If two callers use the same request id, their keys are different.
    pub owner: KeyOwner,
    /// The SHA-256 hash of the method name and the request.
    pub fingerprint: [u8; 32],
    /// Encodes the response for storage.
    pub encode: Encode<T>,
}

/// Encodes a response, together with the cursor of the write's last event.
pub type Encode<T> = Box<dyn Fn(&T, Option<Cursor>) -> Vec<u8> + Send + Sync>;

/// The result of a call.
#[derive(Debug)]
pub enum Answer<T> {
    /// The call was executed now. Contains its result and the cursor of its last event, if it added any.
    Fresh(T, Option<Cursor>),
    /// The call had already been executed. Contains the encoded response that was stored at that time.
    Replayed(Vec<u8>),
}

impl<T> std::fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("account", &self.account)
            .field("is_idempotent", &self.key.is_some())
            .finish_non_exhaustive()
    }
}

impl<T> std::fmt::Debug for IdempotencyKey<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdempotencyKey")
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}
