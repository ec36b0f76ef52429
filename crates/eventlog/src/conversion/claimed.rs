//! Redacts conversations whose contact a service limited to inboxes may not see. In such a conversation, an unverified session in the
//! service's inbox submitted an address and was attached to the contact with that address. The service receives the data that the session
//! submitted instead of the stored contact.

use parley_proto::{self as pb, ActorType, SenderType, event::Resource};
use parley_storage::entity::contact_inbox;

use super::Visitor;

/// A resource that may belong to a conversation.
pub trait InConversation {
    /// Returns the id of the conversation; 0 if there is none.
    fn conversation_id(&self) -> i64;

    /// Replaces the stored contact with the data that the conversation's session submitted.
    fn show_submitted(&mut self, session: &contact_inbox::Model);
}

fn claimed(contact: &pb::Contact, session: &contact_inbox::Model) -> pb::Contact {
    pb::Contact {
        id: contact.id,
        version: contact.version,
        ..Visitor(session).submitted(contact)
    }
}

fn claimed_name(session: &contact_inbox::Model) -> String {
    let submitted = session.submitted.as_ref();
    submitted.and_then(|submitted| submitted.name.clone()).unwrap_or_default()
}

impl InConversation for pb::Conversation {
    fn conversation_id(&self) -> i64 {
        self.id
    }

    fn show_submitted(&mut self, session: &contact_inbox::Model) {
        if let Some(contact) = &mut self.contact {
            *contact = claimed(contact, session);
        }
        let messages = [
            &mut self.last_message,
            &mut self.last_non_activity_message,
            &mut self.last_public_message,
        ];
        for message in messages.into_iter().flatten() {
            message.show_submitted(session);
        }
    }
}

impl InConversation for pb::Message {
    fn conversation_id(&self) -> i64 {
        self.conversation_id
    }

    fn show_submitted(&mut self, session: &contact_inbox::Model) {
        let Some(sender) = self.sender.as_mut().filter(|sender| sender.r#type() == SenderType::Contact) else {
            return;
        };
        sender.name = claimed_name(session);
        sender.avatar_url.clear();
        if let Some(contact) = &mut sender.contact {
            *contact = claimed(contact, session);
        }
    }
}

impl InConversation for pb::Event {
    /// Returns 0 for an event that is not about a conversation.
    fn conversation_id(&self) -> i64 {
        let conversation = match &self.resource {
            Some(Resource::Message(about)) => about.conversation.as_ref(),
            Some(Resource::Conversation(about)) => about.conversation.as_ref(),
            _ => None,
        };
        conversation.map(|conversation| conversation.id).unwrap_or_default()
    }

    fn show_submitted(&mut self, session: &contact_inbox::Model) {
        if let Some(actor) = self.actor.as_mut().filter(|actor| actor.r#type() == ActorType::Contact) {
            actor.name = claimed_name(session);
        }
        let conversation = match &mut self.resource {
            Some(Resource::Message(about)) => {
                if let Some(message) = &mut about.message {
                    message.show_submitted(session);
                }
                about.conversation.as_mut()
            }
            Some(Resource::Conversation(about)) => about.conversation.as_mut(),
            _ => None,
        };
        if let Some(conversation) = conversation {
            conversation.show_submitted(session);
        }
    }
}

impl InConversation for pb::Upsert {
    /// Returns 0 for a resource that does not belong to a conversation.
    fn conversation_id(&self) -> i64 {
        match &self.resource {
            Some(pb::upsert::Resource::Message(message)) => message.conversation_id,
            Some(pb::upsert::Resource::Conversation(conversation)) => conversation.id,
            _ => 0,
        }
    }

    fn show_submitted(&mut self, session: &contact_inbox::Model) {
        match &mut self.resource {
            Some(pb::upsert::Resource::Message(message)) => message.show_submitted(session),
            Some(pb::upsert::Resource::Conversation(conversation)) => conversation.show_submitted(session),
            _ => {}
        }
    }
}
