//! Plans on SQLite, which has no arrays and takes no writes inside of WITH: one statement a table, and all of them sent at
//! once, because each message to SQLite's thread costs more than a row. Rows go as one JSON array of arrays; bytes go beside
//! it, one after the other in one blob.

use std::sync::LazyLock;

use sea_orm::{ConnectionTrait as _, DbBackend, Statement, Value};
use serde::Serialize;

use super::{
    super::plan::Plan,
    statement::{CONTACTS, CONVERSATIONS, COUNTERS, Column, EVENTS, KEYS, MESSAGES},
};
use crate::{
    chat::files::claims,
    db::Database,
    error::{Error, Result},
    time::Micros,
};

/// Stores plans in one transaction.
///
/// # Errors
/// When the database fails or a constraint is broken; then nothing is stored.
pub async fn store(db: &Database, plans: &[&Plan]) -> Result<()> {
    let (mut sql, mut values) = (&TEXTS[0], Vec::with_capacity(10));
    let mut payloads = Blob::default();
    let rows = events(plans, &mut payloads)?;
    values.extend([counters(plans)?.into(), messages(plans)?.into(), payloads.0.into(), rows.into()]);
    values.push(conversations(plans)?.into());
    let contacts = contacts(plans)?;
    let mut kept = Blob::default();
    let keys = keys(plans, &mut kept)?;
    if contacts != EMPTY || keys != EMPTY {
        sql = &TEXTS[1];
        let bytes = Value::from(kept.0);
        // The blob once for each column of bytes.
        values.extend([contacts.into(), bytes.clone(), bytes.clone(), bytes.clone(), bytes, keys.into()]);
    }
    let txn = db.begin().await?;
    txn.execute_raw(Statement::from_sql_and_values(DbBackend::Sqlite, sql, values))
        .await?;
    for plan in plans {
        claims::store(&txn, &plan.claims, &plan.attachments).await?;
    }
    txn.commit().await?;
    Ok(())
}

/// Every batch's statements; and the same with those for contacts and kept answers, which most batches lack. The
/// parameters have no numbers: sqlx counts them over all statements, in the order in which they stand here.
static TEXTS: LazyLock<[String; 2]> = LazyLock::new(|| {
    let always = [
        update("account_logs", COUNTERS, &["account_id"]),
        insert("messages", MESSAGES),
        insert("events", EVENTS),
        update("conversations", CONVERSATIONS, &["account_id", "id"]),
    ]
    .join("; ");
    let seldom = [
        update("contacts", CONTACTS, &["account_id", "id"]),
        insert("idempotency_keys", KEYS),
    ]
    .join("; ");
    let both = format!("{always}; {seldom}");
    [always, both]
});

/// A column's value in a row. Bytes are told by where they start in the blob and how many they are.
fn value(nth: usize, (_, kind): &Column) -> String {
    match *kind {
        "bytea" | "uuid" => format!("substr(?, t.value ->> '$[{nth}][0]', t.value ->> '$[{nth}][1]')"),
        _ => format!("t.value ->> {nth}"),
    }
}

fn insert(table: &str, columns: &[Column]) -> String {
    let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
    let values: Vec<_> = columns.iter().enumerate().map(|(nth, column)| value(nth, column)).collect();
    let (names, values) = (names.join(", "), values.join(", "));
    format!("INSERT INTO {table} ({names}) SELECT {values} FROM json_each(?) AS t")
}

/// Finds rows by the key, and sets what is neither the key nor only expected.
fn update(table: &str, columns: &[Column], key: &[&str]) -> String {
    let (mut set, mut found) = (Vec::new(), Vec::new());
    for (nth, (name, _)) in columns.iter().enumerate() {
        if key.contains(name) {
            found.push(format!("{table}.{name} = t.value ->> {nth}"));
        } else if !["epoch", "expected"].contains(name) {
            set.push(format!("{name} = t.value ->> {nth}"));
        }
    }
    let (set, found) = (set.join(", "), found.join(" AND "));
    format!("UPDATE {table} SET {set} FROM json_each(?) AS t WHERE {found}")
}

/// No rows.
const EMPTY: &str = "[]";

/// Bytes of many rows, one after the other.
#[derive(Default)]
struct Blob(Vec<u8>);

impl Blob {
    /// Where they start, counted from 1, and how many they are.
    fn put(&mut self, bytes: &[u8]) -> (usize, usize) {
        let start = self.0.len() + 1;
        self.0.extend_from_slice(bytes);
        (start, bytes.len())
    }
}

/// A row being written, as a JSON array.
struct Row<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl Row<'_> {
    fn put(&mut self, value: impl Serialize) -> Result<&mut Self> {
        if !std::mem::replace(&mut self.empty, false) {
            self.out.push(b',');
        }
        serde_json::to_writer(&mut *self.out, &value).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(self)
    }
}

