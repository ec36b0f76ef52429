//! Statements 12 to 14: durable consumers, whose positions the server stores.

use parley_proto::{
    self as pb, ConsumeOpen, DeleteConsumerRequest, EventFilter, EventKind, GetConsumerRequest, ListConsumersRequest, ResetConsumerRequest,
    consume_open::Start, reset_consumer_request,
};
use tonic::Code;

use crate::support::{
    app::{ADMINISTRATOR, TestApp},
    chain::{assert_dense, assert_filtered},
    clients::Clients,
    consumer::{Session, Told, credit, plenty},
    database::Backend,
    fault::fault,
    http::client,
    in_time, on_both,
    reader::{event, log_info, whole_log},
};

on_both!(
    statement_12_server_stores_the_cursor,
    statement_12_consumer_has_one_filter,
    statement_13_commits_are_cumulative,
    statement_13_newer_session_takes_over,
    statement_14_credit_bounds_events_in_flight,
    consumers_can_be_listed_reset_and_deleted,
    invalid_consumer_requests_are_refused,
    consumer_lag_is_reported
);

pub(super) async fn consumer(clients: &Clients, name: &str) -> pb::Consumer {
    let request = GetConsumerRequest {
        account_id: 1,
        name: name.to_owned(),
    };
    let answer = clients
        .consumers
        .clone()
        .get_consumer(request)
        .await
        .expect("the consumer is there");
    answer.into_inner().consumer.expect("always set")
}

async fn statement_12_server_stores_the_cursor(backend: Backend) {
    let mut app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    for index in 0..10 {
        fixture.hear(conversation, &format!("message {index}")).await;
    }
    let mut session = Session::open(&app.clients(), plenty(1, "mailer")).await;
    let head = log_info(&app.clients(), 1).await.head_seq;
    let mut all = session.until(head).await;
    assert_dense(&all, 1);
    let middle = all[4].cursor.clone();
    assert_eq!(session.commit(&middle).await.expect("it is stored"), middle);

    // After a crash, the next session starts after the committed position, whatever start it requests.
    app.crash_and_restart().await;
    let open = ConsumeOpen {
        start: Some(Start::Latest(())),
        ..plenty(1, "mailer")
    };
    let mut session = Session::open(&app.clients(), open).await;
    assert_eq!(session.opened.cursor, middle);
    let again = session.until(head).await;
    all.truncate(5);
    all.extend(again);
    assert_dense(&all, 1);
    assert_eq!(all.len() as u64, head);
}

async fn statement_12_consumer_has_one_filter(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    for index in 0..5 {
        fixture.hear(conversation, &format!("message {index}")).await;
    }
    let kinds = |kinds: &[EventKind]| {
        Some(EventFilter {
            kinds: kinds.iter().map(|kind| i32::from(*kind)).collect(),
            ..EventFilter::default()
        })
    };
    let made = ConsumeOpen {
        filter: kinds(&[EventKind::MessageCreated, EventKind::ContactCreated]),
        ..plenty(1, "messages")
    };
    let mut session = Session::open(&app.clients(), made.clone()).await;
    let log = whole_log(&app.clients(), 1).await;
    let events = session.until(log.len() as u64).await;
    let wanted = |event: &pb::Event| matches!(event.kind(), EventKind::MessageCreated | EventKind::ContactCreated);
    assert_filtered(&events, &log, 0, wanted);
    drop(session);

    // The same filter in another order, or no filter, matches the consumer's; a different one is refused.
    for filter in [kinds(&[EventKind::ContactCreated, EventKind::MessageCreated]), None] {
        let open = ConsumeOpen { filter, ..made.clone() };
        let mut session = Session::open(&app.clients(), open).await;
        assert_filtered(&session.until(log.len() as u64).await, &log, 0, wanted);
    }
    let other = ConsumeOpen {
        filter: kinds(&[EventKind::MessageCreated]),
        ..made
    };
    let status = Session::try_open(&app.clients(), other).await.expect_err("the filter is another");
    let refused = fault(&status);
    assert_eq!(
        (refused.code, refused.reason.as_str()),
        (Code::FailedPrecondition, "CONSUMER_DIFFERS")
    );
    assert_eq!(refused.metadata["field"], "filter");
}

