//! The service: one binary with a gRPC API, a REST gateway and a listener for operators.
//!
//! [`cli`] is the command line; [`server`] starts and drains all components. The libraries are in `crates/`; see `ARCHITECTURE.md` for an
//! overview.

#![forbid(unsafe_code)]

pub mod admin;
pub mod cli;
pub mod config;
pub mod identify;
pub mod server;
pub mod telemetry;
