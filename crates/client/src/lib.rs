//! A client of the event stream that is worth having: it resumes after any break, checks the chain, and never lets a lost position pass for a
//! broken connection.
//!
//! [`Subscriber`] keeps its cursor itself; [`Consumer`] has a durable consumer's place kept by the server. Both pause with back-off and
//! jitter, notice a server that has fallen silent, and end only with an [`Error`] that trying again would not mend. The crate
//! `parley-conformance` is a server that misbehaves, to prove this and any other client.
//!
//! `examples/follow.rs` is a whole program.

mod backoff;
mod chain;
mod consumer;
mod error;
mod server;
mod subscriber;
mod trace;

pub use consumer::{Consumer, OnTakeover, Options};
pub use error::{Error, Lost, LostReason};
pub use server::{Server, Trust};
pub use subscriber::{Step, Subscriber};
pub use trace::processing;
