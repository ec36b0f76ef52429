//! The siege: every attack that needs no credentials, one after another and then all together, while ordinary clients are served.
//!
//! All traffic stays on loopback (clients on 127.0.1.1 to 127.0.1.10, attackers on 127.0.3.1 to 127.0.3.4), is bounded in rate and number,
//! and ends by itself. The server has 512 MiB of memory.
//!
//! `PARLEY_SIEGE_BINARY` names the program, which must be a release build if latency is to be judged. Without it, the debug build of the
//! tests serves a tenth of the ordinary calls, and only its survival, its responses and its events are judged. `PARLEY_SIEGE_SECONDS` sets
//! the total duration.

mod attacks;
mod clients;
mod limit;
mod subscribers;

use std::{
    fmt::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::{
    report::say,
    support::{
        app::{Builder, TestApp},
        database::Backend,
        server::limited_at,
    },
};

/// The identifier of the public inbox that is attacked.
const INBOX: &str = "siege-inbox";

/// The default duration of the whole siege.
const SMOKE: Duration = Duration::from_secs(20);

/// The share of ordinary calls that must succeed.
const SUCCEED: f64 = 0.99;

/// The bound on the 99th percentile of latency of ordinary calls.
const SLOWEST: Duration = Duration::from_secs(1);

/// The addresses of the server, and when the attack ends.
#[derive(Clone, Debug)]
struct Target {
    grpc: String,
    http: String,
    /// A link to a file of a few megabytes, as a visitor has it.
    file: String,
    until: Instant,
}

impl Target {
    /// Whether the attack continues.
    fn goes_on(&self) -> bool {
        Instant::now() < self.until
    }
}

/// The server under its memory limit, with the default configuration.
fn defended(program: &str, memory: &limit::Limit) -> Builder {
    let mut builder = TestApp::builder(Backend::Sqlite)
        .program(limited_at(program, &memory.command()))
        .platform()
        .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", INBOX)
        .env("PARLEY_LOG_FILTER", "warn,parley::server=info,parley::cli=info");
    // The test harness raises limits; here the defaults must hold.
    for (key, value) in defaults("limits") {
        builder = builder.env(&format!("PARLEY_LIMITS_{}", key.to_uppercase()), &value);
    }
    builder
}

/// The keys and values of a table of the default configuration, as text.
fn defaults(table: &str) -> Vec<(String, String)> {
    let text = include_str!("../../../src/config.default.toml");
    let mut found = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            inside = name.trim_end_matches(']') == table;
        } else if let Some((key, value)) = line.split_once(" = ").filter(|_| inside && !line.starts_with('#')) {
            found.push((key.to_owned(), value.trim_matches('"').to_owned()));
        }
    }
    found
}

/// Measures the CPU time of a process.
struct Processor {
    process: u32,
    before: Duration,
}

impl Processor {
    fn of(process: u32) -> Self {
        let mut this = Self {
            process,
            before: Duration::ZERO,
        };
        this.spent();
        this
    }

    /// The CPU time since the last call; zero once the process has ended.
    fn spent(&mut self) -> Duration {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.process)).unwrap_or_default();
        // Skip the process name, which may contain any character. User and system time are fields 14 and 15 of the line, in hundredths of a
        // second.
        let fields = text.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
        let hundredths: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
        let now = Duration::from_millis(10 * hundredths);
        let spent = now.saturating_sub(self.before);
        self.before = now;
        spent
    }
}

/// Attacks a server. Panics if it does not withstand.
pub async fn withstand() {
    let released = std::env::var("PARLEY_SIEGE_BINARY").ok();
    let program = released.clone().unwrap_or_else(|| env!("CARGO_BIN_EXE_parley").to_owned());
    let seconds: Option<u64> = std::env::var("PARLEY_SIEGE_SECONDS").ok().and_then(|text| text.parse().ok());
    let total = seconds.map_or(SMOKE, Duration::from_secs);
    let memory = limit::Limit::take();
    say(&format!("siege: {program} for about {} s, {}", total.as_secs(), memory.describe()));
    let mut app = defended(&program, &memory).start().await;
    let process = app.server.id();

    let file = clients::prepare_file(&app).await;
    let ended = CancellationToken::new();
    let subscribers = subscribers::start(&app).await;
    let crowd = Arc::new(clients::Crowd::prepare(&app, released.is_some()).await);
    let calls = tokio::spawn(Arc::clone(&crowd).call_until(ended.clone()));

    let attacks = attacks::all();
    // Each attack in turn, then all together for twice as long.
    let each = total / (u32::try_from(attacks.len()).expect("few attacks") + 2);
    let target = |lasting: Duration| Target {
        grpc: app.server.listeners.grpc.clone(),
        http: app.server.listeners.http.clone(),
        file: file.clone(),
        until: Instant::now() + lasting,
    };
    let (mut server, mut ours) = (Processor::of(process), Processor::of(std::process::id()));
    let mut told = String::new();
    for attack in &attacks {
        let before = crowd.failed();
        let tried = attacks::run(std::slice::from_ref(attack), &target(each)).await;
        assert!(
            memory.alive(process),
            "the server ended under the attack {:?}:\n{}",
            attack.name,
            app.server.log()
        );
        let failed = crowd.failed() - before;
        let _ = writeln!(
            told,
            "  {:<28} {tried}; good calls that failed meanwhile: {failed}, p99 {:?}; server {:?} of CPU, clients {:?}; {}",
            attack.name,
            crowd.lately(),
            server.spent(),
            ours.spent(),
            memory.used(process)
        );
    }
    let together = attacks::run(&attacks, &target(each * 2)).await;
    let _ = writeln!(
        told,
        "  {:<28} {together}; p99 {:?}; server {:?} of CPU, clients {:?}; {}",
        "all together",
        crowd.lately(),
        server.spent(),
        ours.spent(),
        memory.used(process)
    );
    assert!(
        memory.alive(process),
        "the server ended under all attacks together:\n{}",
        app.server.log()
    );

    ended.cancel();
    let result = calls.await.expect("the clients do not panic");
    let missing = subscribers.missing(&result.acknowledged).await;
    let ready = clients::is_ready(&app).await;
    let peak = memory.peak(process);
    app.server.terminate();
    let status = app.server.wait().await;
    say(&format!("siege: {}\n{told}  peak memory: {peak}", result.report()));
    assert!(ready, "the server is ready after the siege");
    assert!(
        status.success(),
        "the server drains after the siege, not {status}:\n{}",
        app.server.log()
    );
    assert!(missing.is_empty(), "events are missing: {missing:?}");
    assert!(result.calls > 0, "nobody called");
    assert!(result.succeeded() >= SUCCEED, "{}", result.report());
    if released.is_some() {
        assert!(result.p99() < SLOWEST, "{}", result.report());
    }
}
