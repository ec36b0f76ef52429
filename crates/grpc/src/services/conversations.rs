//! `ConversationsService`.

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
    conversation_lists::{counted, own_team, query},
    own_contacts::own_contacts,
    request::{caller, change},
    response::answered,
};
use crate::{
    status::OrStatus as _,
    validation::{
        drafts,
        fields::{Fields, SHORT},
        filters, page,
    },
};

/// Implements a method that changes one conversation and returns it.
macro_rules! patched {
    ($self:ident, $request:ident, $response:ident, |$fields:ident, $asked:ident| $patch:expr) => {{
        let $asked = $request.get_ref();
        let account = AccountId($asked.account_id);
        caller(&$request).or_status()?.write_access(account).or_status()?;
        let respond = |summary: &ConversationSummary, cursor: Bytes| pb::$response {
            conversation: Some(pb::Conversation::from_stored(summary)),
            cursor,
        };
        let mut $fields = Fields::default();
        let call = change(&mut $fields, &$request, account, respond).or_status()?;
        let patch = $patch;
        $fields.done().or_status()?;
        let updated = $self.conversations.update(call, ConversationId($asked.conversation_id), patch);
        let mut answer = answered(updated.await.or_status()?, respond)?;
        let caller = caller(&$request).or_status()?;
        own_team(&caller, account, answer.get_mut().conversation.iter_mut());
        own_contacts(&$self.sessions, &caller, account, answer.get_mut().conversation.iter_mut())
            .await
            .or_status()?;
        Ok(answer)
    }};
}

