//! A client of the event stream. It resumes after any disconnection, checks the chain of `prev_seq`, and reports a lost position as an
//! error instead of treating it as a broken connection.
//!
//! [`Subscriber`] stores its cursor itself; for [`Consumer`], the server stores the position of a durable consumer. Both reconnect with
//! back-off and jitter, detect a server that has gone silent, and end only with an [`Error`] that retrying would not fix. The crate
//! `parley-conformance` is a misbehaving server to test this and any other client against.
//!
//! `examples/follow.rs` is a complete program.

mod backoff;
mod chain;
mod consumer;
mod error;
mod server;
mod subscriber;
mod trace;

pub use consumer::{Consumer, OnTakeover, Options};
pub use error::{Error, LostPosition, LostReason};
pub use server::{Server, TlsSettings};
pub use subscriber::{Step, Subscriber};
pub use trace::processing;
