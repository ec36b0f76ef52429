//! Who calls: tokens, logins, callers and what they may do.

pub mod bootstrap;
pub mod caller;
pub mod logins;
pub mod pubsub;
pub(crate) mod secrets;
pub mod tokens;
