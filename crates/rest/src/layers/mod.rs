//! The middleware of REST requests.

pub(crate) mod admission;
pub(crate) mod cors;
pub(crate) mod early_authorization;
pub(crate) mod paths;
pub(crate) mod response_metadata;
pub(crate) mod trace;
