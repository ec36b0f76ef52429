//! Checks whether the database can be used, and whether stored data exceeds limits.

use std::{path::Path, time::Duration};

use parley_eventlog::replicas;
use parley_storage::{Database, OpenError, Oversized, SchemaStatus};

use super::{Finding, TIMEOUT, failed, passed, warning};
use crate::{config::Config, server::config_mapping};

/// Time limit for finding rows that exceed their limits.
const SCAN_TIMEOUT: Duration = Duration::from_mins(1);

/// The oldest supported major version of PostgreSQL. Tests run on 15 and newer; 13 and 14 are not known to lack anything that Parley needs.
const MIN_POSTGRES_VERSION: i64 = 13;

/// Clock difference in microseconds beyond which times look wrong to users.
const MAX_CLOCK_DIFFERENCE: i64 = 1_000_000;

/// Checks the configured database, but does not create one.
pub(super) async fn database(config: &Config, found: &mut Vec<Finding>) {
    const SUBJECT: &str = "database";
    let settings = config_mapping::database(config);
    match Database::would_create(&settings) {
        Ok(true) => found.push(passed(SUBJECT, "it does not exist yet: the first start creates the file")),
        Ok(false) => existing_database(config, found).await,
        Err(error) => found.push(failed(SUBJECT, error.to_string())),
    }
    if let Some(folder) = parley_storage::sqlite_file(&settings.url).as_deref().map(folder_of)
        && folder.is_dir()
    {
        found.push(disk(folder));
    }
}

async fn existing_database(config: &Config, found: &mut Vec<Finding>) {
    const SUBJECT: &str = "database";
    let db = match Database::open(&config_mapping::existing_database(config)).await {
        Ok(db) => db,
        Err(error @ OpenError::Locked(_)) => return found.push(warning(SUBJECT, error.to_string())),
        Err(error) => return found.push(failed(SUBJECT, error.to_string())),
    };
    match db.examine().await {
        Err(error) => found.push(failed(SUBJECT, format!("it does not respond: {error}"))),
        Ok(seen) => {
            found.push(passed(SUBJECT, format!("{} responds", seen.version)));
            if seen.postgres_major.is_some_and(|major| major < MIN_POSTGRES_VERSION) {
                found.push(failed(SUBJECT, format!("it is older than PostgreSQL {MIN_POSTGRES_VERSION}")));
            }
            if seen.read_only {
                found.push(failed(
                    SUBJECT,
                    "it is read-only: check that database.url is that of the primary, not of a standby",
                ));
            }
            match &seen.schema_status {
                SchemaStatus::Same => found.push(passed(SUBJECT, "its schema is that of this version")),
                SchemaStatus::Newer(name) => found.push(warning(
                    SUBJECT,
                    format!("it is newer than this program (it has the migration {name}), but compatible with it, as during an upgrade"),
                )),
                SchemaStatus::TooNew(name) => found.push(failed(SUBJECT, format!("it is newer than this program (it has the migration {name}): run the newer version"))),
                SchemaStatus::Behind(count) if !seen.may_create => found.push(failed(
                    SUBJECT,
                    format!("it is {count} migrations behind, and its user may not create tables: grant CREATE, or run `parley migrate` as its owner"),
                )),
                SchemaStatus::Behind(count) => found.push(passed(SUBJECT, format!("it is {count} migrations behind, which the next start runs"))),
            }
            if let Some(limit) = seen.max_connections
                && i64::from(config.database.max_connections) * 2 > limit
            {
                let message = format!(
                    "it accepts {limit} connections, and each replica can open {} (database.max_connections): two replicas do not fit",
                    config.database.max_connections
                );
                found.push(warning(SUBJECT, message));
            }
            if seen.clock_ahead.abs() > MAX_CLOCK_DIFFERENCE {
                let message = format!(
                    "its clock is {} ms ahead of this machine's: correct one of them",
                    seen.clock_ahead / 1000
                );
                found.push(warning("clock", message));
            }
            if matches!(seen.schema_status, SchemaStatus::Same | SchemaStatus::Newer(_)) {
                found.extend(oversized(&db).await);
                found.extend(times(&db).await);
            }
            if seen.postgres_major.is_some() {
                found.push(match tokio::time::timeout(TIMEOUT, replicas::check_notifications(&db)).await {
                    Ok(Ok(())) => passed("signals", "a notification sent by one connection is received by another"),
                    Ok(Err(error)) => failed("signals", format!("LISTEN and NOTIFY do not work: {error}")),
                    Err(_) => warning(
                        "signals",
                        "no notification was received: a pooler between Parley and PostgreSQL that shares connections does not forward notifications. \
                         Replicas poll every events.poll_interval_milliseconds instead",
                    ),
                });
            }
        }
    }
    // Ignore errors: the process does not use the connections any more.
    let _ = db.close().await;
}

/// Finds rows with values that exceed their limits because they were stored before the limits were introduced.
async fn oversized(db: &Database) -> Vec<Finding> {
    const SUBJECT: &str = "sizes";
    match tokio::time::timeout(SCAN_TIMEOUT, db.oversized()).await {
        Err(_) => vec![warning(
            SUBJECT,
            "not all rows could be checked within 60 seconds, so some might exceed the limits of their fields",
        )],
        Ok(Err(error)) => vec![warning(
            SUBJECT,
            format!("failed to check for rows that exceed the limits of their fields: {error}"),
        )],
        Ok(Ok(found)) if found.is_empty() => vec![passed(SUBJECT, "no row exceeds the limits of its fields")],
        Ok(Ok(found)) => found
            .iter()
            .map(|rows| {
                let more = if rows.more { ", and possibly more" } else { "" };
                let message = format!(
                    "{}.{} exceeds its limits in {}{more}: it is sent without that field (truncated_fields) until the value is made smaller",
                    rows.table,
                    rows.column,
                    rows.rows.join(", ")
                );
                warning(SUBJECT, message)
            })
            .collect(),
    }
}

/// Finds times that were stored before their range was limited.
async fn times(db: &Database) -> Vec<Finding> {
    const SUBJECT: &str = "times";
    let found = match tokio::time::timeout(SCAN_TIMEOUT, db.times_out_of_range()).await {
        Err(_) => return vec![warning(SUBJECT, "not all times could be checked within 60 seconds")],
        Ok(Err(error)) => return vec![warning(SUBJECT, format!("failed to check times: {error}"))],
        Ok(Ok(found)) => found,
    };
    if found.is_empty() {
        return vec![passed(SUBJECT, "every stored time is within the years 1 to 9999")];
    }
    let message = |rows: &Oversized| {
        let more = if rows.more { ", and possibly more" } else { "" };
        let (column, named) = (format!("{}.{}", rows.table, rows.column), rows.rows.join(", "));
        warning(
            SUBJECT,
            format!(
                "{column} is outside the years 1 to 9999 in {named}{more}: it is sent as the nearest time within them until it is set again"
            ),
        )
    };
    found.iter().map(message).collect()
}

/// Returns the directory of a file.
fn folder_of(file: &Path) -> &Path {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or_else(|| Path::new("."))
}

/// Checks the free space of a directory.
fn disk(folder: &Path) -> Finding {
    const MIN_FREE_BYTES: u64 = 1 << 30;
    match rustix::fs::statvfs(folder) {
        Err(error) => failed("disk", format!("{}: {error}", folder.display())),
        Ok(disk) => {
            let free = disk.f_bavail * disk.f_frsize;
            let message = format!("{} MiB are free in {}", free >> 20, folder.display());
            if free < MIN_FREE_BYTES {
                warning("disk", message)
            } else {
                passed("disk", message)
            }
        }
    }
}
