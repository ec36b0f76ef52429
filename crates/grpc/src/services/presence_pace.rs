//! When a stream sends who is there: at once after an availability was changed, and once a second at most.

use std::time::Duration;

use parley_fault::Protection;
use parley_proto as pb;
use tokio::time::{Instant, sleep_until};

/// The least time between two lists of who is there. Each subscriber reads its own, so a member that changes its availability without pause would
/// make a database read for each of them each time.
const PACE: Duration = Duration::from_secs(1);

/// The pace of one stream.
#[derive(Debug, Default)]
pub struct PresencePace {
    /// When the next list is due; none: nothing has changed since the last one.
    due: Option<Instant>,
    sent: Option<Instant>,
}

impl PresencePace {
    /// Makes a list due if one of the events says that it is another one now.
    pub fn follow(&mut self, response: &pb::SubscribePubsubResponse) {
        let mut events = response.events.iter().filter_map(|delivery| delivery.event.as_ref());
        if events.any(changes_presence) {
            let now = Instant::now();
            let earliest = self
                .sent
                .filter(|_| parley_fault::is_on(Protection::PresencePace))
                .map(|sent| sent + PACE);
            self.due.get_or_insert(earliest.map_or(now, |earliest| earliest.max(now)));
        }
    }

    /// Waits until a list is due, for ever while none is. Cancel safe.
    pub async fn due(&self) {
        match self.due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    /// Notes that the list that was due is sent now.
    pub fn sent(&mut self) {
        (self.due, self.sent) = (None, Some(Instant::now()));
    }
}

/// Whether others see a member differently after an event.
fn changes_presence(event: &pb::Event) -> bool {
    let is_shown = |change: &pb::FieldChange| matches!(change.field.as_str(), "availability" | "auto_offline");
    event.kind() == pb::EventKind::AgentUpdated && event.changes.iter().any(is_shown)
}
