//! Sample events for tests that render events.

use prost_types::{ListValue, NullValue, Struct, Timestamp, Value, value::Kind};

use crate::{
    Actor, ActorType, Contact, Conversation, ConversationResource, Event, EventDelivery, EventKind, FieldChange, Message, MessageResource,
    MessageType, Sender, SenderType, event::Resource,
};

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

#[allow(clippy::unnecessary_wraps)] // the fields are optional
fn text(text: &str) -> Option<Value> {
    Some(value(Kind::StringValue(text.to_owned())))
}

fn delivered(event: Event) -> EventDelivery {
    EventDelivery {
        prev_seq: event.seq - 1,
        cursor: vec![10, 11].into(),
        event: Some(Event {
            event_id: format!("e-{}", event.seq),
            account_id: 1,
            transaction_end: true,
            occurred_at: Some(Timestamp {
                seconds: 1_767_323_045,
                nanos: 0,
            }),
            ..event
        }),
    }
}

/// Returns the event with seq 42: an incoming message from Ana in conversation 3.
pub fn message(content: &str) -> EventDelivery {
    let tags = vec![
        value(Kind::StringValue("a".to_owned())),
        value(Kind::NullValue(NullValue::NullValue.into())),
        value(Kind::NumberValue(1.5)),
    ];
    let attributes = [
        ("rating".to_owned(), value(Kind::NumberValue(5.0))),
        ("tags".to_owned(), value(Kind::ListValue(ListValue { values: tags }))),
    ];
    let message = Message {
        id: 9,
        conversation_id: 3,
        r#type: MessageType::Incoming.into(),
        content: Some(content.to_owned()),
        content_attributes: Some(Struct { fields: attributes.into() }),
        sender: Some(Sender {
            r#type: SenderType::Contact.into(),
            id: 7,
            name: "Ana".to_owned(),
            ..Sender::default()
        }),
        ..Message::default()
    };
    delivered(Event {
        seq: 42,
        transaction_id: 41,
        kind: EventKind::MessageCreated.into(),
        kind_name: "message.created".to_owned(),
        actor: Some(Actor {
            r#type: ActorType::Contact.into(),
            id: 7,
            name: "Ana".to_owned(),
        }),
        resource: Some(Resource::Message(MessageResource {
            message: Some(message),
            ..MessageResource::default()
        })),
        ..Event::default()
    })
}

/// Returns the event with seq 43: conversation 3 with Ana is resolved, and its priority becomes high.
pub fn status_changed() -> EventDelivery {
    let conversation = Conversation {
        id: 3,
        contact: Some(Contact {
            name: "Ana".to_owned(),
            ..Contact::default()
        }),
        ..Conversation::default()
    };
    delivered(Event {
        seq: 43,
        transaction_id: 43,
        kind: EventKind::ConversationStatusChanged.into(),
        kind_name: "conversation.status_changed".to_owned(),
        changes: vec![
            FieldChange {
                field: "status".to_owned(),
                before: text("open"),
                after: text("resolved"),
                ..FieldChange::default()
            },
            FieldChange {
                field: "priority".to_owned(),
                before: Some(value(Kind::NullValue(NullValue::NullValue.into()))),
                after: text("high"),
                ..FieldChange::default()
            },
        ],
        resource: Some(Resource::Conversation(ConversationResource {
            conversation: Some(conversation),
            ..ConversationResource::default()
        })),
        ..Event::default()
    })
}
