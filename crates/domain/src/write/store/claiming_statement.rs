//! The single statement that stores a batch on PostgreSQL: the claim of the counters, and parts that are built from column lists.
//!
//! The rows of each table are bound as one array per column. The statement first claims the counters, in ascending order of accounts. Every
//! other part joins the claim, so the rows of accounts whose head has moved are not stored. An implementation of `BatchStore` builds its
//! statement with [`ClaimingStatement`] and adds the parts of its own tables.

use std::fmt::Write as _;

use super::columns::{COUNTERS, Column};

const CLAIM: &str = "locked AS (SELECT l.account_id FROM account_logs l JOIN n ON n.account_id = l.account_id AND n.epoch = l.epoch \
     AND n.expected = l.head_seq ORDER BY l.account_id FOR UPDATE OF l), \
     c AS (UPDATE account_logs l SET head_seq = n.head_seq, last_message_id = n.last_message_id, \
     last_occurred_at = n.last_occurred_at FROM n JOIN locked USING (account_id) WHERE l.account_id = n.account_id \
     RETURNING l.account_id)";

/// Replaces the check and the lock of the counter rows, in the test that shows which race they prevent.
const NO_CLAIM: &str = "c AS (SELECT account_id FROM n)";

/// Builds the text of a statement. Its parameters are [`COUNTERS`], followed by the columns of the parts in the order in which they are
/// added.
#[derive(Debug)]
pub struct ClaimingStatement {
    sql: String,
    parameters: usize,
}

impl ClaimingStatement {
    /// Creates a statement that locks and advances the counters of the accounts whose head has not moved. `unlocked` leaves this out, for
    /// the test that shows which race the lock prevents.
    pub fn new(unlocked: bool) -> Self {
        let mut parameters = 0;
        let counters = rows(&mut parameters, COUNTERS);
        let claim = if unlocked { NO_CLAIM } else { CLAIM };
        let sql = format!("WITH n AS (SELECT * FROM {counters}), {claim}");
        Self { sql, parameters }
    }

    /// Adds a CTE called `name` that inserts rows into `table`, but only for accounts whose counters the statement has claimed.
    pub fn insert(&mut self, name: &str, table: &str, columns: &[Column]) {
        let text = insert(&mut self.parameters, table, columns);
        self.add(name, &text);
    }

    /// Adds a part that updates rows of claimed accounts. The first two columns are the key.
    pub fn update(&mut self, name: &str, table: &str, columns: &[Column]) {
        let text = update(&mut self.parameters, table, columns);
        self.add(name, &text);
    }

    /// Returns the text of the statement. The statement returns the ids of the accounts whose counters it claimed.
    pub fn finish(self) -> String {
        self.sql + " SELECT account_id FROM c"
    }

    fn add(&mut self, name: &str, text: &str) {
        // Writing to a string cannot fail.
        let _ = write!(self.sql, ", {name} AS ({text})");
    }
}

/// Returns a table expression `t` for the rows in the next parameters.
fn rows(parameters: &mut usize, columns: &[Column]) -> String {
    let arrays = columns.iter().map(|(_, kind)| {
        *parameters += 1;
        format!("${parameters}::{kind}[]")
    });
    let arrays = arrays.collect::<Vec<_>>().join(", ");
    format!("unnest({arrays}) AS t({})", names(columns, ""))
}

fn names(columns: &[Column], prefix: &str) -> String {
    columns
        .iter()
        .map(|(name, _)| format!("{prefix}{name}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn insert(parameters: &mut usize, table: &str, columns: &[Column]) -> String {
    format!(
        "INSERT INTO {table} ({}) SELECT {} FROM {} JOIN c ON c.account_id = t.account_id",
        names(columns, ""),
        names(columns, "t."),
        rows(parameters, columns)
    )
}

fn update(parameters: &mut usize, table: &str, columns: &[Column]) -> String {
    let set = columns[2..].iter().map(|(name, _)| format!("{name} = t.{name}"));
    format!(
        "UPDATE {table} r SET {} FROM {} JOIN c ON c.account_id = t.account_id WHERE r.account_id = t.account_id AND r.id = t.id",
        set.collect::<Vec<_>>().join(", "),
        rows(parameters, columns)
    )
}
