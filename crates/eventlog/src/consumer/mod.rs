//! Durable consumers: how far each shard of each is, and whose it is.
//!
//! A session owns its shard by a fencing number, which the opening of the next one raises in the database. So whatever an older session
//! still believes, what it says is not taken, on any replica.

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
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    Select,
    sea_query::{CaseStatement, Expr, OnConflict},
};

use crate::{cursor::Cursor, history, log::Reach, mark::Mark};

mod session;

pub use parley_storage::entity::consumer_shard::Model as Shard;
pub use session::Session;

/// Consumers of one account: each may hold its log for days.
pub const MOST: u64 = 100;

/// Shards of one consumer.
pub const SHARDS: u32 = 256;

/// Who consumes: one shard of one consumer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Seat {
    /// Whose log.
    pub account: AccountId,
    /// The consumer's name.
    pub consumer: String,
    /// The shard, from 0.
    pub shard: i64,
}

/// What a session asks for.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Where it wants to sit.
    pub seat: Seat,
    /// How many shards there are.
    pub shard_count: i64,
    /// An encoded `EventFilter`; none: that of the consumer as it is, of a new one everything.
    pub filter: Option<Vec<u8>>,
}

/// A seat that was taken.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    /// An encoded `EventFilter`.
    pub filter: Vec<u8>,
    /// The position and the fencing number.
    pub shard: consumer_shard::Model,
}

/// A consumer with its shards.
#[derive(Clone, Debug, PartialEq)]
pub struct Consumer {
    /// The consumer.
    pub row: consumer::Model,
    /// Its shards, by number; one that was never open has no row yet.
    pub shards: Vec<consumer_shard::Model>,
}

impl Consumer {
    /// The position that holds the log: the least of its shards'.
    pub fn least(&self) -> Seq {
        let shards = self.shards.iter().map(|shard| shard.seq);
        let unopened = usize::try_from(self.row.shard_count).is_ok_and(|count| self.shards.len() < count);
        shards
            .chain(unopened.then_some(self.row.start_seq))
            .min()
            .unwrap_or(self.row.start_seq)
    }

    /// The history that its positions belong to.
    pub fn epoch(&self) -> Epoch {
        self.shards.first().map_or(self.row.start_epoch, |shard| shard.epoch)
    }

    /// How many of its sessions are alive.
    pub fn sessions(&self, now: Micros) -> usize {
        self.shards.iter().filter(|shard| shard.leased_until > now).count()
    }
}

/// How many events lie between a position and the head.
pub fn lag(reach: &Reach, seq: Seq) -> u64 {
    u64::try_from(reach.head.0 - seq.0).unwrap_or_default()
}

/// Takes a seat in a transaction: makes the consumer if it is new, and raises the fencing number.
///
/// # Errors
/// What `start` says, if the consumer is new; [`Error::Consumer`] for another filter, or another number of shards while sessions are alive;
/// [`Error::Precondition`] beyond [`MOST`].
pub(super) async fn take(txn: &impl ConnectionTrait, opening: &Opening, start: Result<Cursor>, until: Micros) -> Result<Taken> {
    let now = Micros::now();
    let Seat {
        account,
        consumer: name,
        shard,
    } = &opening.seat;
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
    Ok(Taken { filter: row.filter, shard })
}

/// Makes the consumer, unless there is one.
async fn make(txn: &impl ConnectionTrait, opening: &Opening, start: Result<Cursor>, now: Micros) -> Result<()> {
    let Seat {
        account, consumer: name, ..
    } = &opening.seat;
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
        // Where a consumer begins that exists already is no matter, so a lost cursor is one only now.
        start?;
    }
    if made > 0 && of_account(*account).count(txn).await? > MOST {
        return Err(Error::Precondition("the account has 100 consumers; delete those that nobody needs"));
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

/// The consumer, whose sessions open one after another until the transaction ends.
///
/// # Errors
/// [`Error::NotFound`].
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

/// Splits a consumer anew. All shards begin where the slowest was: some events come again, none is passed over.
async fn reshard(txn: &impl ConnectionTrait, row: consumer::Model, count: i64, now: Micros) -> Result<consumer::Model> {
    let consumer = with_shards(txn, row).await?;
    if consumer.sessions(now) > 0 {
        return Err(Error::Consumer(ConsumerFault::OtherShards(consumer.row.shard_count)));
    }
    let (epoch, least) = (consumer.epoch(), consumer.least());
    begin_at(txn, consumer.row, count, (epoch, least)).await
}

/// Forgets how far the shards are: all begin after a position.
async fn begin_at(txn: &impl ConnectionTrait, row: consumer::Model, count: i64, (epoch, seq): (Epoch, Seq)) -> Result<consumer::Model> {
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

/// One consumer of an account.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn one(db: &impl ConnectionTrait, account: AccountId, name: &str) -> Result<Consumer> {
    let row = consumer::Entity::find_by_id((account, name.to_owned())).one(db).await?;
    with_shards(db, row.ok_or_else(|| Error::not_found("consumer", name))?).await
}

/// The consumers of an account after a name, by name, at most `limit`.
///
/// # Errors
/// When the database cannot be read.
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

/// The marks of the events at which shards of these consumers of an account are, as far as those events are kept.
///
/// # Errors
/// When the database cannot be read.
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

/// Lets a consumer begin somewhere else; its sessions end.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn reset(txn: &impl ConnectionTrait, account: AccountId, name: &str, start: Cursor) -> Result<Consumer> {
    let row = locked(txn, account, name).await?;
    let count = row.shard_count;
    let row = begin_at(txn, row, count, (start.epoch, start.seq)).await?;
    Ok(Consumer { row, shards: Vec::new() })
}

/// Deletes a consumer; its sessions end, and it holds the log no longer.
///
/// # Errors
/// [`Error::NotFound`].
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

/// Stores a position, unless the shard belongs to a newer session or is further already, and says what stands there now.
///
/// # Errors
/// [`Error::Consumer`] when the seat is somebody else's.
pub(super) async fn commit(db: &impl ConnectionTrait, seat: &Seat, fence: i64, to: Cursor) -> Result<Seq> {
    let now = Micros::now();
    let further = Expr::col(Column::Seq).lt(to.seq.0).and(Expr::col(Column::Epoch).eq(to.epoch.0));
    let seq = CaseStatement::new().case(further, to.seq.0).finally(Expr::col(Column::Seq));
    let rows = consumer_shard::Entity::update_many()
        .col_expr(Column::Seq, seq.into())
        .col_expr(Column::CommittedAt, Expr::value(now.0))
        .filter(held(seat, fence))
        .exec_with_returning(db)
        .await?;
    let row = rows.first().ok_or(Error::Consumer(ConsumerFault::TakenOver))?;
    Ok(row.seq)
}

/// Says that a session is alive until then.
///
/// # Errors
/// [`Error::Consumer`] when the seat is somebody else's.
pub(super) async fn renew(db: &impl ConnectionTrait, seat: &Seat, fence: i64, until: Micros) -> Result<()> {
    let renewed = consumer_shard::Entity::update_many()
        .col_expr(Column::LeasedUntil, Expr::value(until.0))
        .filter(held(seat, fence))
        .exec(db)
        .await?;
    if renewed.rows_affected == 0 {
        return Err(Error::Consumer(ConsumerFault::TakenOver));
    }
    Ok(())
}

fn held(seat: &Seat, fence: i64) -> Condition {
    let newest = parley_fault::is_on(Protection::Fencing).then(|| Column::Fence.eq(fence));
    of_consumer(seat.account, &seat.consumer)
        .add(Column::Shard.eq(seat.shard))
        .add_option(newest)
}
