//! What a call passes before its service.

pub mod anonymous;
mod audit;
pub mod layers;
pub mod limits;
mod outcome;
pub mod policy;
pub mod tokenless;
pub mod trace;
