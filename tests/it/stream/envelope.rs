//! Statement 20: one envelope for all kinds of events, fixed at the time of the event, without credentials.

use parley_proto::{
    ActorType, Contact, ConversationStatus, Event, EventKind, GetInboxRequest, GetProfileRequest, UpdateContactRequest,
    UpdateConversationStatusRequest, event::Resource, inbox::Channel, subscribe_request::Start,
};
use prost_types::{FieldMask, Value, value::Kind};
use tonic::Request;

use crate::support::{
    app::{ADMINISTRATOR, TestApp},
    database::Backend,
    on_both,
    raw::raw_log,
    reader::{Reader, event, everything, whole_log},
    told::Told as _,
};

on_both!(
    statement_20_every_event_has_the_envelope,
    statement_20_changes_have_before_and_after_values,
    statement_20_events_contain_no_credentials
);

fn text(value: &str) -> Value {
    Value {
        kind: Some(Kind::StringValue(value.to_owned())),
    }
}

fn assert_envelope(event: &Event) {
    let told = format!("of {event:?}");
    assert!(!event.event_id.is_empty(), "{told}");
    assert_eq!(event.account_id, 1, "{told}");
    assert_ne!((event.seq, event.transaction_id), (0, 0), "{told}");
    assert!(event.occurred_at.is_some(), "{told}");
    let name = event
        .kind()
        .as_str_name()
        .strip_prefix("EVENT_KIND_")
        .expect("buf's rule")
        .to_lowercase();
    assert_eq!(
        event.kind_name.replace('.', "_"),
        name,
        "the name and the number are one kind {told}"
    );
    let family = event.kind_name.split('.').next().expect("a name has a first part");
    let expected = match event.resource.as_ref().unwrap_or_else(|| panic!("a resource {told}")) {
        Resource::Message(_) => vec!["message"],
        Resource::Conversation(_) => vec!["conversation", "assignee", "team", "first"],
        Resource::Contact(_) => vec!["contact"],
        Resource::Inbox(_) => vec!["inbox"],
        Resource::Account(_) => vec!["account"],
        Resource::Agent(_) => vec!["agent"],
        Resource::AgentBot(_) => vec!["agent_bot"],
        Resource::Team(_) => vec!["team"],
        Resource::Label(_) => vec!["label"],
        Resource::CustomAttributeDefinition(_) => vec!["custom_attribute_definition"],
        Resource::CannedResponse(_) => vec!["canned_response"],
        Resource::ContactNote(_) => vec!["contact_note"],
        Resource::Tombstone(_) => vec![],
    };
    assert!(expected.contains(&family), "the resource is that of the kind {told}");
    if event.kind_name.ends_with(".created") || event.kind_name.ends_with(".deleted") {
        assert!(event.changes.is_empty(), "nothing changes when a thing is made or deleted {told}");
    }
}

