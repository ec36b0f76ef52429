//! Secrets, logs, files and erased data.
