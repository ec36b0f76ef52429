//! A thousand clients at once: all of them reconnect after the server is killed, and those that stop reading cost little memory.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parley_client::{Server, Step, Subscriber};
use parley_proto::{BatchCreateMessagesRequest, BatchMessage, EventFilter, subscribe_request::Start};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::watch;

use crate::{
    proxy::Proxy,
    report::say,
    support::{
        api_fixture::{ApiFixture, outgoing},
        app::{ADMINISTRATOR, TestApp},
        clients::Clients,
        database::Backend,
        in_time,
        reader::{Reader, everything, log_info},
    },
};

/// The number of clients.
pub const HERD: usize = 1000;

/// Readers that stop reading while much is written.
const STALLED: usize = 100;

/// Readers that request the whole log afterwards and stop reading.
const LATE: usize = 20;

/// The server memory that one stalled reader may take: a frame of 256 kB that the stream holds, one that is encoded for the connection, and
/// the buffers of HTTP/2 and the kernel.
const EACH: u64 = 2_000_000;

/// The resident memory of a process, in bytes.
fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the server runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("Linux tells it");
    let kilobytes: u64 = line
        .split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .expect("a number");
    kilobytes * 1024
}

/// Raises the limit on open files of this process and its children to the hard limit: a thousand connections exceed the usual soft limit.
fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).expect("up to the hard limit everybody may go");
}

async fn batch(fixture: &ApiFixture, conversation: i64, count: usize, text: &str) {
    let request = BatchCreateMessagesRequest {
        account_id: 1,
        messages: (0..count)
            .map(|_| BatchMessage {
                conversation_id: conversation,
                message: Some(outgoing(text)),
            })
            .collect(),
        ..BatchCreateMessagesRequest::default()
    };
    let call = fixture.clients.messages.clone();
    call.clone().batch_create_messages(request).await.expect("writers wait for nobody");
}

/// Every client subscribes from the start of the log. The server is killed and restarted twice. Each client must receive every event
/// exactly once.
pub async fn comes_back(backend: Backend) {
    raise_limit();
    // The default limit equals the number of clients, and the server may still count streams that broke.
    let limit = (2 * HERD).to_string();
    let mut app = TestApp::builder(backend)
        .env("PARLEY_LIMITS_STREAMS_PER_TOKEN", &limit)
        .start()
        .await;
    let proxy = Proxy::before(&app.server.listeners.grpc).await;
    let fixture = app.fixture();
    let talk = fixture.talk().await;
    let seen = Arc::new(AtomicU64::new(0));
    let (breaks, broken) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (end, ended) = watch::channel(None::<u64>);
    let mut tasks = Vec::new();
    for _ in 0..HERD {
        // One connection per client.
        let server = Server::connect(&format!("http://{}", proxy.address), ADMINISTRATOR).expect("an address");
        let mut subscriber =
            Subscriber::new(server, 1, Some(Start::Earliest(())), EventFilter::default()).heartbeat(Duration::from_secs(2));
        let (seen, breaks, broken, ended) = (Arc::clone(&seen), Arc::clone(&breaks), Arc::clone(&broken), ended.clone());
        tasks.push(tokio::spawn(async move {
            let mut at = 0;
            loop {
                match subscriber.next().await {
                    Ok(Step::Response(response)) => {
                        for delivery in response.events {
                            let seq = delivery.event.map_or(0, |event| event.seq);
                            broken.fetch_add(usize::from(seq != at + 1), Ordering::Relaxed);
                            at = seq;
                            seen.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    Ok(Step::Resuming { .. }) => drop(breaks.fetch_add(1, Ordering::Relaxed)),
                    Err(error) => panic!("a client of the herd ended: {error}"),
                }
                if ended.borrow().is_some_and(|head| at >= head) {
                    return;
                }
            }
        }));
    }
    for death in 0..3 {
        let fixture = fixture.through(Clients::new(&app.server.listeners.grpc, Some(ADMINISTRATOR)));
        for _ in 0..5 {
            batch(&fixture, talk, 5, "hello").await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if death < 2 {
            let all = log_info(&fixture.clients, 1).await.head_seq * HERD as u64;
            in_time("the herd", async {
                while seen.load(Ordering::Relaxed) < all {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
            .await;
            app.server.kill();
            app.start_again().await;
            proxy.lead_to(&app.server.listeners.grpc);
        }
    }
    let head = log_info(&app.clients(), 1).await.head_seq;
    let begun = Instant::now();
    end.send_replace(Some(head));
    for client in tasks {
        in_time("a client of the herd", client).await.expect("it ends well");
    }
    let (seen, breaks, broken) = (
        seen.load(Ordering::Relaxed),
        breaks.load(Ordering::Relaxed),
        broken.load(Ordering::Relaxed),
    );
    say(&format!(
        "{HERD} clients came back {breaks} times after two deaths, saw {seen} events, {broken} out of order; the last had all {:.1} s after the \
         last write; the server holds {} MB",
        begun.elapsed().as_secs_f64(),
        resident(app.server.id()) / 1_000_000
    ));
    assert_eq!((seen, broken), (head * HERD as u64, 0));
    assert!(breaks >= 2 * HERD, "each was broken twice");
}

/// Readers that stop reading while much is written, and others that connect afterwards and do not read either. What the server buffers for
/// them must be bounded, and others must not be delayed. With the protection `without` turned off, the bound must break.
pub async fn stops_reading(backend: Backend, without: Option<&str>) {
    let app = TestApp::builder(backend)
        .env("PARLEY_EVENTS_TAIL_BYTES", "1048576")
        .env("PARLEY_FAULT_SWITCH", without.unwrap_or_default())
        .start()
        .await;
    let fixture = app.fixture();
    let talk = fixture.talk().await;
    batch(&fixture, talk, 100, "warm").await;
    let start = log_info(&app.clients(), 1).await.head_cursor;
    let open = || async {
        let clients = app.clients();
        Reader::open(&clients, everything(1, Start::After(start.clone()))).await
    };
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        stalled.push(open().await);
    }
    let before = resident(app.server.id());
    let text = "x".repeat(4000);
    let mut quick = open().await;
    for _ in 0..100 {
        batch(&fixture, talk, 100, &text).await;
    }
    for _ in 0..LATE {
        stalled.push(open().await);
    }
    let head = log_info(&app.clients(), 1).await.head_seq;
    if without.is_none() {
        in_time("a reader that reads", quick.until(head)).await;
    }
    // Wait until the server has read all that it will read ahead for clients that do not receive.
    let mut kept = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = resident(app.server.id()).saturating_sub(before);
        if now < kept + 1_000_000 {
            break;
        }
        kept = now;
    }
    let readers = (STALLED + LATE) as u64;
    say(&format!(
        "{STALLED} readers that stopped and {LATE} that came later, {}: 10,000 messages of 4 kB were written, and the server holds {} MB more, \
         {} kB a reader",
        without.map_or_else(|| "all bounds kept".to_owned(), |switch| format!("{switch} off")),
        kept / 1_000_000,
        kept / 1000 / readers
    ));
    assert_eq!(kept < EACH * readers + 50_000_000, without.is_none(), "{kept} bytes");
    drop(stalled);
}
