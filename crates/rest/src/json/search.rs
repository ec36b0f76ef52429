//! The JSON representation of search results, which have fewer keys than the resources themselves.

use parley_proto::{self as pb, ContentType};

use super::{
    json_type::json_type,
    message::number,
    sender::Sender,
    values::{Id, Name},
};
use crate::params::timestamps::Unix;

json_type! {
    /// A conversation in a search result, with its messages that match the query.
    pub struct FoundConversation(conversation: pb::Conversation, inbox: Option<&pb::Inbox>, messages: Vec<pb::Message>) {
        /// Number of the conversation in its account.
        id: Id = conversation.id.into(),
        uuid: String = conversation.uuid,
        created_at: Unix = conversation.created_at.into(),
        contact: NamedContact = conversation.contact.into(),
        inbox: NamedInbox = NamedInbox::new(conversation.inbox_id, inbox),
        messages: Vec<FoundLine> = messages.into_iter().map(FoundLine::from).collect(),
        account_id: Id = conversation.account_id.into(),
    }
}

json_type! {
    #[schemars(inline)]
    struct NamedContact(contact: Option<pb::Contact>) {
        #[schemars(required)]
        id: Option<Id> = contact.as_ref().map(|contact| contact.id.into()),
        name: Option<String> = contact.map(|contact| contact.name),
    }
}

json_type! {
    #[schemars(inline)]
    struct NamedInbox(inbox_id: i64, inbox: Option<&pb::Inbox>) {
        id: Id = inbox_id.into(),
        name: String = inbox.map(|inbox| inbox.name.clone()).unwrap_or_default(),
        #[schemars(extend("enum" = ["Channel::Api"]))]
        channel_type: &'static str = "Channel::Api",
    }
}

json_type! {
    #[schemars(inline)]
    struct FoundLine(message: pb::Message) {
        id: Id = message.id.into(),
        message_type: i64 = number(message.r#type()),
        content: Option<String> = message.content,
        /// Name of the sender; absent if the message has no sender.
        #[serde(skip_serializing_if = "Option::is_none")] #[schemars(required)]
        sender_name: Option<String> = message.sender.map(|sender| sender.name),
        created_at: Unix = message.created_at.into(),
    }
    truncated_fields = message.truncated_fields;
}

json_type! {
    /// A message in a search result.
    pub struct FoundMessage(message: pb::Message) {
        id: Id = message.id.into(),
        message_type: i64 = number(message.r#type()),
        content_type: Name<ContentType> = Name(message.content_type()),
        content: Option<String> = message.content,
        source_id: Option<String> = message.source_id,
        inbox_id: Id = message.inbox_id.into(),
        conversation_id: Id = message.conversation_id.into(),
        private: bool = message.private,
        created_at: Unix = message.created_at.into(),
        #[serde(skip_serializing_if = "Option::is_none")] #[schemars(required)]
        sender: Option<Sender> = message.sender.map(|sender| Sender::new(sender, None)),
    }
    truncated_fields = message.truncated_fields;
}

json_type! {
    /// A contact in a search result.
    pub struct FoundContact(contact: pb::Contact) {
        id: Id = contact.id.into(),
        #[schemars(with = "Option<String>")]
        name: String = contact.name,
        email: Option<String> = contact.email,
        phone_number: Option<String> = contact.phone_number,
        identifier: Option<String> = contact.identifier,
    }
}
