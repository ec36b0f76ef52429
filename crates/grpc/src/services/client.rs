//! `ClientService`: calls of contact sessions. They carry no token; each request names its session.

use std::sync::Arc;

use bytes::Bytes;
use parley_admission::{
    client_address::ClientAddress,
    rate_limit::{Activity, Resource},
};
use parley_domain::{
    client::{
        Guest, Signature,
        conversations::{Newest, Seen},
        sessions::ClientFields,
    },
    conversations::answers::{CreatedConversation, StatusSet},
    joined::{Client, Conversation, Message},
    messages::Created,
    page::Sort,
    write::{call::Call, key_owner::KeyOwner},
};
use parley_eventlog::conversion::{ToProto as _, client_conversation, client_message};
use parley_proto::{self as pb, client_service_server::ClientService};
use parley_types::{
    error::Result,
    id::{ConversationId, MessageId},
};
use prost::Message as _;
use tonic::{Request, Response, Status, Streaming};

use super::{api::Api, files, idempotency::IdempotentRequest, messages, request::change_as, response::answered};
use crate::{
    middleware::{authenticator::Payer, call_span::traceparent},
    status::OrStatus as _,
    validation::{
        fields::{SHORT, Validator, required},
        page,
    },
};

/// Maximum characters of a message.
const CONTENT: usize = 150_000;

/// Maximum characters of an avatar URL.
const URL: usize = 2048;

impl Api {
    async fn guest(&self, session: Option<&pb::ClientSession>) -> Result<Arc<Guest>> {
        let session = required("session", session)?;
        self.chat.client(&session.inbox_identifier, &session.source_id).await
    }

    /// Charges an activity of a session and the bytes of its request.
    fn charge<R: prost::Message>(&self, request: &Request<R>, guest: &Guest, activity: Option<Activity>) -> Result<()> {
        let inbox = (guest.account(), guest.client.inbox.row.id);
        Payer::of(request).charge(&self.config.anonymous, inbox, activity, request.get_ref().encoded_len())
    }

    /// Adds the messages visible to the contact to a conversation that was changed. They are read after the change and are not part of the
    /// stored idempotent response.
    async fn shown(&self, guest: &Guest, conversation: &mut Option<pb::ClientConversation>) -> Result<()> {
        if let Some(conversation) = conversation {
            let newest = self
                .chat
                .client_messages_of(guest.account(), ConversationId(conversation.id))
                .await?;
            put_messages(conversation, &newest, guest);
        }
        Ok(())
    }
}

fn call<R: IdempotentRequest, T: 'static, M: prost::Message + 'static>(
    fields: &mut Validator,
    request: &Request<R>,
    guest: &Guest,
    respond: impl Fn(&T, Bytes) -> M + Send + Sync + 'static,
) -> Call<T> {
    change_as(fields, request, Arc::clone(&guest.caller), guest.account(), respond)
}

fn signature(fields: &mut Validator, signature: Option<pb::ClientSignature>) -> Signature {
    let signature = signature.unwrap_or_default();
    fields.within("signature", |fields| {
        fields.text("identifier", &signature.identifier, SHORT);
        fields.text("identifier_hash", &signature.identifier_hash, SHORT);
    });
    Signature {
        identifier: signature.identifier,
        hash: signature.identifier_hash,
    }
}

macro_rules! said {
    ($fields:ident, $asked:ident, $attributes:ident) => {{
        if let Some(url) = &$asked.avatar_url {
            $fields.url("avatar_url", url, URL);
        }
        ClientFields {
            email: $fields.email("email", $asked.email),
            name: $fields.optional("name", $asked.name, SHORT),
            phone_number: $fields.phone_number("phone_number", $asked.phone_number),
            avatar_url: $asked.avatar_url.filter(|url| !url.is_empty()),
            custom_attributes: $fields.$attributes("custom_attributes", $asked.custom_attributes.as_ref()),
        }
    }};
}

#[tonic::async_trait]
impl ClientService for Api {
    async fn get_client_inbox(&self, request: Request<pb::GetClientInboxRequest>) -> Result<Response<pb::GetClientInboxResponse>, Status> {
        let door = self.chat.client_door(&request.get_ref().inbox_identifier).await.or_status()?;
        Ok(Response::new(pb::GetClientInboxResponse {
            inbox: Some(door.inbox.as_ref().to_proto()),
        }))
    }

