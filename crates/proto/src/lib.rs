//! The contract: generated types, clients and servers, their codec, and conversions that do not depend on the server.

/// The code generated from `proto/parley/v1`.
#[allow(clippy::pedantic, clippy::all, missing_docs)]
mod v1 {
    tonic::include_proto!("parley.v1");
}
pub use v1::*;

/// The generated server of `EventsService` that sends encoded frames; see `build.rs`.
#[allow(clippy::pedantic, clippy::all, missing_docs)]
pub mod frames {
    include!(concat!(env!("OUT_DIR"), "/parley.v1.EventsService.rs"));
}

pub mod codec;
pub mod delivery;
pub mod description;
pub mod frame;
pub mod json;
pub mod kind;
pub mod optional_strings;
pub mod policy;
pub mod prune;
pub mod rpc;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
pub mod value;
pub mod wire_budget;

/// The encoded Protobuf descriptors of the API, for gRPC server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/parley_descriptor.bin"));
