//! Classifies database errors by whether the caller can do something about them.

use std::{sync::Arc, time::Duration};

use sea_orm::{DbErr, RuntimeErr, SqlErr};

use super::{Error, Rule};

/// SQLSTATE codes after which the caller may retry: the server is shutting down or starting (57P01, 57P02, 57P03), a transaction was idle
/// for too long (25P03), a transaction failed because of a conflict or a deadlock (40001, 40P01), there are too many connections (53300),
/// or the server is read-only (25006).
const RETRYABLE: [&str; 8] = ["57P01", "57P02", "57P03", "25P03", "40001", "40P01", "53300", "25006"];

/// SQLSTATE code for text with U+0000, the one character that PostgreSQL cannot store. SQLite accepts it.
const INVALID_CHARACTER: &str = "22021";

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(std::borrow::Cow::into_owned)
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        let source = match &error {
            DbErr::Exec(RuntimeErr::SqlxError(source)) | DbErr::Query(RuntimeErr::SqlxError(source)) => Some(source),
            _ => None,
        };
        if source.is_some_and(|source| code(source).as_deref() == Some(INVALID_CHARACTER)) {
            return Self::invalid("", Rule::Invalid, "text must not contain the character U+0000");
        }
        if source.is_some_and(|source| is_disk_full(source)) {
            tracing::error!(%error, "the database is out of disk space");
            return Self::Unavailable {
                reason: OUT_OF_SPACE,
                retry_after: Duration::from_secs(5),
            };
        }
        let away = matches!(error, DbErr::ConnectionAcquire(_) | DbErr::Conn(_)) || source.is_some_and(|source| is_unavailable(source));
        if away {
            tracing::warn!(%error, "the database is unavailable; the caller may retry");
            return Self::Unavailable {
                reason: "the database cannot be reached",
                retry_after: Duration::from_secs(1),
            };
        }
        Self::Database(Arc::new(error))
    }
}

/// The reason in [`Error::Unavailable`] while the database's disk is full.
pub const OUT_OF_SPACE: &str = "the database is out of disk space";

/// Whether the source of [`Error::Database`] is a violation of a unique index.
pub fn is_unique_violation(source: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let error = source.downcast_ref::<DbErr>().and_then(DbErr::sql_err);
    matches!(error, Some(SqlErr::UniqueConstraintViolation(_)))
}

pub fn is_out_of_space(error: &DbErr) -> bool {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(source))
        | DbErr::Exec(RuntimeErr::SqlxError(source))
        | DbErr::Query(RuntimeErr::SqlxError(source)) => is_disk_full(source),
        _ => false,
    }
}

/// Whether the disk is full: PostgreSQL reports `disk_full`; SQLite reports `SQLITE_FULL`, or `SQLITE_IOERR_WRITE` or
/// `SQLITE_IOERR_SHMSIZE` if the operating system does not allow a file to grow.
fn is_disk_full(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| matches!(code.as_str(), "53100" | "13" | "778" | "4874"))
}

fn is_unavailable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // SQLSTATE class 08 contains the connection exceptions.
        sqlx::Error::Database(database) => database
            .code()
            .is_some_and(|code| code.starts_with("08") || RETRYABLE.contains(&code.as_ref())),
        _ => false,
    }
}
