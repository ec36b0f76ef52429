//! Telemetry shared by all crates: names of metrics and attributes, trace contexts, spans, exemplars, and the escaping of log lines. The
//! exporters are part of the service.

pub mod context;
#[cfg(feature = "service")]
pub mod escape;
pub mod exemplars;
pub mod names;
#[cfg(feature = "service")]
pub mod span;
