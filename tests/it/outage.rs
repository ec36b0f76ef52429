//! How a server behaves while a resource is unavailable: the database, name resolution, disk space, file descriptors. It reports the
//! outage, loses nothing that it acknowledged, keeps streams open, and recovers by itself.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use parley_proto::{EventDelivery, ListContactsRequest, SubscribeRequest, event::Resource, subscribe_request::Start};
use rustix::process::{Pid, Resource as Limit, Rlimit, prlimit};
use serde_json::json;
use tokio::net::TcpStream;
use tonic::{Code, Request};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_types::StatusExt as _;

use crate::{
    proxy::{Line, Proxy},
    support::{
        api_fixture::{ApiFixture, outgoing},
        app::TestApp,
        database::{Backend, Database},
        http::client,
        in_time,
        link::behind_a_proxy,
        reader::{Reader, event, everything, log_info, whole_log},
        server::{in_a_namespace, limited},
    },
};

async fn ready(app: &TestApp) -> u16 {
    let url = format!("http://{}/readyz", app.server.listeners.admin);
    client()
        .get(url)
        .send()
        .await
        .expect("the admin listener responds")
        .status()
        .as_u16()
}

/// Waits until `/readyz` returns this status.
async fn until(app: &TestApp, status: u16) {
    in_time("readiness", async {
        while ready(app).await != status {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
}

async fn health(app: &TestApp, service: &str) -> ServingStatus {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = HealthClient::new(app.clients().service)
        .check(request)
        .await
        .expect("health answers");
    answer.into_inner().status()
}

#[tokio::test]
async fn server_survives_a_database_outage_on_postgres() {
    let (app, proxy, address) = behind_a_proxy(&[]).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let request = SubscribeRequest {
        account_id: 1,
        start: Some(Start::Latest(())),
        heartbeat: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        ..SubscribeRequest::default()
    };
    let mut stream = fixture
        .clients
        .events
        .clone()
        .subscribe(request)
        .await
        .expect("a stream")
        .into_inner();
    until(&app, 200).await;

    proxy.lead_to("127.0.0.1:1");
    proxy.cut();
    let gone = Instant::now();
    let refused = fixture
        .send(conversation, outgoing("into the void"))
        .await
        .expect_err("there is no database");
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    let wait = refused.get_details_retry_info().and_then(|info| info.retry_delay);
    assert!(wait.is_some_and(|wait| !wait.is_zero()), "{refused:?}");
    let path = format!("/api/v1/accounts/1/conversations/{conversation}/messages");
    let answer = app.http().send("POST", &path, Some(&json!({"content": "hello"}))).await;
    assert_eq!((answer.status, answer.headers["retry-after"].as_bytes()), (503, &b"1"[..]));
    assert_eq!(answer.body, json!({"status": 503, "error": "Service Unavailable"}));

    // One failed probe is not an outage; three are.
    until(&app, 503).await;
    assert_eq!(health(&app, "").await, ServingStatus::NotServing);
    assert_eq!(health(&app, "parley.v1.EventsService").await, ServingStatus::NotServing);
    assert_eq!(health(&app, "liveness").await, ServingStatus::Serving);
    let live = client()
        .get(format!("http://{}/livez", app.server.listeners.admin))
        .send()
        .await
        .expect("it lives");
    assert_eq!(live.status(), 200);
    // As long as a restart of a database may take, and longer than any timeout here.
    let mut heartbeats = 0;
    while gone.elapsed() < Duration::from_secs(30) {
        let heard = in_time("a heartbeat", stream.message()).await.expect("the stream stays open");
        assert!(heard.expect("it has no end").bookmark.is_some());
        heartbeats += 1;
    }
    assert!(heartbeats >= 15, "{heartbeats}: one a second was asked for");
    assert_eq!(ready(&app).await, 503);
    let refused = fixture
        .send(conversation, outgoing("still nobody"))
        .await
        .expect_err("there is no database");
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");

    proxy.lead_to(&address);
    until(&app, 200).await;
    assert_eq!(health(&app, "parley.v1.EventsService").await, ServingStatus::Serving);
    let said = fixture.say(conversation, "and back").await;
    in_time("the event", async {
        loop {
            let heard = stream.message().await.expect("the stream goes on").expect("it has no end");
            if heard.events.iter().any(|delivery| message_of(delivery) == Some(said.id)) {
                return;
            }
        }
    })
    .await;
}

/// While the database is known to be unavailable, no call waits for it, neither a new one nor one that was waiting already. Calls are
/// admitted again with the first successful probe.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_fail_fast_during_a_known_outage_on_postgres() {
    for (is_on, switch) in [(true, ""), (false, "outage")] {
        let settings = [
            // Longer than this test lasts.
            ("PARLEY_DATABASE_CONNECT_TIMEOUT_SECONDS", "300"),
            ("PARLEY_GRPC_DEFAULT_DEADLINE_SECONDS", "300"),
            ("PARLEY_FAULT_SWITCH", switch),
        ];
        let (app, proxy, address) = behind_a_proxy(&settings).await;
        let fixture = app.fixture();
        let talk = fixture.talk().await;
        // It accepts connections and never responds.
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        proxy.lead_to(&silent.local_addr().expect("an address").to_string());
        proxy.cut();
        let waiting = tokio::spawn({
            let mut contacts = app.clients().contacts;
            async move {
                contacts
                    .list_contacts(ListContactsRequest {
                        account_id: 1,
                        ..ListContactsRequest::default()
                    })
                    .await
                    .map(drop)
            }
        });
        until(&app, 503).await;
        let calls = join_all((0..100).map(|_| {
            let mut contacts = fixture.clients.contacts.clone();
            let mut request = Request::new(ListContactsRequest {
                account_id: 1,
                ..ListContactsRequest::default()
            });
            request.set_timeout(Duration::from_secs(5));
            async move { contacts.list_contacts(request).await.map(drop) }
        }))
        .await;
        for refused in calls {
            let refused = refused.expect_err("there is no database");
            if is_on {
                assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
                let wait = refused.get_details_retry_info().and_then(|info| info.retry_delay);
                assert!(wait.is_some_and(|wait| !wait.is_zero()), "{refused:?}");
            } else {
                assert_ne!(refused.code(), Code::Unavailable, "{refused:?}");
            }
        }
        if is_on {
            let refused = in_time("the call that waited", waiting).await.expect("no panic");
            assert_eq!(refused.expect_err("there is no database").code(), Code::Unavailable);
        }
        proxy.lead_to(&address);
        until(&app, 200).await;
        fixture.say(talk, "and back").await;
    }
}

/// A distant database, and then a narrow connection: everything takes longer, and nothing is refused for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_database_causes_no_refusals_on_postgres() {
    let (app, proxy, _) = behind_a_proxy(&[("PARLEY_DATABASE_CONNECT_TIMEOUT_SECONDS", "10")]).await;
    let fixture = app.fixture();
    let mut stream = Reader::open(&app.clients(), everything(1, Start::Latest(()))).await;
    let begun = Instant::now();
    for line in [Line::Late(Duration::from_millis(50)), Line::Slow] {
        proxy.set(line);
        let talk = fixture.talk().await;
        for round in 0..4 {
            let (text, http) = (format!("message {round}"), app.http());
            let (path, body) = (
                format!("/conversations/{talk}/messages"),
                serde_json::json!({"content": "and by JSON"}),
            );
            let (said, answer) = tokio::join!(fixture.say(talk, &text), http.post(&path, &body));
            assert!(said.id > 0 && answer["id"].as_i64().is_some_and(|id| id > 0));
            assert_eq!(ready(&app).await, 200, "slow is not away");
        }
        let mut request = Request::new(fixture.request(talk, outgoing("in no time")));
        request.set_timeout(Duration::from_millis(10));
        let late = fixture
            .clients
            .messages
            .clone()
            .create_message(request)
            .await
            .expect_err("it takes longer");
        assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled), "{late:?}");
        let head = log_info(&app.clients(), 1).await.head_seq;
        stream.until(head).await;
    }
    // Readiness is probed every two seconds and is lost after three failures.
    tokio::time::sleep(Duration::from_secs(8).saturating_sub(begun.elapsed())).await;
    assert_eq!(ready(&app).await, 200);
}

