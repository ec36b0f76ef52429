//! Determines when cursors start to carry marks: random bits stored with each event, which tell apart events with the same seq in diverged
//! copies of a log. Replicas of the last release without marks reject cursors with marks, so no such cursor is issued while those replicas
//! might still be running.

use std::time::Duration;

use parley_eventlog::{cursor::set_marks_issued, history::unmarked_cursor_period};
use parley_storage::Database;
use parley_types::error::Result;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How long to wait before retrying if the database does not answer.
const RETRY: Duration = Duration::from_secs(10);

/// Decides whether cursors are now issued with event marks. Returns how much longer they are issued without marks, or zero if marks are
/// enabled.
///
/// # Errors
/// Returns an error if the database does not answer, in which case the decision is unchanged.
pub async fn decide(db: &Database, after: Duration) -> Result<Duration> {
    let remaining = unmarked_cursor_period(db, after).await?;
    set_marks_issued(remaining.is_zero());
    if !remaining.is_zero() {
        let hours = remaining.as_secs().div_ceil(3600);
        tracing::info!(
            hours,
            "issuing cursors without event marks, because replicas of the previous release reject them; to enable marks sooner, lower events.cursor_marks_after_hours"
        );
    }
    Ok(remaining)
}

/// Enables event marks in cursors after the period during which replicas that reject them might still be running. Ends when `stop` is
/// cancelled.
pub async fn follow(db: Database, after: Duration, mut remaining: Duration, stop: CancellationToken) -> anyhow::Result<()> {
    while !remaining.is_zero() {
        if stop.run_until_cancelled(sleep(remaining)).await.is_none() {
            return Ok(());
        }
        remaining = db.in_time(decide(&db, after)).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "failed to read the time at which cursor marks were introduced; retrying");
            RETRY
        });
    }
    stop.cancelled().await;
    Ok(())
}
