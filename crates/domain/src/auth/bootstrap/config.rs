//! What the first start of a database is told.

use std::path::PathBuf;

/// What an empty database is filled with.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The administrator's token; empty: a random one.
    pub token: String,
    /// The first inbox's identifier; empty: a random one.
    pub inbox_identifier: String,
    /// A platform token, created at any start that does not find it; empty: none.
    pub platform_token: String,
    /// Where a random token is written, because standard output is no place for it. None: the caller shows it.
    pub token_file: Option<PathBuf>,
}

/// How the operator gets the administrator's token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdministratorToken {
    /// The operator configured it and has it already. It must not be printed.
    Given,
    /// A random one, to be shown once.
    Generated(String),
    /// A random one, in this file, which only its owner may read.
    Stored(PathBuf),
}
