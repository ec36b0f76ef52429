//! What contacts see of inboxes, sessions, conversations and messages: nothing that is among agents.

use crate::{
    db::joined,
    pb::{
        self, Reveal, inbox_of,
        value::{maybe_timestamp, structure},
    },
};

impl From<&joined::Inbox> for pb::ClientInbox {
    fn from(inbox: &joined::Inbox) -> Self {
        let whole = inbox_of(inbox, Reveal::Nothing);
        Self {
            identifier: inbox.channel.identifier.clone(),
            name: whole.name,
            hmac_mandatory: inbox.channel.hmac_mandatory,
            timezone: whole.timezone,
            working_hours: whole.working_hours,
            working_hours_enabled: whole.working_hours_enabled,
            csat_survey_enabled: whole.csat_survey_enabled,
            greeting_enabled: whole.greeting_enabled,
        }
    }
}

/// Labels are the agents'.
fn own(contact: &joined::Contact) -> pb::Contact {
    pb::Contact {
        labels: Vec::new(),
        ..contact.into()
    }
}

impl From<&joined::Client> for pb::ClientContact {
    fn from(client: &joined::Client) -> Self {
        Self {
            source_id: client.row.source_id.clone(),
            pubsub_token: client.row.pubsub_token.clone(),
            hmac_verified: client.row.hmac_verified,
            contact: Some(own(&client.contact)),
        }
    }
}

/// A conversation with the messages that its contact may see.
pub fn client_conversation(conversation: &joined::Conversation, messages: &[joined::Message]) -> pb::ClientConversation {
    let row = &conversation.row;
    pb::ClientConversation {
        id: row.id.0,
        uuid: row.uuid.to_string(),
        inbox_id: row.inbox_id.0,
        status: pb::ConversationStatus::from(row.status).into(),
        contact_last_seen_at: maybe_timestamp(row.contact_last_seen_at),
        agent_last_seen_at: maybe_timestamp(row.agent_last_seen_at),
        contact: Some(own(&conversation.contact)),
        messages: messages.iter().map(client_message).collect(),
    }
}

/// A message without what is the agents' own: their addresses, and what programs noted.
pub fn client_message(message: &joined::Message) -> pb::Message {
    let mut shown = pb::Message {
        additional_attributes: structure(&serde_json::json!({})),
        ..message.into()
    };
    if let Some(sender) = &mut shown.sender {
        sender.email = None;
        if let Some(contact) = &mut sender.contact {
            contact.labels.clear();
        }
    }
    shown
}
