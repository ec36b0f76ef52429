//! Responses with a single conversation.

use axum::response::Response;
use parley_proto as pb;

use crate::{Answer, call::Call, json, params::fields::Fields};

/// Reads the conversation in the path.
///
/// # Errors
/// Returns the error of the service.
pub async fn read(call: &Call, fields: &Fields<'_>) -> Answer {
    let request = pb::GetConversationRequest {
        account_id: fields.account(),
        conversation_id: fields.path_id("conversation_id"),
    };
    let found = call.conversations().get_conversation(call.request(request)).await?.into_inner();
    Ok(answer(found.conversation))
}

/// A 200 response with the conversation.
pub fn answer(conversation: Option<pb::Conversation>) -> Response {
    json::ok(&json::conversation::conversation(&conversation.unwrap_or_default()))
}
