//! The kinds of events and actors. Re-exported from the contract, because domain rules use them and may not depend on the contract crate;
//! events are stored in the encoding in which they are sent, so no other kinds are needed.

pub use parley_proto::{ActorType, EventKind};
