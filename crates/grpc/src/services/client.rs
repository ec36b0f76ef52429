//! Implements `ClientService`, the calls of contact sessions. They carry no token; each request names its session.

use std::sync::Arc;

use bytes::Bytes;
use parley_admission::{
    client_address::ClientAddress,
    rate_limit::{Activity, Resource},
};
use parley_domain::{
    Domain,
    client::{
        ContactSession, PublicInboxes, Signature,
        conversations::{Newest, VisibleConversation, VisitorConversations},
        messages::VisitorMessages,
        sessions::{ClientFields, VisitorSessions},
    },
    conversations::answers::{CreatedConversation, StatusSet},
    files::Files,
    joined::{Client, Conversation, Message},
    messages::Created,
    page::Sort,
    write::{call::Call, key_owner::KeyOwner},
};
use parley_eventlog::conversion::{ToProto as _, client_conversation, client_message};
use parley_proto::{self as pb, client_service_server::ClientService, rpc::PagedRequest as _, rpc::WriteRequest};
use parley_types::{
    error::Result,
    id::{ConversationId, MessageId},
};
use prost::Message as _;
use tonic::{Request, Response, Status, Streaming};

use super::{
    files, messages,
    request::idempotent_call_as,
    response::{found, to_response},
    service_context::ServiceContext,
};
use crate::{
    middleware::{authenticator::Payer, call_span::traceparent},
    status::OrStatus as _,
    validation::{
        fields::{SHORT_TEXT, Validator, required},
        page,
    },
};

/// Maximum length of a message in characters.
const CONTENT: usize = 150_000;

/// Maximum length of an avatar URL in characters.
const URL: usize = 2048;

/// Implements `ClientService`.
#[derive(Clone, Debug)]
pub struct ClientApi {
    public_inboxes: PublicInboxes,
    sessions: VisitorSessions,
    conversations: VisitorConversations,
    messages: VisitorMessages,
    files: Files,
    server: Arc<ServiceContext>,
}

impl ClientApi {
    pub fn new(domain: &Domain, server: &Arc<ServiceContext>) -> Self {
        Self {
            public_inboxes: domain.public_inboxes.clone(),
            sessions: domain.visitor_sessions.clone(),
            conversations: domain.visitor_conversations.clone(),
            messages: domain.visitor_messages.clone(),
            files: domain.context.files.clone(),
            server: Arc::clone(server),
        }
    }

    async fn visitor(&self, session: Option<&pb::ClientSession>) -> Result<Arc<ContactSession>> {
        let session = required("session", session)?;
        self.public_inboxes.session(&session.inbox_identifier, &session.source_id).await
    }

    /// Charges the payer of a request for the size of the request and, if `activity` is set, for an activity of the contact session.
    fn charge<R: prost::Message>(&self, request: &Request<R>, visitor: &ContactSession, activity: Option<Activity>) -> Result<()> {
        let inbox = (visitor.account(), visitor.client.inbox.row.id);
        Payer::of(request).charge(&self.server.config.anonymous, inbox, activity, request.get_ref().encoded_len())
    }

    /// Adds the messages that the contact may see to a changed conversation. The messages are read after the change and are not part of the
    /// stored idempotent response.
    async fn add_messages(&self, visitor: &ContactSession, conversation: &mut Option<pb::ClientConversation>) -> Result<()> {
        if let Some(conversation) = conversation {
            let newest = self
                .conversations
                .newest_messages(visitor.account(), ConversationId(conversation.id))
                .await?;
            set_messages(conversation, &newest, visitor);
        }
        Ok(())
    }
}

fn call<R: WriteRequest, T: 'static, M: prost::Message + 'static>(
    fields: &mut Validator,
    request: &Request<R>,
    visitor: &ContactSession,
    respond: impl Fn(&T, Bytes) -> M + Send + Sync + 'static,
) -> Call<T> {
    idempotent_call_as(fields, request, Arc::clone(&visitor.caller), visitor.account(), respond)
}

fn signature(fields: &mut Validator, signature: Option<pb::ClientSignature>) -> Signature {
    let signature = signature.unwrap_or_default();
    fields.within("signature", |fields| {
        fields.text("identifier", &signature.identifier, SHORT_TEXT);
        fields.text("identifier_hash", &signature.identifier_hash, SHORT_TEXT);
    });
    Signature {
        identifier: signature.identifier,
        hash: signature.identifier_hash,
    }
}

macro_rules! client_fields {
    ($fields:ident, $req:ident, $attributes:ident) => {{
        if let Some(url) = &$req.avatar_url {
            $fields.url("avatar_url", url, URL);
        }
        ClientFields {
            email: $fields.email("email", $req.email),
            name: $fields.optional("name", $req.name, SHORT_TEXT),
            phone_number: $fields.phone_number("phone_number", $req.phone_number),
            avatar_url: $req.avatar_url.filter(|url| !url.is_empty()),
            custom_attributes: $fields.$attributes("custom_attributes", $req.custom_attributes.as_ref()),
        }
    }};
}

