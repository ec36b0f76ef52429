//! Background jobs: unsnoozing, retention, removal of unneeded files and deleted accounts, mail, and the message index.

use std::{sync::Arc, time::Duration};

use parley_domain::{
    audit,
    conversations::{Conversations, transcripts::send_waiting},
    files::Files,
    forget_keys,
    mail::Mailer,
    people::{outbox::Outbox, presence::forget_absent, removal::empty_deleted},
    search::index::{self, Backlog},
};
use parley_eventlog::{RetentionLimits, log::Log};
use parley_storage::Database;
use parley_types::time::Micros;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;

/// How often snoozed conversations are checked.
const UNSNOOZE_INTERVAL: Duration = Duration::from_secs(2);

/// How often expired responses that were stored for idempotency are removed.
const STORED_RESPONSE_INTERVAL: Duration = Duration::from_mins(10);

/// How often expired audit events are removed.
const AUDIT_INTERVAL: Duration = Duration::from_hours(1);

/// How often the data of deleted accounts is removed, and the maximum number of statements executed each time.
const DELETED_ACCOUNT_INTERVAL: Duration = Duration::from_secs(5);
const MAX_STATEMENTS: usize = 100;

/// Maximum number of expired events removed at once.
const MAX_ROWS: u64 = 200_000;

/// How often queued mail is sent.
const MAIL_INTERVAL: Duration = Duration::from_secs(2);

/// How often unneeded files are removed.
const FILE_INTERVAL: Duration = Duration::from_secs(10);

/// How often the message index is advanced for accounts whose index is far behind, and the number of iterations after which it is advanced
/// for all accounts: once a minute, and at the start. Searches also advance the index themselves.
const INDEX_INTERVAL: Duration = Duration::from_secs(5);
const FULL_INDEX_PERIOD: usize = 12;

/// Removes responses stored longer than `keep`, and expired presence records, until `stop` is cancelled.
pub async fn remove_expired_responses(db: Database, clock: Arc<Clock>, keep: Duration, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = ticks(STORED_RESPONSE_INTERVAL);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let removed = async { forget_keys(&db, clock.now().await?.minus(keep)).await };
        match db.with_long_timeout(removed).await {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "removed expired idempotency records"),
            Err(error) => tracing::warn!(%error, "failed to remove expired idempotency records; retrying later"),
        }
        if let Err(error) = db.with_long_timeout(forget_absent(&db)).await {
            tracing::warn!(%error, "failed to remove expired presence records; retrying later");
        }
    }
    Ok(())
}

/// Removes audit events that exceed the maximum age or the maximum number per account, until `stop` is cancelled.
pub async fn trim_audit(db: Database, clock: Arc<Clock>, keep: audit::Keep, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = ticks(AUDIT_INTERVAL);
    // The first run checks every account, because the limits might have been lowered since the last start.
    let mut since = Micros(0);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let trimmed = async {
            let now = clock.now().await?;
            audit::trim(&db, keep, now, since).await.map(|removed| (removed, now))
        };
        match stop.run_until_cancelled(db.with_long_timeout(Box::pin(trimmed))).await {
            Some(Ok((removed, now))) => {
                tracing::debug!(removed, "removed old audit events");
                // Subtract an interval, because other replicas also store audit events, and their clocks might be behind.
                since = now.minus(AUDIT_INTERVAL);
            }
            Some(Err(error)) => tracing::warn!(%error, "failed to remove old audit events; retrying later"),
            None => {}
        }
    }
    Ok(())
}

/// Until `stop` is cancelled, reopens snoozed conversations that are due, and publishes updates of user and bot data that were not
/// published in time.
pub async fn unsnooze(conversations: Conversations, outbox: Outbox, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = ticks(UNSNOOZE_INTERVAL);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        match conversations.unsnooze_due().await {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "reopened snoozed conversations"),
            Err(error) => tracing::warn!(%error, "failed to reopen snoozed conversations; retrying later"),
        }
        match outbox.deliver_late().await {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "published pending user and bot changes"),
            Err(error) => tracing::warn!(%error, "failed to publish pending user and bot changes; retrying later"),
        }
    }
    Ok(())
}

/// Removes unneeded files, until `stop` is cancelled.
pub async fn remove_unneeded_files(files: Files, clock: Arc<Clock>, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = ticks(FILE_INTERVAL);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let swept = async { files.sweep(clock.now().await?).await };
        match stop.run_until_cancelled(Box::pin(swept)).await {
            Some(Ok(0)) | None => {}
            Some(Ok(count)) => tracing::debug!(count, "removed unneeded files"),
            Some(Err(error)) => tracing::warn!(%error, "failed to remove unneeded files; retrying later"),
        }
    }
    Ok(())
}

/// Removes the data of deleted accounts, until `stop` is cancelled.
pub async fn remove_deleted_accounts(db: Database, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = ticks(DELETED_ACCOUNT_INTERVAL);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        match stop
            .run_until_cancelled(db.with_long_timeout(Box::pin(empty_deleted(&db, MAX_STATEMENTS))))
            .await
        {
            Some(Ok(0)) | None => {}
            Some(Ok(rows)) => tracing::debug!(rows, "removed rows of a deleted account"),
            Some(Err(error)) => tracing::warn!(%error, "failed to remove the data of a deleted account; retrying later"),
        }
    }
    Ok(())
}

/// Trims the logs and rewrites events of erased contacts, until `stop` is cancelled.
pub async fn trim_logs(log: Log, clock: Arc<Clock>, keep: RetentionLimits, every: Duration, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = ticks(every);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let trimmed = async { log.trim(&keep, clock.now().await?, MAX_ROWS).await };
        match stop.run_until_cancelled(log.with_long_timeout(Box::pin(trimmed))).await {
            Some(Ok(0)) | None => {}
            Some(Ok(rows)) => tracing::info!(rows, "removed old events"),
            Some(Err(error)) => tracing::warn!(%error, "failed to remove old events; retrying later"),
        }
        // Each call rewrites a bounded number of rows, so shutdown waits for at most one call.
        while !stop.is_cancelled() {
            match log.with_long_timeout(log.rewrite_erased()).await {
                Ok(0) => break,
                Ok(rows) => tracing::debug!(rows, "removed personal data from events of erased contacts"),
                Err(error) => {
                    tracing::warn!(%error, "failed to rewrite events of erased contacts; retrying later");
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Sends queued mail, until `stop` is cancelled.
pub async fn send_mail(db: Database, mailer: Mailer, clock: Arc<Clock>, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = ticks(MAIL_INTERVAL);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let sent = async { send_waiting(&db, &mailer, clock.now().await?).await };
        match sent.await {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "sent queued mail"),
            Err(error) => tracing::warn!(%error, "failed to send queued mail; retrying later"),
        }
    }
    Ok(())
}

/// Advances the message index along the event log, until `stop` is cancelled.
pub async fn index_messages(db: Database, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = ticks(INDEX_INTERVAL);
    let mut rounds = [Backlog::Any].into_iter().chain([Backlog::Large; FULL_INDEX_PERIOD - 1]).cycle();
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let backlog = rounds.next().unwrap_or(Backlog::Any);
        // Each batch is a transaction, so an interrupted batch is rolled back.
        if let Some(Err(error)) = stop.run_until_cancelled(db.with_long_timeout(index::follow(&db, backlog))).await {
            tracing::warn!(%error, "failed to advance the message index; retrying later");
        }
    }
    Ok(())
}

pub(super) fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
