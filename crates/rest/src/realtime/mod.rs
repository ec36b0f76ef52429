//! Real-time events: Server-Sent Events, and Action Cable over a WebSocket.

pub(crate) mod cable;
pub(crate) mod server_sent_events;
