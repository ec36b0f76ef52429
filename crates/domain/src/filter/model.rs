//! What a filter looks through, and what it needs to know for that.

use parley_storage::Dialect;
use parley_types::{id::AccountId, time::Micros};
use sea_orm::sea_query::SimpleExpr;

/// What is filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Contacts.
    Contact,
    /// Conversations.
    Conversation,
}

/// What values of a custom attribute are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Display {
    /// Texts: also links and entries of lists.
    Text,
    /// Numbers: also currencies and percentages.
    Number,
    /// Days.
    Date,
    /// Yes or no.
    Checkbox,
}

/// A custom attribute that the account defined for what is filtered.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Its key.
    pub key: String,
    /// What its values are.
    pub display: Display,
}

/// Where and when a filter is evaluated.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// What is filtered.
    pub model: Model,
    /// The account.
    pub account: AccountId,
    /// The dialect that the condition is written in.
    pub dialect: Dialect,
    /// The present, which says what day today is.
    pub now: Micros,
}

/// A condition of one attribute, or the sentence that says what is wrong with its values.
pub(super) type Tested = Result<SimpleExpr, ()>;
