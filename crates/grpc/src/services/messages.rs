//! Implements `MessagesService`, which creates, changes, lists and searches messages.

use std::sync::Arc;

use bytes::Bytes;
use parley_domain::{
    Domain,
    contacts::sessions::Sessions,
    joined,
    messages::{Created, MessagePage, MessagePatch, MessageQuery, Messages},
    page::{Key, Sort, SortValue},
    search::{Search, messages::MessageSearch},
};
use parley_eventlog::conversion::{FromStored as _, ToProto};
use parley_proto::{self as pb, messages_service_server::MessagesService, rpc::PagedRequest as _};
use parley_types::{
    error::{Result, Rule},
    id::{AccountId, ContactId, ConversationId, InboxId, MessageId},
};
use tonic::{Request, Response, Status, Streaming};

use super::{
    request::{caller, idempotent_call},
    response::{created, to_response},
    restrict_contacts::restrict_contacts,
    send,
    service_context::ServiceContext,
    truncation,
};
use crate::{
    status::OrStatus as _,
    validation::{
        drafts,
        fields::{SHORT_TEXT, Validator, required},
        page,
    },
};

/// Maximum number of messages in a batch request.
const BATCH: usize = 500;

fn edge(message: &pb::Message) -> Key {
    Key {
        value: SortValue::Null,
        id: message.id,
    }
}

