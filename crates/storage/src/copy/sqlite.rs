//! Copies of a `SQLite` database, which is a single file.

use std::{path::Path, str::FromStr as _, time::Duration};

use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{MIGRATIONS, OBJECTS, Object, ObjectRow, ROWS, Source, object};

/// Copies the database to a file that does not exist yet. A server can write concurrently: the copy contains everything that was committed
/// before copying began, and copying takes no lock that blocks a writer.
///
/// # Errors
/// Returns a [`sqlx::Error`] if the database does not exist or the disk has no space for the copy.
pub async fn copy_to(url: &str, target: &Path) -> Result<(), sqlx::Error> {
    let options = SqliteConnectOptions::from_str(url)?
        .create_if_missing(false)
        .busy_timeout(Duration::from_secs(30));
    let mut connection = options.connect().await?;
    let copied = sqlx::query("VACUUM INTO $1")
        .bind(target.to_string_lossy().into_owned())
        .execute(&mut connection)
        .await;
    connection.close().await?;
    copied.map(drop)
}

/// Opens a copy for reading.
///
/// # Errors
/// Returns a [`sqlx::Error`] if the file cannot be opened as a database.
pub async fn open(copy: &Path) -> Result<SqliteConnection, sqlx::Error> {
    SqliteConnectOptions::new()
        .filename(copy)
        .create_if_missing(false)
        .read_only(true)
        .connect()
        .await
}

/// Returns a description of the schema in a copy.
///
/// # Errors
/// Returns a [`sqlx::Error`] if the query fails.
pub async fn source(copy: &mut SqliteConnection) -> Result<Source, sqlx::Error> {
    Ok(Source {
        backend: "sqlite".to_owned(),
        migrations: sqlx::query_scalar(MIGRATIONS).fetch_all(copy).await?,
        tables: Vec::new(),
    })
}

/// Returns one page of objects whose attachment ids are greater than `after`.
///
/// # Errors
/// Returns a [`sqlx::Error`] if the query fails.
pub async fn objects(copy: &mut SqliteConnection, after: i64) -> Result<Vec<Object>, sqlx::Error> {
    let rows: Vec<ObjectRow> = sqlx::query_as(OBJECTS).bind(after).bind(ROWS).fetch_all(copy).await?;
    Ok(rows.into_iter().map(object).collect())
}

/// Moves the contents of the write-ahead log into the database file, so that the database file is complete without the log. No other
/// process may have the database open.
///
/// # Errors
/// Returns a [`sqlx::Error`] if the file is not a database or cannot be written.
pub async fn absorb_journal(file: &Path) -> Result<(), sqlx::Error> {
    if std::fs::metadata(file).map_or(true, |file| file.len() == 0) {
        return Ok(());
    }
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(false);
    let mut connection = options.connect().await?;
    let absorbed = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await;
    connection.close().await?;
    absorbed.map(drop)
}

/// Returns whether a file contains an account. A file that cannot be read as a database counts as containing one.
pub async fn holds_data(file: &Path) -> bool {
    if std::fs::metadata(file).map_or(true, |file| file.len() == 0) {
        return false;
    }
    let accounts: Result<bool, sqlx::Error> = async {
        let mut connection = open(file).await?;
        let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_master WHERE name = 'accounts'")
            .fetch_one(&mut connection)
            .await?;
        if tables == 0 {
            return Ok(false);
        }
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM accounts)")
            .fetch_one(&mut connection)
            .await
    }
    .await;
    accounts.unwrap_or(true)
}
