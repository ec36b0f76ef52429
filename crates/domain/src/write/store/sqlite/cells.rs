//! The values of rows, each in the order of its list of columns.

use std::borrow::Cow;

use parley_eventlog::entry::Entry;
use parley_storage::entity::{account_log, contact, conversation, idempotency_key, message};
use parley_types::{
    error::{Error, Result},
    time::Micros,
};

use super::super::statement::{CONTACTS, CONVERSATIONS, COUNTERS, EVENTS, KEYS, MESSAGES};

/// A value of a row.
#[derive(Default)]
pub enum Cell<'a> {
    #[default]
    Null,
    Number(i64),
    Text(Cow<'a, str>),
    Bytes(&'a [u8]),
}

impl From<String> for Cell<'_> {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl<'a> From<&'a Option<String>> for Cell<'a> {
    fn from(text: &'a Option<String>) -> Self {
        text.as_deref().map_or(Self::Null, |text| Self::Text(text.into()))
    }
}

fn number(number: impl Into<i64>) -> Cell<'static> {
    Cell::Number(number.into())
}

fn maybe(number: Option<impl Into<i64>>) -> Cell<'static> {
    number.map_or(Cell::Null, |number| Cell::Number(number.into()))
}

fn time(at: Option<Micros>) -> Cell<'static> {
    maybe(at.map(|at| at.0))
}

/// Counters as they are expected, and as they shall be.
pub type Counters<'a> = (&'a account_log::Model, &'a account_log::Model);

pub fn counters((before, after): Counters) -> [Cell<'static>; COUNTERS.len()] {
    [
        number(before.account_id),
        number(before.epoch),
        number(before.head_seq),
        number(after.head_seq),
        number(after.last_message_id),
        number(after.last_occurred_at.0),
    ]
}

pub fn message(row: &message::Model) -> [Cell<'_>; MESSAGES.len()] {
    [
        number(row.account_id),
        number(row.id),
        number(row.conversation_id),
        number(row.number),
        number(row.inbox_id),
        number(row.message_type as i16),
        (&row.content).into(),
        number(row.content_type as i16),
        row.content_attributes.to_string().into(),
        number(row.status as i16),
        number(row.private),
        (&row.source_id).into(),
        (&row.unique_source_id).into(),
        maybe(row.sender_type.map(|kind| kind as i16)),
        maybe(row.sender_id),
        row.additional_attributes.to_string().into(),
        number(row.created_at.0),
        number(row.updated_at.0),
        number(row.version),
    ]
}

pub fn event(row: &Entry) -> [Cell<'_>; EVENTS.len()] {
    [
        number(row.account),
        number(row.seq),
        number(row.transaction_id),
        number(row.kind),
        maybe(row.inbox),
        maybe(row.conversation),
        maybe(row.contact),
        maybe(row.message_type.map(|kind| kind as i16)),
        maybe(row.private),
        number(row.occurred_at.0),
        Cell::Bytes(&row.payload),
    ]
}

pub fn conversation(row: &conversation::Model) -> [Cell<'static>; CONVERSATIONS.len()] {
    [
        number(row.account_id),
        number(row.id),
        number(row.status as i16),
        time(row.snoozed_until),
        time(row.first_reply_created_at),
        time(row.waiting_since),
        number(row.last_activity_at.0),
        time(row.last_incoming_at),
        number(row.unread_count),
        number(row.message_count),
        maybe(row.last_message_id),
        maybe(row.last_non_activity_message_id),
        maybe(row.last_public_message_id),
        time(row.last_reply_at),
        time(row.last_template_at),
        number(row.updated_at.0),
        number(row.version),
    ]
}

pub fn contact(row: &contact::Model) -> [Cell<'static>; CONTACTS.len()] {
    [
        number(row.account_id),
        number(row.id),
        time(row.last_activity_at),
        number(row.updated_at.0),
        number(row.version),
    ]
}

pub fn key<'a>(row: &'a idempotency_key::Model, owner: &'a [u8; 16]) -> [Cell<'a>; KEYS.len()] {
    [
        number(row.account_id),
        Cell::Bytes(row.request_id.as_bytes()),
        Cell::Bytes(&row.fingerprint),
        Cell::Bytes(&row.response),
        number(row.created_at.0),
        Cell::Bytes(owner),
        maybe(row.contact_id),
    ]
}

/// No rows, as JSON.
pub const EMPTY: &str = "[]";

/// Bytes of many rows, one after the other.
#[derive(Default)]
pub struct Blob(pub Vec<u8>);

impl Blob {
    /// Where they start, counted from 1, and how many they are.
    fn put(&mut self, bytes: &[u8]) -> (usize, usize) {
        let start = self.0.len() + 1;
        self.0.extend_from_slice(bytes);
        (start, bytes.len())
    }
}

/// Rows as a JSON array of arrays. Bytes are written to `blob`, and the row has their position there.
pub fn json<'a, const N: usize>(rows: impl Iterator<Item = [Cell<'a>; N]>, blob: &mut Blob) -> Result<String> {
    let mut out = vec![b'['];
    for row in rows {
        out.extend_from_slice(if out.len() > 1 { b",[" } else { b"[" });
        for (nth, cell) in row.into_iter().enumerate() {
            if nth > 0 {
                out.push(b',');
            }
            let written = match cell {
                Cell::Null => serde_json::to_writer(&mut out, &()),
                Cell::Number(number) => serde_json::to_writer(&mut out, &number),
                Cell::Text(text) => serde_json::to_writer(&mut out, &text),
                Cell::Bytes(bytes) => serde_json::to_writer(&mut out, &blob.put(bytes)),
            };
            written.map_err(|error| Error::Internal(error.to_string()))?;
        }
        out.push(b']');
    }
    out.push(b']');
    String::from_utf8(out).map_err(|error| Error::Internal(error.to_string()))
}
