//! Shows what each protection is for: a scenario with the protection, in which a promise holds, and the same scenario without it, in which
//! the promise is broken.

use parley_proto::{
    self as pb, ConsumeOpen, CreateMessageRequest, DeleteContactRequest, EventFilter, EventKind, GetConsumerRequest,
    subscribe_request::Start,
};
use prost::Message as _;

use crate::support::{
    api_fixture::incoming,
    app::TestApp,
    consumer::{Session, Told, plenty},
    database::Backend,
    fault::fault,
    in_time, on_both,
    reader::{Reader, event, everything, log_info, whole_log},
};

on_both!(
    gap_check_reports_trimmed_events,
    epoch_check_refuses_cursors_of_another_epoch,
    idempotency_key_prevents_duplicate_messages,
    credit_bounds_events_in_flight,
    redaction_hides_events_of_an_erased_contact
);

/// A server with a protection turned on, and one with it turned off.
async fn both(backend: Backend, protection: &str, replicas: usize) -> [(bool, TestApp); 2] {
    let start = |switch: &str| {
        TestApp::builder(backend)
            .replicas(replicas)
            .env("PARLEY_FAULT_SWITCH", switch)
            // Erased events are rewritten after the end of this test, unless the test is about trimming.
            .env(
                "PARLEY_EVENTS_TRIM_INTERVAL_SECONDS",
                if protection == "gap_check" { "1" } else { "3600" },
            )
            .start()
    };
    [(true, start("").await), (false, start(protection).await)]
}

/// With two replicas, because within one process an older session is notified at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fencing_refuses_commits_of_an_older_session() {
    for (on, app) in both(Backend::Postgres, "fencing", 1).await {
        app.fixture().talk().await;
        let mut older = Session::open(&app.clients(), plenty(1, "worker")).await;
        let (first, second) = (older.next().await, older.next().await);
        let mut newer = Session::open(&app.clients_elsewhere(), plenty(1, "worker")).await;
        newer.next().await;
        newer.commit(&first.cursor).await.expect("the newer one commits");
        let taken = older.commit(&second.cursor).await.is_ok();
        let request = GetConsumerRequest {
            account_id: 1,
            name: "worker".to_owned(),
        };
        let answer = app
            .clients()
            .consumers
            .clone()
            .get_consumer(request)
            .await
            .expect("it is there")
            .into_inner();
        let stored = answer.consumer.expect("always set").shards[0].seq;
        assert_eq!((taken, stored), if on { (false, 1) } else { (true, 2) });
    }
}

async fn gap_check_reports_trimmed_events(backend: Backend) {
    for (on, app) in both(backend, "gap_check", 0).await {
        let fixture = app.fixture();
        let talk = fixture.talk().await;
        for index in 0..20 {
            fixture.hear(talk, &format!("message {index}")).await;
        }
        let open = ConsumeOpen {
            filter: Some(EventFilter {
                kinds: vec![EventKind::MessageCreated.into()],
                ..EventFilter::default()
            }),
            credit: Some(pb::ConsumeCredit { events: 1, bytes: 0 }),
            ..plenty(1, "slow")
        };
        // The consumer holds back trimming, but not for that long.
        let mut session = Session::open(&app.clients(), open).await;
        let first = event(&session.next().await).seq;
        let head = log_info(&app.clients(), 1).await.head_seq;
        app.database
            .run(&format!(
                "UPDATE events SET occurred_at = occurred_at - 1300000000000 WHERE seq <= {}",
                head - 2
            ))
            .await;
        in_time("trimming", async {
            while log_info(&app.clients(), 1).await.earliest_seq < head - 4 {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            // The rows are deleted after the counter is raised.
            tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        })
        .await;
        session.grant(100, 0).await;
        let next = loop {
            match session.take_any().await {
                Ok(Told::Event(delivery)) => break Ok((delivery.prev_seq, event(&delivery).seq)),
                Ok(_) => {}
                Err(status) => break Err(fault(&status).reason),
            }
        };
        match (on, next) {
            (true, Err(reason)) => assert_eq!(reason, "CURSOR_EXPIRED"),
            // The chain looks intact, although about twenty messages are missing.
            (false, Ok((prev, seq))) => assert!(prev == first && seq >= head - 4, "{prev} {seq}"),
            (on, next) => panic!("{on}: {next:?}"),
        }
    }
}

async fn epoch_check_refuses_cursors_of_another_epoch(backend: Backend) {
    for (on, app) in both(backend, "epoch_check", 0).await {
        app.fixture().talk().await;
        let cursor = log_info(&app.clients(), 1).await.head_cursor;
        app.database.run("UPDATE account_logs SET epoch = 7").await;
        let opened = Reader::try_open(&app.clients(), everything(1, Start::After(cursor))).await;
        assert_eq!(opened.is_err(), on, "a cursor of another history is refused");
    }
}

async fn idempotency_key_prevents_duplicate_messages(backend: Backend) {
    for (on, app) in both(backend, "idempotency_key", 0).await {
        let fixture = app.fixture();
        let talk = fixture.talk().await;
        let request: CreateMessageRequest = fixture.request(talk, incoming("once"));
        let mut ids = Vec::new();
        for _ in 0..2 {
            let answer = app
                .clients()
                .messages
                .create_message(request.clone())
                .await
                .expect("it is stored")
                .into_inner();
            ids.push(answer.message.expect("always set").id);
        }
        assert_eq!(ids[0] == ids[1], on, "the same request is done once");
    }
}

async fn credit_bounds_events_in_flight(backend: Backend) {
    for (on, app) in both(backend, "credit", 0).await {
        app.fixture().talk().await;
        let open = ConsumeOpen {
            credit: None,
            ..plenty(1, "starved")
        };
        let mut session = Session::open(&app.clients(), open).await;
        let first = session.take_any().await.expect("it is open");
        assert_eq!(matches!(first, Told::Bookmark(_)), on, "without credit only bookmarks flow");
    }
}

async fn redaction_hides_events_of_an_erased_contact(backend: Backend) {
    for (on, app) in both(backend, "erasure", 0).await {
        let person = app.fixture().person("Asha Rao").await;
        let request = DeleteContactRequest {
            account_id: 1,
            contact_id: person.contact,
            ..DeleteContactRequest::default()
        };
        // Until the rows are rewritten, only redaction hides their content from readers.
        app.database
            .run("UPDATE account_logs SET last_occurred_at = last_occurred_at")
            .await;
        app.clients().contacts.delete_contact(request).await.expect("it is deleted");
        let log = whole_log(&app.clients(), 1).await;
        let told = log
            .iter()
            .any(|delivery| String::from_utf8_lossy(&event(delivery).encode_to_vec()).contains("Asha Rao"));
        assert_eq!(told, !on);
    }
}
