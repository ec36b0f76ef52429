//! What is measured, traced and logged, by its names; exporters belong to the service.

pub mod context;
#[cfg(feature = "service")]
pub mod escape;
pub mod exemplars;
pub mod names;
#[cfg(feature = "service")]
pub mod span;
