//! The exit codes, and the mapping of errors to exit codes.

use std::{fmt::Write as _, process::ExitCode};

use parley_domain::auth::bootstrap::BootstrapError;
use parley_storage::OpenError;
use parley_types::error::{Error, OUT_OF_SPACE, is_out_of_space};

use crate::{
    config::ConfigError,
    server::{StartError, backup::BackupError},
};

/// The exit codes. Codes above 63, except 130, are those of `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The command succeeded, or the server drained after a signal.
    Ok = 0,
    /// The command failed: the service was not ready or refused the call, or a stream cannot be resumed.
    Failure = 1,
    /// The command line is invalid; clap uses the same code.
    Usage = 2,
    /// `parley compat` found calls that Parley does not serve or, with `--fail-on different`, that it serves differently.
    Incompatible = 3,
    /// `EX_DATAERR`: an input file is missing or has no valid content.
    Input = 65,
    /// `EX_UNAVAILABLE`: the database cannot be reached or opened.
    DatabaseUnreachable = 69,
    /// `EX_SOFTWARE`: an internal error.
    Internal = 70,
    /// `EX_OSERR`: the address of a listener cannot be bound.
    Listen = 71,
    /// `EX_CANTCREAT`: another Parley process uses the database.
    DatabaseLocked = 73,
    /// `EX_IOERR`: the disk of the database is full.
    NoSpace = 74,
    /// `EX_TEMPFAIL`: the database is older than this program, which is not permitted to migrate it.
    DatabaseBehind = 75,
    /// `EX_PROTOCOL`: the database is newer than this program.
    DatabaseNewer = 76,
    /// `EX_CONFIG`: a setting is unknown or invalid.
    Config = 78,
    /// A second signal arrived while draining.
    Interrupted = 130,
}

/// Every exit code with its meaning and where to look for the cause. `--help`, the README and the runbooks contain this table; a test
/// compares them.
pub const CODES: [(Exit, &str, &str); 14] = [
    (Exit::Ok, "done, or drained after a signal", "nothing"),
    (
        Exit::Failure,
        "the command failed: rejected, not ready, or a stream that cannot be resumed",
        "the message, which says what to change",
    ),
    (Exit::Usage, "invalid command line", "`parley --help`"),
    (
        Exit::Incompatible,
        "`parley compat` found calls that Parley does not serve, or serves differently with `--fail-on different`",
        "the report, and `docs/switching.md`",
    ),
    (
        Exit::Input,
        "an input file cannot be read or is damaged: the log of `parley compat`, or the archive of `parley restore`",
        "the message, the name of the file, `--format`",
    ),
    (
        Exit::DatabaseUnreachable,
        "the database cannot be reached or opened",
        "the database, `database.url` and its Secret, the NetworkPolicy",
    ),
    (
        Exit::Internal,
        "a bug, or a migration that failed",
        "the last lines of the log; `kubectl logs --previous`",
    ),
    (
        Exit::Listen,
        "the address of a listener cannot be bound",
        "the process that listens there; `grpc.addr`, `http.addr`, `admin.addr`",
    ),
    (
        Exit::DatabaseLocked,
        "another Parley process uses the SQLite file",
        "a process or a pod that is still running",
    ),
    (Exit::NoSpace, "the disk of the database is full", "the volume"),
    (
        Exit::DatabaseBehind,
        "the database is older than this program, which may not migrate it (`database.migrate`)",
        "run `parley migrate`; with `migrations.mode: job`, the log of the Job",
    ),
    (
        Exit::DatabaseNewer,
        "the database is newer than this program supports",
        "a rollback too far back: run a newer version",
    ),
    (
        Exit::Config,
        "a setting is unknown or invalid, or a file that it names cannot be used",
        "the message, which names each setting; values, `extraEnv`, the Secrets",
    ),
    (Exit::Interrupted, "a second signal cut the drain short", "`shutdown.grace_seconds`"),
];

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Returns the table of exit codes as text, for `--help`.
pub fn help() -> String {
    let mut text = String::from("Exit codes:\n");
    for (exit, meaning, _) in CODES {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "  {:>3}  {}", exit as u8, meaning.replace('`', ""));
    }
    text.trim_end().to_owned()
}

/// Returns the table of exit codes as Markdown, for the documentation.
pub fn markdown() -> String {
    let mut text = String::from("| code | meaning | where to look |\n|---|---|---|\n");
    for (exit, meaning, advice) in CODES {
        let _ = writeln!(text, "| {} | {meaning} | {advice} |", exit as u8);
    }
    text
}

/// Returns the exit code and the message for an error that ends the server or an offline command.
pub fn explain(error: &anyhow::Error) -> (Exit, String) {
    if let Some(error) = error.downcast_ref::<ConfigError>() {
        return (Exit::Config, error.to_string());
    }
    if let Some(error) = error.downcast_ref::<StartError>() {
        let exit = match error {
            StartError::Listen { .. } => Exit::Listen,
            StartError::Setting(_) => Exit::Config,
        };
        return (exit, error.to_string());
    }
    if let Some(error) = error.downcast_ref::<BootstrapError>() {
        let exit = match error {
            BootstrapError::TokenFile { .. } => Exit::Config,
            BootstrapError::Write(error) => database_exit(error),
        };
        return (exit, error.to_string());
    }
    if let Some(error) = error.downcast_ref::<Error>() {
        return (database_exit(error), error.to_string());
    }
    if let Some(refused) = error.downcast_ref::<BackupError>() {
        let exit = match refused {
            BackupError::Damaged(_) => Exit::Input,
            _ => Exit::Failure,
        };
        return (exit, refused.to_string());
    }
    let Some(error) = error.downcast_ref::<OpenError>() else {
        return (Exit::Internal, format!("{error:#}"));
    };
    let exit = match error {
        OpenError::Url => Exit::Config,
        OpenError::NoRoom(_) => Exit::NoSpace,
        OpenError::Migration(error) | OpenError::Unreachable(error) if is_out_of_space(error) => Exit::NoSpace,
        OpenError::Refused(_) | OpenError::Unreachable(_) => Exit::DatabaseUnreachable,
        OpenError::Locked(_) => Exit::DatabaseLocked,
        OpenError::Behind(_) => Exit::DatabaseBehind,
        OpenError::Newer(_) => Exit::DatabaseNewer,
        OpenError::Migration(_) => Exit::Internal,
    };
    (exit, error.to_string())
}

fn database_exit(error: &Error) -> Exit {
    match error {
        Error::Invalid(_) => Exit::Usage,
        Error::Unavailable { reason, .. } if *reason == OUT_OF_SPACE => Exit::NoSpace,
        Error::Unavailable { .. } => Exit::DatabaseUnreachable,
        _ => Exit::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documentation_contains_the_exit_code_table() {
        for (page, text) in [
            ("README.md", include_str!("../../README.md")),
            ("docs/runbooks/README.md", include_str!("../../docs/runbooks/README.md")),
        ] {
            assert!(text.contains(markdown().trim_end()), "{page} lacks this table:\n{}", markdown());
        }
    }

    #[test]
    fn help_shows_every_code() {
        for (exit, ..) in CODES {
            assert!(help().contains(&format!("  {:>3}  ", exit as u8)), "{exit:?}");
        }
    }
}
