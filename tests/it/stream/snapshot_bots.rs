//! Statement 9 for agent bots: a snapshot contains nothing that the events of the bot's inboxes do not keep current.

use std::collections::BTreeSet;

use parley_proto::{Contact, EventFilter, subscribe_request::Start};

use super::snapshot_filters::{object, snapshot};
use crate::{
    agent_bots::connected,
    contacts::update,
    support::{
        app::TestApp,
        database::Backend,
        on_both,
        reader::{Reader, event, everything, log_info},
    },
};

on_both!(statement_09_bot_snapshot_contains_no_contacts);

async fn statement_09_bot_snapshot_contains_no_contacts(backend: Backend) {
    for switch in ["", "snapshot_filter"] {
        let app = TestApp::builder(backend).env("PARLEY_FAULT_SWITCH", switch).start().await;
        let (machine, _) = connected(&app).await;
        let (copy, cursor) = snapshot(&machine, EventFilter::default()).await;
        let (all, _) = snapshot(&app.clients(), EventFilter::default()).await;
        let contacts = all.keys().filter(|(kind, _)| *kind == "contact").map(|(_, id)| *id);
        let contacts: Vec<i64> = contacts.collect();
        assert!(!contacts.is_empty());
        for id in contacts {
            let renamed = Contact {
                id,
                name: format!("Renamed {id}"),
                ..Contact::default()
            };
            update(&app.fixture(), renamed, &["name"]).await.expect("renamed");
        }
        let head = log_info(&machine, 1).await.head_seq;
        let mut reader = Reader::open(&machine, everything(1, Start::After(cursor))).await;
        let told = reader.until(head).await;
        let told: BTreeSet<_> = told.iter().filter_map(|delivery| object(event(delivery))).collect();
        assert!(told.iter().all(|(kind, _)| *kind != "contact"), "{told:?}");
        let in_snapshot: BTreeSet<_> = copy.keys().map(|(kind, _)| *kind).collect();
        let mut wanted = BTreeSet::from(["conversation", "inbox", "message"]);
        if !switch.is_empty() {
            // Without the protection, the snapshot contains contacts that have changed since.
            wanted.insert("contact");
        }
        assert_eq!(in_snapshot, wanted, "{switch}");
    }
}
