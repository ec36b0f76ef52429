//! Storing plans, set-based: one statement on PostgreSQL, five on SQLite, however many messages.

use std::collections::HashSet;

#[cfg(feature = "faults")]
use sea_orm::FromQueryResult as _;
use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, IntoActiveModel, Statement, Value};
use serde_json::json;

use super::{keys, plan::Plan};
use crate::{
    db::{
        Database,
        entity::{account_log, contact, conversation, event, idempotency_key, message},
    },
    error::{Error, Result},
    events::entry::Entry,
    id::AccountId,
    time::Micros,
};

/// Stores the plans of those accounts whose head is where the plan expects it, and returns which they are. Everything in
/// one transaction.
///
/// # Errors
/// When the database fails or a constraint is broken; then nothing is stored, unless the connection broke.
pub async fn on_condition<'a>(db: &Database, plans: impl Iterator<Item = &'a Plan>, unlocked: bool) -> Result<HashSet<AccountId>> {
    let plans: Vec<&Plan> = plans.collect();
    if db.backend() == DbBackend::Postgres {
        return postgres(db.write(), &plans, unlocked).await;
    }
    let txn = db.begin().await?;
    // One process writes to a SQLite file, and it wrote down every head it moved.
    for plan in &plans {
        sqlite(&txn, plan).await?;
    }
    txn.commit().await?;
    Ok(plans
        .iter()
        .filter_map(|plan| plan.counters.as_ref())
        .map(|counters| counters.account_id)
        .collect())
}

/// Stores a plan in a transaction that holds the lock of its account's counters.
///
/// # Errors
/// As [`on_condition`]; the transaction must then be rolled back.
pub async fn in_transaction(txn: &impl ConnectionTrait, plan: &Plan) -> Result<()> {
    if txn.get_database_backend() == DbBackend::Sqlite {
        return sqlite(txn, plan).await;
    }
    match postgres(txn, &[plan], false).await?.len() {
        1 => Ok(()),
        _ => Err(Error::Internal("the counters moved under their lock".to_owned())),
    }
}

/// Statement parts, in the order of their parameters. Arrays hold no nulls in sea-query's binder: 0 stands for a missing
/// number (no id and no time is 0), -1 for a missing kind, and texts that may be missing carry a mark in front.
macro_rules! statement {
    ($claim:literal) => {
        concat!(
            "WITH n AS (SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]) ",
            "AS t(account_id, epoch, expected, head_seq, last_message_id, last_occurred_at)), ",
            $claim,
            "m AS (INSERT INTO messages (account_id, id, conversation_id, number, inbox_id, message_type, content, content_type, ",
            "content_attributes, status, private, source_id, unique_source_id, sender_type, sender_id, additional_attributes, ",
            "created_at, updated_at, version) ",
            "SELECT t.account_id, t.id, t.conversation_id, t.number, t.inbox_id, t.message_type, substr(NULLIF(t.content, ''), 2), ",
            "t.content_type, t.content_attributes::jsonb, t.status, t.private, substr(NULLIF(t.source_id, ''), 2), ",
            "substr(NULLIF(t.unique_source_id, ''), 2), NULLIF(t.sender_type, -1), NULLIF(t.sender_id, 0), ",
            "t.additional_attributes::jsonb, t.created_at, t.created_at, t.version ",
            "FROM unnest($7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::smallint[], $13::text[], ",
            "$14::smallint[], $15::text[], $16::smallint[], $17::bool[], $18::text[], $19::text[], $20::smallint[], $21::bigint[], ",
            "$22::text[], $23::bigint[], $24::bigint[]) ",
            "AS t(account_id, id, conversation_id, number, inbox_id, message_type, content, content_type, content_attributes, ",
            "status, private, source_id, unique_source_id, sender_type, sender_id, additional_attributes, created_at, version) ",
            "JOIN c ON c.account_id = t.account_id), ",
            "e AS (INSERT INTO events (account_id, seq, transaction_id, kind, inbox_id, conversation_id, contact_id, message_type, ",
            "private, occurred_at, payload) ",
            "SELECT t.account_id, t.seq, t.transaction_id, t.kind, NULLIF(t.inbox_id, 0), NULLIF(t.conversation_id, 0), ",
            "NULLIF(t.contact_id, 0), NULLIF(t.message_type, -1), CASE t.private WHEN 0 THEN false WHEN 1 THEN true END, ",
            "t.occurred_at, t.payload ",
            "FROM unnest($25::bigint[], $26::bigint[], $27::bigint[], $28::smallint[], $29::bigint[], $30::bigint[], $31::bigint[], ",
            "$32::smallint[], $33::smallint[], $34::bigint[], $35::bytea[]) ",
            "AS t(account_id, seq, transaction_id, kind, inbox_id, conversation_id, contact_id, message_type, private, ",
            "occurred_at, payload) JOIN c ON c.account_id = t.account_id), ",
            "v AS (UPDATE conversations r SET status = t.status, snoozed_until = NULLIF(t.snoozed_until, 0), ",
            "first_reply_created_at = NULLIF(t.first_reply_created_at, 0), waiting_since = NULLIF(t.waiting_since, 0), ",
            "last_activity_at = t.last_activity_at, last_incoming_at = NULLIF(t.last_incoming_at, 0), ",
            "unread_count = t.unread_count, message_count = t.message_count, last_message_id = NULLIF(t.last_message_id, 0), ",
            "last_non_activity_message_id = NULLIF(t.last_non_activity_message_id, 0), ",
            "last_public_message_id = NULLIF(t.last_public_message_id, 0), updated_at = t.updated_at, version = t.version ",
            "FROM unnest($36::bigint[], $37::bigint[], $38::smallint[], $39::bigint[], $40::bigint[], $41::bigint[], $42::bigint[], ",
            "$43::bigint[], $44::bigint[], $45::bigint[], $46::bigint[], $47::bigint[], $48::bigint[], $49::bigint[], $50::bigint[]) ",
            "AS t(account_id, id, status, snoozed_until, first_reply_created_at, waiting_since, last_activity_at, ",
            "last_incoming_at, unread_count, message_count, last_message_id, last_non_activity_message_id, ",
            "last_public_message_id, updated_at, version) JOIN c ON c.account_id = t.account_id ",
            "WHERE r.account_id = t.account_id AND r.id = t.id), ",
            "p AS (UPDATE contacts r SET last_activity_at = NULLIF(t.last_activity_at, 0), updated_at = t.updated_at, ",
            "version = t.version FROM unnest($51::bigint[], $52::bigint[], $53::bigint[], $54::bigint[], $55::bigint[]) ",
            "AS t(account_id, id, last_activity_at, updated_at, version) JOIN c ON c.account_id = t.account_id ",
            "WHERE r.id = t.id AND r.account_id = t.account_id), ",
            "k AS (INSERT INTO idempotency_keys (account_id, request_id, fingerprint, response, created_at) ",
            "SELECT t.account_id, t.request_id, t.fingerprint, t.response, t.created_at ",
            "FROM unnest($56::bigint[], $57::uuid[], $58::bytea[], $59::bytea[], $60::bigint[]) ",
            "AS t(account_id, request_id, fingerprint, response, created_at) JOIN c ON c.account_id = t.account_id) ",
            "SELECT account_id FROM c"
        )
    };
}

