//! Time limit for the arrival of a body, or of one message of a stream.
//!
//! A timer that restarts with each byte would never expire for a body that arrives at one byte per minute. Therefore the time spent waiting
//! for the client is summed: it is limited to a fixed duration plus one second for each 8 KiB received, which permits large uploads over
//! slow connections.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use parley_fault::Protection;
use tokio::time::{Instant, Sleep, sleep_until};

/// Number of received bytes for which a client is granted another second.
const BYTES_PER_SECOND: u64 = 8 * 1024;

/// The time that a client has left to send one body.
#[derive(Debug)]
pub struct BodyTimeout {
    allowed: Duration,
    received: u64,
    waited: Duration,
    /// When waiting for the client began, and the timer that limits it.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl BodyTimeout {
    /// Starts the time limit for a body of which nothing has been received yet.
    pub fn new(allowed: Duration) -> Self {
        Self {
            allowed,
            received: 0,
            waited: Duration::ZERO,
            waiting: None,
        }
    }

    /// Restarts the time limit for the next body.
    pub fn restart(&mut self) {
        *self = Self::new(self.allowed);
    }

    /// Records received bytes and stops waiting.
    pub fn received(&mut self, bytes: usize) {
        self.received += bytes as u64;
        if let Some((since, _)) = self.waiting.take() {
            self.waited += since.elapsed();
        }
    }

    /// Waits for the client. Ready once waiting has taken too long in total, or has lasted for `max_idle` without a byte.
    pub fn poll_expired(&mut self, max_idle: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let earned = Duration::from_secs(self.received / BYTES_PER_SECOND);
        let remaining = (self.allowed + earned).saturating_sub(self.waited);
        let remaining = if parley_fault::is_on(Protection::BodyTime) {
            remaining.min(max_idle)
        } else {
            max_idle
        };
        let (_, deadline) = self.waiting.get_or_insert_with(|| {
            let now = Instant::now();
            (now, Box::pin(sleep_until(now + remaining)))
        });
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const ALLOWED: Duration = Duration::from_mins(1);
    const MAX_IDLE: Duration = Duration::from_secs(75);

    /// Returns how long the client can go on sending `bytes` after each `gap`, at most a thousand times.
    async fn time_until_expiry(bytes: usize, gap: Duration) -> Option<Duration> {
        let (mut time, began) = (BodyTimeout::new(ALLOWED), Instant::now());
        for _ in 0..1000 {
            tokio::select! {
                () = poll_fn(|cx| time.poll_expired(MAX_IDLE, cx)) => return Some(began.elapsed()),
                () = tokio::time::sleep(gap) => time.received(bytes),
            }
        }
        None
    }

    /// Receiving one byte does not restart the time.
    #[tokio::test(start_paused = true)]
    async fn received_bytes_extend_the_timeout() {
        let second = Duration::from_secs(1);
        assert_eq!(time_until_expiry(1, 59 * second).await.map(|took| took.as_secs()), Some(60));
        // Earned time is rounded down to whole seconds, so the time ends slightly before the 120 seconds of the sum.
        let took = time_until_expiry(4096, second).await.map(|took| took.as_secs());
        assert!(matches!(took, Some(115..=120)), "{took:?}");
        assert_eq!(time_until_expiry(8192, second).await, None);
        assert_eq!(
            time_until_expiry(10_000_000, 80 * second).await.map(|took| took.as_secs()),
            Some(60)
        );
    }
}
