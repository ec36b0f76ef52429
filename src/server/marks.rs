//! From when on cursors are given out with the marks of their events: replicas of the release before marks refuse such cursors, so none is
//! given out while those may still run.

use std::time::Duration;

use parley_eventlog::{cursor::issue_marks, history::unmarked_for};
use parley_storage::Database;
use parley_types::error::Result;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How long to wait when the database does not say.
const RETRY: Duration = Duration::from_secs(10);

/// Decides whether cursors are given out with marks now, and returns how long they are not.
///
/// # Errors
/// When the database does not answer; then nothing changes.
pub async fn decide(db: &Database, after: Duration) -> Result<Duration> {
    let left = unmarked_for(db, after).await?;
    issue_marks(left.is_zero());
    if !left.is_zero() {
        let hours = left.as_secs().div_ceil(3600);
        tracing::info!(
            hours,
            "cursors are given out without marks, which replicas of the last release refuse; events.cursor_marks_after_hours ends that sooner"
        );
    }
    Ok(left)
}

/// Waits until marks may be given out, then gives them out, until `stop`.
pub async fn follow(db: Database, after: Duration, mut left: Duration, stop: CancellationToken) -> anyhow::Result<()> {
    while !left.is_zero() {
        if stop.run_until_cancelled(sleep(left)).await.is_none() {
            return Ok(());
        }
        left = db.in_time(decide(&db, after)).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "failed to read since when marks are known; retrying");
            RETRY
        });
    }
    stop.cancelled().await;
    Ok(())
}
