//! The kinds of events and actors. Re-exported from the contract crate, because domain rules use these kinds but may not depend on that
//! crate. Events are stored in the encoding in which they are sent, so no separate kinds are needed for storage.

pub use parley_proto::{ActorType, EventKind};
