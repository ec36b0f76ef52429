//! The search index. It follows the log in batches, independently of message writes.
//!
//! New messages are found by their ids, which increase in the order of commits; changed messages are found by the events that report new
//! content. The index entries of a batch and the position after it are stored in one transaction, so that a crash neither loses nor repeats
//! anything and any replica can continue.

use std::{collections::HashMap, time::Duration};

use parley_compute::ComputePool;
use parley_eventlog::{kind::EventKind, payload};
use parley_storage::{
    Database, Dialect,
    dialect::MessageIndex,
    entity::{account_log, event, message},
};
use parley_types::{
    error::Result,
    id::{AccountId, MessageId, Seq},
};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect, Value, sea_query::Expr};
use serde_json::{Value as Json, json};

use super::{
    pieces::{fold, pieces},
    scan,
};

/// The maximum number of new messages that one batch indexes.
const MESSAGES: u64 = 500;
/// The maximum number of events that one batch examines for changed content.
const EVENTS: i64 = 5000;
/// The maximum number of bytes of message content that one batch indexes, and of bytes of events that it examines. A single larger item
/// forms a batch of its own. The limit is needed because a batch is held in memory, and is stored by SQLite's writer in one transaction.
const BATCH_BYTES: u64 = 512 * 1024;
/// The maximum number of batches, and of bytes of content, that are indexed before a search starts.
const BEFORE_SEARCH: usize = 40;
const BEFORE_SEARCH_BYTES: u64 = 4 * 1024 * 1024;

/// The pool that folds message content and splits it into n-grams. A batch occupies only one of the two threads, so searches and the
/// background job share the pool.
static POOL: ComputePool = ComputePool::new("search index", 2, 64);
/// The maximum time for preparing a batch, including the time in the queue.
const PREPARE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, FromQueryResult)]
struct Position {
    seq: i64,
    message_id: i64,
}

/// Indexes the missing messages, up to a limit. Returns whether the index is complete.
///
/// # Errors
/// [`parley_types::error::Error::Database`] or [`parley_types::error::Error::Unavailable`] if a statement fails;
/// [`parley_types::error::Error::Busy`] if the pool is overloaded.
pub async fn catch_up(db: &Database, account: AccountId) -> Result<bool> {
    let mut bytes = 0;
    for _ in 0..BEFORE_SEARCH {
        match step(db, account).await? {
            None => return Ok(true),
            Some(step) => bytes += step.bytes,
        }
        if bytes >= BEFORE_SEARCH_BYTES {
            break;
        }
    }
    Ok(false)
}

/// Selects the accounts that the background job processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backlog {
    /// Accounts with anything left to index.
    Any,
    /// Accounts with so much left to index that a search would become slower. The others can wait: a batch of one message costs as many
    /// statements and disk writes as one of hundreds, and FTS5 has to merge the segments that each batch leaves.
    Large,
}

impl Backlog {
    /// The numbers of unindexed messages and of unexamined events from which an account has a [`Self::Large`] backlog. A search indexes a
    /// smaller backlog in one batch, within a few milliseconds.
    const LARGE: [i64; 2] = [100, 1000];

    fn least(self) -> [i64; 2] {
        if self == Self::Large { Self::LARGE } else { [1, 1] }
    }
}

/// Indexes the missing messages of the accounts that `backlog` selects. Indexing of an account stops when its log has grown since the
/// previous batch, so that the index does not slow down its writers; otherwise the index catches up completely.
///
/// # Errors
/// [`parley_types::error::Error::Database`] or [`parley_types::error::Error::Unavailable`] if a statement fails;
/// [`parley_types::error::Error::Busy`] if the pool is overloaded.
pub async fn follow(db: &Database, backlog: Backlog) -> Result<()> {
    let sql = "SELECT l.account_id AS id FROM account_logs l LEFT JOIN search_positions p ON p.account_id = l.account_id \
               WHERE p.seq IS NULL OR l.last_message_id - p.message_id >= $1 OR l.head_seq - p.seq >= $2 ORDER BY l.account_id";
    let least = backlog.least().map(Value::from);
    let behind = Account::find_by_statement(db.dialect().statement(sql, least))
        .all(db.read())
        .await?;
    for Account { id } in behind {
        let mut head = None;
        while let Some(Step { head: seen, .. }) = step(db, AccountId(id)).await? {
            if head.is_some_and(|head| head != seen) {
                break;
            }
            head = Some(seen);
        }
    }
    Ok(())
}

