//! Parley: customer conversations as a gRPC service with a durable, ordered, resumable event stream.

#![forbid(unsafe_code)]

pub mod api;
pub mod chat;
pub mod db;
pub mod error;
pub mod events;
pub mod id;
pub mod pb;
pub mod time;
