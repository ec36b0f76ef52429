//! The same traffic and validators with one protection turned off at a time: the validators must notice.
//!
//! `tests/it/protections.rs` demonstrates each protection in a scenario of its own within seconds; here the failure has to occur by itself
//! in ordinary traffic.

use std::time::Duration;

use rand::rngs::StdRng;

use crate::{
    ALONE, choices, duration,
    fault::Kind,
    herd,
    history::History,
    killed_on_sqlite, replicas,
    replicated::{self, Plan},
    report::say,
    support::database::Backend,
};

/// The maximum number of runs: the failure needs unlucky timing, which may not occur in the first run.
const TRIES: usize = 5;

/// Repeats a run until a validator of one of these statements complains.
async fn goes_red(switch: &'static str, statements: &[u8], run: impl AsyncFn(&mut StdRng) -> History) {
    let _alone = ALONE.lock().await;
    let (seed, mut choices) = choices();
    for again in 1..=TRIES {
        let history = Box::pin(run(&mut choices)).await;
        let problems = history.problems();
        history.report(&format!("{switch} off"), seed, &problems);
        if problems.iter().any(|problem| statements.contains(&problem.statement)) {
            say(&format!("  red without {switch} after {again} runs, as it must be"));
            return;
        }
    }
    panic!("without {switch} something about one of the statements {statements:?} must be found, seed {seed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_counter_lock_events_are_missed() {
    goes_red("counter_lock", &[1, 2, 6], async |choices| {
        replicas(choices, Some("counter_lock")).await
    })
    .await;
}

/// A server is killed while writers retry calls that got no reply.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "shown in seconds by tests/it/protections.rs: ./test durability --minutes N"]
async fn without_the_idempotency_key_messages_are_duplicated() {
    goes_red("idempotency_key", &[3, 5], async |choices| {
        killed_on_sqlite(choices, Some("idempotency_key")).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "shown in seconds by tests/it/protections.rs: ./test durability --minutes N"]
async fn without_credit_sessions_are_flooded() {
    goes_red("credit", &[14], async |choices| replicas(choices, Some("credit")).await).await;
}

/// Servers are suspended until the sessions of their workers are taken over, and are then resumed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "shown in seconds by tests/it/protections.rs: ./test durability --minutes N"]
async fn without_fencing_consumer_positions_go_back() {
    let plan = Plan {
        count: 5,
        named: Some(Kind::Stop),
        lasts: (4000, 8000),
        without: Some("fencing"),
    };
    goes_red("fencing", &[12, 13, 17], async |choices| {
        replicated::under_faults(choices, plan).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a gigabyte of memory: ./test durability --minutes N"]
async fn without_bounded_buffers_stalled_readers_exhaust_memory() {
    let _alone = ALONE.lock().await;
    Box::pin(herd::stops_reading(Backend::Sqlite, Some("buffers"))).await;
}

/// Each kind of fault alone, one after another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a few minutes: ./test durability --minutes N"]
async fn each_fault_alone_loses_nothing() {
    let _alone = ALONE.lock().await;
    let (seed, mut choices) = choices();
    let kinds = u32::try_from(Kind::ALL.len()).expect("a few");
    for kind in Kind::ALL {
        let plan = Plan {
            named: Some(*kind),
            ..Plan::lasting((duration() * 5 / kinds).max(Duration::from_secs(6)))
        };
        let history = Box::pin(replicated::under_faults(&mut choices, plan)).await;
        crate::assert_none(&history, &format!("three replicas, {} alone", kind.name()), seed);
    }
}
