//! `MessagesService`.

use std::sync::Arc;

use bytes::Bytes;
use parley_domain::{
    Domain,
    contacts::sessions::Sessions,
    joined,
    messages::{Created, MessagePage, MessagePatch, MessageQuery, Messages},
    page::{Key, Sort, SortValue},
    search::{MessageSearch, Search},
};
use parley_eventlog::conversion::{FromStored as _, ToProto};
use parley_proto::{self as pb, messages_service_server::MessagesService};
use parley_types::{
    error::{Result, Rule},
    id::{AccountId, ContactId, ConversationId, InboxId, MessageId},
};
use tonic::{Request, Response, Status, Streaming};

use super::{
    fit,
    own_contacts::own_contacts,
    request::{caller, change},
    response::{answered, created},
    send,
    service_context::ServiceContext,
};
use crate::{
    status::OrStatus as _,
    validation::{
        drafts,
        fields::{Fields, SHORT, required},
        page,
    },
};

/// Maximum number of messages in a batch.
const BATCH: usize = 500;

fn edge(message: &pb::Message) -> Key {
    Key {
        value: SortValue::Null,
        id: message.id,
    }
}

/// Returns the messages of a page, oldest first, as many as fit, and the key of the next page. A backward page keeps the newest ones.
pub(super) fn shown<'a>(
    found: &'a MessagePage,
    forward: bool,
    to_wire: impl Fn(&'a joined::Message) -> pb::Message,
) -> (Vec<pb::Message>, Option<Key>) {
    let (messages, whole) = if forward {
        page::take(&found.messages, to_wire)
    } else {
        let (mut messages, whole) = page::take(found.messages.iter().rev(), to_wire);
        messages.reverse();
        (messages, whole)
    };
    let last = if forward { messages.last() } else { messages.first() };
    let next = last.filter(|_| found.more || !whole).map(edge);
    (messages, next)
}

/// Implements `MessagesService`.
#[derive(Clone, Debug)]
pub struct MessagesApi {
    messages: Messages,
    search: Search,
    sessions: Sessions,
    server: Arc<ServiceContext>,
}

impl MessagesApi {
    pub fn new(domain: &Domain, server: &Arc<ServiceContext>) -> Self {
        Self {
            messages: domain.messages.clone(),
            search: domain.search.clone(),
            sessions: domain.sessions.clone(),
            server: Arc::clone(server),
        }
    }
}

#[tonic::async_trait]
impl MessagesService for MessagesApi {
    async fn create_message(&self, request: Request<pb::CreateMessageRequest>) -> Result<Response<pb::CreateMessageResponse>, Status> {
        let asked = request.get_ref();
        let account = AccountId(asked.account_id);
        let caller = caller(&request).or_status()?;
        caller.write_access(account).or_status()?;
        let mut fields = Fields::default();
        let call = change(&mut fields, &request, account, created).or_status()?;
        let asked = request.into_inner();
        let conversation = ConversationId(fields.id("conversation_id", asked.conversation_id));
        let draft = required("message", asked.message).or_status()?;
        let new = fields.within("message", |fields| drafts::read(fields, draft));
        fields.done().or_status()?;
        let mut answer = answered(self.messages.create(call, vec![(conversation, new)]).await.or_status()?, created)?;
        own_contacts(&self.sessions, &caller, account, answer.get_mut().message.iter_mut())
            .await
            .or_status()?;
        Ok(answer)
    }

    async fn get_message(&self, request: Request<pb::GetMessageRequest>) -> Result<Response<pb::GetMessageResponse>, Status> {
        let asked = request.get_ref();
        let (account, id) = (AccountId(asked.account_id), MessageId(asked.message_id));
        let caller = caller(&request).or_status()?;
        let message = self
            .messages
            .get(&caller, account, ConversationId(asked.conversation_id), id)
            .await
            .or_status()?;
        let mut message = pb::Message::from_stored(&message);
        own_contacts(&self.sessions, &caller, account, [&mut message]).await.or_status()?;
        Ok(Response::new(pb::GetMessageResponse { message: Some(message) }))
    }

