//! A client for the event stream. It resumes after any disconnection, checks that the `prev_seq` values form an unbroken chain, and reports
//! a lost position as an error instead of treating it as a broken connection.
//!
//! A [`Subscriber`] keeps its cursor in memory; for a [`Consumer`], the server stores the position. Both reconnect with back-off and
//! jitter, detect a server that has gone silent, and end only with an [`Error`] that retrying would not fix. The crate `parley-conformance`
//! provides a misbehaving server for testing this and any other client.
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
