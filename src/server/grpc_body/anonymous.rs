//! Delays for callers without a token: the pace at which their body is read, and their turn.

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

/// Delays a caller without a token.
pub(super) struct AnonymousPacing {
    limits: Arc<AnonymousLimits>,
    address: Option<ClientAddress>,
    pace: Pace,
    /// Whether the call takes a turn once its message has arrived.
    pub(super) takes_turn: bool,
    /// The message that waits for its turn.
    waiting: Option<(Bytes, BoxFuture<'static, Option<Turn>>)>,
}

impl AnonymousPacing {
    /// Creates the state of a call from an address. The call takes no turn by default.
    pub(super) fn new(limits: Arc<AnonymousLimits>, address: Option<ClientAddress>) -> Self {
        Self {
            limits,
            address,
            pace: Pace::default(),
            takes_turn: false,
            waiting: None,
        }
    }

    /// Returns whether a message waits for its turn.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Records received bytes and possibly a message. Returns the message, or `None` if it must wait for its turn.
    pub(super) fn received(&mut self, bytes: usize, message: Option<Bytes>) -> Option<Bytes> {
        self.pace.came(&self.limits, self.address, bytes);
        if message.is_some() && std::mem::take(&mut self.takes_turn) {
            let (limits, address) = (Arc::clone(&self.limits), self.address);
            let turn: BoxFuture<'static, _> = Box::pin(async move { limits.turn(address).await });
            self.waiting = message.map(|message| (message, turn));
            return None;
        }
        message
    }

    /// Returns the waiting message once it has its turn. If none is waiting, waits until the pace permits reading more and returns `None`.
    pub(super) fn poll(&mut self, turn_of_call: &OnceLock<Turn>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some((_, turn)) = &mut self.waiting {
            if let Some(turn) = ready!(turn.as_mut().poll(cx)) {
                // This is the only turn of the call: later messages take none.
                let _ = turn_of_call.set(turn);
            }
            return Poll::Ready(self.waiting.take().map(|(message, _)| message));
        }
        self.pace.poll(cx).map(|()| None)
    }
}
