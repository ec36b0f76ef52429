//! Writes that are not stored in batches: each runs as an operation in its own transaction, under the row lock of the account's counters.

use std::panic::AssertUnwindSafe;

use futures_util::{FutureExt as _, future::BoxFuture};
use parley_eventlog::{cursor::Cursor, event_record::EventRecord, history, log, pending_event::PendingEvent};
use parley_storage::{Database, entity::account_log, load};
use parley_types::{
    error::{Error, Result, is_unique_violation},
    id::{AccountId, Seq},
    time::Micros,
};
use sea_orm::DatabaseTransaction;

use super::{
    WriteSet,
    call::{Answer, Call},
    caught_panic::panicked,
    idempotency::{self, NewResponse},
    meter::{DatabaseWork, measured},
    response_subject::ResponseSubject,
    shard::WriterShard,
    store::BatchStore,
    unit::Write,
};

/// The result of a committed operation, from which the shard updates its cache and publishes the events.
struct Committed<T> {
    answer: Answer<T>,
    counters: account_log::Model,
    drafts: Vec<PendingEvent>,
    entries: Vec<EventRecord>,
}

impl<B: BatchStore> WriterShard<B> {
    /// Runs an operation and commits its changes.
    ///
    /// # Errors
    /// The errors of the operation, in which case nothing is stored. If the commit itself fails, it is unknown whether the changes were
    /// stored.
    pub(super) async fn run_operation<T, F>(&mut self, call: Call<T>, operation: F) -> Result<Answer<T>>
    where
        T: ResponseSubject + Send + 'static,
        F: for<'w> FnOnce(&'w mut Write) -> BoxFuture<'w, Result<T>> + Send,
    {
        let account = call.account;
        let cause = call.traceparent.clone();
        let attempt = self.db.in_time(Box::pin(self.attempt(call, operation)));
        // A panic fails only this call. An attempt never modifies the shard, its transaction is rolled back when it is dropped, and the
        // shard's cached rows of the account are evicted below.
        let attempt = AssertUnwindSafe(attempt).catch_unwind();
        let attempt = async move { attempt.await.unwrap_or_else(|panic| Err(panicked(&*panic))) };
        match measured(self.db.backend(), DatabaseWork::Operation, [cause.as_str()].into_iter(), attempt).await {
            Ok(committed) => {
                let eviction = self.planner.evict_changed(account, &committed.drafts);
                self.finish_eviction(account, eviction);
                // Even if the operation added no event, cached rows are current only if no other replica wrote between this shard's last
                // read and this operation. If one did, mark the account as contended: the next batch then reads from the log what the other
                // replica and this operation wrote.
                let first = committed.entries.first().map(|entry| Seq(entry.seq.0 - 1));
                let began = first.unwrap_or(committed.counters.head_seq);
                let epoch = committed.counters.epoch;
                match self.accounts.get_mut(account) {
                    Some(state) if state.counters.head_seq == began => state.counters = committed.counters,
                    Some(state) => state.contended = true,
                    None => {}
                }
                self.events.broadcaster.committed(account, epoch, committed.entries);
                Ok(committed.answer)
            }
            Err(error) => {
                if matches!(error, Error::Database(_) | Error::Unavailable { .. } | Error::Internal(_)) {
                    self.evict_account(account);
                }
                Err(error)
            }
        }
    }

    async fn attempt<T, F>(&self, call: Call<T>, operation: F) -> Result<Committed<T>>
    where
        T: ResponseSubject + 'static,
        F: for<'w> FnOnce(&'w mut Write) -> BoxFuture<'w, Result<T>> + Send,
    {
        let txn = self.db.begin().await?;
        let counters = log::lock(&txn, call.account).await?;
        // `verb` is the name under which tests request a panic at this point.
        parley_fault::panic_if_requested("verb");
        let stored = idempotency::load(&txn, call.account, call.key.iter()).await?;
        if let Some(key) = &call.key
            && let Some(response) = idempotency::find(key, &stored)
        {
            let answer = idempotency::replay(key, response)?;
            return Ok(Committed {
                answer,
                counters,
                drafts: Vec::new(),
                entries: Vec::new(),
            });
        }
        let account = load::account(&txn, call.account).await?;
        let set = WriteSet::open(account, counters, &call.caller, &call.traceparent);
        let mut write = Write {
            txn,
            set,
            caller: call.caller,
        };
        let value = operation(&mut write).await.map_err(conflict)?;
        let Write { txn, set, .. } = write;
        let (mut cursor, at, drafts) = (set.cursor(), set.at, set.drafts().to_vec());
        if drafts.is_empty() {
            cursor.mark = history::mark(&txn, cursor.account, cursor.seq).await?;
        }
        let completed = set.close();
        B::store_rows(&txn, completed.rows).await?;
        log::append(&txn, &completed.counters, &completed.entries).await?;
        if let Some(key) = &call.key {
            let contact = idempotency::contact(&value, &completed.entries);
            let row = idempotency::row(call.account, key, &stored, &NewResponse::new(&value, Some(cursor), at, contact));
            idempotency::store(&txn, row).await?;
        }
        txn.commit().await?;
        Ok(Committed {
            answer: Answer::Fresh(value, Some(cursor)),
            counters: completed.counters,
            drafts,
            entries: completed.entries,
        })
    }
}

