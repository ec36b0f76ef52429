//! The edge of the JSON API: spellings of paths, credentials, pages of other origins, and names that a route does not understand.

mod cors;
mod credentials;
mod ignored;
mod narrowing;
mod paths;
mod positions;
