//! What goes on behind the doors: following other replicas, forgetting old keys, looking after the database.

use std::{sync::Arc, time::Duration};

use parley_domain::{
    audit,
    conversations::{Conversations, transcripts::send_waiting},
    files::Files,
    forget_keys,
    mail::Mailer,
    people::{outbox::Outbox, presence::forget_absent, removal::empty_deleted},
    search::index::{self, Behind},
};
use parley_eventlog::{log::Log, retention::Keep};
use parley_storage::Database;
use parley_types::time::Micros;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;

/// How often snoozed conversations are looked at.
const WAKE: Duration = Duration::from_secs(2);

/// How often old keys are forgotten.
const FORGET: Duration = Duration::from_mins(10);

/// How often audit events that are kept no longer are removed.
const TRIM_AUDIT: Duration = Duration::from_hours(1);

/// How often deleted accounts are looked for, and how many statements go to them then.
const EMPTY: Duration = Duration::from_secs(5);
const STATEMENTS: usize = 100;

/// How many old events are removed at once.
const ROWS: u64 = 200_000;

/// How often mails that wait are looked for.
const SEND: Duration = Duration::from_secs(2);

/// How often files that nobody needs are removed.
const SWEEP: Duration = Duration::from_secs(10);

/// How often the index of messages is brought nearer where it is far behind, beside what searches do for themselves; and in every how many of
/// these rounds everywhere, so once a minute and at the start.
const INDEX: Duration = Duration::from_secs(5);
const EVERYWHERE: usize = 12;

/// Forgets the answers to requests that are older than `keep`, until `stop`.
pub async fn keys(db: Database, clock: Arc<Clock>, keep: Duration, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = ticks(FORGET);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let forgotten = async { forget_keys(&db, clock.now().await?.minus(keep)).await };
        match db.in_long_time(forgotten).await {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "old request ids forgotten"),
            Err(error) => tracing::warn!(%error, "old request ids could not be forgotten; trying again later"),
        }
        if let Err(error) = db.in_long_time(forget_absent(&db)).await {
            tracing::warn!(%error, "who is no longer there could not be forgotten; trying again later");
        }
    }
    Ok(())
}

/// Removes audit events that are too old or too many, until `stop`.
pub async fn trim_audit(db: Database, clock: Arc<Clock>, keep: audit::Keep, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = ticks(TRIM_AUDIT);
    // At the start every account is looked at: what is kept may be less than before.
    let mut since = Micros(0);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let trimmed = async {
            let now = clock.now().await?;
            audit::trim(&db, keep, now, since).await.map(|removed| (removed, now))
        };
        match stop.run_until_cancelled(db.in_long_time(Box::pin(trimmed))).await {
            Some(Ok((removed, now))) => {
                tracing::debug!(removed, "old audit events removed");
                // Other replicas' clocks may be behind.
                since = now.minus(TRIM_AUDIT);
            }
            Some(Err(error)) => tracing::warn!(%error, "failed to remove old audit events; retrying later"),
            None => {}
        }
    }
    Ok(())
}

/// Reopens snoozed conversations when their time has come, and delivers changes of users and bots that were not delivered in time, until `stop`.
pub async fn wake(conversations: Conversations, outbox: Outbox, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = ticks(WAKE);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        match conversations.unsnooze_due().await {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "snoozed conversations opened"),
            Err(error) => tracing::warn!(%error, "snoozed conversations could not be opened; trying again later"),
        }
        match outbox.deliver_late().await {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "late changes of users or bots delivered"),
            Err(error) => tracing::warn!(%error, "failed to deliver changes of users or bots; retrying later"),
        }
    }
    Ok(())
}

/// Removes files that nobody needs, until `stop`.
pub async fn files(files: Files, clock: Arc<Clock>, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = ticks(SWEEP);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let swept = async { files.sweep(clock.now().await?).await };
        match stop.run_until_cancelled(Box::pin(swept)).await {
            Some(Ok(0)) | None => {}
            Some(Ok(count)) => tracing::debug!(count, "files removed"),
            Some(Err(error)) => tracing::warn!(%error, "files could not be removed; trying again later"),
        }
    }
    Ok(())
}

/// Empties deleted accounts, until `stop`.
pub async fn deleted(db: Database, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = ticks(EMPTY);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        match stop
            .run_until_cancelled(db.in_long_time(Box::pin(empty_deleted(&db, STATEMENTS))))
            .await
        {
            Some(Ok(0)) | None => {}
            Some(Ok(rows)) => tracing::debug!(rows, "rows of a deleted account removed"),
            Some(Err(error)) => tracing::warn!(%error, "a deleted account could not be emptied; trying again later"),
        }
    }
    Ok(())
}

/// Removes what is kept no longer of the logs, and what erased contacts left in them, until `stop`.
pub async fn trim(log: Log, clock: Arc<Clock>, keep: Keep, every: Duration, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = ticks(every);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let trimmed = async { log.trim(&keep, clock.now().await?, ROWS).await };
        match stop.run_until_cancelled(log.in_long_time(Box::pin(trimmed))).await {
            Some(Ok(0)) | None => {}
            Some(Ok(rows)) => tracing::info!(rows, "old events removed"),
            Some(Err(error)) => tracing::warn!(%error, "old events could not be removed; trying again later"),
        }
        // Each step is small, so that whoever stops waits for one at most.
        while !stop.is_cancelled() {
            match log.in_long_time(log.rewrite_erased()).await {
                Ok(0) => break,
                Ok(rows) => tracing::debug!(rows, "what an erased contact left was rewritten"),
                Err(error) => {
                    tracing::warn!(%error, "what an erased contact left could not be rewritten; trying again later");
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Sends mails that wait, until `stop`.
pub async fn mails(db: Database, mailer: Mailer, clock: Arc<Clock>, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = ticks(SEND);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let sent = async { send_waiting(&db, &mailer, clock.now().await?).await };
        match sent.await {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "mails sent"),
            Err(error) => tracing::warn!(%error, "mails could not be sent; trying again later"),
        }
    }
    Ok(())
}

/// Keeps the index of messages behind the log, until `stop`.
pub async fn search(db: Database, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = ticks(INDEX);
    let mut rounds = [Behind::AtAll].into_iter().chain([Behind::Far; EVERYWHERE - 1]).cycle();
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let behind = rounds.next().unwrap_or(Behind::AtAll);
        // Each batch is a transaction: one that is broken off is undone.
        if let Some(Err(error)) = stop.run_until_cancelled(db.in_long_time(index::follow(&db, behind))).await {
            tracing::warn!(%error, "the index of messages could not go on; trying again later");
        }
    }
    Ok(())
}

pub(super) fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
