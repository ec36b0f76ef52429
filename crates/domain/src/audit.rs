//! Stores and lists audit events, and deletes events that are too old or exceed the maximum number per account.
//!
//! A call queues its event without waiting, because the event may be recorded while the call is being dropped after a client disconnect.
//! One task stores the queued events, many with one statement. An event that cannot be stored is counted and logged as an error; its line
//! in the audit log is written in any case. `docs/decisions/0007` describes what a crash can lose.

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::{Arc, LazyLock},
    time::Duration,
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use opentelemetry::{KeyValue, metrics::Counter};
use parley_eventlog::pending_event::Actor;
use parley_storage::{Database, entity::audit_event};
use parley_telemetry::names::{self, meter};
use parley_types::{
    error::Result,
    id::{AccountId, TokenId},
    time::Micros,
};
use sea_orm::{ActiveValue::NotSet, ColumnTrait, EntityTrait, ExprTrait as _, IntoActiveModel as _, QueryFilter, QueryOrder, QuerySelect};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub mod list;

pub use parley_storage::entity::audit_event::Model as AuditRow;

/// The capacity of the queue. Audited calls are rare, so a full queue means that the database is unavailable.
const QUEUE: usize = 4096;

/// Maximum number of events that one statement stores.
const AT_ONCE: usize = 256;

/// The maximum number of attempts to store a batch of events, and the pause between attempts.
const ATTEMPTS: u32 = 5;
const RETRY: Duration = Duration::from_secs(1);

/// Maximum number of rows that one DELETE statement removes.
const REMOVED_AT_ONCE: u64 = 5_000;

/// The maximum number of refused calls without a valid token that are recorded in a burst; the sustained rate is one per second. Together,
/// such calls can occupy at most as much of the table as the refused calls of one account.
const STRANGERS_AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(59);

/// The reason why an audit event was not stored.
#[derive(Clone, Copy, Debug)]
enum Lost {
    QueueFull,
    Stopping,
    Database,
    Rate,
}

impl Lost {
    const ALL: [Self; 4] = [Self::QueueFull, Self::Stopping, Self::Database, Self::Rate];

    fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Stopping => "stopping",
            Self::Database => "database",
            Self::Rate => "rate",
        }
    }

    fn count(self, events: usize) {
        static LOST: LazyLock<Counter<u64>> = LazyLock::new(|| meter().u64_counter(names::AUDIT_LOST).with_unit("{event}").build());
        LOST.add(events as u64, &[KeyValue::new(names::REASON, self.name())]);
    }
}

/// An audited call with its result.
#[derive(Clone, Debug)]
pub struct NewAuditEvent {
    pub account: Option<AccountId>,
    /// The caller; `None` if the call had no valid token.
    pub actor: Option<Actor>,
    pub token: Option<TokenId>,
    /// The method, as `parley.v1.Service/Method`.
    pub method: &'static str,
    /// The request field that identifies the affected resource, and its value.
    pub resource: Option<(&'static str, i64)>,
    /// The client's address.
    pub peer: Option<IpAddr>,
    /// The `google.rpc.Code` of the result.
    pub code: i32,
}

impl NewAuditEvent {
    fn row(self, at: Micros) -> AuditRow {
        let code = i16::try_from(self.code).unwrap_or(i16::MAX);
        let actor_type = self.actor.as_ref().map_or(0, |actor| i32::from(actor.kind));
        AuditRow {
            id: 0,
            account_id: self.account.unwrap_or(AccountId(0)),
            occurred_at: at,
            actor_type: i16::try_from(actor_type).unwrap_or_default(),
            actor_id: self.actor.as_ref().map_or(0, |actor| actor.id),
            actor_name: self.actor.map(|actor| actor.name).unwrap_or_default(),
            token_id: self.token,
            method: self.method.to_owned(),
            resource_field: self.resource.map(|(field, _)| field.to_owned()),
            resource_id: self.resource.map(|(_, id)| id),
            peer_address: self.peer.map(|address| address.to_canonical().to_string()),
            code,
            refused: code != 0,
        }
    }
}

/// An element of the audit writer's queue.
#[derive(Debug)]
enum Job {
    Store(Box<AuditRow>),
    /// Asks the writer to reply once it has stored every event queued earlier, or has permanently failed to store it.
    Flush(oneshot::Sender<()>),
}

/// Queues audit events for the writer. Clones share the queue.
#[derive(Clone, Debug)]
pub struct AuditLog {
    queue: mpsc::Sender<Job>,
    strangers: Arc<DefaultDirectRateLimiter>,
}

/// Stores the queued audit events. [`Self::run`] must be running until the server stops.
#[derive(Debug)]
pub struct AuditWriter {
    db: Database,
    queue: mpsc::Receiver<Job>,
}

impl AuditLog {
    /// Creates an audit log, and the writer that must run to store its events.
    pub fn new(db: Database) -> (Self, AuditWriter) {
        let (sender, queue) = mpsc::channel(QUEUE);
        for reason in Lost::ALL {
            // Add 0, so that the counter for each reason is exported from the start.
            reason.count(0);
        }
        let strangers = Quota::per_second(NonZeroU32::MIN).allow_burst(STRANGERS_AT_ONCE);
        let log = Self {
            queue: sender,
            strangers: Arc::new(RateLimiter::direct(strangers)),
        };
        (log, AuditWriter { db, queue })
    }

    /// Like [`Self::record`], for a refused call without a valid token. Anyone can make such calls, so the rate at which they are recorded
    /// is limited; the excess is counted as lost.
    pub fn record_stranger(&self, event: NewAuditEvent) {
        if self.strangers.check().is_ok() {
            self.record(event);
        } else {
            Lost::Rate.count(1);
        }
    }

