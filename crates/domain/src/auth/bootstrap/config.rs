//! The `bootstrap` settings, which initialize an empty database.

use std::path::PathBuf;

/// The values with which an empty database is initialized.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The administrator's token; if empty, a random token is generated.
    pub token: String,
    /// The public identifier of the first inbox; empty for a random one.
    pub inbox_identifier: String,
    /// The secret of a platform token. Every start creates the token if it does not exist. If empty, no token is created.
    pub platform_token: String,
    /// The file to which a randomly generated token is written, so that the secret does not appear on standard output. If `None`, the
    /// caller must show the token.
    pub token_file: Option<PathBuf>,
}

/// How the operator receives the administrator's token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdministratorToken {
    /// The token is the one that the operator configured. It must not be printed: the operator already knows it.
    Given,
    /// A randomly generated token, which the caller must show to the operator once.
    Generated(String),
    /// A random token, stored in this file, which only its owner can read.
    Stored(PathBuf),
}
