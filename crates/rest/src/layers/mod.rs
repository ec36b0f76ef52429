//! What happens to a request around its route.

pub(crate) mod admission;
pub(crate) mod cors;
pub(crate) mod early;
pub(crate) mod paths;
pub(crate) mod position;
pub(crate) mod trace;