async fn statement_13_commits_are_cumulative(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    for index in 0..10 {
        fixture.hear(conversation, &format!("message {index}")).await;
    }
    let mut session = Session::open(&app.clients(), plenty(1, "worker")).await;
    let head = log_info(&app.clients(), 1).await.head_seq;
    let events = session.until(head).await;
    let (third, sixth) = (events[2].cursor.clone(), events[5].cursor.clone());
    assert_eq!(session.commit(&sixth).await.expect("it is stored"), sixth);
    // A commit below the stored position succeeds without effect, so the position never goes back.
    assert_eq!(session.commit(&third).await.expect("it is covered"), sixth);
    let standing = consumer(&app.clients(), "worker").await;
    let shard = &standing.shards[0];
    assert_eq!((&shard.cursor, shard.seq, shard.lag), (&sixth, 6, head - 6));
    assert_eq!((standing.lag, standing.head_seq, shard.connected), (head - 6, head, true));

    // Many commits at once may get a single reply with the highest position.
    for delivery in &events {
        session.say_commit(&delivery.cursor).await;
    }
    let last = events.last().expect("there are events").cursor.clone();
    loop {
        match session.take_any().await.expect("the session goes on") {
            Told::Committed(stored) if stored == last => break,
            _ => {}
        }
    }
    assert_eq!(consumer(&app.clients(), "worker").await.lag, 0);

    // Cursors that were not delivered yet or belong to another log are refused, and nothing is stored.
    fixture.hear(conversation, "one more").await;
    let mut starved = Session::open(
        &app.clients(),
        ConsumeOpen {
            credit: None,
            ..plenty(1, "starved")
        },
    )
    .await;
    let status = starved.commit(&last).await.expect_err("it was sent nothing");
    let refused = fault(&status);
    assert_eq!(refused.code, Code::InvalidArgument);
    assert!(refused.fields.contains("commit.cursor: OUT_OF_RANGE"), "{refused:?}");
    assert_eq!(consumer(&app.clients(), "starved").await.shards[0].seq, 0);
}

async fn statement_13_newer_session_takes_over(backend: Backend) {
    let replicas = usize::from(backend == Backend::Postgres);
    let app = TestApp::builder(backend).replicas(replicas).start().await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let mut older = Session::open(&app.clients(), plenty(1, "worker")).await;
    let first = older.next().await;
    // On PostgreSQL the newer session is on another replica.
    let elsewhere = app.clients_elsewhere();
    let mut newer = Session::open(&elsewhere, plenty(1, "worker")).await;
    assert!(newer.opened.fence > older.opened.fence);
    newer.next().await;
    let second = newer.next().await;
    let stored = newer.commit(&second.cursor).await.expect("the newer one commits");

    // The older session is fenced at its next commit at the latest. If it commits nothing, it learns about the takeover from the server.
    older.say_commit(&first.cursor).await;
    let status = older.end().await;
    let ended = fault(&status);
    assert_eq!(
        (ended.code, ended.reason.as_str()),
        (Code::Aborted, "CONSUMER_TAKEN_OVER"),
        "{status:?}"
    );
    assert_eq!(consumer(&app.clients(), "worker").await.shards[0].cursor, stored);

    let mut silent = newer;
    let _newest = Session::open(&app.clients(), plenty(1, "worker")).await;
    assert_eq!(fault(&silent.end().await).reason, "CONSUMER_TAKEN_OVER");
    fixture.hear(conversation, "goes on").await;
}

async fn statement_14_credit_bounds_events_in_flight(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    for index in 0..20 {
        fixture.hear(conversation, &format!("message {index}")).await;
    }
    let open = ConsumeOpen {
        credit: None,
        heartbeat: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        ..plenty(1, "careful")
    };
    let head = log_info(&app.clients(), 1).await.head_seq;
    let mut session = Session::open(&app.clients(), open.clone()).await;
    // Without credit only bookmarks are sent, and they report the lag.
    for _ in 0..2 {
        let bookmark = session.bookmark().await;
        assert_eq!((bookmark.seq, bookmark.head_seq), (0, head));
    }
    session.grant(3, 0).await;
    for seq in 1..=3 {
        loop {
            match session.take_any().await.expect("the session goes on") {
                Told::Event(delivery) => {
                    assert_eq!(event(&delivery).seq, seq);
                    break;
                }
                Told::Bookmark(bookmark) => assert!(bookmark.seq < seq, "a bookmark says no more than was sent"),
                Told::Committed(_) => panic!("nothing was committed"),
            }
        }
    }
    assert_eq!(session.bookmark().await.seq, 3);
    drop(session);

    // Credit in bytes: a session receives at most one event beyond it.
    let open = ConsumeOpen {
        consumer: "narrow".to_owned(),
        credit: Some(pb::ConsumeCredit { events: 1000, bytes: 1 }),
        ..open
    };
    let mut session = Session::open(&app.clients(), open).await;
    assert_eq!(event(&session.next().await).seq, 1);
    assert_eq!(session.bookmark().await.seq, 1);
    session.grant(0, 1_000_000).await;
    let rest = session.until(head).await;
    assert_eq!(rest.len() as u64, head - 1);
}

