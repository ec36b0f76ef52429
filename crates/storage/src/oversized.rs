//! Finds rows that were stored before their fields had limits and that exceed the limits. The oversized fields are left out of responses,
//! so the operator needs a list of the rows. Nothing in this module changes them.

use parley_types::{
    attribute_limits::{AttributeSize, BYTES, KEYS, LEVELS},
    time::Micros,
};
use sea_orm::{ConnectionTrait as _, DbErr};
use serde_json::Value as Json;

use super::Database;

/// The columns that contain attribute maps, and whether their rows belong to an account.
const MAPS: [(&str, &str, bool); 15] = [
    ("accounts", "features", false),
    ("accounts", "limits", false),
    ("accounts", "custom_attributes", false),
    ("users", "custom_attributes", false),
    ("users", "ui_settings", false),
    ("inboxes", "csat_config", true),
    ("inboxes", "auto_assignment_config", true),
    ("api_channels", "additional_attributes", true),
    ("contacts", "additional_attributes", true),
    ("contacts", "custom_attributes", true),
    ("conversations", "additional_attributes", true),
    ("conversations", "custom_attributes", true),
    ("messages", "content_attributes", true),
    ("messages", "additional_attributes", true),
    ("attachments", "meta", true),
];

/// Columns that contain times chosen by callers: the table, the column, and an SQL expression for the account of a row (`0` if the table
/// has no account column).
const TIMES: [(&str, &str, &str); 2] = [("conversations", "snoozed_until", "account_id"), ("tokens", "expires_at", "0")];

/// Maximum number of candidates read per column. Most of them are false positives, because every map with many braces or colons is a
/// candidate.
const CANDIDATES: usize = 1000;

/// Maximum number of rows listed per column.
const NAMED: usize = 10;

/// Maximum size in bytes of an event that is sent to clients. Events that are larger were stored before the size of events was limited.
const EVENT_BYTES: usize = 4 * 1024 * 1024 - 64 * 1024;

/// The rows that exceed the limits of one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oversized {
    pub table: &'static str,
    pub column: &'static str,
    /// Up to ten of the rows, each as `ID` or `ID of account ACCOUNT`.
    pub rows: Vec<String>,
    /// Whether there may be more rows than `rows` lists.
    pub more: bool,
}

impl Database {
    /// Returns the rows with fields that exceed their limits. The query scans all tables with attributes, so it can take a long time in a
    /// large database; the amount of data that it reads into memory is bounded.
    ///
    /// # Errors
    /// Returns a [`DbErr`] if the query fails.
    pub async fn oversized(&self) -> Result<Vec<Oversized>, DbErr> {
        let mut found = Vec::new();
        for (table, column, of_account) in MAPS {
            found.extend(self.oversized_maps(table, column, of_account).await?);
        }
        let sql = format!(
            "SELECT seq AS id, account_id FROM events WHERE octet_length(payload) > {EVENT_BYTES} LIMIT {}",
            NAMED + 1
        );
        let mut rows = Vec::new();
        for row in self.read().query_all_raw(self.dialect().unbound_statement(sql)).await? {
            rows.push(named(row.try_get("", "id")?, Some(row.try_get("", "account_id")?)));
        }
        found.extend(some("events", "payload", rows, false));
        Ok(found)
    }

    /// Returns the rows with a time outside the range that clients can represent. Such times were stored before times were validated, and
    /// responses contain the nearest representable time instead.
    ///
    /// # Errors
    /// Returns a [`DbErr`] if the query fails.
    pub async fn times_out_of_range(&self) -> Result<Vec<Oversized>, DbErr> {
        let mut found = Vec::new();
        for (table, column, account) in TIMES {
            let sql = format!(
                "SELECT id, CAST({account} AS BIGINT) AS account_id FROM {table} WHERE {column} < {} OR {column} > {} LIMIT {}",
                Micros::MIN.0,
                Micros::MAX.0,
                NAMED + 1
            );
            let mut rows = Vec::new();
            for row in self.read().query_all_raw(self.dialect().unbound_statement(sql)).await? {
                let account: i64 = row.try_get("", "account_id")?;
                rows.push(named(row.try_get("", "id")?, Some(account).filter(|account| *account > 0)));
            }
            found.extend(some(table, column, rows, false));
        }
        Ok(found)
    }

    async fn oversized_maps(&self, table: &'static str, column: &'static str, of_account: bool) -> Result<Option<Oversized>, DbErr> {
        let text = self.dialect().json_as_text(&format!("\"{column}\""));
        let account = if of_account { "account_id" } else { "0" };
        let without = |of: &str| format!("length({text}) - length({of})");
        let braces = without(&format!("replace(replace({text}, '{{', ''), '[', '')"));
        let colons = without(&format!("replace({text}, ':', '')"));
        // A map whose text exceeds the size limit needs no further check, so its text is not read.
        let sql = format!(
            "SELECT id, CAST({account} AS BIGINT) AS account_id, CASE WHEN octet_length({text}) <= {BYTES} THEN {text} END AS map FROM {table} \
             WHERE octet_length({text}) > {BYTES} OR {braces} > {LEVELS} OR {colons} > {KEYS} LIMIT {CANDIDATES}"
        );
        let candidates = self.read().query_all_raw(self.dialect().unbound_statement(sql)).await?;
        let more = candidates.len() == CANDIDATES;
        let mut rows = Vec::new();
        for row in candidates {
            let map: Option<String> = row.try_get("", "map")?;
            let fits = map.is_some_and(|map| serde_json::from_str::<Json>(&map).is_ok_and(|map| AttributeSize::of(&map).fits()));
            if !fits {
                let account: i64 = row.try_get("", "account_id")?;
                rows.push(named(row.try_get("", "id")?, Some(account).filter(|_| of_account)));
            }
        }
        Ok(some(table, column, rows, more))
    }
}

fn named(id: i64, account: Option<i64>) -> String {
    account.map_or_else(|| id.to_string(), |account| format!("{id} of account {account}"))
}

fn some(table: &'static str, column: &'static str, mut rows: Vec<String>, more: bool) -> Option<Oversized> {
    let more = more || rows.len() > NAMED;
    rows.truncate(NAMED);
    (!rows.is_empty()).then_some(Oversized { table, column, rows, more })
}
