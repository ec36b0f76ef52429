//! Limits how fast request bodies from callers without a token are read.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::{AnonymousLimits, processing_slots::count};
use crate::client_address::ClientAddress;

/// Slows down reading the body of one request to the rate that the client's address is allowed.
#[derive(Debug, Default)]
pub struct BodyThrottle {
    pause: Option<Pin<Box<Sleep>>>,
    is_counted: bool,
}

impl BodyThrottle {
    /// Charges bytes that were received (0 at the beginning of the body). Further bytes are read once the address's rate allows it.
    pub fn received(&mut self, limits: &AnonymousLimits, address: Option<ClientAddress>, bytes: usize) {
        let Some(address) = address else { return };
        let Some(resumes) = limits.processing_slots.received(address, bytes, Instant::now()) else {
            return;
        };
        if !std::mem::replace(&mut self.is_counted, true) {
            count("pace");
        }
        self.pause = Some(Box::pin(sleep_until(resumes)));
    }

    /// Waits until the throttle allows more bytes of the body to be read.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(pause) = &mut self.pause else { return Poll::Ready(()) };
        ready!(pause.as_mut().poll(cx));
        self.pause = None;
        Poll::Ready(())
    }
}
