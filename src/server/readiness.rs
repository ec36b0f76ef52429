//! Readiness of this replica: whether the database has been answering consistently.

use std::time::Duration;

use parley_storage::Database;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::upkeep::ticks;
use crate::admin::Readiness;

/// How often readiness is checked.
const CHECK: Duration = Duration::from_secs(2);

/// Reports whether the database answers, until `stop` is cancelled. A single failure is not an outage, and a single answer is not a
/// recovery.
///
/// While the database is away and does not answer on a new connection either, calls are rejected immediately; they are admitted again with
/// the first answer.
pub async fn check(db: Database, ready: watch::Sender<Readiness>, stop: CancellationToken) -> anyhow::Result<()> {
    let (mut ticks, mut steady) = (ticks(CHECK), Steady::default());
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let outcome = match tokio::time::timeout(CHECK, db.ping()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("cannot be reached".to_owned()),
            Err(_) => Err("does not answer".to_owned()),
        };
        let answers = outcome.is_ok();
        let told = steady.look(outcome);
        let is_away = !answers && steady.is_away && !matches!(tokio::time::timeout(CHECK, db.probe()).await, Ok(Ok(())));
        // Not for SQLite: accessing a file fails without a delay, so rejecting calls early gains nothing.
        if db.backend() == sea_orm::DbBackend::Postgres && db.outage().set(is_away) {
            if is_away {
                tracing::warn!("the database is away; calls are refused until it answers");
            } else {
                tracing::info!("the database answers; calls are let in again");
            }
        }
        if let Some(outcome) = told {
            ready.send_if_modified(|ready| ready.set("database", outcome));
        }
    }
    Ok(())
}

/// Consecutive failures after which the database is considered away, and consecutive answers after which it is considered back.
const MISSES: u32 = 3;

const ANSWERS: u32 = 2;

/// Debounces the outcome: reports a change only if it persists. The initial state is that the database answers.
#[derive(Debug, Default)]
struct Steady {
    is_away: bool,
    /// Number of consecutive checks with the opposite outcome.
    otherwise: u32,
}

impl Steady {
    /// Returns what to report after this check, if anything.
    fn look(&mut self, outcome: Result<(), String>) -> Option<Result<(), String>> {
        if outcome.is_err() == self.is_away {
            self.otherwise = 0;
            // Report again: the reason for the failure might have changed.
            return self.is_away.then_some(outcome);
        }
        self.otherwise += 1;
        if self.otherwise < if self.is_away { ANSWERS } else { MISSES } {
            return None;
        }
        *self = Self {
            is_away: outcome.is_err(),
            otherwise: 0,
        };
        Some(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what is reported after a series of checks, `+` for an answer and `-` for a failure: `+` available, `-` away, `.` nothing.
    fn told(looks: &str) -> String {
        let mut steady = Steady::default();
        let look = |look| match steady.look(if look == '+' { Ok(()) } else { Err("away".to_owned()) }) {
            None => '.',
            Some(Ok(())) => '+',
            Some(Err(_)) => '-',
        };
        looks.chars().map(look).collect()
    }

    #[test]
    fn a_change_is_believed_when_it_stays() {
        assert_eq!(told("++"), "..");
        assert_eq!(told("--+--+"), "......");
        assert_eq!(told("---"), "..-");
        assert_eq!(told("---+-++"), "..-.-.+");
    }
}
