//! Idempotent requests: their request id, and the fingerprint that distinguishes requests with the same id.

use parley_domain::files::signed::content_of;
use parley_proto as pb;
use prost::Message;
use sha2::{Digest as _, Sha256};

/// A request with a `request_id`.
pub trait IdempotentRequest: Message + Clone {
    /// The request's name in the contract. Part of the fingerprint, so it must not change: stored responses outlive the version of the
    /// program that stored them.
    const NAME: &'static str;

    /// The request id as sent by the client.
    fn request_id(&self) -> &str;

    /// The request without its id.
    fn without_id(self) -> Self;

    /// The field that names the resource a call acts on, and its value, for the audit event.
    fn audit_target(&self) -> Option<(&'static str, i64)> {
        None
    }

    /// The upload ids in the request.
    fn upload_ids(&mut self) -> Vec<&mut String> {
        Vec::new()
    }

    /// Identifies a request by its type and all fields except its id. Uploads are replaced by the hash of their content, because a client
    /// that retries a request may have uploaded the file again.
    fn fingerprint(&self) -> [u8; 32] {
        let mut rest = self.clone().without_id();
        for id in rest.upload_ids() {
            *id = content_of(id);
        }
        Sha256::new()
            .chain_update(Self::NAME)
            .chain_update(rest.encode_to_vec())
            .finalize()
            .into()
    }
}

fn upload_ids_of(draft: &mut pb::MessageDraft) -> impl Iterator<Item = &mut String> {
    draft.attachments.iter_mut().filter_map(|attachment| match &mut attachment.kind {
        Some(pb::attachment_draft::Kind::UploadId(id)) => Some(id),
        _ => None,
    })
}

macro_rules! idempotent_requests {
    ($($request:ident $(@ $resource:ident $(of $whole:ident)?)? $(=> |$this:ident| $uploads:expr)?),+ $(,)?) => {$(
        impl IdempotentRequest for pb::$request {
            const NAME: &'static str = stringify!($request);

            fn request_id(&self) -> &str {
                &self.request_id
            }

            fn without_id(self) -> Self {
                Self { request_id: String::new(), ..self }
            }

            $(fn audit_target(&self) -> Option<(&'static str, i64)> {
                let part = Some(self);
                $(let part = part.and_then(|part| part.$whole.as_ref());)?
                part.map(|part| (idempotent_requests!(@name $resource $($whole)?), part.$resource))
            })?

            $(fn upload_ids(&mut self) -> Vec<&mut String> {
                let $this = self;
                $uploads.collect()
            })?
        }
    )+

        /// The names of all requests, for the test that compares them with the methods' policies.
        #[cfg(test)]
        const REQUESTS: &[&str] = &[$(stringify!($request)),+];
    };
    (@name $resource:ident $whole:ident) => { concat!(stringify!($whole), ".", stringify!($resource)) };
    (@name $resource:ident) => { stringify!($resource) };
}

idempotent_requests! {
    AddInboxMembersRequest @ inbox_id,
    AddParticipantsRequest,
    AddTeamMembersRequest @ team_id,
    BatchCreateMessagesRequest => |batch| batch.messages.iter_mut().filter_map(|item| item.message.as_mut()).flat_map(upload_ids_of),
    CreateAccountRequest,
    CreateAgentBotRequest,
    CreateAgentRequest,
    CreateAgentsRequest,
    CreateCannedResponseRequest,
    CreateClientConversationRequest,
    CreateClientMessageRequest => |request| request.upload_ids.iter_mut(),
    CreateClientSessionRequest,
    CreateContactNoteRequest,
    CreateContactRequest => |request| std::iter::once(&mut request.avatar_url),
    CreateContactSessionRequest,
    CreateConversationRequest => |request| request.message.iter_mut().flat_map(upload_ids_of),
    CreateCustomAttributeDefinitionRequest,
    CreateInboxRequest => |request| request.inbox.iter_mut().map(|inbox| &mut inbox.avatar_url),
    CreateLabelRequest,
    CreateMembershipRequest @ user_id,
    CreateMessageRequest => |request| request.message.iter_mut().flat_map(upload_ids_of),
    CreateTeamRequest,
    CreateUserRequest,
    DeleteAccountRequest,
    DeleteAgentBotRequest @ agent_bot_id,
    DeleteCannedResponseRequest,
    DeleteConsumerRequest,
    DeleteContactNoteRequest,
    DeleteContactRequest @ contact_id,
    DeleteConversationRequest @ conversation_id,
    DeleteCustomAttributeDefinitionRequest,
    DeleteInboxRequest @ inbox_id,
    DeleteLabelRequest @ label_id,
    DeleteMembershipRequest @ user_id,
    DeleteMessageRequest,
    DeleteTeamRequest @ team_id,
    DeleteUserRequest @ user_id,
    MarkClientConversationSeenRequest,
    MarkConversationSeenRequest,
    MarkConversationUnreadRequest,
    MergeContactsRequest @ base_contact_id,
    MuteConversationRequest,
    RemoveInboxMembersRequest @ inbox_id,
    RemoveParticipantsRequest,
    RemoveTeamMembersRequest @ team_id,
    ResetConsumerRequest,
    ResolveClientConversationRequest,
    RetryMessageRequest,
    SendTranscriptRequest,
    SendMessagesRequest => |request| request.message.iter_mut().flat_map(upload_ids_of),
    SetInboxAgentBotRequest @ inbox_id,
    SetInboxMembersRequest @ inbox_id,
    SetParticipantsRequest,
    SetTeamMembersRequest @ team_id,
    UnmuteConversationRequest,
    UpdateAccountRequest,
    UpdateAgentBotRequest @ id of agent_bot,
    UpdateAgentRequest @ user_id,
    UpdateCannedResponseRequest,
    UpdateClientMessageRequest,
    UpdateClientSessionRequest,
    UpdateContactNoteRequest,
    UpdateContactRequest => |request| request.contact.iter_mut().map(|contact| &mut contact.avatar_url),
    UpdateConversationAssigneeRequest,
    UpdateConversationAttributesRequest,
    UpdateConversationLabelsRequest,
    UpdateConversationPriorityRequest,
    UpdateConversationStatusRequest,
    UpdateConversationTeamRequest,
    UpdateCustomAttributeDefinitionRequest,
    UpdateInboxRequest @ id of inbox => |request| request.inbox.iter_mut().map(|inbox| &mut inbox.avatar_url),
    UpdateLabelRequest @ id of label,
    UpdateMembershipRequest @ user_id,
    UpdateOwnAvailabilityRequest,
    UpdateMessageRequest,
    UpdateTeamRequest @ id of team,
    UpdateUserRequest @ id of user,
}

#[cfg(test)]
mod tests {
    use super::*;
    use parley_proto::policy::METHODS;

    #[test]
    fn idempotent_methods_have_request_ids() {
        let mut declared: Vec<_> = METHODS
            .iter()
            .filter(|method| method.idempotent)
            .map(|method| method.request)
            .collect();
        let mut idempotent = REQUESTS.to_vec();
        declared.sort_unstable();
        idempotent.sort_unstable();
        assert_eq!(declared, idempotent);
    }
}