    async fn create_client_session(
        &self,
        request: Request<pb::CreateClientSessionRequest>,
    ) -> Result<Response<pb::CreateClientSessionResponse>, Status> {
        let door = self.chat.client_door(&request.get_ref().inbox_identifier).await.or_status()?;
        let inbox = (door.inbox.row.account_id, door.inbox.row.id);
        let bytes = request.get_ref().encoded_len();
        Payer::of(&request)
            .charge(&self.config.anonymous, inbox, Some(Activity::Session), bytes)
            .or_status()?;
        let respond = |client: &Client, cursor: Bytes| pb::CreateClientSessionResponse {
            session: Some(client.to_proto()),
            cursor,
        };
        let mut fields = Validator::default();
        let account = door.inbox.row.account_id;
        let mut call = change_as(&mut fields, &request, Arc::clone(&door.caller), account, respond);
        // Without a session, only the client address distinguishes callers.
        match request.extensions().get::<ClientAddress>() {
            // Disable idempotency: all clients behind that proxy have the same address, and the stored response contains the credential of
            // a session.
            Some(ClientAddress::UndeclaredProxy(_)) => call.key = None,
            from => {
                let address = from.map(|from| match from {
                    ClientAddress::Client(address) | ClientAddress::UndeclaredProxy(address) => *address,
                });
                if let Some(key) = &mut call.key {
                    key.owner = KeyOwner::visitor(door.inbox.row.id, address);
                }
            }
        }
        let asked = request.into_inner();
        let signature = signature(&mut fields, asked.signature);
        let source_id = fields.optional("source_id", asked.source_id, SHORT);
        let new = said!(fields, asked, attributes);
        fields.done().or_status()?;
        answered(
            self.chat
                .create_client_session(call, door, source_id, signature, new)
                .await
                .or_status()?,
            respond,
        )
    }

    async fn get_client_session(
        &self,
        request: Request<pb::GetClientSessionRequest>,
    ) -> Result<Response<pb::GetClientSessionResponse>, Status> {
        let guest = self.guest(request.get_ref().session.as_ref()).await.or_status()?;
        self.charge(&request, &guest, Some(Activity::Message)).or_status()?;
        let traceparent = traceparent(&request);
        let mut fields = Validator::default();
        let signature = signature(&mut fields, request.into_inner().signature);
        fields.done().or_status()?;
        let client = self.chat.client_session(&guest, &signature, traceparent).await.or_status()?;
        Ok(Response::new(pb::GetClientSessionResponse {
            session: Some(client.to_proto()),
        }))
    }

    async fn update_client_session(
        &self,
        request: Request<pb::UpdateClientSessionRequest>,
    ) -> Result<Response<pb::UpdateClientSessionResponse>, Status> {
        let guest = self.guest(request.get_ref().session.as_ref()).await.or_status()?;
        self.charge(&request, &guest, None).or_status()?;
        let respond = |client: &Client, cursor: Bytes| pb::UpdateClientSessionResponse {
            session: Some(client.to_proto()),
            cursor,
        };
        let mut fields = Validator::default();
        let call = call(&mut fields, &request, &guest, respond);
        let asked = request.into_inner();
        let signature = signature(&mut fields, asked.signature);
        let said = said!(fields, asked, attribute_update);
        fields.done().or_status()?;
        answered(
            self.chat.update_client_session(call, &guest, signature, said).await.or_status()?,
            respond,
        )
    }

    async fn list_client_conversations(
        &self,
        request: Request<pb::ListClientConversationsRequest>,
    ) -> Result<Response<pb::ListClientConversationsResponse>, Status> {
        let asked = request.get_ref();
        let guest = self.guest(asked.session.as_ref()).await.or_status()?;
        let same = pb::ListClientConversationsRequest {
            page_size: 0,
            page_token: String::new(),
            without_messages: false,
            ..asked.clone()
        };
        let mut fields = Validator::default();
        let page = page::read(&mut fields, &same, (asked.page_size, 25), &asked.page_token, 0);
        fields.done().or_status()?;
        let found = self
            .chat
            .client_conversations(&guest, !asked.without_messages, &page)
            .await
            .or_status()?;
        let (conversations, next_page_token) = page::fill(&same, &found, |found| seen(found, &guest));
        Ok(Response::new(pb::ListClientConversationsResponse {
            conversations,
            next_page_token,
        }))
    }

