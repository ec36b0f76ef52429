//! The interface that each SQL dialect implements.

use std::fmt::Debug;

use parley_types::id::AccountId;
use sea_orm::{
    Condition, DbBackend, Statement,
    sea_query::{LockType, SelectStatement, SimpleExpr},
};

/// SQL fragments, statements and facts for one kind of database.
///
/// A fragment is either text that the caller inserts into its own statement, or an expression with bound values. Names of tables and
/// columns are constants of this program and are not escaped.
pub trait SqlDialect: Debug + Send + Sync {
    /// Returns the backend in sea-orm, which determines the syntax of statements and how values are bound.
    fn backend(&self) -> DbBackend;

    /// Returns whether the database is a server that several replicas can share. A SQLite file belongs to one process.
    fn is_shared(&self) -> bool;

    /// Returns a statement that waits for an advisory lock and holds it until the transaction ends. Returns `None` if only one process can
    /// write to the database.
    fn advisory_lock(&self, key: i64) -> Option<String>;

    /// Returns a statement that notifies the listening sessions; it binds the channel and the payload. Returns `None` if the database
    /// cannot have other replicas to notify.
    fn notification(&self) -> Option<&'static str>;

    /// Returns the type of lock for rows that a transaction reads in order to change them. Returns `None` if a write transaction excludes
    /// all other writers.
    fn row_lock(&self) -> Option<LockType>;

    /// Returns queries for properties of the database server.
    fn server_queries(&self) -> ServerQueries;

    /// Returns a query for the size in bytes of the event log with its indexes, in the column `bytes`. For databases that cannot measure
    /// single tables, it selects the size of the whole database.
    fn log_bytes(&self) -> &'static str;

    /// Returns the placeholder for the `nth` value of a statement, counted from 1. The placeholder has the type of a 64-bit integer even
    /// where the context does not determine a type.
    fn integer_parameter(&self, nth: usize) -> String;

    /// Converts a JSON column to text, for string functions.
    fn json_as_text(&self, column: &str) -> String;

