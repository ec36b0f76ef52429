//! Authentication and authorization: tokens, logins, and callers with their access.

pub mod bootstrap;
pub mod caller;
pub mod logins;
pub mod pubsub;
pub(crate) mod secrets;
pub mod tokens;
