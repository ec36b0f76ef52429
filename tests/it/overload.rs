//! Four times the load that the server can handle. Its capacity is determined by the connection to the database and not by the machine: few
//! messages per transaction, and a proxy that delays everything. So the figures are compared with those of the same server immediately
//! before and after.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tonic::Code;

use crate::{
    proxy::{Line, Proxy},
    support::{
        api_fixture::{ApiFixture, outgoing},
        app::{ADMINISTRATOR, TestApp},
        fault::fault,
        http::client,
        link::behind_a_proxy,
    },
};

/// The limit of concurrent calls.
const LIMIT: u32 = 16;
/// The delay to the database in each direction. A transaction of four messages needs a few round trips, so the server handles a few tens of
/// messages per second.
const LATE: Duration = Duration::from_millis(20);
const TIMES: f64 = 4.0;

/// The clients: both APIs, with every fourth call over JSON.
struct LoadClients {
    fixture: ApiFixture,
    conversation: i64,
    http: reqwest::Client,
    url: String,
}

/// The outcome of a call.
#[derive(Debug)]
enum Outcome {
    Answered(Duration),
    /// Refused with a retry delay.
    Refused,
}

impl LoadClients {
    async fn to(app: &TestApp) -> Self {
        let fixture = app.fixture();
        let conversation = fixture.talk().await;
        Self {
            fixture,
            conversation,
            http: client(),
            url: format!(
                "http://{}/api/v1/accounts/1/conversations/{conversation}/messages",
                app.server.listeners.http
            ),
        }
    }

    async fn call(&self, number: u64) -> Outcome {
        let begun = Instant::now();
        let answered = if number.is_multiple_of(4) {
            self.by_json().await
        } else {
            self.by_grpc().await
        };
        if answered {
            Outcome::Answered(begun.elapsed())
        } else {
            Outcome::Refused
        }
    }

    async fn by_grpc(&self) -> bool {
        let Err(status) = self.fixture.send(self.conversation, outgoing("hello")).await else {
            return true;
        };
        let fault = fault(&status);
        assert_eq!((fault.code, fault.reason.as_str()), (Code::ResourceExhausted, "BUSY"), "{status:?}");
        false
    }

    async fn by_json(&self) -> bool {
        let post = self.http.post(&self.url).header("api_access_token", ADMINISTRATOR);
        let answer = post.json(&json!({"content": "hello"})).send().await.expect("the server responds");
        if answer.status() == 200 {
            return true;
        }
        assert_eq!(answer.status(), 429);
        let wait = answer
            .headers()
            .get("retry-after")
            .and_then(|wait| wait.to_str().ok()?.parse().ok());
        assert!(wait.is_some_and(|seconds: u64| (1..=60).contains(&seconds)), "{answer:?}");
        false
    }
}

/// The messages per second when as many callers as the limit allows each wait for their responses.
async fn capacity(load_clients: &Arc<LoadClients>) -> f64 {
    let (begun, long) = (Instant::now(), Duration::from_secs(3));
    let callers: JoinSet<u32> = (0..u64::from(LIMIT))
        .map(|number| {
            let load_clients = Arc::clone(load_clients);
            async move {
                let mut answered = 0_u32;
                while begun.elapsed() < long {
                    // Immediately after the overload, a caller may still be refused.
                    match load_clients.call(number).await {
                        Outcome::Answered(_) => answered += 1,
                        Outcome::Refused => tokio::time::sleep(LATE).await,
                    }
                }
                answered
            }
        })
        .collect();
    let answered: u32 = callers.join_all().await.into_iter().sum();
    f64::from(answered) / begun.elapsed().as_secs_f64()
}

/// The figures of an overload.
#[derive(Debug)]
struct Seen {
    /// Successful calls per second.
    goodput: f64,
    refused: usize,
    p99: Duration,
    /// The peak memory of the server, in MB.
    peak: f64,
}

/// Sends calls at a constant rate, whatever the responses are.
async fn flood(app: &TestApp, load_clients: &Arc<LoadClients>, per_second: f64, long: Duration) -> Seen {
    let mut calls = JoinSet::new();
    let mut ticks = interval(Duration::from_millis(5));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (begun, mut asked, mut peak) = (Instant::now(), 0_u32, 0.0_f64);
    while begun.elapsed() < long {
        ticks.tick().await;
        while f64::from(asked) < begun.elapsed().as_secs_f64() * per_second {
            asked += 1;
            let (load_clients, number) = (Arc::clone(load_clients), u64::from(asked));
            calls.spawn(async move { load_clients.call(number).await });
        }
        peak = peak.max(resident(app));
    }
    let outcomes = calls.join_all().await;
    // Includes responses that arrive after the last call was sent, because their callers waited for them.
    let took = begun.elapsed().as_secs_f64();
    let mut times: Vec<Duration> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Answered(took) => Some(*took),
            Outcome::Refused => None,
        })
        .collect();
    times.sort();
    Seen {
        goodput: f64::from(u32::try_from(times.len()).expect("thousands")) / took,
        refused: outcomes.len() - times.len(),
        p99: times[(times.len() - 1) * 99 / 100],
        peak,
    }
}

/// The resident memory of a server, in MB.
fn resident(app: &TestApp) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", app.server.id())).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kilobytes.expect("a process has memory") / 1024.0
}

async fn server(limit: u32) -> (TestApp, Proxy, Arc<LoadClients>) {
    let settings = [
        ("PARLEY_LIMITS_CONCURRENT_CALLS", limit.to_string()),
        ("PARLEY_WRITER_SHARDS", "1".to_owned()),
        ("PARLEY_WRITER_BATCH_MESSAGES", "4".to_owned()),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let (app, proxy, _) = behind_a_proxy(&settings).await;
    let load_clients = Arc::new(LoadClients::to(&app).await);
    proxy.set(Line::Late(LATE));
    (app, proxy, load_clients)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fourfold_overload_keeps_goodput_on_postgres() {
    let (app, _proxy, load_clients) = Box::pin(server(LIMIT)).await;
    let capacity_before = capacity(&load_clients).await;
    let held = resident(&app);
    let seen = flood(&app, &load_clients, capacity_before * TIMES, Duration::from_secs(5)).await;
    let capacity_after = capacity(&load_clients).await;
    let told = format!("{capacity_before:.0} a second before, {seen:?}, {capacity_after:.0} afterwards, {held:.0} MB held before");
    println!("{told}");
    assert!(seen.goodput >= 0.8 * capacity_before, "{told}");
    assert!(seen.refused > 0, "{told}");
    // An admitted call has at most LIMIT - 1 others before it.
    let bound = Duration::from_secs_f64(f64::from(LIMIT) / capacity_before);
    assert!(seen.p99 <= 4 * bound, "within four times {bound:?}: {told}");
    assert!(seen.peak <= held + 32.0, "{told}");
    assert!(capacity_after >= 0.8 * capacity_before, "{told}");
}

/// Shows what the limit is for: without it, every call waits for all calls before it, however long that takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_limit_latency_grows_on_postgres() {
    let (app, _proxy, load_clients) = Box::pin(server(0)).await;
    let capacity = capacity(&load_clients).await;
    let long = Duration::from_secs(2);
    let seen = flood(&app, &load_clients, capacity * TIMES, long).await;
    let bound = Duration::from_secs_f64(f64::from(LIMIT) / capacity);
    assert!(
        seen.refused == 0 && seen.p99 > 4 * bound && seen.p99 > long,
        "{capacity:.0} a second, {seen:?}"
    );
}