/// The counters are claimed first, in rising order of accounts, and everything else hangs on the claim.
const CLAIM: &str = statement!(
    "locked AS (SELECT l.account_id FROM account_logs l JOIN n ON n.account_id = l.account_id AND n.epoch = l.epoch \
     AND n.expected = l.head_seq ORDER BY l.account_id FOR UPDATE OF l), \
     c AS (UPDATE account_logs l SET head_seq = n.head_seq, last_message_id = n.last_message_id, \
     last_occurred_at = n.last_occurred_at FROM n JOIN locked USING (account_id) WHERE l.account_id = n.account_id \
     RETURNING l.account_id), "
);

/// The same without the protection, for the test that shows what it is good for.
#[cfg(feature = "faults")]
const NO_CLAIM: &str = statement!("c AS (SELECT account_id FROM n WHERE $2::bigint[] IS NOT NULL), ");

async fn postgres(db: &impl ConnectionTrait, plans: &[&Plan], unlocked: bool) -> Result<HashSet<AccountId>> {
    let mut values = Vec::with_capacity(60);
    counters(&mut values, plans);
    messages(&mut values, plans);
    events(&mut values, plans);
    conversations(&mut values, plans);
    contacts(&mut values, plans);
    kept(&mut values, plans);
    #[cfg(feature = "faults")]
    let sql = if unlocked { NO_CLAIM } else { CLAIM };
    #[cfg(not(feature = "faults"))]
    let sql = {
        let _ = unlocked;
        CLAIM
    };
    let rows = db
        .query_all_raw(Statement::from_sql_and_values(DbBackend::Postgres, sql, values))
        .await?;
    rows.iter().map(|row| Ok(AccountId(row.try_get("", "account_id")?))).collect()
}

/// One array parameter: a column of all rows.
fn column<T, V>(values: &mut Vec<Value>, rows: &[T], get: impl Fn(&T) -> V)
where
    Vec<V>: Into<Value>,
{
    values.push(rows.iter().map(get).collect::<Vec<V>>().into());
}

fn number(id: Option<impl Into<i64>>) -> i64 {
    id.map_or(0, Into::into)
}

