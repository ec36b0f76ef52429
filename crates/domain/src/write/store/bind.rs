//! Binds the rows of a batch on PostgreSQL, one array per column.

use parley_eventlog::event_record::EventRecord;
use parley_storage::entity::{account_log, idempotency_key};
use parley_types::time::Micros;
use sqlx::{Encode, Postgres, Type, postgres::PgArguments, query::Query};

use super::super::{plan::Plan, planner::BatchPlanner};

/// A query with its bound parameters.
pub type Bound<'q> = Query<'q, Postgres, PgArguments>;

/// Binds an array parameter that holds the values of one column for all rows.
pub fn column<'q, T: ?Sized, V>(query: Bound<'q>, rows: &[&'q T], get: impl Fn(&'q T) -> V) -> Bound<'q>
where
    Vec<V>: Encode<'q, Postgres> + Type<Postgres> + 'q,
{
    query.bind(rows.iter().map(|row| get(row)).collect::<Vec<V>>())
}

/// Converts an optional time to the microseconds that the database stores.
pub fn time(at: Option<Micros>) -> Option<i64> {
    at.map(|at| at.0)
}

/// Converts an id to a number.
pub fn number(id: Option<impl Into<i64>>) -> Option<i64> {
    id.map(Into::into)
}

/// Binds the expected and the new counters, in the order of [`COUNTERS`](super::columns::COUNTERS).
pub fn bind_counters<'q, B: BatchPlanner>(query: Bound<'q>, plans: &[&'q Plan<B>]) -> Bound<'q> {
    let before: Vec<&account_log::Model> = plans.iter().map(|plan| &plan.expected).collect();
    let after: Vec<&account_log::Model> = plans.iter().map(|plan| &plan.counters).collect();
    let query = column(query, &before, |row| row.account_id.0);
    let query = column(query, &before, |row| row.epoch.0);
    let query = column(query, &before, |row| row.head_seq.0);
    let query = column(query, &after, |row| row.head_seq.0);
    let query = column(query, &after, |row| row.last_message_id.0);
    column(query, &after, |row| row.last_occurred_at.0)
}

/// Binds the events to store, with their columns in the order of [`EVENTS`](super::columns::EVENTS).
pub fn bind_events<'q, B: BatchPlanner>(query: Bound<'q>, plans: &[&'q Plan<B>]) -> Bound<'q> {
    let rows: Vec<&EventRecord> = plans.iter().flat_map(|plan| &plan.entries).collect();
    let query = column(query, &rows, |row| row.account.0);
    let query = column(query, &rows, |row| row.seq.0);
    let query = column(query, &rows, |row| row.transaction_id.0);
    let query = column(query, &rows, |row| row.kind);
    let query = column(query, &rows, |row| number(row.inbox));
    let query = column(query, &rows, |row| number(row.conversation));
    let query = column(query, &rows, |row| number(row.contact));
    let query = column(query, &rows, |row| row.message_type.map(|kind| kind as i16));
    let query = column(query, &rows, |row| row.private);
    let query = column(query, &rows, |row| row.occurred_at.0);
    column(query, &rows, |row| row.payload.as_ref())
}

/// Binds the responses to store, with their columns in the order of [`KEYS`](super::columns::KEYS).
pub fn bind_responses<'q>(query: Bound<'q>, rows: &[&'q idempotency_key::Model]) -> Bound<'q> {
    let query = column(query, rows, |row| row.account_id.0);
    let query = column(query, rows, |row| row.request_id);
    let query = column(query, rows, |row| row.fingerprint.as_slice());
    let query = column(query, rows, |row| row.response.as_slice());
    let query = column(query, rows, |row| row.created_at.0);
    let query = column(query, rows, |row| row.owner);
    column(query, rows, |row| number(row.contact_id))
}
