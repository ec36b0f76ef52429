//! Requests that may be repeated: their own id, and what tells one request from another.

use prost::Message;
use sha2::{Digest as _, Sha256};

use crate::pb;

/// A request with a `request_id`.
pub trait Keyed: Message + Clone {
    /// The request's name in the contract: kept answers outlive a version of the program.
    const NAME: &'static str;

    /// The request's own id, as it was sent.
    fn request_id(&self) -> &str;

    /// The request without its id.
    fn without_id(self) -> Self;

    /// Tells requests apart: the same call with the same fields, whatever its id looks like.
    fn fingerprint(&self) -> [u8; 32] {
        let rest = self.clone().without_id();
        Sha256::new()
            .chain_update(Self::NAME)
            .chain_update(rest.encode_to_vec())
            .finalize()
            .into()
    }
}

macro_rules! keyed {
    ($($request:ident),+ $(,)?) => {$(
        impl Keyed for pb::$request {
            const NAME: &'static str = stringify!($request);

            fn request_id(&self) -> &str {
                &self.request_id
            }

            fn without_id(self) -> Self {
                Self { request_id: String::new(), ..self }
            }
        }
    )+};
}

keyed! {
    AddInboxMembersRequest,
    AddParticipantsRequest,
    AddTeamMembersRequest,
    BatchCreateMessagesRequest,
    CreateAccountRequest,
    CreateAgentBotRequest,
    CreateAgentRequest,
    CreateAgentsRequest,
    CreateCannedResponseRequest,
    CreateClientConversationRequest,
    CreateClientMessageRequest,
    CreateClientSessionRequest,
    CreateContactNoteRequest,
    CreateContactRequest,
    CreateContactSessionRequest,
    CreateConversationRequest,
    CreateCustomAttributeDefinitionRequest,
    CreateInboxRequest,
    CreateLabelRequest,
    CreateMembershipRequest,
    CreateMessageRequest,
    CreateTeamRequest,
    CreateUserRequest,
    DeleteAgentBotRequest,
    DeleteCannedResponseRequest,
    DeleteContactNoteRequest,
    DeleteContactRequest,
    DeleteConversationRequest,
    DeleteCustomAttributeDefinitionRequest,
    DeleteInboxRequest,
    DeleteLabelRequest,
    DeleteMembershipRequest,
    DeleteMessageRequest,
    DeleteTeamRequest,
    MarkClientConversationSeenRequest,
    MarkConversationSeenRequest,
    MarkConversationUnreadRequest,
    MergeContactsRequest,
    MuteConversationRequest,
    RemoveInboxMembersRequest,
    RemoveParticipantsRequest,
    RemoveTeamMembersRequest,
    ResolveClientConversationRequest,
    RetryMessageRequest,
    SendMessagesRequest,
    SetInboxAgentBotRequest,
    SetInboxMembersRequest,
    SetParticipantsRequest,
    SetTeamMembersRequest,
    UnmuteConversationRequest,
    UpdateAccountRequest,
    UpdateAgentBotRequest,
    UpdateAgentRequest,
    UpdateCannedResponseRequest,
    UpdateClientMessageRequest,
    UpdateClientSessionRequest,
    UpdateContactNoteRequest,
    UpdateContactRequest,
    UpdateConversationAssigneeRequest,
    UpdateConversationAttributesRequest,
    UpdateConversationLabelsRequest,
    UpdateConversationPriorityRequest,
    UpdateConversationStatusRequest,
    UpdateConversationTeamRequest,
    UpdateCustomAttributeDefinitionRequest,
    UpdateInboxRequest,
    UpdateLabelRequest,
    UpdateMembershipRequest,
    UpdateMessageRequest,
    UpdateTeamRequest,
    UpdateUserRequest,
}
