//! The interface that each dialect implements.

use std::fmt::Debug;

use parley_types::id::AccountId;
use sea_orm::{
    Condition, DbBackend, Statement,
    sea_query::{LockType, SelectStatement, SimpleExpr},
};

/// Fragments, statements and facts of one database.
///
/// A fragment is either text that the caller inserts into its own statement, or an expression with bound values. Names of tables and
/// columns are constants of this program and are not escaped.
pub trait SqlDialect: Debug + Send + Sync {
    /// Returns sea-orm's backend, which determines the syntax of statements and how values are bound.
    fn backend(&self) -> DbBackend;

    /// Whether the database is a server that several replicas can share. A SQLite file belongs to one process.
    fn is_shared(&self) -> bool;

    /// Returns a statement that waits for an advisory lock and holds it until the transaction ends. `None` if only one process writes.
    fn advisory_lock(&self, key: i64) -> Option<String>;

    /// Returns a statement that notifies the listening sessions; it binds the channel and the payload. `None` if there are no other
    /// replicas.
    fn notification(&self) -> Option<&'static str>;

    /// Returns the lock for rows that a transaction reads in order to change them. `None` if a write transaction excludes all others.
    fn row_lock(&self) -> Option<LockType>;

    /// Returns queries about the database server.
    fn server_queries(&self) -> ServerQueries;

    /// Returns a query for the size of the event log with its indexes, as `bytes`. For databases that do not measure tables, it selects the
    /// size of the whole database.
    fn log_bytes(&self) -> &'static str;

    /// Returns the placeholder of the `nth` value of a statement, counted from 1, typed as a 64-bit integer even where the context does not
    /// determine a type.
    fn integer_parameter(&self, nth: usize) -> String;

    /// Converts a JSON column to text, for string functions.
    fn json_as_text(&self, column: &str) -> String;