    async fn create_client_conversation(
        &self,
        request: Request<pb::CreateClientConversationRequest>,
    ) -> Result<Response<pb::CreateClientConversationResponse>, Status> {
        let guest = self.guest(request.get_ref().session.as_ref()).await.or_status()?;
        self.charge(&request, &guest, Some(Activity::Conversation)).or_status()?;
        let session = Arc::clone(&guest);
        let respond = move |made: &CreatedConversation, cursor: Bytes| pb::CreateClientConversationResponse {
            conversation: Some(bare(&made.conversation.conversation, &session)),
            cursor,
        };
        let mut fields = Validator::default();
        let call = call(&mut fields, &request, &guest, respond.clone());
        let asked = request.into_inner();
        let custom_attributes = fields.conversation_attributes("custom_attributes", asked.custom_attributes.as_ref());
        fields.done().or_status()?;
        let made = self
            .chat
            .create_client_conversation(call, &guest, custom_attributes)
            .await
            .or_status()?;
        let mut response = answered(made, respond)?;
        self.shown(&guest, &mut response.get_mut().conversation).await.or_status()?;
        Ok(response)
    }

    async fn get_client_conversation(
        &self,
        request: Request<pb::GetClientConversationRequest>,
    ) -> Result<Response<pb::GetClientConversationResponse>, Status> {
        let asked = request.get_ref();
        let guest = self.guest(asked.session.as_ref()).await.or_status()?;
        let found = self
            .chat
            .client_conversation(&guest, ConversationId(asked.conversation_id))
            .await
            .or_status()?;
        Ok(Response::new(pb::GetClientConversationResponse {
            conversation: Some(seen(&found, &guest)),
        }))
    }

    async fn resolve_client_conversation(
        &self,
        request: Request<pb::ResolveClientConversationRequest>,
    ) -> Result<Response<pb::ResolveClientConversationResponse>, Status> {
        let guest = self.guest(request.get_ref().session.as_ref()).await.or_status()?;
        self.charge(&request, &guest, Some(Activity::Message)).or_status()?;
        let session = Arc::clone(&guest);
        let respond = move |set: &StatusSet, cursor: Bytes| pb::ResolveClientConversationResponse {
            conversation: Some(bare(&set.conversation.conversation, &session)),
            cursor,
        };
        let mut fields = Validator::default();
        let call = call(&mut fields, &request, &guest, respond.clone());
        fields.done().or_status()?;
        let id = ConversationId(request.get_ref().conversation_id);
        let mut response = answered(self.chat.resolve_client_conversation(call, id).await.or_status()?, respond)?;
        self.shown(&guest, &mut response.get_mut().conversation).await.or_status()?;
        Ok(response)
    }

    async fn set_client_typing(
        &self,
        request: Request<pb::SetClientTypingRequest>,
    ) -> Result<Response<pb::SetClientTypingResponse>, Status> {
        let asked = request.get_ref();
        let guest = self.guest(asked.session.as_ref()).await.or_status()?;
        self.charge(&request, &guest, Some(Activity::Message)).or_status()?;
        let id = ConversationId(asked.conversation_id);
        let head = self.chat.set_client_typing(&guest, id, asked.typing).await.or_status()?;
        Ok(Response::new(pb::SetClientTypingResponse { cursor: head.encode() }))
    }

    async fn mark_client_conversation_seen(
        &self,
        request: Request<pb::MarkClientConversationSeenRequest>,
    ) -> Result<Response<pb::MarkClientConversationSeenResponse>, Status> {
        let guest = self.guest(request.get_ref().session.as_ref()).await.or_status()?;
        self.charge(&request, &guest, Some(Activity::Message)).or_status()?;
        let respond = |(): &(), cursor: Bytes| pb::MarkClientConversationSeenResponse { cursor };
        let mut fields = Validator::default();
        let call = call(&mut fields, &request, &guest, respond);
        fields.done().or_status()?;
        let id = ConversationId(request.get_ref().conversation_id);
        answered(self.chat.client_looked(call, id).await.or_status()?, respond)
    }

    async fn list_client_messages(
        &self,
        request: Request<pb::ListClientMessagesRequest>,
    ) -> Result<Response<pb::ListClientMessagesResponse>, Status> {
        let asked = request.get_ref();
        let guest = self.guest(asked.session.as_ref()).await.or_status()?;
        let same = pb::ListClientMessagesRequest {
            page_size: 0,
            page_token: String::new(),
            ..asked.clone()
        };
        let mut fields = Validator::default();
        let page = page::read(&mut fields, &same, (asked.page_size, 20), &asked.page_token, 0);
        fields.done().or_status()?;
        page.check_key(&[Sort::by_id(true)]).or_status()?;
        let before = page.after.map(|key| key.id).or(asked.before).map(MessageId);
        let id = ConversationId(asked.conversation_id);
        let found = self.chat.client_messages(&guest, id, before, page.size).await.or_status()?;
        let session = &guest.client.row;
        let (messages, next) = messages::shown(&found, false, |message| client_message(message, session));
        Ok(Response::new(pb::ListClientMessagesResponse {
            messages,
            next_page_token: page::write(&same, next.as_ref()),
        }))
    }

