//! The service: one program with a gRPC API, a REST gateway, and an admin listener.
//!
//! [`cli`] is the command line, [`server`] builds and drains everything. The libraries are in `crates/`; `ARCHITECTURE.md` is the map.

#![forbid(unsafe_code)]

pub mod admin;
pub mod cli;
pub mod config;
pub mod identify;
pub mod server;
pub mod telemetry;
