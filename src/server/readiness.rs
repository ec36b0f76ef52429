//! Readiness of this replica: whether the database has been answering consistently.

use std::time::Duration;

use parley_storage::Database;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::background_jobs::ticks;
use crate::admin::Readiness;

/// How often readiness is checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Reports whether the database answers, until `stop` is cancelled. A single failure does not count as an outage, nor a single answer as a
/// recovery.
///
/// While the database is unavailable and does not answer on a new connection either, calls are rejected immediately; they are admitted
/// again after the first answer.
pub async fn check(db: Database, ready: watch::Sender<Readiness>, stop: CancellationToken) -> anyhow::Result<()> {
    let (mut ticks, mut debounce) = (ticks(CHECK_INTERVAL), Debounce::default());
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let outcome = match tokio::time::timeout(CHECK_INTERVAL, db.ping()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("cannot be reached".to_owned()),
            Err(_) => Err("does not answer".to_owned()),
        };
        let is_up = outcome.is_ok();
        let change = debounce.observe(outcome);
        let is_away = !is_up && debounce.is_away && !matches!(tokio::time::timeout(CHECK_INTERVAL, db.probe()).await, Ok(Ok(())));
        // Do not reject calls on SQLite: accessing a file fails without a delay, so rejecting calls early gains nothing.
        if db.dialect().is_shared() && db.outage().set(is_away) {
            if is_away {
                tracing::warn!("the database is unavailable; rejecting calls until it responds");
            } else {
                tracing::info!("the database is responding again; accepting calls");
            }
        }
        if let Some(outcome) = change {
            ready.send_if_modified(|ready| ready.set("database", outcome));
        }
    }
    Ok(())
}

/// Number of consecutive failures after which the database is considered unavailable, and of consecutive answers after which it is
/// considered available again.
const FAILURES_UNTIL_AWAY: u32 = 3;

const SUCCESSES_UNTIL_BACK: u32 = 2;

/// Debounces the outcomes of the readiness check: reports a change only if it persists. Initially, the database is assumed to answer.
#[derive(Debug, Default)]
struct Debounce {
    is_away: bool,
    /// Number of consecutive checks whose outcome contradicts the current state.
    contrary: u32,
}

impl Debounce {
    /// Returns the outcome to report after this check, or `None` if there is nothing to report.
    fn observe(&mut self, outcome: Result<(), String>) -> Option<Result<(), String>> {
        if outcome.is_err() == self.is_away {
            self.contrary = 0;
            // Report the failure again, because its reason might have changed.
            return self.is_away.then_some(outcome);
        }
        self.contrary += 1;
        if self.contrary < if self.is_away { SUCCESSES_UNTIL_BACK } else { FAILURES_UNTIL_AWAY } {
            return None;
        }
        *self = Self {
            is_away: outcome.is_err(),
            contrary: 0,
        };
        Some(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what is reported after a series of checks, `+` for an answer and `-` for a failure: `+` available, `-` away, `.` nothing.
    fn change(samples: &str) -> String {
        let mut debounce = Debounce::default();
        let observe = |sample| match debounce.observe(if sample == '+' { Ok(()) } else { Err("away".to_owned()) }) {
            None => '.',
            Some(Ok(())) => '+',
            Some(Err(_)) => '-',
        };
        samples.chars().map(observe).collect()
    }

    #[test]
    fn state_changes_only_after_consecutive_results() {
        assert_eq!(change("++"), "..");
        assert_eq!(change("--+--+"), "......");
        assert_eq!(change("---"), "..-");
        assert_eq!(change("---+-++"), "..-.-.+");
    }
}
