//! The client library against the misbehaving server: each scenario with `Subscriber` and with `Consumer`.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use parley_client::{Consumer, Error, LostReason, OnTakeover, Options, Server, Step, Subscriber};
use parley_conformance::{EVENTS, Expect, Requests, SCENARIOS, Scenario, serve};
use parley_proto::{ConsumeOpen, EventFilter, SubscribeResponse, subscribe_request::Start};

use crate::support::{
    app::{ADMINISTRATOR, TestApp},
    consumer::{Session, plenty},
    database::Backend,
    in_time, on_both,
    reader::log_info,
};

/// How a client ended.
#[derive(Debug)]
struct Ended {
    /// The events that it returned, without repetitions within a session.
    given: Vec<u64>,
    /// `None` if it received everything.
    error: Option<Error>,
}

async fn start(scenario: Scenario) -> (Server, Arc<Mutex<Requests>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let seen = Arc::new(Mutex::default());
    tokio::spawn(serve(scenario, listener, Arc::clone(&seen)));
    (Server::connect(&format!("http://{address}"), "any").expect("an address"), seen)
}

fn seqs(response: &SubscribeResponse) -> impl Iterator<Item = u64> {
    response
        .events
        .iter()
        .filter_map(|delivery| delivery.event.as_ref())
        .map(|event| event.seq)
}

async fn subscribe(server: Server) -> Ended {
    let mut subscriber = Subscriber::new(server, 1, Some(Start::Earliest(())), EventFilter::default()).heartbeat(Duration::from_secs(1));
    let mut given = Vec::new();
    loop {
        match subscriber.next().await {
            Ok(Step::Response(response)) => {
                given.extend(seqs(&response));
                let whole = response.bookmark.is_some_and(|bookmark| bookmark.seq == EVENTS) && given.last() == Some(&EVENTS);
                if whole {
                    return Ended { given, error: None };
                }
            }
            Ok(Step::Resuming { .. }) => {}
            Err(error) => {
                return Ended { given, error: Some(error) };
            }
        }
    }
}

async fn consume(server: Server) -> Ended {
    let open = ConsumeOpen {
        account_id: 1,
        consumer: "conformance".to_owned(),
        ..ConsumeOpen::default()
    };
    let options = Options {
        window: 4,
        heartbeat: Duration::from_secs(1),
        on_takeover: OnTakeover::End,
    };
    let mut consumer = Consumer::new(server, open, options);
    // Uncommitted events are redelivered after a break. Ignore repetitions, as an idempotent handler would.
    let mut given: Vec<u64> = Vec::new();
    loop {
        let error = match consumer.next().await {
            Ok(Step::Resuming { .. }) => None,
            Ok(Step::Response(response)) => {
                for seq in seqs(&response) {
                    if !given.contains(&seq) {
                        given.push(seq);
                    }
                }
                let last = response.events.last().map(|delivery| delivery.cursor.clone());
                let last = last.or(response.bookmark.as_ref().map(|bookmark| bookmark.cursor.clone()));
                let committed = match last {
                    Some(cursor) => consumer.commit(cursor).await,
                    None => Ok(None),
                };
                let whole = response.bookmark.is_some_and(|bookmark| bookmark.seq == EVENTS) && given.last() == Some(&EVENTS);
                if whole && committed.is_ok() {
                    return Ended { given, error: None };
                }
                committed.err()
            }
            Err(error) => Some(error),
        };
        if let Some(error) = error {
            return Ended { given, error: Some(error) };
        }
    }
}

fn judge(scenario: &Scenario, ended: &Ended) {
    let name = scenario.name;
    let whole: Vec<u64> = (1..=EVENTS).collect();
    match (scenario.expect, &ended.error) {
        (Expect::Everything, None) => assert_eq!(ended.given, whole, "{name}"),
        (Expect::StreamError, Some(Error::ChainBroken { .. } | Error::BookmarkWrong { .. }))
        | (Expect::Refused, Some(Error::Refused(_)))
        | (Expect::TakenOver, Some(Error::TakenOver)) => assert!(whole.starts_with(&ended.given), "{name}: {ended:?}"),
        (Expect::Lost(reason), Some(Error::LostPosition(lost))) => {
            let told = match lost.reason {
                LostReason::Expired => "CURSOR_EXPIRED",
                LostReason::AheadOfLog => "CURSOR_AHEAD_OF_LOG",
                LostReason::EpochChanged => "EPOCH_CHANGED",
            };
            assert_eq!((told, lost.earliest_seq, lost.head_seq), (reason, 900, 1000), "{name}");
        }
        (expected, _) => panic!("{name}: {expected:?} was due, not {ended:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriber_ends_as_each_scenario_expects() {
    let scenarios = SCENARIOS.iter().filter(|scenario| !scenario.consumers_only);
    let all = scenarios.map(|scenario| {
        tokio::spawn(async move {
            let (server, seen) = start(*scenario).await;
            judge(scenario, &in_time(scenario.name, subscribe(server)).await);
            seen.lock().expect("nobody panics").streams.clone()
        })
    });
    let mut streams = Vec::new();
    for played in all.collect::<Vec<_>>() {
        streams.push(played.await.expect("the scenario ends as it should"));
    }
    // Each client resumed exactly after its last event.
    let cut = SCENARIOS.iter().position(|scenario| scenario.name == "cut").expect("it is there");
    assert_eq!(streams[cut], [0, 3, 3, 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumer_ends_as_each_scenario_expects() {
    // A consumer keeps no position across sessions: the server stores it, and the first event of a session sets it. So these scenarios do
    // not apply.
    let knows = |scenario: &&Scenario| !scenario.name.ends_with("-after-a-break");
    let all = SCENARIOS.iter().filter(knows).map(|scenario| {
        tokio::spawn(async move {
            let (server, _) = start(*scenario).await;
            judge(scenario, &in_time(scenario.name, consume(server)).await);
        })
    });
    for played in all.collect::<Vec<_>>() {
        played.await.expect("the scenario ends as it should");
    }
}

on_both!(standby_consumer_waits_until_its_shard_is_free);

async fn standby_consumer_waits_until_its_shard_is_free(backend: Backend) {
    let app = TestApp::start(backend).await;
    app.fixture().talk().await;
    let server = Server::connect(&format!("http://{}", app.server.listeners.grpc), ADMINISTRATOR).expect("an address");
    let options = Options {
        on_takeover: OnTakeover::Standby,
        heartbeat: Duration::from_secs(1),
        ..Options::default()
    };
    let open = ConsumeOpen {
        credit: None,
        ..plenty(1, "worker")
    };
    let mut consumer = Consumer::new(server, open, options);
    assert!(matches!(consumer.next().await, Ok(Step::Response(_))));
    let first = consumer.fence().expect("it is open");
    let other = Session::open(&app.clients(), plenty(1, "worker")).await;
    let standing_by = tokio::spawn(async move {
        loop {
            let step = consumer.next().await;
            if consumer.fence().is_some_and(|fence| fence > first) {
                return step.map(|_| consumer.fence());
            }
            step?;
        }
    });
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!standing_by.is_finished(), "somebody else has the shard");
    let taken = other.opened.fence;
    drop(other);
    let fence = in_time("its shard", standing_by).await.expect("it runs").expect("it goes on");
    assert!(fence > Some(taken));
    assert!(log_info(&app.clients(), 1).await.head_seq > 0);
}