#[tonic::async_trait]
impl ClientService for ClientApi {
    async fn get_client_inbox(&self, request: Request<pb::GetClientInboxRequest>) -> Result<Response<pb::GetClientInboxResponse>, Status> {
        let public_inbox = self.public_inboxes.get(&request.get_ref().inbox_identifier).await.or_status()?;
        Ok(Response::new(pb::GetClientInboxResponse {
            inbox: Some(public_inbox.inbox.as_ref().to_proto()),
        }))
    }

    async fn create_client_session(
        &self,
        request: Request<pb::CreateClientSessionRequest>,
    ) -> Result<Response<pb::CreateClientSessionResponse>, Status> {
        let public_inbox = self.public_inboxes.get(&request.get_ref().inbox_identifier).await.or_status()?;
        let inbox = (public_inbox.inbox.row.account_id, public_inbox.inbox.row.id);
        let bytes = request.get_ref().encoded_len();
        Payer::of(&request)
            .charge(&self.server.config.anonymous, inbox, Some(Activity::Session), bytes)
            .or_status()?;
        let respond = |client: &Client, cursor: Bytes| pb::CreateClientSessionResponse {
            session: Some(client.to_proto()),
            cursor,
        };
        let mut fields = Validator::default();
        let account = public_inbox.inbox.row.account_id;
        let mut call = idempotent_call_as(&mut fields, &request, Arc::clone(&public_inbox.caller), account, respond);
        // Without a session, only the client address distinguishes callers.
        match request.extensions().get::<ClientAddress>() {
            // Disable idempotency: all clients behind the proxy have the same address, so another client could receive the stored response,
            // which contains the credential of a session.
            Some(ClientAddress::UndeclaredProxy(_)) => call.key = None,
            from => {
                let address = from.map(|from| match from {
                    ClientAddress::Client(address) | ClientAddress::UndeclaredProxy(address) => *address,
                });
                if let Some(key) = &mut call.key {
                    key.owner = KeyOwner::visitor(public_inbox.inbox.row.id, address);
                }
            }
        }
        let req = request.into_inner();
        let signature = signature(&mut fields, req.signature);
        let source_id = fields.optional("source_id", req.source_id, SHORT_TEXT);
        let new = client_fields!(fields, req, attributes);
        fields.finish().or_status()?;
        to_response(
            self.sessions
                .create(call, public_inbox, source_id, signature, new)
                .await
                .or_status()?,
            respond,
        )
    }

    async fn get_client_session(
        &self,
        request: Request<pb::GetClientSessionRequest>,
    ) -> Result<Response<pb::GetClientSessionResponse>, Status> {
        let visitor = self.visitor(request.get_ref().session.as_ref()).await.or_status()?;
        self.charge(&request, &visitor, Some(Activity::Message)).or_status()?;
        let traceparent = traceparent(&request);
        let mut fields = Validator::default();
        let signature = signature(&mut fields, request.into_inner().signature);
        fields.finish().or_status()?;
        let client = self.sessions.get(&visitor, &signature, traceparent).await.or_status()?;
        Ok(found(&client))
    }

    async fn update_client_session(
        &self,
        request: Request<pb::UpdateClientSessionRequest>,
    ) -> Result<Response<pb::UpdateClientSessionResponse>, Status> {
        let visitor = self.visitor(request.get_ref().session.as_ref()).await.or_status()?;
        self.charge(&request, &visitor, None).or_status()?;
        let respond = |client: &Client, cursor: Bytes| pb::UpdateClientSessionResponse {
            session: Some(client.to_proto()),
            cursor,
        };
        let mut fields = Validator::default();
        let call = call(&mut fields, &request, &visitor, respond);
        let req = request.into_inner();
        let signature = signature(&mut fields, req.signature);
        let client_fields = client_fields!(fields, req, attribute_update);
        fields.finish().or_status()?;
        to_response(
            self.sessions.update(call, &visitor, signature, client_fields).await.or_status()?,
            respond,
        )
    }

    async fn list_client_conversations(
        &self,
        request: Request<pb::ListClientConversationsRequest>,
    ) -> Result<Response<pb::ListClientConversationsResponse>, Status> {
        let req = request.get_ref();
        let visitor = self.visitor(req.session.as_ref()).await.or_status()?;
        let mut fields = Validator::default();
        let page = page::requested(&mut fields, req, 25);
        fields.finish().or_status()?;
        let found = self.conversations.list(&visitor, !req.without_messages, &page).await.or_status()?;
        Ok(page::response(req, &found, |found| seen(found, &visitor)))
    }

