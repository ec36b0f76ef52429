//! Whether this replica is ready: the database answers, and has done so for a moment.

use std::time::Duration;

use parley_storage::Database;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::upkeep::ticks;
use crate::admin::Readiness;

/// How often readiness is looked at.
const CHECK: Duration = Duration::from_secs(2);

/// Tells whether the database answers, until `stop`: a single miss is no outage, and a single answer no recovery.
///
/// Calls are refused at once while the database does not answer a connection of its own either, and let in again with the first answer.
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
        // Only a server can be away without an answer: a call that reads a file fails at once.
        if db.dialect().is_shared() && db.outage().set(is_away) {
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

/// Misses in a row after which the database counts as away, and answers in a row after which it counts as back.
const MISSES: u32 = 3;

const ANSWERS: u32 = 2;

/// Believes a change only when it stays. It begins with a database that was just there.
#[derive(Debug, Default)]
struct Steady {
    is_away: bool,
    /// Looks in a row that said otherwise.
    otherwise: u32,
}

impl Steady {
    /// What to tell after this look, if anything is to be told.
    fn look(&mut self, outcome: Result<(), String>) -> Option<Result<(), String>> {
        if outcome.is_err() == self.is_away {
            self.otherwise = 0;
            // What is wrong may have changed.
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

    /// What is told after looks, `+` an answer and `-` a miss: `+` there, `-` away, `.` nothing.
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
