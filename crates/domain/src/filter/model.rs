//! The types for the resources that can be filtered, and for the context in which a filter is evaluated.

use parley_storage::Dialect;
use parley_types::{id::AccountId, time::Micros};
use sea_orm::sea_query::SimpleExpr;

/// A kind of resource that can be filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Contacts.
    Contact,
    /// Conversations.
    Conversation,
}

/// The type of a custom attribute's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Display {
    /// Strings, including links and list entries.
    Text,
    /// Numbers, including currencies and percentages.
    Number,
    /// Dates.
    Date,
    /// Booleans.
    Checkbox,
}

/// A custom attribute that the account has defined for the kind of resource that is filtered.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// The key of the attribute.
    pub key: String,
    /// The type of the attribute's values.
    pub display: Display,
}

/// The context in which a filter is evaluated.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The kind of resource that is filtered.
    pub model: Model,
    /// The account that the filtered resources belong to.
    pub account: AccountId,
    /// The SQL dialect in which the condition is written.
    pub dialect: Dialect,
    /// The current time, which determines the current day in UTC.
    pub now: Micros,
}

/// An SQL condition on one attribute, or an error if the values in the request are invalid.
pub(super) type Tested = Result<SimpleExpr, ()>;
