//! Statement 13: a consumer's work is divided among sessions by conversation.

use std::collections::{BTreeMap, BTreeSet};

use parley_proto::{self as pb, ConsumeOpen};
use tonic::Code;

use super::consume::consumer;
use crate::support::{
    app::TestApp,
    consumer::{Session, plenty},
    database::Backend,
    fault::fault,
    on_both,
    reader::{event, whole_log},
};

on_both!(statement_13_shards_split_by_conversation, statement_13_resharding_loses_nothing);

fn shard(name: &str, shard: u32, shard_count: u32) -> ConsumeOpen {
    ConsumeOpen {
        shard,
        shard_count,
        ..plenty(1, name)
    }
}

fn conversation(event: &pb::Event) -> Option<i64> {
    match event.resource.as_ref()? {
        pb::event::Resource::Message(told) => told.conversation.as_ref().map(|conversation| conversation.id),
        pb::event::Resource::Conversation(told) => told.conversation.as_ref().map(|conversation| conversation.id),
        _ => None,
    }
}

async fn statement_13_shards_split_by_conversation(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let mut talks = Vec::new();
    for _ in 0..7 {
        talks.push(fixture.talk().await);
    }
    for round in 0..4 {
        for talk in &talks {
            fixture.hear(*talk, &format!("round {round}")).await;
        }
    }
    let log = whole_log(&app.clients(), 1).await;
    let head = log.len() as u64;
    let mut seen: BTreeMap<u64, u32> = BTreeMap::new();
    let mut homes: BTreeMap<i64, BTreeSet<u32>> = BTreeMap::new();
    for index in 0..3 {
        let mut session = Session::open(&app.clients(), shard("split", index, 3)).await;
        let events = session.until(head).await;
        let mut last = 0;
        for delivery in &events {
            let event = event(delivery);
            assert_eq!(delivery.prev_seq, last, "the chain is that of the shard");
            last = event.seq;
            assert_eq!(seen.insert(event.seq, index), None, "no event is in two shards");
            homes.extend(
                conversation(event)
                    .map(|id| (id, BTreeSet::new()))
                    .into_iter()
                    .filter(|(id, _)| !homes.contains_key(id))
                    .collect::<Vec<_>>(),
            );
            if let Some(home) = conversation(event).and_then(|id| homes.get_mut(&id)) {
                home.insert(index);
            }
        }
        assert!(!events.is_empty(), "each has a share");
        let last = events.last().expect("there are events").cursor.clone();
        session.commit(&last).await.expect("each commits for itself");
    }
    assert_eq!(seen.len() as u64, head, "every event is in one shard");
    assert_eq!(homes.len(), talks.len());
    assert!(
        homes.values().all(|home| home.len() == 1),
        "a conversation stays in its shard: {homes:?}"
    );
}

async fn statement_13_resharding_loses_nothing(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    for _ in 0..4 {
        let talk = fixture.talk().await;
        fixture.hear(talk, "hello").await;
    }
    let head = whole_log(&app.clients(), 1).await.len() as u64;
    let mut first = Session::open(&app.clients(), shard("grows", 0, 2)).await;
    let events = first.until(head).await;
    let done = events.last().expect("there are events").cursor.clone();
    first.commit(&done).await.expect("it is stored");
    // The shard count cannot change while a session is alive.
    let status = Session::try_open(&app.clients(), shard("grows", 2, 4))
        .await
        .expect_err("a session is alive");
    let refused = fault(&status);
    assert_eq!(
        (refused.code, refused.reason.as_str()),
        (Code::FailedPrecondition, "CONSUMER_DIFFERS")
    );
    assert_eq!(
        (refused.metadata["field"].as_str(), refused.metadata["shard_count"].as_str()),
        ("shard_count", "2")
    );
    let mut ended = first;
    app.database.run("UPDATE consumer_shards SET leased_until = 0").await;

    // Shard 1 of 2 was never opened, so all four shards begin where it would have begun.
    let mut seen = BTreeSet::new();
    for index in 0..4 {
        let mut session = Session::open(&app.clients(), shard("grows", index, 4)).await;
        seen.extend(session.until(head).await.iter().map(|delivery| event(delivery).seq));
    }
    assert_eq!(seen.len() as u64, head);
    assert_eq!(consumer(&app.clients(), "grows").await.shard_count, 4);
    assert_eq!(fault(&ended.end().await).reason, "CONSUMER_TAKEN_OVER");
}