/// Maps a violation of a unique index that the operation had not detected: another process wrote without the lock.
fn conflict(error: Error) -> Error {
    match &error {
        Error::Database(source) if is_unique_violation(source.as_ref()) => Error::Taken {
            violations: Vec::new(),
            kind: "row",
            existing_id: None,
        },
        _ => error,
    }
}

/// Returns the stored response to a request that has already been executed, or `None` if it has not. Operations that look up a resource
/// before they write need this function, because the resource may no longer exist when the request is repeated.
///
/// # Errors
/// [`Error::IdempotencyKeyReused`] if a different request has the same id; [`Error::NotFound`] if the response was erased;
/// [`Error::Database`] or [`Error::Unavailable`] if the query fails.
pub async fn replayed<T>(db: &Database, call: &Call<T>) -> Result<Option<Answer<T>>> {
    let Some(key) = &call.key else { return Ok(None) };
    let stored = idempotency::load(db.read(), call.account, [key].into_iter()).await?;
    idempotency::find(key, &stored)
        .map(|response| idempotency::replay(key, response))
        .transpose()
}

/// Executes a write that does not belong to the log of an existing account, at most once per idempotency key.
///
/// # Errors
/// The errors of `write`, in which case nothing is stored.
pub async fn once<T, F>(db: &Database, call: Call<T>, write: F) -> Result<Answer<T>>
where
    F: for<'t> FnOnce(&'t DatabaseTransaction) -> BoxFuture<'t, Result<(T, Option<Cursor>)>> + Send,
{
    let call = Call {
        account: AccountId(0),
        ..call
    };
    let done = write_once(db, &call, write).await;
    // If two requests with the same key run concurrently, unique indexes reject one of them, which then receives the other's stored
    // response.
    if done.is_err()
        && let Some(answer) = replayed(db, &call).await?
    {
        return Ok(answer);
    }
    done
}

async fn write_once<T, F>(db: &Database, call: &Call<T>, write: F) -> Result<Answer<T>>
where
    F: for<'t> FnOnce(&'t DatabaseTransaction) -> BoxFuture<'t, Result<(T, Option<Cursor>)>> + Send,
{
    let txn = db.begin().await?;
    let stored = idempotency::load(&txn, AccountId(0), call.key.iter()).await?;
    if let Some(key) = &call.key
        && let Some(response) = idempotency::find(key, &stored)
    {
        return idempotency::replay(key, response);
    }
    let (value, cursor) = write(&txn).await?;
    if let Some(key) = &call.key {
        let row = idempotency::row(AccountId(0), key, &stored, &NewResponse::new(&value, cursor, Micros::now(), None));
        idempotency::store(&txn, row).await?;
    }
    txn.commit().await?;
    Ok(Answer::Fresh(value, cursor))
}
