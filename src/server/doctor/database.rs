//! Checks whether the database can be used, and for stored data that exceeds limits.

use std::{path::Path, time::Duration};

use parley_eventlog::replicas;
use parley_storage::{Database, OpenError, Oversized, Standing};

use super::{Finding, PATIENCE, bad, doubtful, good};
use crate::{config::Config, server::rooms};

/// Time limit of the search for rows that exceed their limits.
const SCAN: Duration = Duration::from_mins(1);

/// The oldest supported PostgreSQL. Tests run on 15 and newer; 13 and 14 are not known to lack anything that is needed.
const OLDEST_POSTGRES: i64 = 13;

/// Clock difference in microseconds beyond which times look wrong to users.
const CLOCKS: i64 = 1_000_000;

/// Checks the database without creating one.
pub(super) async fn database(config: &Config, found: &mut Vec<Finding>) {
    const ABOUT: &str = "database";
    let settings = rooms::database(config);
    match Database::would_create(&settings) {
        Ok(true) => found.push(good(ABOUT, "there is none yet: the first start creates the file")),
        Ok(false) => existing_database(config, found).await,
        Err(error) => found.push(bad(ABOUT, error.to_string())),
    }
    if let Some(folder) = parley_storage::sqlite_file(&settings.url).as_deref().map(folder_of)
        && folder.is_dir()
    {
        found.push(disk(folder));
    }
}

async fn existing_database(config: &Config, found: &mut Vec<Finding>) {
    const ABOUT: &str = "database";
    let db = match Database::open(&rooms::existing_database(config)).await {
        Ok(db) => db,
        Err(error @ OpenError::Locked(_)) => return found.push(doubtful(ABOUT, error.to_string())),
        Err(error) => return found.push(bad(ABOUT, error.to_string())),
    };
    match db.examine().await {
        Err(error) => found.push(bad(ABOUT, format!("it does not answer: {error}"))),
        Ok(seen) => {
            found.push(good(ABOUT, format!("{} answers", seen.version)));
            if seen.postgres_major.is_some_and(|major| major < OLDEST_POSTGRES) {
                found.push(bad(ABOUT, format!("it is older than PostgreSQL {OLDEST_POSTGRES}")));
            }
            if seen.read_only {
                found.push(bad(ABOUT, "it is read only: is database.url the primary's, and not a standby's?"));
            }
            match &seen.standing {
                Standing::Same => found.push(good(ABOUT, "its tables are those of this version")),
                Standing::Newer(name) => found.push(doubtful(
                    ABOUT,
                    format!("it is newer than this program (it has seen the migration {name}), which works on it, as during an upgrade"),
                )),
                Standing::TooNew(name) => found.push(bad(ABOUT, format!("it is newer than this program (it has seen the migration {name}): run the newer version"))),
                Standing::Behind(count) if !seen.may_create => found.push(bad(
                    ABOUT,
                    format!("it is {count} migrations behind, and its user may not make tables: grant CREATE, or run `parley migrate` as its owner"),
                )),
                Standing::Behind(count) => found.push(good(ABOUT, format!("it is {count} migrations behind, which the next start runs"))),
            }
            if let Some(most) = seen.max_connections
                && i64::from(config.database.max_connections) * 2 > most
            {
                let says = format!(
                    "it takes {most} connections, and each replica may hold {} (database.max_connections): two replicas do not fit",
                    config.database.max_connections
                );
                found.push(doubtful(ABOUT, says));
            }
            if seen.clock_ahead.abs() > CLOCKS {
                let says = format!(
                    "its clock is {} ms ahead of this machine's: correct one of them",
                    seen.clock_ahead / 1000
                );
                found.push(doubtful("clock", says));
            }
            if matches!(seen.standing, Standing::Same | Standing::Newer(_)) {
                found.extend(oversized(&db).await);
                found.extend(times(&db).await);
            }
            if seen.postgres_major.is_some() {
                found.push(match tokio::time::timeout(PATIENCE, replicas::hears(&db)).await {
                    Ok(Ok(())) => good("signals", "what one connection says another one hears"),
                    Ok(Err(error)) => bad("signals", format!("LISTEN and NOTIFY do not work: {error}")),
                    Err(_) => doubtful(
                        "signals",
                        "nothing was heard of what was said: a pooler between Parley and PostgreSQL that shares connections does not pass signals on. \
                         Replicas would look every events.poll_interval_milliseconds instead",
                    ),
                });
            }
        }
    }
    // Ignore errors: the process does not use the connections any more.
    let _ = db.close().await;
}

/// Finds rows that were stored before the limits of their fields existed.
async fn oversized(db: &Database) -> Vec<Finding> {
    const ABOUT: &str = "sizes";
    match tokio::time::timeout(SCAN, db.oversized()).await {
        Err(_) => vec![doubtful(
            ABOUT,
            "not all rows were looked at within 60 seconds, so some may be beyond the limits of their fields",
        )],
        Ok(Err(error)) => vec![doubtful(
            ABOUT,
            format!("rows beyond the limits of their fields could not be looked for: {error}"),
        )],
        Ok(Ok(found)) if found.is_empty() => vec![good(ABOUT, "no row is beyond the limits of its fields")],
        Ok(Ok(found)) => found
            .iter()
            .map(|rows| {
                let more = if rows.more { ", and maybe more" } else { "" };
                let says = format!(
                    "{}.{} is beyond its limits in {}{more}: it is sent without that field (truncated_fields) until it is made smaller",
                    rows.table,
                    rows.column,
                    rows.rows.join(", ")
                );
                doubtful(ABOUT, says)
            })
            .collect(),
    }
}

/// Finds times that were stored before their range was limited.
async fn times(db: &Database) -> Vec<Finding> {
    const ABOUT: &str = "times";
    let found = match tokio::time::timeout(SCAN, db.times_out_of_range()).await {
        Err(_) => return vec![doubtful(ABOUT, "not all times were looked at within 60 seconds")],
        Ok(Err(error)) => return vec![doubtful(ABOUT, format!("times could not be looked at: {error}"))],
        Ok(Ok(found)) => found,
    };
    if found.is_empty() {
        return vec![good(ABOUT, "every stored time lies within the years 1 to 9999")];
    }
    let says = |rows: &Oversized| {
        let more = if rows.more { ", and maybe more" } else { "" };
        let (column, named) = (format!("{}.{}", rows.table, rows.column), rows.rows.join(", "));
        doubtful(
            ABOUT,
            format!(
                "{column} lies outside of the years 1 to 9999 in {named}{more}: it is sent as the nearest time within them until it is set again"
            ),
        )
    };
    found.iter().map(says).collect()
}

/// Returns the directory of a file.
fn folder_of(file: &Path) -> &Path {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or_else(|| Path::new("."))
}

/// Checks the free space of a directory.
fn disk(folder: &Path) -> Finding {
    const LEAST: u64 = 1 << 30;
    match rustix::fs::statvfs(folder) {
        Err(error) => bad("disk", format!("{}: {error}", folder.display())),
        Ok(disk) => {
            let free = disk.f_bavail * disk.f_frsize;
            let says = format!("{} MiB are free in {}", free >> 20, folder.display());
            if free < LEAST { doubtful("disk", says) } else { good("disk", says) }
        }
    }
}
