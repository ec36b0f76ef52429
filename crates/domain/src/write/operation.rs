//! The rarer verbs: one transaction each, under the lock of the account's counters.

use crate::write::Write;
use crate::write::panic::panicked;
use std::panic::AssertUnwindSafe;

use futures_util::{FutureExt as _, future::BoxFuture};
use parley_eventlog::{cursor::Cursor, draft::Draft, entry::Entry, history, log};
use parley_storage::{
    Database,
    entity::{account_log, message},
    load,
};
use parley_types::{
    error::{Error, Result, is_unique_violation},
    id::{AccountId, Seq},
    time::Micros,
};
use sea_orm::{DatabaseTransaction, EntityTrait, IntoActiveModel};

use super::{
    WriteSet,
    idempotency::{self, Reply},
    meter::{Operation, measured},
    shard::WriterShard,
};
use crate::files::rows;
use crate::write::call::{Answer, Call};

/// What is to be done once the transaction is committed.
struct Committed<T> {
    answer: Answer<T>,
    counters: account_log::Model,
    drafts: Vec<Draft>,
    entries: Vec<Entry>,
}

impl WriterShard {
    /// Runs a verb and commits what it did.
    ///
    /// # Errors
    /// What the verb returns, and then nothing is stored. When the commit itself fails, it may or may not be stored.
    pub(super) async fn verb<T, F>(&mut self, call: Call<T>, verb: F) -> Result<Answer<T>>
    where
        T: Send + 'static,
        F: for<'w> FnOnce(&'w mut Write) -> BoxFuture<'w, Result<T>> + Send,
    {
        let account = call.account;
        let cause = call.traceparent.clone();
        let attempt = self.db.in_time(Box::pin(self.attempt(call, verb)));
        // A panic fails this call alone. An attempt only reads the shard, and its transaction is rolled back when it is dropped; what
        // the shard has cached of the account is dropped below.
        let attempt = AssertUnwindSafe(attempt).catch_unwind();
        let attempt = async move { attempt.await.unwrap_or_else(|panic| Err(panicked(&*panic))) };
        match measured(self.db.backend(), Operation::Verb, [cause.as_str()].into_iter(), attempt).await {
            Ok(committed) => {
                self.cache.forget_changed(account, &committed.drafts);
                // Rows at hand are current only if nobody wrote between our last look and this verb, also when it left no event; else the
                // next batch reads in the log what they wrote, and this verb too.
                let first = committed.entries.first().map(|entry| Seq(entry.seq.0 - 1));
                let began = first.unwrap_or(committed.counters.head_seq);
                let epoch = committed.counters.epoch;
                match self.cache.account(account) {
                    Some(counted) if counted.counters.head_seq == began => counted.counters = committed.counters,
                    Some(counted) => counted.contended = true,
                    None => {}
                }
                self.events.hub.committed(account, epoch, committed.entries);
                Ok(committed.answer)
            }
            Err(error) => {
                if matches!(error, Error::Database(_) | Error::Unavailable { .. } | Error::Internal(_)) {
                    self.cache.forget(account);
                }
                Err(error)
            }
        }
    }

    async fn attempt<T, F>(&self, call: Call<T>, verb: F) -> Result<Committed<T>>
    where
        T: 'static,
        F: for<'w> FnOnce(&'w mut Write) -> BoxFuture<'w, Result<T>> + Send,
    {
        let txn = self.db.begin().await?;
        let counters = log::lock(&txn, call.account).await?;
        parley_fault::strike("verb");
        let kept = idempotency::kept(&txn, call.account, call.key.iter()).await?;
        if let Some(key) = &call.key
            && let Some(kept) = idempotency::find(key, &kept)
        {
            let answer = idempotency::repeat(key, kept)?;
            return Ok(Committed {
                answer,
                counters,
                drafts: Vec::new(),
                entries: Vec::new(),
            });
        }
        let account = load::account(&txn, call.account).await?;
        let ledger = WriteSet::open(account, counters, &call.caller, &call.traceparent);
        let mut write = Write {
            txn,
            ledger,
            caller: call.caller,
            messages_per_minute: self.config.messages_per_minute,
        };
        let value = verb(&mut write).await.map_err(conflict)?;
        let Write { txn, ledger, .. } = write;
        let (mut cursor, at, drafts) = (ledger.cursor(), ledger.at, ledger.drafts().to_vec());
        if drafts.is_empty() {
            cursor.mark = history::mark(&txn, cursor.account, cursor.seq).await?;
        }
        let entered = ledger.close();
        if !entered.messages.is_empty() {
            let rows = entered.messages.into_iter().map(IntoActiveModel::into_active_model);
            message::Entity::insert_many(rows).exec_without_returning(&txn).await?;
        }
        rows::store(&txn, &entered.claims, &entered.attachments).await?;
        log::append(&txn, &entered.counters, &entered.entries).await?;
        if let Some(key) = &call.key {
            let contact = idempotency::contact(&value, &entered.entries);
            let row = idempotency::row(call.account, key, &kept, &Reply::new(&value, Some(cursor), at, contact));
            idempotency::keep(&txn, row).await?;
        }
        txn.commit().await?;
        Ok(Committed {
            answer: Answer::Fresh(value, Some(cursor)),
            counters: entered.counters,
            drafts,
            entries: entered.entries,
        })
    }
}

/// A unique index that the verb did not look at first: somebody wrote past the lock.
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

/// The answer that was kept when this very request was made before, for verbs that must find something before they can write.
///
/// # Errors
/// [`Error::KeyReused`]; when the database cannot be read.
pub async fn repeated<T>(db: &Database, call: &Call<T>) -> Result<Option<Answer<T>>> {
    let Some(key) = &call.key else { return Ok(None) };
    let kept = idempotency::kept(db.read(), call.account, [key].into_iter()).await?;
    idempotency::find(key, &kept).map(|kept| idempotency::repeat(key, kept)).transpose()
}

/// Runs a write that stands in no existing account's log, once per key.
///
/// # Errors
/// What the write returns, and then nothing is stored.
pub async fn once<T, F>(db: &Database, call: Call<T>, write: F) -> Result<Answer<T>>
where
    F: for<'t> FnOnce(&'t DatabaseTransaction) -> BoxFuture<'t, Result<(T, Option<Cursor>)>> + Send,
{
    let call = Call {
        account: AccountId(0),
        ..call
    };
    let done = write_once(db, &call, write).await;
    // Two at once: unique indexes let one through, and the other is answered as it was.
    if done.is_err()
        && let Some(answer) = repeated(db, &call).await?
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
    let kept = idempotency::kept(&txn, AccountId(0), call.key.iter()).await?;
    if let Some(key) = &call.key
        && let Some(kept) = idempotency::find(key, &kept)
    {
        return idempotency::repeat(key, kept);
    }
    let (value, cursor) = write(&txn).await?;
    if let Some(key) = &call.key {
        let row = idempotency::row(AccountId(0), key, &kept, &Reply::new(&value, cursor, Micros::now(), None));
        idempotency::keep(&txn, row).await?;
    }
    txn.commit().await?;
    Ok(Answer::Fresh(value, cursor))
}