    async fn create_client_conversation(
        &self,
        request: Request<pb::CreateClientConversationRequest>,
    ) -> Result<Response<pb::CreateClientConversationResponse>, Status> {
        let visitor = self.visitor(request.get_ref().session.as_ref()).await.or_status()?;
        self.charge(&request, &visitor, Some(Activity::Conversation)).or_status()?;
        let session = Arc::clone(&visitor);
        let respond = move |made: &CreatedConversation, cursor: Bytes| pb::CreateClientConversationResponse {
            conversation: Some(without_messages(&made.conversation.conversation, &session)),
            cursor,
        };
        let mut fields = Validator::default();
        let call = call(&mut fields, &request, &visitor, respond.clone());
        let req = request.into_inner();
        let custom_attributes = fields.conversation_attributes("custom_attributes", req.custom_attributes.as_ref());
        fields.finish().or_status()?;
        let made = self.conversations.create(call, &visitor, custom_attributes).await.or_status()?;
        let mut response = to_response(made, respond)?;
        self.add_messages(&visitor, &mut response.get_mut().conversation)
            .await
            .or_status()?;
        Ok(response)
    }

    async fn get_client_conversation(
        &self,
        request: Request<pb::GetClientConversationRequest>,
    ) -> Result<Response<pb::GetClientConversationResponse>, Status> {
        let req = request.get_ref();
        let visitor = self.visitor(req.session.as_ref()).await.or_status()?;
        let found = self
            .conversations
            .get(&visitor, ConversationId(req.conversation_id))
            .await
            .or_status()?;
        Ok(Response::new(pb::GetClientConversationResponse {
            conversation: Some(seen(&found, &visitor)),
        }))
    }

    async fn resolve_client_conversation(
        &self,
        request: Request<pb::ResolveClientConversationRequest>,
    ) -> Result<Response<pb::ResolveClientConversationResponse>, Status> {
        let visitor = self.visitor(request.get_ref().session.as_ref()).await.or_status()?;
        self.charge(&request, &visitor, Some(Activity::Message)).or_status()?;
        let session = Arc::clone(&visitor);
        let respond = move |set: &StatusSet, cursor: Bytes| pb::ResolveClientConversationResponse {
            conversation: Some(without_messages(&set.conversation.conversation, &session)),
            cursor,
        };
        let mut fields = Validator::default();
        let call = call(&mut fields, &request, &visitor, respond.clone());
        fields.finish().or_status()?;
        let id = ConversationId(request.get_ref().conversation_id);
        let mut response = to_response(self.conversations.resolve(call, id).await.or_status()?, respond)?;
        self.add_messages(&visitor, &mut response.get_mut().conversation)
            .await
            .or_status()?;
        Ok(response)
    }

    async fn set_client_typing(
        &self,
        request: Request<pb::SetClientTypingRequest>,
    ) -> Result<Response<pb::SetClientTypingResponse>, Status> {
        let req = request.get_ref();
        let visitor = self.visitor(req.session.as_ref()).await.or_status()?;
        self.charge(&request, &visitor, Some(Activity::Message)).or_status()?;
        let id = ConversationId(req.conversation_id);
        let head = self.conversations.set_typing(&visitor, id, req.typing).await.or_status()?;
        Ok(Response::new(pb::SetClientTypingResponse { cursor: head.encode() }))
    }

    async fn mark_client_conversation_seen(
        &self,
        request: Request<pb::MarkClientConversationSeenRequest>,
    ) -> Result<Response<pb::MarkClientConversationSeenResponse>, Status> {
        let visitor = self.visitor(request.get_ref().session.as_ref()).await.or_status()?;
        self.charge(&request, &visitor, Some(Activity::Message)).or_status()?;
        let respond = |(): &(), cursor: Bytes| pb::MarkClientConversationSeenResponse { cursor };
        let mut fields = Validator::default();
        let call = call(&mut fields, &request, &visitor, respond);
        fields.finish().or_status()?;
        let id = ConversationId(request.get_ref().conversation_id);
        to_response(self.conversations.mark_seen(call, id).await.or_status()?, respond)
    }

    async fn list_client_messages(
        &self,
        request: Request<pb::ListClientMessagesRequest>,
    ) -> Result<Response<pb::ListClientMessagesResponse>, Status> {
        let req = request.get_ref();
        let visitor = self.visitor(req.session.as_ref()).await.or_status()?;
        let mut fields = Validator::default();
        let page = page::requested(&mut fields, req, 20);
        fields.finish().or_status()?;
        page.check_key(&[Sort::by_id(true)]).or_status()?;
        let before = page.after.map(|key| key.id).or(req.before).map(MessageId);
        let id = ConversationId(req.conversation_id);
        let found = self.messages.list(&visitor, id, before, page.size).await.or_status()?;
        let session = &visitor.client.row;
        let (messages, next) = messages::page_of(&found, false, |message| client_message(message, session));
        Ok(Response::new(pb::ListClientMessagesResponse {
            messages,
            next_page_token: page::write(&req.without_paging(), next.as_ref()),
        }))
    }

