//! The kinds of events and actors: words of the wire that rules speak of too, because an event is stored as it is sent.

pub use parley_proto::{ActorType, EventKind};
