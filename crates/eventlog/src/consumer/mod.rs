//! Durable consumers. For each of a consumer's shards, the position and the owner are stored.
//!
//! Each shard has a fencing number in the database, which every session raises when it opens. The shard belongs to the session with the
//! latest number. From then on, commits of older sessions are rejected on every replica, even if those sessions do not know about the newer
//! one yet.

use std::collections::HashMap;

use parley_fault::Protection;
use parley_storage::{
    Dialect,
    entity::{
        consumer,
        consumer_shard::{self, Column},
    },
};
use parley_types::{
    error::{ConsumerFault, Error, Result},
    id::{AccountId, Epoch, Seq},
    time::Micros,
};
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::{Set, Unchanged},
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select,
    sea_query::{Expr, OnConflict},
};

use crate::{cursor::Cursor, history, log::LogRange, mark::Mark};

mod commit;
mod session;

pub use parley_storage::entity::consumer_shard::Model as Shard;
pub use session::Session;

/// Maximum number of consumers of an account: each of them can keep the log from being trimmed for days.
pub const MAX_CONSUMERS: u64 = 100;

/// Maximum number of shards of a consumer.
pub const MAX_SHARDS: u32 = 256;

/// Identifies one shard of one consumer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConsumerShardId {
    pub account: AccountId,
    /// The name of the consumer.
    pub consumer: String,
    /// The index of the shard, from 0.
    pub shard: i64,
}

/// A request to open a session.
#[derive(Clone, Debug)]
pub struct OpenSession {
    /// The shard to acquire.
    pub shard_id: ConsumerShardId,
    /// The number of shards that the client expects the consumer to have.
    pub shard_count: i64,
    /// An encoded `EventFilter`. `None` accepts the filter of an existing consumer, and selects every event for a new one.
    pub filter: Option<Vec<u8>>,
}

/// A shard that was acquired.
#[derive(Clone, Debug)]
pub(super) struct AcquiredShard {
    /// The consumer's encoded `EventFilter`.
    pub filter: Vec<u8>,
    /// The row of the shard, with its position and fencing number.
    pub shard: consumer_shard::Model,
}

/// A consumer with its shards.
#[derive(Clone, Debug, PartialEq)]
pub struct Consumer {
    pub row: consumer::Model,
    /// The shards, sorted by index. A shard that has never been opened has no row yet.
    pub shards: Vec<consumer_shard::Model>,
}

impl Consumer {
    /// Returns the lowest position of the consumer's shards. Events after it are kept for the consumer.
    pub fn lowest_position(&self) -> Seq {
        let shards = self.shards.iter().map(|shard| shard.seq);
        let unopened = usize::try_from(self.row.shard_count).is_ok_and(|count| self.shards.len() < count);
        shards
            .chain(unopened.then_some(self.row.start_seq))
            .min()
            .unwrap_or(self.row.start_seq)
    }

    /// Returns the epoch of the consumer's positions.
    pub fn epoch(&self) -> Epoch {
        self.shards.first().map_or(self.row.start_epoch, |shard| shard.epoch)
    }

    /// Returns how many of the consumer's shards have a session whose lease has not expired at `now`.
    pub fn sessions(&self, now: Micros) -> usize {
        self.shards.iter().filter(|shard| shard.leased_until > now).count()
    }
}

/// Returns the number of events between a position and the head.
pub fn lag(range: &LogRange, seq: Seq) -> u64 {
    u64::try_from(range.head.0 - seq.0).unwrap_or_default()
}

/// Acquires a shard as part of a transaction: creates the consumer if it does not exist yet, and raises the shard's fencing number.
///
/// # Errors
/// Returns the error of `start` if the consumer is new; [`Error::Consumer`] if the consumer's filter differs, or its number of shards
/// differs while it has sessions that are alive; [`Error::Precondition`] if the new consumer would exceed [`MAX_CONSUMERS`];
/// [`Error::Unavailable`] or [`Error::Database`] if a statement fails.
pub(super) async fn acquire(
    txn: &impl ConnectionTrait,
    opening: &OpenSession,
    start: Result<Cursor>,
    until: Micros,
) -> Result<AcquiredShard> {
    let now = Micros::now();
    let ConsumerShardId {
        account,
        consumer: name,
        shard,
    } = &opening.shard_id;
    make(txn, opening, start, now).await?;
    let mut row = locked(txn, *account, name).await?;
    if opening.filter.as_ref().is_some_and(|filter| *filter != row.filter) {
        return Err(Error::Consumer(ConsumerFault::OtherFilter));
    }
    if row.shard_count != opening.shard_count {
        row = reshard(txn, row, opening.shard_count, now).await?;
    }
    row.fence += 1;
    let fence = consumer::ActiveModel {
        fence: Set(row.fence),
        ..key_of(&row)
    };
    fence.update(txn).await?;
    let first = consumer_shard::ActiveModel {
        account_id: Set(*account),
        name: Set(name.clone()),
        shard: Set(*shard),
        epoch: Set(row.start_epoch),
        seq: Set(row.start_seq),
        fence: Set(row.fence),
        leased_until: Set(until),
        committed_at: Set(now),
    };
    let later = OnConflict::columns([Column::AccountId, Column::Name, Column::Shard])
        .update_columns([Column::Fence, Column::LeasedUntil])
        .to_owned();
    let shard = consumer_shard::Entity::insert(first)
        .on_conflict(later)
        .exec_with_returning(txn)
        .await?;
    Ok(AcquiredShard { filter: row.filter, shard })
}

