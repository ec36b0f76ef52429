//! Statement 22: deleting a contact replaces its events by tombstones with the same sequence numbers.

use parley_proto::{
    self as pb, CreateContactRequest, DeleteContactRequest, EventKind, MergeContactsRequest, event::Resource, subscribe_request::Start,
};
use prost::Message as _;

use crate::support::{
    app::TestApp,
    chain::{assert_dense, assert_whole_writes},
    database::{Backend, Database},
    in_time, on_both,
    reader::{Reader, event, everything, log_info, whole_log},
};

on_both!(
    statement_22_erasure_leaves_tombstones,
    statement_22_deleted_message_is_erased_with_its_contact,
    statement_22_merged_contacts_are_erased_too
);

/// Whether any of these events contains a text.
fn holds(log: &[pb::EventDelivery], text: &str) -> bool {
    log.iter()
        .any(|delivery| String::from_utf8_lossy(&event(delivery).encode_to_vec()).contains(text))
}

async fn delete(app: &TestApp, contact: i64) {
    let request = DeleteContactRequest {
        account_id: 1,
        contact_id: contact,
        ..DeleteContactRequest::default()
    };
    app.clients().contacts.clone().delete_contact(request).await.expect("it is deleted");
}

async fn rewritten(app: &TestApp) {
    let url = app.database.url();
    in_time("rewriting", async {
        while Database::number(&url, "SELECT CAST(count(*) AS bigint) FROM erasures WHERE NOT rewritten").await > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// Deleting a message hides it. Its text stays in earlier events until its contact is erased.
async fn statement_22_deleted_message_is_erased_with_its_contact(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let asha = fixture.person("Asha Rao").await;
    let talk = fixture.conversation(&asha).await.id;
    let said = fixture.hear(talk, "a secret of hers").await;
    let request = pb::DeleteMessageRequest {
        account_id: 1,
        conversation_id: talk,
        message_id: said.id,
        ..pb::DeleteMessageRequest::default()
    };
    app.clients().messages.delete_message(request).await.expect("it is deleted");
    let log = whole_log(&app.clients(), 1).await;
    let (created, later): (Vec<_>, Vec<_>) = log
        .into_iter()
        .partition(|delivery| event(delivery).kind() == EventKind::MessageCreated);
    assert!(holds(&created, "a secret of hers"), "as documented");
    assert!(holds(&later, "a secret of hers"), "the change says what was there before");
    delete(&app, asha.contact).await;
    let log = whole_log(&app.clients(), 1).await;
    assert_dense(&log, 1);
    assert!(!holds(&log, "a secret of hers"));
}

async fn statement_22_erasure_leaves_tombstones(backend: Backend) {
    let replicas = usize::from(backend == Backend::Postgres);
    let app = TestApp::builder(backend)
        .replicas(replicas)
        .env("PARLEY_EVENTS_TRIM_INTERVAL_SECONDS", "2")
        .start()
        .await;
    let fixture = app.fixture();
    let (asha, other) = (fixture.person("Asha Rao").await, fixture.person("Ben Okafor").await);
    let (talk, kept) = (fixture.conversation(&asha).await.id, fixture.conversation(&other).await.id);
    for index in 0..5 {
        fixture.hear(talk, &format!("secret {index}")).await;
        fixture.hear(kept, &format!("open {index}")).await;
        fixture.say(talk, "secret answer").await;
    }
    let before = whole_log(&app.clients(), 1).await;
    // Readers whose events are in the tail in memory, on this replica and on another.
    let elsewhere = app.clients_elsewhere();
    let mut live = Vec::new();
    for clients in [app.clients(), elsewhere.clone()] {
        let mut reader = Reader::open(&clients, everything(1, Start::Earliest(()))).await;
        reader.until(before.len() as u64).await;
        live.push(reader);
    }
    delete(&app, asha.contact).await;
    let head = log_info(&app.clients(), 1).await.head_seq;
    for reader in &mut live {
        let rest = reader.until(head).await;
        assert!(!holds(&rest, "Asha Rao"));
        let told = event(rest.last().expect("the deletion is told"));
        assert_eq!(told.kind(), EventKind::ContactDeleted);
        let Some(Resource::Tombstone(tombstone)) = &told.resource else {
            panic!("{told:?}")
        };
        assert_eq!(tombstone.contact_id, Some(asha.contact), "who is gone is told");
    }
    // Immediately, on every replica, and again after the rows were rewritten.
    for round in 0..2 {
        for clients in [app.clients(), elsewhere.clone()] {
            let log = whole_log(&clients, 1).await;
            assert_dense(&log, 1);
            assert_whole_writes(&log);
            assert_eq!(log.len() as u64, head);
            for text in ["Asha Rao", "secret"] {
                assert!(!holds(&log, text), "{text} in round {round}");
            }
            assert!(holds(&log, "Ben Okafor") && holds(&log, "open 4"), "others keep theirs");
            for (old, new) in before.iter().zip(&log) {
                let (old, new) = (event(old), event(new));
                let same = |event: &pb::Event| {
                    let at = event.occurred_at;
                    (
                        event.event_id.clone(),
                        event.kind,
                        event.kind_name.clone(),
                        event.transaction_id,
                        event.transaction_end,
                        at,
                    )
                };
                assert_eq!(same(new), same(old));
            }
        }
        rewritten(&app).await;
    }
    let url = app.database.url();
    let left = match backend {
        Backend::Postgres => "SELECT CAST(count(*) AS bigint) FROM events WHERE position('secret'::bytea in payload) > 0",
        Backend::Sqlite => "SELECT count(*) FROM events WHERE instr(payload, CAST('secret' AS BLOB)) > 0",
    };
    assert_eq!(Database::number(&url, left).await, 0, "the rows hold nothing of it");
}

async fn statement_22_merged_contacts_are_erased_too(backend: Backend) {
    let app = TestApp::start(backend).await;
    let clients = app.clients();
    let mut ids = Vec::new();
    for name in ["Rao Household", "Asha Rao", "Ashwini Rao"] {
        let request = CreateContactRequest {
            account_id: 1,
            name: name.to_owned(),
            ..CreateContactRequest::default()
        };
        let made = clients
            .contacts
            .clone()
            .create_contact(request)
            .await
            .expect("it is made")
            .into_inner();
        ids.push(made.contact.expect("always set").id);
    }
    // The third contact into the second, and the second into the first.
    for (base, mergee) in [(ids[1], ids[2]), (ids[0], ids[1])] {
        let request = MergeContactsRequest {
            account_id: 1,
            base_contact_id: base,
            mergee_contact_id: mergee,
            ..MergeContactsRequest::default()
        };
        clients.contacts.clone().merge_contacts(request).await.expect("they are merged");
    }
    let log = whole_log(&clients, 1).await;
    assert!(holds(&log, "Ashwini") && holds(&log, "Asha"), "a merge erases nothing");
    delete(&app, ids[0]).await;
    let log = whole_log(&clients, 1).await;
    assert_dense(&log, 1);
    for name in ["Rao Household", "Asha Rao", "Ashwini Rao"] {
        assert!(!holds(&log, name), "{name}");
    }
}
