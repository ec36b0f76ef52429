//! The interface that each dialect implements.

use std::fmt::Debug;

use parley_types::id::AccountId;
use sea_orm::{
    Condition, DbBackend, Statement,
    sea_query::{LockType, SelectStatement, SimpleExpr},
};

/// Fragments, statements and facts of one database.
///
/// A fragment is either a text that the caller places in a statement of its own, or an expression with its values bound. Names of tables and
/// columns are constants of this program and are not escaped.
pub trait SqlDialect: Debug + Send + Sync {
    /// What sea-orm calls the dialect; it decides how statements are spelled and their values bound.
    fn backend(&self) -> DbBackend;

    /// Whether the database is a server, which several replicas share. A file belongs to one process.
    fn is_shared(&self) -> bool;

    /// A statement that waits for an advisory lock and holds it until the transaction ends. None where a single process writes.
    fn advisory_lock(&self, key: i64) -> Option<String>;

    /// A statement that sends a notification to the sessions that listen; it binds the channel and the payload. None where there are no
    /// other replicas.
    fn notification(&self) -> Option<&'static str>;

    /// The lock of rows that a transaction reads to change them. None where a transaction that writes excludes all others.
    fn row_lock(&self) -> Option<LockType>;

    /// What the database tells about itself.
    fn server_queries(&self) -> ServerQueries;

    /// Reads the bytes that the event log takes with its indexes as `bytes`, or those of the whole database where tables are not measured.
    fn log_bytes(&self) -> &'static str;

    /// The placeholder of the `nth` value of a statement, counted from 1, as a 64-bit integer also where nothing else gives it a type.
    fn integer_parameter(&self, nth: usize) -> String;

    /// A JSON column as text, which string functions take.
    fn json_as_text(&self, column: &str) -> String;

    /// The text of a key of a JSON column.
    fn json_field(&self, json: SimpleExpr, key: &'static str) -> SimpleExpr;

    /// A text that compares by its bytes, whatever the language of the database.
    fn bytewise(&self, text: SimpleExpr) -> SimpleExpr;

    /// Whether a text contains a piece, in any letter case. Nothing in the piece is a wildcard.
    fn contains(&self, text: SimpleExpr, piece: &str) -> SimpleExpr;

    /// The opposite of [`Self::contains`]; NULL for no text.
    fn does_not_contain(&self, text: SimpleExpr, piece: &str) -> SimpleExpr;

    /// Whether a JSON map has a value other than null under a key.
    fn attribute_present(&self, map: SimpleExpr, key: &str) -> SimpleExpr;

    /// A text, number or boolean of a JSON map as text; NULL for any other value.
    fn attribute_text(&self, map: SimpleExpr, key: &str) -> SimpleExpr;

    /// A number of a JSON map, also one that is written as a text; NULL for any other value.
    fn attribute_number(&self, map: SimpleExpr, key: &str) -> SimpleExpr;

    /// The first ten characters of a text of a JSON map that begins with a date, which sort as dates do; NULL for any other value.
    fn attribute_date(&self, map: SimpleExpr, key: &str) -> SimpleExpr;

    /// Whether an id is one of these, which are bound as one value: databases limit how many values a statement may bind.
    fn id_in_list(&self, id: SimpleExpr, ids: &[i64]) -> SimpleExpr;

    /// Whether an id is among the few that a query finds, in a form that makes the planner look up each of them.
    fn id_among_few(&self, id: SimpleExpr, ids: SelectStatement) -> SimpleExpr;

    /// Whether [`Self::id_among_few`] changes the plan, so that it is worth asking first whether a query finds few.
    fn plans_by_selectivity(&self) -> bool;

    /// Reserves ids of the sequence behind a table's key; the reserving statement binds how many.
    fn reserve_ids(&self, table: &'static str) -> IdReservation;

    /// Inserts rows that are bound as one JSON array of objects with these columns; those in `json` hold JSON themselves.
    fn insert_json_rows(&self, table: &str, columns: &[&str], json: &[&str]) -> String;

    /// Deletes up to `rows` rows of an account, in no order.
    fn delete_batch(&self, table: &str, account: AccountId, rows: u64) -> String;

    /// The table of conversations whose contact waits for a reply (`account_id`, `conversation_id`, `since`). None where an index on
    /// `conversations.waiting_since` holds them.
    fn waiting_table(&self) -> Option<&'static str>;

    /// What the index of message texts stores.
    fn message_index(&self) -> MessageIndex;

    /// Stores entries of the index of message texts: binds the account, and a JSON array of pairs of message id and entry. Messages that do
    /// not exist any more are left out.
    fn store_message_index(&self) -> &'static str;

    /// Whether the index of message texts finds a message of the account. `entry` is made of the searched text as entries of the index are.
    fn message_in_index(&self, account: AccountId, entry: &str) -> SimpleExpr;

    /// Contacts that contain a text of three characters or more, by the index of trigrams. `%` and `_` are wildcards. None where that index
    /// does not know wildcards and the text has some.
    fn contacts_by_trigrams(&self, text: &str) -> Option<Condition>;

    /// Contacts that contain a text, without an index. `%` and `_` are wildcards.
    fn contacts_by_pattern(&self, text: &str) -> Condition;

    /// Contacts of the account that contain one or two characters in any letter case, by the index of pieces.
    fn contacts_with_piece(&self, account: AccountId, piece: &str) -> SimpleExpr;

    /// Counts the contacts that [`Self::contacts_with_piece`] finds as `count`, up to `most`.
    fn count_contacts_with_piece(&self, account: AccountId, piece: &str, most: u64) -> Statement;
}

/// Queries about the database, each with one text or number as its answer. None where there is nothing to ask.
#[derive(Clone, Copy, Debug)]
pub struct ServerQueries {
    /// The name of the product.
    pub product: &'static str,
    /// Its version, as a text.
    pub version: &'static str,
    /// Its version as a number, of which 10,000 is one major version.
    pub version_number: Option<&'static str>,
    /// Whether it takes writes: any answer but `writable` says that it does not.
    pub read_only: &'static str,
    /// The answer of a database that takes writes.
    pub writable: &'static str,
    /// Whether the user may create tables: `true` or `false`.
    pub may_create: Option<&'static str>,
    /// How many connections it takes, as a number.
    pub max_connections: Option<&'static str>,
    /// The time on its clock, in microseconds since 1970.
    pub clock: Option<&'static str>,
}

/// How ids are reserved.
#[derive(Clone, Debug)]
pub struct IdReservation {
    /// A statement that has to be executed first. It binds nothing.
    pub prepare: Option<String>,
    /// The statement that reserves ids.
    pub reserve: String,
    /// What its rows hold.
    pub returned: ReturnedIds,
}

/// Which ids a reservation returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnedIds {
    /// Each id, a row each; they need not be adjacent.
    Each,
    /// The last of adjacent ids.
    Last,
}

/// What the index of message texts stores of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageIndex {
    /// The folded text, which the database indexes by its trigrams.
    Text,
    /// An array of numbers that we compute of the folded text, written as a text: one for the account and one for each trigram.
    NGrams,
}

/// A LIKE pattern that a text matches if it contains `piece`, in which nothing but the ends is wild.
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

/// The company of a contact, in the words of the indexes.
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