    async fn create_client_message(
        &self,
        request: Request<pb::CreateClientMessageRequest>,
    ) -> Result<Response<pb::CreateClientMessageResponse>, Status> {
        let guest = self.guest(request.get_ref().session.as_ref()).await.or_status()?;
        self.charge(&request, &guest, Some(Activity::Message)).or_status()?;
        let session = Arc::clone(&guest);
        let respond = move |created: &Created, cursor: Bytes| pb::CreateClientMessageResponse {
            message: created.first().map(|message| client_message(message, &session.client.row)),
            cursor,
        };
        let mut fields = Validator::default();
        let call = call(&mut fields, &request, &guest, respond.clone());
        let asked = request.into_inner();
        let id = ConversationId(asked.conversation_id);
        if let Some(content) = &asked.content {
            fields.text("content", content, CONTENT);
        }
        if let Some(echo_id) = &asked.echo_id {
            fields.text("echo_id", echo_id, SHORT);
        }
        fields.done().or_status()?;
        answered(
            self.chat
                .create_client_message(call, id, asked.content, asked.echo_id, asked.upload_ids)
                .await
                .or_status()?,
            respond,
        )
    }

    async fn upload_client_file(
        &self,
        request: Request<Streaming<pb::UploadClientFileRequest>>,
    ) -> Result<Response<pb::UploadClientFileResponse>, Status> {
        let payer = Payer::of(&request);
        // An upload holds memory while it lasts, so it counts against a concurrency limit like a stream.
        let _permit = payer.open(&self.config.anonymous, Resource::Upload).or_status()?;
        let mut requests = request.into_inner();
        let first = files::first(&mut requests).await?;
        let guest = self.guest(first.session.as_ref()).await.or_status()?;
        guest.caller.write_access(guest.account()).or_status()?;
        let inbox = (guest.account(), guest.client.inbox.row.id);
        let charge = |activity, bytes| payer.charge(&self.config.anonymous, inbox, activity, bytes);
        charge(Some(Activity::File), 0).or_status()?;
        let session = Some(guest.client.row.id);
        let file = self
            .receive(guest.account(), session, first, requests, |bytes| charge(None, bytes))
            .await
            .or_status()?;
        Ok(Response::new(pb::UploadClientFileResponse { file: Some(file) }))
    }

    async fn update_client_message(
        &self,
        request: Request<pb::UpdateClientMessageRequest>,
    ) -> Result<Response<pb::UpdateClientMessageResponse>, Status> {
        let guest = self.guest(request.get_ref().session.as_ref()).await.or_status()?;
        self.charge(&request, &guest, Some(Activity::Message)).or_status()?;
        let session = Arc::clone(&guest);
        let respond = move |message: &Message, cursor: Bytes| pb::UpdateClientMessageResponse {
            message: Some(client_message(message, &session.client.row)),
            cursor,
        };
        let mut fields = Validator::default();
        let call = call(&mut fields, &request, &guest, respond.clone());
        let asked = request.into_inner();
        let within = prost_types::Struct {
            fields: asked
                .submitted_values
                .map(|value| ("submitted_values".to_owned(), value))
                .into_iter()
                .collect(),
        };
        let mut object = fields.attribute_update("submitted_values", Some(&within));
        fields.done().or_status()?;
        let submitted = object.remove("submitted_values").unwrap_or_default();
        let (conversation, id) = (ConversationId(asked.conversation_id), MessageId(asked.message_id));
        answered(
            self.chat
                .update_client_message(call, conversation, id, submitted)
                .await
                .or_status()?,
            respond,
        )
    }
}

/// Sets the newest messages of a conversation, oldest first: as many as fit into a page.
fn put_messages(conversation: &mut pb::ClientConversation, newest: &Newest, guest: &Guest) {
    let shown = |message| client_message(message, &guest.client.row);
    let (mut messages, whole) = page::take(newest.messages.iter().rev(), shown);
    messages.reverse();
    conversation.messages = messages;
    if newest.cut || !whole {
        conversation.truncated_fields = vec!["messages".to_owned()];
    }
}

fn seen(seen: &Seen, guest: &Guest) -> pb::ClientConversation {
    let mut conversation = bare(&seen.conversation, guest);
    put_messages(&mut conversation, &seen.newest, guest);
    conversation
}

/// A conversation without messages.
fn bare(conversation: &Conversation, guest: &Guest) -> pb::ClientConversation {
    client_conversation(conversation, &[], &guest.client.row)
}
