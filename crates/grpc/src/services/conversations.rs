//! Implements `ConversationsService`, which manages conversations.

use std::sync::Arc;

use bytes::Bytes;
use parley_domain::{
    Domain,
    contacts::sessions::Sessions,
    conversations::{
        Conversations, NewConversation,
        answers::{CreatedConversation, StatusSet},
        changes::ConversationPatch,
        transcripts::Transcripts,
    },
    joined::{ConversationSummary, Message},
    kind::ConversationStatus,
};
use parley_eventlog::conversion::{FromStored as _, ToProto};
use parley_proto::{self as pb, conversations_service_server::ConversationsService};
use parley_types::{
    error::{Result, Rule},
    id::{AccountId, ContactId, ConversationId, InboxId, TeamId, UserId},
};
use tonic::{Request, Response, Status};

use super::{
    conversation_lists::{counts_to_proto, query, set_team_membership},
    request::{caller, idempotent_call},
    response::to_response,
    restrict_contacts::restrict_contacts,
};
use crate::{
    status::OrStatus as _,
    validation::{
        drafts,
        fields::{SHORT_TEXT, Validator},
        filters, page,
    },
};

/// Expands to the body of a method that changes one conversation and returns it.
macro_rules! update_and_respond {
    ($self:ident, $request:ident, $response:ident, |$fields:ident, $req:ident| $patch:expr) => {{
        let $req = $request.get_ref();
        let account = AccountId($req.account_id);
        caller(&$request).or_status()?.write_access(account).or_status()?;
        let respond = |summary: &ConversationSummary, cursor: Bytes| pb::$response {
            conversation: Some(pb::Conversation::from_stored(summary)),
            cursor,
        };
        let mut $fields = Validator::default();
        let call = idempotent_call(&mut $fields, &$request, account, respond).or_status()?;
        let patch = $patch;
        $fields.finish().or_status()?;
        let updated = $self.conversations.update(call, ConversationId($req.conversation_id), patch);
        let mut answer = to_response(updated.await.or_status()?, respond)?;
        let caller = caller(&$request).or_status()?;
        set_team_membership(&caller, account, answer.get_mut().conversation.iter_mut());
        restrict_contacts(&$self.sessions, &caller, account, answer.get_mut().conversation.iter_mut())
            .await
            .or_status()?;
        Ok(answer)
    }};
}

fn status(fields: &mut Validator, number: i32) -> Option<ConversationStatus> {
    fields
        .kind::<pb::ConversationStatus>("status", number)
        .and_then(pb::ConversationStatus::to_row)
}

/// Implements `ConversationsService`.
#[derive(Clone, Debug)]
pub struct ConversationsApi {
    conversations: Conversations,
    transcripts: Transcripts,
    sessions: Sessions,
}

impl ConversationsApi {
    pub fn new(domain: &Domain) -> Self {
        Self {
            conversations: domain.conversations.clone(),
            transcripts: domain.transcripts.clone(),
            sessions: domain.sessions.clone(),
        }
    }
}

