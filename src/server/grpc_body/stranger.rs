//! What makes the call of a caller without a token wait: the pace of its body, and its turn.

use std::{
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parley_admission::{
    client_address::ClientAddress,
    rate_limit::{AnonymousLimits, Pace, Turn},
};

/// What makes a caller without a token wait.
pub(super) struct Stranger {
    limits: Arc<AnonymousLimits>,
    address: Option<ClientAddress>,
    pace: Pace,
    /// Whether the call takes a turn once its message came.
    pub(super) takes_turn: bool,
    /// The message that waits for its turn.
    turning: Option<(Bytes, BoxFuture<'static, Option<Turn>>)>,
}

impl Stranger {
    /// A caller from an address, whose call takes no turn.
    pub(super) fn new(limits: Arc<AnonymousLimits>, address: Option<ClientAddress>) -> Self {
        Self {
            limits,
            address,
            pace: Pace::default(),
            takes_turn: false,
            turning: None,
        }
    }

    /// Whether a message waits for its turn.
    pub(super) fn waits(&self) -> bool {
        self.turning.is_some()
    }

    /// Bytes came, and with them perhaps a message; none if it waits for its turn.
    pub(super) fn came(&mut self, bytes: usize, message: Option<Bytes>) -> Option<Bytes> {
        self.pace.came(&self.limits, self.address, bytes);
        if message.is_some() && std::mem::take(&mut self.takes_turn) {
            let (limits, address) = (Arc::clone(&self.limits), self.address);
            let turn: BoxFuture<'static, _> = Box::pin(async move { limits.turn(address).await });
            self.turning = message.map(|message| (message, turn));
            return None;
        }
        message
    }

    /// The message that waited, once it has its turn; none if none waits. Then waits until more may be read.
    pub(super) fn poll(&mut self, turn_of_call: &OnceLock<Turn>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some((_, turn)) = &mut self.turning {
            if let Some(turn) = ready!(turn.as_mut().poll(cx)) {
                // The only one: messages after the first take none.
                let _ = turn_of_call.set(turn);
            }
            return Poll::Ready(self.turning.take().map(|(message, _)| message));
        }
        self.pace.poll(cx).map(|()| None)
    }
}