    async fn list_messages(&self, request: Request<pb::ListMessagesRequest>) -> Result<Response<pb::ListMessagesResponse>, Status> {
        let caller = caller(&request).or_status()?;
        let asked = request.into_inner();
        let account = AccountId(asked.account_id);
        caller.access(account).or_status()?;
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
        fields.done().or_status()?;
        page.check_key(&[Sort::by_id(false)]).or_status()?;
        let (mut before, mut after) = (asked.before.map(MessageId), asked.after.map(MessageId));
        // A forward list continues after the last message of the page, a backward one before the first.
        if let Some(key) = page.after {
            if asked.after.is_some() {
                after = Some(MessageId(key.id.saturating_add(i64::from(before.is_some()))));
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
            .messages
            .list(&caller, account, ConversationId(asked.conversation_id), query)
            .await
            .or_status()?;
        let (mut messages, next) = shown(&found, asked.after.is_some(), pb::Message::from_stored);
        let mut conversation = pb::Conversation::from_stored(&found.conversation);
        own_contacts(&self.sessions, &caller, account, &mut messages).await.or_status()?;
        own_contacts(&self.sessions, &caller, account, [&mut conversation])
            .await
            .or_status()?;
        Ok(Response::new(pb::ListMessagesResponse {
            messages,
            next_page_token: page::write(&same, next.as_ref()),
            conversation: Some(conversation),
        }))
    }

    async fn update_message(&self, request: Request<pb::UpdateMessageRequest>) -> Result<Response<pb::UpdateMessageResponse>, Status> {
        let asked = request.get_ref();
        let account = AccountId(asked.account_id);
        let caller = caller(&request).or_status()?;
        caller.write_access(account).or_status()?;
        let mut fields = Fields::default();
        let call = change(&mut fields, &request, account, updated).or_status()?;
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
                .map(|object| fields.attribute_update("content_attributes", Some(object))),
        };
        fields.done().or_status()?;
        let (conversation, id) = (ConversationId(asked.conversation_id), MessageId(asked.message_id));
        let mut answer = answered(self.messages.update(call, conversation, id, patch).await.or_status()?, updated)?;
        own_contacts(&self.sessions, &caller, account, answer.get_mut().message.iter_mut())
            .await
            .or_status()?;
        Ok(answer)
    }

    async fn delete_message(&self, request: Request<pb::DeleteMessageRequest>) -> Result<Response<pb::DeleteMessageResponse>, Status> {
        let asked = request.get_ref();
        let mut fields = Fields::default();
        let account = AccountId(asked.account_id);
        let caller = caller(&request).or_status()?;
        let call = change(&mut fields, &request, account, deleted).or_status()?;
        fields.done().or_status()?;
        let (conversation, id) = (ConversationId(asked.conversation_id), MessageId(asked.message_id));
        let mut answer = answered(self.messages.delete(call, conversation, id).await.or_status()?, deleted)?;
        own_contacts(&self.sessions, &caller, account, answer.get_mut().message.iter_mut())
            .await
            .or_status()?;
        Ok(answer)
    }

    async fn retry_message(&self, request: Request<pb::RetryMessageRequest>) -> Result<Response<pb::RetryMessageResponse>, Status> {
        let asked = request.get_ref();
        let account = AccountId(asked.account_id);
        let caller = caller(&request).or_status()?;
        caller.write_access(account).or_status()?;
        let mut fields = Fields::default();
        let call = change(&mut fields, &request, account, retried).or_status()?;
        fields.done().or_status()?;
        let (conversation, id) = (ConversationId(asked.conversation_id), MessageId(asked.message_id));
        let mut answer = answered(self.messages.retry(call, conversation, id).await.or_status()?, retried)?;
        own_contacts(&self.sessions, &caller, account, answer.get_mut().message.iter_mut())
            .await
            .or_status()?;
        Ok(answer)
    }

    async fn search_messages(&self, request: Request<pb::SearchMessagesRequest>) -> Result<Response<pb::SearchMessagesResponse>, Status> {
        let caller = caller(&request).or_status()?;
        let asked = request.into_inner();
        let account = AccountId(asked.account_id);
        caller.access(account).or_status()?;
        let same = pb::SearchMessagesRequest {
            page_size: 0,
            page_token: String::new(),
            skip: 0,
            ..asked.clone()
        };
        let mut fields = Fields::default();
        fields.required("text", &asked.text, SHORT);
        let page = page::read(&mut fields, &same, (asked.page_size, 20), &asked.page_token, asked.skip);
        let types = asked.types.iter();
        let search = MessageSearch {
            text: asked.text.clone(),
            inboxes: asked.inbox_ids.iter().copied().map(InboxId).collect(),
            conversations: asked.conversation_ids.iter().copied().map(ConversationId).collect(),
            contact: asked.contact_id.map(ContactId),
            types: types
                .filter_map(|kind| fields.kind::<pb::MessageType>("types", *kind))
                .filter_map(pb::MessageType::to_row)
                .collect(),
            since: fields.time("created_since", asked.created_since.as_ref()),
            before: fields.time("created_before", asked.created_before.as_ref()),
        };
        fields.done().or_status()?;
        let found = self.search.messages(&caller, account, &search, &page).await.or_status()?;
        let (mut messages, whole) = page::take(&found.messages, pb::Message::from_stored);
        own_contacts(&self.sessions, &caller, account, &mut messages).await.or_status()?;
        let next = if whole { found.next } else { messages.last().map(edge) };
        Ok(Response::new(pb::SearchMessagesResponse {
            messages,
            next_page_token: page::write(&same, next.as_ref()),
            complete: found.complete,
        }))
    }

    async fn batch_create_messages(
        &self,
        request: Request<pb::BatchCreateMessagesRequest>,
    ) -> Result<Response<pb::BatchCreateMessagesResponse>, Status> {
        let asked = request.get_ref();
        let account = AccountId(asked.account_id);
        let caller = caller(&request).or_status()?;
        caller.write_access(account).or_status()?;
        let mut fields = Fields::default();
        let call = change(&mut fields, &request, account, batch).or_status()?;
        let asked = request.into_inner();
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
        fields.done().or_status()?;
        let mut answer = answered(self.messages.create(call, items).await.or_status()?, batch)?;
        own_contacts(&self.sessions, &caller, account, &mut answer.get_mut().messages)
            .await
            .or_status()?;
        Ok(answer)
    }

    type SendMessagesStream = send::Answers;

    async fn send_messages(
        &self,
        request: Request<Streaming<pb::SendMessagesRequest>>,
    ) -> Result<Response<Self::SendMessagesStream>, Status> {
        let sender = send::Sender {
            messages: self.messages.clone(),
            sessions: self.sessions.clone(),
            server: Arc::clone(&self.server),
        };
        Ok(Response::new(send::answers(sender, request).or_status()?))
    }
}

fn batch(messages: &Created, cursor: Bytes) -> pb::BatchCreateMessagesResponse {
    pb::BatchCreateMessagesResponse {
        messages: fit::messages(messages.iter().map(Arc::as_ref).map(ToProto::to_proto)),
        cursor,
    }
}

fn updated(message: &joined::Message, cursor: Bytes) -> pb::UpdateMessageResponse {
    pb::UpdateMessageResponse {
        message: Some(message.to_proto()),
        cursor,
    }
}

fn retried(message: &joined::Message, cursor: Bytes) -> pb::RetryMessageResponse {
    pb::RetryMessageResponse {
        message: Some(message.to_proto()),
        cursor,
    }
}

fn deleted(message: &joined::Message, cursor: Bytes) -> pb::DeleteMessageResponse {
    pb::DeleteMessageResponse {
        message: Some(message.to_proto()),
        cursor,
    }
}
