//! Messages as contacts create and read them, and contacts' responses to interactive messages.

use std::time::Duration;

use parley_storage::{
    entity::kind::{ContentType, MessageType},
    joined::Message,
};
use parley_types::{
    error::{Error, Result},
    id::{ConversationId, MessageId},
    time::Micros,
};
use serde_json::Value as Json;

use super::ContactSession;
use crate::{
    files::new_attachment::NewAttachment,
    messages::{Created, MessagePage, MessageQuery, Messages, new_message::NewMessage},
    write::call::{Answer, Call},
};

/// How long a survey accepts responses, counted from its creation.
const SURVEY: Duration = Duration::from_hours(14 * 24);
const LATE: &str = "You cannot update the CSAT survey after 14 days";

/// The operations that visitors can perform on messages.
#[derive(Clone, Debug)]
pub struct VisitorMessages {
    messages: Messages,
}

impl VisitorMessages {
    pub(crate) fn new(messages: Messages) -> Self {
        Self { messages }
    }

    /// Returns a page of the messages that the contact is allowed to see, oldest first.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the conversation does not exist or the session cannot access it.
    pub async fn list(&self, visitor: &ContactSession, id: ConversationId, before: Option<MessageId>, size: u64) -> Result<MessagePage> {
        let query = MessageQuery {
            before,
            after: None,
            public_only: true,
            size,
        };
        self.messages.list(&visitor.caller, visitor.account(), id, query).await
    }

    /// Creates a message from the contact.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the conversation does not exist or the session cannot access it, [`Error::Flood`] above the
    /// conversation's message rate, and [`Error::Busy`] if the writer's queue is full.
    pub async fn create(
        &self,
        call: Call<Created>,
        id: ConversationId,
        content: Option<String>,
        echo_id: Option<String>,
        uploads: Vec<String>,
    ) -> Result<Answer<Created>> {
        let new = NewMessage {
            content,
            echo_id,
            wanted: uploads.into_iter().map(NewAttachment::Upload).collect(),
            ..NewMessage::text(MessageType::Incoming, String::new())
        };
        self.messages.create(call, vec![(id, new)]).await
    }

    /// Submits the contact's response to an interactive message.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if the message does not exist or the contact is not allowed to see it, and [`Error::Precondition`] if
    /// the survey has expired.
    pub async fn submit(
        &self,
        call: Call<Message>,
        conversation: ConversationId,
        id: MessageId,
        submitted: Json,
    ) -> Result<Answer<Message>> {
        // Check the message outside of the transaction: the fields that are checked never change once the message exists.
        let message = self.messages.get(&call.caller, call.account, conversation, id).await?;
        let row = &message.row;
        if row.private || row.message_type == MessageType::Activity {
            return Err(Error::not_found("message", id));
        }
        if row.content_type == ContentType::InputCsat && row.created_at < Micros::now().minus(SURVEY) {
            return Err(Error::Precondition(LATE));
        }
        self.messages
            .change(call, conversation, id, move |row| {
                if let Json::Object(attributes) = &mut row.content_attributes {
                    attributes.insert("submitted_values".to_owned(), submitted);
                }
            })
            .await
    }
}
