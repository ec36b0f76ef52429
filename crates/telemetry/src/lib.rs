//! Names of metrics, trace contexts, spans and exemplars, and the escaping of log lines. Exporters belong to the service.

pub mod context;
#[cfg(feature = "service")]
pub mod escape;
pub mod exemplars;
pub mod names;
#[cfg(feature = "service")]
pub mod span;