async fn consumers_can_be_listed_reset_and_deleted(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    fixture.talk().await;
    let clients = app.clients();
    for name in ["billing", "audit", "search"] {
        let mut session = Session::open(&clients, plenty(1, name)).await;
        session.next().await;
    }
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListConsumersRequest {
            account_id: 1,
            page_size: 2,
            page_token,
        };
        let page = clients
            .consumers
            .clone()
            .list_consumers(request)
            .await
            .expect("they are listed")
            .into_inner();
        names.extend(page.consumers.into_iter().map(|consumer| consumer.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["audit", "billing", "search"]);

    // A reset to the head ends the session, and the next one starts there with a higher fencing number.
    let mut session = Session::open(&clients, plenty(1, "audit")).await;
    let fence = session.opened.fence;
    let request = ResetConsumerRequest {
        account_id: 1,
        request_id: uuid::Uuid::new_v4().to_string(),
        name: "audit".to_owned(),
        start: Some(reset_consumer_request::Start::Latest(())),
    };
    let answer = clients
        .consumers
        .clone()
        .reset_consumer(request)
        .await
        .expect("it is reset")
        .into_inner();
    let head = log_info(&clients, 1).await;
    assert_eq!(answer.consumer.expect("always set").lag, 0);
    assert_eq!(fault(&session.end().await).reason, "CONSUMER_TAKEN_OVER");
    let session = Session::open(&clients, plenty(1, "audit")).await;
    assert_eq!(session.opened.cursor, head.head_cursor);
    assert!(session.opened.fence > fence);

    let delete = |name: &str| DeleteConsumerRequest {
        account_id: 1,
        request_id: String::new(),
        name: name.to_owned(),
    };
    let answer = clients
        .consumers
        .clone()
        .delete_consumer(delete("billing"))
        .await
        .expect("it is deleted");
    assert_eq!(answer.into_inner().cursor, head.head_cursor);
    let status = clients
        .consumers
        .clone()
        .delete_consumer(delete("billing"))
        .await
        .expect_err("it is gone");
    assert_eq!(fault(&status).code, Code::NotFound);
}

async fn consumer_lag_is_reported(backend: Backend) {
    let app = TestApp::start(backend).await;
    let talk = app.fixture().talk().await;
    app.fixture().hear(talk, "hello").await;
    let clients = app.clients();
    let mut session = Session::open(&clients, plenty(1, "mailer")).await;
    let head = log_info(&clients, 1).await.head_seq;
    let events = session.until(head).await;
    session.commit(&events[1].cursor).await.expect("it is stored");

    let target = [
        "--server",
        &format!("http://{}", app.server.listeners.grpc),
        "--token",
        ADMINISTRATOR,
    ]
    .map(str::to_owned);
    let listed = tokio::task::spawn_blocking(move || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_parley"));
        command.arg("consumers").args(target).arg("list").output()
    });
    let output = listed.await.expect("it ends").expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text
        .lines()
        .find(|line| line.starts_with("mailer"))
        .unwrap_or_else(|| panic!("{output:?}"));
    let words: Vec<&str> = line.split_whitespace().collect();
    let (head, lag) = (head.to_string(), (head - 2).to_string());
    assert_eq!(words, ["mailer", "0/1", "2", &head, &lag, "connected"]);

    let admin = format!("http://{}/metrics", app.server.listeners.admin);
    let is_audited = |metrics: &str| {
        let lines = metrics.lines().filter(|line| line.starts_with("parley_consumer_lag_events{"));
        let mut lines = lines.filter(|line| {
            ["account=\"1\"", "consumer=\"mailer\"", "shard=\"0\""]
                .iter()
                .all(|label| line.contains(label))
        });
        lines.any(|line| line.ends_with(&format!(" {lag}")))
    };
    in_time("the metric", async {
        loop {
            let metrics = client()
                .get(&admin)
                .send()
                .await
                .expect("it is served")
                .text()
                .await
                .expect("it is text");
            if is_audited(&metrics) {
                assert!(metrics.contains("parley_log_events") && metrics.contains("parley_log_oldest_seconds"));
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    })
    .await;
}

async fn invalid_consumer_requests_are_refused(backend: Backend) {
    let app = TestApp::start(backend).await;
    let status = Session::try_open(&app.clients_with("a-token-nobody-was-given"), plenty(1, "x")).await;
    assert_eq!(fault(&status.expect_err("the token is unknown")).code, Code::Unauthenticated);
    let status = Session::try_open(&app.clients(), plenty(2, "x")).await;
    assert_eq!(fault(&status.expect_err("the account is another's")).code, Code::PermissionDenied);
    let long = "x".repeat(256);
    for (open, field) in [
        (plenty(1, ""), "open.consumer: REQUIRED"),
        (plenty(1, &long), "open.consumer: TOO_LONG"),
        (
            ConsumeOpen {
                shard: 2,
                shard_count: 2,
                ..plenty(1, "x")
            },
            "open.shard: OUT_OF_RANGE",
        ),
        (
            ConsumeOpen {
                shard_count: 257,
                ..plenty(1, "x")
            },
            "open.shard_count: OUT_OF_RANGE",
        ),
    ] {
        let status = Session::try_open(&app.clients(), open).await.expect_err("it is refused");
        assert!(fault(&status).fields.contains(field), "{field}: {status:?}");
    }
    let mut session = Session::open(
        &app.clients(),
        ConsumeOpen {
            credit: Some(credit(0)),
            ..plenty(1, "y")
        },
    )
    .await;
    let status = session
        .commit(&bytes::Bytes::from_static(b"cursor"))
        .await
        .expect_err("this is no cursor");
    assert!(fault(&status).fields.contains("commit.cursor: INVALID"), "{status:?}");
}
