//! A call: who asks for what account, and under which key it may be repeated.

use std::sync::Arc;

use parley_eventlog::cursor::Cursor;
use parley_types::id::AccountId;
use uuid::Uuid;

use crate::{auth::caller::Caller, write::key_owner::KeyOwner};

/// A call that changes something and answers with a `T`.
pub struct Call<T> {
    /// Who asks.
    pub caller: Arc<Caller>,
    /// In which account; 0 outside of any.
    pub account: AccountId,
    /// How to recognise the request when it comes again.
    pub key: Option<Key<T>>,
    /// The W3C trace context that its events are stored with; may be empty.
    pub traceparent: String,
}

/// Makes a request repeatable.
pub struct Key<T> {
    /// The request's own id.
    pub request_id: Uuid,
    /// Whose it is: the same id of another caller is another key.
    pub owner: KeyOwner,
    /// SHA-256 of the call's name and its request.
    pub fingerprint: [u8; 32],
    /// Encodes the answer as it is kept.
    pub encode: Encode<T>,
}

/// Encodes an answer.
pub type Encode<T> = Box<dyn Fn(&T, Option<Cursor>) -> Vec<u8> + Send + Sync>;

/// What a call is answered with.
#[derive(Debug)]
pub enum Answer<T> {
    /// It was done now; the position of its last event, where it left any.
    Fresh(T, Option<Cursor>),
    /// It was done before; the encoded answer of then.
    Repeated(Vec<u8>),
}

impl<T> std::fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("account", &self.account)
            .field("repeatable", &self.key.is_some())
            .finish_non_exhaustive()
    }
}

impl<T> std::fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("request_id", &self.request_id).finish_non_exhaustive()
    }
}
