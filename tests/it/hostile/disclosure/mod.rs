//! Secrets, logs, files and erased data.

mod erasure;
mod modes;
mod page_tokens;
mod passwords;
mod secrets;
