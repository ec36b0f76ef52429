//! A message that may be made.

use std::sync::Arc;

use parley_storage::entity::{
    agent_bot,
    kind::{ContentType, MessageType},
};
use parley_types::id::AgentBotId;
use serde_json::{Value as Json, json};

use super::liquid;
use crate::files::new_attachment::{Attached, Hanging, NewAttachment};

/// A message that may be made.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Who speaks to whom.
    pub message_type: MessageType,
    /// The text.
    pub content: Option<String>,
    /// Whether the text is final: it was rendered, if it was a template.
    pub rendered: bool,
    /// What the content is.
    pub content_type: ContentType,
    /// What belongs to the content type; an object.
    pub content_attributes: Json,
    /// Whether it is a note among agents.
    pub private: bool,
    /// The message's id in the caller's own system.
    pub source_id: Option<String>,
    /// Whether that must be unique in the inbox.
    pub unique_source_id: bool,
    /// Handed back, not stored.
    pub echo_id: Option<String>,
    /// Attributes that programs set; an object.
    pub additional_attributes: Json,
    /// The bot in whose name an outgoing one shall be sent.
    pub agent_bot_id: Option<AgentBotId>,
    /// That bot, once it was looked up.
    pub agent_bot: Option<Arc<agent_bot::Model>>,
    /// What shall hang on it.
    pub wanted: Vec<NewAttachment>,
    /// The same, once names were read.
    pub hanging: Vec<Hanging>,
    /// Its rows, once nobody else can take them.
    pub attachments: Vec<Attached>,
}

impl NewMessage {
    /// A public text without anything else.
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
            hanging: Vec::new(),
            attachments: Vec::new(),
        }
    }
}

impl NewMessage {
    /// Whether its text is to be rendered: what is sent to the contact may be a template.
    pub fn is_template(&self) -> bool {
        !self.rendered
            && matches!(self.message_type, MessageType::Outgoing | MessageType::Template)
            && self.content.as_deref().is_some_and(liquid::is_template)
    }
}

impl NewMessage {
    /// The uploads that it names.
    pub fn uploads(&self) -> impl Iterator<Item = i64> + '_ {
        self.hanging.iter().filter_map(|hanging| match hanging {
            Hanging::Upload(id) => Some(*id),
            Hanging::Plain(_) => None,
        })
    }

    /// How many rows are stored with it.
    pub fn new_rows(&self) -> usize {
        self.hanging.len() - self.uploads().count()
    }
}