    /// Returns the value of a key of a JSON column, as text.
    fn json_field(&self, json: SimpleExpr, key: &'static str) -> SimpleExpr;

    /// Makes a string compare bytewise, regardless of the collation of the database.
    fn bytewise(&self, text: SimpleExpr) -> SimpleExpr;

    /// Whether `text` contains `piece`, ignoring case. Characters in `piece` that LIKE treats as wildcards match literally.
    fn contains(&self, text: SimpleExpr, piece: &str) -> SimpleExpr;

    /// The negation of [`Self::contains`]; NULL if `text` is NULL.
    fn does_not_contain(&self, text: SimpleExpr, piece: &str) -> SimpleExpr;

    /// Whether a JSON map has a value other than null for a key.
    fn attribute_present(&self, map: SimpleExpr, key: &str) -> SimpleExpr;

    /// Returns a string, number or boolean in a JSON map as text; NULL for any other value.
    fn attribute_text(&self, map: SimpleExpr, key: &str) -> SimpleExpr;

    /// Returns a number in a JSON map, or a string that contains a decimal number; NULL for any other value.
    fn attribute_number(&self, map: SimpleExpr, key: &str) -> SimpleExpr;

    /// Returns the first ten characters of a string in a JSON map that begins with a date, so that they sort chronologically; NULL for any
    /// other value.
    fn attribute_date(&self, map: SimpleExpr, key: &str) -> SimpleExpr;

    /// Whether `id` is in `ids`, which are bound as one value because databases limit the number of bound values.
    fn id_in_list(&self, id: SimpleExpr, ids: &[i64]) -> SimpleExpr;

    /// Whether `id` is in the small result of a query, in a form that makes the planner look up each of the ids.
    fn id_among_few(&self, id: SimpleExpr, ids: SelectStatement) -> SimpleExpr;

    /// Whether [`Self::id_among_few`] changes the plan, so that a selectivity probe pays off.
    fn plans_by_selectivity(&self) -> bool;

    /// Returns the statements that reserve ids from the sequence of a table's primary key.
    fn reserve_ids(&self, table: &'static str) -> IdReservation;

    /// Returns a statement that inserts rows with these columns, which are bound as one JSON array of objects. The columns in `json`
    /// contain JSON themselves.
    fn insert_json_rows(&self, table: &str, columns: &[&str], json: &[&str]) -> String;

    /// Returns a statement that deletes up to `rows` rows of an account, in no particular order.
    fn delete_batch(&self, table: &str, account: AccountId, rows: u64) -> String;

    /// Returns the table of conversations whose contact is waiting for a reply (`account_id`, `conversation_id`, `since`). `None` if
    /// `conversations.waiting_since` is indexed instead.
    fn waiting_table(&self) -> Option<&'static str>;

    /// Returns what the message index stores.
    fn message_index(&self) -> MessageIndex;

    /// Returns a statement that stores entries of the message index. It binds the account and a JSON array of pairs of message id and
    /// entry, and skips messages that no longer exist.
    fn store_message_index(&self) -> &'static str;

    /// Whether the message index matches a message of the account. `entry` is derived from the search text in the same way as the entries
    /// of the index.
    fn message_in_index(&self, account: AccountId, entry: &str) -> SimpleExpr;

    /// Matches contacts that contain a string of at least three characters, through the trigram index. `%` and `_` are wildcards. `None` if
    /// the string contains wildcards and the index does not support them.
    fn contacts_by_trigrams(&self, text: &str) -> Option<Condition>;

    /// Matches contacts that contain a string, without an index. `%` and `_` are wildcards.
    fn contacts_by_pattern(&self, text: &str) -> Condition;

    /// Matches contacts of the account that contain `piece`, a string of one or two characters, ignoring case. Uses the index of short
    /// n-grams.
    fn contacts_with_piece(&self, account: AccountId, piece: &str) -> SimpleExpr;

    /// Returns a statement that counts the contacts that [`Self::contacts_with_piece`] matches, up to `most`, as `count`.
    fn count_contacts_with_piece(&self, account: AccountId, piece: &str, most: u64) -> Statement;
}

/// Queries about a database server. Each returns one string or number. `None` if the database has no such property.
#[derive(Clone, Copy, Debug)]
pub struct ServerQueries {
    /// The name of the product.
    pub product: &'static str,
    /// The version, as text.
    pub version: &'static str,
    /// The version as a number, in which 10,000 is one major version.
    pub version_number: Option<&'static str>,
    /// Whether the database is read-only: it accepts writes if the result equals `writable`.
    pub read_only: &'static str,
    /// The result of `read_only` in a database that accepts writes.
    pub writable: &'static str,
    /// Whether the user may create tables: `true` or `false`.
    pub may_create: Option<&'static str>,
    /// The maximum number of connections.
    pub max_connections: Option<&'static str>,
    /// The time of the server's clock, in microseconds since 1970.
    pub clock: Option<&'static str>,
}

/// How to reserve ids.
#[derive(Clone, Debug)]
pub struct IdReservation {
    /// A statement to execute first. It binds no values.
    pub prepare: Option<String>,
    /// The statement that reserves ids; it binds their number.
    pub reserve: String,
    /// Which ids the rows of `reserve` contain.
    pub returned: ReturnedIds,
}

/// Which ids a reservation returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnedIds {
    /// One row per id. The ids need not be consecutive.
    Each,
    /// The last of a range of consecutive ids.
    Last,
}

/// What the message index stores for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageIndex {
    /// The case-folded text, whose trigrams the database indexes.
    Text,
    /// An array of numbers that we compute from the case-folded text, in text form: one for the account and one per trigram.
    NGrams,
}

/// Builds a LIKE pattern that matches any string that contains `piece`. Wildcards in `piece` are escaped.
pub(super) fn containing(piece: &str, escape: char) -> String {
    let mut pattern = String::with_capacity(piece.len() + 2);
    pattern.push('%');
    for char in piece.chars() {
        if matches!(char, '%' | '_') || char == escape {
            pattern.push(escape);
        }
        pattern.push(char);
    }
    pattern.push('%');
    pattern
}

/// The company of a contact, as the same expression as in the indexes.
pub(super) const CONTACT_COMPANY: &str = "(\"contacts\".\"additional_attributes\" ->> 'company_name')";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_wildcards_in_a_piece() {
        assert_eq!(containing("50%_\\", '\\'), "%50\\%\\_\\\\%");
        assert_eq!(containing("50%!", '!'), "%50!%!!%");
    }
}
