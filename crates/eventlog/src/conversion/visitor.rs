//! Restricts data to what a contact's session may see. The result is the same over REST, gRPC, pubsub and `/cable`.
//!
//! Every message is built field by field, so a field that is added to the API contract stays hidden until it is added here. Only members
//! may see labels, priorities, conversation attributes, assignees, notes, agents' email addresses, and data that programs stored about the
//! contact. An unverified session sees only the contact data that it submitted itself, because anyone can enter another person's address.

use std::borrow::Cow;

use parley_fault::Protection;
use parley_proto::{
    self as pb, ActorType, SenderType,
    event::Resource,
    value::{AttributeMaps, timestamp},
};
use parley_storage::entity::contact_inbox;
use serde_json::Value as Json;

/// Removes the names of fields that a session may not see from a list of omitted fields.
fn only(truncated_fields: Vec<String>, shown: &[&str]) -> Vec<String> {
    truncated_fields
        .into_iter()
        .filter(|field| shown.contains(&field.as_str()))
        .collect()
}

/// The contact session for which data is converted. The result contains only what the session is allowed to see.
#[derive(Clone, Copy, Debug)]
pub struct Visitor<'a>(pub &'a contact_inbox::Model);

impl Visitor<'_> {
    /// Returns the id of the session's contact. An unverified session receives a substitute id that is specific to the session.
    pub fn contact_id(self, stored: i64) -> i64 {
        let session = self.0;
        if session.hmac_verified || !parley_fault::is_on(Protection::VisitorView) {
            stored
        } else {
            session.shown_contact_id()
        }
    }

    /// Converts the contact: a verified session sees it as stored, an unverified one only what it submitted itself.
    pub fn contact(self, contact: pb::Contact) -> pb::Contact {
        if !parley_fault::is_on(Protection::VisitorView) {
            return contact;
        }
        let session = self.0;
        if !session.hmac_verified {
            return self.submitted(&contact);
        }
        pb::Contact {
            id: contact.id,
            account_id: contact.account_id,
            name: contact.name,
            email: contact.email,
            phone_number: contact.phone_number,
            identifier: contact.identifier,
            blocked: contact.blocked,
            custom_attributes: contact.custom_attributes,
            avatar_url: contact.avatar_url,
            last_activity_at: contact.last_activity_at,
            created_at: contact.created_at,
            updated_at: contact.updated_at,
            version: contact.version,
            truncated_fields: only(contact.truncated_fields, &["custom_attributes"]),
            ..pb::Contact::default()
        }
    }

    /// Builds the contact of an unverified session from what it submitted. The id and the times are those of the session, and there is no
    /// version, because the contact's own values would reveal that it existed before.
    pub(super) fn submitted(self, contact: &pb::Contact) -> pb::Contact {
        let session = self.0;
        let submitted = session.submitted.as_ref().map_or_else(Cow::default, Cow::Borrowed);
        let mut maps = AttributeMaps::default();
        pb::Contact {
            id: self.contact_id(contact.id),
            account_id: contact.account_id,
            name: submitted.name.clone().unwrap_or_default(),
            email: submitted.email.clone(),
            phone_number: submitted.phone_number.clone(),
            identifier: submitted.identifier.clone(),
            custom_attributes: maps.structure("custom_attributes", &Json::Object(submitted.custom_attributes.clone())),
            truncated_fields: maps.truncated(),
            avatar_url: submitted.avatar_url.clone().unwrap_or_default(),
            created_at: Some(timestamp(session.created_at)),
            updated_at: Some(timestamp(session.updated_at)),
            ..pb::Contact::default()
        }
    }

    /// Converts a message, without the email addresses of members and the data that programs stored with it.
    pub fn message(self, message: pb::Message) -> pb::Message {
        if !parley_fault::is_on(Protection::VisitorView) {
            return message;
        }
        pb::Message {
            id: message.id,
            account_id: message.account_id,
            inbox_id: message.inbox_id,
            conversation_id: message.conversation_id,
            number: message.number,
            r#type: message.r#type,
            content: message.content,
            content_type: message.content_type,
            content_attributes: message.content_attributes,
            status: message.status,
            private: message.private,
            source_id: message.source_id,
            echo_id: message.echo_id,
            sender: message.sender.map(|sender| self.sender(sender)),
            attachments: message.attachments,
            created_at: message.created_at,
            updated_at: message.updated_at,
            version: message.version,
            truncated_fields: only(message.truncated_fields, &["content_attributes"]),
            ..pb::Message::default()
        }
    }

    fn sender(self, sender: pb::Sender) -> pb::Sender {
        let by_contact = matches!(sender.r#type(), SenderType::Contact | SenderType::Unspecified);
        if !by_contact {
            return pb::Sender {
                r#type: sender.r#type,
                id: sender.id,
                name: sender.name,
                available_name: sender.available_name,
                avatar_url: sender.avatar_url,
                ..pb::Sender::default()
            };
        }
        let embedded = sender.contact.is_some();
        let stored = sender.contact.unwrap_or_else(|| pb::Contact {
            id: sender.id,
            name: sender.name,
            avatar_url: sender.avatar_url,
            ..pb::Contact::default()
        });
        let contact = self.contact(stored);
        pb::Sender {
            r#type: sender.r#type,
            id: contact.id,
            name: contact.name.clone(),
            avatar_url: contact.avatar_url.clone(),
            contact: embedded.then_some(contact),
            ..pb::Sender::default()
        }
    }

    /// Converts a conversation for the session, to the form used in events. It includes the fields of `ClientConversation` and the
    /// conversation's session.
    pub fn conversation(self, conversation: pb::Conversation) -> pb::Conversation {
        if !parley_fault::is_on(Protection::VisitorView) {
            return conversation;
        }
        pb::Conversation {
            id: conversation.id,
            account_id: conversation.account_id,
            inbox_id: conversation.inbox_id,
            uuid: conversation.uuid,
            status: conversation.status,
            contact: conversation.contact.map(|contact| self.contact(contact)),
            contact_inbox: conversation.contact_inbox.map(|session| self.session(session)),
            agent_last_seen_at: conversation.agent_last_seen_at,
            contact_last_seen_at: conversation.contact_last_seen_at,
            created_at: conversation.created_at,
            last_public_message: conversation.last_public_message.map(|message| self.message(message)),
            version: conversation.version,
            ..pb::Conversation::default()
        }
    }

    /// Converts a session. The `source_id` of another session of the same contact is a credential, so it is left out.
    fn session(self, session: pb::ContactInbox) -> pb::ContactInbox {
        let own = session.id == self.0.id.0;
        pb::ContactInbox {
            id: session.id,
            contact_id: self.contact_id(session.contact_id),
            inbox_id: session.inbox_id,
            source_id: if own { session.source_id } else { String::new() },
            hmac_verified: session.hmac_verified,
            created_at: session.created_at,
            updated_at: session.updated_at,
            ..pb::ContactInbox::default()
        }
    }

    /// Converts an event about a message or a conversation. Returns `None` for every other resource.
    pub fn event(self, event: pb::Event) -> Option<pb::Event> {
        if !parley_fault::is_on(Protection::VisitorView) {
            return Some(event);
        }
        let (resource, shown): (Resource, &[&str]) = match event.resource? {
            Resource::Message(about) => (
                Resource::Message(pb::MessageResource {
                    message: about.message.map(|message| self.message(message)),
                    conversation: about.conversation.map(|conversation| self.conversation(conversation)),
                    inbox: about.inbox.as_ref().map(inbox),
                    account: about.account.as_ref().map(account),
                }),
                &["status", "content", "content_type", "content_attributes"],
            ),
            Resource::Conversation(about) => (
                Resource::Conversation(pb::ConversationResource {
                    conversation: about.conversation.map(|conversation| self.conversation(conversation)),
                    inbox: about.inbox.as_ref().map(inbox),
                    account: about.account.as_ref().map(account),
                }),
                &["status"],
            ),
            _ => return None,
        };
        let mut changes = event.changes;
        changes.retain(|change| shown.contains(&change.field.as_str()));
        Some(pb::Event {
            event_id: event.event_id,
            account_id: event.account_id,
            seq: event.seq,
            transaction_id: event.transaction_id,
            transaction_end: event.transaction_end,
            kind: event.kind,
            kind_name: event.kind_name,
            occurred_at: event.occurred_at,
            actor: event.actor.map(|actor| self.actor(actor)),
            changes,
            resource: Some(resource),
            ..pb::Event::default()
        })
    }

    /// Converts an actor: members and bots keep the name with which they sign messages, the contact is shown as the session sees it, and
    /// programs have no name.
    pub fn actor(self, actor: pb::Actor) -> pb::Actor {
        if !parley_fault::is_on(Protection::VisitorView) {
            return actor;
        }
        match actor.r#type() {
            ActorType::User | ActorType::AgentBot => actor,
            ActorType::Contact => {
                let known = pb::Contact {
                    id: actor.id,
                    name: actor.name,
                    ..pb::Contact::default()
                };
                let shown = self.contact(known);
                pb::Actor {
                    r#type: actor.r#type,
                    id: shown.id,
                    name: shown.name,
                }
            }
            _ => pb::Actor {
                r#type: actor.r#type,
                ..pb::Actor::default()
            },
        }
    }

    /// Converts an ephemeral event to the view that the session has of it.
    pub fn ephemeral(self, event: pb::EphemeralEvent) -> pb::EphemeralEvent {
        pb::EphemeralEvent {
            kind: event.kind,
            kind_name: event.kind_name,
            account_id: event.account_id,
            occurred_at: event.occurred_at,
            actor: event.actor.map(|actor| self.actor(actor)),
            conversation_id: event.conversation_id,
            inbox_id: event.inbox_id,
            is_private: event.is_private,
        }
    }
}

/// Keeps the id and the name of an inbox, as `ClientInbox` does.
fn inbox(inbox: &pb::InboxSummary) -> pb::InboxSummary {
    pb::InboxSummary {
        id: inbox.id,
        name: inbox.name.clone(),
        ..pb::InboxSummary::default()
    }
}

/// Keeps the id of an account, without its name.
fn account(account: &pb::AccountSummary) -> pb::AccountSummary {
    pb::AccountSummary {
        id: account.id,
        ..pb::AccountSummary::default()
    }
}
