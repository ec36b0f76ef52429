//! Trimming at the very edge: so few events of an account are kept that readers who pause for a moment, and a whole replica that stands still,
//! are overtaken by it. Nobody may pass over what is gone without a word, and everybody goes on.

use std::time::{Duration, Instant};

use rand::{Rng as _, rngs::StdRng};

use crate::{
    fault::signal,
    history::History,
    report::say,
    served,
    support::database::Backend,
    traffic::{Load, Traffic},
};

/// Events of an account that are kept: a few seconds' worth. The copy of the log is made in much less.
const KEPT: u64 = 4000;

/// Longer than the database waits for a server that stands still with the account's lock in its hands.
const PATIENCE: Duration = Duration::from_secs(14);

/// Runs traffic while one of two replicas stands still again and again, until all that its readers know is gone.
pub async fn overtaken(choices: &mut StdRng, time: Duration) -> History {
    let app = served(Backend::Postgres, None)
        .env("PARLEY_EVENTS_KEEP_EVENTS", &KEPT.to_string())
        .replicas(1)
        .start()
        .await;
    let other = &app.replicas[0];
    let load = Load {
        callers: 4,
        json: 1,
        quiet: 0,
        visitors: 8,
        ..Load::full()
    };
    let doors = vec![app.server.doors.clone(), other.doors.clone()];
    let traffic = Traffic::start(doors, app.database.url(), load, choices).await;
    let until = Instant::now() + time;
    let mut times = 0;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(choices.random_range(500..2000))).await;
        let (begun, from) = (Instant::now(), traffic.copied());
        signal(other.id(), true);
        while traffic.copied() < from + 2 * KEPT && begun.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Once more for what trims.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        signal(other.id(), false);
        times += usize::from(traffic.copied() >= from + 2 * KEPT);
    }
    let mut history = traffic.finish(true).await;
    // Readers were not given every event, and so not every cursor.
    history.place_whole_logs();
    say(&format!("  a replica was overtaken {times} times"));
    history
}
