//! Four times as many calls as can be answered. What can be answered is set by the way to the database and not by the machine: a few messages a
//! transaction, and a line on which each takes its time. So the figures are compared with those of the same server, moments before and after.

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
        app::{ADMINISTRATOR, TestApp},
        fault::fault,
        http::client,
        link::behind_a_proxy,
        scene::{Scene, outgoing},
    },
};

/// Calls that may be in work.
const LIMIT: u32 = 16;
/// Each way to the database. A transaction of four messages goes there and back a few times, so some tens of messages a second are answered.
const LATE: Duration = Duration::from_millis(20);
const TIMES: f64 = 4.0;

/// What asks: both doors, one call in four by JSON.
struct Doors {
    scene: Scene,
    conversation: i64,
    http: reqwest::Client,
    url: String,
}

/// What became of a call.
#[derive(Debug)]
enum Outcome {
    Answered(Duration),
    /// And told when to come again.
    Refused,
}

impl Doors {
    async fn to(app: &TestApp) -> Self {
        let scene = app.scene();
        let conversation = scene.talk().await;
        Self {
            scene,
            conversation,
            http: client(),
            url: format!(
                "http://{}/api/v1/accounts/1/conversations/{conversation}/messages",
                app.server.doors.http
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
        let Err(status) = self.scene.send(self.conversation, outgoing("hello")).await else {
            return true;
        };
        let fault = fault(&status);
        assert_eq!((fault.code, fault.reason.as_str()), (Code::ResourceExhausted, "BUSY"), "{status:?}");
        false
    }

    async fn by_json(&self) -> bool {
        let post = self.http.post(&self.url).header("api_access_token", ADMINISTRATOR);
        let answer = post.json(&json!({"content": "hello"})).send().await.expect("the door answers");
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

/// Messages a second when each of as many callers as may be in work waits for its answer.
async fn capacity(doors: &Arc<Doors>) -> f64 {
    let (begun, long) = (Instant::now(), Duration::from_secs(3));
    let callers: JoinSet<u32> = (0..u64::from(LIMIT))
        .map(|number| {
            let doors = Arc::clone(doors);
            async move {
                let mut answered = 0_u32;
                while begun.elapsed() < long {
                    // Right after too much, a caller may still be told to come again.
                    match doors.call(number).await {
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

/// What was seen while too much was asked for.
#[derive(Debug)]
struct Seen {
    /// Answered a second.
    goodput: f64,
    refused: usize,
    p99: Duration,
    /// The most that the server held, in MB.
    peak: f64,
}

/// Asks at a pace that heeds no answer.
async fn flood(app: &TestApp, doors: &Arc<Doors>, per_second: f64, long: Duration) -> Seen {
    let mut calls = JoinSet::new();
    let mut ticks = interval(Duration::from_millis(5));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (begun, mut asked, mut peak) = (Instant::now(), 0_u32, 0.0_f64);
    while begun.elapsed() < long {
        ticks.tick().await;
        while f64::from(asked) < begun.elapsed().as_secs_f64() * per_second {
            asked += 1;
            let (doors, number) = (Arc::clone(doors), u64::from(asked));
            calls.spawn(async move { doors.call(number).await });
        }
        peak = peak.max(resident(app));
    }
    let outcomes = calls.join_all().await;
    // With those that were answered after the end: their callers waited for them.
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

/// What a server holds, in MB.
fn resident(app: &TestApp) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", app.server.id())).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kilobytes.expect("a process has memory") / 1024.0
}

async fn server(limit: u32) -> (TestApp, Proxy, Arc<Doors>) {
    let settings = [
        ("PARLEY_LIMITS_CONCURRENT_CALLS", limit.to_string()),
        ("PARLEY_WRITER_SHARDS", "1".to_owned()),
        ("PARLEY_WRITER_BATCH_MESSAGES", "4".to_owned()),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let (app, proxy, _) = behind_a_proxy(&settings).await;
    let doors = Arc::new(Doors::to(&app).await);
    proxy.set(Line::Late(LATE));
    (app, proxy, doors)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_times_too_much_does_no_harm_on_postgres() {
    let (app, _proxy, doors) = Box::pin(server(LIMIT)).await;
    let capacity_before = capacity(&doors).await;
    let held = resident(&app);
    let seen = flood(&app, &doors, capacity_before * TIMES, Duration::from_secs(5)).await;
    let capacity_after = capacity(&doors).await;
    let told = format!("{capacity_before:.0} a second before, {seen:?}, {capacity_after:.0} afterwards, {held:.0} MB held before");
    println!("{told}");
    assert!(seen.goodput >= 0.8 * capacity_before, "{told}");
    assert!(seen.refused > 0, "{told}");
    // Whoever is let in finds at most LIMIT - 1 others before it.
    let bound = Duration::from_secs_f64(f64::from(LIMIT) / capacity_before);
    assert!(seen.p99 <= 4 * bound, "within four times {bound:?}: {told}");
    assert!(seen.peak <= held + 32.0, "{told}");
    assert!(capacity_after >= 0.8 * capacity_before, "{told}");
}

/// Why there is a limit: without it, everybody waits for all who came before, however long that is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_limit_all_wait_for_all_on_postgres() {
    let (app, _proxy, doors) = Box::pin(server(0)).await;
    let capacity = capacity(&doors).await;
    let long = Duration::from_secs(2);
    let seen = flood(&app, &doors, capacity * TIMES, long).await;
    let bound = Duration::from_secs_f64(f64::from(LIMIT) / capacity);
    assert!(
        seen.refused == 0 && seen.p99 > 4 * bound && seen.p99 > long,
        "{capacity:.0} a second, {seen:?}"
    );
}
