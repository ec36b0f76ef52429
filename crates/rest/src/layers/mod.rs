//! Middleware for REST requests: admission, CORS, early authorization, path normalization, response metadata and tracing.

pub(crate) mod admission;
pub(crate) mod cors;
pub(crate) mod early_authorization;
pub(crate) mod paths;
pub(crate) mod response_metadata;
pub(crate) mod trace;
