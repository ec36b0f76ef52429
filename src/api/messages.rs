//! `MessagesService`.

use std::sync::Arc;

use bytes::Bytes;
use tonic::{Request, Response, Status, Streaming};

use super::{Api, answered, caller, change, drafts, fields::Fields, page, required, send};
use crate::{
    chat::{
        messages::{Created, MessagePatch, MessageQuery},
        page::{Key, SortValue},
    },
    db::joined,
    error::{Result, Rule},
    id::{AccountId, ConversationId, MessageId},
    pb::{self, messages_service_server::MessagesService},
};

/// Messages in one batch.
const BATCH: usize = 500;

#[tonic::async_trait]
impl MessagesService for Api {
    async fn create_message(&self, request: Request<pb::CreateMessageRequest>) -> Result<Response<pb::CreateMessageResponse>, Status> {
        let asked = request.get_ref();
        let account = AccountId(asked.account_id);
        caller(&request)?.write_access(account)?;
        let call = change(&request, account, &asked.request_id, created)?;
        let asked = request.into_inner();
        let mut fields = Fields::default();
        let conversation = ConversationId(fields.id("conversation_id", asked.conversation_id));
        let draft = required("message", asked.message)?;
        let new = fields.within("message", |fields| drafts::read(fields, draft));
        fields.done()?;
        answered(self.chat.create_messages(call, vec![(conversation, new)]).await?, created)
    }

    async fn get_message(&self, request: Request<pb::GetMessageRequest>) -> Result<Response<pb::GetMessageResponse>, Status> {
        let asked = request.get_ref();
        let (account, id) = (AccountId(asked.account_id), MessageId(asked.message_id));
        let message = self
            .chat
            .message(&*caller(&request)?, account, ConversationId(asked.conversation_id), id)
            .await?;
        Ok(Response::new(pb::GetMessageResponse {
            message: Some((&message).into()),
        }))
    }

    async fn list_messages(&self, request: Request<pb::ListMessagesRequest>) -> Result<Response<pb::ListMessagesResponse>, Status> {
        let caller = caller(&request)?;
        let asked = request.into_inner();
        let account = AccountId(asked.account_id);
        caller.access(account)?;
        let default = match (asked.after, asked.before) {
            (Some(_), Some(_)) => 1000,
            (Some(_), None) => 100,
            _ => 20,
        };
        let same = pb::ListMessagesRequest {
            page_size: 0,
            page_token: String::new(),
            ..asked.clone()
        };
        let mut fields = Fields::default();
        let page = page::read(&mut fields, &same, (asked.page_size, default), &asked.page_token, 0);
        fields.done()?;
        let (mut before, mut after) = (asked.before.map(MessageId), asked.after.map(MessageId));
        // A page that goes forward goes on after the last message, one that goes back before the first.
        if let Some(key) = page.after {
            if asked.after.is_some() {
                after = Some(MessageId(key.id + i64::from(before.is_some())));
            } else {
                before = Some(MessageId(key.id));
            }
        }
        let query = MessageQuery {
            before,
            after,
            public_only: asked.public_only,
            size: page.size,
        };
        let found = self
            .chat
            .messages(&caller, account, ConversationId(asked.conversation_id), query)
            .await?;
        let edge = if asked.after.is_some() {
            found.messages.last()
        } else {
            found.messages.first()
        };
        let next = edge.filter(|_| found.more).map(|message| Key {
            value: SortValue::Null,
            id: message.row.id.0,
        });
        Ok(Response::new(pb::ListMessagesResponse {
            messages: found.messages.iter().map(pb::Message::from).collect(),
            next_page_token: page::write(&same, next.as_ref()),
            conversation: Some((&found.conversation).into()),
        }))
    }

    async fn update_message(&self, request: Request<pb::UpdateMessageRequest>) -> Result<Response<pb::UpdateMessageResponse>, Status> {
        let asked = request.get_ref();
        let account = AccountId(asked.account_id);
        caller(&request)?.write_access(account)?;
        let call = change(&request, account, &asked.request_id, updated)?;
        let mut fields = Fields::default();
        if let Some(error) = &asked.external_error {
            fields.text("external_error", error, 20_000);
        }
        let patch = MessagePatch {
            status: fields
                .kind::<pb::MessageStatus>("status", asked.status)
                .and_then(pb::MessageStatus::to_row),
            external_error: asked.external_error.clone(),
            content_attributes: asked
                .content_attributes
                .as_ref()
                .map(|object| fields.attributes("content_attributes", Some(object))),
        };
        fields.done()?;
        let (conversation, id) = (ConversationId(asked.conversation_id), MessageId(asked.message_id));
        answered(self.chat.update_message(call, conversation, id, patch).await?, updated)
    }

    async fn delete_message(&self, request: Request<pb::DeleteMessageRequest>) -> Result<Response<pb::DeleteMessageResponse>, Status> {
        let asked = request.get_ref();
        let call = change(&request, AccountId(asked.account_id), &asked.request_id, deleted)?;
        let (conversation, id) = (ConversationId(asked.conversation_id), MessageId(asked.message_id));
        answered(self.chat.delete_message(call, conversation, id).await?, deleted)
    }

    async fn batch_create_messages(
        &self,
        request: Request<pb::BatchCreateMessagesRequest>,
    ) -> Result<Response<pb::BatchCreateMessagesResponse>, Status> {
        let asked = request.get_ref();
        let account = AccountId(asked.account_id);
        caller(&request)?.write_access(account)?;
        let call = change(&request, account, &asked.request_id, batch)?;
        let asked = request.into_inner();
        let mut fields = Fields::default();
        fields.count("messages", asked.messages.len(), BATCH);
        if asked.messages.is_empty() {
            fields.refuse("messages", Rule::Required, "must have an entry");
        }
        let mut items = Vec::with_capacity(asked.messages.len());
        for (nth, item) in asked.messages.into_iter().enumerate() {
            fields.within(&format!("messages[{nth}]"), |fields| {
                let conversation = ConversationId(fields.id("conversation_id", item.conversation_id));
                match item.message {
                    Some(draft) => items.push((conversation, fields.within("message", |fields| drafts::read(fields, draft)))),
                    None => fields.refuse("message", Rule::Required, "must be given"),
                }
            });
        }
        fields.done()?;
        answered(self.chat.create_messages(call, items).await?, batch)
    }

    type SendMessagesStream = send::Answers;

    async fn send_messages(
        &self,
        request: Request<Streaming<pb::SendMessagesRequest>>,
    ) -> Result<Response<Self::SendMessagesStream>, Status> {
        Ok(Response::new(send::answers(self, caller(&request)?, request.into_inner())))
    }
}

pub(super) fn created(messages: &Created, cursor: Bytes) -> pb::CreateMessageResponse {
    pb::CreateMessageResponse {
        message: messages.first().map(Arc::as_ref).map(pb::Message::from),
        cursor,
    }
}

fn batch(messages: &Created, cursor: Bytes) -> pb::BatchCreateMessagesResponse {
    pb::BatchCreateMessagesResponse {
        messages: messages.iter().map(Arc::as_ref).map(pb::Message::from).collect(),
        cursor,
    }
}

fn updated(message: &joined::Message, cursor: Bytes) -> pb::UpdateMessageResponse {
    pb::UpdateMessageResponse {
        message: Some(message.into()),
        cursor,
    }
}

fn deleted(message: &joined::Message, cursor: Bytes) -> pb::DeleteMessageResponse {
    pb::DeleteMessageResponse {
        message: Some(message.into()),
        cursor,
    }
}
