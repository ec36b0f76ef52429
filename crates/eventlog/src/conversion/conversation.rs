//! Conversion of conversations.

use std::time::Duration;

use parley_proto::{
    self as pb,
    value::{AttributeMaps, maybe_timestamp, timestamp},
};
use parley_storage::joined;
use parley_types::time::Micros;
use prost::Message as _;

use super::{FromStored, ToProto, message};

/// Converts a conversation as in events: without the newest messages, except the last public one.
impl FromStored<&joined::Conversation> for pb::Conversation {
    fn from_stored(conversation: &joined::Conversation) -> Self {
        let row = &conversation.row;
        let mut maps = AttributeMaps::default();
        Self {
            id: row.id.0,
            account_id: row.account_id.0,
            inbox_id: row.inbox_id.0,
            uuid: row.uuid.to_string(),
            status: pb::ConversationStatus::from(row.status).into(),
            priority: row.priority.map_or(0, |priority| pb::ConversationPriority::from(priority).into()),
            snoozed_until: maybe_timestamp(row.snoozed_until),
            contact: Some(conversation.contact.as_ref().to_proto()),
            contact_inbox: Some(conversation.session.as_ref().to_proto()),
            assignee: conversation.assignee.as_deref().map(ToProto::to_proto),
            labels: conversation.labels.to_vec(),
            additional_attributes: maps.structure("additional_attributes", &row.additional_attributes),
            custom_attributes: maps.structure("custom_attributes", &row.custom_attributes),
            truncated_fields: maps.truncated(),
            can_reply: can_reply(conversation, Micros::now()),
            unread_count: u32::try_from(row.unread_count).unwrap_or_default(),
            agent_last_seen_at: maybe_timestamp(row.agent_last_seen_at),
            assignee_last_seen_at: maybe_timestamp(row.assignee_last_seen_at),
            contact_last_seen_at: maybe_timestamp(row.contact_last_seen_at),
            first_reply_created_at: maybe_timestamp(row.first_reply_created_at),
            waiting_since: maybe_timestamp(row.waiting_since),
            last_activity_at: Some(timestamp(row.last_activity_at)),
            created_at: Some(timestamp(row.created_at)),
            updated_at: Some(timestamp(row.updated_at)),
            message_count: row.message_count.cast_unsigned(),
            last_message: None,
            last_non_activity_message: None,
            last_public_message: conversation.last_public.as_deref().map(message::without_sender_contact),
            version: row.version.to_wire(),
            team: conversation.team.as_deref().map(ToProto::to_proto),
        }
    }
}

/// Maximum size of a conversation with its newest messages, in bytes: half of the message size that clients accept, so that a page of
/// messages fits into the same response.
const BYTES: usize = 2 * 1024 * 1024;

/// The fields that are omitted from a conversation with more than `BYTES` bytes, in this order, until it fits.
const OMITTED: [&str; 3] = ["last_public_message", "last_non_activity_message", "last_message"];

/// Converts a conversation as in responses and lists, with the newest messages.
impl FromStored<&joined::ConversationSummary> for pb::Conversation {
    fn from_stored(summary: &joined::ConversationSummary) -> Self {
        let inbox = summary.conversation.inbox.as_ref().to_proto();
        let mut conversation = Self::from_stored(&summary.conversation);
        if let Some(session) = &mut conversation.contact_inbox {
            session.inbox = Some(inbox);
        }
        let mut whole = Self {
            last_message: summary.last.as_ref().map(ToProto::to_proto),
            last_non_activity_message: summary.last_non_activity.as_ref().map(ToProto::to_proto),
            ..conversation
        };
        // Three messages of maximum length fit into `BYTES`, but not necessarily together with the largest attributes, labels and
        // attachments.
        for omit in OMITTED {
            if whole.encoded_len() <= BYTES {
                break;
            }
            let field = match omit {
                "last_public_message" => &mut whole.last_public_message,
                "last_non_activity_message" => &mut whole.last_non_activity_message,
                _ => &mut whole.last_message,
            };
            if field.take().is_some() {
                whole.truncated_fields.push(omit.to_owned());
            }
        }
        whole
    }
}

/// Returns whether agents may reply. As in Chatwoot, an API channel allows replies within `agent_reply_time_window` hours of the last
/// incoming message, or at any time if no window is set.
fn can_reply(conversation: &joined::Conversation, now: Micros) -> bool {
    let window = conversation.inbox.channel.additional_attributes.get("agent_reply_time_window");
    let hours = window.and_then(|hours| hours.as_u64().or_else(|| hours.as_str()?.trim().parse().ok()));
    match (hours, conversation.row.last_incoming_at) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(hours), Some(at)) => at > now.minus(Duration::from_secs(hours.saturating_mul(3600))),
    }
}
