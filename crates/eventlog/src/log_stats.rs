//! Statistics about the logs for operators: the size and age of the logs, and the lag of durable consumers.

use parley_types::{error::Result, time::Micros};
use sea_orm::{ConnectionTrait, FromQueryResult};

use super::log::Log;

/// Maximum number of consumer shards whose lag is reported. The shards with the largest lag are reported.
const MAX_REPORTED_SHARDS: u64 = 1000;

/// The lag of one shard of a durable consumer.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct ConsumerLag {
    pub account_id: i64,
    /// The name of the consumer.
    pub name: String,
    pub shard: i64,
    /// The number of events between the shard's position and the head.
    pub lag: i64,
}

/// Totals over all logs.
#[derive(Clone, Debug, Default)]
pub struct LogStats {
    /// The number of events that are kept.
    pub events: u64,
    /// Bytes used by the events and their indexes; on SQLite, the size of the whole database file.
    pub bytes: u64,
    /// The age of the oldest event in seconds; 0 if no event is kept.
    pub oldest_seconds: u64,
    /// The consumer shards with the largest lag.
    pub lags: Vec<ConsumerLag>,
}

#[derive(Debug, FromQueryResult)]
struct Size {
    events: Option<i64>,
    oldest_at: Option<i64>,
}

impl Log {
    /// Reads the current statistics with three statements, which read each log and each consumer shard once.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached, and `Error::Database` if a query fails.
    pub async fn stats(&self) -> Result<LogStats> {
        let db = self.database();
        let size = "SELECT CAST(sum(l.head_seq - l.earliest_seq + 1) AS bigint) AS events, min(e.occurred_at) AS oldest_at \
                    FROM account_logs l LEFT JOIN events e ON e.account_id = l.account_id AND e.seq = l.earliest_seq";
        let lags = format!(
            "SELECT s.account_id, s.name, s.shard, CASE WHEN l.head_seq > s.seq THEN l.head_seq - s.seq ELSE 0 END AS lag \
             FROM consumer_shards s JOIN account_logs l ON l.account_id = s.account_id ORDER BY lag DESC LIMIT {MAX_REPORTED_SHARDS}"
        );
        let dialect = db.dialect();
        let size = db.read().query_one_raw(dialect.unbound_statement(size)).await?;
        let size = size.map(|row| Size::from_query_result(&row, "")).transpose()?;
        let lags = db.read().query_all_raw(dialect.unbound_statement(lags)).await?;
        let bytes = db.read().query_one_raw(dialect.unbound_statement(dialect.log_bytes())).await?;
        let bytes: Option<i64> = bytes.map(|row| row.try_get("", "bytes")).transpose()?;
        let oldest = size.as_ref().and_then(|size| size.oldest_at);
        Ok(LogStats {
            events: size.and_then(|size| size.events).unwrap_or_default().try_into().unwrap_or_default(),
            bytes: bytes.unwrap_or_default().try_into().unwrap_or_default(),
            oldest_seconds: oldest
                .map_or(0, |at| Micros::now().seconds() - Micros(at).seconds())
                .try_into()
                .unwrap_or_default(),
            lags: lags
                .iter()
                .map(|row| ConsumerLag::from_query_result(row, ""))
                .collect::<Result<_, _>>()?,
        })
    }
}
