//! The `bootstrap` settings, which initialize an empty database.

use std::path::PathBuf;

/// The values with which an empty database is initialized.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The administrator's token; empty for a random one.
    pub token: String,
    /// The public identifier of the first inbox; empty for a random one.
    pub inbox_identifier: String,
    /// A platform token, which every start creates if it does not exist; empty for none.
    pub platform_token: String,
    /// The file to which a random token is written, because secrets must not appear on standard output. If `None`, the caller shows the
    /// token.
    pub token_file: Option<PathBuf>,
}

/// How the operator receives the administrator's token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdministratorToken {
    /// The operator configured the token and therefore knows it, so it must not be printed.
    Given,
    /// A random token, which the caller must show once.
    Generated(String),
    /// A random token, stored in this file, which only its owner can read.
    Stored(PathBuf),
}
