//! Messages as contacts write, read and answer them.

use crate::conversations::seen::mark_read;
use std::{sync::Arc, time::Duration};

use parley_storage::{
    entity::kind::{ContentType, MessageType},
    joined::Message,
    load,
};
use parley_types::{
    error::{Error, Result},
    id::{ConversationId, MessageId},
    time::Micros,
};
use serde_json::Value as Json;

use super::Guest;
use crate::{
    Chat,
    conversations::{rows::save, seen::seen},
    files::new_attachment::NewAttachment,
    messages::{Created, MessagePage, MessageQuery, new_message::NewMessage},
    write::call::{Answer, Call},
};

/// How long a survey takes answers.
const SURVEY: Duration = Duration::from_hours(14 * 24);
const LATE: &str = "You cannot update the CSAT survey after 14 days";

impl Chat {
    /// A page of the messages that the contact may see, oldest first.
    ///
    /// # Errors
    /// [`Error::NotFound`] also out of the session's reach.
    pub async fn client_messages(&self, guest: &Guest, id: ConversationId, before: Option<MessageId>, size: u64) -> Result<MessagePage> {
        let query = MessageQuery {
            before,
            after: None,
            public_only: true,
            size,
        };
        self.messages(&guest.caller, guest.account(), id, query).await
    }

    /// Writes a message as the contact.
    ///
    /// # Errors
    /// [`Error::NotFound`] also out of the session's reach; [`Error::Flood`]; [`Error::Busy`].
    pub async fn create_client_message(
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
        self.create_messages(call, vec![(id, new)]).await
    }

    /// Answers an interactive message.
    ///
    /// # Errors
    /// [`Error::NotFound`] also for messages that the contact may not see; [`Error::Precondition`] for a survey that is over.
    pub async fn update_client_message(
        &self,
        call: Call<Message>,
        conversation: ConversationId,
        id: MessageId,
        submitted: Json,
    ) -> Result<Answer<Message>> {
        // What is checked here never changes in a message.
        let message = self.message(&call.caller, call.account, conversation, id).await?;
        let row = &message.row;
        if row.private || row.message_type == MessageType::Activity {
            return Err(Error::not_found("message", id));
        }
        if row.content_type == ContentType::InputCsat && row.created_at < Micros::now().minus(SURVEY) {
            return Err(Error::Precondition(LATE));
        }
        self.change(call, conversation, id, move |row| {
            if let Json::Object(attributes) = &mut row.content_attributes {
                attributes.insert("submitted_values".to_owned(), submitted);
            }
        })
        .await
    }

    /// Notes that the contact looked, and marks what was sent to it as read.
    ///
    /// # Errors
    /// [`Error::NotFound`] also out of the session's reach.
    pub async fn client_looked(&self, call: Call<()>, id: ConversationId) -> Result<Answer<()>> {
        let access = call.caller.write_access(call.account)?.clone();
        self.writer
            .write(call, move |write| {
                Box::pin(async move {
                    let account = Arc::clone(write.account());
                    let mut conversation = load::conversation(&write.txn, &account, id).await?;
                    access.conversation(&conversation.row)?;
                    seen(write, &mut conversation, true);
                    save(write, &mut conversation).await?;
                    mark_read(write, &mut conversation).await
                })
            })
            .await
    }
}
