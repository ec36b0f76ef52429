//! The index behind searches: it follows the log, in batches, away from every write of a message.
//!
//! New messages are found by their ids, which rise in the order of commits; changed ones by the events that tell of a new content. What was
//! taken in and how far it goes are stored in one transaction, so that a crash loses and doubles nothing, and any replica may go on.

use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect, Statement, Value,
};
use serde_json::{Value as Json, json};

use super::pieces::{fold, pieces};
use crate::{
    db::{
        Database,
        entity::{account_log, event, message},
    },
    error::Result,
    events::{kind::EventKind, payload},
    id::{AccountId, MessageId, Seq},
};

/// New messages that one batch takes in.
const MESSAGES: u64 = 500;
/// Events that one batch looks at for changes of content.
const EVENTS: i64 = 5000;
/// Batches that a search waits for.
const BEFORE_SEARCH: usize = 40;

#[derive(Clone, Copy, Debug, FromQueryResult)]
struct Position {
    seq: i64,
    message_id: i64,
}

/// Takes in what is missing, up to a bound; whether nothing is missing any more.
///
/// # Errors
/// When the database fails.
pub async fn catch_up(db: &Database, account: AccountId) -> Result<bool> {
    for _ in 0..BEFORE_SEARCH {
        if step(db, account).await?.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes in what is missing in every account. An account that is being written to gets one batch, so that the index stays out of the way
/// of its writers; one at rest is caught up with.
///
/// # Errors
/// When the database fails.
pub async fn follow(db: &Database) -> Result<()> {
    let sql = "SELECT l.account_id AS id FROM account_logs l LEFT JOIN search_positions p ON p.account_id = l.account_id \
               WHERE p.seq IS NULL OR p.seq < l.head_seq OR p.message_id < l.last_message_id ORDER BY l.account_id";
    let behind = Account::find_by_statement(Statement::from_string(db.backend(), sql))
        .all(db.read())
        .await?;
    for Account { id } in behind {
        let mut head = None;
        while let Some(seen) = step(db, AccountId(id)).await? {
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

/// One batch; the head of the log that it saw, or none if nothing is missing.
async fn step(db: &Database, account: AccountId) -> Result<Option<Seq>> {
    let Some(counters) = account_log::Entity::find_by_id(account).one(db.read()).await? else {
        return Ok(None);
    };
    let reached = |position: Position| position.seq >= counters.head_seq.0 && position.message_id >= counters.last_message_id.0;
    if position(db.read(), account, "").await?.is_some_and(reached) {
        return Ok(None);
    }
    let txn = db.begin().await?;
    // An index that begins now reads each message as it is now: only what changes later is to be looked for.
    let begin = "INSERT INTO search_positions (account_id, seq, message_id) \
                 SELECT account_id, head_seq, 0 FROM account_logs WHERE account_id = $1 ON CONFLICT DO NOTHING";
    txn.execute_raw(Statement::from_sql_and_values(db.backend(), begin, [account.0.into()]))
        .await?;
    let lock = if db.backend() == DbBackend::Postgres { " FOR UPDATE" } else { "" };
    let Some(mut at) = position(&txn, account, lock).await? else {
        return Ok(None);
    };
    let Some(counters) = account_log::Entity::find_by_id(account).one(&txn).await? else {
        return Ok(None);
    };
    let new = texts(
        message::Entity::find()
            .filter(message::Column::Id.gt(at.message_id))
            .filter(message::Column::Id.lte(counters.last_message_id))
            .order_by_asc(message::Column::Id)
            .limit(MESSAGES),
        &txn,
        account,
    )
    .await?;
    if new.len() as u64 == MESSAGES {
        at.message_id = new.last().map_or(at.message_id, |(id, _)| id.0);
    } else {
        at.message_id = at.message_id.max(counters.last_message_id.0);
        let to = counters.head_seq.0.min(at.seq + EVENTS);
        let changed = changed(&txn, account, at.seq, to).await?;
        at.seq = at.seq.max(to);
        let rows = message::Entity::find().filter(message::Column::Id.is_in(changed.iter().copied()));
        put(&txn, account, texts(rows, &txn, account).await?).await?;
    }
    put(&txn, account, new).await?;
    let moved = "UPDATE search_positions SET seq = $2, message_id = $3 WHERE account_id = $1";
    let values = [account.0.into(), at.seq.into(), at.message_id.into()];
    txn.execute_raw(Statement::from_sql_and_values(db.backend(), moved, values)).await?;
    txn.commit().await?;
    Ok(Some(counters.head_seq))
}

async fn position(db: &impl ConnectionTrait, account: AccountId, lock: &str) -> Result<Option<Position>> {
    let sql = format!("SELECT seq, message_id FROM search_positions WHERE account_id = $1{lock}");
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, [account.0.into()]);
    Ok(Position::find_by_statement(statement).one(db).await?)
}

type Text = (MessageId, Option<String>);

async fn texts(rows: sea_orm::Select<message::Entity>, db: &impl ConnectionTrait, account: AccountId) -> Result<Vec<Text>> {
    let rows = rows
        .select_only()
        .columns([message::Column::Id, message::Column::Content])
        .filter(message::Column::AccountId.eq(account));
    Ok(rows.into_tuple().all(db).await?)
}

/// The messages whose content changed within a part of the log.
async fn changed(db: &impl ConnectionTrait, account: AccountId, after: i64, to: i64) -> Result<Vec<i64>> {
    let payloads: Vec<Vec<u8>> = event::Entity::find()
        .select_only()
        .column(event::Column::Payload)
        .filter(event::Column::AccountId.eq(account))
        .filter(event::Column::Seq.gt(after))
        .filter(event::Column::Seq.lte(to))
        .filter(event::Column::Kind.eq(i32::from(EventKind::MessageUpdated)))
        .into_tuple()
        .all(db)
        .await?;
    let mut ids: Vec<i64> = payloads.iter().filter_map(|payload| payload::new_content(payload)).collect();
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

async fn put(db: &impl ConnectionTrait, account: AccountId, texts: Vec<Text>) -> Result<()> {
    if texts.is_empty() {
        return Ok(());
    }
    let backend = db.get_database_backend();
    let row = |(id, text): Text| {
        let folded = fold(&text.unwrap_or_default());
        let folded = if backend == DbBackend::Postgres {
            array(account, &folded)
        } else {
            folded
        };
        json!([id.0, folded])
    };
    let rows = Json::Array(texts.into_iter().map(row).collect()).to_string();
    let sql = if backend == DbBackend::Postgres {
        "INSERT INTO message_search (account_id, message_id, pieces) SELECT $1, (r ->> 0)::bigint, (r ->> 1)::bigint[] \
         FROM jsonb_array_elements($2::text::jsonb) AS r ON CONFLICT (account_id, message_id) DO UPDATE SET pieces = EXCLUDED.pieces"
    } else {
        "INSERT OR REPLACE INTO message_search (rowid, content) SELECT ($1 << 40) | (value ->> 0), value ->> 1 FROM json_each($2)"
    };
    let values: [Value; 2] = [account.0.into(), rows.into()];
    db.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    Ok(())
}

/// The pieces as PostgreSQL writes an array, and a negative number for the account: another one's messages are not looked at.
pub(super) fn array(account: AccountId, folded: &str) -> String {
    let mut numbers = vec![(-account.0).to_string()];
    numbers.extend(pieces(folded).iter().map(ToString::to_string));
    format!("{{{}}}", numbers.join(","))
}
