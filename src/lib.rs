//! Parley: customer conversations as a gRPC service with a durable, ordered, resumable event stream.
//!
//! The rooms, from the top: [`cli`] is the program, [`server`] builds and drains everything. [`gateway`] is the foreign door,
//! Chatwoot's JSON, and a client of [`api`], our own door. [`chat`] holds the verbs and their rules, [`events`] what happened,
//! in order, [`pb`] the wire's words, [`db`] the rows. The ground below: [`attribute_limits`], [`client_address`], [`config`], [`telemetry`], [`admin`], [`error`],
//! [`id`], [`time`]. Arrows point down only; a test checks it. `ARCHITECTURE.md` is the map.

#![forbid(unsafe_code)]

pub mod admin;
pub mod api;
pub mod attribute_limits;
pub mod chat;
#[cfg(feature = "client")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
pub mod client_address;
pub mod compute;
pub mod config;
pub mod credential;
pub mod cursor_text;
pub mod db;
pub mod error;
pub mod events;
pub mod fault;
pub mod gateway;
pub mod id;
pub mod identify;
pub mod kind;
pub mod mail;
pub mod pb;
pub mod rate_limit;
pub mod request_memory;
pub mod server;
pub mod storage;
pub mod telemetry;
pub mod time;
