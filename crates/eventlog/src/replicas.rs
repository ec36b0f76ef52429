//! Exchanges notifications of commits with other replicas: LISTEN/NOTIFY carries hints, and a slow poll of the log heads compensates for
//! lost hints.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{Arc, LazyLock},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use prost::Message as _;

use parley_proto as pb;
use parley_storage::Database;
use parley_types::{
    error::Result,
    id::{AccountId, Seq},
};
use sea_orm::ConnectionTrait;
use sqlx::postgres::PgListener;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::{account_channel::lock, broadcaster::Broadcaster};

/// The NOTIFY channel of hints: `account:seq` pairs, separated by commas.
const CHANNEL: &str = "parley_log";

/// The NOTIFY channel of ephemeral events: the name of the sending process, and an encoded `EphemeralEvent` in base64.
const EPHEMERAL_CHANNEL: &str = "parley_moment";

/// Maximum number of pairs in one hint: PostgreSQL accepts payloads of 8,000 bytes, and a pair has at most 40 bytes.
const MAX_PAIRS_PER_HINT: usize = 150;

/// The interval between two rounds of hints. After an idle period, a hint is sent at once. Under load, each round reports all commits since
/// the previous round, because every hint costs a transaction.
const HINT_INTERVAL: Duration = Duration::from_millis(5);

/// Keeps the tail caches of followed accounts up to date with the log, until `stop` is cancelled.
pub async fn run(broadcaster: Arc<Broadcaster>, db: Database, stop: CancellationToken) {
    let is_shared = db.dialect().is_shared();
    let tasks = async {
        if is_shared {
            tokio::join!(
                fill_tails(&broadcaster),
                notify_replicas(&broadcaster, &db),
                listen(&broadcaster, &db),
                poll(&broadcaster)
            );
        } else {
            tokio::join!(fill_tails(&broadcaster), discard_pending(&broadcaster));
        }
    };
    stop.run_until_cancelled(Box::pin(tasks)).await;
}

/// Reads events that are missing from the tail caches into them.
async fn fill_tails(broadcaster: &Broadcaster) {
    loop {
        broadcaster.behind_notify.notified().await;
        for (account, head) in broadcaster.take_behind() {
            // Bound this wait: if it hangs, no subscriber on this replica receives events.
            if let Err(error) = broadcaster
                .log
                .database()
                .in_time(Box::pin(broadcaster.catch_up(account, head)))
                .await
            {
                tracing::warn!(%account, %error, "failed to read the log; retrying on the next poll");
            }
        }
    }
}

/// Notifies other replicas of this replica's commits. Only one round of hints is sent at a time; it reports all commits since the previous
/// round.
async fn notify_replicas(broadcaster: &Broadcaster, db: &Database) {
    loop {
        broadcaster.committed.notified().await;
        let pending_ephemeral = std::mem::take(&mut *lock(&broadcaster.pending_ephemeral));
        for event in pending_ephemeral {
            let payload = format!("{} {}", process_name(), STANDARD_NO_PAD.encode(event.encode_to_vec()));
            if let Err(error) = send_notification(db, EPHEMERAL_CHANNEL, payload).await {
                tracing::debug!(%error, "failed to send an ephemeral event to other replicas");
            }
        }
        let heads: Vec<_> = std::mem::take(&mut *lock(&broadcaster.pending_heads)).into_iter().collect();
        if broadcaster.is_relayed() {
            continue;
        }
        for heads in heads.chunks(MAX_PAIRS_PER_HINT) {
            if let Err(error) = send_notification(db, CHANNEL, hint(heads)).await {
                tracing::debug!(%error, "failed to notify other replicas of new events; they will find them by polling");
            }
        }
        sleep(HINT_INTERVAL).await;
    }
}

/// Sends a notification on a channel. Does nothing if the database does not support notifications, in which case there are no other
/// replicas.
async fn send_notification(db: &Database, channel: &str, payload: String) -> Result<()> {
    let dialect = db.dialect();
    let Some(notify) = dialect.notification() else { return Ok(()) };
    let statement = dialect.statement(notify, [channel.into(), payload.into()]);
    db.in_time(async { Ok(db.write().execute_raw(statement).await.map(drop)?) }).await
}

/// Discards pending notifications if there are no other replicas to receive them.
async fn discard_pending(broadcaster: &Broadcaster) {
    loop {
        broadcaster.committed.notified().await;
        lock(&broadcaster.pending_heads).clear();
        lock(&broadcaster.pending_ephemeral).clear();
    }
}

/// Listens for hints about new events and for ephemeral events from other replicas, and reconnects after errors.
async fn listen(broadcaster: &Broadcaster, db: &Database) {
    loop {
        if let Err(error) = receive(broadcaster, db).await {
            tracing::warn!(%error, "failed to listen for notifications from other replicas; polling in the meantime");
            sleep(broadcaster.config.poll_interval).await;
        }
    }
}

