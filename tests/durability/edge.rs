//! Trimming close to the head: the server keeps so few events of an account that trimming overtakes readers that pause briefly, and a whole
//! replica that is suspended. No reader may skip a trimmed event silently, and all readers must continue.

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

/// The number of events kept per account, a few seconds' worth. The archivist copies them in much less time.
const KEPT: u64 = 4000;

/// Longer than the database waits for a suspended server that holds the lock of the account.
const PATIENCE: Duration = Duration::from_secs(14);

/// Runs traffic while one of two replicas is suspended repeatedly, each time until all events that its readers know are trimmed.
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
    let listeners = vec![app.server.listeners.clone(), other.listeners.clone()];
    let traffic = Traffic::start(listeners, app.database.url(), load, choices).await;
    let until = Instant::now() + time;
    let mut times = 0;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(choices.random_range(500..2000))).await;
        let (begun, from) = (Instant::now(), traffic.copied());
        signal(other.id(), true);
        while traffic.copied() < from + 2 * KEPT && begun.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // One more run of the trimming job, whose interval is one second.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        signal(other.id(), false);
        times += usize::from(traffic.copied() >= from + 2 * KEPT);
    }
    let mut history = traffic.finish(true).await;
    // Some events were delivered to no reader, so the cursors of readers do not cover the whole log.
    history.place_whole_logs();
    say(&format!("  a replica was overtaken {times} times"));
    history
}