/// Creates the consumer, unless it already exists.
async fn make(txn: &impl ConnectionTrait, opening: &OpenSession, start: Result<Cursor>, now: Micros) -> Result<()> {
    let ConsumerShardId {
        account, consumer: name, ..
    } = &opening.shard_id;
    let row = consumer::ActiveModel {
        account_id: Set(*account),
        name: Set(name.clone()),
        filter: Set(opening.filter.clone().unwrap_or_default()),
        shard_count: Set(opening.shard_count),
        start_epoch: Set(start.as_ref().map_or(Epoch(0), |cursor| cursor.epoch)),
        start_seq: Set(start.as_ref().map_or(Seq(0), |cursor| cursor.seq)),
        fence: Set(now.0),
        created_at: Set(now),
    };
    let known = OnConflict::columns([consumer::Column::AccountId, consumer::Column::Name])
        .do_nothing()
        .to_owned();
    let made = consumer::Entity::insert(row).on_conflict(known).exec_without_returning(txn).await?;
    if made > 0 {
        // An existing consumer ignores the start, so a cursor that cannot be used is an error only for a new one.
        start?;
    }
    if made > 0 && of_account(*account).count(txn).await? > MAX_CONSUMERS {
        return Err(Error::Precondition(
            "the account already has 100 consumers, the maximum; delete unused ones",
        ));
    }
    Ok(())
}

fn of_account(account: AccountId) -> Select<consumer::Entity> {
    consumer::Entity::find().filter(consumer::Column::AccountId.eq(account))
}

fn key_of(row: &consumer::Model) -> consumer::ActiveModel {
    consumer::ActiveModel {
        account_id: Unchanged(row.account_id),
        name: Unchanged(row.name.clone()),
        ..Default::default()
    }
}

/// Reads a consumer and locks its row, so that no other session of the consumer can open until the transaction ends.
///
/// # Errors
/// Returns [`Error::NotFound`] if the consumer does not exist, and [`Error::Unavailable`] or [`Error::Database`] if the query fails.
async fn locked(txn: &impl ConnectionTrait, account: AccountId, name: &str) -> Result<consumer::Model> {
    let find = consumer::Entity::find_by_id((account, name.to_owned()));
    let row = Dialect::of(txn).lock_rows(find).one(txn).await?;
    row.ok_or_else(|| Error::not_found("consumer", name))
}

async fn with_shards(db: &impl ConnectionTrait, row: consumer::Model) -> Result<Consumer> {
    let shards = consumer_shard::Entity::find()
        .filter(of_consumer(row.account_id, &row.name))
        .order_by_asc(Column::Shard)
        .all(db)
        .await?;
    Ok(Consumer { row, shards })
}

fn of_consumer(account: AccountId, name: &str) -> Condition {
    Condition::all().add(Column::AccountId.eq(account)).add(Column::Name.eq(name))
}

/// Changes the number of shards. All shards start at the position of the slowest one: some events are delivered again, none is skipped.
async fn reshard(txn: &impl ConnectionTrait, row: consumer::Model, count: i64, now: Micros) -> Result<consumer::Model> {
    let consumer = with_shards(txn, row).await?;
    if consumer.sessions(now) > 0 {
        return Err(Error::Consumer(ConsumerFault::OtherShards(consumer.row.shard_count)));
    }
    let (epoch, lowest_position) = (consumer.epoch(), consumer.lowest_position());
    restart_at(txn, consumer.row, count, (epoch, lowest_position)).await
}

/// Deletes the stored position of each shard, so that all shards start after the given one.
async fn restart_at(txn: &impl ConnectionTrait, row: consumer::Model, count: i64, (epoch, seq): (Epoch, Seq)) -> Result<consumer::Model> {
    let (account, name) = (row.account_id, row.name.clone());
    consumer_shard::Entity::delete_many()
        .filter(of_consumer(account, &name))
        .exec(txn)
        .await?;
    let changed = consumer::ActiveModel {
        shard_count: Set(count),
        start_epoch: Set(epoch),
        start_seq: Set(seq),
        ..key_of(&row)
    };
    Ok(changed.update(txn).await?)
}