#[tonic::async_trait]
impl ConversationsService for ConversationsApi {
    async fn create_conversation(
        &self,
        request: Request<pb::CreateConversationRequest>,
    ) -> Result<Response<pb::CreateConversationResponse>, Status> {
        let account = AccountId(request.get_ref().account_id);
        caller(&request).or_status()?.write_access(account).or_status()?;
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, account, created).or_status()?;
        let caller = caller(&request).or_status()?;
        let req = request.into_inner();
        let source_id = fields.optional("source_id", req.source_id, SHORT_TEXT);
        if source_id.is_none() && (req.inbox_id.is_none() || req.contact_id.is_none()) {
            fields.add_violation("source_id", Rule::Required, "must be given unless both inbox_id and contact_id are");
        }
        let new = NewConversation {
            inbox: req.inbox_id.map(InboxId),
            contact: req.contact_id.map(ContactId),
            source_id,
            status: status(&mut fields, req.status).unwrap_or(ConversationStatus::Open),
            snoozed_until: fields.time("snoozed_until", req.snoozed_until.as_ref()),
            assignee: req.assignee_id.map(UserId),
            team: req.team_id.map(TeamId),
            priority: fields
                .kind::<pb::ConversationPriority>("priority", req.priority)
                .and_then(pb::ConversationPriority::to_row),
            additional_attributes: fields.conversation_attributes("additional_attributes", req.additional_attributes.as_ref()),
            custom_attributes: fields.conversation_attributes("custom_attributes", req.custom_attributes.as_ref()),
            hmac_verified: req.hmac_verified,
            message: req
                .message
                .map(|draft| fields.within("message", |fields| drafts::read(fields, draft))),
        };
        fields.finish().or_status()?;
        let mut answer = to_response(self.conversations.create(call, new).await.or_status()?, created)?;
        set_team_membership(&caller, account, answer.get_mut().conversation.iter_mut());
        restrict_contacts(&self.sessions, &caller, account, answer.get_mut().conversation.iter_mut())
            .await
            .or_status()?;
        restrict_contacts(&self.sessions, &caller, account, answer.get_mut().message.iter_mut())
            .await
            .or_status()?;
        Ok(answer)
    }

    async fn get_conversation(
        &self,
        request: Request<pb::GetConversationRequest>,
    ) -> Result<Response<pb::GetConversationResponse>, Status> {
        let req = request.get_ref();
        let (account, id) = (AccountId(req.account_id), ConversationId(req.conversation_id));
        let caller = caller(&request).or_status()?;
        let summary = self.conversations.get(&caller, account, id).await.or_status()?;
        let mut conversation = pb::Conversation::from_stored(&summary);
        set_team_membership(&caller, account, [&mut conversation]);
        restrict_contacts(&self.sessions, &caller, account, [&mut conversation])
            .await
            .or_status()?;
        Ok(Response::new(pb::GetConversationResponse {
            conversation: Some(conversation),
        }))
    }

    async fn list_conversations(
        &self,
        request: Request<pb::ListConversationsRequest>,
    ) -> Result<Response<pb::ListConversationsResponse>, Status> {
        let caller = caller(&request).or_status()?;
        let req = request.into_inner();
        let account = AccountId(req.account_id);
        caller.access(account).or_status()?;
        let without_paging = pb::ListConversationsRequest {
            page_size: 0,
            page_token: String::new(),
            skip: 0,
            with_counts: false,
            ..req.clone()
        };
        let mut fields = Validator::default();
        let page = page::read(&mut fields, &without_paging, (req.page_size, 25), &req.page_token, req.skip);
        let query = query(&mut fields, req, caller.user_id());
        fields.finish().or_status()?;
        let found = self.conversations.list(&caller, account, &query, &page).await.or_status()?;
        let (mut conversations, next_page_token) = page::fill(&without_paging, &found.page, pb::Conversation::from_stored);
        set_team_membership(&caller, account, &mut conversations);
        restrict_contacts(&self.sessions, &caller, account, &mut conversations)
            .await
            .or_status()?;
        Ok(Response::new(pb::ListConversationsResponse {
            conversations,
            next_page_token,
            counts: found.counts.map(counts_to_proto),
            complete: found.complete,
        }))
    }

    async fn filter_conversations(
        &self,
        request: Request<pb::FilterConversationsRequest>,
    ) -> Result<Response<pb::FilterConversationsResponse>, Status> {
        let caller = caller(&request).or_status()?;
        let req = request.into_inner();
        let account = AccountId(req.account_id);
        caller.access(account).or_status()?;
        let without_paging = pb::FilterConversationsRequest {
            page_size: 0,
            page_token: String::new(),
            skip: 0,
            with_counts: false,
            ..req.clone()
        };
        let mut fields = Validator::default();
        let given = filters::read(&mut fields, req.filter);
        let page = page::read(&mut fields, &without_paging, (req.page_size, 25), &req.page_token, req.skip);
        fields.finish().or_status()?;
        let (found, counts) = self
            .conversations
            .filter(&caller, account, &given, req.with_counts, &page)
            .await
            .or_status()?;
        let (mut conversations, next_page_token) = page::fill(&without_paging, &found, pb::Conversation::from_stored);
        set_team_membership(&caller, account, &mut conversations);
        restrict_contacts(&self.sessions, &caller, account, &mut conversations)
            .await
            .or_status()?;
        Ok(Response::new(pb::FilterConversationsResponse {
            conversations,
            next_page_token,
            counts: counts.map(counts_to_proto),
        }))
    }

    async fn update_conversation_status(
        &self,
        request: Request<pb::UpdateConversationStatusRequest>,
    ) -> Result<Response<pb::UpdateConversationStatusResponse>, Status> {
        let req = request.get_ref();
        let account = AccountId(req.account_id);
        caller(&request).or_status()?.write_access(account).or_status()?;
        let respond = |set: &StatusSet, cursor: Bytes| pb::UpdateConversationStatusResponse {
            conversation: Some(set.conversation.to_proto()),
            cursor,
            handed_off: set.handed_off,
        };
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, account, respond).or_status()?;
        let until = fields.time("snoozed_until", req.snoozed_until.as_ref());
        let status = status(&mut fields, req.status);
        fields.finish().or_status()?;
        let id = ConversationId(req.conversation_id);
        let mut answer = to_response(
            self.conversations.update_status(call, id, status, until).await.or_status()?,
            respond,
        )?;
        let caller = caller(&request).or_status()?;
        set_team_membership(&caller, account, answer.get_mut().conversation.iter_mut());
        restrict_contacts(&self.sessions, &caller, account, answer.get_mut().conversation.iter_mut())
            .await
            .or_status()?;
        Ok(answer)
    }

    async fn update_conversation_priority(
        &self,
        request: Request<pb::UpdateConversationPriorityRequest>,
    ) -> Result<Response<pb::UpdateConversationPriorityResponse>, Status> {
        update_and_respond!(self, request, UpdateConversationPriorityResponse, |fields, req| {
            let priority = fields.kind::<pb::ConversationPriority>("priority", req.priority);
            ConversationPatch::Priority(priority.and_then(pb::ConversationPriority::to_row))
        })
    }

    async fn update_conversation_assignee(
        &self,
        request: Request<pb::UpdateConversationAssigneeRequest>,
    ) -> Result<Response<pb::UpdateConversationAssigneeResponse>, Status> {
        update_and_respond!(self, request, UpdateConversationAssigneeResponse, |fields, req| {
            ConversationPatch::Assignee(req.assignee_id.map(|user| UserId(fields.id("assignee_id", user))))
        })
    }

    async fn update_conversation_team(
        &self,
        request: Request<pb::UpdateConversationTeamRequest>,
    ) -> Result<Response<pb::UpdateConversationTeamResponse>, Status> {
        update_and_respond!(self, request, UpdateConversationTeamResponse, |fields, req| {
            ConversationPatch::Team(req.team_id.map(|team| TeamId(fields.id("team_id", team))))
        })
    }

    async fn update_conversation_labels(
        &self,
        request: Request<pb::UpdateConversationLabelsRequest>,
    ) -> Result<Response<pb::UpdateConversationLabelsResponse>, Status> {
        update_and_respond!(self, request, UpdateConversationLabelsResponse, |fields, req| {
            ConversationPatch::Labels(fields.labels("labels", &req.labels))
        })
    }

    async fn update_conversation_attributes(
        &self,
        request: Request<pb::UpdateConversationAttributesRequest>,
    ) -> Result<Response<pb::UpdateConversationAttributesResponse>, Status> {
        update_and_respond!(self, request, UpdateConversationAttributesResponse, |fields, req| {
            let custom = req.custom_attributes.as_ref();
            let additional = req.additional_attributes.as_ref();
            ConversationPatch::Attributes(
                custom.map(|object| fields.conversation_attribute_update("custom_attributes", Some(object))),
                additional.map(|object| fields.conversation_attribute_update("additional_attributes", Some(object))),
            )
        })
    }

    async fn mark_conversation_seen(
        &self,
        request: Request<pb::MarkConversationSeenRequest>,
    ) -> Result<Response<pb::MarkConversationSeenResponse>, Status> {
        update_and_respond!(self, request, MarkConversationSeenResponse, |fields, req| {
            fields.id("conversation_id", req.conversation_id);
            ConversationPatch::Seen {
                by_contact: req.by_contact,
            }
        })
    }

    async fn mark_conversation_unread(
        &self,
        request: Request<pb::MarkConversationUnreadRequest>,
    ) -> Result<Response<pb::MarkConversationUnreadResponse>, Status> {
        update_and_respond!(self, request, MarkConversationUnreadResponse, |fields, req| {
            fields.id("conversation_id", req.conversation_id);
            ConversationPatch::Unread
        })
    }

    async fn mute_conversation(
        &self,
        request: Request<pb::MuteConversationRequest>,
    ) -> Result<Response<pb::MuteConversationResponse>, Status> {
        update_and_respond!(self, request, MuteConversationResponse, |fields, req| {
            fields.id("conversation_id", req.conversation_id);
            ConversationPatch::Muted(true)
        })
    }

    async fn unmute_conversation(
        &self,
        request: Request<pb::UnmuteConversationRequest>,
    ) -> Result<Response<pb::UnmuteConversationResponse>, Status> {
        update_and_respond!(self, request, UnmuteConversationResponse, |fields, req| {
            fields.id("conversation_id", req.conversation_id);
            ConversationPatch::Muted(false)
        })
    }

    async fn delete_conversation(
        &self,
        request: Request<pb::DeleteConversationRequest>,
    ) -> Result<Response<pb::DeleteConversationResponse>, Status> {
        let req = request.get_ref();
        let account = AccountId(req.account_id);
        caller(&request).or_status()?.write_access(account).or_status()?;
        let respond = |(): &(), cursor: Bytes| pb::DeleteConversationResponse { cursor };
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, account, respond).or_status()?;
        fields.finish().or_status()?;
        let id = ConversationId(req.conversation_id);
        to_response(self.conversations.delete(call, id).await.or_status()?, respond)
    }

    async fn send_transcript(&self, request: Request<pb::SendTranscriptRequest>) -> Result<Response<pb::SendTranscriptResponse>, Status> {
        let req = request.get_ref();
        let account = AccountId(req.account_id);
        caller(&request).or_status()?.write_access(account).or_status()?;
        let respond = |(): &(), cursor: Bytes| pb::SendTranscriptResponse { cursor };
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, account, respond).or_status()?;
        fields.required("email", &req.email, SHORT_TEXT);
        let email = fields.email("email", Some(req.email.clone())).unwrap_or_default();
        fields.finish().or_status()?;
        let id = ConversationId(req.conversation_id);
        to_response(self.transcripts.send(call, id, email).await.or_status()?, respond)
    }

    async fn list_conversation_attachments(
        &self,
        request: Request<pb::ListConversationAttachmentsRequest>,
    ) -> Result<Response<pb::ListConversationAttachmentsResponse>, Status> {
        let req = request.get_ref();
        let account = AccountId(req.account_id);
        let caller = caller(&request).or_status()?;
        caller.access(account).or_status()?;
        let without_paging = pb::ListConversationAttachmentsRequest {
            page_size: 0,
            page_token: String::new(),
            skip: 0,
            ..*req
        };
        let mut fields = Validator::default();
        let page = page::read(&mut fields, &without_paging, (req.page_size, 100), &req.page_token, req.skip);
        fields.finish().or_status()?;
        let id = ConversationId(req.conversation_id);
        let (found, total) = self.conversations.list_attachments(&caller, account, id, &page).await.or_status()?;
        let (mut attachments, next_page_token) = page::fill(&without_paging, &found, attached);
        let messages = attachments.iter_mut().filter_map(|attachment| attachment.message.as_mut());
        restrict_contacts(&self.sessions, &caller, account, messages).await.or_status()?;
        Ok(Response::new(pb::ListConversationAttachmentsResponse {
            attachments,
            next_page_token,
            total_size: total,
        }))
    }

    async fn set_typing(&self, request: Request<pb::SetTypingRequest>) -> Result<Response<pb::SetTypingResponse>, Status> {
        let req = request.get_ref();
        let (account, id) = (AccountId(req.account_id), ConversationId(req.conversation_id));
        let typing = parley_domain::conversations::NewTyping {
            typing: req.typing,
            private: req.is_private,
            by_contact: req.by_contact,
        };
        let head = self
            .conversations
            .set_typing(&*caller(&request).or_status()?, account, id, typing)
            .await
            .or_status()?;
        Ok(Response::new(pb::SetTypingResponse { cursor: head.encode() }))
    }
}

/// Splits a message that contains only the requested attachment into the attachment and the message without attachments.
fn attached(message: &Message) -> pb::ConversationAttachment {
    let mut message = pb::Message::from_stored(message);
    pb::ConversationAttachment {
        attachment: message.attachments.pop(),
        message: Some(message),
    }
}

fn created(made: &CreatedConversation, cursor: Bytes) -> pb::CreateConversationResponse {
    pb::CreateConversationResponse {
        conversation: Some(made.conversation.to_proto()),
        message: made.message.as_ref().map(Arc::as_ref).map(ToProto::to_proto),
        cursor,
    }
}
