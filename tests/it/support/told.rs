//! The subject of an event, as filters see it.

use parley_proto::{self as pb, Event, event::Resource};

/// Shortcuts into the `resource` of an event.
pub trait Told {
    /// The message, for message kinds.
    fn message(&self) -> Option<&pb::MessageResource>;
    /// The conversation, for conversation kinds.
    fn conversation(&self) -> Option<&pb::ConversationResource>;
    /// The contact, for contact kinds.
    fn contact(&self) -> Option<&pb::ContactResource>;
    /// The inbox that the event is about.
    fn inbox_id(&self) -> Option<i64>;
    /// The conversation that the event is about.
    fn conversation_id(&self) -> Option<i64>;
    /// The contact that the event is about.
    fn contact_id(&self) -> Option<i64>;
}

impl Told for Event {
    fn message(&self) -> Option<&pb::MessageResource> {
        match &self.resource {
            Some(Resource::Message(message)) => Some(message),
            _ => None,
        }
    }

    fn conversation(&self) -> Option<&pb::ConversationResource> {
        match &self.resource {
            Some(Resource::Conversation(conversation)) => Some(conversation),
            _ => None,
        }
    }

    fn contact(&self) -> Option<&pb::ContactResource> {
        match &self.resource {
            Some(Resource::Contact(contact)) => Some(contact),
            _ => None,
        }
    }

    fn inbox_id(&self) -> Option<i64> {
        match self.resource.as_ref()? {
            Resource::Inbox(resource) => Some(resource.inbox.as_ref()?.id),
            _ => Some(talk(self)?.inbox_id),
        }
    }

    fn conversation_id(&self) -> Option<i64> {
        Some(talk(self)?.id)
    }

    fn contact_id(&self) -> Option<i64> {
        match self.resource.as_ref()? {
            Resource::Contact(resource) => Some(resource.contact.as_ref()?.id),
            _ => Some(talk(self)?.contact.as_ref()?.id),
        }
    }
}

fn talk(event: &Event) -> Option<&pb::Conversation> {
    match event.resource.as_ref()? {
        Resource::Message(resource) => resource.conversation.as_ref(),
        Resource::Conversation(resource) => resource.conversation.as_ref(),
        _ => None,
    }
}