/// Sends a notification over one connection and receives it over another, as replicas do. Waits forever if the notification is not
/// delivered.
///
/// # Errors
/// Returns [`sqlx::Error`] if a connection or a statement fails.
pub async fn check_notifications(db: &Database) -> Result<(), sqlx::Error> {
    const CHANNEL: &str = "parley_test";
    let dialect = db.dialect();
    let Some(notify) = dialect.notification() else {
        return Err(sqlx::Error::Protocol("this database does not support notifications".to_owned()));
    };
    let mut listener = PgListener::connect_with(db.write().get_postgres_connection_pool()).await?;
    listener.listen(CHANNEL).await?;
    let payload = rand::random::<u64>().to_string();
    db.write()
        .execute_raw(dialect.statement(notify, [CHANNEL.into(), payload.clone().into()]))
        .await
        .map_err(|error| sqlx::Error::Protocol(error.to_string()))?;
    while listener.recv().await?.payload() != payload {}
    Ok(())
}

async fn receive(broadcaster: &Broadcaster, db: &Database) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(db.write().get_postgres_connection_pool()).await?;
    listener.listen_all([CHANNEL, EPHEMERAL_CHANNEL]).await?;
    loop {
        match listener.try_recv().await? {
            Some(notification) if notification.channel() == EPHEMERAL_CHANNEL => {
                if let Some(event) = decode_ephemeral(notification.payload()) {
                    broadcaster.deliver_ephemeral(Arc::new(event));
                }
            }
            Some(notification) => {
                for (account, head) in parse_hint(notification.payload()) {
                    broadcaster.observe_head(account, head);
                }
            }
            // The connection was lost and restored, so notifications may have been missed.
            None => check_heads(broadcaster).await,
        }
    }
}

/// Polls the log heads at an interval, because hints may be lost.
async fn poll(broadcaster: &Broadcaster) {
    let mut ticks = interval(broadcaster.config.poll_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        check_heads(broadcaster).await;
    }
}

async fn check_heads(broadcaster: &Broadcaster) {
    // Read the known heads before querying the database: if the database nevertheless returns a lower head, the log moved back.
    let seen = broadcaster.known_states();
    if seen.is_empty() {
        return;
    }
    let followed: Vec<AccountId> = seen.keys().copied().collect();
    let db = broadcaster.log.database();
    match db.in_time(broadcaster.log.reaches(&followed)).await {
        Ok(reaches) => {
            for range in &reaches {
                let known = seen.get(&range.account).copied();
                if let Err(error) = db.in_time(broadcaster.compare(range, known)).await {
                    tracing::warn!(account = %range.account, %error, "failed to compare the log with its last known state; retrying");
                }
            }
        }
        Err(error) => tracing::warn!(%error, "failed to read the log heads; retrying"),
    }
}

/// Returns the name by which this process recognizes its own ephemeral events.
fn process_name() -> &'static str {
    static NAME: LazyLock<String> = LazyLock::new(|| format!("{:016x}", rand::random::<u64>()));
    &NAME
}

/// Decodes an ephemeral event. Returns `None` if this process sent the event, or if it is malformed.
fn decode_ephemeral(payload: &str) -> Option<pb::EphemeralEvent> {
    let (_, event) = payload.split_once(' ').filter(|(name, _)| *name != process_name())?;
    pb::EphemeralEvent::decode(STANDARD_NO_PAD.decode(event).ok()?.as_slice()).ok()
}

fn hint(heads: &[(AccountId, Seq)]) -> String {
    heads.iter().fold(String::new(), |mut text, (account, head)| {
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}{account}:{head}");
        text
    })
}

fn parse_hint(hint: &str) -> HashMap<AccountId, Seq> {
    let pair = |pair: &str| {
        let (account, head) = pair.split_once(':')?;
        Some((AccountId(account.parse().ok()?), Seq(head.parse().ok()?)))
    };
    hint.split(',').filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_round_trip_and_malformed_pairs_are_skipped() {
        let payload = [(AccountId(1), Seq(42)), (AccountId(7), Seq(9))];
        assert_eq!(hint(&payload), "1:42,7:9");
        assert_eq!(parse_hint("1:42,7:9"), payload.into());
        assert_eq!(parse_hint("x,1:,:2,3:4:5,7:9"), [(AccountId(7), Seq(9))].into());
        assert!(parse_hint("").is_empty());
    }

    #[test]
    fn own_ephemeral_events_are_ignored() {
        let event = pb::EphemeralEvent {
            account_id: 7,
            ..pb::EphemeralEvent::default()
        };
        let encoded = STANDARD_NO_PAD.encode(event.encode_to_vec());
        assert_eq!(decode_ephemeral(&format!("0123456789abcdef {encoded}")), Some(event));
        assert_eq!(decode_ephemeral(&format!("{} {encoded}", process_name())), None);
        assert_eq!(decode_ephemeral("nonsense"), None);
    }
}
