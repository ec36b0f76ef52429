//! Secrets, logs, files and erased data.

mod modes;
mod page_tokens;
mod secrets;
