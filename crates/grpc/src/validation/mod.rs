//! What requests must look like: the rules of fields, page tokens, filters and drafts of messages.

pub mod drafts;
pub mod fields;
pub mod filters;
pub mod page;
mod page_token;
pub mod subscriptions;
