//! Records whether the database is known to be unavailable. During an outage, calls are rejected immediately instead of waiting for a
//! connection.

use tokio::sync::watch;

/// The result of the readiness check, shared with all code that would otherwise wait for the database. Clones share the state.
#[derive(Clone, Debug)]
pub struct Outage(watch::Sender<bool>);

impl Default for Outage {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Outage {
    /// Records whether the database is unavailable, and returns whether the state has changed.
    pub fn set(&self, is_away: bool) -> bool {
        self.0.send_if_modified(|known| std::mem::replace(known, is_away) != is_away)
    }

    /// Returns whether the database is known to be unavailable.
    pub fn is_known(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the database is known to be unavailable. Cancel safe.
    pub async fn begins(&self) {
        // Waiting fails only if the sender is dropped, but `self` holds the sender.
        let _ = self.0.subscribe().wait_for(|is_away| *is_away).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn outage_wakes_waiters_and_ends() {
        let outage = Outage::default();
        let waiting = outage.begins();
        tokio::pin!(waiting);
        assert!((&mut waiting).now_or_never().is_none());
        assert!(outage.set(true) && !outage.set(true));
        waiting.await;
        assert!(outage.is_known());
        assert!(outage.set(false) && !outage.is_known());
    }
}
