//! Explains, in one sentence that says what to change, why a database cannot be opened.
//!
//! A connection pool retries until its timeout and then reports only the timeout. Therefore, one connection to PostgreSQL is attempted
//! before the pool is created, to learn the actual cause of a failure.

use std::{io::ErrorKind, path::Path, str::FromStr as _, time::Duration};

use rustix::fs::Access;
use sqlx::{ConnectOptions as _, Connection as _, postgres::PgConnectOptions};

/// Opens and closes one connection to the server of a `postgres:` URL, to check that the server can be reached within `timeout`.
///
/// # Errors
/// Returns a message for the operator if the connection fails.
pub(super) async fn postgres(url: &str, timeout: Duration) -> Result<(), String> {
    let options = PgConnectOptions::from_str(url).map_err(|error| format!("database.url cannot be read: {error}"))?;
    let at = format!("{}:{}", options.get_host(), options.get_port());
    match tokio::time::timeout(timeout, options.connect()).await {
        Ok(Ok(connection)) => connection
            .close()
            .await
            .map_err(|error| format!("the database cannot be reached: {at}: {error}")),
        Ok(Err(error)) => Err(format!("the database cannot be reached: {}", refusal(&at, &error))),
        Err(_) => Err(format!(
            "the database cannot be reached: {at} did not respond within {} seconds (database.connect_timeout_seconds): is a firewall in between?",
            timeout.as_secs()
        )),
    }
}

fn refusal(at: &str, error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => {
            format!("{at}: connection refused: is PostgreSQL running there, and is the port of database.url right?")
        }
        sqlx::Error::Io(error) => format!("{at}: {error}: is the host of database.url right?"),
        sqlx::Error::Tls(error) => format!("{at}: TLS: {error}: sslmode in database.url determines whether TLS is used"),
        sqlx::Error::Database(refused) => {
            let advice = match refused.code().as_deref() {
                Some("28P01" | "28000") => "correct the user or the password in database.url, or pg_hba.conf",
                Some("3D000") => "create it, or correct the name in database.url",
                Some("53300") => "raise max_connections of PostgreSQL, or lower database.max_connections",
                Some("57P03") => "wait until PostgreSQL has started",
                _ => return format!("{at}: {}", refused.message()),
            };
            format!("{at}: {}: {advice}", refused.message())
        }
        other => format!("{at}: {other}"),
    }
}

/// Returns the `mode` parameter of a `sqlite:` URL, or `None` if the URL has none.
fn mode(url: &str) -> Option<&str> {
    let (_, query) = url.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix("mode="))
}

/// Returns whether the URL permits creating a missing SQLite file: it does unless it has a `mode` other than `rwc`.
pub(super) fn creates(url: &str) -> bool {
    mode(url).is_none_or(|mode| mode == "rwc")
}

/// Checks that a SQLite file can be opened for writing or, if it is missing and `creates` is set, that it can be created.
///
/// # Errors
/// Returns a message for the operator if the file can be neither opened nor created.
pub(super) fn sqlite(url: &str, file: &Path, creates: bool) -> Result<(), String> {
    let shown = file.display();
    if mode(url) == Some("ro") {
        return Err("database.url has mode=ro, but Parley must be able to write: remove the mode".to_owned());
    }
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(format!(
            "database.url: the folder {} does not exist: create it, or name another file",
            folder.display()
        ));
    }
    match std::fs::OpenOptions::new().read(true).write(true).open(file) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound && creates => rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| format!("database.url: {shown} cannot be created: {error}: this user must be able to write to the folder")),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(format!(
            "database.url: {shown} does not exist: correct the path, or leave out the mode so that a server creates the file"
        )),
        Err(error) if error.kind() == ErrorKind::IsADirectory => Err(format!("database.url: {shown} is a folder: name a file in it")),
        Err(error) => Err(format!(
            "database.url: {shown} cannot be written: {error}: it must belong to this user"
        )),
    }
}

/// Returns an explanation of why SQLite failed to open the file.
pub(super) fn sqlite_refusal(file: &Path, error: &sea_orm::DbErr) -> String {
    let text = error.to_string();
    let shown = file.display();
    if text.contains("(code: 26)") {
        format!("database.url: {shown} is not a SQLite database: name another file")
    } else {
        format!("the database cannot be opened: {shown}: {text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_file_is_created_unless_the_mode_forbids_it() {
        for (url, expected) in [
            ("sqlite://a.db", true),
            ("sqlite://a.db?mode=rwc", true),
            ("sqlite://a.db?cache=shared&mode=rw", false),
            ("sqlite://a.db?mode=ro", false),
        ] {
            assert_eq!(creates(url), expected, "{url}");
        }
    }

    #[test]
    fn unusable_file_error_explains_the_cause() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let url = format!("sqlite://{}", path.display());
        assert_eq!(sqlite(&url, &path, true), Ok(()));
        for (url, path, creates, expected) in [
            (url.clone(), path.clone(), false, "does not exist"),
            (url.clone(), folder.path().to_owned(), true, "is a folder"),
            (url.clone(), folder.path().join("no/a.db"), true, "create it"),
            (format!("{url}?mode=ro"), path, true, "mode=ro"),
        ] {
            let sentence = sqlite(&url, &path, creates).unwrap_err();
            assert!(sentence.contains(expected), "{sentence}");
        }
    }
}
