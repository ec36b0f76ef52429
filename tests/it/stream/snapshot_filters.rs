//! Statement 9 with filters: a snapshot contains exactly the resources whose later events match the filter, so that snapshot and tail
//! together equal an unfiltered copy of these resources.

use std::collections::BTreeMap;

use bytes::Bytes;
use parley_proto::{
    Event, EventDelivery, EventFilter, EventKind, Inbox, MessageType, UpdateInboxRequest, UpdateMessageRequest, event::Resource,
    subscribe_request::Start, upsert::Resource as Present,
};
use prost_types::FieldMask;
use serde_json::json;

use crate::{
    contacts::update,
    support::{
        api_fixture::{ApiFixture, note},
        app::TestApp,
        clients::Clients,
        database::Backend,
        in_time,
        office::inbox,
        on_both,
        reader::{Reader, event, filtered, log_info},
        told::Told as _,
    },
};

on_both!(statement_09_filtered_snapshot_and_tail_agree);

/// Versions of resources, by type and id.
pub(super) type Copy = BTreeMap<(&'static str, i64), u64>;

/// The snapshot for a filter, and the cursor after it.
pub(super) async fn snapshot(clients: &Clients, filter: EventFilter) -> (Copy, Bytes) {
    let request = filtered(1, Start::Snapshot(()), filter);
    let opened = in_time("Subscribe", clients.events.clone().subscribe(request)).await;
    let mut stream = opened.expect("the stream opens").into_inner();
    let mut copy = Copy::new();
    loop {
        let response = in_time("a response", stream.message()).await.expect("it goes on").expect("no end");
        for upsert in response.upserts {
            let key = match upsert.resource.expect("an object") {
                Present::Inbox(inbox) => ("inbox", inbox.id),
                Present::Contact(contact) => ("contact", contact.id),
                Present::Conversation(conversation) => ("conversation", conversation.id),
                Present::Message(message) => ("message", message.id),
            };
            assert_eq!(copy.insert(key, upsert.version), None, "{key:?} comes once");
        }
        if let Some(complete) = response.snapshot_complete {
            return (copy, complete.cursor);
        }
    }
}

/// The resource of an event.
pub(super) fn object(event: &Event) -> Option<(&'static str, i64)> {
    Some(match event.resource.as_ref()? {
        Resource::Inbox(about) => ("inbox", about.inbox.as_ref()?.id),
        Resource::Contact(about) => ("contact", about.contact.as_ref()?.id),
        Resource::Conversation(about) => ("conversation", about.conversation.as_ref()?.id),
        Resource::Message(about) => ("message", about.message.as_ref()?.id),
        _ => return None,
    })
}

fn passes(event: &Event, filter: &EventFilter) -> bool {
    let within = |wanted: &[i64], value: Option<i64>| wanted.is_empty() || value.is_some_and(|value| wanted.contains(&value));
    let message = event.message().and_then(|about| about.message.as_ref());
    (filter.kinds.is_empty() || filter.kinds.contains(&event.kind))
        && within(&filter.inbox_ids, event.inbox_id())
        && within(&filter.conversation_ids, event.conversation_id())
        && within(&filter.contact_ids, event.contact_id())
        && (filter.message_types.is_empty() || message.is_some_and(|message| filter.message_types.contains(&message.r#type)))
        && filter
            .private
            .is_none_or(|private| message.is_some_and(|message| message.private == private))
}

fn apply<'a>(copy: &mut Copy, events: impl Iterator<Item = &'a Event>) {
    for event in events {
        if let Some(object) = object(event) {
            let version = copy.entry(object).or_default();
            *version = event.seq.max(*version);
        }
    }
}

struct Scenery {
    inboxes: [i64; 2],
    conversations: Vec<i64>,
    contacts: Vec<i64>,
}

async fn furnish(fixture: &ApiFixture) -> Scenery {
    let second = inbox(&fixture.clients, 1, "Second").await;
    let elsewhere = ApiFixture::new(fixture.clients.clone(), 1, second);
    let (mut conversations, mut contacts) = (Vec::new(), Vec::new());
    for fixture in [fixture, &elsewhere] {
        for name in ["Asha", "Bruno"] {
            let person = fixture.person(name).await;
            let conversation = fixture.conversation(&person).await.id;
            fixture.hear(conversation, "a question").await;
            fixture.say(conversation, "an answer").await;
            fixture.sent(conversation, note("between us")).await;
            contacts.push(person.contact);
            conversations.push(conversation);
        }
    }
    Scenery {
        inboxes: [1, second],
        conversations,
        contacts,
    }
}

/// Changes every resource, and adds some.
async fn change(app: &TestApp, scenery: &Scenery, messages: impl Iterator<Item = i64>, conversation_of: &BTreeMap<i64, i64>) {
    let (fixture, clients) = (app.fixture(), app.clients());
    for id in scenery.inboxes {
        let request = UpdateInboxRequest {
            account_id: 1,
            inbox: Some(Inbox {
                id,
                name: format!("Renamed {id}"),
                ..Inbox::default()
            }),
            update_mask: Some(FieldMask {
                paths: vec!["name".to_owned()],
            }),
            ..UpdateInboxRequest::default()
        };
        clients.inboxes.clone().update_inbox(request).await.expect("renamed");
    }
    for id in &scenery.contacts {
        let renamed = parley_proto::Contact {
            id: *id,
            name: format!("Renamed {id}"),
            ..parley_proto::Contact::default()
        };
        update(&fixture, renamed, &["name"]).await.expect("renamed");
    }
    for id in &scenery.conversations {
        let path = format!("/conversations/{id}/toggle_priority");
        app.http().post(&path, &json!({"priority": "high"})).await;
        fixture.hear(*id, "and another question").await;
    }
    for id in messages {
        let request = UpdateMessageRequest {
            account_id: 1,
            conversation_id: conversation_of[&id],
            message_id: id,
            content_attributes: Some(prost_types::Struct {
                fields: [("changed".to_owned(), parley_proto::value::value_of(&json!(true)))].into(),
            }),
            ..UpdateMessageRequest::default()
        };
        clients.messages.clone().update_message(request).await.expect("changed");
    }
}

/// Every combination of these fields.
fn filters(scenery: &Scenery) -> Vec<EventFilter> {
    let kinds: [&[EventKind]; 6] = [
        &[],
        &[EventKind::MessageCreated],
        &[EventKind::MessageCreated, EventKind::MessageUpdated],
        &[EventKind::ContactUpdated],
        &[EventKind::ConversationUpdated, EventKind::MessageUpdated],
        &[EventKind::InboxUpdated, EventKind::ConversationCreated],
    ];
    let lists = |id: i64| [vec![], vec![id]];
    let mut filters = Vec::new();
    for kinds in kinds {
        for inbox_ids in lists(scenery.inboxes[1]) {
            for conversation_ids in lists(scenery.conversations[2]) {
                for contact_ids in lists(scenery.contacts[2]) {
                    for message_types in [vec![], vec![MessageType::Incoming.into()]] {
                        for private in [None, Some(true)] {
                            filters.push(EventFilter {
                                kinds: kinds.iter().map(|kind| i32::from(*kind)).collect(),
                                inbox_ids: inbox_ids.clone(),
                                conversation_ids: conversation_ids.clone(),
                                contact_ids: contact_ids.clone(),
                                message_types: message_types.clone(),
                                private,
                            });
                        }
                    }
                }
            }
        }
    }
    filters
}

async fn statement_09_filtered_snapshot_and_tail_agree(backend: Backend) {
    for (on, switch) in [(true, ""), (false, "snapshot_filter")] {
        let app = TestApp::builder(backend).env("PARLEY_FAULT_SWITCH", switch).start().await;
        let clients = app.clients();
        let scenery = furnish(&app.fixture()).await;
        let log = crate::support::reader::whole_log(&clients, 1).await;
        let conversation_of: BTreeMap<i64, i64> = log
            .iter()
            .map(event)
            .filter_map(|event| Some((event.message()?.message.as_ref()?.id, event.conversation_id()?)))
            .collect();
        let (everything, cursor) = snapshot(&clients, EventFilter::default()).await;
        let mut copies = Vec::new();
        // Without the protection, a few filters suffice.
        for filter in filters(&scenery).into_iter().step_by(if on { 1 } else { 16 }) {
            let (copy, cursor) = snapshot(&clients, filter.clone()).await;
            copies.push((filter, copy, cursor));
        }
        let messages = everything.keys().filter(|(kind, _)| *kind == "message").map(|(_, id)| *id);
        change(&app, &scenery, messages, &conversation_of).await;
        let head = log_info(&clients, 1).await.head_seq;
        let tail = async |filter: EventFilter, cursor: Bytes| -> Vec<EventDelivery> {
            let mut reader = Reader::open(&clients, filtered(1, Start::After(cursor), filter)).await;
            reader.until(head).await
        };
        let later = tail(EventFilter::default(), cursor).await;
        let changed = later.iter().filter_map(|delivery| object(event(delivery)));
        let changed: std::collections::BTreeSet<_> = changed.collect();
        assert!(everything.keys().all(|object| changed.contains(object)), "every object changes");
        let mut wrong = 0;
        for (filter, mut copy, cursor) in copies {
            let passing = || later.iter().map(event).filter(|event| passes(event, &filter));
            let kept: std::collections::BTreeSet<_> = passing().filter_map(object).collect();
            let mut wanted = everything.clone();
            wanted.retain(|object, _| kept.contains(object));
            let agree = copy == wanted;
            apply(&mut wanted, passing());
            let events = tail(filter.clone(), cursor).await;
            apply(&mut copy, events.iter().map(event));
            assert!(!on || agree && copy == wanted, "{filter:?}: {copy:?} is not {wanted:?}");
            wrong += usize::from(!agree || copy != wanted);
        }
        assert_eq!(wrong == 0, on, "{wrong} filters disagree");
    }
}
