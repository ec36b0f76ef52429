//! A replica that is suspended or disconnected in the middle of a write: its locks must not block the other replicas for long.

use std::time::Duration;

use parley_proto::{Contact, UpdateContactRequest};
use prost_types::FieldMask;
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection as _, PgConnection};

use crate::support::{
    api_fixture::{ApiFixture, outgoing},
    app::TestApp,
    database::{Backend, Database},
    in_time,
    reader::whole_log,
};

/// The number of sessions that have begun a transaction and are idle.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'";

fn signal(process: u32, signal: Signal) {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw).expect("a process has a number");
    kill_process(process, signal).expect("the process runs");
}

/// Updates a contact repeatedly, each time in a transaction with several statements.
async fn rename(fixture: ApiFixture, contact: i64) {
    for number in 0.. {
        let request = UpdateContactRequest {
            account_id: 1,
            contact: Some(Contact {
                id: contact,
                name: format!("Name {number}"),
                ..Contact::default()
            }),
            update_mask: Some(FieldMask {
                paths: vec!["name".to_owned()],
            }),
            ..UpdateContactRequest::default()
        };
        // A suspended server does not respond.
        let _ = fixture.clients.contacts.clone().update_contact(request).await;
    }
}

/// Terminates the session that holds the lock of an account.
const END: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() \
                   AND state = 'idle in transaction' AND query LIKE '%FOR UPDATE'";

/// The number of idle sessions that hold the lock of an account.
const HOLDING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction' \
                       AND query LIKE '%FOR UPDATE'";

/// A batch that was planned under a lock is not stored without the lock, and the caller is asked to retry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_is_not_stored_after_losing_the_lock_on_postgres() {
    let app = TestApp::builder(Backend::Postgres).replicas(1).start().await;
    let (here, url) = (app.fixture(), app.database.url());
    let there = here.through(app.clients_of_replica(0));
    let conversation = here.talk().await;
    here.send(conversation, outgoing("at hand here")).await.expect("sent");
    there.send(conversation, outgoing("at hand there")).await.expect("sent");
    for ended in [true, false] {
        // The cache of this replica is stale, so this write locks the account and reads the conversation with its inbox, which waits for
        // the table lock.
        let mut keeper = PgConnection::connect(&url).await.expect("the database is there");
        for sql in ["BEGIN", "LOCK TABLE inboxes IN ACCESS EXCLUSIVE MODE"] {
            sqlx::query(sql).execute(&mut keeper).await.expect("it is locked");
        }
        let waiting = {
            let here = here.clone();
            tokio::spawn(async move { here.send(conversation, outgoing("planned under the lock")).await })
        };
        in_time("a session that holds the lock", async {
            while Database::number(&url, HOLDING).await == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        // Longer than the idle time after which a connection is tested before it is used.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        if ended {
            assert_eq!(Database::number(&url, END).await, 1);
        }
        in_time("the end of the session", async {
            while Database::number(&url, HOLDING).await > 0 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
        there
            .send(conversation, outgoing("stored meanwhile"))
            .await
            .expect("nobody holds the lock");
        sqlx::query("ROLLBACK").execute(&mut keeper).await.expect("it is unlocked");
        let refused = waiting.await.expect("no panic").expect_err("the lock was lost");
        assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused:?}");
        here.send(conversation, outgoing("again")).await.expect("all is well");
        there.send(conversation, outgoing("again")).await.expect("all is well");
    }
    let log = whole_log(&app.clients(), 1).await;
    crate::support::chain::assert_dense(&log, 1);
    crate::support::chain::assert_whole_writes(&log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_suspended_in_a_write_loses_its_lock() {
    let app = TestApp::builder(Backend::Postgres).replicas(1).start().await;
    let (fixture, url) = (app.fixture(), app.database.url());
    let conversation = fixture.talk().await;
    let busy = fixture.through(app.clients_of_replica(0));
    let mut renaming = Vec::new();
    for index in 0..4 {
        let person = fixture.person(&format!("Person {index}")).await;
        renaming.push(tokio::spawn(rename(busy.clone(), person.contact)));
    }
    let replica = app.replicas[0].id();
    in_time("a replica that stands still inside of a write", async {
        loop {
            signal(replica, Signal::STOP);
            // Statements that it had already sent have completed by then.
            tokio::time::sleep(Duration::from_millis(50)).await;
            if Database::number(&url, WAITING).await > 0 {
                return;
            }
            signal(replica, Signal::CONT);
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    })
    .await;

    let mut refusals = 0;
    in_time("a write of another replica", async {
        while fixture.send(conversation, outgoing("hello")).await.is_err() {
            refusals += 1;
        }
    })
    .await;

    signal(replica, Signal::CONT);
    in_time("a write of the replica, which goes on", async {
        while busy.send(conversation, outgoing("hello again")).await.is_err() {}
    })
    .await;
    renaming.iter().for_each(tokio::task::JoinHandle::abort);
    let log = whole_log(&app.clients(), 1).await;
    crate::support::chain::assert_dense(&log, 1);
    crate::support::chain::assert_whole_writes(&log);
    assert!(refusals < 10, "{refusals} refusals");
}
