//! Decides when a pubsub stream sends the presence list: immediately after a change of availability, but at most once a second.

use std::time::Duration;

use parley_fault::Protection;
use parley_proto as pb;
use tokio::time::{Instant, sleep_until};

/// The minimum interval between two presence lists. Each subscriber reads its own list, so without this limit a member who keeps changing
/// their availability would cause one database read for each change and subscriber.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// Schedules the presence lists that one stream sends.
#[derive(Debug, Default)]
pub struct PresenceThrottle {
    /// When the next presence list is due; `None` if nothing has changed since the last list was sent.
    due: Option<Instant>,
    sent: Option<Instant>,
}

impl PresenceThrottle {
    /// Schedules a presence list if an event in the response changes the list.
    pub fn observe(&mut self, response: &pb::SubscribePubsubResponse) {
        let mut events = response.events.iter().filter_map(|delivery| delivery.event.as_ref());
        if events.any(changes_presence) {
            let now = Instant::now();
            let earliest = self
                .sent
                .filter(|_| parley_fault::is_on(Protection::PresencePace))
                .map(|sent| sent + MIN_INTERVAL);
            self.due.get_or_insert(earliest.map_or(now, |earliest| earliest.max(now)));
        }
    }

    /// Waits until a presence list is due, or forever if none is scheduled. Cancel safe.
    pub async fn due(&self) {
        match self.due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    /// Records that the scheduled presence list is being sent.
    pub fn sent(&mut self) {
        (self.due, self.sent) = (None, Some(Instant::now()));
    }
}

/// Whether an event changes a field that affects how a member appears to others: `availability` or `auto_offline`.
fn changes_presence(event: &pb::Event) -> bool {
    let is_shown = |change: &pb::FieldChange| matches!(change.field.as_str(), "availability" | "auto_offline");
    event.kind() == pb::EventKind::AgentUpdated && event.changes.iter().any(is_shown)
}
