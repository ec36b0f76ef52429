//! Several servers on one PostgreSQL database: a subscriber of any server receives the writes of all, in order.

use parley_proto::subscribe_request::Start;

use crate::support::{
    app::TestApp,
    chain::{assert_dense, assert_whole_writes},
    database::Backend,
    reader::{Reader, everything, log_info},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_deliver_each_others_writes_in_order() {
    let app = TestApp::builder(Backend::Postgres).replicas(1).start().await;
    let scenes = [app.fixture(), app.fixture().through(app.clients_of_replica(0))];
    let conversation = scenes[0].talk().await;
    let start = log_info(&scenes[1].clients, 1).await.head_seq;
    let mut readers = Vec::new();
    for fixture in &scenes {
        readers.push(Reader::open(&fixture.clients, everything(1, Start::Latest(()))).await);
    }
    // Both servers write concurrently, to a shared conversation and to their own.
    let mut tasks = Vec::new();
    for fixture in scenes.clone() {
        for _ in 0..4 {
            let fixture = fixture.clone();
            tasks.push(tokio::spawn(async move {
                let own = fixture.talk().await;
                for index in 0..15 {
                    fixture.hear(if index % 2 == 0 { own } else { conversation }, "hello").await;
                }
            }));
        }
    }
    for task in tasks {
        task.await.expect("the writer does not panic");
    }
    let head = log_info(&scenes[0].clients, 1).await.head_seq;
    let mut seen = Vec::new();
    for reader in &mut readers {
        let events = reader.until(head).await;
        assert_dense(&events, start + 1);
        assert_whole_writes(&events);
        seen.push(events);
    }
    assert_eq!(seen[0], seen[1], "both servers tell the same story");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cursor_of_one_replica_is_valid_on_another() {
    let app = TestApp::builder(Backend::Postgres).replicas(1).start().await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    let mut first = Reader::open(&app.clients(), everything(1, Start::Earliest(()))).await;
    let mut all = first.take(2).await;
    drop(first);
    fixture.hear(conversation, "while nobody listens").await;
    let head = log_info(&app.clients(), 1).await.head_seq;
    let mut second = Reader::open(&app.clients_of_replica(0), everything(1, Start::After(all[1].cursor.clone()))).await;
    all.extend(second.until(head).await);
    assert_dense(&all, 1);
    assert_eq!(all.len() as u64, head);
}
