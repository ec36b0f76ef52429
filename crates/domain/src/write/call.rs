//! A call that writes: its caller, its account, and the idempotency key under which it may be repeated.

use std::sync::Arc;

use parley_eventlog::cursor::Cursor;
use parley_types::id::AccountId;
use uuid::Uuid;

use crate::{auth::caller::Caller, write::key_owner::KeyOwner};

/// A call that writes and is answered with a `T`.
pub struct Call<T> {
    /// The caller.
    pub caller: Arc<Caller>,
    /// The account that is written to; 0 for a write that belongs to no account.
    pub account: AccountId,
    /// The idempotency key, if the request has one.
    pub key: Option<IdempotencyKey<T>>,
    /// The W3C trace context that its events are stored with; may be empty.
    pub traceparent: String,
}

/// Identifies a request, so that a repetition gets the stored response and is not executed again.
pub struct IdempotencyKey<T> {
    /// The request's own id.
    pub request_id: Uuid,
    /// The owner of the id: the same id of another caller is another key.
    pub owner: KeyOwner,
    /// SHA-256 of the call's name and its request.
    pub fingerprint: [u8; 32],
    /// Encodes the answer for storage.
    pub encode: Encode<T>,
}

/// Encodes an answer, with the position of the write's last event.
pub type Encode<T> = Box<dyn Fn(&T, Option<Cursor>) -> Vec<u8> + Send + Sync>;

/// The answer to a call.
#[derive(Debug)]
pub enum Answer<T> {
    /// The call was executed now. The cursor is the position of its last event, if it left any.
    Fresh(T, Option<Cursor>),
    /// The call was executed before: the stored, encoded response.
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