fn status(fields: &mut Fields, number: i32) -> Option<ConversationStatus> {
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
        let mut fields = Fields::default();
        let call = change(&mut fields, &request, account, created).or_status()?;
        let caller = caller(&request).or_status()?;
        let asked = request.into_inner();
        let source_id = fields.optional("source_id", asked.source_id, SHORT);
        if source_id.is_none() && (asked.inbox_id.is_none() || asked.contact_id.is_none()) {
            fields.refuse("source_id", Rule::Required, "must be given unless inbox_id and contact_id both are");
        }
        let new = NewConversation {
            inbox: asked.inbox_id.map(InboxId),
            contact: asked.contact_id.map(ContactId),
            source_id,
            status: status(&mut fields, asked.status).unwrap_or(ConversationStatus::Open),
            snoozed_until: fields.time("snoozed_until", asked.snoozed_until.as_ref()),
            assignee: asked.assignee_id.map(UserId),
            team: asked.team_id.map(TeamId),
            priority: fields
                .kind::<pb::ConversationPriority>("priority", asked.priority)
                .and_then(pb::ConversationPriority::to_row),
            additional_attributes: fields.conversation_attributes("additional_attributes", asked.additional_attributes.as_ref()),
            custom_attributes: fields.conversation_attributes("custom_attributes", asked.custom_attributes.as_ref()),
            hmac_verified: asked.hmac_verified,
            message: asked
                .message
                .map(|draft| fields.within("message", |fields| drafts::read(fields, draft))),
        };
        fields.done().or_status()?;
        let mut answer = answered(self.conversations.create(call, new).await.or_status()?, created)?;
        own_team(&caller, account, answer.get_mut().conversation.iter_mut());
        own_contacts(&self.sessions, &caller, account, answer.get_mut().conversation.iter_mut())
            .await
            .or_status()?;
        own_contacts(&self.sessions, &caller, account, answer.get_mut().message.iter_mut())
            .await
            .or_status()?;
        Ok(answer)
    }

    async fn get_conversation(
        &self,
        request: Request<pb::GetConversationRequest>,
    ) -> Result<Response<pb::GetConversationResponse>, Status> {
        let asked = request.get_ref();
        let (account, id) = (AccountId(asked.account_id), ConversationId(asked.conversation_id));
        let caller = caller(&request).or_status()?;
        let summary = self.conversations.get(&caller, account, id).await.or_status()?;
        let mut conversation = pb::Conversation::from_stored(&summary);
        own_team(&caller, account, [&mut conversation]);
        own_contacts(&self.sessions, &caller, account, [&mut conversation])
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
        let asked = request.into_inner();
        let account = AccountId(asked.account_id);
        caller.access(account).or_status()?;
        let same = pb::ListConversationsRequest {
            page_size: 0,
            page_token: String::new(),
            skip: 0,
            with_counts: false,
            ..asked.clone()
        };
        let mut fields = Fields::default();
        let page = page::read(&mut fields, &same, (asked.page_size, 25), &asked.page_token, asked.skip);
        let query = query(&mut fields, asked, caller.user_id());
        fields.done().or_status()?;
        let found = self.conversations.list(&caller, account, &query, &page).await.or_status()?;
        let (mut conversations, next_page_token) = page::fill(&same, &found.page, pb::Conversation::from_stored);
        own_team(&caller, account, &mut conversations);
        own_contacts(&self.sessions, &caller, account, &mut conversations)
            .await
            .or_status()?;
        Ok(Response::new(pb::ListConversationsResponse {
            conversations,
            next_page_token,
            counts: found.counts.map(counted),
            complete: found.complete,
        }))
    }

    async fn filter_conversations(
        &self,
        request: Request<pb::FilterConversationsRequest>,
    ) -> Result<Response<pb::FilterConversationsResponse>, Status> {
        let caller = caller(&request).or_status()?;
        let asked = request.into_inner();
        let account = AccountId(asked.account_id);
        caller.access(account).or_status()?;
        let same = pb::FilterConversationsRequest {
            page_size: 0,
            page_token: String::new(),
            skip: 0,
            with_counts: false,
            ..asked.clone()
        };
        let mut fields = Fields::default();
        let given = filters::read(&mut fields, asked.filter);
        let page = page::read(&mut fields, &same, (asked.page_size, 25), &asked.page_token, asked.skip);
        fields.done().or_status()?;
        let (found, counts) = self
            .conversations
            .filter(&caller, account, &given, asked.with_counts, &page)
            .await
            .or_status()?;
        let (mut conversations, next_page_token) = page::fill(&same, &found, pb::Conversation::from_stored);
        own_team(&caller, account, &mut conversations);
        own_contacts(&self.sessions, &caller, account, &mut conversations)
            .await
            .or_status()?;
        Ok(Response::new(pb::FilterConversationsResponse {
            conversations,
            next_page_token,
            counts: counts.map(counted),
        }))
    }

    async fn update_conversation_status(
        &self,
        request: Request<pb::UpdateConversationStatusRequest>,
    ) -> Result<Response<pb::UpdateConversationStatusResponse>, Status> {
        let asked = request.get_ref();
        let account = AccountId(asked.account_id);
        caller(&request).or_status()?.write_access(account).or_status()?;
        let respond = |set: &StatusSet, cursor: Bytes| pb::UpdateConversationStatusResponse {
            conversation: Some(set.conversation.to_proto()),
            cursor,
            handed_off: set.handed_off,
        };
        let mut fields = Fields::default();
        let call = change(&mut fields, &request, account, respond).or_status()?;
        let until = fields.time("snoozed_until", asked.snoozed_until.as_ref());
        let status = status(&mut fields, asked.status);
        fields.done().or_status()?;
        let id = ConversationId(asked.conversation_id);
        let mut answer = answered(
            self.conversations.update_status(call, id, status, until).await.or_status()?,
            respond,
        )?;
        let caller = caller(&request).or_status()?;
        own_team(&caller, account, answer.get_mut().conversation.iter_mut());
        own_contacts(&self.sessions, &caller, account, answer.get_mut().conversation.iter_mut())
            .await
            .or_status()?;
        Ok(answer)
    }

    async fn update_conversation_priority(
        &self,
        request: Request<pb::UpdateConversationPriorityRequest>,
    ) -> Result<Response<pb::UpdateConversationPriorityResponse>, Status> {
        patched!(self, request, UpdateConversationPriorityResponse, |fields, asked| {
            let priority = fields.kind::<pb::ConversationPriority>("priority", asked.priority);
            ConversationPatch::Priority(priority.and_then(pb::ConversationPriority::to_row))
        })
    }

    async fn update_conversation_assignee(
        &self,
        request: Request<pb::UpdateConversationAssigneeRequest>,
    ) -> Result<Response<pb::UpdateConversationAssigneeResponse>, Status> {
        patched!(self, request, UpdateConversationAssigneeResponse, |fields, asked| {
            ConversationPatch::Assignee(asked.assignee_id.map(|user| UserId(fields.id("assignee_id", user))))
        })
    }

    async fn update_conversation_team(
        &self,
        request: Request<pb::UpdateConversationTeamRequest>,
    ) -> Result<Response<pb::UpdateConversationTeamResponse>, Status> {
        patched!(self, request, UpdateConversationTeamResponse, |fields, asked| {
            ConversationPatch::Team(asked.team_id.map(|team| TeamId(fields.id("team_id", team))))
        })
    }

    async fn update_conversation_labels(
        &self,
        request: Request<pb::UpdateConversationLabelsRequest>,
    ) -> Result<Response<pb::UpdateConversationLabelsResponse>, Status> {
        patched!(self, request, UpdateConversationLabelsResponse, |fields, asked| {
            ConversationPatch::Labels(fields.labels("labels", &asked.labels))
        })
    }

    async fn update_conversation_attributes(
        &self,
        request: Request<pb::UpdateConversationAttributesRequest>,
    ) -> Result<Response<pb::UpdateConversationAttributesResponse>, Status> {
        patched!(self, request, UpdateConversationAttributesResponse, |fields, asked| {
            let custom = asked.custom_attributes.as_ref();
            let additional = asked.additional_attributes.as_ref();
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
        patched!(self, request, MarkConversationSeenResponse, |fields, asked| {
            fields.id("conversation_id", asked.conversation_id);
            ConversationPatch::Seen {
                by_contact: asked.by_contact,
            }
        })
    }

    async fn mark_conversation_unread(
        &self,
        request: Request<pb::MarkConversationUnreadRequest>,
    ) -> Result<Response<pb::MarkConversationUnreadResponse>, Status> {
        patched!(self, request, MarkConversationUnreadResponse, |fields, asked| {
            fields.id("conversation_id", asked.conversation_id);
            ConversationPatch::Unread
        })
    }

    async fn mute_conversation(
        &self,
        request: Request<pb::MuteConversationRequest>,
    ) -> Result<Response<pb::MuteConversationResponse>, Status> {
        patched!(self, request, MuteConversationResponse, |fields, asked| {
            fields.id("conversation_id", asked.conversation_id);
            ConversationPatch::Muted(true)
        })
    }

    async fn unmute_conversation(
        &self,
        request: Request<pb::UnmuteConversationRequest>,
    ) -> Result<Response<pb::UnmuteConversationResponse>, Status> {
        patched!(self, request, UnmuteConversationResponse, |fields, asked| {
            fields.id("conversation_id", asked.conversation_id);
            ConversationPatch::Muted(false)
        })
    }

    async fn delete_conversation(
        &self,
        request: Request<pb::DeleteConversationRequest>,
    ) -> Result<Response<pb::DeleteConversationResponse>, Status> {
        let asked = request.get_ref();
        let account = AccountId(asked.account_id);
        caller(&request).or_status()?.write_access(account).or_status()?;
        let respond = |(): &(), cursor: Bytes| pb::DeleteConversationResponse { cursor };
        let mut fields = Fields::default();
        let call = change(&mut fields, &request, account, respond).or_status()?;
        fields.done().or_status()?;
        let id = ConversationId(asked.conversation_id);
        answered(self.conversations.delete(call, id).await.or_status()?, respond)
    }

    async fn send_transcript(&self, request: Request<pb::SendTranscriptRequest>) -> Result<Response<pb::SendTranscriptResponse>, Status> {
        let asked = request.get_ref();
        let account = AccountId(asked.account_id);
        caller(&request).or_status()?.write_access(account).or_status()?;
        let respond = |(): &(), cursor: Bytes| pb::SendTranscriptResponse { cursor };
        let mut fields = Fields::default();
        let call = change(&mut fields, &request, account, respond).or_status()?;
        fields.required("email", &asked.email, SHORT);
        let email = fields.email("email", Some(asked.email.clone())).unwrap_or_default();
        fields.done().or_status()?;
        let id = ConversationId(asked.conversation_id);
        answered(self.transcripts.send(call, id, email).await.or_status()?, respond)
    }

    async fn list_conversation_attachments(
        &self,
        request: Request<pb::ListConversationAttachmentsRequest>,
    ) -> Result<Response<pb::ListConversationAttachmentsResponse>, Status> {
        let asked = request.get_ref();
        let account = AccountId(asked.account_id);
        let caller = caller(&request).or_status()?;
        caller.access(account).or_status()?;
        let same = pb::ListConversationAttachmentsRequest {
            page_size: 0,
            page_token: String::new(),
            skip: 0,
            ..*asked
        };
        let mut fields = Fields::default();
        let page = page::read(&mut fields, &same, (asked.page_size, 100), &asked.page_token, asked.skip);
        fields.done().or_status()?;
        let id = ConversationId(asked.conversation_id);
        let (found, total) = self.conversations.list_attachments(&caller, account, id, &page).await.or_status()?;
        let (mut attachments, next_page_token) = page::fill(&same, &found, attached);
        let messages = attachments.iter_mut().filter_map(|attachment| attachment.message.as_mut());
        own_contacts(&self.sessions, &caller, account, messages).await.or_status()?;
        Ok(Response::new(pb::ListConversationAttachmentsResponse {
            attachments,
            next_page_token,
            total_size: total,
        }))
    }

    async fn set_typing(&self, request: Request<pb::SetTypingRequest>) -> Result<Response<pb::SetTypingResponse>, Status> {
        let asked = request.get_ref();
        let (account, id) = (AccountId(asked.account_id), ConversationId(asked.conversation_id));
        let typing = parley_domain::conversations::NewTyping {
            typing: asked.typing,
            private: asked.is_private,
            by_contact: asked.by_contact,
        };
        let head = self
            .conversations
            .set_typing(&*caller(&request).or_status()?, account, id, typing)
            .await
            .or_status()?;
        Ok(Response::new(pb::SetTypingResponse { cursor: head.encode() }))
    }
}

/// Splits a message that contains only the requested attachment into the attachment and the message.
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
