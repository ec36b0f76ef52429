//! Statement 11: AND between the fields of a filter, OR within a field, fixed for the life of the stream.

use parley_proto::{
    ApiChannel, CreateInboxRequest, Event, EventDelivery, EventFilter, EventKind, Inbox, MessageType, inbox::Channel,
    subscribe_request::Start,
};
use tonic::Code;

use crate::support::{
    api_fixture::{ApiFixture, note},
    app::TestApp,
    chain::assert_filtered,
    clients::Clients,
    database::Backend,
    fault::fault,
    on_both,
    reader::{Reader, event, filtered, whole_log},
    told::Told as _,
};

on_both!(statement_11_filters_select_matching_events, statement_11_invalid_filter_is_reported);

/// Reads the whole log with a filter, and compares the events with those that `matches` selects.
async fn check(clients: &Clients, log: &[EventDelivery], filter: EventFilter, matches: impl Fn(&Event) -> bool) {
    let matching: Vec<u64> = log
        .iter()
        .map(event)
        .filter(|event| matches(event))
        .map(|event| event.seq)
        .collect();
    let last = *matching
        .last()
        .unwrap_or_else(|| panic!("a filter that nothing passes proves little: {filter:?}"));
    assert!(
        matching.len() < log.len(),
        "a filter that everything passes proves little: {filter:?}"
    );
    let mut reader = Reader::open(clients, filtered(1, Start::Earliest(()), filter)).await;
    let events = reader.until(last).await;
    assert_filtered(&events, log, 0, &matches);
}

async fn second_inbox(clients: &Clients) -> i64 {
    let request = CreateInboxRequest {
        account_id: 1,
        inbox: Some(Inbox {
            name: "Second".to_owned(),
            channel: Some(Channel::ApiChannel(ApiChannel::default())),
            ..Inbox::default()
        }),
        ..CreateInboxRequest::default()
    };
    let answer = clients.inboxes.clone().create_inbox(request).await.expect("the inbox is made");
    answer.into_inner().inbox.expect("always set").id
}

async fn statement_11_filters_select_matching_events(backend: Backend) {
    let app = TestApp::start(backend).await;
    let clients = app.clients();
    let inbox = second_inbox(&clients).await;
    let scenes = [app.fixture(), ApiFixture::new(clients.clone(), 1, inbox)];
    let (mut contacts, mut conversations) = (Vec::new(), Vec::new());
    for fixture in &scenes {
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
    let log = whole_log(&clients, 1).await;
    let none = EventFilter::default;
    let is_message = |event: &Event, types: &[MessageType]| {
        event
            .message()
            .and_then(|told| told.message.as_ref())
            .is_some_and(|message| types.contains(&message.r#type()))
    };
    let private = |event: &Event| {
        event
            .message()
            .and_then(|told| told.message.as_ref())
            .map(|message| message.private)
    };

    let kinds = [EventKind::ContactCreated, EventKind::MessageCreated];
    let filter = EventFilter {
        kinds: kinds.map(i32::from).to_vec(),
        ..none()
    };
    check(&clients, &log, filter, |event| kinds.contains(&event.kind())).await;

    let filter = EventFilter {
        inbox_ids: vec![inbox],
        ..none()
    };
    check(&clients, &log, filter, |event| event.inbox_id() == Some(inbox)).await;

    let some = [conversations[0], conversations[3]];
    let filter = EventFilter {
        conversation_ids: some.to_vec(),
        ..none()
    };
    check(&clients, &log, filter, |event| {
        event.conversation_id().is_some_and(|id| some.contains(&id))
    })
    .await;

    let filter = EventFilter {
        contact_ids: vec![contacts[1]],
        ..none()
    };
    check(&clients, &log, filter, |event| event.contact_id() == Some(contacts[1])).await;

    let filter = EventFilter {
        message_types: vec![MessageType::Incoming.into()],
        ..none()
    };
    check(&clients, &log, filter, |event| is_message(event, &[MessageType::Incoming])).await;

    for wanted in [true, false] {
        let filter = EventFilter {
            private: Some(wanted),
            ..none()
        };
        check(&clients, &log, filter, |event| private(event) == Some(wanted)).await;
    }

    let filter = EventFilter {
        kinds: vec![EventKind::MessageCreated.into()],
        inbox_ids: vec![inbox, 1],
        contact_ids: vec![contacts[0], contacts[2]],
        message_types: vec![MessageType::Outgoing.into()],
        private: Some(false),
        ..none()
    };
    check(&clients, &log, filter, |event| {
        let contact = event.contact_id().is_some_and(|id| id == contacts[0] || id == contacts[2]);
        contact && is_message(event, &[MessageType::Outgoing]) && private(event) == Some(false)
    })
    .await;
}

async fn statement_11_invalid_filter_is_reported(backend: Backend) {
    let app = TestApp::start(backend).await;
    let cases = [
        (
            EventFilter {
                kinds: vec![0],
                ..EventFilter::default()
            },
            "filter.kinds",
            "UNKNOWN",
        ),
        (
            EventFilter {
                kinds: vec![1; 101],
                ..EventFilter::default()
            },
            "filter.kinds",
            "TOO_MANY",
        ),
        (
            EventFilter {
                inbox_ids: vec![1; 1_001],
                ..EventFilter::default()
            },
            "filter.inbox_ids",
            "TOO_MANY",
        ),
        (
            EventFilter {
                conversation_ids: vec![1; 1_001],
                ..EventFilter::default()
            },
            "filter.conversation_ids",
            "TOO_MANY",
        ),
        (
            EventFilter {
                contact_ids: vec![1; 1_001],
                ..EventFilter::default()
            },
            "filter.contact_ids",
            "TOO_MANY",
        ),
        (
            EventFilter {
                message_types: vec![0],
                ..EventFilter::default()
            },
            "filter.message_types",
            "UNKNOWN",
        ),
    ];
    for (filter, field, rule) in cases {
        let status = Reader::refusal(&app.clients(), filtered(1, Start::Latest(()), filter)).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status:?}");
        let fault = fault(&status);
        assert_eq!(fault.fields.iter().collect::<Vec<_>>(), [&format!("{field}: {rule}")], "{fault:?}");
    }
}