    /// Queues an event to be stored, without waiting. If the queue is full or closed, the event is dropped and an error is logged.
    pub fn record(&self, event: NewAuditEvent) {
        let row = event.row(Micros::now());
        if let Err(refused) = self.queue.try_send(Job::Store(Box::new(row))) {
            let (reason, job) = match refused {
                mpsc::error::TrySendError::Full(job) => (Lost::QueueFull, job),
                mpsc::error::TrySendError::Closed(job) => (Lost::Stopping, job),
            };
            if let Job::Store(row) = job {
                lost(&[*row], reason, reason.name());
            }
        }
    }

    /// Waits until the writer has stored every event queued so far, or has permanently failed to store it.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        // Sending fails only if the writer has ended, in which case it has processed all events.
        if self.queue.send(Job::Flush(done)).await.is_ok() {
            let _ = flushed.await;
        }
    }
}

impl AuditWriter {
    /// Stores events until `stop` is cancelled, then stores the events that are still queued, and returns. Events recorded later are only
    /// logged.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut jobs = Vec::with_capacity(AT_ONCE);
        loop {
            let received = stop.run_until_cancelled(self.queue.recv_many(&mut jobs, AT_ONCE)).await;
            match received {
                Some(0) => return,
                Some(_) => self.store(&mut jobs).await,
                None => break,
            }
        }
        self.queue.close();
        while self.queue.recv_many(&mut jobs, AT_ONCE).await > 0 {
            self.store(&mut jobs).await;
        }
    }

    async fn store(&self, jobs: &mut Vec<Job>) {
        let (mut rows, mut waiting) = (Vec::new(), Vec::new());
        for job in jobs.drain(..) {
            match job {
                Job::Store(row) => rows.push(*row),
                Job::Flush(done) => waiting.push(done),
            }
        }
        let mut attempt = 1;
        while !rows.is_empty() {
            match self.db.in_time(Box::pin(insert(&self.db, &rows))).await {
                Ok(()) => break,
                Err(error) if attempt < ATTEMPTS => {
                    tracing::debug!(%error, attempt, "failed to store audit events; retrying");
                    attempt += 1;
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => {
                    lost(&rows, Lost::Database, &error.to_string());
                    break;
                }
            }
        }
        for done in waiting {
            // Sending fails if the caller of `flush` was cancelled.
            let _ = done.send(());
        }
    }
}

async fn insert(db: &Database, rows: &[AuditRow]) -> Result<()> {
    let rows = rows.iter().map(|row| audit_event::ActiveModel {
        id: NotSet,
        ..row.clone().into_active_model()
    });
    audit_event::Entity::insert_many(rows).exec_without_returning(db.write()).await?;
    Ok(())
}

fn lost(rows: &[AuditRow], lost: Lost, reason: &str) {
    lost.count(rows.len());
    for row in rows {
        tracing::error!(
            method = row.method,
            account = row.account_id.0,
            actor_id = row.actor_id,
            code = row.code,
            reason,
            "failed to store an audit event; the audit log line is its only record"
        );
    }
}

/// Limits on how many audit events are retained, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// The age at which events are deleted, regardless of their number.
    pub age: Duration,
    /// Maximum number of events per account, counted separately for refused and other calls, so that refused calls cannot displace records
    /// of successful ones.
    pub events: u64,
}

/// Deletes events that are older than the maximum age or exceed the maximum number per account, and returns how many were deleted. Counts
/// events only for accounts with an event at or after the time `since`, because no other account can have exceeded the maximum in the
/// meantime.
///
/// # Errors
/// Returns [`parley_types::error::Error::Database`] if a query fails.
pub async fn trim(db: &Database, keep: Keep, now: Micros, since: Micros) -> Result<u64> {
    let mut removed = delete(db, audit_event::Column::OccurredAt.lt(now.minus(keep.age))).await?;
    let accounts: Vec<AccountId> = audit_event::Entity::find()
        .select_only()
        .column(audit_event::Column::AccountId)
        .distinct()
        .filter(audit_event::Column::OccurredAt.gte(since))
        .into_tuple()
        .all(db.read())
        .await?;
    for account in accounts {
        for refused in [false, true] {
            let of_kind = audit_event::Column::AccountId
                .eq(account)
                .and(audit_event::Column::Refused.eq(refused));
            let first_too_many: Option<i64> = audit_event::Entity::find()
                .select_only()
                .column(audit_event::Column::Id)
                .filter(of_kind.clone())
                .order_by_desc(audit_event::Column::Id)
                .offset(keep.events)
                .limit(1)
                .into_tuple()
                .one(db.read())
                .await?;
            if let Some(id) = first_too_many {
                removed += delete(db, of_kind.and(audit_event::Column::Id.lte(id))).await?;
            }
        }
    }
    Ok(removed)
}

/// Deletes rows in statements of bounded size, so that none holds its locks for long.
async fn delete(db: &Database, which: sea_orm::sea_query::SimpleExpr) -> Result<u64> {
    let mut removed = 0;
    loop {
        let ids: Vec<i64> = audit_event::Entity::find()
            .select_only()
            .column(audit_event::Column::Id)
            .filter(which.clone())
            .order_by_asc(audit_event::Column::Id)
            .limit(REMOVED_AT_ONCE)
            .into_tuple()
            .all(db.read())
            .await?;
        let Some(last) = ids.last() else { return Ok(removed) };
        let gone = audit_event::Entity::delete_many()
            .filter(which.clone())
            .filter(audit_event::Column::Id.lte(*last))
            .exec(db.write())
            .await?;
        removed += gone.rows_affected;
    }
}