fn time(at: Option<Micros>) -> i64 {
    at.map_or(0, |at| at.0)
}

fn text(text: Option<&String>) -> String {
    text.map(|text| format!("={text}")).unwrap_or_default()
}

fn counters(values: &mut Vec<Value>, plans: &[&Plan]) {
    let rows: Vec<(&account_log::Model, &account_log::Model)> = plans
        .iter()
        .filter_map(|plan| Some((plan.expected.as_ref()?, plan.counters.as_ref()?)))
        .collect();
    column(values, &rows, |(before, _)| before.account_id.0);
    column(values, &rows, |(before, _)| before.epoch.0);
    column(values, &rows, |(before, _)| before.head_seq.0);
    column(values, &rows, |(_, after)| after.head_seq.0);
    column(values, &rows, |(_, after)| after.last_message_id.0);
    column(values, &rows, |(_, after)| after.last_occurred_at.0);
}

fn messages(values: &mut Vec<Value>, plans: &[&Plan]) {
    let rows: Vec<&message::Model> = plans.iter().flat_map(|plan| &plan.messages).collect();
    column(values, &rows, |row| row.account_id.0);
    column(values, &rows, |row| row.id.0);
    column(values, &rows, |row| row.conversation_id.0);
    column(values, &rows, |row| row.number);
    column(values, &rows, |row| row.inbox_id.0);
    column(values, &rows, |row| row.message_type as i16);
    column(values, &rows, |row| text(row.content.as_ref()));
    column(values, &rows, |row| row.content_type as i16);
    column(values, &rows, |row| row.content_attributes.to_string());
    column(values, &rows, |row| row.status as i16);
    column(values, &rows, |row| row.private);
    column(values, &rows, |row| text(row.source_id.as_ref()));
    column(values, &rows, |row| text(row.unique_source_id.as_ref()));
    column(values, &rows, |row| row.sender_type.map_or(-1, |kind| kind as i16));
    column(values, &rows, |row| number(row.sender_id));
    column(values, &rows, |row| row.additional_attributes.to_string());
    column(values, &rows, |row| row.created_at.0);
    column(values, &rows, |row| row.version.0);
}

fn events(values: &mut Vec<Value>, plans: &[&Plan]) {
    let rows: Vec<&Entry> = plans.iter().flat_map(|plan| &plan.entries).collect();
    column(values, &rows, |row| row.account.0);
    column(values, &rows, |row| row.seq.0);
    column(values, &rows, |row| row.transaction_id.0);
    column(values, &rows, |row| row.kind);
    column(values, &rows, |row| number(row.inbox));
    column(values, &rows, |row| number(row.conversation));
    column(values, &rows, |row| number(row.contact));
    column(values, &rows, |row| row.message_type.map_or(-1, |kind| kind as i16));
    column(values, &rows, |row| row.private.map_or(-1, i16::from));
    column(values, &rows, |row| row.occurred_at.0);
    column(values, &rows, |row| row.payload.to_vec());
}

fn conversations(values: &mut Vec<Value>, plans: &[&Plan]) {
    let rows: Vec<&conversation::Model> = plans
        .iter()
        .flat_map(|plan| plan.conversations.values())
        .map(|known| &known.conversation.row)
        .collect();
    column(values, &rows, |row| row.account_id.0);
    column(values, &rows, |row| row.id.0);
    column(values, &rows, |row| row.status as i16);
    column(values, &rows, |row| time(row.snoozed_until));
    column(values, &rows, |row| time(row.first_reply_created_at));
    column(values, &rows, |row| time(row.waiting_since));
    column(values, &rows, |row| row.last_activity_at.0);
    column(values, &rows, |row| time(row.last_incoming_at));
    column(values, &rows, |row| row.unread_count);
    column(values, &rows, |row| row.message_count);
    column(values, &rows, |row| number(row.last_message_id));
    column(values, &rows, |row| number(row.last_non_activity_message_id));
    column(values, &rows, |row| number(row.last_public_message_id));
    column(values, &rows, |row| row.updated_at.0);
    column(values, &rows, |row| row.version.0);
}

/// Only contacts that changed: most outgoing messages leave theirs alone.
fn changed_contacts<'a>(plan: &'a &Plan) -> impl Iterator<Item = &'a contact::Model> {
    let head = plan.expected.as_ref().map(|counters| counters.head_seq).unwrap_or_default();
    plan.contacts
        .values()
        .map(|contact| &contact.row)
        .filter(move |row| row.version > head)
}

