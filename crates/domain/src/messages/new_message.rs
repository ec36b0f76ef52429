//! A message to create.

use std::sync::Arc;

use parley_storage::entity::{
    agent_bot,
    kind::{ContentType, MessageType},
};
use parley_types::id::AgentBotId;
use serde_json::{Value as Json, json};

use super::liquid;
use crate::files::new_attachment::{Attached, NewAttachment, PendingAttachment};

/// A message to create.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// The type, such as incoming or outgoing.
    pub message_type: MessageType,
    /// The content, as text.
    pub content: Option<String>,
    /// Whether the content is final: it contains no template, or the template was rendered.
    pub rendered: bool,
    /// The type of the content.
    pub content_type: ContentType,
    /// Attributes that are specific to the content type, as a JSON object.
    pub content_attributes: Json,
    /// Whether the message is a private note, which only members see.
    pub private: bool,
    /// The message's id in the caller's own system.
    pub source_id: Option<String>,
    /// Whether `source_id` must be unique in the inbox.
    pub unique_source_id: bool,
    /// An id chosen by the client, which is returned in the response but not stored in the message's row.
    pub echo_id: Option<String>,
    /// Additional attributes, which are set by programs, as a JSON object.
    pub additional_attributes: Json,
    /// The bot on whose behalf an outgoing message is sent.
    pub agent_bot_id: Option<AgentBotId>,
    /// The bot with the id `agent_bot_id`, once it has been loaded.
    pub agent_bot: Option<Arc<agent_bot::Model>>,
    /// The attachments as specified in the request.
    pub wanted: Vec<NewAttachment>,
    /// The attachments after the signed names of uploads were verified.
    pub pending_attachments: Vec<PendingAttachment>,
    /// The attachment rows, once the uploads have been assigned to this message.
    pub attachments: Vec<Attached>,
}

impl NewMessage {
    /// Creates a public text message without attributes.
    pub fn text(message_type: MessageType, content: String) -> Self {
        Self {
            message_type,
            content: Some(content),
            rendered: false,
            content_type: ContentType::Text,
            content_attributes: json!({}),
            private: false,
            source_id: None,
            unique_source_id: false,
            echo_id: None,
            additional_attributes: json!({}),
            agent_bot_id: None,
            agent_bot: None,
            wanted: Vec::new(),
            pending_attachments: Vec::new(),
            attachments: Vec::new(),
        }
    }
}

impl NewMessage {
    /// Returns whether the content still has to be rendered. Only outgoing and automatic messages can be templates.
    pub fn is_template(&self) -> bool {
        !self.rendered
            && matches!(self.message_type, MessageType::Outgoing | MessageType::Template)
            && self.content.as_deref().is_some_and(liquid::is_template)
    }
}

impl NewMessage {
    /// Returns the ids of the uploads that the message names.
    pub fn uploads(&self) -> impl Iterator<Item = i64> + '_ {
        self.pending_attachments.iter().filter_map(|attachment| match attachment {
            PendingAttachment::Upload(id) => Some(*id),
            PendingAttachment::Plain(_) => None,
        })
    }

    /// Returns how many new attachment rows are stored with the message.
    pub fn new_rows(&self) -> usize {
        self.pending_attachments.len() - self.uploads().count()
    }
}
