//! Parley: customer conversations as a gRPC service with a durable, ordered, resumable event stream.

#![forbid(unsafe_code)]

pub mod admin;
pub mod cli;
pub mod config;
pub mod db;
pub mod error;
pub mod events;
pub mod id;
pub mod pb;
pub mod server;
pub mod telemetry;
pub mod time;
