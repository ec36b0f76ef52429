//! The names of event kinds, and the encoding of event deliveries.

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use crate::{EventKind, frame::Frame};

impl EventKind {
    /// Returns the name of the event kind, such as `message.created`. (`as_str_name` returns the name of the enum's constant instead.)
    pub fn event_name(self) -> &'static str {
        match self {
            Self::Unspecified => "",
            Self::MessageCreated => "message.created",
            Self::MessageUpdated => "message.updated",
            Self::ConversationCreated => "conversation.created",
            Self::ConversationUpdated => "conversation.updated",
            Self::ConversationStatusChanged => "conversation.status_changed",
            Self::ConversationRead => "conversation.read",
            Self::ConversationDeleted => "conversation.deleted",
            Self::ConversationContactChanged => "conversation.contact_changed",
            Self::AssigneeChanged => "assignee.changed",
            Self::TeamChanged => "team.changed",
            Self::FirstReplyCreated => "first.reply.created",
            Self::ContactCreated => "contact.created",
            Self::ContactUpdated => "contact.updated",
            Self::ContactMerged => "contact.merged",
            Self::ContactDeleted => "contact.deleted",
            Self::InboxCreated => "inbox.created",
            Self::InboxUpdated => "inbox.updated",
            Self::InboxDeleted => "inbox.deleted",
            Self::AccountCreated => "account.created",
            Self::AccountUpdated => "account.updated",
            Self::AgentAdded => "agent.added",
            Self::AgentUpdated => "agent.updated",
            Self::AgentRemoved => "agent.removed",
            Self::ConversationBotHandoff => "conversation.bot_handoff",
            Self::AgentBotCreated => "agent_bot.created",
            Self::AgentBotUpdated => "agent_bot.updated",
            Self::AgentBotDeleted => "agent_bot.deleted",
            Self::TeamCreated => "team.created",
            Self::TeamUpdated => "team.updated",
            Self::TeamDeleted => "team.deleted",
            Self::LabelCreated => "label.created",
            Self::LabelUpdated => "label.updated",
            Self::LabelDeleted => "label.deleted",
            Self::CustomAttributeDefinitionCreated => "custom_attribute_definition.created",
            Self::CustomAttributeDefinitionUpdated => "custom_attribute_definition.updated",
            Self::CustomAttributeDefinitionDeleted => "custom_attribute_definition.deleted",
            Self::CannedResponseCreated => "canned_response.created",
            Self::CannedResponseUpdated => "canned_response.updated",
            Self::CannedResponseDeleted => "canned_response.deleted",
            Self::ContactNoteCreated => "contact_note.created",
            Self::ContactNoteUpdated => "contact_note.updated",
            Self::ContactNoteDeleted => "contact_note.deleted",
        }
    }
}

/// Appends an `events` field of a `SubscribeResponse`, which contains an event that is already encoded.
pub fn put_delivery(out: &mut BytesMut, prev_seq: u64, cursor: &[u8], event: &[u8]) {
    let bytes_field = |length: usize| 1 + encoded_len_varint(length as u64) + length;
    let prev = if prev_seq == 0 { 0 } else { 1 + encoded_len_varint(prev_seq) };
    let length = prev + bytes_field(cursor.len()) + bytes_field(event.len());
    out.reserve(length + 12);
    encode_key(1, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
    if prev_seq != 0 {
        encode_key(1, WireType::Varint, out);
        encode_varint(prev_seq, out);
    }
    for (tag, bytes) in [(2, cursor), (3, event)] {
        encode_key(tag, WireType::LengthDelimited, out);
        encode_varint(bytes.len() as u64, out);
        out.put_slice(bytes);
    }
}

/// Wraps an encoded `SubscribeResponse` in a `ConsumeResponse`.
pub fn consumed(delivery: Frame) -> Frame {
    let mut prefix = BytesMut::with_capacity(8);
    encode_key(2, WireType::LengthDelimited, &mut prefix);
    encode_varint(delivery.len() as u64, &mut prefix);
    delivery.after(prefix.freeze())
}

/// Encodes a `SubscribeResponse` that is not assembled from encoded events.
pub fn encoded(response: &crate::SubscribeResponse) -> Bytes {
    use prost::Message as _;
    response.encode_to_vec().into()
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate as pb;

    #[test]
    fn assembled_delivery_decodes_like_an_encoded_one() {
        for prev_seq in [0, 1, 300] {
            let event = pb::Event {
                event_id: "e".repeat(200),
                seq: 301,
                ..pb::Event::default()
            };
            let delivery = pb::EventDelivery {
                prev_seq,
                cursor: Bytes::from_static(b"cursor"),
                event: Some(event.clone()),
            };
            let mut out = BytesMut::new();
            put_delivery(&mut out, prev_seq, b"cursor", &event.encode_to_vec());
            let whole = pb::SubscribeResponse {
                events: vec![delivery],
                ..pb::SubscribeResponse::default()
            };
            assert_eq!(out.as_ref(), whole.encode_to_vec());
        }
    }

    #[test]
    fn consumer_delivery_decodes_like_an_encoded_one() {
        let delivery = pb::SubscribeResponse {
            bookmark: Some(pb::Bookmark {
                seq: 300,
                ..pb::Bookmark::default()
            }),
            ..pb::SubscribeResponse::default()
        };
        let mut frame = Frame::default();
        frame.push(encoded(&delivery));
        let whole = pb::ConsumeResponse::decode(consumed(frame).concat()).unwrap();
        assert_eq!(whole.response, Some(pb::consume_response::Response::Delivery(delivery)));
    }

    #[test]
    fn every_specified_kind_has_a_name() {
        for number in 1..=42 {
            let kind = EventKind::try_from(number).unwrap();
            assert!(kind.event_name().contains('.'), "{kind:?}");
        }
        assert!(EventKind::try_from(43).is_err(), "give the new kind a name, and raise this number");
    }
}
