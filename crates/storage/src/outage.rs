//! Whether the database is known to be away. Then calls are refused at once instead of each waiting for a connection.

use tokio::sync::watch;

/// What the readiness check knows of the database, for everybody who would wait for it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outage(watch::Sender<bool>);

impl Default for Outage {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Outage {
    /// Notes whether the database is away, and returns whether that is news.
    pub fn set(&self, is_away: bool) -> bool {
        self.0.send_if_modified(|known| std::mem::replace(known, is_away) != is_away)
    }

    /// Whether it is away.
    pub fn is_known(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is away. Cancel safe.
    pub async fn begins(&self) {
        // The sender lives as long as this.
        let _ = self.0.subscribe().wait_for(|is_away| *is_away).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn those_who_wait_learn_of_an_outage_and_its_end() {
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
