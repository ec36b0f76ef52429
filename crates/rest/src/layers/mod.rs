//! The middleware of REST requests.

pub(crate) mod admission;
pub(crate) mod cors;
pub(crate) mod early;
pub(crate) mod paths;
pub(crate) mod position;
pub(crate) mod trace;
