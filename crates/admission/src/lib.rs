//! Admission control: who calls, by address and credential, and how much of the service the caller may use.

pub mod client_address;
pub mod credential;
pub mod rate_limit;
pub mod request_memory;
