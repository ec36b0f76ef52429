//! The edge of the JSON API: path normalization, credentials, cross-origin requests, and unknown names.

mod cors;
mod credentials;
mod ignored;
mod narrowing;
mod paths;
mod positions;