    /// Returns an expression for the value of a key of a JSON column, as text.
    fn json_field(&self, json: SimpleExpr, key: &'static str) -> SimpleExpr;

    /// Returns the string as an expression that compares bytewise, regardless of the collation of the database.
    fn bytewise(&self, text: SimpleExpr) -> SimpleExpr;

    /// Returns a condition that holds if `text` contains `piece`, ignoring case. Characters in `piece` that LIKE treats as wildcards match
    /// literally.
    fn contains(&self, text: SimpleExpr, piece: &str) -> SimpleExpr;

    /// Returns a condition that is the negation of [`Self::contains`]; it is NULL if `text` is NULL.
    fn does_not_contain(&self, text: SimpleExpr, piece: &str) -> SimpleExpr;

    /// Returns a condition that holds if a JSON map has a value other than null for a key.
    fn attribute_present(&self, map: SimpleExpr, key: &str) -> SimpleExpr;

    /// Returns an expression for the value of a key in a JSON map as text, if it is a string, number or boolean; NULL for any other value.
    fn attribute_text(&self, map: SimpleExpr, key: &str) -> SimpleExpr;

    /// Returns an expression for the value of a key in a JSON map as a number, if it is a number or a string that contains a decimal
    /// number; NULL for any other value.
    fn attribute_number(&self, map: SimpleExpr, key: &str) -> SimpleExpr;

    /// Returns an expression for the first ten characters of the value of a key in a JSON map, if it is a string that begins with a date,
    /// so that such values sort chronologically; NULL for any other value.
    fn attribute_date(&self, map: SimpleExpr, key: &str) -> SimpleExpr;

    /// Returns a condition that holds if `id` is in `ids`. The ids are bound as one value, because databases limit the number of bound
    /// values.
    fn id_in_list(&self, id: SimpleExpr, ids: &[i64]) -> SimpleExpr;

    /// Returns a condition that holds if `id` is in the small result of a query. The form of the condition makes the planner look up each
    /// of the ids.
    fn id_among_few(&self, id: SimpleExpr, ids: SelectStatement) -> SimpleExpr;

    /// Returns whether [`Self::id_among_few`] changes the plan of a query, which makes a selectivity probe worthwhile.
    fn plans_by_selectivity(&self) -> bool;

    /// Returns the statements that reserve ids from the sequence of a table's primary key.
    fn reserve_ids(&self, table: &'static str) -> IdReservation;

    /// Returns a statement that inserts rows with these columns. The rows are bound as one JSON array of objects. The columns listed in
    /// `json` contain JSON themselves.
    fn insert_json_rows(&self, table: &str, columns: &[&str], json: &[&str]) -> String;

    /// Returns a statement that deletes up to `rows` rows of an account, in no particular order.
    fn delete_batch(&self, table: &str, account: AccountId, rows: u64) -> String;

    /// Returns the table of conversations whose contact is waiting for a reply (`account_id`, `conversation_id`, `since`). Returns `None`
    /// if `conversations.waiting_since` is indexed instead.
    fn waiting_table(&self) -> Option<&'static str>;

    /// Returns what the message index stores for each message.
    fn message_index(&self) -> MessageIndex;

    /// Returns a statement that stores entries of the message index. It binds the account and a JSON array of pairs of message id and
    /// entry, and skips messages that no longer exist.
    fn store_message_index(&self) -> &'static str;

    /// Returns a condition that holds if the message index matches a message of the account. `entry` is derived from the search text in the
    /// same way as the entries of the index are derived from messages.
    fn message_in_index(&self, account: AccountId, entry: &str) -> SimpleExpr;

    /// Returns a condition that matches contacts that contain a string of at least three characters, through the trigram index. `%` and `_`
    /// are wildcards. Returns `None` if the string contains wildcards and the index does not support them.
    fn contacts_by_trigrams(&self, text: &str) -> Option<Condition>;

    /// Returns a condition that matches contacts that contain a string, without using an index. `%` and `_` are wildcards.
    fn contacts_by_pattern(&self, text: &str) -> Condition;

    /// Returns a condition that matches contacts of the account that contain `piece`, a string of one or two characters, ignoring case. It
    /// uses the index of short n-grams.
    fn contacts_with_piece(&self, account: AccountId, piece: &str) -> SimpleExpr;

    /// Returns a statement that counts the contacts that [`Self::contacts_with_piece`] matches, up to `most`, in the column `count`.
    fn count_contacts_with_piece(&self, account: AccountId, piece: &str, most: u64) -> Statement;
}

/// Queries for properties of a database server. Each returns one string or number. A query is `None` if the database does not have the
/// property.
#[derive(Clone, Copy, Debug)]
pub struct ServerQueries {
    /// Selects the name of the product.
    pub product: &'static str,
    /// Selects the version of the server, as text.
    pub version: &'static str,
    /// Selects the version of the server as a number, in which 10,000 is one major version.
    pub version_number: Option<&'static str>,
    /// Selects whether the database is read-only. The database accepts writes if the result equals `writable`.
    pub read_only: &'static str,
    /// The result of `read_only` for a database that accepts writes.
    pub writable: &'static str,
    /// Selects whether the database user may create tables: `true` or `false`.
    pub may_create: Option<&'static str>,
    /// Selects the maximum number of connections to the server.
    pub max_connections: Option<&'static str>,
    /// Selects the time of the server's clock, in microseconds since 1970.
    pub clock: Option<&'static str>,
}

/// The statements that reserve ids from a sequence, and the form of their result.
#[derive(Clone, Debug)]
pub struct IdReservation {
    /// A statement that must be executed before `reserve`. It binds no values.
    pub prepare: Option<String>,
    /// The statement that reserves ids. It binds the number of ids.
    pub reserve: String,
    /// Which of the reserved ids the result of `reserve` contains.
    pub returned: ReturnedIds,
}

/// Which of the reserved ids a reservation returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnedIds {
    /// Each reserved id in a row of its own. The ids need not be consecutive.
    Each,
    /// Only the last reserved id. The ids are consecutive.
    Last,
}

/// What the message index stores for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageIndex {
    /// The case-folded text, whose trigrams the database indexes.
    Text,
    /// An array of numbers in text form, which Parley computes from the case-folded text: one number for the account and one per trigram.
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

/// SQL for the company name of a contact. It must be the same expression as in the indexes.
pub(super) const CONTACT_COMPANY: &str = "(\"contacts\".\"additional_attributes\" ->> 'company_name')";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_wildcards_in_a_substring() {
        assert_eq!(containing("50%_\\", '\\'), "%50\\%\\_\\\\%");
        assert_eq!(containing("50%!", '!'), "%50!%!!%");
    }
}