async fn statement_20_every_event_has_the_envelope(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    fixture.hear(conversation, "a question").await;
    fixture.say(conversation, "an answer").await;
    let log = whole_log(&app.clients(), 1).await;
    for delivery in &log {
        assert_envelope(event(delivery));
    }
    let messages: Vec<&Event> = log
        .iter()
        .map(event)
        .filter(|event| event.kind() == EventKind::MessageCreated)
        .collect();
    let [question, answer] = messages[..] else {
        panic!("two messages were made: {messages:?}");
    };
    let actor = answer.actor.as_ref().expect("a user wrote it");
    assert_eq!((actor.r#type(), actor.id), (ActorType::User, 1));
    assert!(question.actor.is_some(), "somebody called");
    let resource = question.message().expect("a message");
    assert!(resource.inbox.is_some() && resource.account.is_some(), "{resource:?}");
    let told = resource.conversation.as_ref().expect("always set");
    assert_eq!(told.message_count, 1, "as it stood after the message");
    let later = answer.message().and_then(|told| told.conversation.as_ref()).expect("always set");
    assert_eq!(later.message_count, 2, "as it stood after the message");
    assert!(told.contact.is_some() && told.contact_inbox.is_some());
    assert_eq!(
        resource.message.as_ref().expect("always set").version,
        question.seq,
        "version is the seq of the last change"
    );
}

async fn statement_20_changes_have_before_and_after_values(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (fixture, clients) = (app.fixture(), app.clients());
    let person = fixture.person("Asha").await;
    let conversation = fixture.conversation(&person).await.id;
    let mut reader = Reader::open(&clients, everything(1, Start::Latest(()))).await;

    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut request = Request::new(UpdateContactRequest {
        account_id: 1,
        contact: Some(Contact {
            id: person.contact,
            name: "Asha Rao".to_owned(),
            ..Contact::default()
        }),
        update_mask: Some(FieldMask {
            paths: vec!["name".to_owned()],
        }),
        ..UpdateContactRequest::default()
    });
    request
        .metadata_mut()
        .insert("traceparent", traceparent.parse().expect("it is ASCII"));
    clients
        .contacts
        .clone()
        .update_contact(request)
        .await
        .expect("the contact is updated");
    let delivery = reader.next().await;
    let told = event(&delivery);
    assert_eq!(told.kind(), EventKind::ContactUpdated, "{told:?}");
    let change = told.changes.iter().find(|change| change.field == "name").expect("the name changed");
    assert_eq!((&change.before, &change.after), (&Some(text("Asha")), &Some(text("Asha Rao"))));
    assert_eq!(told.traceparent, traceparent, "the event belongs to the caller's trace");

    let mut request = Request::new(UpdateConversationStatusRequest {
        account_id: 1,
        conversation_id: conversation,
        status: ConversationStatus::Resolved.into(),
        ..UpdateConversationStatusRequest::default()
    });
    let nonsense = "-".repeat(55);
    request.metadata_mut().insert("traceparent", nonsense.parse().expect("it is ASCII"));
    clients
        .conversations
        .clone()
        .update_conversation_status(request)
        .await
        .expect("the status changes");
    let delivery = reader.next().await;
    let told = event(&delivery);
    assert_eq!(told.kind(), EventKind::ConversationStatusChanged, "{told:?}");
    assert_eq!(told.traceparent, "", "what is no trace context is not stored");
    let change = told
        .changes
        .iter()
        .find(|change| change.field == "status")
        .expect("the status changed");
    assert_eq!((&change.before, &change.after), (&Some(text("open")), &Some(text("resolved"))));
    let resource = told.conversation().and_then(|told| told.conversation.as_ref()).expect("always set");
    assert_eq!(resource.status(), ConversationStatus::Resolved, "the resource after the change");
}

async fn statement_20_events_contain_no_credentials(backend: Backend) {
    let app = TestApp::start(backend).await;
    let clients = app.clients();
    let fixture = app.fixture();
    let conversation = fixture.talk().await;
    fixture.hear(conversation, "a question").await;
    let request = GetInboxRequest {
        account_id: 1,
        inbox_id: 1,
    };
    let inbox = clients
        .inboxes
        .clone()
        .get_inbox(request)
        .await
        .expect("the inbox is there")
        .into_inner()
        .inbox;
    let Some(Channel::ApiChannel(channel)) = inbox.expect("always set").channel else {
        panic!("the first inbox is an API channel");
    };
    let profile = clients
        .accounts
        .clone()
        .get_profile(GetProfileRequest {})
        .await
        .expect("the profile is there")
        .into_inner();
    let secrets = [
        channel.identifier.expect("an administrator sees it"),
        channel.hmac_token.expect("an administrator sees it"),
        profile.pubsub_token,
        ADMINISTRATOR.to_owned(),
    ];
    let log = raw_log(&clients, 1).await;
    assert!(!log.is_empty());
    for delivery in log {
        for secret in &secrets {
            let found = delivery.event.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(
                !found,
                "a credential stands in an event: {:?}",
                String::from_utf8_lossy(&delivery.event)
            );
        }
    }
}
