//! The resources that can be filtered, and the context of a filter.

use parley_storage::Dialect;
use parley_types::{id::AccountId, time::Micros};
use sea_orm::sea_query::SimpleExpr;

/// The kind of resource that is filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Contacts.
    Contact,
    /// Conversations.
    Conversation,
}

/// The type of the values of a custom attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Display {
    /// Text, including links and list entries.
    Text,
    /// Numbers, including currencies and percentages.
    Number,
    /// Dates.
    Date,
    /// Booleans.
    Checkbox,
}

/// A custom attribute that the account defined for this kind of resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Its key.
    pub key: String,
    /// The type of its values.
    pub display: Display,
}

/// The context in which a filter is evaluated.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The kind of resource that is filtered.
    pub model: Model,
    /// The account.
    pub account: AccountId,
    /// The SQL dialect of the condition.
    pub dialect: Dialect,
    /// The current time, which determines the current day.
    pub now: Micros,
}

/// A condition on one attribute, or an error if its values are invalid.
pub(super) type Tested = Result<SimpleExpr, ()>;