fn contacts(values: &mut Vec<Value>, plans: &[&Plan]) {
    let rows: Vec<&contact::Model> = plans.iter().flat_map(changed_contacts).collect();
    column(values, &rows, |row| row.account_id.0);
    column(values, &rows, |row| row.id.0);
    column(values, &rows, |row| time(row.last_activity_at));
    column(values, &rows, |row| row.updated_at.0);
    column(values, &rows, |row| row.version.0);
}

fn kept(values: &mut Vec<Value>, plans: &[&Plan]) {
    let rows: Vec<&idempotency_key::Model> = plans.iter().flat_map(|plan| &plan.keys).collect();
    column(values, &rows, |row| row.account_id.0);
    column(values, &rows, |row| row.request_id);
    column(values, &rows, |row| row.fingerprint.clone());
    column(values, &rows, |row| row.response.clone());
    column(values, &rows, |row| row.created_at.0);
}

/// The same in five statements: SQLite has no arrays, and no writes inside of WITH.
async fn sqlite(txn: &impl ConnectionTrait, plan: &Plan) -> Result<()> {
    if let Some(counters) = &plan.counters {
        crate::events::log::append(txn, counters, &[]).await?;
    }
    let rows = plan.messages.iter().cloned().map(IntoActiveModel::into_active_model);
    message::Entity::insert_many(rows).exec_without_returning(txn).await?;
    event::Entity::insert_many(plan.entries.iter().map(event::ActiveModel::from))
        .exec_without_returning(txn)
        .await?;
    let rows: Vec<_> = plan
        .conversations
        .values()
        .map(|known| &known.conversation.row)
        .map(|row| {
            json!([
                row.account_id.0,
                row.id.0,
                row.status as i16,
                row.snoozed_until.map(|at| at.0),
                row.first_reply_created_at.map(|at| at.0),
                row.waiting_since.map(|at| at.0),
                row.last_activity_at.0,
                row.last_incoming_at.map(|at| at.0),
                row.unread_count,
                row.message_count,
                row.last_message_id.map(i64::from),
                row.last_non_activity_message_id.map(i64::from),
                row.last_public_message_id.map(i64::from),
                row.updated_at.0,
                row.version.0,
            ])
        })
        .collect();
    update(txn, UPDATE_CONVERSATIONS, &json!(rows)).await?;
    let rows: Vec<_> = changed_contacts(&plan)
        .map(|row| {
            json!([
                row.account_id.0,
                row.id.0,
                row.last_activity_at.map(|at| at.0),
                row.updated_at.0,
                row.version.0
            ])
        })
        .collect();
    if !rows.is_empty() {
        update(txn, UPDATE_CONTACTS, &json!(rows)).await?;
    }
    keys::keep(txn, plan.keys.clone()).await
}

async fn update(txn: &impl ConnectionTrait, sql: &str, rows: &serde_json::Value) -> Result<()> {
    txn.execute_raw(Statement::from_sql_and_values(DbBackend::Sqlite, sql, [rows.to_string().into()]))
        .await?;
    Ok(())
}

const UPDATE_CONVERSATIONS: &str = "UPDATE conversations SET status = t.value ->> 2, snoozed_until = t.value ->> 3, \
    first_reply_created_at = t.value ->> 4, waiting_since = t.value ->> 5, last_activity_at = t.value ->> 6, \
    last_incoming_at = t.value ->> 7, unread_count = t.value ->> 8, message_count = t.value ->> 9, \
    last_message_id = t.value ->> 10, last_non_activity_message_id = t.value ->> 11, last_public_message_id = t.value ->> 12, \
    updated_at = t.value ->> 13, version = t.value ->> 14 FROM json_each(?1) AS t \
    WHERE conversations.account_id = t.value ->> 0 AND conversations.id = t.value ->> 1";

const UPDATE_CONTACTS: &str = "UPDATE contacts SET last_activity_at = t.value ->> 2, updated_at = t.value ->> 3, \
    version = t.value ->> 4 FROM json_each(?1) AS t WHERE contacts.id = t.value ->> 1 AND contacts.account_id = t.value ->> 0";

/// Moves the head at once, in a transaction of its own, and returns the counters as they stood before.
///
/// # Errors
/// When the database fails.
#[cfg(feature = "faults")]
pub async fn take_without_lock(db: &Database, account: AccountId, count: i64) -> Result<account_log::Model> {
    let sql = "UPDATE account_logs SET head_seq = head_seq + $2, last_message_id = last_message_id + $2 WHERE account_id = $1 RETURNING *";
    let statement = Statement::from_sql_and_values(db.backend(), sql, [account.0.into(), count.into()]);
    let row = account_log::Model::find_by_statement(statement).one(db.write()).await?;
    let mut row = row.ok_or_else(|| Error::not_found("account", account))?;
    row.head_seq.0 -= count;
    row.last_message_id.0 -= count;
    Ok(row)
}
