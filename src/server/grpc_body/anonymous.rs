//! Delays callers without a token: limits the pace at which their bodies are read, and makes their messages wait for a processing slot.

use std::{
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parley_admission::{
    client_address::ClientAddress,
    rate_limit::{AnonymousLimits, BodyThrottle, ProcessingSlot},
};

/// The delays of a call without a token.
pub(super) struct AnonymousPacing {
    limits: Arc<AnonymousLimits>,
    address: Option<ClientAddress>,
    pace: BodyThrottle,
    /// Whether the call takes a processing slot once its message has arrived.
    pub(super) takes_turn: bool,
    /// The message that is waiting for its processing slot, and the future that acquires the slot.
    waiting: Option<(Bytes, BoxFuture<'static, Option<ProcessingSlot>>)>,
}

impl AnonymousPacing {
    /// Creates the state for a call from `address`. By default, the call takes no processing slot.
    pub(super) fn new(limits: Arc<AnonymousLimits>, address: Option<ClientAddress>) -> Self {
        Self {
            limits,
            address,
            pace: BodyThrottle::default(),
            takes_turn: false,
            waiting: None,
        }
    }

    /// Returns whether a message waits for its processing slot.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Records received bytes and, if one is complete, a message. Returns the message, or `None` if there is none or it must wait for its
    /// processing slot.
    pub(super) fn received(&mut self, bytes: usize, message: Option<Bytes>) -> Option<Bytes> {
        self.pace.received(&self.limits, self.address, bytes);
        if message.is_some() && std::mem::take(&mut self.takes_turn) {
            let (limits, address) = (Arc::clone(&self.limits), self.address);
            let processing_slot: BoxFuture<'static, _> = Box::pin(async move { limits.processing_slot(address).await });
            self.waiting = message.map(|message| (message, processing_slot));
            return None;
        }
        message
    }

    /// Returns the waiting message once it has its processing slot. If none is waiting, waits until the pace permits reading more and
    /// returns `None`.
    pub(super) fn poll(&mut self, call_slot: &OnceLock<ProcessingSlot>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some((_, processing_slot)) = &mut self.waiting {
            if let Some(processing_slot) = ready!(processing_slot.as_mut().poll(cx)) {
                // This is the only processing slot of the call: later messages take none.
                let _ = call_slot.set(processing_slot);
            }
            return Poll::Ready(self.waiting.take().map(|(message, _)| message));
        }
        self.pace.poll(cx).map(|()| None)
    }
}
