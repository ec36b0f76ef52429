//! Admission control: identifies callers by address and credential, and limits how much of the service each may use.

pub mod client_address;
pub mod credential;
pub mod rate_limit;
pub mod request_memory;
