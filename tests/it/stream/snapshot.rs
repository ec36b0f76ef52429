//! Statement 9: a snapshot and then the tail, in one call and without a gap.

use std::collections::HashMap;

use parley_proto::{SubscribeRequest, event::Resource as Told, subscribe_request::Start, upsert::Resource};

use crate::support::{
    app::TestApp,
    database::Backend,
    in_time, on_both,
    reader::{everything, whole_log},
};

on_both!(statement_09_snapshot_and_tail_are_complete);

/// Writes while the snapshot is read, and rebuilds every message from upserts and events: the higher version wins.
async fn statement_09_snapshot_and_tail_are_complete(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (fixture, clients) = (app.fixture(), app.clients());
    let conversation = fixture.talk().await;
    for index in 0..150 {
        fixture.say(conversation, &format!("before {index}")).await;
    }
    let request = SubscribeRequest {
        ephemeral: false,
        ..everything(1, Start::Snapshot(()))
    };
    let answer = in_time("Subscribe", clients.events.clone().subscribe(request)).await;
    let mut stream = answer.expect("the stream opens").into_inner();
    let writer = tokio::spawn({
        let fixture = fixture.clone();
        async move {
            for index in 0..40 {
                fixture.say(conversation, &format!("meanwhile {index}")).await;
            }
        }
    });
    let (mut messages, mut upserts, mut complete) = (HashMap::new(), 0, None);
    let mut conversations = HashMap::new();
    while messages.len() < 190 || complete.is_none() {
        let response = in_time("a response", stream.message())
            .await
            .expect("the stream goes on")
            .expect("it does not end");
        for upsert in response.upserts {
            assert!(complete.is_none(), "no upsert comes after the end of the snapshot");
            upserts += 1;
            match upsert.resource.expect("an object") {
                Resource::Message(message) => assert_eq!(messages.insert(message.id, upsert.version), None, "each object comes once"),
                Resource::Conversation(row) => assert_eq!(conversations.insert(row.id, upsert.version), None, "each object comes once"),
                Resource::Contact(contact) => assert_eq!(contact.version, upsert.version),
                Resource::Inbox(inbox) => match inbox.channel.expect("a channel") {
                    parley_proto::inbox::Channel::ApiChannel(channel) => assert_eq!((channel.identifier, channel.hmac_token), (None, None)),
                },
            }
        }
        if let Some(end) = response.snapshot_complete {
            assert_eq!(end.count, upserts, "the end says how many there were");
            complete = Some(end.cursor);
        }
        for delivery in response.events {
            assert!(complete.is_some(), "no event comes before the end of the snapshot");
            let event = delivery.event.expect("an event");
            if let Some(Told::Message(told)) = event.resource {
                let id = told.message.expect("a message").id;
                let version = messages.entry(id).or_default();
                *version = (*version).max(event.seq);
            }
        }
    }
    writer.await.expect("the writer does not panic");
    assert_eq!(conversations.len(), 1);
    for delivery in whole_log(&clients, 1).await {
        let event = delivery.event.expect("an event");
        if let Some(Told::Message(told)) = event.resource {
            let message = told.message.expect("a message");
            assert_eq!(
                messages.get(&message.id),
                Some(&message.version),
                "message {} is there as the log has it",
                message.id
            );
        }
    }
}
