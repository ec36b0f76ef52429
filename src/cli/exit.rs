//! How the program ends: one table of exit codes, and which error gets which.

use std::process::ExitCode;

use crate::{chat::bootstrap::BootstrapError, config::ConfigError, db::OpenError};

/// The exit codes. The numbers above 63 are those of `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or drained after a signal.
    Ok = 0,
    /// The command failed: not ready, refused, a stream that cannot go on.
    Failure = 1,
    /// The command line is wrong; clap uses this number too.
    Usage = 2,
    /// `EX_UNAVAILABLE`: the database cannot be reached.
    DatabaseUnreachable = 69,
    /// `EX_SOFTWARE`: a fault inside.
    Internal = 70,
    /// `EX_CANTCREAT`: another parley has the database.
    DatabaseLocked = 73,
    /// `EX_TEMPFAIL`: the database is older than this program, which is not to change it.
    DatabaseBehind = 75,
    /// `EX_PROTOCOL`: the database is newer than this program.
    DatabaseNewer = 76,
    /// `EX_CONFIG`: a setting is unknown or bad.
    Config = 78,
    /// A second signal came while draining.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The code and the sentence for an error that ends the server or a migration.
pub fn explain(error: &anyhow::Error) -> (Exit, String) {
    if let Some(error) = error.downcast_ref::<ConfigError>() {
        return (Exit::Config, error.to_string());
    }
    if let Some(error @ BootstrapError::TokenFile { .. }) = error.downcast_ref() {
        return (Exit::Config, error.to_string());
    }
    let Some(error) = error.downcast_ref::<OpenError>() else {
        return (Exit::Internal, format!("{error:#}"));
    };
    let exit = match error {
        OpenError::Url => Exit::Config,
        OpenError::Unreachable(_) => Exit::DatabaseUnreachable,
        OpenError::Locked(_) => Exit::DatabaseLocked,
        OpenError::Behind(_) => Exit::DatabaseBehind,
        OpenError::Newer(_) => Exit::DatabaseNewer,
        OpenError::Migration(_) => Exit::Internal,
    };
    (exit, error.to_string())
}
