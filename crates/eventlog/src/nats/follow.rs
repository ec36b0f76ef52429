//! Receives the events that other replicas publish, for the accounts that are followed on this replica.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use async_nats::{Client, Subscriber};
use futures_util::{FutureExt as _, StreamExt as _, stream::SelectAll};
use parley_types::id::{AccountId, Epoch};
use prost::Message as _;
use tokio::{
    sync::Notify,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{RelayReceiver, RelayedEvent, SUBJECT, publish};
use crate::{broadcaster::Broadcaster, event_record::EventRecord};

/// Maximum number of messages that are handled together.
const MAX_BATCH: usize = 256;

/// How often the subscriptions are compared with the followed accounts. A newly followed account also triggers a comparison immediately.
const RESUBSCRIBE_INTERVAL: Duration = Duration::from_secs(1);

/// Publishes and receives events until `stop` is cancelled.
pub async fn run(broadcaster: Arc<Broadcaster>, relaying: RelayReceiver, stop: CancellationToken) {
    let RelayReceiver {
        client,
        committed,
        followed,
    } = relaying;
    let tasks = async { tokio::join!(publish(&client, committed), follow(&broadcaster, &client, &followed)) };
    stop.run_until_cancelled(Box::pin(tasks)).await;
}

/// Subscribes to the subjects of the accounts that are followed on this replica.
async fn follow(broadcaster: &Broadcaster, client: &Client, followed: &Notify) {
    let mut heard = SelectAll::<Subject>::new();
    let mut subjects: HashSet<AccountId> = HashSet::new();
    let mut ticks = interval(RESUBSCRIBE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(messages) = next_batch(&mut heard), if !heard.is_empty() => dispatch(broadcaster, messages),
            () = followed.notified() => {}
            _ = ticks.tick() => {}
        }
        let wanted: HashSet<AccountId> = broadcaster.known_states().into_keys().collect();
        if wanted != subjects {
            heard = heard.into_iter().filter(|subject| wanted.contains(&subject.account)).collect();
            let mut known: HashSet<AccountId> = heard.iter().map(|subject| subject.account).collect();
            for account in wanted {
                if !known.contains(&account)
                    && let Ok(messages) = client.subscribe(format!("{SUBJECT}.{account}")).await
                {
                    heard.push(Subject { account, messages });
                    known.insert(account);
                }
            }
            subjects = known;
        }
    }
}

/// The subscription to the NATS subject of one account.
#[derive(Debug)]
struct Subject {
    account: AccountId,
    messages: Subscriber,
}

impl futures_util::Stream for Subject {
    type Item = async_nats::Message;

    fn poll_next(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<async_nats::Message>> {
        self.messages.poll_next_unpin(cx)
    }
}

/// Waits for a message, and returns it together with any others that have already arrived.
async fn next_batch(heard: &mut SelectAll<Subject>) -> Option<Vec<async_nats::Message>> {
    let mut messages = vec![heard.next().await?];
    while messages.len() < MAX_BATCH
        && let Some(Some(more)) = heard.next().now_or_never()
    {
        messages.push(more);
    }
    Some(messages)
}

fn dispatch(broadcaster: &Broadcaster, messages: Vec<async_nats::Message>) {
    let mut runs: HashMap<(AccountId, Epoch), Vec<EventRecord>> = HashMap::new();
    for message in messages {
        let relayed = RelayedEvent::decode(message.payload).ok().and_then(RelayedEvent::entry);
        if let Some((epoch, entry)) = relayed {
            runs.entry((entry.account, epoch)).or_default().push(entry);
        }
    }
    for ((account, epoch), entries) in runs {
        for run in contiguous_runs(entries) {
            broadcaster.relayed(account, epoch, run);
        }
    }
}

/// Groups entries into runs without gaps. There can be several runs, because the events between them may never have been published.
fn contiguous_runs(mut entries: Vec<EventRecord>) -> Vec<Vec<EventRecord>> {
    entries.sort_by_key(|entry| entry.seq);
    entries.dedup_by_key(|entry| entry.seq);
    entries
        .chunk_by(|one, next| one.seq.next() == next.seq)
        .map(<[EventRecord]>::to_vec)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::tests::entry, *};

    #[test]
    fn missing_event_splits_runs() {
        let received = [8, 3, 4, 4, 7, 1].map(entry);
        let runs = contiguous_runs(received.into());
        let runs: Vec<Vec<i64>> = runs.iter().map(|run| run.iter().map(|entry| entry.seq.0).collect()).collect();
        assert_eq!(runs, [vec![1], vec![3, 4], vec![7, 8]]);
    }
}