#[derive(FromQueryResult)]
struct Account {
    id: i64,
}

/// Describes a batch that has been indexed.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// The head of the log when the batch was read.
    head: Seq,
    /// The size of the batch's content, in bytes.
    bytes: u64,
}

/// Indexes one batch. Returns `None` if the index was already up to date.
async fn step(db: &Database, account: AccountId) -> Result<Option<Step>> {
    let Some(counters) = account_log::Entity::find_by_id(account).one(db.read()).await? else {
        return Ok(None);
    };
    let reached = |position: Position| position.seq >= counters.head_seq.0 && position.message_id >= counters.last_message_id.0;
    let mut from = position(db.read(), account).await?;
    if from.is_some_and(reached) {
        return Ok(None);
    }
    if from.is_none() {
        // A new index reads every message with its current content, so only later changes have to be found in the log.
        let begin = "INSERT INTO search_positions (account_id, seq, message_id) \
                     SELECT account_id, head_seq, 0 FROM account_logs WHERE account_id = $1 ON CONFLICT DO NOTHING";
        db.write().execute_raw(db.dialect().statement(begin, [account.0.into()])).await?;
        from = position(db.write(), account).await?;
    }
    let Some(from) = from else { return Ok(None) };
    // Read and fold the content before the transaction, so that no other write has to wait. If a message changes in the meantime, the event
    // about the change comes after the counters that were read, so a later batch finds it.
    let batch = Batch::read(db.read(), account, from, &counters).await?;
    let rows = prepare(db.dialect().message_index(), account, batch.texts).await?;
    let txn = db.begin().await?;
    let moved = "UPDATE search_positions SET seq = $2, message_id = $3 WHERE account_id = $1 AND seq = $4 AND message_id = $5";
    let values = [account.0, batch.to.seq, batch.to.message_id, from.seq, from.message_id].map(Value::from);
    let moved = txn.execute_raw(db.dialect().statement(moved, values)).await?;
    if moved.rows_affected() == 1 {
        put(&txn, account, rows).await?;
        txn.commit().await?;
    } else {
        // Another replica has indexed this batch in the meantime, so discard the transaction.
        txn.rollback().await?;
    }
    Ok(Some(Step {
        head: counters.head_seq,
        bytes: batch.bytes,
    }))
}

/// The message content that one batch indexes.
struct Batch {
    texts: Vec<Text>,
    to: Position,
    bytes: u64,
}

impl Batch {
    async fn read(db: &impl ConnectionTrait, account: AccountId, from: Position, counters: &account_log::Model) -> Result<Self> {
        let newest = message::Entity::find()
            .filter(message::Column::AccountId.eq(account))
            .filter(message::Column::Id.gt(from.message_id))
            .filter(message::Column::Id.lte(counters.last_message_id))
            .order_by_asc(message::Column::Id)
            .limit(MESSAGES);
        let listed = scan::sizes(newest, db).await?;
        let new = scan::prefix(&listed, BATCH_BYTES);
        let mut batch = Self {
            texts: texts(scan::with_ids(account, new), db).await?,
            to: from,
            bytes: new.iter().map(|(_, bytes)| bytes).sum(),
        };
        if listed.len() as u64 == MESSAGES || new.len() < listed.len() {
            batch.to.message_id = new.last().map_or(from.message_id, |(id, _)| *id);
            return Ok(batch);
        }
        batch.to.message_id = from.message_id.max(counters.last_message_id.0);
        let changed = changed(db, account, from.seq, counters.head_seq.0.min(from.seq + EVENTS)).await?;
        batch.to.seq = from.seq.max(changed.to);
        let rows = message::Entity::find()
            .filter(message::Column::AccountId.eq(account))
            .filter(message::Column::Id.is_in(changed.messages));
        batch.texts.extend(texts(rows, db).await?);
        batch.bytes += changed.bytes;
        Ok(batch)
    }
}