/// Existing connections die without being closed while new ones can be made, as after a failover or when a firewall drops its state. Calls
/// that wait for such connections are late, and soon none waits for them any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_connections_are_replaced_on_postgres() {
    // Three of them are for reads.
    let settings = [
        ("PARLEY_GRPC_DEFAULT_DEADLINE_SECONDS", "2"),
        ("PARLEY_DATABASE_MAX_CONNECTIONS", "8"),
    ];
    let (app, proxy, _) = behind_a_proxy(&settings).await;
    app.fixture().talk().await;
    let clients = app.clients();
    let together = async || {
        let request = ListContactsRequest {
            account_id: 1,
            ..ListContactsRequest::default()
        };
        join_all((0..8).map(|_| {
            let (mut contacts, request) = (clients.contacts.clone(), request.clone());
            async move { contacts.list_contacts(request).await }
        }))
        .await
    };
    assert!(together().await.iter().all(Result::is_ok));
    for _ in 0..4 {
        // A connection is tested before it is used. It dies while a result is awaited: after the response to the test and before that to
        // the query.
        proxy.set(Line::Late(Duration::from_millis(40)));
        let (answers, ()) = tokio::join!(together(), async {
            tokio::time::sleep(Duration::from_millis(120)).await;
            proxy.strand();
            proxy.set(Line::Open);
        });
        for status in answers.into_iter().filter_map(Result::err) {
            let codes = [Code::DeadlineExceeded, Code::Cancelled, Code::Unavailable];
            assert!(codes.contains(&status.code()), "{status:?}");
        }
    }
    in_time("good connections", async {
        while !together().await.iter().all(Result::is_ok) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn suspended_database_does_not_block_callers_on_postgres() {
    let (app, proxy, _) = behind_a_proxy(&[]).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    proxy.set(Line::Stalled);
    let mut request = Request::new(fixture.request(conversation, outgoing("slow")));
    request.set_timeout(Duration::from_secs(1));
    let late = in_time("the deadline", fixture.clients.messages.clone().create_message(request))
        .await
        .expect_err("nothing can be stored");
    assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled), "{late:?}");
    until(&app, 503).await;
    proxy.set(Line::Open);
    until(&app, 200).await;
    // Whether the message was stored is unknown; a retry with the same request_id would tell.
    in_time("a message", async {
        while fixture.send(conversation, outgoing("again")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
}

/// In a mount namespace, the server sees its own hosts file and name servers, and its database has a host name.
#[tokio::test]
async fn connections_survive_a_dns_outage_on_postgres() {
    let database = Database::create(Backend::Postgres).await;
    let url = database.url();
    let (credentials, rest) = url.split_once('@').expect("a name before the host");
    let (address, name) = rest.split_once('/').expect("a database after the host");
    let proxy = Proxy::before(address).await;
    let port = proxy.address.rsplit(':').next().expect("a port").to_owned();
    let home = tempfile::tempdir().expect("a folder");
    let (hosts, servers) = (home.path().join("hosts"), home.path().join("resolv.conf"));
    let known = "127.0.0.1 database.parley.test\n";
    std::fs::write(&hosts, known).expect("it can be written");
    // Nothing responds there: 192.0.2.0/24 is reserved for documentation.
    std::fs::write(&servers, "nameserver 192.0.2.1\noptions timeout:1 attempts:1\n").expect("it can be written");
    let (hosts_at, servers_at) = (hosts.display(), servers.display());
    let app = TestApp::builder(Backend::Postgres)
        .env("PARLEY_DATABASE_CONNECT_TIMEOUT_SECONDS", "2")
        .env("PARLEY_DATABASE_URL", &format!("{credentials}@database.parley.test:{port}/{name}"))
        .program(in_a_namespace(&format!(
            "mount --bind {hosts_at} /etc/hosts; mount --bind {servers_at} /etc/resolv.conf"
        )))
        .database(database)
        .start()
        .await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let mut stream = Reader::open(&app.clients(), everything(1, Start::Latest(()))).await;

    // The writer has its own connection from the first message on.
    let said = fixture.say(conversation, "hello").await;
    assert_eq!(message_of(&stream.next().await), Some(said.id));
    let head = log_info(&app.clients(), 1).await.head_seq;
    stream.until(head).await;

    std::fs::write(&hosts, "").expect("it can be written");
    let said = fixture.say(conversation, "what is connected stays so").await;
    assert_eq!(message_of(&stream.next().await), Some(said.id));

    // New connections require name resolution.
    proxy.cut();
    until(&app, 503).await;
    let refused = in_time("an answer", fixture.send(conversation, outgoing("into the void")));
    let refused = refused.await.expect_err("there is no way to the database");
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(refused.get_details_retry_info().is_some(), "{refused:?}");

    std::fs::write(&hosts, known).expect("it can be written");
    until(&app, 200).await;
    let said = fixture.say(conversation, "and back").await;
    in_time("the event", async { while message_of(&stream.next().await) != Some(said.id) {} }).await;
}

/// The id of the message that a delivery contains.
fn message_of(delivery: &EventDelivery) -> Option<i64> {
    match event(delivery).resource.as_ref()? {
        Resource::Message(told) => Some(told.message.as_ref()?.id),
        _ => None,
    }
}

/// A file size limit simulates a full disk: in both cases a write fails in the middle.
#[tokio::test]
async fn full_disk_refuses_writes_and_loses_nothing() {
    let home = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}/parley.db?mode=rwc", home.path().display());
    // The shell ignores SIGXFSZ and the server inherits that, so a write beyond the limit fails instead of killing the process.
    let limited = limited("trap '' XFSZ; ulimit -S -f 12000");
    let app = TestApp::builder(Backend::Sqlite)
        .database(Database::at(url.clone()))
        .program(limited)
        .start()
        .await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let (mut stored, text) = (0, "x".repeat(20_000));
    let refused = loop {
        match fixture.send(conversation, outgoing(&text)).await {
            Ok(_) => stored += 1,
            Err(status) => break status,
        }
        assert!(stored < 10_000, "the file grew without end");
    };
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(refused.get_details_retry_info().is_some(), "{refused:?}");
    let info = fixture.clients.conversations.clone();
    let read = parley_proto::GetConversationRequest {
        account_id: 1,
        conversation_id: conversation,
    };
    info.clone().get_conversation(read).await.expect("what is there can be read");
    // Space becomes available while writes fail. What is accepted from here on is durable too, although this server is killed.
    for _ in 0..3 {
        fixture.send(conversation, outgoing(&text)).await.expect_err("still full");
    }
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    let pid = Pid::from_raw(app.server.id().cast_signed());
    prlimit(pid, Limit::Fsize, unlimited).expect("a soft limit may be raised");
    for _ in 0..20 {
        fixture.say(conversation, "there is room again").await;
        stored += 1;
    }
    drop(app);

    let app = TestApp::builder(Backend::Sqlite).database(Database::at(url.clone())).start().await;
    let count = "SELECT CAST(count(*) AS bigint) FROM messages WHERE message_type = 1";
    assert_eq!(Database::number(&url, count).await, stored);
    app.fixture().say(conversation, "there is room again").await;
    // Every event is in the log, in sequence.
    let log = whole_log(&app.clients(), 1).await;
    assert!(i64::try_from(log.len()).is_ok_and(|events| events > stored));
}

/// Without free descriptors no new client is served. Existing clients are, and new ones are again once descriptors are free.
#[tokio::test]
async fn server_recovers_from_a_lack_of_descriptors() {
    let app = TestApp::start(Backend::Sqlite).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    // The server read its limit at the start and keeps descriptors in reserve, so lower the limit now to a few more than are open.
    let open = std::fs::read_dir(format!("/proc/{}/fd", app.server.id())).expect("it runs").count();
    let few = Some(u64::try_from(open).expect("small") + 16);
    let pid = Pid::from_raw(app.server.id().cast_signed());
    let limit = Rlimit {
        current: few,
        maximum: few,
    };
    prlimit(pid, Limit::Nofile, limit).expect("a limit may be lowered");
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(TcpStream::connect(&app.server.listeners.http).await.expect("the system takes it"));
    }
    in_time("a line of the log", async {
        while !app.server.log().contains("failed to accept a connection") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    fixture.say(conversation, "who is there is served").await;
    drop(crowd);
    let newcomer = ApiFixture::new(app.clients(), 1, 1);
    newcomer.say(conversation, "and so is who comes now").await;
}
