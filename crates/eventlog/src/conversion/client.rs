//! Conversion of inboxes, sessions, conversations and messages for contacts. `visitor` decides which fields of the underlying records
//! contacts see.

use parley_proto as pb;
use parley_storage::{entity::contact_inbox, joined};

use super::{CredentialsShown, FromStored, ToProto as _, Visitor, inbox_of};

impl FromStored<&joined::Inbox> for pb::ClientInbox {
    fn from_stored(inbox: &joined::Inbox) -> Self {
        let whole = inbox_of(inbox, CredentialsShown::Nothing);
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

impl FromStored<&joined::Client> for pb::ClientContact {
    fn from_stored(client: &joined::Client) -> Self {
        Self {
            source_id: client.row.source_id.clone(),
            pubsub_token: client.row.pubsub_token.clone(),
            hmac_verified: client.row.hmac_verified,
            contact: Some(Visitor(&client.row).contact(client.contact.as_ref().to_proto())),
        }
    }
}

/// Converts a conversation for a session, with messages that the contact may see.
pub fn client_conversation(
    conversation: &joined::Conversation,
    messages: &[joined::Message],
    session: &contact_inbox::Model,
) -> pb::ClientConversation {
    let shown = Visitor(session).conversation(conversation.to_proto());
    pb::ClientConversation {
        id: shown.id,
        uuid: shown.uuid,
        inbox_id: shown.inbox_id,
        status: shown.status,
        contact_last_seen_at: shown.contact_last_seen_at,
        agent_last_seen_at: shown.agent_last_seen_at,
        contact: shown.contact,
        messages: messages.iter().map(|message| client_message(message, session)).collect(),
        truncated_fields: Vec::new(),
    }
}

/// Converts a message to the view that a contact session has of it.
pub fn client_message(message: &joined::Message, session: &contact_inbox::Model) -> pb::Message {
    Visitor(session).message(message.to_proto())
}