fn rows<T>(rows: impl Iterator<Item = T>, mut write: impl FnMut(&mut Row, T) -> Result<()>) -> Result<String> {
    let mut out = vec![b'['];
    for row in rows {
        out.extend_from_slice(if out.len() > 1 { b",[" } else { b"[" });
        write(
            &mut Row {
                out: &mut out,
                empty: true,
            },
            row,
        )?;
        out.push(b']');
    }
    out.push(b']');
    String::from_utf8(out).map_err(|error| Error::Internal(error.to_string()))
}

fn time(at: Option<Micros>) -> Option<i64> {
    at.map(|at| at.0)
}

fn number(id: Option<impl Into<i64>>) -> Option<i64> {
    id.map(Into::into)
}

// Each in the order of its list in `statement`.
fn counters(plans: &[&Plan]) -> Result<String> {
    let pairs = plans.iter().filter_map(|plan| plan.expected.as_ref().zip(plan.counters.as_ref()));
    rows(pairs, |row, (before, after)| {
        row.put(before.account_id.0)?.put(before.epoch.0)?.put(before.head_seq.0)?;
        row.put(after.head_seq.0)?
            .put(after.last_message_id.0)?
            .put(after.last_occurred_at.0)?;
        Ok(())
    })
}

fn messages(plans: &[&Plan]) -> Result<String> {
    rows(plans.iter().flat_map(|plan| &plan.messages), |out, row| {
        out.put(row.account_id.0)?
            .put(row.id.0)?
            .put(row.conversation_id.0)?
            .put(row.number)?;
        out.put(row.inbox_id.0)?
            .put(row.message_type as i16)?
            .put(&row.content)?
            .put(row.content_type as i16)?;
        out.put(row.content_attributes.to_string())?
            .put(row.status as i16)?
            .put(row.private)?;
        out.put(&row.source_id)?.put(&row.unique_source_id)?;
        out.put(row.sender_type.map(|kind| kind as i16))?.put(number(row.sender_id))?;
        out.put(row.additional_attributes.to_string())?
            .put(row.created_at.0)?
            .put(row.updated_at.0)?;
        out.put(row.version.0)?;
        Ok(())
    })
}

fn events(plans: &[&Plan], blob: &mut Blob) -> Result<String> {
    rows(plans.iter().flat_map(|plan| &plan.entries), |out, row| {
        out.put(row.account.0)?.put(row.seq.0)?.put(row.transaction_id.0)?.put(row.kind)?;
        out.put(number(row.inbox))?
            .put(number(row.conversation))?
            .put(number(row.contact))?;
        out.put(row.message_type.map(|kind| kind as i16))?
            .put(row.private)?
            .put(row.occurred_at.0)?;
        out.put(blob.put(&row.payload))?;
        Ok(())
    })
}

fn conversations(plans: &[&Plan]) -> Result<String> {
    let known = plans.iter().flat_map(|plan| plan.conversations.values());
    rows(known.map(|known| &known.conversation.row), |out, row| {
        out.put(row.account_id.0)?
            .put(row.id.0)?
            .put(row.status as i16)?
            .put(time(row.snoozed_until))?;
        out.put(time(row.first_reply_created_at))?.put(time(row.waiting_since))?;
        out.put(row.last_activity_at.0)?.put(time(row.last_incoming_at))?;
        out.put(row.unread_count)?
            .put(row.message_count)?
            .put(number(row.last_message_id))?;
        out.put(number(row.last_non_activity_message_id))?
            .put(number(row.last_public_message_id))?;
        out.put(time(row.last_reply_at))?.put(time(row.last_template_at))?;
        out.put(row.updated_at.0)?.put(row.version.0)?;
        Ok(())
    })
}

fn contacts(plans: &[&Plan]) -> Result<String> {
    rows(plans.iter().flat_map(|plan| plan.changed_contacts()), |out, row| {
        out.put(row.account_id.0)?.put(row.id.0)?.put(time(row.last_activity_at))?;
        out.put(row.updated_at.0)?.put(row.version.0)?;
        Ok(())
    })
}

fn keys(plans: &[&Plan], blob: &mut Blob) -> Result<String> {
    rows(plans.iter().flat_map(|plan| &plan.keys), |out, row| {
        out.put(row.account_id.0)?.put(blob.put(row.request_id.as_bytes()))?;
        out.put(blob.put(&row.fingerprint))?
            .put(blob.put(&row.response))?
            .put(row.created_at.0)?;
        out.put(blob.put(&row.owner.unwrap_or_default().into_bytes()))?
            .put(number(row.contact_id))?;
        Ok(())
    })
}