/// Returns as many messages of a page as fit, oldest first, and the key of the next page. If not all fit, a backward page keeps its newest
/// messages.
pub(super) fn page_of<'a>(
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
        let req = request.get_ref();
        let account = AccountId(req.account_id);
        let caller = caller(&request).or_status()?;
        caller.write_access(account).or_status()?;
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, account, created).or_status()?;
        let req = request.into_inner();
        let conversation = ConversationId(fields.id("conversation_id", req.conversation_id));
        let draft = required("message", req.message).or_status()?;
        let new = fields.within("message", |fields| drafts::read(fields, draft));
        fields.finish().or_status()?;
        let mut answer = to_response(self.messages.create(call, vec![(conversation, new)]).await.or_status()?, created)?;
        restrict_contacts(&self.sessions, &caller, account, answer.get_mut().message.iter_mut())
            .await
            .or_status()?;
        Ok(answer)
    }

    async fn get_message(&self, request: Request<pb::GetMessageRequest>) -> Result<Response<pb::GetMessageResponse>, Status> {
        let req = request.get_ref();
        let (account, id) = (AccountId(req.account_id), MessageId(req.message_id));
        let caller = caller(&request).or_status()?;
        let message = self
            .messages
            .get(&caller, account, ConversationId(req.conversation_id), id)
            .await
            .or_status()?;
        let mut message = pb::Message::from_stored(&message);
        restrict_contacts(&self.sessions, &caller, account, [&mut message])
            .await
            .or_status()?;
        Ok(Response::new(pb::GetMessageResponse { message: Some(message) }))
    }

    async fn list_messages(&self, request: Request<pb::ListMessagesRequest>) -> Result<Response<pb::ListMessagesResponse>, Status> {
        let caller = caller(&request).or_status()?;
        let req = request.into_inner();
        let account = AccountId(req.account_id);
        caller.access(account).or_status()?;
        let default = match (req.after, req.before) {
            (Some(_), Some(_)) => 1000,
            (Some(_), None) => 100,
            _ => 20,
        };
        let mut fields = Validator::default();
        let page = page::requested(&mut fields, &req, default);
        fields.finish().or_status()?;
        page.check_key(&[Sort::by_id(false)]).or_status()?;
        let (mut before, mut after) = (req.before.map(MessageId), req.after.map(MessageId));
        // A forward list continues after the last message of the page, and a backward list before the first message.
        if let Some(key) = page.after {
            if req.after.is_some() {
                after = Some(MessageId(key.id.saturating_add(i64::from(before.is_some()))));
            } else {
                before = Some(MessageId(key.id));
            }
        }
        let query = MessageQuery {
            before,
            after,
            public_only: req.public_only,
            size: page.size,
        };
        let found = self
            .messages
            .list(&caller, account, ConversationId(req.conversation_id), query)
            .await
            .or_status()?;
        let (mut messages, next) = page_of(&found, req.after.is_some(), pb::Message::from_stored);
        let mut conversation = pb::Conversation::from_stored(&found.conversation);
        restrict_contacts(&self.sessions, &caller, account, &mut messages)
            .await
            .or_status()?;
        restrict_contacts(&self.sessions, &caller, account, [&mut conversation])
            .await
            .or_status()?;
        Ok(Response::new(pb::ListMessagesResponse {
            messages,
            next_page_token: page::write(&req.without_paging(), next.as_ref()),
            conversation: Some(conversation),
        }))
    }

    async fn update_message(&self, request: Request<pb::UpdateMessageRequest>) -> Result<Response<pb::UpdateMessageResponse>, Status> {
        let req = request.get_ref();
        let account = AccountId(req.account_id);
        let caller = caller(&request).or_status()?;
        caller.write_access(account).or_status()?;
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, account, updated).or_status()?;
        if let Some(error) = &req.external_error {
            fields.text("external_error", error, 20_000);
        }
        let patch = MessagePatch {
            status: fields
                .kind::<pb::MessageStatus>("status", req.status)
                .and_then(pb::MessageStatus::to_row),
            external_error: req.external_error.clone(),
            content_attributes: req
                .content_attributes
                .as_ref()
                .map(|object| fields.attribute_update("content_attributes", Some(object))),
        };
        fields.finish().or_status()?;
        let (conversation, id) = (ConversationId(req.conversation_id), MessageId(req.message_id));
        let mut answer = to_response(self.messages.update(call, conversation, id, patch).await.or_status()?, updated)?;
        restrict_contacts(&self.sessions, &caller, account, answer.get_mut().message.iter_mut())
            .await
            .or_status()?;
        Ok(answer)
    }

    async fn delete_message(&self, request: Request<pb::DeleteMessageRequest>) -> Result<Response<pb::DeleteMessageResponse>, Status> {
        let req = request.get_ref();
        let mut fields = Validator::default();
        let account = AccountId(req.account_id);
        let caller = caller(&request).or_status()?;
        let call = idempotent_call(&mut fields, &request, account, deleted).or_status()?;
        fields.finish().or_status()?;
        let (conversation, id) = (ConversationId(req.conversation_id), MessageId(req.message_id));
        let mut answer = to_response(self.messages.delete(call, conversation, id).await.or_status()?, deleted)?;
        restrict_contacts(&self.sessions, &caller, account, answer.get_mut().message.iter_mut())
            .await
            .or_status()?;
        Ok(answer)
    }

    async fn retry_message(&self, request: Request<pb::RetryMessageRequest>) -> Result<Response<pb::RetryMessageResponse>, Status> {
        let req = request.get_ref();
        let account = AccountId(req.account_id);
        let caller = caller(&request).or_status()?;
        caller.write_access(account).or_status()?;
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, account, retried).or_status()?;
        fields.finish().or_status()?;
        let (conversation, id) = (ConversationId(req.conversation_id), MessageId(req.message_id));
        let mut answer = to_response(self.messages.retry(call, conversation, id).await.or_status()?, retried)?;
        restrict_contacts(&self.sessions, &caller, account, answer.get_mut().message.iter_mut())
            .await
            .or_status()?;
        Ok(answer)
    }

    async fn search_messages(&self, request: Request<pb::SearchMessagesRequest>) -> Result<Response<pb::SearchMessagesResponse>, Status> {
        let caller = caller(&request).or_status()?;
        let req = request.into_inner();
        let account = AccountId(req.account_id);
        caller.access(account).or_status()?;
        let mut fields = Validator::default();
        fields.required("text", &req.text, SHORT_TEXT);
        let page = page::requested(&mut fields, &req, 20);
        let types = req.types.iter();
        let search = MessageSearch {
            text: req.text.clone(),
            inboxes: req.inbox_ids.iter().copied().map(InboxId).collect(),
            conversations: req.conversation_ids.iter().copied().map(ConversationId).collect(),
            contact: req.contact_id.map(ContactId),
            types: types
                .filter_map(|kind| fields.kind::<pb::MessageType>("types", *kind))
                .filter_map(pb::MessageType::to_row)
                .collect(),
            since: fields.time("created_since", req.created_since.as_ref()),
            before: fields.time("created_before", req.created_before.as_ref()),
        };
        fields.finish().or_status()?;
        let found = self.search.messages(&caller, account, &search, &page).await.or_status()?;
        let (mut messages, whole) = page::take(&found.messages, pb::Message::from_stored);
        restrict_contacts(&self.sessions, &caller, account, &mut messages)
            .await
            .or_status()?;
        let next = if whole { found.next } else { messages.last().map(edge) };
        Ok(Response::new(pb::SearchMessagesResponse {
            messages,
            next_page_token: page::write(&req.without_paging(), next.as_ref()),
            complete: found.complete,
        }))
    }

    async fn batch_create_messages(
        &self,
        request: Request<pb::BatchCreateMessagesRequest>,
    ) -> Result<Response<pb::BatchCreateMessagesResponse>, Status> {
        let req = request.get_ref();
        let account = AccountId(req.account_id);
        let caller = caller(&request).or_status()?;
        caller.write_access(account).or_status()?;
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, account, batch).or_status()?;
        let req = request.into_inner();
        fields.count("messages", req.messages.len(), BATCH);
        if req.messages.is_empty() {
            fields.add_violation("messages", Rule::Required, "must have at least one entry");
        }
        let mut items = Vec::with_capacity(req.messages.len());
        for (nth, item) in req.messages.into_iter().enumerate() {
            fields.within(&format!("messages[{nth}]"), |fields| {
                let conversation = ConversationId(fields.id("conversation_id", item.conversation_id));
                match item.message {
                    Some(draft) => items.push((conversation, fields.within("message", |fields| drafts::read(fields, draft)))),
                    None => fields.add_violation("message", Rule::Required, "must be given"),
                }
            });
        }
        fields.finish().or_status()?;
        let mut answer = to_response(self.messages.create(call, items).await.or_status()?, batch)?;
        restrict_contacts(&self.sessions, &caller, account, &mut answer.get_mut().messages)
            .await
            .or_status()?;
        Ok(answer)
    }

    type SendMessagesStream = send::SendResults;

    async fn send_messages(
        &self,
        request: Request<Streaming<pb::SendMessagesRequest>>,
    ) -> Result<Response<Self::SendMessagesStream>, Status> {
        let sender = send::Sender {
            messages: self.messages.clone(),
            sessions: self.sessions.clone(),
            server: Arc::clone(&self.server),
        };
        Ok(Response::new(send::open(sender, request).or_status()?))
    }
}

fn batch(messages: &Created, cursor: Bytes) -> pb::BatchCreateMessagesResponse {
    pb::BatchCreateMessagesResponse {
        messages: truncation::messages(messages.iter().map(Arc::as_ref).map(ToProto::to_proto)),
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