async fn position(db: &impl ConnectionTrait, account: AccountId) -> Result<Option<Position>> {
    let sql = "SELECT seq, message_id FROM search_positions WHERE account_id = $1";
    let statement = Dialect::of(db).statement(sql, [account.0.into()]);
    Ok(Position::find_by_statement(statement).one(db).await?)
}

type Text = (MessageId, Option<String>);

async fn texts(rows: sea_orm::Select<message::Entity>, db: &impl ConnectionTrait) -> Result<Vec<Text>> {
    let rows = rows.select_only().columns([message::Column::Id, message::Column::Content]);
    Ok(rows.into_tuple().all(db).await?)
}

/// The messages whose content changed within a range of the log.
struct Changed {
    messages: Vec<i64>,
    /// The seq up to which the log was examined.
    to: i64,
    bytes: u64,
}

async fn changed(db: &impl ConnectionTrait, account: AccountId, after: i64, to: i64) -> Result<Changed> {
    let query = || {
        event::Entity::find()
            .select_only()
            .filter(event::Column::AccountId.eq(account))
            .filter(event::Column::Kind.eq(i32::from(EventKind::MessageUpdated)))
    };
    let listed: Vec<(i64, i64)> = query()
        .column(event::Column::Seq)
        .column_as(Expr::cust("CAST(octet_length(\"events\".\"payload\") AS bigint)"), "bytes")
        .filter(event::Column::Seq.gt(after))
        .filter(event::Column::Seq.lte(to))
        .order_by_asc(event::Column::Seq)
        .into_tuple()
        .all(db)
        .await?;
    let listed: Vec<scan::Sized> = listed.into_iter().map(|(seq, bytes)| (seq, bytes.unsigned_abs())).collect();
    let taken = scan::prefix(&listed, BATCH_BYTES);
    let to = if taken.len() < listed.len() {
        taken.last().map_or(to, |(seq, _)| *seq)
    } else {
        to
    };
    let bytes = taken.iter().map(|(_, bytes)| bytes).sum();
    if taken.is_empty() {
        return Ok(Changed {
            messages: Vec::new(),
            to,
            bytes,
        });
    }
    let payloads: Vec<Vec<u8>> = query()
        .column(event::Column::Payload)
        .filter(event::Column::Seq.is_in(taken.iter().map(|(seq, _)| *seq)))
        .into_tuple()
        .all(db)
        .await?;
    let read = POOL.run(PREPARE, move |_| {
        let mut messages: Vec<i64> = payloads.iter().filter_map(|payload| payload::new_content(payload)).collect();
        messages.sort_unstable();
        messages.dedup();
        messages
    });
    Ok(Changed {
        messages: read.await?,
        to,
        bytes,
    })
}

/// Returns the index entries as JSON. If a message occurs twice, its last entry, which has the newer content, is used.
async fn prepare(stored: MessageIndex, account: AccountId, texts: Vec<Text>) -> Result<String> {
    let row = move |(id, text): Text| json!([id.0, entry(stored, account, fold(&text.unwrap_or_default()))]);
    let rows = POOL.run(PREPARE, move |_| {
        // Keep one entry per message: a single statement must not change the same row twice.
        let texts: HashMap<MessageId, Option<String>> = texts.into_iter().collect();
        Json::Array(texts.into_iter().map(row).collect()).to_string()
    });
    Ok(rows.await?)
}

/// Stores index entries, except those of messages that were deleted in the meantime.
async fn put(db: &impl ConnectionTrait, account: AccountId, rows: String) -> Result<()> {
    let dialect = Dialect::of(db);
    let values: [Value; 2] = [account.0.into(), rows.into()];
    db.execute_raw(dialect.statement(dialect.store_message_index(), values)).await?;
    Ok(())
}

/// Returns the index entry for case-folded content. For a case-folded search string, the returned value is the query to match against
/// entries.
pub(super) fn entry(stored: MessageIndex, account: AccountId, folded: String) -> String {
    match stored {
        MessageIndex::Text => folded,
        MessageIndex::NGrams => {
            // The negated account id is one of the numbers, so that messages of other accounts do not match.
            let mut numbers = vec![(-account.0).to_string()];
            numbers.extend(pieces(&folded).iter().map(ToString::to_string));
            format!("{{{}}}", numbers.join(","))
        }
    }
}
