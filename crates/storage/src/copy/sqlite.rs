//! Copies of a `SQLite` file.

use std::{path::Path, str::FromStr as _, time::Duration};

use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{MIGRATIONS, OBJECTS, Object, ObjectRow, ROWS, Source, object};

/// Writes a copy of the database to a file that does not exist yet. A server may write meanwhile: the copy holds what was committed before it
/// began, and holds no lock that a writer waits for.
///
/// # Errors
/// When there is no such database, or no room for its copy.
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

/// Opens a copy, to read it.
///
/// # Errors
/// When it is no database.
pub async fn open(copy: &Path) -> Result<SqliteConnection, sqlx::Error> {
    SqliteConnectOptions::new()
        .filename(copy)
        .create_if_missing(false)
        .read_only(true)
        .connect()
        .await
}

/// What a copy is of.
///
/// # Errors
/// When it cannot be read.
pub async fn source(copy: &mut SqliteConnection) -> Result<Source, sqlx::Error> {
    Ok(Source {
        backend: "sqlite".to_owned(),
        migrations: sqlx::query_scalar(MIGRATIONS).fetch_all(copy).await?,
        tables: Vec::new(),
    })
}

/// The files after the one with this id.
///
/// # Errors
/// When the copy cannot be read.
pub async fn objects(copy: &mut SqliteConnection, after: i64) -> Result<Vec<Object>, sqlx::Error> {
    let rows: Vec<ObjectRow> = sqlx::query_as(OBJECTS).bind(after).bind(ROWS).fetch_all(copy).await?;
    Ok(rows.into_iter().map(object).collect())
}

/// Brings what the journal of a database holds into its file, so that the file is whole without it. Call it where nobody else has the database.
///
/// # Errors
/// When it is no database, or cannot be written.
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

/// Whether a file is a database that holds an account, or one that cannot be read.
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
