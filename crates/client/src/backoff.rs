//! Computes the delay before a retry: exponential back-off with jitter, and never less than the delay that the server requests.

use std::time::Duration;

use tonic::Status;
use tonic_types::StatusExt as _;

/// The nominal delay before the first retry. It doubles with each further retry.
const FIRST: Duration = Duration::from_millis(200);

/// The maximum delay, which bounds how long after the end of an outage the client reconnects.
const LONGEST: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// Resets the delay to its initial value. Called after each response.
    pub fn reset(&mut self) {
        self.next = FIRST;
    }

    /// Returns the delay before the next attempt, given the status with which the last one failed.
    pub fn pause(&mut self, status: &Status) -> Duration {
        let asked = status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay)
            .unwrap_or_default();
        let pause = self.next.mul_f64(rand::random_range(0.5..1.0)).max(asked);
        self.next = (self.next * 2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn backoff_is_bounded_and_respects_retry_info() {
        let mut backoff = Backoff::default();
        let broken = Status::unavailable("gone");
        for nominal in [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0] {
            let pause = backoff.pause(&broken).as_secs_f64();
            assert!((nominal / 2.0..=nominal).contains(&pause), "{pause} of {nominal}");
        }
        backoff.reset();
        assert!(backoff.pause(&broken) <= FIRST);
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(30)));
        let busy = Status::with_error_details(Code::ResourceExhausted, "busy", details);
        assert_eq!(backoff.pause(&busy), Duration::from_secs(30));
    }
}
