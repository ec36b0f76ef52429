//! Secrets, logs, files and erased data.

mod erasure;
mod modes;
mod page_tokens;
mod secrets;