    async fn create_client_message(
        &self,
        request: Request<pb::CreateClientMessageRequest>,
    ) -> Result<Response<pb::CreateClientMessageResponse>, Status> {
        let visitor = self.visitor(request.get_ref().session.as_ref()).await.or_status()?;
        self.charge(&request, &visitor, Some(Activity::Message)).or_status()?;
        let session = Arc::clone(&visitor);
        let respond = move |created: &Created, cursor: Bytes| pb::CreateClientMessageResponse {
            message: created.first().map(|message| client_message(message, &session.client.row)),
            cursor,
        };
        let mut fields = Validator::default();
        let call = call(&mut fields, &request, &visitor, respond.clone());
        let req = request.into_inner();
        let id = ConversationId(req.conversation_id);
        if let Some(content) = &req.content {
            fields.text("content", content, CONTENT);
        }
        if let Some(echo_id) = &req.echo_id {
            fields.text("echo_id", echo_id, SHORT_TEXT);
        }
        fields.finish().or_status()?;
        to_response(
            self.messages
                .create(call, id, req.content, req.echo_id, req.upload_ids)
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
        // An upload occupies memory until it ends, so it counts against a concurrency limit like a stream.
        let _permit = payer.open(&self.server.config.anonymous, Resource::Upload).or_status()?;
        let mut requests = request.into_inner();
        let first = files::first(&mut requests).await?;
        let visitor = self.visitor(first.session.as_ref()).await.or_status()?;
        visitor.caller.write_access(visitor.account()).or_status()?;
        let inbox = (visitor.account(), visitor.client.inbox.row.id);
        let charge = |activity, bytes| payer.charge(&self.server.config.anonymous, inbox, activity, bytes);
        charge(Some(Activity::File), 0).or_status()?;
        let session = Some(visitor.client.row.id);
        let file = files::receive(&self.files, visitor.account(), session, first, requests, |bytes| {
            charge(None, bytes)
        })
        .await
        .or_status()?;
        Ok(Response::new(pb::UploadClientFileResponse { file: Some(file) }))
    }

    async fn update_client_message(
        &self,
        request: Request<pb::UpdateClientMessageRequest>,
    ) -> Result<Response<pb::UpdateClientMessageResponse>, Status> {
        let visitor = self.visitor(request.get_ref().session.as_ref()).await.or_status()?;
        self.charge(&request, &visitor, Some(Activity::Message)).or_status()?;
        let session = Arc::clone(&visitor);
        let respond = move |message: &Message, cursor: Bytes| pb::UpdateClientMessageResponse {
            message: Some(client_message(message, &session.client.row)),
            cursor,
        };
        let mut fields = Validator::default();
        let call = call(&mut fields, &request, &visitor, respond.clone());
        let req = request.into_inner();
        let within = prost_types::Struct {
            fields: req
                .submitted_values
                .map(|value| ("submitted_values".to_owned(), value))
                .into_iter()
                .collect(),
        };
        let mut object = fields.attribute_update("submitted_values", Some(&within));
        fields.finish().or_status()?;
        let submitted = object.remove("submitted_values").unwrap_or_default();
        let (conversation, id) = (ConversationId(req.conversation_id), MessageId(req.message_id));
        to_response(self.messages.submit(call, conversation, id, submitted).await.or_status()?, respond)
    }
}

/// Sets the newest messages of a conversation, oldest first. Only as many messages are included as fit into a page.
fn set_messages(conversation: &mut pb::ClientConversation, newest: &Newest, visitor: &ContactSession) {
    let shown = |message| client_message(message, &visitor.client.row);
    let (mut messages, whole) = page::take(newest.messages.iter().rev(), shown);
    messages.reverse();
    conversation.messages = messages;
    if newest.cut || !whole {
        conversation.truncated_fields = vec!["messages".to_owned()];
    }
}

fn seen(seen: &VisibleConversation, visitor: &ContactSession) -> pb::ClientConversation {
    let mut conversation = without_messages(&seen.conversation, visitor);
    set_messages(&mut conversation, &seen.newest, visitor);
    conversation
}

/// Converts a conversation for a visitor, leaving out its messages.
fn without_messages(conversation: &Conversation, visitor: &ContactSession) -> pb::ClientConversation {
    client_conversation(conversation, &[], &visitor.client.row)
}
