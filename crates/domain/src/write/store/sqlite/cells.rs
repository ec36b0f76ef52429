//! The values of rows on SQLite, in the order of their column lists.

use std::borrow::Cow;

use parley_eventlog::event_record::EventRecord;
use parley_storage::entity::{account_log, idempotency_key};
use parley_types::{
    error::{Error, Result},
    time::Micros,
};

use super::super::columns::{COUNTERS, EVENTS, KEYS};

/// A value of a row.
#[derive(Debug, Default)]
pub enum Cell<'a> {
    /// NULL.
    #[default]
    Null,
    /// An integer, a boolean or a time.
    Number(i64),
    /// A string.
    Text(Cow<'a, str>),
    /// A blob.
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

/// Returns a cell with an integer.
pub fn number(number: impl Into<i64>) -> Cell<'static> {
    Cell::Number(number.into())
}

/// Returns a cell with an integer, or NULL.
pub fn maybe(number: Option<impl Into<i64>>) -> Cell<'static> {
    number.map_or(Cell::Null, |number| Cell::Number(number.into()))
}

/// Returns a cell with a time in microseconds, or NULL.
pub fn time(at: Option<Micros>) -> Cell<'static> {
    maybe(at.map(|at| at.0))
}

/// An account's counters as a write expects them, and as they are after the write.
pub type Counters<'a> = (&'a account_log::Model, &'a account_log::Model);

/// Returns the values of the expected and the new counters, in the order of [`COUNTERS`].
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

/// Returns the values of an event in the order of [`EVENTS`].
pub fn event(row: &EventRecord) -> [Cell<'_>; EVENTS.len()] {
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

/// Returns the values of a stored response in the order of [`KEYS`].
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

/// An empty list of rows, as JSON.
pub const EMPTY: &str = "[]";

/// The binary values of many rows, concatenated.
#[derive(Debug, Default)]
pub struct Blob(pub Vec<u8>);

impl Blob {
    /// Appends bytes, and returns their position (counted from 1) and their length.
    fn put(&mut self, bytes: &[u8]) -> (usize, usize) {
        let start = self.0.len() + 1;
        self.0.extend_from_slice(bytes);
        (start, bytes.len())
    }
}

/// Encodes rows as a JSON array of arrays. Binary values are appended to `blob` and represented in the row by their position and length.
///
/// # Errors
/// [`Error::Internal`] if a value cannot be encoded; this does not happen in practice.
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