/// Reads one consumer of an account.
///
/// # Errors
/// Returns [`Error::NotFound`] if the consumer does not exist, and [`Error::Unavailable`] or [`Error::Database`] if a query fails.
pub async fn one(db: &impl ConnectionTrait, account: AccountId, name: &str) -> Result<Consumer> {
    let row = consumer::Entity::find_by_id((account, name.to_owned())).one(db).await?;
    with_shards(db, row.ok_or_else(|| Error::not_found("consumer", name))?).await
}

/// Returns up to `limit` consumers of an account, in order of their names, after the name `after`.
///
/// # Errors
/// Returns [`Error::Unavailable`] if the database cannot be reached, and [`Error::Database`] if a query fails.
pub async fn list(db: &impl ConnectionTrait, account: AccountId, after: &str, limit: u64) -> Result<Vec<Consumer>> {
    let rows = of_account(account)
        .filter(consumer::Column::Name.gt(after))
        .order_by_asc(consumer::Column::Name)
        .limit(limit)
        .all(db)
        .await?;
    let names = rows.iter().map(|row| row.name.clone());
    let shards = consumer_shard::Entity::find()
        .filter(Column::AccountId.eq(account))
        .filter(Column::Name.is_in(names))
        .order_by_asc(Column::Shard)
        .all(db)
        .await?;
    let mut of: HashMap<String, Vec<consumer_shard::Model>> = HashMap::new();
    for shard in shards {
        of.entry(shard.name.clone()).or_default().push(shard);
    }
    let joined = rows.into_iter().map(|row| Consumer {
        shards: of.remove(&row.name).unwrap_or_default(),
        row,
    });
    Ok(joined.collect())
}

/// Returns the marks of the events at the positions of the named consumers' shards. Events that have been trimmed are missing from the
/// result.
///
/// # Errors
/// Returns [`Error::Unavailable`] if the database cannot be reached, and [`Error::Database`] if the query fails.
pub async fn marks<'n>(
    db: &impl ConnectionTrait,
    account: AccountId,
    names: impl IntoIterator<Item = &'n str>,
) -> Result<HashMap<Seq, Mark>> {
    let at = consumer_shard::Entity::find()
        .select_only()
        .column(Column::Seq)
        .filter(Column::AccountId.eq(account))
        .filter(Column::Name.is_in(names))
        .into_query();
    Ok(history::marks(db, account, at).await?)
}

/// Moves a consumer to another position and ends its sessions.
///
/// # Errors
/// Returns [`Error::NotFound`] if the consumer does not exist, and [`Error::Unavailable`] or [`Error::Database`] if a statement fails.
pub async fn reset(txn: &impl ConnectionTrait, account: AccountId, name: &str, start: Cursor) -> Result<Consumer> {
    let row = locked(txn, account, name).await?;
    let count = row.shard_count;
    let row = restart_at(txn, row, count, (start.epoch, start.seq)).await?;
    Ok(Consumer { row, shards: Vec::new() })
}

/// Deletes a consumer and ends its sessions. The consumer no longer keeps the log from being trimmed.
///
/// # Errors
/// Returns [`Error::NotFound`] if the consumer does not exist, and [`Error::Unavailable`] or [`Error::Database`] if a statement fails.
pub async fn delete(txn: &impl ConnectionTrait, account: AccountId, name: &str) -> Result<()> {
    consumer_shard::Entity::delete_many()
        .filter(of_consumer(account, name))
        .exec(txn)
        .await?;
    let gone = consumer::Entity::delete_by_id((account, name.to_owned())).exec(txn).await?;
    if gone.rows_affected == 0 {
        return Err(Error::not_found("consumer", name));
    }
    Ok(())
}

/// Extends the lease of a session to `until`.
///
/// # Errors
/// Returns [`Error::Consumer`] if a newer session owns the shard, and [`Error::Unavailable`] or [`Error::Database`] if the statement fails.
pub(super) async fn renew(db: &impl ConnectionTrait, shard_id: &ConsumerShardId, fence: i64, until: Micros) -> Result<()> {
    let renewed = consumer_shard::Entity::update_many()
        .col_expr(Column::LeasedUntil, Expr::value(until.0))
        .filter(owned_by(shard_id, fence))
        .exec(db)
        .await?;
    if renewed.rows_affected == 0 {
        return Err(Error::Consumer(ConsumerFault::TakenOver));
    }
    Ok(())
}

fn owned_by(shard_id: &ConsumerShardId, fence: i64) -> Condition {
    let newest = parley_fault::is_on(Protection::Fencing).then(|| Column::Fence.eq(fence));
    of_consumer(shard_id.account, &shard_id.consumer)
        .add(Column::Shard.eq(shard_id.shard))
        .add_option(newest)
}
