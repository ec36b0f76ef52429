//! Tests against the disclosure of secrets, logs, files and erased data.

mod erasure;
mod modes;
mod page_tokens;
mod passwords;
mod secrets;
