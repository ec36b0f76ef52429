//! The conversation of a request's path, and the answer that holds one.

use axum::response::Response;
use parley_proto as pb;

use crate::{Answer, call::Call, json, params::fields::Fields};

/// The answer to a request that reads the conversation of the path.
///
/// # Errors
/// The service's refusal.
pub async fn read(call: &Call, fields: &Fields<'_>) -> Answer {
    let request = pb::GetConversationRequest {
        account_id: fields.account(),
        conversation_id: fields.path_id("conversation_id"),
    };
    let found = call.conversations().get_conversation(call.request(request)).await?.into_inner();
    Ok(answer(found.conversation))
}

/// 200 with the conversation.
pub fn answer(conversation: Option<pb::Conversation>) -> Response {
    json::ok(&json::conversation::conversation(&conversation.unwrap_or_default()))
}
