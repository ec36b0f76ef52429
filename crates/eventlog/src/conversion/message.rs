//! Conversion of messages and their attachments.

use parley_proto::{
    self as pb,
    value::{AttributeMaps, timestamp},
};
use parley_storage::{entity::attachment, joined};

use super::{FromStored, ToProto};

/// Converts a message to the form used in events. Its sender does not include the contact, because the conversation in the event already
/// does.
pub fn without_sender_contact(message: &joined::Message) -> pb::Message {
    let row = &message.row;
    let mut maps = AttributeMaps::default();
    pb::Message {
        id: row.id.0,
        account_id: row.account_id.0,
        inbox_id: row.inbox_id.0,
        conversation_id: row.conversation_id.0,
        number: row.number.cast_unsigned(),
        r#type: pb::MessageType::from(row.message_type).into(),
        content: row.content.clone(),
        content_type: pb::ContentType::from(row.content_type).into(),
        content_attributes: maps.content("content_attributes", &row.content_attributes),
        status: pb::MessageStatus::from(row.status).into(),
        private: row.private,
        source_id: row.source_id.clone(),
        echo_id: message.echo_id.clone(),
        sender: message.sender.as_ref().map(ToProto::to_proto),
        attachments: message.attachments.iter().map(ToProto::to_proto).collect(),
        additional_attributes: maps.structure("additional_attributes", &row.additional_attributes),
        truncated_fields: maps.truncated(),
        created_at: Some(timestamp(row.created_at)),
        updated_at: Some(timestamp(row.updated_at)),
        version: row.version.to_wire(),
    }
}

/// Converts a message's sender. If the sender is a contact, the contact itself is not included.
impl FromStored<&joined::Sender> for pb::Sender {
    fn from_stored(sender: &joined::Sender) -> Self {
        match sender {
            joined::Sender::Contact(contact) => Self {
                r#type: pb::SenderType::Contact.into(),
                id: contact.row.id.0,
                name: contact.row.name.clone(),
                avatar_url: contact.row.avatar_url.clone(),
                ..Self::default()
            },
            joined::Sender::User(user) => Self {
                r#type: pb::SenderType::User.into(),
                id: user.id.0,
                name: user.name.clone(),
                available_name: Some(user.available_name().to_owned()),
                email: Some(user.email.clone()),
                avatar_url: user.avatar_url.clone(),
                contact: None,
            },
            joined::Sender::AgentBot(bot) => Self {
                r#type: pb::SenderType::AgentBot.into(),
                id: bot.id.0,
                name: bot.name.clone(),
                avatar_url: bot.avatar_url.clone(),
                ..Self::default()
            },
        }
    }
}

/// Converts a message to the form used in responses. If the sender is a contact, the contact is included.
impl FromStored<&joined::Message> for pb::Message {
    fn from_stored(message: &joined::Message) -> Self {
        let mut without_sender_contact = without_sender_contact(message);
        if let (Some(sender), Some(joined::Sender::Contact(contact))) = (&mut without_sender_contact.sender, &message.sender) {
            sender.contact = Some(contact.as_ref().to_proto());
        }
        without_sender_contact
    }
}

impl FromStored<&attachment::Model> for pb::Attachment {
    fn from_stored(row: &attachment::Model) -> Self {
        let mut maps = AttributeMaps::default();
        Self {
            id: row.id,
            message_id: row.message_id.0,
            r#type: pb::AttachmentType::from(row.file_type).into(),
            extension: row.extension.clone(),
            data_url: row.data_url.clone(),
            thumb_url: row.thumb_url.clone(),
            file_size: row.file_size,
            width: row.width,
            height: row.height,
            latitude: row.latitude,
            longitude: row.longitude,
            fallback_title: row.fallback_title.clone(),
            meta: maps.structure("meta", &row.meta),
            truncated_fields: maps.truncated(),
        }
    }
}
