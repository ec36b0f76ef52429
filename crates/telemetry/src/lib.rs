//! What is measured, traced and logged, by its names; exporters belong to the service.

pub mod context;
pub mod escape;
pub mod exemplars;
pub mod names;
pub mod span;
