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
    AddParticipantsRequest,
    BatchCreateMessagesRequest,
    CreateAccountRequest,
    CreateAgentBotRequest,
    CreateClientConversationRequest,
    CreateClientMessageRequest,
    CreateClientSessionRequest,
    CreateContactRequest,
    CreateContactSessionRequest,
    CreateConversationRequest,
    CreateInboxRequest,
    CreateMembershipRequest,
    CreateMessageRequest,
    CreateUserRequest,
    DeleteAgentBotRequest,
    DeleteContactRequest,
    DeleteConversationRequest,
    DeleteInboxRequest,
    DeleteMembershipRequest,
    DeleteMessageRequest,
    MarkClientConversationSeenRequest,
    MarkConversationSeenRequest,
    MarkConversationUnreadRequest,
    MergeContactsRequest,
    RetryMessageRequest,
    ResolveClientConversationRequest,
    MuteConversationRequest,
    RemoveParticipantsRequest,
    SendMessagesRequest,
    SetInboxAgentBotRequest,
    SetInboxMembersRequest,
    SetParticipantsRequest,
    UnmuteConversationRequest,
    UpdateAccountRequest,
    UpdateAgentBotRequest,
    UpdateClientMessageRequest,
    UpdateClientSessionRequest,
    UpdateContactRequest,
    UpdateConversationAssigneeRequest,
    UpdateConversationAttributesRequest,
    UpdateConversationLabelsRequest,
    UpdateConversationPriorityRequest,
    UpdateConversationStatusRequest,
    UpdateInboxRequest,
    UpdateMembershipRequest,
    UpdateMessageRequest,
    UpdateUserRequest,
}
