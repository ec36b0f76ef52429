//! How the program ends: one table of exit codes, and which error gets which.

use std::{fmt::Write as _, process::ExitCode};

use parley_domain::auth::bootstrap::BootstrapError;
use parley_storage::OpenError;
use parley_types::error::{Error, NO_ROOM, is_out_of_space};

use crate::{
    config::ConfigError,
    server::{StartError, backup::Refused},
};

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
    /// `parley compat` found calls that are not served (or not as before, by `--fail-on`).
    Incompatible = 3,
    /// `EX_DATAERR`: a file to read is not there, or nothing in it is as it should be.
    Input = 65,
    /// `EX_UNAVAILABLE`: the database cannot be reached or opened.
    DatabaseUnreachable = 69,
    /// `EX_SOFTWARE`: a fault inside.
    Internal = 70,
    /// `EX_OSERR`: a listener's address cannot be bound.
    Listen = 71,
    /// `EX_CANTCREAT`: another parley has the database.
    DatabaseLocked = 73,
    /// `EX_IOERR`: the disk has no room for the database.
    NoSpace = 74,
    /// `EX_TEMPFAIL`: the database is older than this program, which is not to change it.
    DatabaseBehind = 75,
    /// `EX_PROTOCOL`: the database is newer than this program.
    DatabaseNewer = 76,
    /// `EX_CONFIG`: a setting is unknown or bad.
    Config = 78,
    /// A second signal came while draining.
    Interrupted = 130,
}

/// Every code with its meaning and what to look at. `--help`, the README and the runbooks show this table; a test compares them.
pub const CODES: [(Exit, &str, &str); 14] = [
    (Exit::Ok, "success, or drained after a signal", "nothing"),
    (
        Exit::Failure,
        "the command failed: refused, not ready, or a stream that cannot be resumed",
        "the message, which says what to change",
    ),
    (Exit::Usage, "invalid command line", "`parley --help`"),
    (
        Exit::Incompatible,
        "`parley compat` found calls that Parley does not serve, or the calls that `--fail-on` selects",
        "the report, and `docs/switching.md`",
    ),
    (
        Exit::Input,
        "an input file cannot be read or is damaged: the log for `parley compat` or the archive for `parley restore`",
        "the message, which names the file; `--format`",
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
        "which process already listens there; `grpc.addr`, `http.addr`, `admin.addr`",
    ),
    (
        Exit::DatabaseLocked,
        "another `parley` process has the SQLite file open",
        "a process or a pod that has not terminated yet",
    ),
    (Exit::NoSpace, "the disk that holds the database is full", "the volume"),
    (
        Exit::DatabaseBehind,
        "the database schema is behind this version, and `database.migrate` is false",
        "run `parley migrate`; with `migrations.mode: job`, the log of the Job",
    ),
    (
        Exit::DatabaseNewer,
        "the database schema is too new for this version",
        "a rollback that went too far back: run a newer version",
    ),
    (
        Exit::Config,
        "a setting is unknown or invalid, or a file that it names cannot be used",
        "the message, which names each setting; the chart's values, `extraEnv`, the Secrets",
    ),
    (Exit::Interrupted, "a second signal cut the drain short", "`shutdown.grace_seconds`"),
];

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The table for `--help`.
pub fn help() -> String {
    let mut text = String::from("Exit codes:\n");
    for (exit, meaning, _) in CODES {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {:>3}  {}", exit as u8, meaning.replace('`', ""));
    }
    text.trim_end().to_owned()
}

/// The table for pages.
pub fn markdown() -> String {
    let mut text = String::from("| code | what it means | where to look |\n|---|---|---|\n");
    for (exit, meaning, advice) in CODES {
        let _ = writeln!(text, "| {} | {meaning} | {advice} |", exit as u8);
    }
    text
}

/// The code and the sentence for an error that ends the server or a command that works on the database.
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
            BootstrapError::Write(error) => of_database(error),
        };
        return (exit, error.to_string());
    }
    if let Some(error) = error.downcast_ref::<Error>() {
        return (of_database(error), error.to_string());
    }
    if let Some(refused) = error.downcast_ref::<Refused>() {
        let exit = match refused {
            Refused::Damaged(_) => Exit::Input,
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

fn of_database(error: &Error) -> Exit {
    match error {
        Error::Invalid(_) => Exit::Usage,
        Error::Unavailable { reason, .. } if *reason == NO_ROOM => Exit::NoSpace,
        Error::Unavailable { .. } => Exit::DatabaseUnreachable,
        _ => Exit::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_show_the_table_of_the_program() {
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
