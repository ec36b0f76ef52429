//! Validation of requests: fields, page tokens, filters and message drafts.

pub mod drafts;
pub mod fields;
pub mod filters;
pub mod page;
mod page_token;
pub mod subscriptions;
